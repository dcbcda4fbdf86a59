//! A panic is the affair of one request: seen on a gateway whose stages panic when a test says so.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::server::configuration::ServerConf;
use pingora::services::Service;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_limits::inflight::Inflight;
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyServiceBuilder, Session};
use sea_orm::{DatabaseConnection, EntityTrait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::admit::unpanicked;
use super::app::{App, InFlightCount, Live};
use super::context::RequestContext;
use super::{Gateway, OpenTabs};
use crate::budget::Counts;
use crate::budget::estimate::Learnt;
use crate::clock::now_ms;
use crate::directory::{Authenticator, Directory, FloodGuard, LimitKeeper, NewKey, NewUser, create_key, create_user};
use crate::ledger::{self, Ledger, LedgerOptions};
use crate::pricing::{AppliedJson, PriceBook, Prices};
use crate::provider::{Catalogue, ProviderEvents};
use crate::server::budgets;
use crate::telemetry::Metrics;
use crate::upstream::{Connector, DrainLimits, Resolver};

const SOON: Duration = Duration::from_secs(20);

/// What the provider answers, in two parts: the second one comes when the test lets it.
const WHOLE: [&str; 2] = [
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 88\r\n\r\n\
     {\"choices\":[{\"finish_reason\":\"stop\"}],",
    "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}",
];

/// Where a request may meet a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// At the end of `request_filter`, where everything is known and nothing is sent.
    Admit,
    /// The same, outside of what is caught there.
    Admitted,
    Route,
    Send,
    Judge,
    Head,
    Body,
    LastByte,
    Close,
}

/// The gateway; the stage that is armed panics, once.
struct Panicking {
    gateway: Gateway,
    armed: Arc<Mutex<Option<Stage>>>,
}

impl Panicking {
    fn reach(&self, stage: Stage) {
        let armed = self.armed.lock().take_if(|armed| *armed == stage);
        assert_eq!(armed, None, "the test wants a panic here");
    }
}

#[async_trait]
impl ProxyHttp for Panicking {
    type CTX = RequestContext;

    fn new_ctx(&self) -> Self::CTX {
        self.gateway.new_ctx()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        if *self.armed.lock() != Some(Stage::Admit) {
            let answered = self.gateway.request_filter(session, ctx).await;
            self.reach(Stage::Admitted);
            return answered;
        }
        let outcome = unpanicked(async {
            let next = self.gateway.examine(session, ctx).await;
            self.reach(Stage::Admit);
            next
        });
        let outcome = outcome.await;
        self.gateway.conclude(session, ctx, outcome).await
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let peer = self.gateway.upstream_peer(session, ctx).await;
        self.reach(Stage::Route);
        peer
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let sent = self.gateway.upstream_request_filter(session, upstream, ctx).await;
        self.reach(Stage::Send);
        sent
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.reach(Stage::Judge);
        self.gateway.upstream_response_filter(session, head, ctx).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        self.gateway.fail_to_connect(session, peer, ctx, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        self.gateway.error_while_proxy(peer, session, error, ctx, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        self.gateway.fail_to_proxy(session, error, ctx).await
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.reach(Stage::Head);
        self.gateway.response_filter(session, head, ctx).await
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        self.reach(if end { Stage::LastByte } else { Stage::Body });
        self.gateway.response_body_filter(session, body, end, ctx)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        self.reach(Stage::Close);
        self.gateway.logging(session, error, ctx).await;
    }
}

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
        let folder = tempfile::tempdir().unwrap();
        let rest = Arc::new(Semaphore::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = format!(
            "providers: [{{name: upstream, base_url: 'http://{}', attempts: 1, dialects: [anthropic, openai_chat, \
             openai_responses, openai_embeddings, gemini]}}]\nprices: {{unpriced: free}}",
            listener.local_addr().unwrap()
        );
        tokio::spawn(provide(listener, Arc::clone(&rest)));
        let config = crate::config::parse(&config, folder.path(), &|_| None).unwrap();
        let url = format!("sqlite://{}", folder.path().join("tollgate.db").display());
        let db = crate::store::connect(&url, 4).await.unwrap();
        crate::store::migrate(&db).await.unwrap();
        let user = create_user(&db, NewUser::named("ada"), now_ms()).await.unwrap();
        let key = NewKey { max_concurrent_requests: Some(1), ..NewKey::named("laptop") };
        let (_, secret) = create_key(&db, user.id, key, now_ms()).await.unwrap();
        let directory = Directory::new(db.clone(), now_ms());
        let drain = DrainLimits { time: SOON, slots: Arc::new(Semaphore::new(8)) };
        let inc = ledger::begin_life(&db, "test", true, now_ms()).await.unwrap();
        let ledger = Arc::new(Ledger::start(db.clone(), inc, LedgerOptions::default()));
        let (seeds, budgets) = budgets::start(&db, inc, &ledger, &config, CancellationToken::new());
        let app = Arc::new(App {
            prices: Arc::new(ArcSwap::from_pointee(PriceBook::new(&Prices::new(), &Prices::new()))),
            authenticator: Authenticator::new(directory.clone()),
            directory,
            flood_guard: FloodGuard::new(),
            applied_json: AppliedJson::default(),
            open_tabs: OpenTabs::default(),
            counts: Counts::alone(),
            ledger,
            limits: LimitKeeper::start(db.clone(), now_ms()).await,
            no_groups: Arc::default(),
            budgets,
            seeds,
            learnt: Learnt::new(8),
            metrics: Arc::new(Metrics::default()),
            provider_events: Arc::new(ProviderEvents::default()),
            resolver: Resolver::default(),
            provider_load: Inflight::new(),
            large_bodies: Semaphore::new(1),
            drain_load: Inflight::new(),
            in_flight: InFlightCount::default(),
            drain: Arc::new(ArcSwap::from_pointee(drain)),
            live: ArcSwap::from_pointee(Live { catalogue: Catalogue::new(&config.providers).ok().unwrap(), config }),
        });
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
