//! What many budgets with a request a minute each cost: commands and bytes per request, and memory per budget.

#![allow(clippy::print_stdout, reason = "what is measured is the result")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use futures::StreamExt;

use super::{Owned, connection};
use crate::budget::tests::world::*;
use crate::budget::{Budgets, Incarnation, Lsn, Plan, RedisAuthority, Seed, SeedError, SeedQuery, Seeds, WindowSeed};
use crate::limit::{BudgetId, Mode, Policy, Window};

const HERE: Incarnation = 1;
const TICK: i64 = 500;
const MINUTE: i64 = 60_000;
/// Requests that are under way together.
const AT_ONCE: usize = 64;
/// Each budget has so many requests, a minute apart.
const ROUNDS: usize = 2;

/// A ledger in which every budget has the same past, and everything is written at once.
struct SamePast {
    journal: AtomicI64,
    time: Time,
}

#[async_trait]
impl Seeds for SamePast {
    fn now_lsn(&self) -> Lsn {
        self.journal.load(Ordering::SeqCst).cast_unsigned()
    }

    fn written_lsn(&self) -> Lsn {
        self.now_lsn()
    }

    async fn barrier(&self, _lsn: Lsn) -> Result<(), SeedError> {
        Ok(())
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, SeedError> {
        let now = self.time.now();
        // Of rolling windows every slot is taken.
        let minutes = |from: i64| (from..now).step_by(5 * MINUTE as usize).map(|minute| (minute, usd("0.001")));
        let windows = query.windows.iter().map(|asked| WindowSeed {
            window: asked.window,
            sum: usd("0.1"),
            minutes: if asked.by_minute { minutes(asked.from).collect() } else { Vec::new() },
        });
        Ok(Seed {
            query_started: now,
            windows: windows.collect(),
            first_charge_start: None,
            marks: vec![(HERE, self.written_lsn())],
        })
    }

    fn first_charge_started(&self, _budget: BudgetId, _start: i64) {}
}

/// What Redis has counted.
#[derive(Clone, Copy)]
struct Counted {
    scripts: f64,
    bytes_in: f64,
    bytes_out: f64,
    memory: f64,
}

impl Counted {
    async fn now(redis: &mut ::redis::aio::MultiplexedConnection) -> Self {
        let info: String = ::redis::cmd("INFO").arg("everything").query_async(redis).await.unwrap();
        let after = |name: &str| -> f64 {
            let rest = info.split_once(name).map_or("0", |(_, rest)| rest);
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().unwrap()
        };
        Self {
            scripts: after("cmdstat_evalsha:calls="),
            bytes_in: after("total_net_input_bytes:"),
            bytes_out: after("total_net_output_bytes:"),
            memory: after("\nused_memory:"),
        }
    }
}

/// Costs of one round, per request.
#[derive(Debug)]
struct Costs {
    scripts: f64,
    bytes_in: f64,
    bytes_out: f64,
    /// Per budget, beyond what was there before the first round.
    memory: f64,
}

/// So many users with these caps make a request a minute each.
async fn rounds(users: usize, policy: &Arc<Policy>) -> Vec<Costs> {
    let time = Time::at(NOON);
    let redis = Owned::start(&time, false).await;
    let mut connection = connection(&redis.server).await;
    let ledger = Arc::new(SamePast { journal: AtomicI64::new(0), time: time.clone() });
    let authority = Arc::<RedisAuthority>::clone(&redis.authority);
    let budgets = Budgets::new(HERE, authority, Arc::<SamePast>::clone(&ledger), worst_case(), time.clock());
    let plan = |owner: usize| -> Plan {
        let mut plan = uncapped();
        plan.user.mainline = (user(owner as i64 + 1), Some(Arc::clone(policy)));
        plan
    };
    let start = Counted::now(&mut connection).await;
    let ticks = (MINUTE / TICK) as usize;
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        let before = Counted::now(&mut connection).await;
        let began = Instant::now();
        for tick in 0..ticks {
            let these = tick * users / ticks..(tick + 1) * users / ticks;
            let requests = these.map(|owner| {
                let (budgets, ledger, time, plan) = (&budgets, &ledger, &time, plan(owner));
                async move {
                    let reservation = budgets.reserve(&plan, usd("0.01"), time.now()).await.unwrap();
                    let lsn = ledger.journal.fetch_add(1, Ordering::SeqCst).cast_unsigned() + 1;
                    reservation.settle(lsn, time.now(), usd("0.005"));
                }
            });
            futures::stream::iter(requests).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
            let now = time.pass(TICK);
            budgets.tick(now).await;
        }
        let after = Counted::now(&mut connection).await;
        let per = |of: fn(&Counted) -> f64| (of(&after) - of(&before)) / users as f64;
        let costs = Costs {
            scripts: per(|counted| counted.scripts),
            bytes_in: per(|counted| counted.bytes_in),
            bytes_out: per(|counted| counted.bytes_out),
            memory: (after.memory - start.memory) / users as f64,
        };
        println!("{users} budgets of {:?} in {:?}: {costs:.1?}", policy.windows[0].window, began.elapsed());
        all.push(costs);
    }
    assert_eq!(budgets.stats().unenforced_violations(), 0);
    all
}

/// Small in every run of the tests. In a soak a hundred thousand, or as many as `TOLLGATE_SOAK` says.
fn scale(short: usize) -> usize {
    let soak = std::env::var("TOLLGATE_SOAK").ok().map(|text| text.parse().unwrap_or(1));
    soak.map_or(short, |count: usize| if count > 1 { count } else { 100_000 })
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_crowd_of_budgets_with_a_request_a_minute_each() {
    for costs in rounds(scale(240), &only(Window::Total, usd("1000"))).await {
        assert!(costs.scripts < 10.0 && costs.bytes_in < 4_096.0 && costs.bytes_out < 2_048.0, "{costs:?}");
        // In a small run the scripts are most of it.
        assert!(costs.memory < 4_096.0, "{costs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_crowd_of_rolling_budgets_whose_slots_are_all_taken() {
    let rolling = policy(1, vec![cap(Window::Daily, Mode::Rolling, usd("1000"))]);
    // Every one of them is as large as twenty others.
    for costs in rounds(scale(2_400) / 20, &rolling).await {
        assert!(costs.scripts < 10.0 && costs.bytes_in < 16_384.0 && costs.bytes_out < 2_048.0, "{costs:?}");
        assert!(costs.memory < 49_152.0, "{costs:?}");
    }
}
