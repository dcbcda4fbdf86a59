//! Groups, limits and boosts: what the database refuses, and what it deletes along.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use entity::{
    keys, model_group_limits, model_group_members, model_groups, quota_boost_grants, user_group_members, user_groups,
    users,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection,
    EntityTrait, ModelTrait, PaginatorTrait, QueryFilter,
};
use tokio_util::sync::CancellationToken;
use tollgate::directory::{Directory, LimitKeeper, NewKey, NewUser, Standing, after_reset, create_key, create_user};
use tollgate::limit::{Mode, Owner, Payers, Window, WindowCap};
use tollgate::money::Usd;
use tollgate::store;

use crate::database::{TestDatabase, eventually, on_both};

on_both!(
    f15_nothing_is_left_of_a_thousand_deleted_keys_with_limits,
    f15_whoever_is_deleted_takes_memberships_limits_and_boosts_along,
    f22_a_limit_without_a_cap_is_refused_by_the_database_too,
    a_limit_belongs_to_exactly_one_subject_and_is_there_once,
    a_boost_that_makes_no_sense_is_refused,
    a_model_is_in_one_group_at_most,
    stamps_rise_in_the_order_in_which_they_are_committed,
    limits_are_read_whole_in_a_fixed_number_of_queries,
    a_state_with_what_has_changed_since_is_that_which_is_read_whole,
    limits_that_cannot_be_read_again_go_on_being_used,
    whoever_waits_for_a_reading_that_began_later_does_not_read_again,
    whoever_knows_of_a_later_change_waits_for_the_state_that_contains_it,
    h30_before_a_first_state_nothing_is_known,
    h03_a_principal_knows_what_it_may_spend,
);

/// Makes a user with a key; returns both ids.
pub async fn owner(db: &DatabaseConnection, name: &str) -> (i64, i64) {
    let user = create_user(db, NewUser::named(name), 1).await.unwrap().id;
    (user, create_key(db, user, NewKey::named("k"), 1).await.unwrap().0.id)
}

/// Makes a model group.
pub async fn model_group(db: &DatabaseConnection, name: &str, models: &[&str]) -> i64 {
    let group = model_groups::ActiveModel {
        id: NotSet,
        name: Set(name.to_owned()),
        description: Set(None),
        singleton: Set(false),
        stamp: Set(store::next_stamp(db).await.unwrap()),
        version: Set(1),
        created_at: Set(1),
        updated_at: Set(1),
    };
    let id = group.insert(db).await.unwrap().id;
    for model in models {
        member(model, id).insert(db).await.unwrap();
    }
    id
}

/// Makes a user group.
pub async fn user_group(db: &DatabaseConnection, name: &str, members: &[i64]) -> i64 {
    let group = user_groups::ActiveModel {
        id: NotSet,
        name: Set(name.to_owned()),
        description: Set(None),
        stamp: Set(store::next_stamp(db).await.unwrap()),
        version: Set(1),
        created_at: Set(1),
        updated_at: Set(1),
    };
    let id = group.insert(db).await.unwrap().id;
    for user in members {
        let member = user_group_members::ActiveModel { user_group_id: Set(id), user_id: Set(*user) };
        member.insert(db).await.unwrap();
    }
    id
}

/// A daily limit of a dollar, of nobody yet.
pub fn limit(model_group_id: i64) -> model_group_limits::ActiveModel {
    model_group_limits::ActiveModel {
        id: NotSet,
        user_id: Set(None),
        user_group_id: Set(None),
        key_id: Set(None),
        model_group_id: Set(model_group_id),
        total_nanos: Set(None),
        five_hours_nanos: Set(None),
        five_hours_reset: Set(None),
        daily_nanos: Set(Some(1_000_000_000)),
        daily_reset: Set(None),
        daily_at: Set(None),
        weekly_nanos: Set(None),
        monthly_nanos: Set(None),
        stamp: Set(1),
        version: Set(1),
        created_at: Set(1),
        updated_at: Set(1),
    }
}

/// A boost of a dollar.
pub fn boost(user_id: i64, model_group_id: i64) -> quota_boost_grants::ActiveModel {
    quota_boost_grants::ActiveModel {
        id: NotSet,
        user_id: Set(user_id),
        model_group_id: Set(model_group_id),
        window: Set("daily".to_owned()),
        nanos: Set(1_000_000_000),
        starts_at: Set(1_000),
        expires_at: Set(2_000),
        reason: Set(None),
        stamp: Set(1),
        version: Set(1),
        created_at: Set(1),
    }
}

fn member(model: &str, model_group_id: i64) -> model_group_members::ActiveModel {
    model_group_members::ActiveModel { model: Set(model.to_owned()), model_group_id: Set(model_group_id) }
}

async fn limits(db: &DatabaseConnection) -> u64 {
    model_group_limits::Entity::find().count(db).await.unwrap()
}

async fn f15_nothing_is_left_of_a_thousand_deleted_keys_with_limits(database: TestDatabase) {
    let db = database.open().await;
    let (user, _) = owner(&db, "ada").await;
    let group = model_group(&db, "g", &[]).await;
    let transaction = store::begin_write(&db).await.unwrap();
    for _ in 0..1_000 {
        let key = create_key(&transaction, user, NewKey::named("k"), 1).await.unwrap().0.id;
        let mut limit = limit(group);
        limit.key_id = Set(Some(key));
        limit.insert(&transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
    assert_eq!(limits(&db).await, 1_000);
    keys::Entity::delete_many().exec(&db).await.unwrap();
    assert_eq!(limits(&db).await, 0);
}

async fn f15_whoever_is_deleted_takes_memberships_limits_and_boosts_along(database: TestDatabase) {
    let db = database.open().await;
    let count = || async {
        let members = user_group_members::Entity::find().count(&db).await.unwrap();
        let models = model_group_members::Entity::find().count(&db).await.unwrap();
        (limits(&db).await, members, models, quota_boost_grants::Entity::find().count(&db).await.unwrap())
    };
    let (ada, ada_key) = owner(&db, "ada").await;
    let (grace, _) = owner(&db, "grace").await;
    let team = user_group(&db, "team", &[ada, grace]).await;
    let (a, b) = (model_group(&db, "a", &["m1", "m2"]).await, model_group(&db, "b", &["m3"]).await);
    for group in [a, b] {
        let subjects: [(Option<i64>, Option<i64>, Option<i64>); 4] =
            [(Some(ada), None, None), (Some(grace), None, None), (None, Some(team), None), (None, None, Some(ada_key))];
        for (user, user_group, key) in subjects {
            let mut limit = limit(group);
            (limit.user_id, limit.user_group_id, limit.key_id) = (Set(user), Set(user_group), Set(key));
            limit.insert(&db).await.unwrap();
        }
        boost(ada, group).insert(&db).await.unwrap();
        boost(grace, group).insert(&db).await.unwrap();
    }
    assert_eq!(count().await, (8, 2, 3, 4));
    model_groups::Entity::delete_by_id(a).exec(&db).await.unwrap();
    assert_eq!(count().await, (4, 2, 1, 2), "without a model group");
    users::Entity::delete_by_id(ada).exec(&db).await.unwrap();
    assert_eq!(count().await, (2, 1, 1, 1), "without a user, and so without his key");
    user_groups::Entity::delete_by_id(team).exec(&db).await.unwrap();
    assert_eq!(count().await, (1, 0, 1, 1), "without a user group");
}

async fn f22_a_limit_without_a_cap_is_refused_by_the_database_too(database: TestDatabase) {
    let db = database.open().await;
    let (user, _) = owner(&db, "ada").await;
    let group = model_group(&db, "g", &[]).await;
    let of = |change: fn(&mut model_group_limits::ActiveModel)| {
        let mut limit = limit(group);
        limit.user_id = Set(Some(user));
        change(&mut limit);
        limit
    };
    let refused: [fn(&mut model_group_limits::ActiveModel); 8] = [
        |limit| limit.daily_nanos = Set(None),
        |limit| limit.daily_nanos = Set(Some(0)),
        |limit| limit.total_nanos = Set(Some(0)),
        |limit| limit.five_hours_nanos = Set(Some(-1)),
        |limit| limit.monthly_nanos = Set(Some(9_000_000_000_000_001)),
        |limit| limit.daily_reset = Set(Some("sometimes".to_owned())),
        |limit| limit.five_hours_reset = Set(Some(String::new())),
        |limit| limit.daily_at = Set(Some(1_440)),
    ];
    for (n, change) in refused.into_iter().enumerate() {
        let error = of(change).insert(&db).await.expect_err(&format!("change {n}"));
        assert!(store::is_data_error(&error), "{n}: {error}");
    }
    let stored = of(|limit| limit.weekly_nanos = Set(Some(9_000_000_000_000_000))).insert(&db).await.unwrap();
    let last_cap =
        format!("UPDATE model_group_limits SET daily_nanos = NULL, weekly_nanos = NULL WHERE id = {}", stored.id);
    assert!(store::is_data_error(&db.execute_unprepared(&last_cap).await.unwrap_err()));
}

async fn a_limit_belongs_to_exactly_one_subject_and_is_there_once(database: TestDatabase) {
    let db = database.open().await;
    let (user, key) = owner(&db, "ada").await;
    let team = user_group(&db, "team", &[]).await;
    let (group, other) = (model_group(&db, "g", &[]).await, model_group(&db, "other", &[]).await);
    let of = |subject: (Option<i64>, Option<i64>, Option<i64>), group: i64| {
        let mut limit = limit(group);
        (limit.user_id, limit.user_group_id, limit.key_id) = (Set(subject.0), Set(subject.1), Set(subject.2));
        limit.insert(&db)
    };
    for subject in [
        (None, None, None),
        (Some(user), Some(team), None),
        (Some(user), None, Some(key)),
        (Some(user), Some(team), Some(key)),
        (Some(999), None, None),
        (None, Some(999), None),
        (None, None, Some(999)),
    ] {
        assert!(store::is_data_error(&of(subject, group).await.unwrap_err()), "{subject:?}");
    }
    for subject in [(Some(user), None, None), (None, Some(team), None), (None, None, Some(key))] {
        of(subject, group).await.unwrap();
        of(subject, other).await.unwrap();
        assert!(store::is_data_error(&of(subject, group).await.unwrap_err()), "{subject:?} twice");
    }
}

async fn a_boost_that_makes_no_sense_is_refused(database: TestDatabase) {
    let db = database.open().await;
    let (user, _) = owner(&db, "ada").await;
    let group = model_group(&db, "g", &[]).await;
    let refused: [fn(&mut quota_boost_grants::ActiveModel); 5] = [
        |boost| boost.nanos = Set(0),
        |boost| boost.nanos = Set(-1),
        |boost| boost.expires_at = Set(1_000),
        |boost| boost.window = Set("hourly".to_owned()),
        |boost| boost.user_id = Set(999),
    ];
    for (n, change) in refused.into_iter().enumerate() {
        let mut boost = boost(user, group);
        change(&mut boost);
        let error = boost.insert(&db).await.expect_err(&format!("change {n}"));
        assert!(store::is_data_error(&error), "{n}: {error}");
    }
    // Two at once are two grants.
    boost(user, group).insert(&db).await.unwrap();
    boost(user, group).insert(&db).await.unwrap();
}

async fn a_model_is_in_one_group_at_most(database: TestDatabase) {
    let db = database.open().await;
    let group = model_group(&db, "g", &["m"]).await;
    let other = model_group(&db, "other", &["M"]).await;
    for group in [group, other] {
        assert!(store::is_data_error(&member("m", group).insert(&db).await.unwrap_err()));
    }
    model_groups::Entity::delete_by_id(group).exec(&db).await.unwrap();
    member("m", other).insert(&db).await.unwrap();
}

async fn stamps_rise_in_the_order_in_which_they_are_committed(database: TestDatabase) {
    let db = database.open().await;
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let db = db.clone();
            tokio::spawn(async move {
                for n in 0..10 {
                    let transaction = store::begin_write(&db).await.unwrap();
                    let stamp = store::next_stamp(&transaction).await.unwrap();
                    // Ids are given out at once, and rows seen only after the commit: while this transaction is open
                    // nobody else may be given a stamp.
                    let seen = user_groups::Entity::find().count(&transaction).await.unwrap();
                    assert_eq!(i64::try_from(seen).unwrap() + 1, stamp);
                    let group = user_groups::ActiveModel {
                        id: NotSet,
                        name: Set(format!("{writer} {n}")),
                        description: Set(None),
                        stamp: Set(stamp),
                        version: Set(1),
                        created_at: Set(1),
                        updated_at: Set(1),
                    };
                    group.insert(&transaction).await.unwrap();
                    transaction.commit().await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn limits_are_read_whole_in_a_fixed_number_of_queries(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let mut queries = Vec::new();
    let mut users = Vec::new();
    for n in 0..3 {
        let (user, key) = owner(&db, &format!("user {n}")).await;
        users.push((user, key));
        let team = user_group(&db, &format!("team {n}"), &[user]).await;
        let group = model_group(&db, &format!("group {n}"), &[&format!("m{n}"), &format!("other {n}")]).await;
        let mut of_team = limit(group);
        (of_team.user_group_id, of_team.five_hours_nanos) = (Set(Some(team)), Set(Some(5)));
        of_team.five_hours_reset = Set(Some("fixed".to_owned()));
        of_team.insert(&db).await.unwrap();
        let mut of_key = limit(group);
        (of_key.key_id, of_key.daily_at, of_key.weekly_nanos) = (Set(Some(key)), Set(Some(90)), Set(Some(7)));
        of_key.insert(&db).await.unwrap();
        boost(user, group).insert(&db).await.unwrap();
        let before = statements.load(Ordering::SeqCst);
        let keeper = LimitKeeper::start(db.clone(), 1_500).await;
        queries.push(statements.load(Ordering::SeqCst) - before);
        assert!(keeper.is_known());
        let snapshot = keeper.snapshot();
        assert_eq!(snapshot.model_groups().len(), n + 1);
        assert_eq!(snapshot.model_group(&format!("other {n}")).map(|group| group.id), Some(group));
        let (user, key) = (Owner { id: user, ..Owner::default() }, Owner { id: key, ..Owner::default() });
        let resolution = snapshot.resolve(&user, &key, &format!("m{n}"));
        let caps = |axis: &Payers| -> Vec<_> {
            let group = axis.group.as_ref().unwrap();
            group
                .policy
                .windows
                .iter()
                .map(|window| (window.window, window.mode, window.cap_at(1_500).nanos()))
                .collect()
        };
        let dollar = 1_000_000_000;
        assert_eq!(
            caps(&resolution.user),
            [(Window::FiveHours, Mode::FromFirstCharge, 5), (Window::Daily, Mode::Calendar { at: 0 }, dollar + dollar),]
        );
        assert_eq!(
            caps(&resolution.key),
            [(Window::Daily, Mode::Calendar { at: 90 }, dollar), (Window::Weekly, Mode::Calendar { at: 0 }, 7)]
        );
    }
    assert!(queries.iter().all(|count| *count == queries[0]), "{queries:?}");
    // A boost that is over is not read any more.
    let keeper = LimitKeeper::start(db.clone(), 2_000).await;
    let (user, key) = users[0];
    let (user, key) = (Owner { id: user, ..Owner::default() }, Owner { id: key, ..Owner::default() });
    let resolution = keeper.snapshot().resolve(&user, &key, "m0");
    assert!(resolution.user.group.unwrap().policy.windows.iter().all(|window| window.caps.len() <= 1));
}

async fn a_state_with_what_has_changed_since_is_that_which_is_read_whole(database: TestDatabase) {
    let db = database.open().await;
    let mut groups = Vec::new();
    let mut owners = Vec::new();
    for n in 0..4 {
        groups.push(model_group(&db, &format!("g{n}"), &[&format!("m{n}")]).await);
        owners.push(owner(&db, &format!("u{n}")).await);
    }
    let keeper = LimitKeeper::start(db.clone(), 2_000).await;
    let told = |keeper: &LimitKeeper, owners: &[(i64, i64)]| -> Vec<String> {
        let owner = |id: i64| Owner { id, stamp: i64::MAX, ..Owner::default() };
        let asked = owners.iter().flat_map(|owner| (0..4).map(move |n| (*owner, n)));
        let snapshot = keeper.snapshot();
        asked
            .map(|((user, key), n)| format!("{:?}", snapshot.resolve(&owner(user), &owner(key), &format!("m{n}"))))
            .collect()
    };
    let mut rng = StdRng::seed_from_u64(7);
    let mut sizes = HashSet::new();
    for round in 0..120 {
        for _ in 0..rng.random_range(1..4) {
            let (user, key) = owners[rng.random_range(0..owners.len())];
            let group = groups[rng.random_range(0..groups.len())];
            let stamp = store::next_stamp(&db).await.unwrap();
            let of_key = rng.random();
            let column = if of_key { model_group_limits::Column::KeyId } else { model_group_limits::Column::UserId };
            let found = model_group_limits::Entity::find()
                .filter(column.eq(if of_key { key } else { user }))
                .filter(model_group_limits::Column::ModelGroupId.eq(group));
            let found = found.one(&db).await.unwrap();
            let mut set = limit(group);
            (set.stamp, set.weekly_nanos) = (Set(stamp), Set(Some(rng.random_range(1..1_000_000))));
            if of_key {
                set.key_id = Set(Some(key))
            } else {
                set.user_id = Set(Some(user))
            }
            match (found, rng.random_range(0..4)) {
                (None, _) => drop(set.insert(&db).await.unwrap()),
                (Some(row), 0) => drop(row.delete(&db).await.unwrap()),
                (Some(row), 1) => {
                    row.delete(&db).await.unwrap();
                    set.insert(&db).await.unwrap();
                }
                (Some(row), _) => {
                    set.id = Set(row.id);
                    set.update(&db).await.unwrap();
                }
            }
        }
        match rng.random_range(0..12) {
            0 => groups.push(model_group(&db, &format!("later {round}"), &[&format!("later {round}")]).await),
            1 => drop(user_group(&db, &format!("team {round}"), &[owners[0].0, owners[1].0]).await),
            2 => drop(boost(owners[0].0, groups[0]).insert(&db).await),
            // Whoever is deleted takes his limits along.
            3 if owners.len() > 2 => {
                let (user, _) = owners.pop().unwrap();
                users::Entity::delete_by_id(user).exec(&db).await.unwrap();
                owners.push(owner(&db, &format!("successor {round}")).await);
            }
            _ => {}
        }
        keeper.read(2_000).await.unwrap();
        let whole = LimitKeeper::start(db.clone(), 2_000).await;
        let (known, read) = (told(&keeper, &owners), told(&whole, &owners));
        assert_eq!(known, read, "round {round}");
        sizes.insert(known.iter().map(String::len).sum::<usize>());
    }
    assert!(sizes.len() > 20, "something has changed: {sizes:?}");
    // Others than this program know nothing of stamps; a count that is not explained makes it read everything.
    let mut unknown = limit(groups[0]);
    unknown.user_id = Set(Some(owners[0].0));
    model_group_limits::Entity::delete_many().exec(&db).await.unwrap();
    keeper.read(2_000).await.unwrap();
    unknown.insert(&db).await.unwrap();
    keeper.read(2_000).await.unwrap();
    assert_eq!(told(&keeper, &owners), told(&*LimitKeeper::start(db.clone(), 2_000).await, &owners));
    // So does an older copy of the database.
    db.execute_unprepared("UPDATE limit_stamps SET value = 1").await.unwrap();
    db.execute_unprepared("UPDATE model_group_limits SET daily_nanos = 5").await.unwrap();
    keeper.read(2_000).await.unwrap();
    assert_eq!(told(&keeper, &owners), told(&*LimitKeeper::start(db.clone(), 2_000).await, &owners));
}

async fn whoever_waits_for_a_reading_that_began_later_does_not_read_again(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    let group = model_group(&db, "g", &["m"]).await;
    let keeper = LimitKeeper::start(db.clone(), 2_000).await;
    let before = statements.load(Ordering::SeqCst);
    keeper.read(2_000).await.unwrap();
    let once = statements.load(Ordering::SeqCst) - before;
    let mut users = Vec::new();
    for n in 0..30 {
        users.push(owner(&db, &format!("u{n}")).await);
    }
    let before = statements.load(Ordering::SeqCst);
    let crowd = users.iter().map(async |(user, _)| {
        let mut set = limit(group);
        (set.user_id, set.stamp) = (Set(Some(*user)), Set(store::next_stamp(&db).await.unwrap()));
        set.insert(&db).await.unwrap();
        keeper.read(2_000).await.unwrap();
        let owner = Owner { id: *user, ..Owner::default() };
        assert!(keeper.snapshot().resolve(&owner, &Owner::default(), "m").user.group.is_some(), "its own is in force");
    });
    futures::future::join_all(crowd).await;
    let read = statements.load(Ordering::SeqCst) - before - 2 * users.len();
    assert!(read < users.len() * once / 2, "{read} statements, {once} in a reading");
}

async fn limits_that_cannot_be_read_again_go_on_being_used(database: TestDatabase) {
    let db = database.open().await;
    model_group(&db, "g", &["m"]).await;
    let keeper = LimitKeeper::start(db.clone(), 1_000).await;
    db.execute_unprepared("ALTER TABLE model_group_members RENAME TO elsewhere").await.unwrap();
    keeper.read(9_000).await.unwrap_err();
    assert!(keeper.is_known() && keeper.snapshot().model_group("m").is_some());
    assert_eq!(keeper.age(9_000), Duration::from_secs(8));
    db.execute_unprepared("ALTER TABLE elsewhere RENAME TO model_group_members").await.unwrap();
    db.execute_unprepared("DELETE FROM model_group_members").await.unwrap();
    keeper.read(10_000).await.unwrap();
    assert!(keeper.snapshot().model_group("m").is_none());
    assert_eq!(keeper.age(9_000), Duration::ZERO, "never less than nothing");
    assert_eq!(keeper.age(11_000), Duration::from_secs(1));
}

async fn whoever_knows_of_a_later_change_waits_for_the_state_that_contains_it(database: TestDatabase) {
    let (db, statements) = database.open_counted().await;
    model_group(&db, "g", &["m"]).await;
    let keeper = LimitKeeper::start(db.clone(), 1_000).await;
    let known = store::next_stamp(&db).await.unwrap() - 1;
    assert!(keeper.snapshot().contains(known) && !keeper.snapshot().contains(known + 1));
    let before = statements.load(Ordering::SeqCst);
    keeper.catch_up(known).await;
    assert_eq!(statements.load(Ordering::SeqCst), before, "it knows that already");
    model_group(&db, "h", &["n"]).await;
    let begun = statements.load(Ordering::SeqCst);
    let crowd = (0..50).map(|_| keeper.catch_up(known + 2));
    futures::future::join_all(crowd).await;
    assert!(keeper.snapshot().model_group("n").is_some());
    let once = statements.load(Ordering::SeqCst) - begun;
    keeper.read(2_000).await.unwrap();
    assert_eq!(statements.load(Ordering::SeqCst) - begun, 2 * once, "one has read it for all");
    // A database that went back to an older state does not have it read by every request.
    let begun = statements.load(Ordering::SeqCst);
    for _ in 0..50 {
        keeper.catch_up(known + 1_000).await;
    }
    assert!(statements.load(Ordering::SeqCst) - begun <= 2 * once);
}

async fn h30_before_a_first_state_nothing_is_known(database: TestDatabase) {
    let db = database.open().await;
    model_group(&db, "g", &["m"]).await;
    db.execute_unprepared("ALTER TABLE model_group_members RENAME TO elsewhere").await.unwrap();
    let keeper = LimitKeeper::start(db.clone(), 1_000).await;
    assert!(!keeper.is_known());
    let stop = CancellationToken::new();
    let refreshing = tokio::spawn({
        let (keeper, stop) = (Arc::clone(&keeper), stop.clone());
        async move { keeper.keep_fresh(stop).await }
    });
    db.execute_unprepared("ALTER TABLE elsewhere RENAME TO model_group_members").await.unwrap();
    // What another node has to say about limits makes this one read them at once.
    keeper.doubt();
    eventually("it is known", Duration::from_secs(20), || async { keeper.is_known() }).await;
    assert!(keeper.snapshot().model_group("m").is_some());
    stop.cancel();
    refreshing.await.unwrap();
}

async fn h03_a_principal_knows_what_it_may_spend(database: TestDatabase) {
    let db = database.open().await;
    let user = create_user(&db, NewUser::named("ada"), 1).await.unwrap().id;
    let (key, secret) = create_key(&db, user, NewKey::named("k"), 1).await.unwrap();
    let directory = Directory::new(db.clone(), 1);
    let owners = || async {
        directory.refresh(2).await.unwrap();
        let principal = directory.lookup(secret.expose(), Standing::Good, 2).await.unwrap();
        (principal.user.owner.clone(), principal.key.owner.clone())
    };
    let none = |id| Owner { id, ..Owner::default() };
    assert_eq!(owners().await, (none(user), none(key.id)));
    // Each of these is seen at the next refresh, whoever changed it.
    let (era, since) = after_reset(0, None, Some(Window::Daily));
    let daily = WindowCap { window: Window::Daily, usd: Usd::from_nanos(2_000_000_000), mode: Mode::Rolling };
    for (column, value) in [("limits", r#"{"daily": {"usd": 2, "reset": "rolling"}}"#), ("since_eras", &since)] {
        let set = |table: &str| format!("UPDATE {table} SET {column} = '{value}', era = {era}, stamp = 9");
        db.execute_unprepared(&set("users")).await.unwrap();
        db.execute_unprepared(&set("keys")).await.unwrap();
    }
    let owner = |id| Owner { id, mainline: vec![daily], era: 1, since: [0, 0, 1, 0, 0], stamp: 9 };
    assert_eq!(owners().await, (owner(user), owner(key.id)));
}
