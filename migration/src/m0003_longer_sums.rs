//! What budgets have spent per two hours and per week: sums of years are read from few rows.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Creates and fills the sums of budgets.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        Step::run_all(steps(), manager).await
    }
}

/// The statements, in order.
#[must_use]
pub fn steps() -> Vec<Step> {
    vec![
        Step::table(
            "usage_rollup_span",
            [
                text("axis"),
                text("owner"),
                big_integer("scope"),
                big_integer("span"),
                big_integer("minute"),
                big_integer("era"),
                big_integer("cost_nanos"),
                big_integer("requests"),
            ],
        )
        // The sum of a budget is one range of it for each kind of span.
        .keyed_by(["axis", "owner", "scope", "span", "minute", "era"]),
        Step::Sql(USERS),
        Step::Sql(KEYS),
        Step::Sql(PROVIDERS),
        // Providers have minutes of their own now, of all users together.
        Step::Sql("DROP INDEX IF EXISTS usage_rollup_minute_provider"),
    ]
}

/// What was spent before there were longer sums, from those that there were. Whole sums, so that it may be done again.
/// A sum beyond every cap is cut, as it is when it is read: one that left the range would be an error.
macro_rules! fill {
    ($axis:literal, $owner:literal, $scope:literal, $era:literal, $counted:literal, $spans:literal) => {
        concat!(
            "INSERT INTO usage_rollup_span (axis, owner, scope, span, minute, era, cost_nanos, requests) SELECT '",
            $axis,
            "', ",
            $owner,
            ", ",
            $scope,
            // No row is from before 1970: how what is negative is divided does not matter.
            ", span, minute / span * span, ",
            $era,
            ", SUM(CASE WHEN cost_nanos > 9000000000000000 THEN 9000000000000000 \
             WHEN cost_nanos < -9000000000000000 THEN -9000000000000000 ELSE cost_nanos END), SUM(requests) \
             FROM usage_rollup_minute, (",
            $spans,
            ") AS spans WHERE ",
            $counted,
            " GROUP BY 1, 2, 3, 4, 5, 6 ON CONFLICT (axis, owner, scope, span, minute, era) \
             DO UPDATE SET cost_nanos = excluded.cost_nanos, requests = excluded.requests",
        )
    };
}

const USERS: &str = fill!(
    "user",
    "CAST(user_id AS TEXT)",
    "CASE WHEN counted_in_user_global THEN 0 ELSE model_group_id END",
    "user_era",
    "(counted_in_user_global OR model_group_id <> 0)",
    "SELECT 120 AS span UNION ALL SELECT 10080"
);

const KEYS: &str = fill!(
    "key",
    "CAST(key_id AS TEXT)",
    "CASE WHEN counted_in_key_global THEN 0 ELSE model_group_id END",
    "key_era",
    "(counted_in_key_global OR model_group_id <> 0)",
    "SELECT 120 AS span UNION ALL SELECT 10080"
);

const PROVIDERS: &str =
    fill!("provider", "provider", "0", "0", "true", "SELECT 1 AS span UNION ALL SELECT 120 UNION ALL SELECT 10080");
