//! Lists that are long: rows that are put into the database at once, as nobody could write them one by one.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};

/// Groups of each kind that a crowd comes with.
pub const GROUPS: u64 = 1_000;

/// So many users, keys (half of them of the first user), limits and boosts, and some of everything around them, in a
/// database that has had none. Many are of the same instant, as they are after an import.
pub async fn fill(db: &DatabaseConnection, rows: u64) {
    members(db, rows).await;
    let key = "keys (user_id, name, secret_hash, prefix, enabled, era, stamp, version, created_at, updated_at)";
    let owner = "CASE WHEN i % 2 = 0 THEN 1 ELSE i / 2 + 2 END";
    let values = format!("{owner}, 'key ' || (i * 7919 % 1009), 'hash ' || i, 'tg-abcdef', true, 0, 0, 1, i / 5000, i");
    insert(db, key, rows - 2, &values).await;
    let group = "model_groups (name, stamp, version, created_at, updated_at)";
    insert(db, group, GROUPS, "'group ' || (1000 + i * 7 % 1009), 0, 1, i / 50, i").await;
    insert(db, "model_group_members (model, model_group_id)", GROUPS, "'model ' || i, i + 1").await;
    // First those of users, then those of user groups, then those of keys: whoever looks for the last looks past the others.
    for subject in ["user_id", "user_group_id", "key_id"] {
        let limit = format!(
            "model_group_limits ({subject}, model_group_id, total_nanos, stamp, version, created_at, updated_at)"
        );
        let count = rows / 3;
        let values = if subject == "user_group_id" {
            format!("i % {GROUPS} + 1, i / {GROUPS} + 1, 5, 0, 1, i, i")
        } else {
            "i + 1, i % 10 + 1, 5, 0, 1, i, i".to_owned()
        };
        insert(db, &limit, count, &values).await;
    }
    let boost = "quota_boost_grants (user_id, model_group_id, \"window\", nanos, starts_at, expires_at, stamp, version, \
                 created_at)";
    insert(db, boost, rows, "i / 10 + 1, i % 10 + 1, 'daily', 5, i, i + 1000, 0, 1, i").await;
    let entry = "audit_log (at, actor, action, object_type, object_id)";
    let values = "i / 10, 'token ' || (i % 7), CASE WHEN i % 50 = 0 THEN 'delete' ELSE 'update' END, \
                  CASE WHEN i % 3 = 0 THEN 'key' ELSE 'user' END, CAST(i / 5 AS TEXT)";
    insert(db, entry, rows, values).await;
    let refusal = "refusals (request_id, created_at, user_id, key_id, status, code, message, excluded, attempts)";
    let values = "'00000000-0000-7000-9000-' || (100000000000 + i), i / 10 * 100, i % 100 + 1, i % 200 + 1, 402, \
                  'budget_exceeded', 'the daily budget is used up', '[]', '[]'";
    insert(db, refusal, rows, values).await;
    spend(db, rows).await;
    if db.get_database_backend() == DbBackend::Postgres {
        // It does so by itself, a little later.
        db.execute_unprepared("ANALYZE").await.unwrap();
    }
}

/// So many users in user groups: each in one of about the same size, and most of them in the last one, too.
pub async fn members(db: &DatabaseConnection, rows: u64) {
    let user = "users (name, enabled, era, stamp, version, created_at, updated_at)";
    insert(db, user, rows, "'user ' || (1000000 + i * 7919 % 1000003), true, 0, 0, 1, i / 5000, i").await;
    let group = "user_groups (name, stamp, version, created_at, updated_at)";
    insert(db, group, GROUPS + 1, "'group ' || (1000 + i * 7 % 1009), 0, 1, i / 50, i").await;
    let member = "user_group_members (user_id, user_group_id)";
    insert(db, member, rows, &format!("i + 1, i % {GROUPS} + 1")).await;
    insert(db, member, rows * 2 / 3, &format!("i * 3 / 2 + 1, {GROUPS} + 1")).await;
}

/// So many rows of the ledger, in one that has none.
pub async fn spend(db: &DatabaseConnection, rows: u64) {
    let spent = "usage_ledger (request_id, attempt, created_at, settled_at, user_id, key_id, provider, dialect, \
                 requested_model, served_model, model_group_id, outcome, estimated, status, duration_ms, \
                 first_byte_ms, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, \
                 cache_write_1h_tokens, reasoning_tokens, input_audio_tokens, output_audio_tokens, \
                 input_image_tokens, output_image_tokens, web_searches, service_tier, cost_nanos, \
                 counted_in_user_global, counted_in_key_global)";
    let values = "'00000000-0000-7000-8000-' || (100000000000 + i), 1, i * 100, i * 100, i % 100 + 1, i % 200 + 1, \
                  'anthropic', 'anthropic', 'm', 'm', i % 10 + 1, 'completed', false, 200, 1500, 300, 1200, 300, 0, 0, 0, \
                  0, 0, 0, 0, 0, 0, 'standard', 9300000, true, true";
    insert(db, spent, rows, values).await;
}

/// So many rows at once, of their numbers from 0.
async fn insert(db: &DatabaseConnection, what: &str, count: u64, values: &str) {
    let numbers = if db.get_database_backend() == DbBackend::Postgres {
        format!("generate_series(0::bigint, {}::bigint) AS n(i)", count - 1)
    } else {
        format!(
            "(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n)",
            count - 1
        )
    };
    db.execute_unprepared(&format!("INSERT INTO {what} SELECT {values} FROM {numbers}")).await.unwrap();
}
