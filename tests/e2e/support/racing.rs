//! Crowds of clients that ask at once, in every way, and a provider that keeps count of what it has sold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

use super::admin::Caller;
use super::provider::{End, Received};
use super::{Answer, Api, SOON, Wire, spending};

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// For a whole answer.
    Whole,
    /// For a stream, which it reads to its end.
    Stream,
    /// For a stream, which it leaves somewhere, perhaps before it has begun.
    Leave,
}

/// How the requests of a crowd ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub passed: usize,
    pub refused: usize,
    /// Left, or told that there is nobody to answer, or lost with its connection.
    pub lost: usize,
}

/// Sends a request per entry, so many at a time.
pub async fn crowd(
    gateway: SocketAddr,
    caller: &Caller,
    asks: impl IntoIterator<Item = (Way, &'static str)>,
    at_once: usize,
) -> Ended {
    let asking = asks.into_iter().map(|(way, model)| ask(gateway, caller, way, model));
    let fold = |mut ended: Ended, status: Option<u16>| {
        match status {
            Some(200) => ended.passed += 1,
            Some(_) => ended.refused += 1,
            None => ended.lost += 1,
        }
        std::future::ready(ended)
    };
    futures::stream::iter(asking).buffer_unordered(at_once).fold(Ended::default(), fold).await
}

/// The status, once the whole answer has come. A refusal is the budget's, or the test fails.
async fn ask(gateway: SocketAddr, caller: &Caller, way: Way, model: &str) -> Option<u16> {
    let mut wire = Wire::try_connect(gateway).await.ok()?;
    let mut body = spending::request(model, Some(1_000));
    if way != Way::Whole {
        body["stream"] = json!(true);
    }
    wire.try_post(&Api::Chat.path(model, false), &caller.secret, &body).await.ok()?;
    if way == Way::Leave {
        leave(wire).await;
        return None;
    }
    let reply = wire.reply().await.ok()?;
    match reply.head.status {
        200 => Some(200),
        // Of a gateway that stops: there is nobody to ask any more, or no record could be kept.
        503 => {
            let code = Api::Chat.code(&reply);
            assert!(["no_provider_available", "budget_unavailable"].contains(&&*code), "{code}");
            None
        }
        _ => {
            Api::Chat.refuses(&reply, 402, "budget_exceeded");
            Some(402)
        }
    }
}

/// Goes away with a farewell or without: whenever it has lost its patience, or after a few pieces.
async fn leave(mut wire: Wire) {
    let patience = if rand::random() { SOON } else { Duration::from_millis(rand::random_range(0..500)) };
    if let Ok(Ok(head)) = tokio::time::timeout(patience, wire.head()).await {
        let mut pieces = if head.status == 200 { rand::random_range(0..10) } else { 0 };
        while pieces > 0 && matches!(wire.piece().await, Ok(Some(_))) {
            pieces -= 1;
        }
    }
    if rand::random() {
        wire.reset();
    }
}

/// What providers have sold: they answer whatever is asked for, and know what that costs.
#[derive(Clone)]
pub struct Sold {
    pace: Duration,
    nanos: Arc<AtomicI64>,
    answers: Arc<AtomicUsize>,
}

impl Sold {
    /// Streams are so slow: this is between two of their pieces.
    pub fn at(pace: Duration) -> Self {
        Self { pace, nanos: Arc::default(), answers: Arc::default() }
    }

    /// What was sold so far, in nano-dollars, and in how many answers.
    pub fn so_far(&self) -> (i64, usize) {
        (self.nanos.load(Ordering::SeqCst), self.answers.load(Ordering::SeqCst))
    }

    /// An answer of so many tokens, in the way in which it was asked for, some moments later.
    pub fn sell(&self, request: &Received, output: u64) -> Answer {
        self.nanos.fetch_add(spending::cost_nanos(output), Ordering::SeqCst);
        self.answers.fetch_add(1, Ordering::SeqCst);
        let answer = match request.json()["stream"] == true {
            true => spending::stream(request, output).paced(self.pace),
            false => spending::whole(request, output),
        };
        answer.after(Duration::from_millis(20))
    }
}

impl Default for Sold {
    fn default() -> Self {
        Self::at(Duration::from_millis(4))
    }
}

/// A way to fail before the first byte of an answer.
pub fn failure() -> Answer {
    let said = |status| Answer::json(status, &json!({"error": {"message": "not now"}}));
    let answer = match rand::random_range(0..5) {
        0 => said(500),
        1 => said(429),
        2 => said(529),
        3 => Answer::silence(End::Close),
        _ => Answer::silence(End::Reset),
    };
    answer.after(Duration::from_millis(rand::random_range(0..15)))
}

/// The windows of these limits, each with the same cap.
pub fn capped(usd: f64) -> Value {
    json!({"total": {"usd": usd}, "5h": {"usd": usd}})
}
