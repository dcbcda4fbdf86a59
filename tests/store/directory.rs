//! Keys are found, remembered, corrected and forgotten.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use entity::{keys, users};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait, ColumnTrait, DatabaseConnection, EntityTrait, IntoActiveModel, QueryFilter};
use tokio_util::sync::CancellationToken;
use tollgate::directory::{
    Authenticator, Directory, LookupError, NewKey, NewUser, Refusal, Secret, SecretHash, Standing, create_key,
    create_user,
};

use crate::database::{TestDatabase, eventually, on_both};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

on_both!(
    in_doubt_everything_is_read_again_at_once_and_nothing_stops_working,
    a_known_key_costs_one_query_and_then_none,
    many_requests_for_a_new_key_cost_one_query,
    an_unknown_key_costs_one_query_until_it_may_exist,
    what_is_not_shaped_like_a_key_costs_no_query,
    a_scan_is_cut_off_and_a_known_key_passes,
    a_remembered_key_works_without_the_database_and_a_new_one_does_not,
    a_write_is_seen_by_whoever_asks_after_its_invalidation,
    a_refresh_finds_what_was_changed_deleted_and_left,
    a_refresh_reads_more_keys_than_fit_into_one_query,
    guessing_is_stopped_and_a_valid_key_always_passes,
    a_caller_that_may_not_call_is_told_why,
);

pub async fn user_with_key(db: &DatabaseConnection, name: &str) -> (i64, i64, Secret) {
    let user = create_user(db, NewUser::named(name), 0).await.unwrap();
    let (key, secret) = create_key(db, user.id, NewKey::named("k"), 0).await.unwrap();
    (user.id, key.id, secret)
}

pub async fn enable_user(db: &DatabaseConnection, id: i64, enabled: bool) {
    let update = users::Entity::update_many().col_expr(users::Column::Enabled, Expr::value(enabled));
    update.filter(users::Column::Id.eq(id)).exec(db).await.unwrap();
}

async fn a_known_key_costs_one_query_and_then_none(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let (user, key, secret) = user_with_key(&db, "ada").await;
    let directory = Directory::new(db, 0);
    statements.store(0, Ordering::SeqCst);
    assert!(directory.remembered(secret.expose(), 0).is_none());
    for _ in 0..100 {
        let found = directory.lookup(secret.expose(), Standing::Good, 0).await.unwrap();
        assert_eq!((found.user.id, found.key.id), (user, key));
    }
    assert_eq!(statements.load(Ordering::SeqCst), 1);
    assert!(directory.remembered(secret.expose(), 0).unwrap().is_ok());
}

async fn many_requests_for_a_new_key_cost_one_query(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let (user, _, secret) = user_with_key(&db, "ada").await;
    let directory = Directory::new(db, 0);
    statements.store(0, Ordering::SeqCst);
    let secret = Arc::new(secret);
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let (directory, secret) = (directory.clone(), Arc::clone(&secret));
            tokio::spawn(async move { directory.lookup(secret.expose(), Standing::Good, 0).await })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().user.id, user);
    }
    assert_eq!(statements.load(Ordering::SeqCst), 1);
}

async fn an_unknown_key_costs_one_query_until_it_may_exist(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let (user, _, _) = user_with_key(&db, "ada").await;
    let directory = Directory::new(db.clone(), 0);
    let secret = Secret::for_key();
    statements.store(0, Ordering::SeqCst);
    for _ in 0..50 {
        let error = directory.lookup(secret.expose(), Standing::Good, 0).await.unwrap_err();
        assert_eq!(error, LookupError::Unknown);
    }
    assert_eq!(statements.load(Ordering::SeqCst), 1);
    // Now it is created, as the API does: write, then invalidate.
    let (key, _) = create_key(&db, user, NewKey::named("k"), 0).await.unwrap();
    let hash = secret.hash().to_string();
    let update = keys::Entity::update_many().col_expr(keys::Column::SecretHash, Expr::value(hash));
    update.filter(keys::Column::Id.eq(key.id)).exec(&db).await.unwrap();
    assert!(directory.lookup(secret.expose(), Standing::Good, 29_999).await.is_err(), "still remembered as unknown");
    directory.invalidate_hash(&secret.hash());
    assert_eq!(directory.lookup(secret.expose(), Standing::Good, 29_999).await.unwrap().key.id, key.id);
}

async fn what_is_not_shaped_like_a_key_costs_no_query(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let directory = Directory::new(db, 0);
    let long = format!("tg-{}", "a".repeat(10 << 20));
    let admin = Secret::for_admin();
    for text in ["", "tg-", "sk-ant-api03-abc", "' OR 1=1 --", admin.expose(), &long] {
        assert_eq!(directory.lookup(text, Standing::Good, 0).await.unwrap_err(), LookupError::Unknown);
    }
    assert_eq!(statements.load(Ordering::SeqCst), 0);
}

async fn a_scan_is_cut_off_and_a_known_key_passes(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let (_, _, known) = user_with_key(&db, "ada").await;
    let (_, _, new) = user_with_key(&db, "bob").await;
    let directory = Directory::new(db, 0);
    directory.lookup(known.expose(), Standing::Good, 0).await.unwrap();
    statements.store(0, Ordering::SeqCst);
    let mut busy = 0;
    for _ in 0..1_200 {
        busy += usize::from(
            directory.lookup(Secret::for_key().expose(), Standing::Good, 0).await.unwrap_err() == LookupError::Busy,
        );
    }
    assert_eq!((busy, statements.load(Ordering::SeqCst)), (200, 1_000));
    assert!(directory.lookup(known.expose(), Standing::Good, 0).await.is_ok());
    assert_eq!(directory.lookup(new.expose(), Standing::Good, 0).await.unwrap_err(), LookupError::Busy);
    // A second later there is room again, and a key that exists does not use it up.
    for _ in 0..3 {
        directory.invalidate_all();
        assert!(directory.lookup(new.expose(), Standing::Good, 2).await.is_ok());
    }
}

async fn a_remembered_key_works_without_the_database_and_a_new_one_does_not(database: TestDatabase) {
    let db = database.open().await;
    let (_, _, known) = user_with_key(&db, "ada").await;
    let (_, _, new) = user_with_key(&db, "bob").await;
    let directory = Directory::new(db.clone(), 1_000);
    directory.lookup(known.expose(), Standing::Good, 1_000).await.unwrap();
    db.close().await.unwrap();
    assert!(directory.lookup(known.expose(), Standing::Good, 2_000).await.is_ok());
    assert_eq!(directory.lookup(new.expose(), Standing::Good, 2_000).await.unwrap_err(), LookupError::Unavailable);
    assert!(directory.refresh(9_000).await.is_err());
    assert!(directory.lookup(known.expose(), Standing::Good, 9_000).await.is_ok());
    assert_eq!(directory.snapshot_age(9_000), Duration::from_secs(8));
    assert_eq!(directory.snapshot_age(0), Duration::ZERO);
}

async fn a_write_is_seen_by_whoever_asks_after_its_invalidation(database: TestDatabase) {
    const WRITES: i32 = 150;
    let db = database.open().await;
    let (user, key, secret) = user_with_key(&db, "ada").await;
    let directory = Directory::new(db.clone(), 0);
    let (published, done) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicBool::new(false)));
    let secret = Arc::new(secret);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (directory, secret) = (directory.clone(), Arc::clone(&secret));
            let (published, done) = (Arc::clone(&published), Arc::clone(&done));
            tokio::spawn(async move {
                let mut seen = HashSet::new();
                while !done.load(Ordering::SeqCst) {
                    let at_least = published.load(Ordering::SeqCst);
                    let found = directory.lookup(secret.expose(), Standing::Good, 0).await.unwrap();
                    let rpm = found.count_subject().user.rpm.unwrap_or(0);
                    assert!(i64::from(rpm) >= i64::from(at_least), "{rpm} was read after {at_least} was answered");
                    seen.insert(rpm);
                    tokio::task::yield_now().await;
                }
                seen.len()
            })
        })
        .collect();
    for n in 1..=WRITES {
        let update = users::Entity::update_many().col_expr(users::Column::Rpm, Expr::value(n));
        update.filter(users::Column::Id.eq(user)).exec(&db).await.unwrap();
        match n % 3 {
            0 => directory.invalidate_user(user),
            1 => directory.invalidate_key(key),
            _ => directory.invalidate_hash(&secret.hash()),
        }
        published.store(n, Ordering::SeqCst);
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 1, "the readers saw the writes happen");
    }
    let last = directory.lookup(secret.expose(), Standing::Good, 0).await.unwrap();
    assert_eq!(last.count_subject().user.rpm, Some(WRITES.unsigned_abs()));
}

async fn a_refresh_finds_what_was_changed_deleted_and_left(database: TestDatabase) {
    let db = database.open().await;
    let (disabled, _, first) = user_with_key(&db, "ada").await;
    let (_, deleted, second) = user_with_key(&db, "bob").await;
    let (_, _, third) = user_with_key(&db, "eve").await;
    let directory = Directory::new(db.clone(), 0);
    for secret in [&first, &second, &third] {
        directory.lookup(secret.expose(), Standing::Good, 0).await.unwrap();
    }
    let left = directory.remembered(third.expose(), 0).unwrap().unwrap();
    enable_user(&db, disabled, false).await;
    keys::Entity::delete_by_id(deleted).exec(&db).await.unwrap();
    directory.refresh(30_000).await.unwrap();
    assert_eq!(directory.snapshot_age(31_000), Duration::from_secs(1));
    let changed = directory.remembered(first.expose(), 30_000).unwrap().unwrap();
    assert_eq!(changed.check(0), Err(Refusal::UserDisabled));
    assert!(directory.remembered(second.expose(), 30_000).is_none(), "it was deleted");
    let same = directory.remembered(third.expose(), 30_000).unwrap().unwrap();
    assert!(Arc::ptr_eq(&left, &same), "what has not changed is not made anew");
}

async fn in_doubt_everything_is_read_again_at_once_and_nothing_stops_working(database: TestDatabase) {
    let db = database.open().await;
    let (user, _, secret) = user_with_key(&db, "ada").await;
    let directory = Directory::new(db.clone(), 0);
    let stop = CancellationToken::new();
    let refresh = tokio::spawn({
        let (directory, stop) = (directory.clone(), stop.clone());
        async move { directory.keep_fresh(stop).await }
    });
    directory.lookup(secret.expose(), Standing::Good, 0).await.unwrap();
    enable_user(&db, user, false).await;
    directory.doubt_all();
    let refused = || async { directory.remembered(secret.expose(), 0).unwrap().unwrap().check(0).is_err() };
    eventually("it was read again", Duration::from_secs(2), refused).await;
    db.close().await.unwrap();
    directory.doubt_all();
    assert!(directory.remembered(secret.expose(), 0).unwrap().is_ok(), "the database is away");
    stop.cancel();
    refresh.await.unwrap();
}

async fn a_refresh_reads_more_keys_than_fit_into_one_query(database: TestDatabase) {
    let db = database.open().await;
    let (user, key, _) = user_with_key(&db, "ada").await;
    let model = keys::Entity::find_by_id(key).one(&db).await.unwrap().unwrap();
    let secrets: Vec<Secret> = (0..1_201).map(|_| Secret::for_key()).collect();
    let rows = secrets.iter().map(|secret| {
        let row = keys::Model { secret_hash: secret.hash().to_string(), ..model.clone() };
        let mut row = row.into_active_model().reset_all();
        row.id = sea_orm::ActiveValue::NotSet;
        row
    });
    keys::Entity::insert_many(rows).exec_without_returning(&db).await.unwrap();
    let directory = Directory::new(db.clone(), 0);
    for secret in &secrets {
        directory.lookup(secret.expose(), Standing::Good, 0).await.unwrap();
    }
    enable_user(&db, user, false).await;
    directory.refresh(1).await.unwrap();
    for secret in &secrets {
        let found = directory.remembered(secret.expose(), 1).unwrap().unwrap();
        assert_eq!(found.check(1), Err(Refusal::UserDisabled));
    }
}

async fn guessing_is_stopped_and_a_valid_key_always_passes(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let (_, _, secret) = user_with_key(&db, "ada").await;
    let authenticator = Authenticator::new(Directory::new(db, 0));
    statements.store(0, Ordering::SeqCst);
    for n in 0..20 {
        let refusal = match n % 3 {
            0 => authenticator.refuse_without_credential(CLIENT, 0),
            1 => authenticator.authenticate(CLIENT, "sk-wrong", 0).await.unwrap_err(),
            _ => authenticator.authenticate(CLIENT, Secret::for_key().expose(), 0).await.unwrap_err(),
        };
        assert_eq!(refusal, Refusal::InvalidApiKey, "failure {n}");
    }
    let stopped = Refusal::TooManyAuthFailures { retry_after: Duration::from_secs(300) };
    assert_eq!(authenticator.refuse_without_credential(CLIENT, 0), stopped);
    // It goes on guessing, and is cut off from the database.
    for _ in 0..200 {
        let refusal = authenticator.authenticate(CLIENT, Secret::for_key().expose(), 0).await.unwrap_err();
        assert_eq!(refusal, stopped);
    }
    assert!(statements.load(Ordering::SeqCst) < 60, "{statements:?} queries");
    // A valid key passes from the same address, and does so the first time.
    assert!(authenticator.authenticate(CLIENT, secret.expose(), 60).await.is_ok());
    assert!(authenticator.authenticate(CLIENT, secret.expose(), 60).await.is_ok());
    let elsewhere = IpAddr::from([192, 0, 2, 1]);
    assert_eq!(authenticator.refuse_without_credential(elsewhere, 0), Refusal::InvalidApiKey);
    // Five minutes later all is forgiven.
    assert_eq!(authenticator.refuse_without_credential(CLIENT, 300_000), Refusal::InvalidApiKey);
}

async fn a_caller_that_may_not_call_is_told_why(database: TestDatabase) {
    let db = database.open().await;
    let (user, _, _) = user_with_key(&db, "ada").await;
    let authenticator = Authenticator::new(Directory::new(db.clone(), 0));
    let expiring = NewKey { expires_at: Some(1_000), ..NewKey::named("short") };
    let (_, secret) = create_key(&db, user, expiring, 0).await.unwrap();
    assert!(authenticator.authenticate(CLIENT, secret.expose(), 999).await.is_ok());
    for _ in 0..30 {
        let refusal = authenticator.authenticate(CLIENT, secret.expose(), 1_000).await.unwrap_err();
        assert_eq!(refusal, Refusal::KeyExpired, "it is not counted as guessing");
    }
    assert_eq!(authenticator.refuse_without_credential(CLIENT, 1_000), Refusal::InvalidApiKey);
    let disabled = NewKey { enabled: false, ..NewKey::named("off") };
    let (_, secret) = create_key(&db, user, disabled, 0).await.unwrap();
    let refusal = authenticator.authenticate(CLIENT, secret.expose(), 0).await.unwrap_err();
    assert_eq!(refusal, Refusal::KeyDisabled);
    assert_eq!(SecretHash::of(secret.expose()), secret.hash());
}
