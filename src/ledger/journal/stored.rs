//! The bodies of a place's parts, as they are encoded.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::format::OpenRequest;
use crate::dialect::Usage;
use crate::ledger::record::named;
use crate::ledger::row::NAME_MAX;
use crate::ledger::{AttemptReport, LedgerRecord};
use crate::money::Usd;

/// Names are cut here: both parts have room for the longest.
const NAME: usize = NAME_MAX;
/// The same for a provider's, which the configuration bounds.
const PROVIDER: usize = 64;
/// Behind the reason of an attempt at the provider where the conversation was.
const AFFINITY: &str = " affinity";

/// Words, not numbers, stand for what is named elsewhere in the code: a later version may number them differently.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredOpening<'a> {
    request_id: [u8; 16],
    attempt: u16,
    created_at: i64,
    user_id: i64,
    key_id: i64,
    #[serde(borrow)]
    provider: &'a str,
    dialect: &'a str,
    requested_model: &'a str,
    served_model: &'a str,
    model_group_id: Option<i64>,
    estimate_nanos: i64,
    counted_in_user_global: bool,
    counted_in_key_global: bool,
    user_era: i64,
    key_era: i64,
    stream: bool,
    request_bytes: u64,
}

impl<'a> From<&'a OpenRequest<'_>> for StoredOpening<'a> {
    fn from(request: &'a OpenRequest<'_>) -> Self {
        Self {
            request_id: request.request_id.into_bytes(),
            attempt: request.attempt,
            created_at: request.created_at,
            user_id: request.user_id,
            key_id: request.key_id,
            provider: cut(&request.provider, PROVIDER),
            dialect: request.dialect.as_str(),
            requested_model: cut(&request.requested_model, NAME),
            served_model: cut(&request.served_model, NAME),
            model_group_id: request.model_group_id,
            estimate_nanos: request.estimate.nanos(),
            counted_in_user_global: request.counted_in_user_global,
            counted_in_key_global: request.counted_in_key_global,
            user_era: request.user_era,
            key_era: request.key_era,
            stream: request.stream,
            request_bytes: request.request_bytes,
        }
    }
}

impl StoredOpening<'_> {
    /// None: it names something that there is not.
    pub(super) fn request(self) -> Option<OpenRequest<'static>> {
        Some(OpenRequest {
            request_id: Uuid::from_bytes(self.request_id),
            attempt: self.attempt,
            created_at: self.created_at,
            user_id: self.user_id,
            key_id: self.key_id,
            provider: Cow::Owned(self.provider.to_owned()),
            dialect: named(self.dialect)?,
            requested_model: Cow::Owned(self.requested_model.to_owned()),
            served_model: Cow::Owned(self.served_model.to_owned()),
            model_group_id: self.model_group_id,
            estimate: Usd::from_nanos(self.estimate_nanos),
            counted_in_user_global: self.counted_in_user_global,
            counted_in_key_global: self.counted_in_key_global,
            user_era: self.user_era,
            key_era: self.key_era,
            stream: self.stream,
            request_bytes: self.request_bytes,
            // Said by the kind of the part.
            has_lost: false,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredEnding<'a> {
    lsn: u64,
    request_id: [u8; 16],
    attempt: u16,
    created_at: i64,
    settled_at: i64,
    user_id: i64,
    key_id: i64,
    #[serde(borrow)]
    provider: &'a str,
    dialect: &'a str,
    requested_model: &'a str,
    served_model: &'a str,
    model_group_id: Option<i64>,
    outcome: &'a str,
    estimated: bool,
    status: u16,
    duration_ms: i64,
    first_byte_ms: Option<i64>,
    /// As [`Usage::counts`] has them.
    usage: [u64; 11],
    service_tier: &'a str,
    cost_nanos: i64,
    pub(super) price: Option<&'a str>,
    counted_in_user_global: bool,
    counted_in_key_global: bool,
    user_era: i64,
    key_era: i64,
    stream: bool,
    request_bytes: u64,
    response_bytes: u64,
    pub(super) attempts: Vec<StoredAttempt<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredAttempt<'a> {
    #[serde(borrow)]
    provider: &'a str,
    served_model: &'a str,
    started_ms: i64,
    duration_ms: i64,
    status: Option<u16>,
    /// With [`AFFINITY`] behind it, where that was so: of a later version, which can read what an earlier one has written.
    reason: Cow<'a, str>,
}

impl<'a> StoredEnding<'a> {
    pub(super) fn new(lsn: u64, record: &'a LedgerRecord) -> Self {
        Self {
            lsn,
            request_id: record.request_id.into_bytes(),
            attempt: record.attempt,
            created_at: record.created_at,
            settled_at: record.settled_at,
            user_id: record.user_id,
            key_id: record.key_id,
            provider: cut(&record.provider, PROVIDER),
            dialect: record.dialect.as_str(),
            requested_model: cut(&record.requested_model, NAME),
            served_model: cut(&record.served_model, NAME),
            model_group_id: record.model_group_id,
            outcome: record.outcome.as_str(),
            estimated: record.estimated,
            status: record.status,
            duration_ms: record.duration_ms,
            first_byte_ms: record.first_byte_ms,
            usage: record.usage.counts(),
            service_tier: record.usage.service_tier.as_str(),
            cost_nanos: record.cost.nanos(),
            price: record.price.as_deref(),
            counted_in_user_global: record.counted_in_user_global,
            counted_in_key_global: record.counted_in_key_global,
            user_era: record.user_era,
            key_era: record.key_era,
            stream: record.stream,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            attempts: record.attempts.iter().map(StoredAttempt::from).collect(),
        }
    }

    /// None: it names something that there is not.
    pub(super) fn record(self) -> Option<(u64, LedgerRecord)> {
        let service_tier = named(self.service_tier)?;
        let record = LedgerRecord {
            request_id: Uuid::from_bytes(self.request_id),
            attempt: self.attempt,
            created_at: self.created_at,
            settled_at: self.settled_at,
            user_id: self.user_id,
            key_id: self.key_id,
            provider: self.provider.into(),
            dialect: named(self.dialect)?,
            requested_model: self.requested_model.to_owned(),
            served_model: self.served_model.to_owned(),
            model_group_id: self.model_group_id,
            outcome: named(self.outcome)?,
            estimated: self.estimated,
            status: self.status,
            duration_ms: self.duration_ms,
            first_byte_ms: self.first_byte_ms,
            usage: Usage::of_counts(self.usage, service_tier),
            cost: Usd::from_nanos(self.cost_nanos),
            price: self.price.map(Into::into),
            counted_in_user_global: self.counted_in_user_global,
            counted_in_key_global: self.counted_in_key_global,
            user_era: self.user_era,
            key_era: self.key_era,
            stream: self.stream,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            attempts: self.attempts.into_iter().map(AttemptReport::from).collect(),
        };
        Some((self.lsn, record))
    }
}

impl<'a> From<&'a AttemptReport> for StoredAttempt<'a> {
    fn from(report: &'a AttemptReport) -> Self {
        Self {
            provider: cut(&report.provider, PROVIDER),
            served_model: cut(&report.served_model, NAME),
            started_ms: report.started_ms,
            duration_ms: report.duration_ms,
            status: report.status,
            reason: match (cut(&report.reason, NAME), report.affinity) {
                (reason, true) => Cow::Owned(format!("{reason}{AFFINITY}")),
                (reason, false) => Cow::Borrowed(reason),
            },
        }
    }
}

impl From<StoredAttempt<'_>> for AttemptReport {
    fn from(stored: StoredAttempt<'_>) -> Self {
        let reason = stored.reason.strip_suffix(AFFINITY);
        Self {
            provider: stored.provider.into(),
            served_model: stored.served_model.to_owned(),
            started_ms: stored.started_ms,
            duration_ms: stored.duration_ms,
            status: stored.status,
            affinity: reason.is_some(),
            reason: reason.unwrap_or(&stored.reason).to_owned(),
        }
    }
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
