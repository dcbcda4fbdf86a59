//! One finished request, as it is handed over at settlement.

use std::sync::Arc;

use serde::de::IntoDeserializer;
use serde::de::value::Error as NoneOfThem;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::dialect::{Dialect, Usage};
use crate::money::Usd;

/// A finished request: a row of the ledger and its detail.
#[derive(Clone, Debug)]
pub struct LedgerRecord {
    /// What the client saw in `x-tollgate-request-id`.
    pub request_id: Uuid,
    /// The attempt that is charged, 1 for the first; a thousand more for each correction of it.
    pub attempt: u16,
    /// When the request arrived, Unix milliseconds.
    pub created_at: i64,
    /// When the cost was fixed, Unix milliseconds.
    pub settled_at: i64,
    /// Who pays.
    pub user_id: i64,
    /// The key that was used.
    pub key_id: i64,
    /// Name of the provider of the charged attempt.
    pub provider: Arc<str>,
    /// Wire format.
    pub dialect: Dialect,
    /// The model that the client named.
    pub requested_model: String,
    /// The model that was sent upstream.
    pub served_model: String,
    /// The model group of the served model at settlement.
    pub model_group_id: Option<i64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the usage was estimated because the provider did not say it.
    pub estimated: bool,
    /// HTTP status of the answer.
    pub status: u16,
    /// Milliseconds from arrival to settlement.
    pub duration_ms: i64,
    /// Milliseconds from arrival to the first byte from upstream.
    pub first_byte_ms: Option<i64>,
    /// What was used.
    pub usage: Usage,
    /// What it cost.
    pub cost: Usd,
    /// The price that was applied, as JSON; none when nothing was charged.
    pub price: Option<Arc<str>>,
    /// Whether the cost counts in the mainline budget of the user.
    pub counted_in_user_global: bool,
    /// Whether the cost counts in the mainline budget of the key.
    pub counted_in_key_global: bool,
    /// How often the user's spend had been reset when the cost was fixed.
    pub user_era: i64,
    /// The same of the key.
    pub key_era: i64,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the answer body that the provider sent.
    pub response_bytes: u64,
    /// Every attempt, in order.
    pub attempts: Vec<AttemptReport>,
}

/// How a charged attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider's answer ended as it should.
    Completed,
    /// The client left before the end.
    ClientAborted,
    /// The provider answered with an error, or broke off.
    UpstreamFailed,
    /// The gateway stopped in the middle.
    Interrupted,
    /// Another provider was asked at the same time, and its answer came first.
    LostRace,
    /// Not an end: the difference that a corrected price makes for an attempt.
    Corrected,
}

impl Outcome {
    /// The name in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientAborted => "client_aborted",
            Self::UpstreamFailed => "upstream_failed",
            Self::Interrupted => "interrupted",
            Self::LostRace => "lost_race",
            Self::Corrected => "corrected",
        }
    }
}

/// One try at one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptReport {
    /// Name of the provider.
    pub provider: Arc<str>,
    /// The model that was sent.
    pub served_model: String,
    /// Milliseconds from the arrival of the request to the start of the attempt.
    pub started_ms: i64,
    /// Milliseconds that the attempt took until it was decided.
    pub duration_ms: i64,
    /// Status that the provider answered with, if it answered.
    pub status: Option<u16>,
    /// Why it ended: `ok`, `connect_failed`, `first_byte_timeout`, `idle_timeout`, `upstream_status`, `broken`, `lost_race`, ...
    pub reason: String,
    /// Whether its conversation was at this provider before.
    #[serde(default)]
    pub affinity: bool,
}

/// The one of its kind that has this name.
pub(super) fn named<'a, T: Deserialize<'a>>(name: &'a str) -> Option<T> {
    T::deserialize(IntoDeserializer::<NoneOfThem>::into_deserializer(name)).ok()
}
