//! What it costs a request to set aside and settle, and what a budget costs that nobody uses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use tollgate::budget::{
    Authority, AxisPlan, BudgetSettings, Budgets, Clock, Lsn, MemoryAuthority, Plan, Seed, SeedError, SeedQuery, Seeds,
    WindowSeed,
};
use tollgate::limit::{Axis, BudgetId, CapStep, Mode, Policy, Scope, Source, Window, WindowPolicy};
use tollgate::money::Usd;

const NODE: i64 = 1;
const START: i64 = 1_760_522_430_000;
const BUDGETS: i64 = 1_000_000;

/// Bytes that an idle budget shall take at most.
const AIM: u64 = 256;

/// A ledger that has written everything at once, and nothing before.
struct Ledger {
    lsn: AtomicU64,
    time: Arc<AtomicI64>,
}

#[async_trait]
impl Seeds for Ledger {
    fn now_lsn(&self) -> Lsn {
        self.lsn.load(Ordering::Relaxed)
    }

    fn written_lsn(&self) -> Lsn {
        self.lsn.load(Ordering::Relaxed)
    }

    async fn barrier(&self, _lsn: Lsn) -> Result<(), SeedError> {
        Ok(())
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, SeedError> {
        let windows = query.windows.iter();
        let windows =
            windows.map(|window| WindowSeed { window: window.window, sum: Usd::ZERO, minutes: Vec::new() }).collect();
        let query_started = self.time.load(Ordering::Relaxed);
        Ok(Seed { query_started, windows, first_charge_start: None, marks: vec![(NODE, self.written_lsn())] })
    }

    fn first_charge_started(&self, _budget: BudgetId, _start: i64) {}
}

struct Node {
    time: Arc<AtomicI64>,
    ledger: Arc<Ledger>,
    authority: Arc<MemoryAuthority>,
    budgets: Arc<Budgets>,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    fn new() -> Self {
        let time = Arc::new(AtomicI64::new(START));
        let clock: Clock = {
            let time = Arc::clone(&time);
            Arc::new(move || time.load(Ordering::Relaxed))
        };
        let ledger = Arc::new(Ledger { lsn: AtomicU64::new(0), time: Arc::clone(&time) });
        let authority = Arc::new(MemoryAuthority::new(Arc::clone(&clock), 30_000));
        let budgets = Budgets::new(
            NODE,
            Arc::<MemoryAuthority>::clone(&authority),
            Arc::<Ledger>::clone(&ledger),
            BudgetSettings::default(),
            clock,
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { time, ledger, authority, budgets, runtime }
    }

    /// One request; the next one comes so many milliseconds later.
    fn request(&self, plan: &Plan, until_next: i64) {
        let now = self.time.fetch_add(until_next, Ordering::Relaxed);
        let amount = Usd::from_nanos(2_000_000);
        let reservation = match self.budgets.try_reserve(plan, amount, now) {
            Some(reservation) => reservation.unwrap(),
            None => self.runtime.block_on(self.budgets.reserve(plan, amount, now)).unwrap(),
        };
        let lsn = self.ledger.lsn.fetch_add(1, Ordering::Relaxed) + 1;
        black_box(reservation.settle(lsn, now, Usd::from_nanos(1_500_000)));
    }

    /// What is due in the background.
    fn tick(&self) {
        self.runtime.block_on(self.budgets.tick(self.time.load(Ordering::Relaxed)));
    }

    /// What the background work does bit by bit.
    fn sweep(&self) {
        for turn in 0..256 {
            self.authority.sweep(turn, self.time.load(Ordering::Relaxed));
        }
    }

    fn pass(&self, ms: i64) {
        for _ in 0..ms / 1_000 {
            self.time.fetch_add(1_000, Ordering::Relaxed);
            self.tick();
            self.sweep();
        }
    }
}

fn policy(windows: &[Window]) -> Arc<Policy> {
    let cap = Usd::from_nanos(9_000_000 * Usd::NANOS_PER_USD);
    let windows = windows.iter().map(|&window| WindowPolicy {
        window,
        mode: match window {
            Window::Total => Mode::Forever,
            Window::FiveHours => Mode::Rolling,
            _ => Mode::Calendar { at: 0 },
        },
        base: cap,
        caps: vec![CapStep { from: i64::MIN, cap }],
        source: Source::User(1),
        since_era: 0,
    });
    Arc::new(Policy { version: 1, era: 0, windows: windows.collect() })
}

const fn id(axis: Axis, owner: i64) -> BudgetId {
    BudgetId { axis, owner, scope: Scope::Mainline }
}

fn plan(owner: i64, provider: i64, policy: &Arc<Policy>) -> Plan {
    let capped = |axis, owner| (id(axis, owner), Some(Arc::clone(policy)));
    Plan {
        key: AxisPlan { era: 0, group: None, mainline: capped(Axis::Key, owner) },
        user: AxisPlan { era: 0, group: None, mainline: capped(Axis::User, owner) },
        provider: capped(Axis::Provider, provider),
    }
}

/// So many requests, shared by threads with a plan each; every thousandth has the background work done too.
fn run(node: &Node, plans: &[Plan], requests: u64) -> Duration {
    let share = requests / plans.len() as u64 + 1;
    let began = Instant::now();
    std::thread::scope(|scope| {
        for plan in plans {
            scope.spawn(move || {
                for turn in 0..share {
                    node.request(plan, 1);
                    if turn % 1_000 == 999 {
                        node.tick();
                    }
                }
            });
        }
    });
    began.elapsed()
}

fn reserve_and_settle(c: &mut Criterion) {
    let all = policy(&Window::ALL);
    let cases = [
        ("1 thread", vec![plan(1, 1, &all)]),
        ("2 threads, nothing in common", vec![plan(1, 1, &all), plan(2, 2, &all)]),
        ("2 threads, one provider", vec![plan(1, 1, &all), plan(2, 1, &all)]),
        ("2 threads, one user", vec![plan(1, 1, &all), plan(1, 1, &all)]),
    ];
    let mut group = c.benchmark_group("reserve and settle, three budgets of five windows");
    for (name, plans) in cases {
        let node = Node::new();
        run(&node, &plans, 1_000);
        group.bench_function(name, |bencher| bencher.iter_custom(|requests| run(&node, &plans, requests)));
    }
    group.finish();
}

fn refuse(c: &mut Criterion) {
    let node = Node::new();
    let mut plan = plan(1, 1, &policy(&Window::ALL));
    let mut small = Policy::clone(&policy(&Window::ALL));
    for window in &mut small.windows {
        window.caps[0].cap = Usd::from_nanos(1_000_000);
    }
    plan.user.mainline.1 = Some(Arc::new(small));
    node.request(&plan, 1);
    c.bench_function("refuse what was refused a moment ago", |bencher| {
        bencher.iter(|| {
            let now = node.time.load(Ordering::Relaxed);
            let amount = Usd::from_nanos(2_000_000_000);
            match node.budgets.try_reserve(&plan, amount, now) {
                Some(refused) => assert!(refused.is_err()),
                None => assert!(node.runtime.block_on(node.budgets.reserve(&plan, amount, now)).is_err()),
            }
        });
    });
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// A million budgets of these caps.
fn fill(c: &mut Criterion, name: &str, policy: fn() -> Arc<Policy>) -> Node {
    let node = Node::new();
    let mut one = plan(1, 1, &policy());
    one.key.mainline.1 = None;
    one.provider.1 = None;
    // By the fourth batch as many come to rest as come: from then on memory grows by what rests.
    let batch = BUDGETS / 12;
    let before = resident();
    let mut measured = Vec::new();
    for owner in 0..batch * 12 {
        one.user.mainline.0.owner = owner;
        // Each owner has caps of its own.
        one.user.mainline.1 = Some(policy());
        node.request(&one, 0);
        if owner % batch == batch - 1 {
            node.pass(4_000);
            measured.push((resident(), node.budgets.known(), node.authority.len()));
        }
    }
    let (then, now) = (measured[4], measured[11]);
    let bytes = (now.0 - then.0) / (batch * 7).unsigned_abs();
    let reached = if bytes <= AIM { "reached" } else { "MISSED" };
    println!(
        "{} budgets of {name} with caps of their own: {} in use by the node, the others idle, {bytes} bytes each (aim {AIM}: {reached})",
        now.2, now.1
    );
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "the process: {} MiB before, {} MiB after {} budgets, {} MiB now",
        mib(before),
        mib(then.0),
        then.2,
        mib(now.0)
    );
    node.pass(20_000);
    println!("later: {} known to the node, {} to the authority", node.budgets.known(), node.authority.len());
    c.bench_function(&format!("reserve and settle beside a million idle budgets of {name}"), |bencher| {
        bencher.iter(|| node.request(&one, 1));
    });
    node
}

fn idle(c: &mut Criterion) {
    let nodes = [
        fill(c, "two windows of the calendar", || policy(&[Window::Daily, Window::Monthly])),
        fill(c, "a rolling and another window", || policy(&[Window::FiveHours, Window::Monthly])),
    ];
    // Only now: what the first gave back would be taken for what the second one saves.
    for node in nodes {
        node.pass(100_000);
        println!("forgotten: {} known to the authority", node.authority.len());
    }
}

criterion_group!(benches, reserve_and_settle, refuse, idle);
criterion_main!(benches);
