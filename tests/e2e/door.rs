//! Heads and bodies that are no HTTP: refused in the dialect of the path, the connection closed, the process unmoved.

use serde_json::json;

use crate::support::gateway::{MODEL, Setup};
use crate::support::wire::{Reply, request};
use crate::support::{Api, Gateway, Provider, Wire};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

struct Door {
    provider: Provider,
    gateway: Gateway,
}

impl Door {
    async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let provider = Provider::start().await;
        let gateway = change(Setup::new([provider.entry("upstream", &DIALECTS)])).start().await;
        Self { provider, gateway }
    }

    /// Sends bytes over a connection of their own and reads the refusal, after which the connection must end.
    async fn refuses(&self, api: Api, what: &str, bytes: impl AsRef<[u8]>, status: u16, code: &str) {
        let mut wire = self.gateway.connect().await;
        // The gateway may answer and close before it has read everything.
        let _ = wire.send(bytes).await;
        let reply = wire.reply().await.unwrap_or_else(|error| panic!("{what}, {api:?}: no answer: {error}"));
        assert_eq!(reply.head.status, status, "{what}, {api:?}: {}", String::from_utf8_lossy(&reply.body));
        api.refuses(&reply, status, code);
        has_an_id(&reply);
        assert!(wire.is_closed().await, "{what}, {api:?}: the connection ends");
    }

    /// The process still serves, and nothing of what was tried has reached the provider.
    async fn serves(&self, what: &str) {
        let before = self.provider.requests().len();
        self.provider.then(Api::Chat.answer());
        assert_eq!(self.gateway.ask(Api::Chat, false).await.head.status, 200, "it goes on serving after {what}");
        let requests = self.provider.requests();
        assert_eq!(requests.len(), before + 1, "nothing reached the provider: {what}");
        assert!(!self.gateway.log().contains("panicked"), "no panic: {what}");
    }

    fn head(&self, api: Api, more: &str) -> String {
        let path = api.path(MODEL, false);
        format!("POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n{more}", self.gateway.key())
    }
}

fn has_an_id(reply: &Reply) {
    let id = reply.head.request_id();
    assert_eq!(uuid::Uuid::parse_str(id).expect("a UUID").get_version_num(), 7, "{id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_answered_in_the_dialect_of_its_path() {
    let door = Door::with(|setup| setup.set("server.timeouts.header", "400ms")).await;
    for api in Api::ALL {
        let line = format!("POST {} HTTP/1.1\r\n", api.path(MODEL, false));
        let headers = door.head(api, "content-length: 4\r\n");
        for (what, bytes) in [("after the request line", &line), ("in the headers", &headers)] {
            door.refuses(api, what, bytes, 408, "request_timeout").await;
        }
    }
    // Too little to tell a dialect, or HTTP from HTTP/2.
    for bytes in ["P", "POST", "POST /v1/ch"] {
        door.refuses(Api::Chat, bytes, bytes, 408, "request_timeout").await;
    }
    door.serves("heads that never end").await;
    // A second request on a connection has its time like the first.
    door.provider.then(Api::Chat.answer());
    let mut wire: Wire = door.gateway.connect().await;
    wire.post("/v1/chat/completions", door.gateway.key(), &Api::Chat.request(MODEL, false)).await;
    assert_eq!(wire.reply().await.unwrap().head.status, 200);
    wire.send(door.head(Api::Anthropic, "")).await.unwrap();
    let late = wire.reply().await.unwrap();
    Api::Anthropic.refuses(&late, 408, "request_timeout");
    assert!(wire.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_not_http_or_too_large_are_answered_in_the_dialect_of_their_path() {
    let door = Door::with(|setup| setup).await;
    let many: String = (0..257).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(70 << 10));
    for api in Api::ALL {
        let cases = [
            ("a header without a colon", door.head(api, "nonsense\r\n\r\n")),
            ("a name with a space", door.head(api, "x y: z\r\n\r\n")),
            ("an unknown version", door.head(api, "\r\n").replacen("HTTP/1.1", "HTTP/x.y", 1)),
            ("more than 256 headers", door.head(api, &many) + "\r\n"),
            ("70 KiB of headers", door.head(api, &large) + "\r\n"),
            ("both framings", door.head(api, "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
            (
                "both framings, the other way round",
                door.head(api, "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
            ),
            ("a list of codings", door.head(api, "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
            ("chunked twice", door.head(api, "transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n")),
            ("two lengths", door.head(api, "content-length: 2\r\ncontent-length: 3\r\n\r\n{}")),
        ];
        for (what, bytes) in cases {
            door.refuses(api, what, bytes, 400, "invalid_request").await;
        }
        door.serves(&format!("what was sent to {api:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_none_are_answered_in_the_dialect_of_their_path() {
    let door = Door::with(|setup| setup).await;
    for api in Api::ALL {
        for (what, size) in
            [("a word", "xyz"), ("a negative number", "-1"), ("too large a number", "fffffffffffffffff")]
        {
            let bytes = door.head(api, &format!("transfer-encoding: chunked\r\n\r\n{size}\r\n{{}}\r\n0\r\n\r\n"));
            door.refuses(api, what, bytes, 400, "invalid_request").await;
            door.serves(what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_client_gives_its_request_is_ignored() {
    let door = Door::with(|setup| setup).await;
    let theirs = "01890a5d-ac96-774b-bcce-b302099a8057";
    let bearer = format!("Bearer {}", door.gateway.key());
    for api in Api::ALL {
        door.provider.then(api.answer());
        let body = api.request(MODEL, false).to_string();
        let headers = [("authorization", &*bearer), ("x-tollgate-request-id", theirs)];
        let mut wire = door.gateway.connect().await;
        wire.send(request("POST", &api.path(MODEL, false), &headers, body.as_bytes())).await.unwrap();
        let reply = wire.reply().await.unwrap();
        assert_eq!(reply.head.status, 200, "{api:?}");
        has_an_id(&reply);
        assert_ne!(reply.head.request_id(), theirs, "{api:?}");
        let names = reply.head.headers.iter().filter(|(name, _)| name == "x-tollgate-request-id");
        assert_eq!(names.count(), 1, "{api:?}");
        let sent = door.provider.requests().pop().unwrap();
        assert_eq!(sent.header("x-tollgate-request-id"), None, "{api:?}");
        door.gateway.admin().row_of(reply.head.request_id()).await;
    }
    assert_eq!(door.gateway.admin().rows_of(theirs).await, json!([]).as_array().unwrap().clone());
}
