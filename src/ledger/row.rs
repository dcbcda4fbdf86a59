//! A finished request in the form of the database's rows, and of a log line when there is no database.

use std::sync::Arc;

use super::LedgerRecord;
use super::table::{Known, Table, big, big_or_null, boolean, integer, shared, text, text_or_null};

/// Names that a client chooses are cut here: nobody shall fill the database with one request.
pub(super) const NAME_MAX: usize = 256;

/// The rows that are charged.
pub(super) static CHARGES: Table<LedgerRecord> = Table {
    name: "usage_ledger",
    columns: &[
        text("request_id", |record| record.request_id.to_string().into()),
        integer("attempt", |record| i32::from(record.attempt).into()),
        big("created_at", |record| record.created_at.into()),
        big("settled_at", |record| record.settled_at.into()),
        big("user_id", |record| record.user_id.into()),
        big("key_id", |record| record.key_id.into()),
        text("provider", |record| shared(&provider(&record.provider))),
        text("dialect", |record| record.dialect.as_str().into()),
        text("requested_model", |record| name(&record.requested_model).into()),
        text("served_model", |record| name(&record.served_model).into()),
        big_or_null("model_group_id", |record| record.model_group_id.into()),
        text("outcome", |record| record.outcome.as_str().into()),
        boolean("estimated", |record| record.estimated.into()),
        integer("status", |record| i32::from(record.status).into()),
        big("duration_ms", |record| record.duration_ms.into()),
        big_or_null("first_byte_ms", |record| record.first_byte_ms.into()),
        big("input_tokens", |record| count(record.usage.input).into()),
        big("output_tokens", |record| count(record.usage.output).into()),
        big("cache_read_tokens", |record| count(record.usage.cache_read).into()),
        big("cache_write_5m_tokens", |record| count(record.usage.cache_write_5m).into()),
        big("cache_write_1h_tokens", |record| count(record.usage.cache_write_1h).into()),
        big("reasoning_tokens", |record| count(record.usage.reasoning).into()),
        big("input_audio_tokens", |record| count(record.usage.input_audio).into()),
        big("output_audio_tokens", |record| count(record.usage.output_audio).into()),
        big("input_image_tokens", |record| count(record.usage.input_image).into()),
        big("output_image_tokens", |record| count(record.usage.output_image).into()),
        big("web_searches", |record| count(record.usage.web_searches).into()),
        text("service_tier", |record| record.usage.service_tier.as_str().into()),
        big("cost_nanos", |record| record.cost.nanos().into()),
        boolean("counted_in_user_global", |record| record.counted_in_user_global.into()),
        boolean("counted_in_key_global", |record| record.counted_in_key_global.into()),
        big("user_era", |record| record.user_era.into()),
        big("key_era", |record| record.key_era.into()),
    ],
    key: "request_id, attempt",
    known: Known::Kept,
};

/// The rows with the detail.
pub(super) static DETAILS: Table<LedgerRecord> = Table {
    name: "message_request",
    columns: &[
        text("request_id", |record| record.request_id.to_string().into()),
        big("created_at", |record| record.created_at.into()),
        boolean("stream", |record| record.stream.into()),
        big("request_bytes", |record| count(record.request_bytes).into()),
        big("response_bytes", |record| count(record.response_bytes).into()),
        text("attempts", |record| attempts(record).into()),
        text_or_null("price", |record| record.price.as_deref().map(without_nul).into()),
    ],
    key: "request_id",
    known: Known::Kept,
};

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
pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A name as it is stored.
pub(crate) fn name(text: &str) -> String {
    without_nul(&text[..text.floor_char_boundary(NAME_MAX)])
}

/// A provider's name as it is stored, almost always the same.
pub(super) fn provider(name: &Arc<str>) -> Arc<str> {
    if name.len() <= NAME_MAX && !name.contains('\0') { Arc::clone(name) } else { self::name(name).into() }
}

/// PostgreSQL refuses a text with a NUL in it, which a client can send in JSON.
pub(super) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
