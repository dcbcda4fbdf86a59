//! The schema: how it comes into being, and what it promises.

use entity::{
    admin_tokens, audit_log, budget_windows, gateway_nodes, idempotency_keys, keys, limit_stamps, message_request,
    model_group_limits, model_group_members, model_groups, model_prices, quota_boost_grants, refusals, usage_ledger,
    usage_rollup_minute, usage_rollup_quarter, usage_rollup_span, usage_rollup_state, user_group_members, user_groups,
    users,
};
use migration::{
    Migrator, MigratorTrait, SchemaManager, Step, m0001_first_tables, m0002_budgets, m0003_longer_sums, m0004_lives,
    m0005_applied_prices, m0006_refusals, m0007_list_indexes, m0008_tokens_and_audit, m0009_quarters,
    m0010_more_list_indexes, m0011_audit_actor,
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ActiveValue::Set, ConnectionTrait, DatabaseConnection, EntityTrait,
    IntoActiveModel, PaginatorTrait,
};
use tollgate::ledger::begin_life;
use tollgate::store::{self, StoreError};

use crate::database::{TestDatabase, on_both, sqlite_url};
use crate::limits;

on_both!(
    f02_a_migration_that_stopped_anywhere_can_be_run_again,
    migrating_twice_changes_nothing,
    what_was_spent_before_there_was_a_roll_up_is_in_it,
    many_nodes_may_migrate_at_once,
    a_newer_schema_is_refused,
    looking_at_the_status_changes_nothing,
    every_entity_fits_its_table,
    ids_are_never_reused,
    a_user_takes_the_keys_along_and_leaves_the_ledger,
    a_secret_and_a_charge_are_unique,
);

async fn f02_a_migration_that_stopped_anywhere_can_be_run_again(database: TestDatabase) {
    let db = database.connect().await;
    let migrations: [fn() -> Vec<Step>; 11] = [
        m0001_first_tables::steps,
        m0002_budgets::steps,
        m0003_longer_sums::steps,
        m0004_lives::steps,
        m0005_applied_prices::steps,
        m0006_refusals::steps,
        m0007_list_indexes::steps,
        m0008_tokens_and_audit::steps,
        m0009_quarters::steps,
        m0010_more_list_indexes::steps,
        m0011_audit_actor::steps,
    ];
    assert_eq!(migrations.len(), Migrator::migrations().len());
    for (earlier, steps) in migrations.iter().enumerate() {
        let whole = steps().len();
        for done in 0..=whole {
            Migrator::up(&db, Some(u32::try_from(earlier).unwrap())).await.unwrap();
            if earlier > 0 {
                old_charge(&db, 5).await;
            }
            let transaction = store::begin_write(&db).await.unwrap();
            for step in steps().into_iter().take(done) {
                step.run(&SchemaManager::new(&transaction)).await.unwrap();
            }
            transaction.commit().await.unwrap();
            assert!(
                !store::migration_status(&db).await.unwrap()[earlier].applied,
                "after {done} of {whole} statements"
            );
            store::migrate(&db).await.unwrap();
            assert!(store::migration_status(&db).await.unwrap()[earlier].applied);
            fill(&db, 2).await;
            drop_all(&db).await;
        }
    }
}

async fn migrating_twice_changes_nothing(database: TestDatabase) {
    let db = database.open().await;
    fill(&db, 1).await;
    store::migrate(&db).await.unwrap();
    assert_eq!(usage_ledger::Entity::find().count(&db).await.unwrap(), 1);
}

async fn what_was_spent_before_there_was_a_roll_up_is_in_it(database: TestDatabase) {
    let db = database.connect().await;
    Migrator::up(&db, Some(1)).await.unwrap();
    old_charge(&db, 5).await;
    old_charge(&db, 7).await;
    store::migrate(&db).await.unwrap();
    let expected = usage_rollup_minute::Model {
        minute: 1,
        user_id: 1,
        key_id: 2,
        provider: "p".to_owned(),
        model_group_id: 0,
        counted_in_user_global: true,
        counted_in_key_global: true,
        user_era: 0,
        key_era: 0,
        cost_nanos: 12,
        requests: 2,
    };
    assert_eq!(usage_rollup_minute::Entity::find().all(&db).await.unwrap(), [expected]);
    let spans = usage_rollup_span::Entity::find().all(&db).await.unwrap().into_iter();
    let mut spans: Vec<_> = spans.map(|row| (row.axis, row.owner, row.span, row.minute, row.cost_nanos)).collect();
    spans.sort();
    let of = |axis: &str, owner: &str, span, minute| (axis.to_owned(), owner.to_owned(), span, minute, 12);
    let of_two = |axis, owner| [of(axis, owner, 120, 0), of(axis, owner, 10_080, 0)];
    let expected = [of_two("key", "2").to_vec(), vec![of("provider", "p", 1, 1)], of_two("provider", "p").to_vec()];
    assert_eq!(spans, [expected.concat(), of_two("user", "1").to_vec()].concat());
}

async fn many_nodes_may_migrate_at_once(database: TestDatabase) {
    let mut pools = Vec::new();
    for _ in 0..6 {
        pools.push(database.connect().await);
    }
    let nodes: Vec<_> = pools
        .into_iter()
        .map(|db| tokio::spawn(async move { Box::pin(store::migrate(&db)).await.map_err(|error| error.to_string()) }))
        .collect();
    for node in nodes {
        assert_eq!(node.await.unwrap(), Ok(()));
    }
    fill(&database.connect().await, 1).await;
}

async fn a_newer_schema_is_refused(database: TestDatabase) {
    let db = database.open().await;
    db.execute_unprepared("INSERT INTO seaql_migrations VALUES ('m9999_from_the_future', 0)").await.unwrap();
    for error in [store::migrate(&db).await.unwrap_err(), store::migration_status(&db).await.unwrap_err()] {
        assert!(matches!(&error, StoreError::Newer(name) if name == "m9999_from_the_future"), "{error}");
        assert!(!error.is_unreachable());
    }
}

async fn looking_at_the_status_changes_nothing(database: TestDatabase) {
    let db = database.connect().await;
    let status = store::migration_status(&db).await.unwrap();
    assert_eq!(status.len(), Migrator::migrations().len());
    assert!(status.iter().all(|state| !state.applied));
    assert!(!SchemaManager::new(&db).has_table("seaql_migrations").await.unwrap());
}

async fn every_entity_fits_its_table(database: TestDatabase) {
    let db = database.open().await;
    fill(&db, 1).await;
    // Every column is written above and read here, with the types of the entity.
    assert_eq!(users::Entity::find().one(&db).await.unwrap().unwrap().rpm, Some(7));
    assert_eq!(keys::Entity::find().one(&db).await.unwrap().unwrap().expires_at, Some(i64::MAX));
    assert_eq!(admin_tokens::Entity::find().one(&db).await.unwrap().unwrap().role, "admin");
    assert_eq!(audit_log::Entity::find().one(&db).await.unwrap().unwrap().after.as_deref(), Some("{}"));
    assert_eq!(idempotency_keys::Entity::find().one(&db).await.unwrap().unwrap().status, 201);
    assert_eq!(model_prices::Entity::find().one(&db).await.unwrap().unwrap().model, "model-1");
    assert_eq!(usage_ledger::Entity::find().one(&db).await.unwrap().unwrap().cost_nanos, i64::MAX);
    assert_eq!(message_request::Entity::find().one(&db).await.unwrap().unwrap().request_bytes, i64::MAX);
    assert_eq!(refusals::Entity::find().one(&db).await.unwrap().unwrap().window.as_deref(), Some("daily"));
    assert_eq!(user_groups::Entity::find().one(&db).await.unwrap().unwrap().name, "users 1");
    assert_eq!(user_group_members::Entity::find().count(&db).await.unwrap(), 1);
    assert_eq!(model_groups::Entity::find().one(&db).await.unwrap().unwrap().name, "models 1");
    assert_eq!(model_group_members::Entity::find().one(&db).await.unwrap().unwrap().model, "m1");
    assert_eq!(model_group_limits::Entity::find().one(&db).await.unwrap().unwrap().daily_nanos, Some(1_000_000_000));
    assert_eq!(quota_boost_grants::Entity::find().one(&db).await.unwrap().unwrap().window, "daily");
    assert_eq!(budget_windows::Entity::find().one(&db).await.unwrap().unwrap().started_at, 60_000);
    assert_eq!(gateway_nodes::Entity::find().one(&db).await.unwrap().unwrap().state, "live");
    assert_eq!(limit_stamps::Entity::find().all(&db).await.unwrap(), [limit_stamps::Model { id: 1, value: 2 }]);
    assert_eq!(usage_rollup_quarter::Entity::find().one(&db).await.unwrap().unwrap().output_image_tokens, i64::MAX);
    let state = usage_rollup_state::Model { id: 1, announced_until: 0, announced_id: 0, sealed_until: 0 };
    assert_eq!(usage_rollup_state::Entity::find().all(&db).await.unwrap(), [state]);
}

async fn ids_are_never_reused(database: TestDatabase) {
    let db = database.open().await;
    let first = user("first").insert(&db).await.unwrap();
    let second = user("second").insert(&db).await.unwrap();
    users::Entity::delete_by_id(second.id).exec(&db).await.unwrap();
    users::Entity::delete_by_id(first.id).exec(&db).await.unwrap();
    let third = user("third").insert(&db).await.unwrap();
    assert!(third.id > second.id, "{} after {}", third.id, second.id);
}

async fn a_user_takes_the_keys_along_and_leaves_the_ledger(database: TestDatabase) {
    let db = database.open().await;
    fill(&db, 1).await;
    let user = users::Entity::find().one(&db).await.unwrap().unwrap();
    users::Entity::delete_by_id(user.id).exec(&db).await.unwrap();
    assert_eq!(keys::Entity::find().count(&db).await.unwrap(), 0);
    assert_eq!(usage_ledger::Entity::find().count(&db).await.unwrap(), 1);
    let orphan = key(user.id, 2).insert(&db).await;
    assert!(orphan.is_err(), "a key without a user");
}

async fn a_secret_and_a_charge_are_unique(database: TestDatabase) {
    let db = database.open().await;
    fill(&db, 1).await;
    let user = users::Entity::find().one(&db).await.unwrap().unwrap();
    assert!(store::is_data_error(&key(user.id, 1).insert(&db).await.unwrap_err()));
    assert!(store::is_data_error(&charge(1).insert(&db).await.unwrap_err()));
    let mut second_attempt = charge(1);
    second_attempt.attempt = Set(2);
    second_attempt.insert(&db).await.unwrap();
}

#[tokio::test]
async fn a_sqlite_file_and_its_folder_are_created_as_they_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let db = store::connect(&sqlite_url(&folder.path().join("a/b/c.db")), 4).await.unwrap();
    assert!(folder.path().join("a/b/c.db").exists());
    for (pragma, expected) in [("journal_mode", "wal"), ("foreign_keys", "1"), ("synchronous", "2")] {
        let row = db.query_one_raw(sea_orm::Statement::from_string(
            sea_orm::DbBackend::Sqlite,
            format!("SELECT CAST({pragma} AS TEXT) AS value FROM pragma_{pragma}"),
        ));
        let value: String = row.await.unwrap().unwrap().try_get("", "value").unwrap();
        assert_eq!(value, expected, "{pragma}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transactions_that_read_before_they_write_do_not_fail_each_other() {
    let database = TestDatabase::sqlite();
    let db = database.open().await;
    user("shared").insert(&db).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let transaction = store::begin_write(&db).await.unwrap();
                    let found = users::Entity::find().one(&transaction).await.unwrap().unwrap();
                    let mut changed = found.clone().into_active_model();
                    changed.version = Set(found.version + 1);
                    changed.update(&transaction).await.unwrap();
                    transaction.commit().await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(users::Entity::find().one(&db).await.unwrap().unwrap().version, 161);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unreachable_and_its_password_is_not_told() {
    let secret = "hunter2%21";
    // Nothing listens on port 1.
    let error = store::connect(&format!("postgres://me:{secret}@127.0.0.1:1/tollgate"), 4).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("127.0.0.1:1/tollgate"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_created_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = store::connect(&sqlite_url(&folder.path().join("file/tollgate.db")), 4).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
}

#[tokio::test]
async fn a_url_that_makes_no_sense_is_refused_without_its_password() {
    for url in [
        "",
        "mysql://me:hunter2@host/db",
        "postgres://me:hunter2@host:99999999/db",
        "postgres://me:hunter2@[/db",
        "sqlite:",
        "sqlite://",
        "sqlite::memory:",
        "sqlite://x?mode=memory",
        "sqlite://x?nonsense=1",
    ] {
        let error = store::connect(url, 4).await.unwrap_err();
        assert!(matches!(error, StoreError::Url { .. }), "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

async fn fill(db: &DatabaseConnection, n: i32) {
    let user = user(&format!("user {n}")).insert(db).await.unwrap();
    key(user.id, n).insert(db).await.unwrap();
    let token = admin_tokens::Model {
        expires_at: None,
        id: 0,
        name: format!("token {n}"),
        role: "admin".to_owned(),
        secret_hash: format!("hash {n}"),
        prefix: "tgadm-".to_owned(),
        created_at: 1,
    };
    let mut token = token.into_active_model().reset_all();
    token.id = NotSet;
    token.insert(db).await.unwrap();
    let entry = audit_log::ActiveModel {
        request_id: Set(None),
        id: NotSet,
        at: Set(1),
        actor: Set("root".to_owned()),
        actor_id: Set(Some(1)),
        action: Set("create".to_owned()),
        object_type: Set("user".to_owned()),
        object_id: Set("1".to_owned()),
        before: Set(None),
        after: Set(Some("{}".to_owned())),
    };
    entry.insert(db).await.unwrap();
    let answer = idempotency_keys::Model {
        id: format!("id {n}"),
        body_hash: "hash".to_owned(),
        status: 201,
        answer: "{}".to_owned(),
        created_at: 1,
    };
    answer.into_active_model().reset_all().insert(db).await.unwrap();
    let price = model_prices::Model { model: format!("model-{n}"), price: "{}".to_owned(), version: 1, updated_at: 1 };
    price.into_active_model().reset_all().insert(db).await.unwrap();
    charge(n).insert(db).await.unwrap();
    let detail = message_request::Model {
        request_id: format!("request {n}"),
        created_at: 1,
        stream: true,
        request_bytes: i64::MAX,
        response_bytes: 0,
        attempts: "[]".to_owned(),
        price: None,
    };
    detail.into_active_model().reset_all().insert(db).await.unwrap();
    crate::refusals::row(n.into()).into_active_model().reset_all().insert(db).await.unwrap();
    limits::user_group(db, &format!("users {n}"), &[user.id]).await;
    let models = limits::model_group(db, &format!("models {n}"), &[&format!("m{n}")]).await;
    let mut limit = limits::limit(models);
    limit.user_id = Set(Some(user.id));
    limit.insert(db).await.unwrap();
    limits::boost(user.id, models).insert(db).await.unwrap();
    let quarter = usage_rollup_quarter::Model {
        quarter: n.into(),
        user_id: user.id,
        key_id: 1,
        provider: "p".to_owned(),
        served_model: "m".to_owned(),
        model_group_id: 0,
        outcome: "completed".to_owned(),
        counted_in_user_global: true,
        counted_in_key_global: false,
        cost_nanos: 1,
        requests: 1,
        input_tokens: 1,
        output_tokens: 1,
        cache_read_tokens: 1,
        cache_write_5m_tokens: 1,
        cache_write_1h_tokens: 1,
        reasoning_tokens: 1,
        input_audio_tokens: 1,
        output_audio_tokens: 1,
        input_image_tokens: 1,
        output_image_tokens: i64::MAX,
    };
    quarter.into_active_model().reset_all().insert(db).await.unwrap();
    let window = budget_windows::Model { axis: "user".to_owned(), owner: user.id, scope: models, started_at: 60_000 };
    window.into_active_model().reset_all().insert(db).await.unwrap();
    begin_life(db, "node", true, 1).await.unwrap();
}

fn user(name: &str) -> users::ActiveModel {
    users::ActiveModel {
        id: NotSet,
        name: Set(name.to_owned()),
        note: Set(None),
        enabled: Set(true),
        expires_at: Set(None),
        rpm: Set(Some(7)),
        max_concurrent_requests: Set(None),
        allowed_models: Set(None),
        provider_groups: Set(None),
        limits: Set(None),
        era: Set(0),
        since_eras: Set(None),
        stamp: Set(0),
        version: Set(1),
        created_at: Set(1),
        updated_at: Set(1),
    }
}

fn key(user_id: i64, n: i32) -> keys::ActiveModel {
    keys::ActiveModel {
        id: NotSet,
        user_id: Set(user_id),
        name: Set("laptop".to_owned()),
        secret_hash: Set(format!("{n:064}")),
        prefix: Set("tg-abc".to_owned()),
        enabled: Set(true),
        expires_at: Set(Some(i64::MAX)),
        rpm: Set(None),
        max_concurrent_requests: Set(Some(i32::MAX)),
        allowed_models: Set(Some("[\"*\"]".to_owned())),
        provider_groups: Set(None),
        limits: Set(None),
        era: Set(0),
        since_eras: Set(None),
        stamp: Set(0),
        version: Set(1),
        created_at: Set(1),
        updated_at: Set(1),
    }
}

fn charge(n: i32) -> usage_ledger::ActiveModel {
    let row = usage_ledger::Model {
        id: 0,
        request_id: format!("request {n}"),
        attempt: 1,
        created_at: 1,
        settled_at: 2,
        user_id: 1,
        key_id: 1,
        provider: "p".to_owned(),
        dialect: "anthropic".to_owned(),
        requested_model: "m".to_owned(),
        served_model: "m".to_owned(),
        model_group_id: None,
        outcome: "completed".to_owned(),
        estimated: false,
        status: 200,
        duration_ms: 1,
        first_byte_ms: Some(1),
        input_tokens: i64::MAX,
        output_tokens: 1,
        cache_read_tokens: 1,
        cache_write_5m_tokens: 1,
        cache_write_1h_tokens: 1,
        reasoning_tokens: 1,
        input_audio_tokens: 1,
        output_audio_tokens: 1,
        input_image_tokens: 1,
        output_image_tokens: 1,
        web_searches: 1,
        service_tier: "standard".to_owned(),
        cost_nanos: i64::MAX,
        counted_in_user_global: true,
        counted_in_key_global: true,
        user_era: 0,
        key_era: 0,
        price_id: None,
    };
    let mut row = row.into_active_model().reset_all();
    row.id = NotSet;
    row
}

/// A row of the ledger as the first version wrote it.
async fn old_charge(db: &DatabaseConnection, cost: i64) {
    let sql = format!(
        "INSERT INTO usage_ledger (request_id, attempt, created_at, settled_at, user_id, key_id, provider, dialect, \
         requested_model, served_model, outcome, estimated, status, duration_ms, input_tokens, output_tokens, \
         cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, input_audio_tokens, \
         output_audio_tokens, input_image_tokens, output_image_tokens, web_searches, service_tier, cost_nanos) \
         VALUES ('old {cost}', 1, 1, 60001, 1, 2, 'p', 'anthropic', 'm', 'm', 'completed', false, 200, 1, 1, 1, 0, 0, \
         0, 0, 0, 0, 0, 0, 0, 'standard', {cost})"
    );
    db.execute_unprepared(&sql).await.unwrap();
}

async fn drop_all(db: &DatabaseConnection) {
    let drops = [
        "budget_windows",
        "gateway_nodes",
        "limit_stamps",
        "model_group_limits",
        "model_group_members",
        "quota_boost_grants",
        "model_groups",
        "user_group_members",
        "user_groups",
        "usage_rollup_minute",
        "usage_rollup_quarter",
        "usage_rollup_span",
        "usage_rollup_state",
        "keys",
        "users",
        "admin_tokens",
        "audit_log",
        "idempotency_keys",
        "model_prices",
        "usage_ledger",
        "write_offs",
        "message_request",
        "applied_prices",
        "refusals",
        "seaql_migrations",
    ]
    .map(|table| format!("DROP TABLE {table};"))
    .concat();
    // At once: a commit takes its time.
    db.execute_unprepared(&format!("BEGIN; {drops} COMMIT;")).await.unwrap();
}
