//! What a node keeps, and where: database, Redis, data folder, prices and ledger.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{As, DatabaseUrl, DurationNotation, RedisUrl, SizeNotation};

/// Where users, keys, prices and the ledger are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite://FILE` (one node) or `postgres://USER:PASSWORD@HOST/NAME`.
    pub url: DatabaseUrl,
    /// The most connections that are open at once; up to six more read usage, refusals and the audit log.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: DatabaseUrl::known("sqlite://data/tollgate.db"), max_connections: 16 }
    }
}

/// What several nodes share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// `redis://`, `rediss://` (TLS), or `redis+cluster://` and `rediss+cluster://` for a cluster.
    pub url: RedisUrl,
    /// How long one command may take before Redis counts as away.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub timeout: Duration,
}

impl Default for Redis {
    fn default() -> Self {
        Self { url: RedisUrl::known("redis://127.0.0.1:6379"), timeout: Duration::from_millis(50) }
    }
}

/// This node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// A label in logs and lists; nodes may share it.
    #[schemars(length(min = 1, max = 128), extend("default" = crate::config::DEFAULT_NODE_NAME))]
    pub name: String,
    /// The folder of what this node alone keeps, relative to the working directory.
    pub data_dir: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Self { name: "node".to_owned(), data_dir: PathBuf::from("data") }
    }
}

/// Where prices come from: per model, the REST API's entry over the file's over the built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// A price file (YAML), relative to the configuration file.
    pub file: Option<PathBuf>,
    /// What to do with a request for a model without a price.
    pub unpriced: Unpriced,
}

/// What to do with a request for a model without a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Unpriced {
    /// Refuse it.
    #[default]
    Refuse,
    /// Let it pass and charge nothing.
    Free,
}

/// How the ledger is written and how long details are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// How large the local journal may grow while the database is away; then requests are refused.
    #[serde(with = "As::<SizeNotation>")]
    #[schemars(with = "SizeNotation")]
    pub journal_max: u64,
    /// How often the journal is forced to disk.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub fsync: Duration,
    /// What a request that a crash interrupted is charged.
    pub interrupted: Interrupted,
    /// Days for which the details of requests are kept.
    #[schemars(range(max = 36_500))]
    pub request_detail_days: u32,
    /// Days for which refusals are kept; 0: none is.
    #[schemars(range(max = 36_500))]
    pub refusal_days: u32,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            journal_max: 1 << 30,
            fsync: Duration::from_millis(50),
            interrupted: Interrupted::default(),
            request_detail_days: 30,
            refusal_days: 7,
        }
    }
}

/// What a request that a crash interrupted is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Interrupted {
    /// Its estimate.
    #[default]
    Estimate,
    /// Nothing.
    Zero,
}
