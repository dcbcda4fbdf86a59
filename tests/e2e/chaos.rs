//! One of three providers is ill, in every way in turn: no client that had got no byte notices, and the money is right.

#![allow(clippy::print_stdout, reason = "what was seen of each failure is part of the result")]

mod crowd;
mod ill;
mod till;
mod vitals;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::admin::Caller;
use crate::support::gateway::run;
use crate::support::{Books, Gateway, eventually, scale};

use crowd::{Asked, End, crowd};
use ill::Ill;
use till::Till;
use vitals::Vitals;
use world::{NAMES, World};

/// Connections that may be open after everybody has left, above those before anybody came: the test's own to the REST API.
const SOCKETS_MORE: usize = 2;

/// Files, above those when all were well: the database's eight connections have two each.
const FILES_MORE: usize = 16;

/// Tasks, above those before anybody came: what connections to providers that are kept open have, and those of the test's own
/// connections.
const TASKS_MORE: f64 = 8.0;

/// Threads that wait for blocking work live for a while.
const THREADS_MORE: usize = 16;

/// Memory that may have been added by the chaos, KiB: caches fill, and what was freed is not given back at once.
const RESIDENT_MORE: usize = 48 << 10;

/// What came of the requests while something was wrong.
#[derive(Default)]
struct Seen {
    whole: usize,
    left: usize,
    /// Those whose clients saw that something was wrong.
    errors: usize,
    took: Vec<Duration>,
}

impl Seen {
    /// Compares what each client got, and what was charged for it, with what providers sold.
    fn check(&mut self, asked: &Asked, till: &Till, row: &entity::usage_ledger::Model, ill: Option<Ill>) -> i64 {
        let context = format!("{ill:?}: {asked:?}, {row:?}");
        assert_eq!(asked.status, 200, "nobody is told of a failure as long as others are well: {context}");
        let provider = NAMES.iter().position(|name| *name == row.provider).unwrap();
        let sale = till.sale(asked.number, provider).unwrap_or_else(|| panic!("it was not sold: {context}"));
        match asked.end {
            End::Whole => assert!(asked.body == sale.body && sale.is_whole, "not what was sold: {sale:?}, {context}"),
            // What the gateway has of it when it breaks off need not reach the client.
            End::Broken => {
                assert!(sale.body.starts_with(&asked.body) && !sale.is_whole, "{sale:?}, {context}");
                assert!(!asked.body.is_empty(), "nothing had been sent: {context}");
            }
            End::Left => assert!(sale.body.starts_with(&asked.body), "not what was sold: {sale:?}, {context}"),
        }
        assert_eq!(row.cost_nanos, sale.nanos, "what was sold is charged: {sale:?}, {context}");
        let counter = match (asked.end, sale.is_good) {
            (End::Left, _) => &mut self.left,
            (End::Whole, true) => &mut self.whole,
            _ => &mut self.errors,
        };
        *counter += 1;
        self.took.push(asked.took);
        sale.nanos
    }

    /// How long the slowest of so many percent took.
    fn percentile(&self, percent: usize) -> Duration {
        self.took[(self.took.len() * percent / 100).min(self.took.len() - 1)]
    }
}

/// The rows of these requests, by the request's id, as soon as all are there.
async fn rows(books: &Books, callers: &[Caller], count: usize) -> BTreeMap<String, entity::usage_ledger::Model> {
    eventually(&format!("{count} rows"), async || {
        let mut all = BTreeMap::new();
        let mut found = 0;
        for caller in callers {
            for row in books.rows(caller).await {
                found += 1;
                all.insert(row.request_id.clone(), row);
            }
        }
        assert!(found <= count && all.len() == found, "{found} rows for {count} requests");
        (found == count).then_some(all)
    })
    .await
}

/// Has the program itself look for sums that are not those of their rows.
fn audit(gateway: &Gateway) {
    let file = gateway.folder().join("tollgate.yaml");
    let said = run(&["audit", "-c", file.to_str().unwrap()], &[], gateway.folder());
    let words = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{words}{}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_whatever_is_wrong_with_one_provider_the_others_answer_and_the_money_is_right() {
    let (each, at_once, turns) = (scale(100, 204), 100, scale(1, 3));
    let mut world = World::start().await;
    let books = Books::of(&world.gateway).await;
    let process = world.gateway.process_id();
    let before = Vitals::of(process);
    let tasks_before = world.gateway.metric("tasks").await;
    let (mut asked, mut sold) = (0, 0);
    let mut warm = before;
    let callers = world.callers.clone();
    // Nothing is wrong at first.
    let ills = Ill::ALL.iter().flat_map(|ill| (0..turns).map(move |_| Some(*ill)));
    for (turn, ill) in [None, None].into_iter().chain(ills).enumerate() {
        let who = world.fall_ill(ill, turn).await;
        let told = world.told(who).await;
        let answers = crowd(world.gateway.address(), &callers, asked..asked + each, at_once).await;
        asked += each;
        world.gateway.metric_is("in_flight", 0.0).await;
        let rows = rows(&books, &callers, asked).await;
        let mut seen = Seen::default();
        for answer in &answers {
            sold += seen.check(answer, &world.till, &rows[&answer.id], ill);
        }
        seen.took.sort_unstable();
        assert_eq!(rows.values().map(|row| row.cost_nanos).sum::<i64>(), sold, "{ill:?}: nothing else is charged");
        let attempts = world.told_since(who, &told).await;
        let circuits = world.circuits().await;
        println!(
            "{:<28} {each} requests, {} whole, {} left, {} with errors; p50 {:.0?}, p99 {:.0?}; {}: {attempts:?}, \
             circuit opened {} times",
            ill.map_or("all are well".to_owned(), |ill| format!("{ill:?}")),
            seen.whole,
            seen.left,
            seen.errors,
            seen.percentile(50),
            seen.percentile(99),
            NAMES[who],
            circuits[who].openings,
        );
        for (place, circuit) in circuits.iter().enumerate().filter(|(place, _)| *place != who || ill.is_none()) {
            assert_eq!(circuit.openings, 0, "{ill:?} at {}: {} is well", NAMES[who], NAMES[place]);
        }
        match ill {
            None => warm = Vitals::of(process),
            Some(ill) => {
                assert!(attempts.contains_key(ill.reason()), "{ill:?} was met: {attempts:?}");
                assert!(ill.shows_late() || seen.errors == 0, "{ill:?}: {} clients saw it", seen.errors);
                assert_eq!(circuits[who].openings > 0, ill != Ill::Slow, "{ill:?}: {:?}", circuits[who]);
            }
        }
        world.recovers(who).await;
    }

    for caller in &callers {
        books.balance(&world.gateway, caller).await;
    }
    assert!(world.gateway.metric("budget_drift_usd").await.abs() < f64::EPSILON, "counters are what the rows say");
    audit(&world.gateway);
    world.nobody_is_left(&callers).await;
    world.gateway.metric_is("journal_bytes", 0.0).await;
    world.everybody_leaves();
    let after = eventually("connections end", async || {
        Some(Vitals::of(process)).filter(|now| now.sockets <= before.sockets + SOCKETS_MORE)
    })
    .await;
    let tasks = world.gateway.metric("tasks").await;
    println!(
        "{asked} requests; before: {before:?}, {tasks_before} tasks; warm: {warm:?}; after: {after:?}, {tasks} tasks"
    );
    assert!(tasks <= tasks_before + TASKS_MORE, "{tasks} tasks");
    assert!(after.files <= warm.files + FILES_MORE, "{after:?}");
    assert!(after.threads <= warm.threads + THREADS_MORE, "{after:?}");
    assert!(after.resident <= warm.resident + RESIDENT_MORE, "{after:?}");
}
