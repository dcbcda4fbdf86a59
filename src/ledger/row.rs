//! A finished request in the form of the database's rows, and of a log line when there is no database.

use entity::{message_request, usage_ledger};
use sea_orm::ActiveValue::{NotSet, Set};

use super::{LedgerRecord, Outcome};

/// Names that a client chooses are cut here: nobody shall fill the database with one request.
pub(super) const NAME_MAX: usize = 256;

/// The row that is charged.
pub(super) fn charge(record: &LedgerRecord) -> usage_ledger::ActiveModel {
    let usage = &record.usage;
    usage_ledger::ActiveModel {
        id: NotSet,
        request_id: Set(record.request_id.to_string()),
        attempt: Set(i32::from(record.attempt)),
        created_at: Set(record.created_at),
        settled_at: Set(record.settled_at),
        user_id: Set(record.user_id),
        key_id: Set(record.key_id),
        provider: Set(name(&record.provider)),
        dialect: Set(record.dialect.as_str().to_owned()),
        requested_model: Set(name(&record.requested_model)),
        served_model: Set(name(&record.served_model)),
        model_group_id: Set(record.model_group_id),
        outcome: Set(Outcome::as_str(record.outcome).to_owned()),
        estimated: Set(record.estimated),
        status: Set(i32::from(record.status)),
        duration_ms: Set(record.duration_ms),
        first_byte_ms: Set(record.first_byte_ms),
        input_tokens: Set(count(usage.input)),
        output_tokens: Set(count(usage.output)),
        cache_read_tokens: Set(count(usage.cache_read)),
        cache_write_5m_tokens: Set(count(usage.cache_write_5m)),
        cache_write_1h_tokens: Set(count(usage.cache_write_1h)),
        reasoning_tokens: Set(count(usage.reasoning)),
        input_audio_tokens: Set(count(usage.input_audio)),
        output_audio_tokens: Set(count(usage.output_audio)),
        input_image_tokens: Set(count(usage.input_image)),
        output_image_tokens: Set(count(usage.output_image)),
        web_searches: Set(count(usage.web_searches)),
        service_tier: Set(usage.service_tier.as_str().to_owned()),
        cost_nanos: Set(record.cost.nanos()),
        counted_in_user_global: Set(record.counted_in_user_global),
        counted_in_key_global: Set(record.counted_in_key_global),
        user_era: Set(record.user_era),
        key_era: Set(record.key_era),
    }
}

/// The row with the detail.
pub(super) fn detail(record: &LedgerRecord) -> message_request::ActiveModel {
    message_request::ActiveModel {
        request_id: Set(record.request_id.to_string()),
        created_at: Set(record.created_at),
        stream: Set(record.stream),
        request_bytes: Set(count(record.request_bytes)),
        response_bytes: Set(count(record.response_bytes)),
        attempts: Set(attempts(record)),
        price: Set(record.price.as_deref().map(without_nul)),
    }
}

/// Everything that the two rows would have said, for the log.
pub(super) fn json(record: &LedgerRecord) -> serde_json::Value {
    serde_json::json!({
        "requestId": record.request_id.to_string(),
        "attempt": record.attempt,
        "createdAt": record.created_at,
        "settledAt": record.settled_at,
        "userId": record.user_id,
        "keyId": record.key_id,
        "provider": record.provider,
        "dialect": record.dialect,
        "requestedModel": name(&record.requested_model),
        "servedModel": name(&record.served_model),
        "modelGroupId": record.model_group_id,
        "outcome": record.outcome,
        "estimated": record.estimated,
        "status": record.status,
        "durationMs": record.duration_ms,
        "firstByteMs": record.first_byte_ms,
        "usage": record.usage,
        "costNanos": record.cost.nanos(),
        "price": record.price,
        "countedInUserGlobal": record.counted_in_user_global,
        "countedInKeyGlobal": record.counted_in_key_global,
        "userEra": record.user_era,
        "keyEra": record.key_era,
        "stream": record.stream,
        "requestBytes": record.request_bytes,
        "responseBytes": record.response_bytes,
        "attempts": record.attempts,
    })
}

fn attempts(record: &LedgerRecord) -> String {
    // Plain strings and numbers: this cannot fail.
    serde_json::to_string(&record.attempts).unwrap_or_else(|_| "[]".to_owned())
}

/// More than fits is nonsense from a provider; it must not become negative.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A name as it is stored.
pub(super) fn name(text: &str) -> String {
    without_nul(&text[..text.floor_char_boundary(NAME_MAX)])
}

/// PostgreSQL refuses a text with a NUL in it, which a client can send in JSON.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
