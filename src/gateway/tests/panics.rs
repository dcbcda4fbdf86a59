//! A panic is the affair of one request: seen on a gateway whose stages panic when a test says so.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora::server::configuration::ServerConf;
use pingora::services::Service;
use pingora_proxy::ProxyServiceBuilder;
use sea_orm::{DatabaseConnection, EntityTrait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::panicking::{Panicking, Stage};
use crate::clock::now_ms;
use crate::directory::{NewKey, NewUser, create_key, create_user};
use crate::gateway::{App, Gateway, Live};
use crate::pricing::{PriceBook, Prices};
use crate::provider::Catalogue;
use crate::upstream::{Connector, DrainLimits};

const SOON: Duration = Duration::from_secs(20);

/// What the provider answers, in two parts: the second one comes when the test lets it.
const WHOLE: [&str; 2] = [
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 88\r\n\r\n\
     {\"choices\":[{\"finish_reason\":\"stop\"}],",
    "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}",
];

/// A running gateway before a provider, for a key that may make one request at a time.
struct Node {
    app: Arc<App>,
    db: DatabaseConnection,
    armed: Arc<Mutex<Option<Stage>>>,
    /// Lets the second part of one answer go.
    rest: Arc<Semaphore>,
    socket: PathBuf,
    key: String,
    _stop: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// One with a second provider, which is asked first.
    async fn start_with(preferred: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rest = Arc::new(Semaphore::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = format!(
            "providers: [{preferred}{{name: upstream, base_url: 'http://{}', attempts: 1, dialects: [anthropic, \
             openai_chat, openai_responses, openai_embeddings, gemini], priority: 1}}]\nprices: {{unpriced: free}}\n\
             routing: {{racing: {{after: 1ms, loser: charge}}}}",
            listener.local_addr().unwrap()
        );
        tokio::spawn(provide(listener, Arc::clone(&rest)));
        let mut config = crate::config::parse(&config, folder.path(), &|_| None).unwrap();
        config.node.data_dir = folder.path().to_owned();
        let url = format!("sqlite://{}", folder.path().join("tollgate.db").display());
        let db = crate::store::connect(&url, 4).await.unwrap();
        crate::store::migrate(&db).await.unwrap();
        let user = create_user(&db, NewUser::named("ada"), now_ms()).await.unwrap();
        let key = NewKey { max_concurrent_requests: Some(1), ..NewKey::named("laptop") };
        let (_, secret) = create_key(&db, user.id, key, now_ms()).await.unwrap();
        let live = Live { catalogue: Catalogue::new(&config.providers).ok().unwrap(), config };
        let prices = Arc::new(ArcSwap::from_pointee(PriceBook::new(&Prices::new(), &Prices::new())));
        let app = App::start(&db, live, prices, CancellationToken::new()).await.unwrap();
        let armed = Arc::new(Mutex::new(None));
        let conf = Arc::new(ServerConf::default());
        let panicking = Panicking { gateway: Gateway::new(Arc::clone(&app)), armed: Arc::clone(&armed) };
        let mut service = ProxyServiceBuilder::new(&conf, panicking)
            .custom(Connector::new(&conf, Arc::clone(&app.drain)), Arc::new(|_, _, _| Box::pin(async { None })))
            .build();
        let socket = folder.path().join("gateway.sock");
        service.add_uds(socket.to_str().unwrap(), None);
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(async move { service.start_service(None, stopping, 1).await });
        let key = secret.expose().to_owned();
        Self { app, db, armed, rest, socket, key, _stop: stop, _folder: folder }
    }

    /// Everything that is sent to a client that asks and then only reads.
    async fn ask(&self, path: &str) -> String {
        let body = r#"{"model":"a-model","messages":[]}"#;
        let mut stream = self.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn connect(&self) -> UnixStream {
        eventually("the gateway listens", async || UnixStream::connect(&self.socket).await.ok()).await
    }

    /// Waits until no request holds anything any more.
    async fn is_at_rest(&self) {
        eventually("no request is in flight", async || (self.app.in_flight.get() == 0).then_some(())).await;
    }

    /// The statuses and tokens of the ledger, once it has so many rows.
    async fn rows(&self, count: usize) -> Vec<(i32, i64, i64)> {
        let rows = eventually("the rows are written", async || {
            let rows = entity::usage_ledger::Entity::find().all(&self.db).await.unwrap();
            (rows.len() >= count).then_some(rows)
        });
        rows.await.into_iter().map(|row| (row.status, row.input_tokens, row.output_tokens)).collect()
    }
}

/// Answers every request with [`WHOLE`].
async fn provide(listener: TcpListener, rest: Arc<Semaphore>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(provide_on(stream, Arc::clone(&rest)));
    }
}

async fn provide_on(mut stream: TcpStream, rest: Arc<Semaphore>) {
    let mut seen = Vec::new();
    // The bodies of these tests end with the only `}` of a request.
    while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
        if seen.ends_with(b"}") {
            seen.clear();
            stream.write_all(WHOLE[0].as_bytes()).await.unwrap();
            rest.acquire().await.unwrap().forget();
            stream.write_all(WHOLE[1].as_bytes()).await.unwrap();
        }
    }
}

async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_a_request_is_admitted_is_answered_in_its_dialect_and_leaves_nothing_behind() {
    let node = Node::start().await;
    let paths = [
        ("/v1/messages", r#""type":"api_error""#),
        ("/v1/chat/completions", r#""type":"server_error""#),
        ("/v1/responses", r#""type":"server_error""#),
        ("/v1/embeddings", r#""type":"server_error""#),
        ("/v1beta/models/a-model:generateContent", r#""status":"INTERNAL""#),
    ];
    for (path, kind) in paths {
        *node.armed.lock() = Some(Stage::Admit);
        let answer = node.ask(path).await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{path}: {answer}");
        assert!(answer.contains("internal_error") && answer.contains(kind), "{path}: {answer}");
        assert!(answer.contains("x-tollgate-request-id: "), "{path}: {answer}");
        node.is_at_rest().await;
    }
    // The key may make one request at a time: its place is free.
    node.rest.add_permits(1);
    let answer = node.ask("/v1/chat/completions").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(WHOLE[1]), "{answer}");
    assert_eq!(node.rows(1).await, [(200, 7, 5)], "what was not sent has no row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_later_stage_ends_one_connection_and_loses_neither_a_place_nor_a_row() {
    let node = Node::start().await;
    let mut rows = 0;
    for (stage, sent) in [
        (Stage::Admitted, false),
        (Stage::Route, false),
        (Stage::Send, false),
        (Stage::Judge, true),
        (Stage::Head, true),
        (Stage::Body, true),
        (Stage::LastByte, true),
        (Stage::Close, true),
    ] {
        // Whoever is there already goes on.
        let mut bystander = node.connect().await;
        *node.armed.lock() = Some(stage);
        if matches!(stage, Stage::LastByte | Stage::Close) {
            node.rest.add_permits(1);
        }
        let answer = node.ask("/v1/chat/completions").await;
        assert_eq!(*node.armed.lock(), None, "{stage:?} was reached");
        assert_eq!(answer.ends_with(WHOLE[1]), stage == Stage::Close, "{stage:?}: {answer}");
        if matches!(stage, Stage::Judge | Stage::Head | Stage::Body) {
            // The provider's answer is read on without the client.
            node.rest.add_permits(1);
        }
        node.is_at_rest().await;
        rows += usize::from(sent);
        assert_eq!(node.rows(rows).await, vec![(200, 7, 5); rows], "{stage:?}");
        bystander.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut refused = String::new();
        bystander.read_to_string(&mut refused).await.unwrap();
        assert!(refused.starts_with("HTTP/1.1 401 "), "{stage:?}: {refused}");
        node.is_at_rest().await;
        node.rest.add_permits(1);
        assert!(node.ask("/v1/chat/completions").await.starts_with("HTTP/1.1 200 "), "{stage:?}: the place is free");
        node.is_at_rest().await;
        rows += 1;
        assert_eq!(node.rows(rows).await, vec![(200, 7, 5); rows], "{stage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_after_a_race_loses_neither_the_winners_row_nor_the_losers() {
    // It takes requests, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            taken.push(stream);
        }
    });
    let preferred = format!("{{name: silent, base_url: 'http://{address}', dialects: [openai_chat]}}, ");
    let node = Node::start_with(&preferred).await;
    node.app.drain.store(Arc::new(DrainLimits { time: Duration::from_secs(1), slots: Arc::new(Semaphore::new(9)) }));
    let prompt = i64::try_from(r#"{"model":"a-model","messages":[]}"#.len().div_ceil(4)).unwrap();
    let mut expected = Vec::new();
    // The gate has held the answer until it was whole: it comes in one piece.
    for stage in [Stage::Judge, Stage::Head, Stage::LastByte, Stage::Close] {
        *node.armed.lock() = Some(stage);
        node.rest.add_permits(1);
        node.ask("/v1/chat/completions").await;
        assert_eq!(*node.armed.lock(), None, "{stage:?} was reached");
        node.is_at_rest().await;
        expected.extend([(200, 7, 5), (499, prompt, 0)]);
        expected.sort_unstable();
        let mut rows = node.rows(expected.len()).await;
        rows.sort_unstable();
        assert_eq!(rows, expected, "{stage:?}");
    }
}
