//! Heads over HTTP/2 that do not end: bounded in time and in size, in clear and over TLS.

use std::time::{Duration, Instant};

use crate::support::certs::Authority;
use crate::support::gateway::{MODEL, Setup};
use crate::support::h2client::H2Client;
use crate::support::leaving::DIALECTS;
use crate::support::{Api, Gate, Gateway, Provider, Tokens, Wire, eventually};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// "The peer exhibits a behaviour that might be generating excessive load."
const ENHANCE_YOUR_CALM: u8 = 0xb;

/// Long before a connection without a request would be let go, after 60 s.
const BEFORE_IDLE: Duration = Duration::from_secs(40);

struct Door {
    provider: Provider,
    gateway: Gateway,
    authority: Option<Authority>,
}

impl Door {
    /// In clear and over TLS.
    async fn both(head_time: &str) -> [Self; 2] {
        [Self::open(head_time, None).await, Self::open(head_time, Some(Authority::new())).await]
    }

    async fn open(head_time: &str, authority: Option<Authority>) -> Self {
        let provider = Provider::start().await;
        let mut setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("server.timeouts.header", head_time);
        if let Some(authority) = &authority {
            let (certificate, key) = authority.sign().write(setup.folder());
            setup = setup.set("server.tls", serde_json::json!({"cert": certificate, "key": key}));
        }
        Self { provider, gateway: setup.start().await, authority }
    }

    async fn wire(&self) -> Wire {
        match &self.authority {
            Some(authority) => Wire::connect_tls(self.gateway.address(), authority.client(&["h2"])).await.unwrap(),
            None => self.gateway.connect().await,
        }
    }

    async fn client(&self) -> H2Client {
        match &self.authority {
            Some(authority) => H2Client::connect_tls(self.gateway.address(), authority.client(&["h2"])).await,
            None => H2Client::connect(self.gateway.address()).await,
        }
    }

    async fn serves(&self) {
        self.provider.then(Api::Chat.answer());
        let body = Api::Chat.request(MODEL, false).to_string();
        let mut client = self.client().await;
        let reply = client.post("/v1/chat/completions", self.gateway.key(), None, body.as_bytes()).await;
        assert_eq!(reply.head.status, 200, "it goes on serving");
        assert!(!self.gateway.log().contains("panicked"));
    }

    fn name(&self) -> &str {
        if self.authority.is_some() { "over TLS" } else { "in clear" }
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// What a client says first, and then these frames.
fn opening(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, b""), &frames.concat()].concat()
}

/// The head of a request, packed by the tables that need no state (RFC 7541).
fn request_head(path: &str, key: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // `:method: POST`, `:scheme: http`, then literals: `:path`, `:authority`, and a name of its own.
    let fields = [vec![0x83, 0x86, 0x04], text(path), vec![0x01], text("gateway"), vec![0x00]];
    [fields.concat(), text("authorization"), text(&format!("Bearer {key}"))].concat()
}

/// The code of the last GOAWAY in what the gateway sent.
fn goaway(mut sent: &[u8]) -> Option<u8> {
    let mut code = None;
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = sent {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if *kind == GOAWAY {
            code = rest.get(7).copied();
        }
        sent = rest.get(length..)?;
    }
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_has_its_time_and_no_more() {
    let head_time = Duration::from_millis(600);
    for door in Door::both("600ms").await {
        let head = request_head("/v1/chat/completions", door.gateway.key());
        let whole = frame(HEADERS, END_HEADERS, 1, &head);
        let cases = [
            ("a block without its end", vec![frame(HEADERS, 0, 1, &head)]),
            ("a frame without its end", vec![whole[..whole.len() - 1].to_vec()]),
            ("no more than its type", vec![whole[..4].to_vec()]),
            (
                "a second part without its end",
                vec![frame(HEADERS, 0, 1, &head[..9]), frame(CONTINUATION, 0, 1, &head[9..])],
            ),
        ];
        // A request that takes longer than a head may.
        let gate = Gate::new();
        door.provider.then(Api::Anthropic.stream().gated_after(2, &gate));
        let body = Api::Anthropic.request(MODEL, true).to_string();
        let mut other = door.client().await;
        let slow = other.start("/v1/messages", door.gateway.key(), None, body.as_bytes()).await;
        for (what, frames) in cases {
            let begun = Instant::now();
            let mut wire = door.wire().await;
            wire.send(opening(&frames)).await.unwrap();
            wire.until_closed().await;
            let took = begun.elapsed();
            assert!((head_time..BEFORE_IDLE).contains(&took), "{what} {}: {took:?}", door.name());
        }
        gate.open_wide();
        assert_eq!(slow.finish().await.body, Api::Anthropic.stream().body(), "{}", door.name());
        door.serves().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_has_no_more_time_than_one_that_stops() {
    for door in Door::both("600ms").await {
        let begun = Instant::now();
        let mut wire = door.wire().await;
        // A frame of 16 000 bytes, of which one comes now and then.
        let beginning = [&16_000_u32.to_be_bytes()[1..], &[HEADERS, END_HEADERS, 0, 0, 0, 1]].concat();
        wire.send(opening(&[beginning])).await.unwrap();
        // The next byte goes out unless the end of the connection comes first.
        while tokio::time::timeout(Duration::from_millis(50), wire.until_closed()).await.is_err() {
            assert!(begun.elapsed() < BEFORE_IDLE, "{}: it is let drip", door.name());
            let _ = wire.send([0x83]).await;
        }
        door.serves().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_progress_does_not_give_time_to_the_head_of_the_next() {
    for door in Door::both("600ms").await {
        let gate = Gate::new();
        door.provider.then(Api::Chat.stream().gated_after(2, &gate));
        let body = Api::Chat.request(MODEL, true).to_string();
        let head = request_head("/v1/chat/completions", door.gateway.key());
        let mut wire = door.wire().await;
        let request = [frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, body.as_bytes())];
        wire.send(opening(&request)).await.unwrap();
        door.provider.request(0).await;
        let begun = Instant::now();
        wire.send(frame(HEADERS, 0, 3, &head)).await.unwrap();
        wire.until_closed().await;
        assert!(begun.elapsed() < BEFORE_IDLE, "{}: {:?}", door.name(), begun.elapsed());
        // The one that was in progress is read on and paid.
        eventually("the client's leave is seen", async || {
            (door.gateway.metric("requests_total").await > 0.0).then_some(())
        })
        .await;
        gate.open_wide();
        let row = door.gateway.admin().newest_of(1).await;
        assert_eq!((&row["outcome"], Tokens::of_row(&row)), (&"client_aborted".into(), Api::Chat.tokens()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn continuations_are_limited_in_number_and_size() {
    // Time is not what ends these.
    for door in Door::both("10m").await {
        let head = request_head("/v1/chat/completions", door.gateway.key());
        let empty = [vec![frame(HEADERS, 0, 1, &head)], vec![frame(CONTINUATION, 0, 1, b""); 6]].concat();
        let mut wire = door.wire().await;
        wire.send(opening(&empty)).await.unwrap();
        assert_eq!(goaway(&wire.until_closed().await), Some(ENHANCE_YOUR_CALM), "{}", door.name());

        // Fields of a name with one byte and a value with 4 096 each.
        let field = [b"\x00\x01x\x7f\x81\x1f".as_slice(), &[b'y'; 4_096]].concat();
        let large = frame(CONTINUATION, 0, 1, &field.repeat(3));
        let mut wire = door.wire().await;
        wire.send(opening(&[frame(HEADERS, 0, 1, &head)])).await.unwrap();
        let mut frames = 0;
        while wire.send(&large).await.is_ok() {
            frames += 1;
            assert!(frames < 10_000, "{}: {frames} frames of {} bytes were taken", door.name(), large.len());
        }
        door.serves().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_head_in_several_frames_is_served() {
    for door in Door::both("10s").await {
        door.provider.then(Api::Chat.answer());
        let (bearer, pad) = (format!("Bearer {}", door.gateway.key()), "#".repeat(40 << 10));
        let mut client = door.client().await;
        let headers = [("authorization", &*bearer), ("x-pad", &*pad)];
        let (response, mut stream) = client.open("/v1/chat/completions", &headers).await;
        stream.send_data(Api::Chat.request(MODEL, false).to_string().into(), true).unwrap();
        assert_eq!(crate::support::soon("an answer", response).await.unwrap().status(), 200, "{}", door.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_shakes_hands_and_says_nothing_is_let_go() {
    for door in Door::both("600ms").await {
        let begun = Instant::now();
        assert!(door.wire().await.is_closed().await, "{}", door.name());
        assert!(begun.elapsed() < BEFORE_IDLE, "{}: {:?}", door.name(), begun.elapsed());
    }
}
