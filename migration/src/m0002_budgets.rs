//! Groups, limits and boosts; what has been spent per minute; and the lives of nodes.

use sea_orm_migration::{prelude::*, schema::*};

use crate::Step;

/// Creates what budgets need.
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
    let mut steps = owners();
    steps.extend(groups());
    steps.extend(limits());
    steps.extend(spend());
    steps
}

/// What users and keys have to say about budgets.
fn owners() -> Vec<Step> {
    let zero = |name: &'static str| big_integer(name).default(0).take();
    vec![
        Step::column("users", text_null("limits")),
        Step::column("users", zero("era")),
        Step::column("users", text_null("since_eras")),
        Step::column("users", zero("stamp")),
        Step::column("keys", text_null("limits")),
        Step::column("keys", zero("era")),
        Step::column("keys", text_null("since_eras")),
        Step::column("keys", zero("stamp")),
        // One row. Whoever takes a number holds its lock until the commit, so a later number never commits first.
        Step::table("limit_stamps", [integer("id").primary_key().take(), big_integer("value")]).check("id = 1"),
        Step::Sql("INSERT INTO limit_stamps (id, value) VALUES (1, 0) ON CONFLICT (id) DO NOTHING"),
    ]
}

/// Sets of users and of models.
fn groups() -> Vec<Step> {
    vec![
        Step::table(
            "user_groups",
            [
                big_pk_auto("id"),
                text("name"),
                text_null("description"),
                big_integer("stamp"),
                big_integer("version"),
                big_integer("created_at"),
                big_integer("updated_at"),
            ],
        ),
        Step::unique("user_groups_name", "user_groups", ["name"]),
        Step::table("user_group_members", [big_integer("user_group_id"), big_integer("user_id")])
            .keyed_by(["user_group_id", "user_id"])
            .owned_by("user_groups", "user_group_id")
            .owned_by("users", "user_id"),
        Step::index("user_group_members_user_id", "user_group_members", ["user_id"]),
        Step::table(
            "model_groups",
            [
                big_pk_auto("id"),
                text("name"),
                text_null("description"),
                boolean("singleton").default(false).take(),
                big_integer("stamp"),
                big_integer("version"),
                big_integer("created_at"),
                big_integer("updated_at"),
            ],
        ),
        Step::unique("model_groups_name", "model_groups", ["name"]),
        // The model alone is the key: it is in one group at most.
        Step::table("model_group_members", [text("model").primary_key().take(), big_integer("model_group_id")])
            .owned_by("model_groups", "model_group_id"),
        Step::index("model_group_members_model_group_id", "model_group_members", ["model_group_id"]),
    ]
}

/// What may be spent on the models of a group. Caps are at most 9 million dollars, beyond which not every number in
/// between is exact in a script.
fn limits() -> Vec<Step> {
    vec![
        Step::table(
            "model_group_limits",
            [
                big_pk_auto("id"),
                big_integer_null("user_id"),
                big_integer_null("user_group_id"),
                big_integer_null("key_id"),
                big_integer("model_group_id"),
                big_integer_null("total_nanos"),
                big_integer_null("five_hours_nanos"),
                text_null("five_hours_reset"),
                big_integer_null("daily_nanos"),
                text_null("daily_reset"),
                integer_null("daily_at"),
                big_integer_null("weekly_nanos"),
                big_integer_null("monthly_nanos"),
                big_integer("stamp"),
                big_integer("version"),
                big_integer("created_at"),
                big_integer("updated_at"),
            ],
        )
        .owned_by("users", "user_id")
        .owned_by("user_groups", "user_group_id")
        .owned_by("keys", "key_id")
        .owned_by("model_groups", "model_group_id")
        .check(
            "(CASE WHEN user_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN user_group_id IS NULL THEN 0 ELSE 1 END) \
             + (CASE WHEN key_id IS NULL THEN 0 ELSE 1 END) = 1",
        )
        .check("COALESCE(total_nanos, five_hours_nanos, daily_nanos, weekly_nanos, monthly_nanos) IS NOT NULL")
        .check("total_nanos IS NULL OR total_nanos BETWEEN 1 AND 9000000000000000")
        .check("five_hours_nanos IS NULL OR five_hours_nanos BETWEEN 1 AND 9000000000000000")
        .check("daily_nanos IS NULL OR daily_nanos BETWEEN 1 AND 9000000000000000")
        .check("weekly_nanos IS NULL OR weekly_nanos BETWEEN 1 AND 9000000000000000")
        .check("monthly_nanos IS NULL OR monthly_nanos BETWEEN 1 AND 9000000000000000")
        .check("five_hours_reset IS NULL OR five_hours_reset IN ('rolling', 'fixed')")
        .check("daily_reset IS NULL OR daily_reset IN ('rolling', 'fixed')")
        .check("daily_at IS NULL OR daily_at BETWEEN 0 AND 1439"),
        Step::unique("model_group_limits_user", "model_group_limits", ["user_id", "model_group_id"]),
        Step::unique("model_group_limits_user_group", "model_group_limits", ["user_group_id", "model_group_id"]),
        Step::unique("model_group_limits_key", "model_group_limits", ["key_id", "model_group_id"]),
        Step::index("model_group_limits_model_group_id", "model_group_limits", ["model_group_id"]),
        Step::table(
            "quota_boost_grants",
            [
                big_pk_auto("id"),
                big_integer("user_id"),
                big_integer("model_group_id"),
                text("window"),
                big_integer("nanos"),
                big_integer("starts_at"),
                big_integer("expires_at"),
                text_null("reason"),
                big_integer("stamp"),
                big_integer("version"),
                big_integer("created_at"),
            ],
        )
        .owned_by("users", "user_id")
        .owned_by("model_groups", "model_group_id")
        .check("\"window\" IN ('total', '5h', 'daily', 'weekly', 'monthly')")
        .check("nanos BETWEEN 1 AND 9000000000000000")
        .check("expires_at > starts_at"),
        Step::index("quota_boost_grants_user_id", "quota_boost_grants", ["user_id", "model_group_id"]),
        Step::index("quota_boost_grants_model_group_id", "quota_boost_grants", ["model_group_id"]),
        Step::index("quota_boost_grants_expires_at", "quota_boost_grants", ["expires_at"]),
    ]
}

/// What has been spent, in the form in which budgets are summed. No foreign keys: see the ledger.
fn spend() -> Vec<Step> {
    let zero = |name: &'static str| big_integer(name).default(0).take();
    vec![
        Step::column("usage_ledger", zero("user_era")),
        Step::column("usage_ledger", zero("key_era")),
        Step::table(
            "usage_rollup_minute",
            [
                // First in the key: what is being written is all at one end.
                big_integer("minute"),
                big_integer("user_id"),
                big_integer("key_id"),
                text("provider"),
                big_integer("model_group_id"),
                boolean("counted_in_user_global"),
                boolean("counted_in_key_global"),
                big_integer("user_era"),
                big_integer("key_era"),
                big_integer("cost_nanos"),
                big_integer("requests"),
            ],
        )
        .keyed_by([
            "minute",
            "user_id",
            "key_id",
            "provider",
            "model_group_id",
            "counted_in_user_global",
            "counted_in_key_global",
            "user_era",
            "key_era",
        ]),
        // The sum of a budget since a minute is one range of one of these. Sums are not in them: a row whose sum
        // grows leaves them alone.
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS usage_rollup_minute_user_mainline \
             ON usage_rollup_minute (user_id, minute) WHERE counted_in_user_global",
        ),
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS usage_rollup_minute_user_group \
             ON usage_rollup_minute (user_id, model_group_id, minute) WHERE NOT counted_in_user_global",
        ),
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS usage_rollup_minute_key_mainline \
             ON usage_rollup_minute (key_id, minute) WHERE counted_in_key_global",
        ),
        Step::Sql(
            "CREATE INDEX IF NOT EXISTS usage_rollup_minute_key_group \
             ON usage_rollup_minute (key_id, model_group_id, minute) WHERE NOT counted_in_key_global",
        ),
        Step::index("usage_rollup_minute_provider", "usage_rollup_minute", ["provider", "minute"]),
        // What was spent before there was a roll-up. Whole sums, so that it may be done again.
        Step::Sql(
            "INSERT INTO usage_rollup_minute (minute, user_id, key_id, provider, model_group_id, \
             counted_in_user_global, counted_in_key_global, user_era, key_era, cost_nanos, requests) \
             SELECT settled_at / 60000, user_id, key_id, provider, COALESCE(model_group_id, 0), \
             counted_in_user_global, counted_in_key_global, user_era, key_era, SUM(cost_nanos), COUNT(*) \
             FROM usage_ledger WHERE true GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 \
             ON CONFLICT (minute, user_id, key_id, provider, model_group_id, counted_in_user_global, \
             counted_in_key_global, user_era, key_era) \
             DO UPDATE SET cost_nanos = excluded.cost_nanos, requests = excluded.requests",
        ),
        Step::table(
            "budget_windows",
            [text("axis"), big_integer("owner"), big_integer("scope"), big_integer("started_at")],
        )
        .keyed_by(["axis", "owner", "scope"]),
        Step::table(
            "gateway_nodes",
            [
                big_pk_auto("inc"),
                text("name"),
                text("state"),
                big_integer("started_at"),
                big_integer("seen_at"),
                big_integer("applied_lsn").default(0).take(),
            ],
        )
        .check("state IN ('live', 'dead', 'closed')"),
    ]
}
