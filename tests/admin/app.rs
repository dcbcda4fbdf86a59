//! The REST API over a real database, with the rest of the gateway played by the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use jiff::tz::TimeZone;
use migration::{Migrator, MigratorTrait};
use parking_lot::{Mutex, RwLock};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, EntityTrait, Statement};
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate::admin::{
    AdminState, Auth, CircuitChange, CircuitStatus, History, Instant, Invalidate, ProviderError, ProviderStatus,
    ProviderView, router,
};
use tollgate::clock::now_ms;
use tollgate::dialect::Dialect;
use tollgate::gateway::App as Node;
use tollgate::pricing::{Price, PriceBook, Prices};
use tollgate::server::BudgetDesk;
use tower::ServiceExt;

use crate::{node, spec};

/// The token that the environment gives.
pub const TOKEN: &str = "an-admin-token-from-the-environment";
/// When tests begin.
pub const NOW: i64 = 1_790_000_000_000;

/// The API and what stands behind it.
pub struct App {
    pub db: DatabaseConnection,
    pub clock: Arc<AtomicI64>,
    pub zone: Arc<RwLock<TimeZone>>,
    pub seen: Arc<Seen>,
    /// What requests would go through.
    pub node: Arc<Node>,
    /// How many statements the database was sent.
    pub statements: Arc<AtomicUsize>,
    /// What it was sent, while that is recorded.
    record: Arc<Mutex<Option<Vec<Statement>>>>,
    /// The key that a scenario asks about its owner with.
    pub mine: Mutex<String>,
    router: Router,
    _folder: Option<TempDir>,
}

/// What the API told the rest of the gateway.
pub struct Seen {
    db: DatabaseConnection,
    pub told: Mutex<Vec<String>>,
    node: Arc<Node>,
}

impl Seen {
    /// What was told since this was last asked.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock())
    }
}

#[async_trait::async_trait]
impl Invalidate for Seen {
    async fn user(&self, id: i64) {
        self.told.lock().push(format!("user {id}"));
    }

    async fn key(&self, id: i64, hash: &str) {
        assert_eq!(hash.len(), 64);
        self.told.lock().push(format!("key {id}"));
    }

    async fn prices(&self) {
        let rows = entity::model_prices::Entity::find().all(&self.db).await.unwrap();
        let rest: Prices = rows
            .into_iter()
            .map(|row| (row.model, Arc::new(serde_json::from_str::<Price>(&row.price).unwrap())))
            .collect();
        self.node.prices.store(Arc::new(PriceBook::new(&BTreeMap::new(), &rest)));
        self.told.lock().push("prices".to_owned());
    }

    async fn owners(&self, users: &[i64], keys: &[(i64, String)]) {
        assert!(keys.iter().all(|(_, hash)| hash.len() == 64));
        let keys: Vec<i64> = keys.iter().map(|(id, _)| *id).collect();
        self.told.lock().push(format!("owners {users:?} {keys:?}"));
    }

    async fn limits(&self) {
        self.node.limits.read(now_ms()).await.unwrap();
        self.told.lock().push("limits".to_owned());
    }

    async fn everything(&self) {
        self.prices().await;
        self.limits().await;
        *self.told.lock() = vec!["everything".to_owned()];
    }
}

/// Two providers. What is done to their circuits is remembered.
#[derive(Default)]
struct Providers {
    opened: Mutex<BTreeMap<String, Option<i64>>>,
}

impl Providers {
    fn circuit(&self, name: &str) -> CircuitStatus {
        let opened = self.opened.lock().get(name).copied();
        CircuitStatus {
            state: if opened.is_some() { "open" } else { "closed" },
            reason: opened.map(|_| "by_hand"),
            until: opened.flatten().map(Instant),
            failures: 0,
            successes: 0,
            history: Vec::new(),
            models: Vec::new(),
            last_probe: None,
        }
    }
}

impl ProviderView for Providers {
    fn list(&self) -> Vec<ProviderStatus> {
        let provider = |name: &str| ProviderStatus {
            name: name.to_owned(),
            dialects: vec![Dialect::OpenaiChat],
            models: None,
            priority: 0,
            weight: 1,
            groups: vec!["default".to_owned()],
            enabled: true,
            base_url: "https://api.example.com".to_owned(),
            circuit: self.circuit(name),
            recent_errors: vec![ProviderError {
                at: Instant(NOW),
                status: Some(529),
                reason: "upstream_status".to_owned(),
            }],
        };
        vec![provider("second"), provider("first")]
    }

    fn change_circuit(&self, name: &str, change: CircuitChange) -> bool {
        let mut opened = self.opened.lock();
        match change {
            CircuitChange::Reset => drop(opened.remove(name)),
            CircuitChange::Open { until } => drop(opened.insert(name.to_owned(), until)),
        }
        ["first", "second"].contains(&name)
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is a problem document with this code, as the contract describes it, and returns it.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:tollgate:problem:{code}"));
        assert_eq!(problem["code"], code);
        assert_eq!(problem["status"], status);
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        assert!(problem["instance"].as_str().is_some_and(|instance| instance.starts_with('/')));
        problem
    }

    /// Asserts that exactly these fields or parameters are wrong.
    #[track_caller]
    pub fn invalid(&self, paths: &[&str]) {
        let problem = self.problem(400, "validation_failed");
        let found: Vec<_> = problem["invalidParams"].as_array().unwrap().iter().map(|p| p["path"].clone()).collect();
        assert_eq!(found, paths, "{problem}");
    }

    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

impl App {
    /// On a SQLite file of its own.
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
        let mut app = Self::new(&url).await;
        app._folder = Some(folder);
        app
    }

    /// On the database at `url`.
    pub async fn new(url: &str) -> Self {
        let mut options = ConnectOptions::new(url);
        options.max_connections(8).sqlx_logging(false);
        options.map_sqlx_sqlite_opts(|options| {
            options.journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal).foreign_keys(true)
        });
        let mut db = Box::pin(Database::connect(options)).await.unwrap();
        let statements = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&statements);
        let record = Arc::new(Mutex::new(None::<Vec<Statement>>));
        let recorder = Arc::clone(&record);
        db.set_metric_callback(move |sent| {
            counter.fetch_add(1, Ordering::SeqCst);
            if let Some(record) = &mut *recorder.lock() {
                record.push(sent.statement.clone());
            }
        });
        Migrator::up(&db, None).await.unwrap();
        let clock = Arc::new(AtomicI64::new(NOW));
        let zone = Arc::new(RwLock::new(TimeZone::UTC));
        let node = node::start(&db).await;
        let seen = Arc::new(Seen { db: db.clone(), told: Mutex::default(), node: Arc::clone(&node) });
        let state = AdminState {
            db: db.clone(),
            history: History { all: db.clone(), own: db.clone() },
            invalidate: Arc::clone(&seen) as Arc<dyn Invalidate>,
            providers: Arc::new(Providers::default()),
            budgets: Arc::new(BudgetDesk::new(&node, None)),
            prices: {
                let node = Arc::clone(&node);
                Arc::new(move || node.prices.load_full())
            },
            settings: Arc::new(|| json!({"server": {"listen": "0.0.0.0:8080"}})),
            ready: {
                let clock = Arc::clone(&clock);
                Arc::new(move || clock.load(Ordering::SeqCst) >= NOW)
            },
            clock: {
                let clock = Arc::clone(&clock);
                Arc::new(move || {
                    let now = clock.load(Ordering::SeqCst);
                    assert!(now >= 0, "the clock of this test panics");
                    now
                })
            },
            body_timeout: std::time::Duration::from_secs(2),
            time_zone: {
                let zone = Arc::clone(&zone);
                Arc::new(move || zone.read().clone())
            },
            auth: Arc::new(Auth::new(Some(TOKEN))),
        };
        Self {
            router: router(state),
            db,
            clock,
            zone,
            seen,
            node,
            statements,
            record,
            mine: Mutex::default(),
            _folder: None,
        }
    }

    /// Begins to record what the database is sent.
    pub fn record(&self) {
        *self.record.lock() = Some(Vec::new());
    }

    /// What it was sent since.
    pub fn recorded(&self) -> Vec<Statement> {
        self.record.lock().take().unwrap()
    }

    /// Sends a request; the answer is read by whoever asked.
    pub async fn open(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.open(request).await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request with this token and these headers. Paths are those of the API's documentation.
    pub async fn call(&self, method: &str, path: &str, token: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        self.exchange(method, path, token, headers, body, None).await
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Body,
        sent: Option<&Value>,
    ) -> Answer {
        let path = if path.starts_with("/api/") { path.to_owned() } else { format!("/api/v1{path}") };
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(&path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let address = SocketAddr::from(([192, 0, 2, 1], 4711));
        let answer = self.send(request.extension(ConnectInfo(address)).body(body).unwrap()).await;
        spec::check(method, &path, sent, answer.status.as_u16(), &answer.headers, &answer.body);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, TOKEN, &[], Body::empty()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, TOKEN, &[], Body::empty()).await
    }

    pub async fn json(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.exchange(method, path, TOKEN, &headers, body.to_string().into(), Some(body)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.json("POST", path, &[], &body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.json("PATCH", path, &[], &body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.json("PUT", path, &[], &body).await
    }

    /// What the audit log says, oldest first.
    pub async fn audit(&self) -> Vec<entity::audit_log::Model> {
        use sea_orm::QueryOrder;
        entity::audit_log::Entity::find().order_by_asc(entity::audit_log::Column::Id).all(&self.db).await.unwrap()
    }
}
