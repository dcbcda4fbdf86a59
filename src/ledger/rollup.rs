//! The sums that budgets are made of, kept in step with the rows of the ledger: per minute, and per budget in longer
//! spans, so that a sum of years reads no more rows than one of days.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sea_orm::{DatabaseTransaction, DbErr};

use super::starts::scope_column;
use super::table::{Known, Table, big, boolean, shared, text};
use super::{LedgerRecord, row};
use crate::limit::{Axis, Scope};

/// Milliseconds of a minute.
pub(super) const MINUTE_MS: i64 = 60_000;

/// Minutes of the spans that there are sums of, each a multiple of the one before: two hours, a week. From any minute
/// on, the rest of its two hours, the rest of its week and the weeks after that are some 200 minutes and spans, and 52
/// more for each year. A further kind of span would save few of these, and cost more rows with every batch.
pub(super) const SPANS: [i64; 2] = [120, WEEK];

/// Every minute of a provider as well, because there are as many rows per minute as users and keys.
pub(super) const PROVIDER_SPANS: [i64; 3] = [1, 120, WEEK];

/// The longest span.
pub(super) const WEEK: i64 = 7 * 24 * 60;

/// The number of the minute that an instant (Unix milliseconds) is in.
pub(super) const fn minute(at: i64) -> i64 {
    at.div_euclid(MINUTE_MS)
}

/// What rows have in common that are in one sum of a minute. Its order is that in which rows are locked: the same on every
/// node, or two of them could wait for each other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Minute {
    pub(super) minute: i64,
    pub(super) user_id: i64,
    pub(super) key_id: i64,
    pub(super) provider: Arc<str>,
    pub(super) model_group_id: i64,
    pub(super) counted_in_user_global: bool,
    pub(super) counted_in_key_global: bool,
    pub(super) user_era: i64,
    pub(super) key_era: i64,
}

/// What a budget spends in a span; ordered for the same reason.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) axis: Axis,
    pub(super) owner: Owner,
    pub(super) scope: i64,
    pub(super) span: i64,
    pub(super) minute: i64,
    pub(super) era: i64,
}

/// Whose budget it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// Of a user or key.
    Id(i64),
    /// Of a provider.
    Name(Arc<str>),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The columns of a sum: what the rows cost, and how many they are.
const SUMS: [&str; 2] = ["cost_nanos", "requests"];

/// A sum and of how many rows it is.
type Sum<K> = (K, (i64, i64));

static MINUTES: Table<Sum<Minute>> = Table {
    name: "usage_rollup_minute",
    columns: &[
        big("minute", |(key, _)| key.minute.into()),
        big("user_id", |(key, _)| key.user_id.into()),
        big("key_id", |(key, _)| key.key_id.into()),
        text("provider", |(key, _)| shared(&key.provider)),
        big("model_group_id", |(key, _)| key.model_group_id.into()),
        boolean("counted_in_user_global", |(key, _)| key.counted_in_user_global.into()),
        boolean("counted_in_key_global", |(key, _)| key.counted_in_key_global.into()),
        big("user_era", |(key, _)| key.user_era.into()),
        big("key_era", |(key, _)| key.key_era.into()),
        big("cost_nanos", |(_, sum)| sum.0.into()),
        big("requests", |(_, sum)| sum.1.into()),
    ],
    key: "minute, user_id, key_id, provider, model_group_id, counted_in_user_global, counted_in_key_global, user_era, \
          key_era",
    known: Known::Added(&SUMS),
};

static LONGER: Table<Sum<Span>> = Table {
    name: "usage_rollup_span",
    columns: &[
        text("axis", |(key, _)| key.axis.as_str().into()),
        text("owner", |(key, _)| key.owner.to_string().into()),
        big("scope", |(key, _)| key.scope.into()),
        big("span", |(key, _)| key.span.into()),
        big("minute", |(key, _)| key.minute.into()),
        big("era", |(key, _)| key.era.into()),
        big("cost_nanos", |(_, sum)| sum.0.into()),
        big("requests", |(_, sum)| sum.1.into()),
    ],
    key: "axis, owner, scope, span, minute, era",
    known: Known::Added(&SUMS),
};

/// What records add to the sums.
#[derive(Default)]
pub(super) struct Rollup {
    pub(super) minutes: Sums<Minute>,
    pub(super) longer: Sums<Span>,
}

impl Rollup {
    /// Of records whose rows were really inserted.
    pub(super) fn of<'r>(inserted: impl IntoIterator<Item = &'r LedgerRecord>) -> Self {
        let mut rollup = Self::default();
        for record in inserted {
            rollup.minutes.add(Minute::of(record), (record.cost.nanos(), 1));
        }
        for (minute, sum) in &rollup.minutes.0 {
            minute.spans(|span| rollup.longer.add(span, *sum));
        }
        rollup
    }

    /// To be written last: others who write wait for the sums of providers, which all have in common.
    pub(super) async fn put(self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        MINUTES.put(transaction, self.minutes.0).await?;
        LONGER.put(transaction, self.longer.0).await.map(drop)
    }
}

impl Minute {
    fn of(record: &LedgerRecord) -> Self {
        Self {
            minute: minute(record.settled_at),
            user_id: record.user_id,
            key_id: record.key_id,
            provider: row::provider(&record.provider),
            model_group_id: record.model_group_id.unwrap_or(0),
            counted_in_user_global: record.counted_in_user_global,
            counted_in_key_global: record.counted_in_key_global,
            user_era: record.user_era,
            key_era: record.key_era,
        }
    }

    /// The sums of budgets that this one is in.
    pub(super) fn spans(&self, mut each: impl FnMut(Span)) {
        let mut of = |axis: Axis, owner: Owner, scope, span, era| {
            let minute = self.minute.div_euclid(span) * span;
            each(Span { axis, owner, scope, span, minute, era });
        };
        for span in PROVIDER_SPANS {
            of(Axis::Provider, Owner::Name(Arc::clone(&self.provider)), scope_column(Scope::Mainline), span, 0);
        }
        for (axis, id, counted, era) in [
            (Axis::User, self.user_id, self.counted_in_user_global, self.user_era),
            (Axis::Key, self.key_id, self.counted_in_key_global, self.key_era),
        ] {
            let scope = match self.model_group_id {
                _ if counted => Scope::Mainline,
                // Nobody counts it.
                0 => continue,
                group => Scope::ModelGroup(group),
            };
            SPANS.into_iter().for_each(|span| of(axis, Owner::Id(id), scope_column(scope), span, era));
        }
    }
}

/// Costs and numbers of rows.
pub(super) struct Sums<K>(BTreeMap<K, (i64, i64)>);

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Sums<K> {
    /// As the database does it: a sum stays within the range, whose lower end is the negative of the upper.
    pub(super) fn add(&mut self, key: K, (cost, requests): (i64, i64)) {
        let sum = self.0.entry(key).or_default();
        *sum = (Ord::max(sum.0.saturating_add(cost), -i64::MAX), sum.1 + requests);
    }
}
