//! One upstream API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Hours, Limits};
use crate::config::notation::{
    As, BaseUrlNotation, DurationNotation, ModelGlob, Multiplier, ProviderName, Ratio, Secret,
};
use crate::dialect::Dialect;

/// One upstream API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name in logs, metrics and the ledger. Unique.
    #[serde(with = "As::<ProviderName>")]
    #[schemars(with = "ProviderName")]
    pub name: String,
    /// Whether it is asked at all. What is in flight goes on.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The times at which it may be asked. Left out: at any time.
    #[serde(default)]
    pub schedule: Vec<Hours>,
    /// The wire formats that it speaks.
    #[schemars(length(min = 1))]
    pub dialects: Vec<Dialect>,
    /// Where its API begins, without the `/v1` of the paths.
    #[serde(with = "As::<BaseUrlNotation>")]
    #[schemars(with = "BaseUrlNotation")]
    pub base_url: Url,
    /// The credential that is sent to it. Empty: none.
    #[serde(default)]
    pub api_key: Secret,
    /// Globs on the requested model. Leave it out to accept any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub models: Option<Vec<ModelGlob>>,
    /// Requested model: the model that is sent upstream instead.
    #[serde(default)]
    pub redirects: BTreeMap<String, String>,
    /// Lower is asked first.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// Its share among providers of the same priority.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub weight: u32,
    /// What its answers cost, as a multiple of the list price.
    #[serde(default)]
    pub cost_multiplier: Multiplier,
    /// The provider groups that it is in; a key may be confined to some.
    #[serde(default = "default_groups")]
    #[schemars(length(min = 1))]
    pub groups: Vec<String>,
    /// The most that may be spent on it.
    #[serde(default)]
    pub limits: Limits,
    /// The most requests at once from this node. 0: no limit.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub max_concurrent_requests: u32,
    /// How long it may take.
    #[serde(default)]
    pub timeouts: ProviderTimeouts,
    /// Attempts on this provider before the next.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// When it is left alone for a while.
    #[serde(default)]
    pub circuit: Circuit,
    /// Whether it is asked now and then if it works again, while failures keep its circuit open.
    #[serde(default)]
    pub health: Health,
    /// How its certificate is checked.
    #[serde(default)]
    pub tls: ProviderTls,
}

const fn yes() -> bool {
    true
}

const fn one() -> u32 {
    1
}

const fn two() -> u32 {
    2
}

fn default_groups() -> Vec<String> {
    vec!["default".to_owned()]
}

impl Provider {
    /// Whether the requested model is one that this provider takes.
    #[must_use]
    pub fn accepts(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.is_match(model)))
    }

    /// Whether what is known of the one says something about the other: the same account at the same place.
    #[must_use]
    pub fn is_same_upstream(&self, other: &Self) -> bool {
        self.base_url == other.base_url && self.api_key == other.api_key && self.dialects == other.dialects
    }

    /// The model that is sent upstream for the requested one.
    #[must_use]
    pub fn redirect<'a>(&'a self, model: &'a str) -> &'a str {
        self.redirects.get(model).map_or(model, String::as_str)
    }
}

/// How long a provider may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderTimeouts {
    /// To accept a connection, TLS included.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub first_byte: Duration,
    /// Between two reads of the answer.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub idle: Duration,
    /// For the whole attempt. 0: none.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub total: Duration,
}

impl Default for ProviderTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            total: Duration::ZERO,
        }
    }
}

/// When a provider is left alone for a while: after `failures` in `window` that are also `ratio` of its requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Circuit {
    /// Failures that open the circuit, if `ratio` is reached too.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub failures: u32,
    /// The share of failures that opens the circuit, if `failures` is reached too.
    pub ratio: Ratio,
    /// How far back failures count.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub window: Duration,
    /// How long it stays open before it is tried again.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub open: Duration,
    /// Trial requests that must succeed before it closes.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub half_open: u32,
}

impl Default for Circuit {
    fn default() -> Self {
        Self {
            failures: 5,
            ratio: Ratio::from_ppm(500_000),
            window: Duration::from_secs(60),
            open: Duration::from_secs(60),
            half_open: 2,
        }
    }
}

/// Probes that end a provider's being left alone early: sent only while failures keep its circuit open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// How often it is probed, more or less, by each node; at least 1s. 0: never.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub interval: Duration,
    /// How long a probe may take.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub timeout: Duration,
    /// What is asked for, with GET: something that costs nothing. Left out: the list of models of its first dialect.
    #[schemars(length(min = 1))]
    pub path: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { interval: Duration::ZERO, timeout: Duration::from_secs(5), path: None }
    }
}

/// How a provider's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderTls {
    /// Certificates of authorities to trust instead of the public ones, PEM, relative to the configuration file.
    pub ca_file: Option<PathBuf>,
    /// Whether it is checked at all. Turn this off only in tests: anyone on the way could read the API key.
    pub verify: bool,
}

impl Default for ProviderTls {
    fn default() -> Self {
        Self { ca_file: None, verify: true }
    }
}
