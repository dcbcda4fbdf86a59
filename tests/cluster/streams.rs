//! Streams that wait in their middle, while something changes.

use serde_json::json;

use crate::support::admin::Caller;
use crate::support::{Answer, Api, Gate, Gateway, Provider, Wire, spending};

/// Open streams, each of which costs 0.05 USD in the end.
pub struct Streams {
    gate: Gate,
    open: Vec<Wire>,
}

impl Streams {
    /// From now on this provider's streams wait, and whatever else is asked for is answered so.
    pub fn of(provider: &Provider, whole: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> Self {
        let gate = Gate::new();
        let held = gate.clone();
        provider.decide(move |request| match request.json()["stream"] == true {
            true => spending::stream(request, 990).gated_after(2, &held),
            false => whole(spending::answer(request)),
        });
        Self { gate, open: Vec::new() }
    }

    /// Opens one; it has begun.
    pub async fn open(&mut self, node: &Gateway, caller: &Caller, model: &str) {
        let mut body = spending::request(model, Some(1_000));
        body["stream"] = json!(true);
        let mut wire = node.connect().await;
        wire.post(&Api::Chat.path(model, true), &caller.secret, &body).await;
        assert_eq!(wire.head().await.unwrap().status, 200);
        wire.piece().await.unwrap().unwrap();
        self.open.push(wire);
    }

    /// Opens one on each of these nodes.
    pub async fn open_on(&mut self, nodes: &[&Gateway], caller: &Caller, model: &str) {
        for node in nodes {
            self.open(node, caller, model).await;
        }
    }

    /// Lets all go on to their ends; how many there were.
    pub async fn finish(&mut self) -> usize {
        let open = std::mem::take(&mut self.open);
        self.gate.open(open.len());
        let count = open.len();
        for mut stream in open {
            let body = stream.body().await.unwrap();
            assert!(body.ends_with(b"data: [DONE]\n\n"), "it was cut off: {}", String::from_utf8_lossy(&body));
        }
        count
    }
}
