//! What the REST API needs from the rest of the gateway, as interfaces, so that it can be tested alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::response::Response;
use entity::{keys, users};
use jiff::tz::TimeZone;
use sea_orm::DatabaseConnection;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::Auth;
use super::budgets::BudgetStatus;
use super::explain::Explanation;
use super::time::Instant;
use crate::dialect::Dialect;
use crate::gateway::Question;
use crate::limit::Axis;
use crate::pricing::PriceBook;
use crate::store::{self, StoreError};

/// Told of every write after it was committed and before it is answered: when these return, this node goes by the new
/// state.
#[async_trait]
pub trait Invalidate: Send + Sync {
    /// A user was changed or deleted, with all that belongs to it.
    async fn user(&self, id: i64);
    /// The key with this id, whose secret has (or had) this hash, was created, changed or deleted.
    async fn key(&self, id: i64, hash: &str);
    /// So many users and keys (by id, with the hash of the secret) were changed at once that there is no point in
    /// naming each of them everywhere.
    async fn owners(&self, users: &[i64], keys: &[(i64, String)]);
    /// Prices were changed.
    async fn prices(&self);
    /// Model groups, user groups, their members, limits or boosts were changed. Whoever wrote to users or keys, be it
    /// only their stamps, says so as well.
    async fn limits(&self);
    /// Something was committed before that may not have been told: whoever wrote it did not live to do so.
    async fn everything(&self);
}

/// What may be seen of the providers.
pub trait ProviderView: Send + Sync {
    /// Every provider of the configuration, in its order.
    fn list(&self) -> Vec<ProviderStatus>;
    /// Changes the circuits of a provider, here and on the other nodes. Returns whether there is such a provider.
    fn change_circuit(&self, name: &str, change: CircuitChange) -> bool;
}

/// What people do to circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitChange {
    /// Closes that of a provider and those of its models.
    Reset,
    /// Opens that of a provider.
    Open {
        /// Until when, Unix milliseconds; none: until it is reset.
        until: Option<i64>,
    },
}

/// What is left of budgets, and what would become of requests.
#[async_trait]
pub trait BudgetView: Send + Sync {
    /// The budgets of a user whose row was read just now.
    async fn of_user(&self, user: &users::Model) -> Result<Vec<BudgetStatus>, BudgetsUnknown>;
    /// The budgets of a key whose row was read just now.
    async fn of_key(&self, key: &keys::Model) -> Result<Vec<BudgetStatus>, BudgetsUnknown>;
    /// The budgets of a provider; none: there is no such provider.
    async fn of_provider(&self, name: &str) -> Result<Option<Vec<BudgetStatus>>, BudgetsUnknown>;
    /// The spend of this user or key was reset: what is on its way is charged in the new era.
    fn was_reset(&self, axis: Axis, owner: i64, era: i64);
    /// What would become of a request now.
    async fn explain(&self, question: Question) -> Explanation;
}

/// What is left of a budget cannot be found out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is left of a budget cannot be found out now")]
pub struct BudgetsUnknown;

/// One provider.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The wire formats that it speaks.
    #[schema(value_type = Vec<String>)]
    pub dialects: Vec<Dialect>,
    /// Globs on the requested model; null: any.
    #[schema(required)]
    pub models: Option<Vec<String>>,
    /// Lower is tried first.
    pub priority: i64,
    /// Its share among those of the same priority.
    pub weight: u32,
    /// The provider groups that it is in.
    pub groups: Vec<String>,
    /// Whether it is used.
    pub enabled: bool,
    /// Scheme, host and port of its base URL; never a credential or a path.
    pub base_url: String,
    /// Whether it is left alone for a while.
    pub circuit: CircuitStatus,
    /// What went wrong lately, newest first.
    pub recent_errors: Vec<ProviderError>,
}

/// The circuit of a provider on this node.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitStatus {
    /// `closed`: it gets requests; `open`: it gets none; `half_open`: it gets a few, to see whether it works again.
    pub state: &'static str,
    /// Why it was opened, as in the attempts of a request, or `by_hand`; null: it is closed.
    #[schema(required)]
    pub reason: Option<&'static str>,
    /// Until when it is open; null: it is not, or until somebody closes it.
    #[schema(required)]
    pub until: Option<Instant>,
    /// Failures within its window.
    pub failures: u32,
    /// Successes within its window.
    pub successes: u32,
    /// Its latest changes, newest first.
    pub history: Vec<CircuitEvent>,
    /// Models about which the provider said something that does not concern the others.
    pub models: Vec<ModelCircuit>,
    /// The latest probe of this node, sent while the circuit was open; null: there was none.
    #[schema(required)]
    pub last_probe: Option<ProbeStatus>,
}

/// How a probe of a provider ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeStatus {
    /// When.
    pub at: Instant,
    /// `ok`, or why it failed, as in the attempts of a request.
    pub result: &'static str,
    /// The provider's status; null: it did not answer.
    #[schema(required)]
    pub status: Option<u16>,
}

/// A change of a circuit.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitEvent {
    /// When.
    pub at: Instant,
    /// To what.
    pub state: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Until when it was opened; later failures may have put that off.
    #[schema(required)]
    pub until: Option<Instant>,
    /// Whether another node found that out and told this one.
    pub told: bool,
}

/// The circuit of one model at a provider.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelCircuit {
    /// The model, as it is sent.
    pub model: String,
    /// As that of a provider.
    pub state: &'static str,
    /// As that of a provider.
    #[schema(required)]
    pub reason: Option<&'static str>,
    /// As that of a provider.
    #[schema(required)]
    pub until: Option<Instant>,
    /// Failures within its window.
    pub failures: u32,
    /// Successes within its window.
    pub successes: u32,
}

/// One failed attempt.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderError {
    /// When.
    pub at: Instant,
    /// Status that the provider answered with; null: it did not answer.
    #[schema(required)]
    pub status: Option<u16>,
    /// Why the attempt ended: `connect_failed`, `first_byte_timeout`, `upstream_status`, ...
    pub reason: String,
}

/// A function of the running gateway.
pub type Shared<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// All that the REST API works with.
#[derive(Clone)]
pub struct AdminState {
    /// Where everything is kept.
    pub db: DatabaseConnection,
    /// The same, for reading what only grows.
    pub history: History,
    /// Told of writes.
    pub invalidate: Arc<dyn Invalidate>,
    /// The providers.
    pub providers: Arc<dyn ProviderView>,
    /// What is left of budgets.
    pub budgets: Arc<dyn BudgetView>,
    /// The price book in force.
    pub prices: Shared<Arc<PriceBook>>,
    /// The effective configuration, secrets masked.
    pub settings: Shared<Value>,
    /// Whether the gateway takes requests.
    pub ready: Shared<bool>,
    /// The time, Unix milliseconds.
    pub clock: Shared<i64>,
    /// How long a client may take for a body.
    pub body_timeout: Duration,
    /// The time zone of calendar days.
    pub time_zone: Shared<TimeZone>,
    /// The credentials of administrators.
    pub auth: Arc<Auth>,
}

/// Connections for reading the ledger, refusals and the audit log. They are few, and nobody else's: who reads much waits for
/// others who do, not with those who are to be served or to change something.
#[derive(Clone, Debug)]
pub struct History {
    /// For administrators.
    pub all: DatabaseConnection,
    /// For users, each about himself.
    pub own: DatabaseConnection,
}

impl History {
    /// So many connections each.
    const READERS: u32 = 3;

    /// Connects as soon as somebody reads.
    ///
    /// # Errors
    /// The URL is wrong.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let (all, own) =
            (store::connect_later(url, Self::READERS).await?, store::connect_later(url, Self::READERS).await?);
        Ok(Self { all, own })
    }
}

impl AdminState {
    /// The time, Unix milliseconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        (self.clock)()
    }

    /// What was answered before, which says again that the write is in force: it may not be, where the node that carried
    /// it out did not live to tell, or has not told yet.
    pub(super) async fn replayed(&self, answer: Response) -> Response {
        self.invalidate.everything().await;
        answer
    }
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("db", &self.db).finish_non_exhaustive()
    }
}
