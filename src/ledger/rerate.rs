//! What corrected prices would change, and the rows that say so.
//!
//! A row of the ledger is never edited. A correction is a row of its own with the difference: it belongs to the same
//! request, budgets and instant as the row that it corrects, so that every sum that contains the one contains the other.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use entity::usage_ledger::{Column, Entity, Model};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::batch::BatchWriter;
use super::record::named;
use super::slot::Entry;
use super::{LedgerRecord, Outcome};
use crate::dialect::{ServiceTier, Usage};
use crate::money::Usd;

/// Rows that are looked at together.
const BATCH: u64 = 500;

/// The corrections of an attempt have its number and so much more each: no request makes as many attempts.
pub(super) const CORRECTION: i32 = 1_000;

/// What a row should have cost, and the price that says so, as JSON; none: that cannot be told.
pub type Costs<'a> = &'a dyn Fn(&Model, &Usage) -> Option<(Usd, Arc<str>)>;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rerated {
    /// Charged attempts in the range.
    pub rows: u64,
    /// Those whose price or provider is not known any more, or whose use never was.
    pub unknown: u64,
    /// Those that should have cost something else, by the model that was sent upstream.
    pub changed: BTreeMap<String, Change>,
}

/// What changes for a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Rows.
    pub rows: u64,
    /// What they cost so far, earlier corrections included.
    pub before: Usd,
    /// What they should have cost.
    pub after: Usd,
}

/// Compares what was charged for requests settled in this range (Unix milliseconds) with what `costs` says, and writes
/// the differences, unless it is a `dry_run`. Doing it again changes nothing more.
///
/// # Errors
///
/// What the database says. What was written before stays.
pub async fn rerate(
    db: &DatabaseConnection,
    range: Range<i64>,
    costs: Costs<'_>,
    dry_run: bool,
) -> Result<Rerated, DbErr> {
    let mut rerated = Rerated::default();
    let mut last = 0;
    // In the name of no life: nothing counts from where it is.
    let writer = (!dry_run).then(|| BatchWriter::beside(db, 0));
    loop {
        let rows = Entity::find()
            .filter(Column::SettledAt.gte(range.start))
            .filter(Column::SettledAt.lt(range.end))
            .filter(Column::Attempt.lt(CORRECTION))
            .filter(Column::Id.gt(last))
            .order_by_asc(Column::Id)
            .limit(BATCH)
            .all(db)
            .await?;
        let Some(row) = rows.last() else { return Ok(rerated) };
        last = row.id;
        let corrected = corrections(db, &rows).await?;
        let mut entries = Vec::new();
        for row in rows {
            rerated.rows += 1;
            let usage = usage(&row);
            // Of an interrupted request nobody knows the use, and what was refused cost nothing at any price.
            let told = usage.filter(|usage| usage.counts() != [0; Usage::COUNTS]);
            let Some((after, price)) = told.and_then(|usage| costs(&row, &usage)) else {
                rerated.unknown += 1;
                continue;
            };
            let earlier = corrected.get(&(row.request_id.clone(), row.attempt)).copied().unwrap_or_default();
            let before = Usd::from_nanos(row.cost_nanos) + earlier.sum;
            if before == after {
                continue;
            }
            let (model, attempt) = (row.served_model.clone(), row.attempt + (earlier.count + 1) * CORRECTION);
            let Some(record) = correction(row, attempt, after - before, Some(price)) else {
                rerated.unknown += 1;
                continue;
            };
            entries.push(Entry::of(0, record));
            let change = rerated.changed.entry(model).or_default();
            change.rows += 1;
            change.before += before;
            change.after += after;
        }
        if let Some(writer) = writer.as_ref().filter(|_| !entries.is_empty()) {
            writer.transaction(&entries).await?;
        }
    }
}

/// The corrections of one attempt.
#[derive(Clone, Copy, Default)]
struct Corrections {
    count: i32,
    sum: Usd,
}

async fn corrections(db: &DatabaseConnection, rows: &[Model]) -> Result<HashMap<(String, i32), Corrections>, DbErr> {
    let ids = rows.iter().map(|row| row.request_id.as_str());
    let found: Vec<(String, i32, i64)> = Entity::find()
        .select_only()
        .columns([Column::RequestId, Column::Attempt, Column::CostNanos])
        .filter(Column::RequestId.is_in(ids))
        .filter(Column::Attempt.gte(CORRECTION))
        .into_tuple()
        .all(db)
        .await?;
    let mut corrections: HashMap<_, Corrections> = HashMap::new();
    for (request_id, attempt, cost) in found {
        let of = corrections.entry((request_id, attempt % CORRECTION)).or_default();
        of.count = of.count.max(attempt / CORRECTION);
        of.sum += Usd::from_nanos(cost);
    }
    Ok(corrections)
}

/// None: the row cannot be read.
fn usage(row: &Model) -> Option<Usage> {
    let count = |tokens: i64| u64::try_from(tokens).unwrap_or(0);
    Some(Usage {
        input: count(row.input_tokens),
        output: count(row.output_tokens),
        cache_read: count(row.cache_read_tokens),
        cache_write_5m: count(row.cache_write_5m_tokens),
        cache_write_1h: count(row.cache_write_1h_tokens),
        reasoning: count(row.reasoning_tokens),
        input_audio: count(row.input_audio_tokens),
        output_audio: count(row.output_audio_tokens),
        input_image: count(row.input_image_tokens),
        output_image: count(row.output_image_tokens),
        web_searches: count(row.web_searches),
        service_tier: named::<ServiceTier>(&row.service_tier)?,
    })
}

/// A row that adds this to another one. None: the row cannot be read, or was corrected too often.
pub(super) fn correction(row: Model, attempt: i32, cost: Usd, price: Option<Arc<str>>) -> Option<LedgerRecord> {
    Some(LedgerRecord {
        request_id: Uuid::parse_str(&row.request_id).ok()?,
        attempt: u16::try_from(attempt).ok()?,
        created_at: row.created_at,
        settled_at: row.settled_at,
        user_id: row.user_id,
        key_id: row.key_id,
        provider: row.provider.into(),
        dialect: named(&row.dialect)?,
        requested_model: row.requested_model,
        served_model: row.served_model,
        model_group_id: row.model_group_id,
        outcome: Outcome::Corrected,
        estimated: row.estimated,
        status: u16::try_from(row.status).unwrap_or(0),
        duration_ms: row.duration_ms,
        first_byte_ms: None,
        usage: Usage { service_tier: named(&row.service_tier)?, ..Usage::default() },
        cost,
        price,
        counted_in_user_global: row.counted_in_user_global,
        counted_in_key_global: row.counted_in_key_global,
        user_era: row.user_era,
        key_era: row.key_era,
        stream: false,
        request_bytes: 0,
        response_bytes: 0,
        attempts: Vec::new(),
    })
}
