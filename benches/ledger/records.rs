//! Requests as they come in.

use std::borrow::Cow;
use std::sync::Arc;

use tollgate::dialect::{Dialect, Usage};
use tollgate::ledger::journal::OpenRequest;
use tollgate::ledger::{AttemptReport, LedgerRecord, Outcome};
use tollgate::money::Usd;
use uuid::{Builder, Uuid};

/// When the first request is settled, Unix milliseconds.
const START: i64 = 1_760_522_430_000;

/// What the catalogue says of the model, as it is kept with every request.
const PRICE: &str =
    r#"{"inputUsdPerMillion":"3","outputUsdPerMillion":"15","cacheReadUsdPerMillion":"0.3","source":"builtin"}"#;

/// The ids of requests grow with time.
fn id(n: u64) -> Uuid {
    let ms = u64::try_from(START).unwrap() + n / 20;
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
}

/// One of 20 000 requests a second, by 200 keys of 100 users.
pub fn record(n: u64) -> LedgerRecord {
    let number = i64::try_from(n).unwrap();
    let key = number * 7_919 % 200;
    LedgerRecord {
        request_id: id(n),
        attempt: 1,
        created_at: START + number / 20 - 1_500,
        settled_at: START + number / 20,
        user_id: key / 2 + 1,
        key_id: key + 1,
        provider: Arc::from(if n.is_multiple_of(5) { "openai" } else { "anthropic" }),
        dialect: Dialect::Anthropic,
        requested_model: "claude-sonnet-4-5".to_owned(),
        served_model: "claude-sonnet-4-5-20250929".to_owned(),
        model_group_id: Some(key % 3 + 1),
        outcome: Outcome::Completed,
        estimated: false,
        status: 200,
        duration_ms: 1_500,
        first_byte_ms: Some(300),
        usage: Usage { input: 1_200 + n % 100, output: 300 + n % 50, cache_read: 4_000, ..Usage::default() },
        cost: Usd::from_nanos(9_300_000 + number % 1_000),
        price: Some(Arc::from(PRICE)),
        counted_in_user_global: true,
        counted_in_key_global: true,
        user_era: 0,
        key_era: 0,
        stream: true,
        request_bytes: 20_000,
        response_bytes: 9_000,
        attempts: vec![AttemptReport {
            provider: Arc::from("anthropic"),
            served_model: "claude-sonnet-4-5-20250929".to_owned(),
            started_ms: 1,
            duration_ms: 1_499,
            status: Some(200),
            reason: "ok".to_owned(),
            affinity: false,
        }],
    }
}

/// The same when it was admitted.
pub fn request(record: &LedgerRecord) -> OpenRequest<'_> {
    OpenRequest {
        request_id: record.request_id,
        attempt: record.attempt,
        created_at: record.created_at,
        user_id: record.user_id,
        key_id: record.key_id,
        provider: Cow::Borrowed(&record.provider),
        dialect: record.dialect,
        requested_model: Cow::Borrowed(&record.requested_model),
        served_model: Cow::Borrowed(&record.served_model),
        model_group_id: record.model_group_id,
        estimate: record.cost,
        counted_in_user_global: record.counted_in_user_global,
        counted_in_key_global: record.counted_in_key_global,
        user_era: record.user_era,
        key_era: record.key_era,
        stream: record.stream,
        request_bytes: record.request_bytes,
        has_lost: false,
    }
}
