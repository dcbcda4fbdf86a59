//! The configuration's types: field names are the keys of the file, doc comments are its JSON Schema's descriptions.

mod budgets;
mod hours;
mod limits;
mod provider;
mod routing;
mod server;
mod storage;

pub use budgets::{Budgets, Lease, LeaseOverrides, OnAuthorityFailure, ReservationMode};
pub use hours::{Day, Hours};
pub use limits::{DailyLimit, FiveHourLimit, Limits, PlainLimit, Reset};
pub use provider::{Circuit, Health, Provider, ProviderTimeouts, ProviderTls};
pub use routing::{Affinity, ClientAbort, Gate, Loser, Racing, Routing, Strategy};
pub use server::{Log, LogFormat, LogLevel, Server, ServerTimeouts, ServerTls, Shutdown};
pub use storage::{Database, Interrupted, Ledger, Node, Prices, Redis, Unpriced};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration of a Tollgate node. Every setting has a default; an unknown key is an error. In every text,
/// `${VAR}` is replaced by the environment variable VAR, `${VAR:-default}` by the default when VAR is unset or
/// empty; `$${` stands for a literal `${`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Tollgate configuration")]
pub struct Config {
    /// Where the node listens, and how patient it is with clients.
    pub server: Server,
    /// What is logged, and how.
    pub log: Log,
    /// How the node stops.
    pub shutdown: Shutdown,
    /// Where users, keys, prices and the ledger are kept.
    pub database: Database,
    /// What several nodes share. Leave it out on one node.
    pub redis: Option<Redis>,
    /// This node.
    pub node: Node,
    /// How budgets are held.
    pub budgets: Budgets,
    /// Where prices come from.
    pub prices: Prices,
    /// How the ledger is written and how long details are kept.
    pub ledger: Ledger,
    /// How a provider is chosen for a request.
    pub routing: Routing,
    /// What happens when a client leaves before its answer ends.
    pub on_client_abort: ClientAbort,
    /// The upstream APIs that requests may go to.
    pub providers: Vec<Provider>,
}
