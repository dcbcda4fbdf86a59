//! What a question costs Redis, and what it remembers of a budget.

#![allow(clippy::print_stdout, reason = "what is measured is the result")]

use std::sync::Arc;

use super::{Owned, connection};
use crate::budget::tests::world::*;
use crate::budget::{
    Answer, Authority, Item, Position, Seed, SeedStatement, Seeded, Statement, Terms, WindowSeed, terms,
};
use crate::limit::{Mode, Policy, Window};
use crate::money::Usd;

const NODES: i64 = 32;
const ROUNDS: u64 = 60;
/// The aim is 50 µs on a machine that does nothing else; this one runs other tests.
const MOST: f64 = 500.0;

/// Every window, two of them rolling.
fn five_windows() -> Arc<Policy> {
    let windows = Window::ALL.into_iter().map(|window| {
        let mode = if window == Window::Daily { Mode::Rolling } else { mode(window) };
        cap(window, mode, usd("9000000"))
    });
    policy(1, windows.collect())
}

fn seed(terms: &Arc<Terms>, time: &Time, minutes: i64) -> SeedStatement {
    let windows = terms.policy.windows.iter().map(|policy| {
        let minutes = (0..minutes).map(|ago| (time.now() / 60_000 * 60_000 - ago * 60_000, usd("0.01"))).rev();
        let minutes: Vec<_> = if policy.mode == Mode::Rolling { minutes.collect() } else { Vec::new() };
        WindowSeed { window: policy.window, sum: usd("100"), minutes }
    });
    let marks = (1..=NODES).map(|inc| (inc, 0)).collect();
    let seed = Seed { query_started: time.now(), windows: windows.collect(), first_charge_start: None, marks };
    SeedStatement { seed, terms: Arc::clone(terms) }
}

fn statement(terms: &Arc<Terms>, time: &Time, inc: i64, round: u64) -> Statement {
    let minute = time.now() / 60_000 * 60_000;
    Statement {
        inc,
        seq: round + 1,
        sent: time.now(),
        from: if round == 0 { Position::Mark(0, super::BIRTH) } else { Position::At(round) },
        to: round + 1,
        items: vec![Item { minute, era: 0, amount: usd("0.02") }],
        reserved: usd("0.4"),
        kept: usd("1"),
        written: round,
        unwritten: usd("0.02"),
        need_min: usd("0.02"),
        need_sum: usd("0.02"),
        slice: usd("20"),
        slice_min: usd("0.001"),
        ends_after: i64::MAX,
        last: false,
        report: false,
        terms: Arc::clone(terms),
    }
}

/// What a user's budget takes.
async fn memory(connection: &mut ::redis::aio::MultiplexedConnection, owner: i64) -> u64 {
    let pattern = format!("*:b:user:{owner}:mainline");
    let keys: Vec<String> = ::redis::cmd("KEYS").arg(pattern).query_async(connection).await.unwrap();
    let mut usage = ::redis::cmd("MEMORY");
    usage.arg("USAGE").arg(&keys[0]).arg("SAMPLES").arg(0);
    usage.query_async(connection).await.unwrap()
}

#[tokio::test]
async fn a_question_about_five_windows_and_thirty_two_holders_costs_redis_some_microseconds() {
    let time = Time::at(NOON);
    let redis = Owned::start(&time, false).await;
    let terms = Arc::new(terms::of(five_windows(), &jiff::tz::TimeZone::UTC, NOON));
    assert_eq!(redis.seed(user(1), &seed(&terms, &time, 1_400)).await.unwrap(), Seeded::Taken);
    let mut connection = connection(&redis.server).await;
    ::redis::cmd("CONFIG").arg("RESETSTAT").query_async::<()>(&mut connection).await.unwrap();
    for round in 0..ROUNDS {
        time.pass(1_000);
        for inc in 1..=NODES {
            let answer = redis.exchange(user(1), &statement(&terms, &time, inc, round)).await.unwrap();
            assert!(matches!(&answer, Answer::Ok(taken) if taken.granted > Usd::ZERO), "{answer:?}");
        }
    }
    let stats: String = ::redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.unwrap();
    let evalsha = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
    let field = |name: &str| -> f64 {
        let value = evalsha.split(&[':', ','][..]).find_map(|field| field.strip_prefix(name)).unwrap();
        value.parse().unwrap()
    };
    let (calls, each) = (field("calls="), field("usec_per_call="));
    let bytes = memory(&mut connection, 1).await;
    println!("{calls} questions, 5 windows, {NODES} holders: {each} µs each; with 588 slots {bytes} bytes");
    assert!(calls >= (ROUNDS * 32) as f64 && each < MOST, "{evalsha}");

    let one = Arc::new(terms::of(only(Window::Monthly, usd("100")), &jiff::tz::TimeZone::UTC, NOON));
    let plain =
        SeedStatement { seed: Seed { marks: vec![(1, 0)], ..seed(&one, &time, 0).seed }, terms: Arc::clone(&one) };
    assert_eq!(redis.seed(user(2), &plain).await.unwrap(), Seeded::Taken);
    redis.exchange(user(2), &statement(&one, &time, 1, 0)).await.unwrap();
    let bytes = memory(&mut connection, 2).await;
    println!("one window of the calendar, one holder: {bytes} bytes");
    assert!(bytes < 1_000, "{bytes}");
}
