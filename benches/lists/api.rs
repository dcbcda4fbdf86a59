//! The REST API over a database, without the rest of a gateway.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use entity::{keys, users};
use jiff::tz::TimeZone;
use sea_orm::DatabaseConnection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate::admin::{
    AdminState, Auth, BudgetStatus, BudgetView, BudgetsUnknown, CircuitChange, Explanation, History, Invalidate,
    ProviderStatus, ProviderView, router,
};
use tollgate::gateway::Question;
use tollgate::limit::Axis;
use tollgate::pricing::{PriceBook, Prices};
use tollgate::store;
use tower::ServiceExt;

use crate::support::postgres::Postgres;

const TOKEN: &str = "an-admin-token-from-the-environment";

/// Keeps the database until it is dropped.
pub struct Api {
    pub name: &'static str,
    pub db: DatabaseConnection,
    router: Router,
    _sqlite: Option<TempDir>,
    _postgres: Option<Postgres>,
}

impl Api {
    pub async fn start(postgres: bool) -> Self {
        let (name, folder, server, url) = if postgres {
            let server = Postgres::start();
            let url = server.url("postgres");
            ("PostgreSQL", None, Some(server), url)
        } else {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", folder.path().join("tollgate.db").display());
            ("SQLite", Some(folder), None, url)
        };
        let db = store::connect(&url, 16).await.unwrap();
        store::migrate(&db).await.unwrap();
        let nobody = Arc::new(Nobody);
        let state = AdminState {
            db: db.clone(),
            history: History { all: db.clone(), own: db.clone() },
            invalidate: Arc::clone(&nobody) as _,
            providers: Arc::clone(&nobody) as _,
            budgets: nobody,
            prices: Arc::new(|| Arc::new(PriceBook::new(&Prices::new(), &Prices::new()))),
            settings: Arc::new(|| json!({})),
            ready: Arc::new(|| true),
            clock: Arc::new(|| 50_500),
            body_timeout: Duration::from_secs(1),
            time_zone: Arc::new(|| TimeZone::UTC),
            auth: Arc::new(Auth::new(Some(TOKEN))),
        };
        Self { name, db, router: router(state), _sqlite: folder, _postgres: server }
    }

    /// A page of a list.
    pub async fn get(&self, path: &str) -> Value {
        let request = Request::get(format!("/api/v1{path}")).header("authorization", format!("Bearer {TOKEN}"));
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }
}

/// What a list never asks.
struct Nobody;

#[async_trait]
impl Invalidate for Nobody {
    async fn user(&self, _: i64) {}
    async fn key(&self, _: i64, _: &str) {}
    async fn owners(&self, _: &[i64], _: &[(i64, String)]) {}
    async fn prices(&self) {}
    async fn limits(&self) {}
    async fn everything(&self) {}
}

impl ProviderView for Nobody {
    fn list(&self) -> Vec<ProviderStatus> {
        Vec::new()
    }

    fn change_circuit(&self, _: &str, _: CircuitChange) -> bool {
        false
    }
}

#[async_trait]
impl BudgetView for Nobody {
    async fn of_user(&self, _: &users::Model) -> Result<Vec<BudgetStatus>, BudgetsUnknown> {
        Err(BudgetsUnknown)
    }

    async fn of_key(&self, _: &keys::Model) -> Result<Vec<BudgetStatus>, BudgetsUnknown> {
        Err(BudgetsUnknown)
    }

    async fn of_provider(&self, _: &str) -> Result<Option<Vec<BudgetStatus>>, BudgetsUnknown> {
        Err(BudgetsUnknown)
    }

    fn was_reset(&self, _: Axis, _: i64, _: i64) {}

    async fn explain(&self, _: Question) -> Explanation {
        panic!("a list explains nothing")
    }
}
