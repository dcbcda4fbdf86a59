//! What budgets start from: sums per minute that are those of the ledger's rows, and marks that fit them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use entity::{gateway_nodes, message_request, usage_ledger, usage_rollup_minute, usage_rollup_span};
use migration::{SchemaManager, m0003_longer_sums};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, QueryOrder, Statement};
use tollgate::budget::{Seed, SeedQuery, Seeds, WindowQuery};
use tollgate::ledger::{Ledger, LedgerOptions, LedgerRecord, LedgerSeeds, begin_life};
use tollgate::limit::{Axis, BudgetId, Scope, Window, provider_owner};
use tollgate::money::Usd;

use crate::database::{TestDatabase, execute, on_both};
use crate::ledger::{LIMIT, commit, record, refuse_poison};

const MINUTE: i64 = 60_000;

on_both!(
    the_sums_are_those_of_the_rows_after_duplicates_replays_and_refusals,
    a_sum_that_leaves_the_range_stays_at_its_end,
    a_seed_holds_exactly_what_its_mark_says_whatever_is_written_meanwhile,
    each_budget_counts_its_own,
    h14_a_provider_counts_all_that_it_served,
    h24_sums_stay_when_details_are_deleted,
    h25_rows_stay_in_the_group_that_was_charged,
    h23_what_was_spent_before_a_reset_does_not_count,
    h19_the_start_of_five_hours_is_kept,
    a_sum_is_exact_wherever_it_begins,
    sums_are_read_from_few_rows_of_an_index_whatever_the_age_of_the_ledger,
    marks_are_those_of_the_lives_that_are_not_over,
);

/// The parts that a budget would use.
struct World {
    db: DatabaseConnection,
    inc: i64,
    ledger: Arc<Ledger>,
    seeds: LedgerSeeds,
}

impl World {
    async fn new(database: &TestDatabase, options: LedgerOptions) -> Self {
        let db = database.open().await;
        let inc = begin_life(&db, "node", true, 1).await.unwrap();
        let ledger = Arc::new(Ledger::start(db.clone(), inc, options));
        let seeds = LedgerSeeds::new(db.clone(), Arc::clone(&ledger));
        seeds.set_providers(["pretend", "other"]);
        Self { db, inc, ledger, seeds }
    }

    /// Writes these and waits for them.
    async fn write(&self, records: impl IntoIterator<Item = LedgerRecord>) {
        records.into_iter().for_each(|record| commit(&self.ledger, record));
        self.ledger.barrier(self.ledger.last_number()).await.unwrap();
    }

    async fn total(&self, axis: Axis, owner: i64, scope: Scope) -> i64 {
        self.ask(axis, owner, scope, window(0, i64::MIN)).await.windows[0].sum.nanos()
    }

    async fn ask(&self, axis: Axis, owner: i64, scope: Scope, window: WindowQuery) -> Seed {
        let query = SeedQuery { budget: BudgetId { axis, owner, scope }, windows: vec![window] };
        self.seeds.seed(&query).await.unwrap()
    }
}

fn window(since_era: i64, from: i64) -> WindowQuery {
    WindowQuery { window: Window::Total, since_era, from, by_minute: false, first_charge: false }
}

/// One that costs so much.
fn costing(n: u128, nanos: i64) -> LedgerRecord {
    LedgerRecord {
        cost: Usd::from_nanos(nanos),
        counted_in_user_global: true,
        counted_in_key_global: true,
        model_group_id: None,
        user_era: 0,
        key_era: 0,
        ..record(n)
    }
}

type Key = (i64, i64, i64, String, i64, bool, bool, i64, i64);

/// The roll-up, and what it must be.
async fn both_sums(db: &DatabaseConnection) -> [BTreeMap<Key, (i64, i64)>; 2] {
    let rolled = usage_rollup_minute::Entity::find().all(db).await.unwrap().into_iter().map(|row| {
        let flags = (row.counted_in_user_global, row.counted_in_key_global);
        let key = (row.minute, row.user_id, row.key_id, row.provider, row.model_group_id);
        (
            (key.0, key.1, key.2, key.3, key.4, flags.0, flags.1, row.user_era, row.key_era),
            (row.cost_nanos, row.requests),
        )
    });
    let mut expected = BTreeMap::<Key, (i64, i64)>::new();
    for row in usage_ledger::Entity::find().all(db).await.unwrap() {
        let flags = (row.counted_in_user_global, row.counted_in_key_global);
        let key = (row.settled_at / MINUTE, row.user_id, row.key_id, row.provider, row.model_group_id.unwrap_or(0));
        let sum = expected
            .entry((key.0, key.1, key.2, key.3, key.4, flags.0, flags.1, row.user_era, row.key_era))
            .or_default();
        *sum = (sum.0 + row.cost_nanos, sum.1 + 1);
    }
    [rolled.collect(), expected]
}

/// Axis, owner, scope, minutes of the span, its first minute, era.
type SpanKey = (String, String, i64, i64, i64, i64);

/// What budgets have spent in longer spans, and what that must be: of users and keys each row once, if anybody counts it.
async fn both_longer_sums(db: &DatabaseConnection) -> [BTreeMap<SpanKey, (i64, i64)>; 2] {
    let rolled =
        usage_rollup_span::Entity::find().all(db).await.unwrap().into_iter().map(|row| {
            ((row.axis, row.owner, row.scope, row.span, row.minute, row.era), (row.cost_nanos, row.requests))
        });
    let mut expected = BTreeMap::<SpanKey, (i64, i64)>::new();
    for row in usage_ledger::Entity::find().all(db).await.unwrap() {
        let minute = row.settled_at / MINUTE;
        let mut add = |axis: &str, owner: &str, scope: i64, spans: &[i64], era: i64| {
            for span in spans {
                let key = (axis.to_owned(), owner.to_owned(), scope, *span, minute / span * span, era);
                let sum = expected.entry(key).or_default();
                *sum = (sum.0 + row.cost_nanos, sum.1 + 1);
            }
        };
        add("provider", &row.provider, 0, &[1, 120, 10_080], 0);
        for (axis, id, counted, era) in [
            ("user", row.user_id, row.counted_in_user_global, row.user_era),
            ("key", row.key_id, row.counted_in_key_global, row.key_era),
        ] {
            if let Some(scope) = if counted { Some(0) } else { row.model_group_id } {
                add(axis, &id.to_string(), scope, &[120, 10_080], era);
            }
        }
    }
    [rolled.collect(), expected]
}

async fn the_sums_are_those_of_the_rows_after_duplicates_replays_and_refusals(database: TestDatabase) {
    let world = World::new(&database, LedgerOptions { batch: 64, ..LedgerOptions::default() }).await;
    refuse_poison(&world.db).await;
    let varied = |n: u128| {
        let small = i64::try_from(n).unwrap();
        LedgerRecord {
            settled_at: small * 7_919 % (5 * MINUTE) + small % 4 * 5_000 * MINUTE,
            user_id: small % 3,
            key_id: small % 5,
            provider: Arc::from(if n % 13 == 12 {
                "poison"
            } else {
                ["pretend", "other"][usize::from(n.is_multiple_of(2))]
            }),
            model_group_id: [None, Some(1), Some(2)][usize::try_from(n % 3).unwrap()],
            counted_in_user_global: n.is_multiple_of(3),
            counted_in_key_global: !n.is_multiple_of(4),
            user_era: small % 2,
            key_era: small % 7 / 6,
            ..costing(n, small + 1)
        }
    };
    // Each twice, near and far, and then all of them once more in a life that begins after this one.
    world.write((0..300).flat_map(|n| [varied(n), varied(n / 2)])).await;
    let [rolled, expected] = both_sums(&world.db).await;
    assert_eq!(rolled, expected);
    let [longer, expected_longer] = both_longer_sums(&world.db).await;
    assert_eq!(longer, expected_longer);
    assert_eq!(expected.values().map(|sum| sum.1).sum::<i64>(), 300 - 23, "a thirteenth is refused");
    world.ledger.flush_and_stop(LIMIT).await;
    assert!(world.ledger.stats().failed() > 0);
    let again = World::new(&database, LedgerOptions::default()).await;
    again.write((0..300).map(varied)).await;
    assert_eq!(both_longer_sums(&again.db).await, [longer, expected_longer]);
    assert_eq!(both_sums(&again.db).await, [rolled, expected]);
    assert_eq!(again.ledger.written_number(), 300, "what is refused does not hold up what follows");
}

async fn a_sum_that_leaves_the_range_stays_at_its_end(database: TestDatabase) {
    let world = World::new(&database, LedgerOptions::default()).await;
    let of = |n, user_id, nanos| LedgerRecord { user_id, ..costing(n, nanos) };
    world.write([of(1, 1, i64::MAX), of(2, 1, i64::MAX), of(3, 2, i64::MIN), of(4, 2, i64::MIN)]).await;
    world.write([of(5, 1, i64::MAX), of(6, 1, 5), of(7, 2, i64::MIN), of(8, 2, -5)]).await;
    world.write([of(9, 3, 9_000_000_000_000_000), of(10, 3, -1)]).await;
    world.write([LedgerRecord { settled_at: MINUTE, ..of(11, 1, i64::MAX) }]).await;
    assert_eq!(world.ledger.stats().failed(), 0);
    assert_eq!(world.total(Axis::User, 1, Scope::Mainline).await, 9_000_000_000_000_000);
    let minutes = world.ask(Axis::User, 1, Scope::Mainline, window(0, 0)).await.windows[0].sum.nanos();
    assert_eq!(minutes, 9_000_000_000_000_000, "no cap is beyond that");
    assert_eq!(world.total(Axis::User, 2, Scope::Mainline).await, -9_000_000_000_000_000);
    assert_eq!(world.total(Axis::User, 3, Scope::Mainline).await, 8_999_999_999_999_999);
}

async fn a_seed_holds_exactly_what_its_mark_says_whatever_is_written_meanwhile(database: TestDatabase) {
    const RECORDS: u64 = 2_000;
    let options = LedgerOptions { batch: 7, interval: Duration::from_millis(1), ..LedgerOptions::default() };
    let world = Arc::new(World::new(&database, options).await);
    let cost = |lsn: u64| i64::try_from(lsn * lsn % 1_009 + lsn).unwrap();
    let committing = tokio::spawn({
        let world = Arc::clone(&world);
        async move {
            let mut held = Vec::new();
            for n in 1..=RECORDS {
                let mut slot = world.ledger.reserve().unwrap();
                let lsn = slot.number();
                assert_eq!(lsn, n);
                held.push((
                    slot,
                    LedgerRecord { settled_at: i64::try_from(n).unwrap() * 997, ..costing(n.into(), cost(n)) },
                ));
                // Handed over in another order than numbered, and some not at all.
                if held.len() == 10 {
                    for (at, (slot, record)) in held.drain(..).rev().enumerate() {
                        if at == 4 { drop(slot) } else { slot.commit(record) }
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let dropped = |lsn: u64| (lsn - 1) % 10 == 5;
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let window = WindowQuery { by_minute: seen.len().is_multiple_of(2), ..window(0, i64::MIN) };
        let seed = world.ask(Axis::User, 1, Scope::Mainline, window).await;
        let [(inc, mark)] = seed.marks[..] else { panic!("one life: {:?}", seed.marks) };
        assert_eq!(inc, world.inc);
        let expected: i64 = (1..=mark).filter(|lsn| !dropped(*lsn)).map(cost).sum();
        assert_eq!(seed.windows[0].sum.nanos(), expected, "up to {mark}");
        if window.by_minute {
            let minutes: i64 = seed.windows[0].minutes.iter().map(|(_, amount)| amount.nanos()).sum();
            assert_eq!(minutes, expected);
            assert!(seed.windows[0].minutes.is_sorted_by(|a, b| a.0 < b.0));
        }
        seen.insert(mark);
        if mark == RECORDS {
            break;
        }
    }
    committing.await.unwrap();
    assert!(seen.len() > 5, "only {seen:?}");
}

async fn each_budget_counts_its_own(database: TestDatabase) {
    let world = World::new(&database, LedgerOptions::default()).await;
    let of = |n, user_id, key_id, group, in_user, in_key, nanos| LedgerRecord {
        user_id,
        key_id,
        model_group_id: group,
        counted_in_user_global: in_user,
        counted_in_key_global: in_key,
        ..costing(n, nanos)
    };
    world
        .write([
            of(1, 1, 11, None, true, true, 1),
            of(2, 1, 11, Some(7), true, true, 10),
            of(3, 1, 11, Some(7), false, true, 100),
            of(4, 1, 12, Some(7), true, false, 1_000),
            of(5, 1, 12, Some(8), false, false, 10_000),
            of(6, 2, 21, Some(7), false, false, 100_000),
            LedgerRecord { settled_at: 3 * MINUTE, ..of(7, 1, 11, None, true, true, 1_000_000) },
        ])
        .await;
    for (axis, owner, scope, expected) in [
        (Axis::User, 1, Scope::Mainline, 1_001_011),
        (Axis::User, 1, Scope::ModelGroup(7), 100),
        (Axis::User, 1, Scope::ModelGroup(8), 10_000),
        (Axis::User, 1, Scope::ModelGroup(9), 0),
        (Axis::User, 2, Scope::Mainline, 0),
        (Axis::User, 2, Scope::ModelGroup(7), 100_000),
        (Axis::Key, 11, Scope::Mainline, 1_000_111),
        (Axis::Key, 12, Scope::Mainline, 0),
        (Axis::Key, 12, Scope::ModelGroup(7), 1_000),
        (Axis::Key, 12, Scope::ModelGroup(8), 10_000),
        (Axis::Key, 21, Scope::ModelGroup(7), 100_000),
    ] {
        assert_eq!(world.total(axis, owner, scope).await, expected, "{axis:?} {owner} {scope:?}");
    }
    let budget = BudgetId { axis: Axis::User, owner: 1, scope: Scope::Mainline };
    let by_minute = |from| WindowQuery { by_minute: true, ..window(0, from) };
    let windows = vec![window(0, MINUTE), by_minute(i64::MIN), by_minute(4 * MINUTE), window(0, 3 * MINUTE)];
    let seed = world.seeds.seed(&SeedQuery { budget, windows }).await.unwrap();
    let sums: Vec<_> = seed.windows.iter().map(|window| window.sum.nanos()).collect();
    assert_eq!(sums, [1_000_000, 1_001_011, 0, 1_000_000]);
    assert_eq!(seed.windows[1].minutes, [(0, Usd::from_nanos(1_011)), (3 * MINUTE, Usd::from_nanos(1_000_000))]);
    assert_eq!(seed.windows[2].minutes, []);
}

async fn h14_a_provider_counts_all_that_it_served(database: TestDatabase) {
    let world = World::new(&database, LedgerOptions::default()).await;
    let flags = [(true, true), (true, false), (false, true), (false, false)];
    let records = flags.into_iter().zip(1_u128..).map(|((in_user, in_key), n)| LedgerRecord {
        counted_in_user_global: in_user,
        counted_in_key_global: in_key,
        model_group_id: Some(3),
        user_era: 9,
        ..costing(n, 1)
    });
    world.write(records.chain([LedgerRecord { provider: Arc::from("other"), ..costing(9, 50) }])).await;
    for (name, expected) in [("pretend", 4), ("other", 50)] {
        assert_eq!(world.total(Axis::Provider, provider_owner(name), Scope::Mainline).await, expected);
    }
    let unknown = BudgetId { axis: Axis::Provider, owner: provider_owner("nobody"), scope: Scope::Mainline };
    let query = SeedQuery { budget: unknown, windows: vec![window(0, i64::MIN)] };
    assert!(world.seeds.seed(&query).await.is_err(), "its spend is not nothing but unknown");
}

async fn h24_sums_stay_when_details_are_deleted(database: TestDatabase) {
    let world = World::new(&database, LedgerOptions::default()).await;
    world.write((1..=10).map(|n| costing(n, 5))).await;
    let deleted = message_request::Entity::delete_many().exec(&world.db).await.unwrap();
    assert_eq!(deleted.rows_affected, 10);
    assert_eq!(world.total(Axis::User, 1, Scope::Mainline).await, 50);
    // Even a replay after that adds nothing.
    world.write((1..=10).map(|n| costing(n, 5))).await;
    assert_eq!(world.total(Axis::User, 1, Scope::Mainline).await, 50);
}

async fn h25_rows_stay_in_the_group_that_was_charged(database: TestDatabase) {
    let world = World::new(&database, LedgerOptions::default()).await;
    let (old, new) = (
        crate::limits::model_group(&world.db, "old", &["m"]).await,
        crate::limits::model_group(&world.db, "new", &[]).await,
    );
    let in_group = |n, id| LedgerRecord { model_group_id: Some(id), counted_in_user_global: false, ..costing(n, 5) };
    world.write([in_group(1, old)]).await;
    world.db.execute_unprepared(&format!("UPDATE model_group_members SET model_group_id = {new}")).await.unwrap();
    world.write([in_group(2, new), in_group(3, new)]).await;
    assert_eq!(world.total(Axis::User, 1, Scope::ModelGroup(old)).await, 5);
    assert_eq!(world.total(Axis::User, 1, Scope::ModelGroup(new)).await, 10);
    entity::model_groups::Entity::delete_by_id(old).exec(&world.db).await.unwrap();
    assert_eq!(world.total(Axis::User, 1, Scope::ModelGroup(old)).await, 5, "and when the group is deleted");
    assert_eq!(world.total(Axis::User, 1, Scope::Mainline).await, 0, "it does not come back to the mainline");
}

async fn h23_what_was_spent_before_a_reset_does_not_count(database: TestDatabase) {
    let world = World::new(&database, LedgerOptions::default()).await;
    let of = |n, user_era, key_era, nanos| LedgerRecord { user_era, key_era, ..costing(n, nanos) };
    // All in one minute, in the middle of which there are resets.
    world.write([of(1, 0, 0, 1), of(2, 1, 0, 10), of(3, 1, 1, 100), of(4, 2, 1, 1_000)]).await;
    for (era, user, key) in [(0, 1_111, 1_111), (1, 1_110, 1_100), (2, 1_000, 0), (3, 0, 0)] {
        for (axis, owner, expected) in [(Axis::User, 1, user), (Axis::Key, 2, key)] {
            let seed = world.ask(axis, owner, Scope::Mainline, window(era, i64::MIN)).await;
            assert_eq!(seed.windows[0].sum.nanos(), expected, "{axis:?} since era {era}");
        }
    }
}

async fn h19_the_start_of_five_hours_is_kept(database: TestDatabase) {
    const HOUR: i64 = 60 * MINUTE;
    let world = World::new(&database, LedgerOptions::default()).await;
    let budget = BudgetId { axis: Axis::Key, owner: 2, scope: Scope::ModelGroup(4) };
    let asked = WindowQuery { window: Window::FiveHours, first_charge: true, ..window(0, i64::MIN) };
    let query = SeedQuery { budget, windows: vec![asked] };
    assert_eq!(world.seeds.seed(&query).await.unwrap().first_charge_start, None);
    for (n, (told, kept)) in (1_u128..).zip([
        (10 * HOUR, 10 * HOUR),
        (10 * HOUR + MINUTE, 10 * HOUR),
        (10 * HOUR - MINUTE, 10 * HOUR - MINUTE),
        (15 * HOUR, 15 * HOUR),
        (10 * HOUR, 15 * HOUR),
        (HOUR, 15 * HOUR),
    ]) {
        world.ledger.window_started(budget, told);
        // It goes along with the next batch.
        world.write([costing(n, 1)]).await;
        assert_eq!(world.seeds.seed(&query).await.unwrap().first_charge_start, Some(kept), "told {told}");
    }
    let other = SeedQuery { budget: BudgetId { scope: Scope::Mainline, ..budget }, ..query };
    assert_eq!(world.seeds.seed(&other).await.unwrap().first_charge_start, None);
}

async fn a_sum_is_exact_wherever_it_begins(database: TestDatabase) {
    let world = World::new(&database, LedgerOptions::default()).await;
    // Before, at and after each kind of edge, and far from any.
    let edges = [0, 120, 240, 5_040, 10_080, 10_200, 20_160, 30_240];
    let minutes: Vec<i64> = edges.into_iter().flat_map(|edge| [edge, edge + 1, edge + 61, edge + 119]).collect();
    let cost = |at: usize| 1 << at;
    world
        .write(minutes.iter().enumerate().map(|(at, minute)| LedgerRecord {
            // The last moment of one minute, the first of the next.
            settled_at: minute * MINUTE + if at % 2 == 0 { MINUTE - 1 } else { 0 },
            user_era: i64::try_from(at % 3).unwrap(),
            ..costing(u128::try_from(at).unwrap(), cost(at))
        }))
        .await;
    let mut froms: Vec<i64> = minutes.iter().flat_map(|minute| [minute - 1, *minute, minute + 1]).collect();
    froms.push(i64::MIN / MINUTE);
    for era in 0..4 {
        let windows: Vec<_> = froms.iter().map(|from| window(era, from * MINUTE)).collect();
        let budget = BudgetId { axis: Axis::User, owner: 1, scope: Scope::Mainline };
        let seed = world.seeds.seed(&SeedQuery { budget, windows }).await.unwrap();
        for (from, found) in froms.iter().zip(&seed.windows) {
            let counted = |(at, minute): &(usize, &i64)| *minute >= from && i64::try_from(at % 3).unwrap() >= era;
            let expected: i64 = minutes.iter().enumerate().filter(counted).map(|(at, _)| cost(at)).sum();
            assert_eq!(found.sum.nanos(), expected, "from minute {from}, era {era}");
        }
    }
}

/// Somebody who has paid in every minute of 200 days, beside others.
async fn sums_are_read_from_few_rows_of_an_index_whatever_the_age_of_the_ledger(database: TestDatabase) {
    const MINUTES: i64 = 288_000;
    let world = World::new(&database, LedgerOptions::default()).await;
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 299999) ";
    let fill = "INSERT INTO usage_rollup_minute SELECT CASE WHEN i < 288000 THEN i ELSE (i - 288000) * 24 END, \
        CASE WHEN i < 288000 THEN 3 ELSE i % 40 + 4 END, CASE WHEN i < 288000 THEN 3 ELSE i % 40 + 4 END, \
        CASE WHEN i % 20 = 0 THEN 'pretend' ELSE 'other' END, i / 7 % 3, i / 7 % 3 = 0, i / 7 % 3 = 0, 0, 0, 1, 1 FROM n";
    execute(&world.db, &format!("{numbers}{fill}"), &fill.replace("FROM n", "FROM generate_series(0, 299999) AS n(i)"))
        .await;
    // As when sums were kept per minute only.
    for step in m0003_longer_sums::steps() {
        step.run(&SchemaManager::new(&world.db)).await.unwrap();
    }
    world.db.execute_unprepared("ANALYZE").await.unwrap();
    let mut read = Vec::new();
    for (axis, owner, scope, minute_index) in [
        (Axis::User, 3, Scope::Mainline, "usage_rollup_minute_user_mainline"),
        (Axis::User, 3, Scope::ModelGroup(1), "usage_rollup_minute_user_group"),
        (Axis::Key, 3, Scope::Mainline, "usage_rollup_minute_key_mainline"),
        (Axis::Key, 3, Scope::ModelGroup(1), "usage_rollup_minute_key_group"),
        (Axis::Provider, provider_owner("pretend"), Scope::Mainline, ""),
    ] {
        let budget = BudgetId { axis, owner, scope };
        let since_days = |days: i64| window(0, (MINUTES - days * 1_440 - 61) * MINUTE);
        let by_minute = WindowQuery { by_minute: true, ..since_days(0) };
        let windows = vec![by_minute, since_days(0), since_days(1), since_days(7), since_days(31), window(0, i64::MIN)];
        let statement = world.seeds.statement(&SeedQuery { budget, windows: windows.clone() }).unwrap();
        let selects = |table: &str| statement.sql.matches(&format!("FROM {table} ")).count();
        let (minutes, spans) = (selects("usage_rollup_minute"), selects("usage_rollup_span"));
        let span_index = if world.db.get_database_backend() == DbBackend::Sqlite {
            "usage_rollup_span_1 "
        } else {
            "usage_rollup_span_pkey"
        };
        let plan = plan(&world.db, statement).await;
        for (index, ranges) in [(minute_index, minutes), (span_index, spans)] {
            assert!(ranges == 0 || plan.matches(index).count() == ranges, "{ranges} of {index}: {plan}");
        }
        assert!(!plan.contains("Seq Scan on usage_rollup") && !plan.contains("SCAN usage_rollup"), "{plan}");
        let bounded = |line: &&str| line.contains("minute>?") || line.contains("Cond") && line.contains("minute >=");
        assert_eq!(plan.lines().filter(bounded).count(), minutes + spans, "{plan}");
        for window in &windows[1..] {
            let one = SeedQuery { budget, windows: vec![*window] };
            read.push(rows_in_ranges(&world.db, world.seeds.statement(&one).unwrap()).await);
        }
    }
    assert!(read.iter().all(|rows| (1..300).contains(rows)), "{read:?}");
}

/// How many rows the sums of a statement are made of.
async fn rows_in_ranges(db: &DatabaseConnection, statement: Statement) -> i64 {
    let mut parts = statement.sql.split("COALESCE(SUM(");
    let first = parts.next().unwrap().to_owned();
    let counted = parts.fold(first, |sql, part| sql + "COUNT(*" + part.split_once(" END), 0").unwrap().1);
    let sql = format!("SELECT CAST(SUM(amount) AS BIGINT) AS amount FROM ({counted}) AS parts WHERE part = 0");
    let row = db.query_one_raw(Statement { sql, ..statement }).await.unwrap().unwrap();
    row.try_get("", "amount").unwrap()
}

async fn plan(db: &DatabaseConnection, statement: Statement) -> String {
    let explain = match db.get_database_backend() {
        DbBackend::Postgres => "EXPLAIN (COSTS OFF) ",
        _ => "EXPLAIN QUERY PLAN ",
    };
    let statement = Statement { sql: format!("{explain}{}", statement.sql), ..statement };
    let column = if explain.contains("COSTS") { "QUERY PLAN" } else { "detail" };
    let rows = db.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get::<String>("", column).unwrap() + "\n").collect()
}

async fn marks_are_those_of_the_lives_that_are_not_over(database: TestDatabase) {
    let world = World::new(&database, LedgerOptions::default()).await;
    world.write((1..=3).map(|n| costing(n, 1))).await;
    // Another node begins beside this one.
    let other = begin_life(&world.db, "other", false, 2).await.unwrap();
    let marks = || async {
        let mut marks = world.ask(Axis::User, 1, Scope::Mainline, window(0, 0)).await.marks;
        marks.sort_unstable();
        marks
    };
    assert_eq!(marks().await, [(world.inc, 3), (other, 0)]);
    // One that takes itself for the only one closes the others: whoever is asked still knows himself.
    let third = begin_life(&world.db, "node", true, 3).await.unwrap();
    assert_eq!(marks().await, [(world.inc, 3), (third, 0)]);
    // What was written off of one is in the sums.
    let dead = format!("UPDATE gateway_nodes SET state = 'dead' WHERE inc = {third}");
    execute(&world.db, &dead, &dead).await;
    assert_eq!(marks().await, [(world.inc, 3)]);
    world.ledger.flush_and_stop(LIMIT).await;
    let nodes = gateway_nodes::Entity::find().order_by_asc(gateway_nodes::Column::Inc).all(&world.db).await.unwrap();
    let states: Vec<_> = nodes.iter().map(|node| (node.state.as_str(), node.applied_lsn)).collect();
    assert_eq!(states, [("closed", 3), ("closed", 0), ("dead", 0)]);
}
