//! The sums of quarters of an hour: summaries that are read from them say what the ledger says, whenever they are read and
//! whoever writes and seals meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use entity::usage_ledger::Model;
use entity::{usage_ledger, usage_rollup_quarter, usage_rollup_state};
use jiff::tz::TimeZone;
use migration::{Migrator, MigratorTrait};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sea_orm::{ConnectionTrait, DatabaseConnection, EntityTrait, PaginatorTrait, Statement, TransactionTrait};
use tollgate::dialect::Usage;
use tollgate::ledger::quarters::{announce, roll_up, seal};
use tollgate::ledger::query::{Counted, Filter, Group, GroupBy, Totals, summary};
use tollgate::ledger::{Ledger, LedgerOptions, LedgerRecord, Outcome, audit_sums, begin_life};
use tollgate::money::Usd;
use tollgate::store;
use uuid::Uuid;

use crate::database::{TestDatabase, eventually, on_both};
use crate::ledger::{LIMIT, commit, record};

on_both!(
    summaries_say_what_the_ledger_says_whatever_is_sealed_and_whatever_comes_late,
    nothing_is_missed_or_counted_twice_while_many_write_and_seal,
    a_row_that_comes_between_an_announcement_and_its_seal_is_added_once,
    a_request_counts_where_its_first_attempt_is_even_if_that_comes_last,
    a_ledger_from_before_there_were_quarters_is_summed_up,
    sums_that_leave_the_range_stay_at_its_end,
    quarters_that_differ_are_found_and_put_right,
    days_that_begin_within_a_quarter_are_read_from_the_ledger,
);

const MINUTE: i64 = 60_000;
const QUARTER: i64 = 15 * MINUTE;
const HOUR: i64 = 60 * MINUTE;

/// An hour before the clocks change in Berlin.
const START: i64 = 1_792_886_400_000;

const OUTCOMES: [Outcome; 5] =
    [Outcome::Completed, Outcome::ClientAborted, Outcome::UpstreamFailed, Outcome::Interrupted, Outcome::LostRace];

/// What a group is of.
type Key = (Option<i64>, Option<i64>, Option<String>, Option<i64>, Option<String>, Option<i64>, Option<i64>);

/// Sums of rows, one by one.
fn by_hand(rows: &[Model], filter: &Filter, group_by: &[GroupBy], zone: &TimeZone) -> (Totals, BTreeMap<Key, Totals>) {
    let mut first = BTreeMap::new();
    for row in rows {
        let attempt = first.entry(&row.request_id).or_insert(row.attempt);
        *attempt = row.attempt.min(*attempt);
    }
    let (mut total, mut groups) = (Totals::default(), BTreeMap::<Key, Totals>::new());
    for row in rows.iter().filter(|row| matches(row, filter)) {
        let mut key = Key::default();
        for by in group_by {
            match by {
                GroupBy::UserId => key.0 = Some(row.user_id),
                GroupBy::KeyId => key.1 = Some(row.key_id),
                GroupBy::Model => key.2 = Some(row.served_model.clone()),
                GroupBy::ModelGroupId => key.3 = row.model_group_id,
                GroupBy::Provider => key.4 = Some(row.provider.clone()),
                GroupBy::Day => {
                    let at = zone.to_datetime(jiff::Timestamp::from_millisecond(row.settled_at).unwrap());
                    let days = at.date() - jiff::civil::date(1970, 1, 1);
                    key.5 = Some(days.get_days().into());
                }
                GroupBy::Hour => key.6 = Some(row.settled_at / HOUR * HOUR),
            }
        }
        for sum in [&mut total, groups.entry(key).or_default()] {
            sum.requests += i64::from(first[&row.request_id] == row.attempt);
            sum.cost_nanos += row.cost_nanos;
            sum.input_tokens += row.input_tokens;
            sum.output_tokens += row.output_tokens;
            sum.cache_read_tokens += row.cache_read_tokens;
            sum.cache_write_5m_tokens += row.cache_write_5m_tokens;
            sum.cache_write_1h_tokens += row.cache_write_1h_tokens;
            sum.reasoning_tokens += row.reasoning_tokens;
            sum.input_audio_tokens += row.input_audio_tokens;
            sum.output_audio_tokens += row.output_audio_tokens;
            sum.input_image_tokens += row.input_image_tokens;
            sum.output_image_tokens += row.output_image_tokens;
        }
    }
    if group_by.is_empty() {
        groups.clear();
    }
    (total, groups)
}

fn matches(row: &Model, filter: &Filter) -> bool {
    filter.user_id.is_none_or(|id| row.user_id == id)
        && filter.key_id.is_none_or(|id| row.key_id == id)
        && filter.provider.as_ref().is_none_or(|name| row.provider == *name)
        && filter.model.as_ref().is_none_or(|name| row.served_model == *name)
        && filter.model_group_id.is_none_or(|id| row.model_group_id == Some(id))
        && filter.outcome.is_none_or(|outcome| row.outcome == outcome.as_str())
        && filter.from.is_none_or(|from| row.settled_at >= from)
        && filter.to.is_none_or(|to| row.settled_at < to)
        && match filter.counted {
            Counted::All => true,
            Counted::UserGlobal => row.counted_in_user_global,
            Counted::KeyGlobal => row.counted_in_key_global,
            Counted::Group => !row.counted_in_user_global || !row.counted_in_key_global,
        }
}

fn key(group: &Group) -> Key {
    let Group { user_id, key_id, model, model_group_id, provider, day, hour, .. } = group.clone();
    (user_id, key_id, model, model_group_id, provider, day, hour)
}

async fn all_rows(db: &DatabaseConnection) -> Vec<Model> {
    usage_ledger::Entity::find().all(db).await.unwrap()
}

async fn state(db: &DatabaseConnection) -> usage_rollup_state::Model {
    usage_rollup_state::Entity::find().one(db).await.unwrap().unwrap()
}

/// A summary says what the rows say.
async fn agrees(db: &DatabaseConnection, filter: &Filter, group_by: &[GroupBy], zone: &TimeZone) {
    let found = summary(db, filter, group_by, zone).await.unwrap();
    let groups: BTreeMap<Key, Totals> = found.groups.iter().map(|group| (key(group), group.totals)).collect();
    assert_eq!(groups.len(), found.groups.len(), "no group comes twice");
    let expected = by_hand(&all_rows(db).await, filter, group_by, zone);
    let how = state(db).await;
    assert_eq!((found.total, groups), expected, "{filter:?} by {group_by:?} in {zone:?} with {how:?}");
}

/// Chances, the same in each run.
struct Dice(StdRng);

impl Dice {
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())].clone()
    }

    fn maybe<T>(&mut self, of: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.random_ratio(1, 3).then(|| of(self))
    }

    fn instant(&mut self, from: i64, to: i64) -> i64 {
        let at = self.0.random_range(from..=to);
        // On the edge of a quarter, or beside it, more often than by chance.
        self.one(&[at, at, at / QUARTER * QUARTER, at / QUARTER * QUARTER + QUARTER - 1]).clamp(from, to)
    }

    fn filter(&mut self) -> Filter {
        let from = self.maybe(|dice| dice.instant(START, START + 5 * HOUR));
        Filter {
            user_id: self.maybe(|dice| dice.one(&[1, 2, 3, 9])),
            key_id: self.maybe(|dice| dice.one(&[1, 2])),
            provider: self.maybe(|dice| dice.one(&["a", "b"]).to_owned()),
            model: self.maybe(|dice| dice.one(&["m", "n"]).to_owned()),
            model_group_id: self.maybe(|dice| dice.one(&[1, 2])),
            outcome: self.maybe(|dice| dice.one(&OUTCOMES)),
            from,
            to: self.maybe(|dice| dice.instant(from.unwrap_or(START), START + 6 * HOUR)),
            counted: self.one(&[Counted::All, Counted::UserGlobal, Counted::KeyGlobal, Counted::Group]),
        }
        .only_some(self)
    }

    fn group_by(&mut self) -> Vec<GroupBy> {
        const ALL: [GroupBy; 7] = [
            GroupBy::UserId,
            GroupBy::KeyId,
            GroupBy::Model,
            GroupBy::ModelGroupId,
            GroupBy::Provider,
            GroupBy::Day,
            GroupBy::Hour,
        ];
        let mut by = Vec::new();
        for _ in 0..self.0.random_range(0..=3) {
            let next = self.one(&ALL);
            if !by.contains(&next) {
                by.push(next);
            }
        }
        by
    }

    fn zone(&mut self) -> TimeZone {
        TimeZone::get(self.one(&["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"]))
            .unwrap()
    }

    /// The attempts of a request that arrived up to two hours ago.
    fn request(&mut self, n: u128, now: i64) -> Vec<LedgerRecord> {
        let created_at = self.instant(START.max(now - 2 * HOUR), now);
        let user_id = self.0.random_range(1..=3);
        let key_id = self.0.random_range(1..=2);
        let mut attempts: Vec<u16> = vec![self.one(&[1, 1, 1, 2])];
        for more in [2, 3, 1_001] {
            if self.0.random_ratio(1, 4) && !attempts.contains(&more) {
                attempts.push(more);
            }
        }
        let attempts = attempts.into_iter().map(|attempt| LedgerRecord {
            request_id: Uuid::from_u128(n),
            attempt,
            created_at,
            settled_at: self.instant(created_at, now),
            user_id,
            key_id,
            provider: Arc::from(self.one(&["a", "b"])),
            served_model: self.one(&["m", "n"]).to_owned(),
            model_group_id: self.one(&[None, Some(1), Some(2)]),
            outcome: if attempt > 1_000 { Outcome::Corrected } else { self.one(&OUTCOMES) },
            usage: Usage { input: self.0.random_range(0..100), output: 3, output_image: 2, ..Usage::default() },
            cost: Usd::from_nanos(self.0.random_range(-5..1_000)),
            counted_in_user_global: self.0.random(),
            counted_in_key_global: self.0.random(),
            ..record(n)
        });
        attempts.collect()
    }
}

trait OnlySome {
    fn only_some(self, dice: &mut Dice) -> Self;
}

impl OnlySome for Filter {
    /// Most filters that say much match nothing.
    fn only_some(self, dice: &mut Dice) -> Self {
        let Self { from, to, .. } = self;
        match dice.0.random_range(0..4) {
            0 => self,
            1 => Self { from, to, ..Self::default() },
            2 => Self { from, to, user_id: self.user_id, ..Self::default() },
            _ => Self { from, to, outcome: self.outcome, counted: self.counted, ..Self::default() },
        }
    }
}

async fn ledger(db: &DatabaseConnection, name: &str) -> Ledger {
    Ledger::start(db.clone(), begin_life(db, name, false, 1).await.unwrap(), LedgerOptions::default())
}

async fn write(ledger: &Ledger, records: impl IntoIterator<Item = LedgerRecord>) {
    records.into_iter().for_each(|record| commit(ledger, record));
    ledger.barrier(ledger.last_number()).await.unwrap();
}

async fn summaries_say_what_the_ledger_says_whatever_is_sealed_and_whatever_comes_late(database: TestDatabase) {
    let db = database.open().await;
    let nodes = [ledger(&db, "a").await, ledger(&db, "b").await, ledger(&db, "c").await];
    let mut dice = Dice(StdRng::seed_from_u64(7));
    let (mut now, mut requests, mut later, mut written) = (START + HOUR, 0, Vec::new(), Vec::new());
    for _ in 0..150 {
        match dice.0.random_range(0..8) {
            0..=2 => {
                let mut batch = Vec::new();
                for _ in 0..dice.0.random_range(1..12) {
                    requests += 1;
                    batch.extend(dice.request(requests, now));
                }
                // What waits in a journal for a while, of some requests the first attempt.
                later.extend(batch.extract_if(.., |_| dice.0.random_ratio(1, 4)));
                written.extend(batch.iter().cloned());
                write(dice.one(&[0, 1, 2].map(|at: usize| &nodes[at])), batch).await;
            }
            3 => {
                let some = later.split_off(later.len() - later.len().min(dice.0.random_range(1..20)));
                written.extend(some.iter().cloned());
                // Some are written again, as after an answer that was lost.
                let again = written.iter().rev().take(3).cloned();
                write(&nodes[0], some.into_iter().chain(again.collect::<Vec<_>>())).await;
            }
            4 => now += dice.0.random_range(1..20) * MINUTE,
            5 => drop(announce(&db, now).await.unwrap()),
            6 => drop(seal(&db, dice.0.random_range(1..10)).await.unwrap()),
            _ => {
                // Whoever is too late finds it done, or leaves it to the other.
                let (one, other) = tokio::join!(roll_up(&db, now), roll_up(&db, now));
                one.and(other).unwrap();
            }
        }
        for _ in 0..3 {
            agrees(&db, &dice.filter(), &dice.group_by(), &dice.zone()).await;
        }
    }
    write(&nodes[0], later).await;
    roll_up(&db, now + HOUR).await.unwrap();
    assert!(state(&db).await.sealed_until > now, "all is sealed");
    agrees(&db, &Filter::default(), &[GroupBy::UserId, GroupBy::Day], &TimeZone::UTC).await;
    let found = audit_sums(&db, false).await.unwrap();
    assert_eq!((found.wrong, found.quarters), (0, 0));
    for node in nodes {
        node.flush_and_stop(LIMIT).await;
    }
}

async fn nothing_is_missed_or_counted_twice_while_many_write_and_seal(database: TestDatabase) {
    const NODES: u64 = 3;
    const ROUNDS: u64 = 40;
    let db = database.open().await;
    // Seen by the sealers: what the writers' rows have come to.
    let clock = Arc::new(AtomicI64::new(START));
    let writers = (0..NODES).map(|node| {
        let (db, clock) = (db.clone(), Arc::clone(&clock));
        tokio::spawn(async move {
            let mut dice = Dice(StdRng::seed_from_u64(node));
            let ledger = ledger(&db, &format!("node {node}")).await;
            for round in 0..ROUNDS {
                let now = clock.fetch_add(4 * MINUTE, Ordering::SeqCst);
                let batch = (0..20).map(|n| {
                    let settled_at = dice.instant(START, now);
                    let of = record(u128::from((node * ROUNDS + round) * 20 + n) + 1);
                    LedgerRecord { created_at: START, settled_at, cost: Usd::from_nanos(1), ..of }
                });
                write(&ledger, batch.collect::<Vec<_>>()).await;
            }
            ledger.flush_and_stop(LIMIT).await;
        })
    });
    let writers: Vec<_> = writers.collect();
    let sealers: Vec<_> = (0..2)
        .map(|_| {
            let (db, clock) = (db.clone(), Arc::clone(&clock));
            tokio::spawn(async move {
                while clock.load(Ordering::SeqCst) < i64::MAX {
                    // On SQLite a writer may have waited for too long, as it does for anybody.
                    if let Err(error) = roll_up(&db, clock.load(Ordering::SeqCst) + 30 * MINUTE).await {
                        assert!(store::is_away(&error), "{error}");
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut looks = 0;
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let before = usage_ledger::Entity::find().count(&db).await.unwrap();
        let found = summary(&db, &Filter::default(), &[], &TimeZone::UTC).await.unwrap().total;
        let after = usage_ledger::Entity::find().count(&db).await.unwrap();
        let requests = u64::try_from(found.requests).unwrap();
        assert_eq!(found.requests, found.cost_nanos);
        assert!((before..=after).contains(&requests), "{before} rows, then {requests}, then {after}");
        looks += 1;
    }
    clock.store(i64::MAX, Ordering::SeqCst);
    for task in writers.into_iter().chain(sealers) {
        task.await.unwrap();
    }
    assert!(looks > 3);
    roll_up(&db, START + 100 * HOUR).await.unwrap();
    agrees(&db, &Filter::default(), &[GroupBy::Hour], &TimeZone::UTC).await;
    let all = usage_rollup_quarter::Entity::find().all(&db).await.unwrap().iter().map(|row| row.requests).sum::<i64>();
    assert_eq!(u64::try_from(all).unwrap(), NODES * ROUNDS * 20);
    assert_eq!(audit_sums(&db, false).await.unwrap().wrong, 0);
}

async fn a_row_that_comes_between_an_announcement_and_its_seal_is_added_once(database: TestDatabase) {
    let db = database.open().await;
    let ledger = ledger(&db, "a").await;
    let at = |n, settled_at| LedgerRecord { created_at: settled_at, settled_at, ..record(n) };
    write(&ledger, [at(1, START)]).await;
    let now = START + HOUR;
    assert!(!seal(&db, 10).await.unwrap(), "nothing is announced");
    assert!(announce(&db, now).await.unwrap());
    assert!(!announce(&db, now).await.unwrap(), "that is not sealed yet");
    assert!(!announce(&db, now + HOUR).await.unwrap(), "nor is that");
    write(&ledger, [at(2, START + 1)]).await;
    let summed = async || {
        let rows = usage_rollup_quarter::Entity::find().all(&db).await.unwrap();
        rows.iter().map(|row| row.requests).sum::<i64>()
    };
    assert_eq!(summed().await, 1, "who comes late adds its own row");
    // As after a crash: somebody else goes on.
    roll_up(&db, now).await.unwrap();
    assert_eq!(summed().await, 2);
    write(&ledger, [at(1, START), at(2, START + 1), at(3, START + 2)]).await;
    assert_eq!(summed().await, 3, "what was there before is not added again");
    roll_up(&db, now).await.unwrap();
    assert_eq!(summed().await, 3);
    let open = QUARTER - 1;
    write(&ledger, [at(4, now), at(5, now - QUARTER - 1)]).await;
    assert_eq!(summed().await, 4, "the quarter that was over less than a quarter ago is not announced");
    roll_up(&db, now + open).await.unwrap();
    assert_eq!(summed().await, 4);
    roll_up(&db, now + QUARTER + open).await.unwrap();
    assert_eq!(summed().await, 4, "the quarter of the other row goes on");
    roll_up(&db, now + 2 * QUARTER).await.unwrap();
    assert_eq!(summed().await, 5);
    ledger.flush_and_stop(LIMIT).await;
}

/// On SQLite nobody writes beside a writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_announcement_waits_for_whoever_has_inserted_rows_and_not_finished() {
    let database = TestDatabase::postgres();
    let db = database.open().await;
    let ledger = ledger(&db, "a").await;
    let other = db.begin().await.unwrap();
    other.execute_unprepared("LOCK TABLE usage_rollup_minute IN EXCLUSIVE MODE").await.unwrap();
    commit(&ledger, LedgerRecord { created_at: START, settled_at: START, ..record(1) });
    let number = async |sql: &str| -> i64 {
        let statement = Statement::from_string(db.get_database_backend(), sql);
        db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    };
    let waiting = "SELECT COUNT(*) FROM pg_locks WHERE relation = 'usage_rollup_minute'::regclass AND NOT granted";
    eventually("the writer is in the middle of it", LIMIT, || async { number(waiting).await == 1 }).await;
    let announced = {
        let db = db.clone();
        tokio::spawn(async move { announce(&db, START + HOUR).await })
    };
    let waiting = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    eventually("it waits", LIMIT, || async { number(waiting).await == 1 }).await;
    assert_eq!(state(&db).await.announced_until, 0);
    other.commit().await.unwrap();
    assert!(announced.await.unwrap().unwrap());
    assert_eq!(state(&db).await.announced_id, 1, "the row is the sealer's");
    roll_up(&db, START + HOUR).await.unwrap();
    assert_eq!(usage_rollup_quarter::Entity::find().count(&db).await.unwrap(), 1);
    ledger.flush_and_stop(LIMIT).await;
}

async fn a_request_counts_where_its_first_attempt_is_even_if_that_comes_last(database: TestDatabase) {
    let db = database.open().await;
    let ledger = ledger(&db, "a").await;
    let attempt = |attempt, settled_at, user_id| LedgerRecord {
        attempt,
        created_at: START,
        settled_at,
        user_id,
        outcome: if attempt == 1 { Outcome::Completed } else { Outcome::LostRace },
        ..record(1)
    };
    let requests = async |user_id| {
        let filter = Filter { user_id: Some(user_id), ..Filter::default() };
        agrees(&db, &filter, &[], &TimeZone::UTC).await;
        summary(&db, &filter, &[], &TimeZone::UTC).await.unwrap().total.requests
    };
    write(&ledger, [attempt(3, START + 2, 3)]).await;
    assert_eq!(requests(3).await, 1, "the only one that there is");
    roll_up(&db, START + HOUR).await.unwrap();
    assert_eq!(requests(3).await, 1);
    // An answer that took an hour: the rival of the first had lost long before.
    write(&ledger, [attempt(2, START + HOUR, 2)]).await;
    assert_eq!((requests(3).await, requests(2).await), (0, 1), "taken from what is sealed");
    roll_up(&db, START + 2 * HOUR).await.unwrap();
    assert_eq!((requests(3).await, requests(2).await), (0, 1));
    write(&ledger, [attempt(1, START + 1, 1)]).await;
    assert_eq!((requests(3).await, requests(2).await, requests(1).await), (0, 0, 1), "and again, by one that is late");
    // Another request, whose first attempt comes between the announcement of the second and its seal.
    let other =
        |n, settled_at, user_id| LedgerRecord { request_id: Uuid::from_u128(2), ..attempt(n, settled_at, user_id) };
    write(&ledger, [other(2, START + 3 * HOUR, 5)]).await;
    assert!(announce(&db, START + 4 * HOUR).await.unwrap());
    write(&ledger, [other(1, START + 3 * HOUR + 1, 4)]).await;
    roll_up(&db, START + 4 * HOUR).await.unwrap();
    assert_eq!((requests(5).await, requests(4).await), (0, 1), "by whoever comes in between");
    assert_eq!(audit_sums(&db, false).await.unwrap().wrong, 0);
    ledger.flush_and_stop(LIMIT).await;
}

async fn a_ledger_from_before_there_were_quarters_is_summed_up(database: TestDatabase) {
    let db = database.connect().await;
    Migrator::up(&db, Some(8)).await.unwrap();
    for n in 0..50 {
        let (settled_at, user, group) = (START + n * 7 * MINUTE, n % 3, if n % 2 == 0 { "NULL" } else { "4" });
        let sql = format!(
            "INSERT INTO usage_ledger (request_id, attempt, created_at, settled_at, user_id, key_id, provider, dialect, \
             requested_model, served_model, model_group_id, outcome, estimated, status, duration_ms, input_tokens, \
             output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, \
             input_audio_tokens, output_audio_tokens, input_image_tokens, output_image_tokens, web_searches, \
             service_tier, cost_nanos) VALUES ('old {n}', {}, 1, {settled_at}, {user}, 2, 'p', 'anthropic', 'm', 'm', \
             {group}, 'completed', false, 200, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 'standard', {n})",
            1 + n % 2
        );
        db.execute_unprepared(&sql).await.unwrap();
    }
    store::migrate(&db).await.unwrap();
    let by = [GroupBy::UserId, GroupBy::ModelGroupId, GroupBy::Day];
    agrees(&db, &Filter::default(), &by, &TimeZone::UTC).await;
    assert!(announce(&db, START + 24 * HOUR).await.unwrap());
    let mut steps = 0;
    while seal(&db, 8).await.unwrap() {
        agrees(&db, &Filter::default(), &by, &TimeZone::UTC).await;
        steps += 1;
    }
    assert_eq!(steps, 7, "eight at a time");
    let found = audit_sums(&db, false).await.unwrap();
    assert_eq!((found.rows, found.quarters), (50, 0));
    let requests: i64 =
        usage_rollup_quarter::Entity::find().all(&db).await.unwrap().iter().map(|row| row.requests).sum();
    assert_eq!(requests, 50);
}

async fn sums_that_leave_the_range_stay_at_its_end(database: TestDatabase) {
    let db = database.open().await;
    let ledger = ledger(&db, "a").await;
    let of = |n, cost, input| LedgerRecord {
        created_at: START,
        settled_at: START,
        user_id: i64::from(cost < 0),
        cost: Usd::from_nanos(cost),
        usage: Usage { input, output: 1 << 40, ..Usage::default() },
        ..record(n)
    };
    let total = async |user_id| {
        let filter = Filter { user_id: Some(user_id), ..Filter::default() };
        let total = summary(&db, &filter, &[], &TimeZone::UTC).await.unwrap().total;
        (total.cost_nanos, total.input_tokens, total.output_tokens)
    };
    write(&ledger, [of(1, i64::MAX, u64::MAX), of(2, 5, 7), of(3, -i64::MAX, 3), of(4, -9, 4)]).await;
    let (most, least) = ((i64::MAX, i64::MAX, 2 << 40), (-i64::MAX, 7, 2 << 40));
    assert_eq!((total(0).await, total(1).await), (most, least), "of rows");
    roll_up(&db, START + HOUR).await.unwrap();
    assert_eq!((total(0).await, total(1).await), (most, least), "once they are sealed");
    write(&ledger, [of(5, 1, 1)]).await;
    assert_eq!(total(0).await, (i64::MAX, i64::MAX, 3 << 40), "and with one that came late");
    ledger.flush_and_stop(LIMIT).await;
}

async fn quarters_that_differ_are_found_and_put_right(database: TestDatabase) {
    let db = database.open().await;
    let ledger = ledger(&db, "a").await;
    let mut dice = Dice(StdRng::seed_from_u64(3));
    write(&ledger, (1..100).flat_map(|n| dice.request(n, START + 4 * HOUR)).collect::<Vec<_>>()).await;
    roll_up(&db, START + 3 * HOUR).await.unwrap();
    let found = audit_sums(&db, false).await.unwrap();
    assert_eq!((found.wrong, found.quarters), (0, 0));
    let before = usage_rollup_quarter::Entity::find().all(&db).await.unwrap();
    for (sql, wrong) in [
        ("UPDATE usage_rollup_quarter SET output_image_tokens = output_image_tokens + 1", before.len()),
        ("UPDATE usage_rollup_quarter SET requests = requests + 1", before.len()),
        ("UPDATE usage_rollup_quarter SET cost_nanos = cost_nanos - 1", before.len()),
        // Of a time that nobody has announced.
        (
            "INSERT INTO usage_rollup_quarter SELECT quarter + 90000, user_id, key_id, provider, served_model, \
             model_group_id, outcome, counted_in_user_global, counted_in_key_global, cost_nanos, requests, input_tokens, \
             output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, \
             input_audio_tokens, output_audio_tokens, input_image_tokens, output_image_tokens \
             FROM usage_rollup_quarter WHERE output_image_tokens > 0",
            before.len(),
        ),
        ("DELETE FROM usage_rollup_quarter WHERE quarter < 90000000", before.len()),
    ] {
        db.execute_unprepared(sql).await.unwrap();
        let found = audit_sums(&db, true).await.unwrap();
        assert_eq!((found.wrong, found.quarters), (wrong as u64, wrong as u64), "{sql}");
        assert!(found.budgets.is_empty(), "no budget is read from these");
        assert_eq!(audit_sums(&db, false).await.unwrap().wrong, 0, "{sql}");
        agrees(&db, &Filter::default(), &[GroupBy::UserId, GroupBy::Model], &TimeZone::UTC).await;
    }
    ledger.flush_and_stop(LIMIT).await;
}

/// Clocks in Newfoundland changed a minute after midnight, until 2011.
async fn days_that_begin_within_a_quarter_are_read_from_the_ledger(database: TestDatabase) {
    let db = database.open().await;
    let ledger = ledger(&db, "a").await;
    let zone = TimeZone::get("America/St_Johns").unwrap();
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    // At 00:01 it was 23:01 of the day before again.
    let instants = ["2010-11-07T02:29:00Z", "2010-11-07T02:30:30Z", "2010-11-07T02:31:30Z", "2010-11-07T03:31:00Z"];
    let records = instants.iter().zip(1..).map(|(text, n)| LedgerRecord {
        created_at: at(text),
        settled_at: at(text),
        ..record(n)
    });
    write(&ledger, records.collect::<Vec<_>>()).await;
    roll_up(&db, START).await.unwrap();
    agrees(&db, &Filter::default(), &[GroupBy::Day], &zone).await;
    let groups = summary(&db, &Filter::default(), &[GroupBy::Day], &zone).await.unwrap().groups;
    let mut requests: Vec<_> = groups.iter().map(|group| (group.day, group.totals.requests)).collect();
    requests.sort_unstable();
    let day = at("2010-11-06T00:00:00Z") / (24 * HOUR);
    assert_eq!(requests, [(Some(day), 2), (Some(day + 1), 2)]);
    ledger.flush_and_stop(LIMIT).await;
}
