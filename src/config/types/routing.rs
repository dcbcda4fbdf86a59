//! How a provider is chosen, and what happens when the client leaves.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{As, DurationNotation, Ratio, SizeNotation};

/// How a provider is chosen for a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// The order among providers of the same priority.
    pub strategy: Strategy,
    /// The share of traffic that may be retries.
    pub retry_budget: Ratio,
    /// For all attempts of a request together. 0: none.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub deadline: Duration,
    /// Whether a conversation stays with its provider.
    pub affinity: Affinity,
    /// How long an answer is held back to judge it before it goes to the client.
    pub gate: Gate,
    /// Whether a second provider is asked when the first is slow.
    pub racing: Racing,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            retry_budget: Ratio::from_ppm(200_000),
            deadline: Duration::ZERO,
            affinity: Affinity::default(),
            gate: Gate::default(),
            racing: Racing::default(),
        }
    }
}

/// The order among providers of the same priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Strategy {
    /// At random, by weight.
    #[default]
    Weighted,
    /// The cheapest first.
    LeastCost,
    /// Of two drawn by weight the one that answers sooner, going by its latest answers and its requests in flight.
    LeastLoaded,
}

/// Whether a conversation stays with its provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Affinity {
    /// Whether it does.
    pub enabled: bool,
    /// How long it is remembered after its last request.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub ttl: Duration,
}

impl Default for Affinity {
    fn default() -> Self {
        Self { enabled: true, ttl: Duration::from_secs(3_600) }
    }
}

/// How long an answer is held back to judge it before it goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// Whether it is held back at all.
    pub enabled: bool,
    /// At most this much of it.
    #[serde(with = "As::<SizeNotation>")]
    #[schemars(with = "SizeNotation")]
    pub max_bytes: u64,
    /// At most this long.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub max_time: Duration,
}

impl Default for Gate {
    fn default() -> Self {
        Self { enabled: true, max_bytes: 64 << 10, max_time: Duration::from_secs(30) }
    }
}

/// Whether a second provider is asked when the first is slow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Racing {
    /// Ask a second provider after this long without a first byte. 0: never.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub after: Duration,
    /// Who pays for the slower answer.
    pub loser: Loser,
}

/// Who pays for the slower answer of a race.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Loser {
    /// Nobody's budget.
    #[default]
    Absorb,
    /// The budgets of the request.
    Charge,
}

/// What happens when a client leaves before its answer ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAbort {
    /// How long the answer is read on to learn its real usage; after that it is estimated. 0: estimate at once.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub drain: Duration,
}

impl Default for ClientAbort {
    fn default() -> Self {
        Self { drain: Duration::from_secs(60) }
    }
}
