//! An hour of many nodes that share several budgets with windows of every kind, while caps are edited up and down and
//! everything goes wrong at once. Leases and authority are the real ones; time and faults come from a seed. After every
//! step each invariant of the protocol is checked, and each exception from it to the nano-dollar.

mod books;
mod bounds;
mod checks;
mod network;
mod node;
mod runs;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::cluster;
use super::world::{Time, cap, policy, usd};
use crate::budget::rules::Rules;
use crate::budget::{Clock, Incarnation, LeaseSettings, MemoryAuthority};
use crate::limit::{BudgetId, Mode, Policy, Window};
use crate::money::Usd;
use books::Books;
use bounds::Bounds;
use checks::Seen;
use network::Event;
use node::Node;
use trouble::Older;

const BUDGETS: usize = cluster::BUDGETS.len();
const DEAD_AFTER: i64 = 30_000;
/// No answer after so long: another statement is made.
const TIMEOUT: i64 = 300;
const DAY: i64 = 24 * 60 * 60_000;
const FIVE_HOURS: i64 = cluster::FIVE_HOURS;
/// Monday 1 December 2025: every calendar day that a run begins in ends within it.
const MIDNIGHT: i64 = 1_764_547_200_000;

/// The budget of this place in the lists.
const fn of_both(budget: usize) -> BudgetId {
    cluster::BUDGETS[budget]
}

/// What goes wrong, beside a bad network, pauses, a clock that is behind, and edits.
#[derive(Clone, Copy, Debug)]
struct Faults {
    crashes: bool,
    flushes: bool,
    /// The authority goes back to an older state.
    rollbacks: bool,
    /// Caps are lowered too.
    lowers: bool,
    /// Estimates are not the most that a request may cost, but what is expected: it may be twice as much.
    overruns: bool,
    /// What no rule allows: what a silent node holds is freed after so long.
    expiry: Option<i64>,
    rules: Rules,
}

const ALL: Faults = Faults {
    crashes: true,
    flushes: true,
    rollbacks: true,
    lowers: true,
    overruns: false,
    expiry: None,
    rules: Rules::ALL,
};

/// How much of everything there was.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    admitted: u64,
    grants: u64,
    seeds: u64,
    crashes: u64,
    flushes: u64,
    rollbacks: u64,
    edits: u64,
    /// What was cut because caps were lowered, and of that what was cut for no such reason.
    cut: Usd,
    cut_early: Usd,
    /// What rollbacks made possible to spend twice.
    twice: Usd,
    debts: Usd,
    /// The most that any window was over its cap.
    most_over: Usd,
    spent: Usd,
}

struct Sim {
    ends: i64,
    rng: StdRng,
    faults: Faults,
    calm: bool,
    time: Time,
    behind: Arc<AtomicI64>,
    authority: MemoryAuthority,
    flushed_at: i64,
    /// When it last went back to an older state.
    back_at: i64,
    bounds: Bounds,
    /// Each budget as it was after the last thing that happened to it.
    seen: [Option<Seen>; BUDGETS],
    older: Option<Older>,
    heard_of: BTreeMap<Incarnation, i64>,
    nodes: Vec<Node>,
    /// What running requests have set aside of each budget.
    running: [Usd; BUDGETS],
    books: Books,
    /// What is to happen, in order of time; at the same time, in any order.
    events: BTreeMap<(i64, u64), Event>,
    /// Each version of the caps of each budget, from the first.
    policies: [Vec<Arc<Policy>>; BUDGETS],
    /// The caps that the authority goes by, as far as it was heard.
    in_force: [Arc<Policy>; BUDGETS],
    settings: LeaseSettings,
    incs: Incarnation,
    figures: Figures,
}

/// Between them the budgets have fixed and rolling five hours, rolling days, days of the calendar, and one that never ends.
fn first_caps() -> [Arc<Policy>; BUDGETS] {
    let calendar = Mode::Calendar { at: 0 };
    let of = |windows: [(Window, Mode); 2]| policy(1, windows.map(|(window, mode)| cap(window, mode, usd("3"))).into());
    [
        of([(Window::Total, Mode::Forever), (Window::FiveHours, Mode::FromFirstCharge)]),
        of([(Window::FiveHours, Mode::Rolling), (Window::Daily, Mode::Rolling)]),
        of([(Window::Total, Mode::Forever), (Window::Daily, calendar)]),
        of([(Window::FiveHours, Mode::FromFirstCharge), (Window::Daily, calendar)]),
    ]
}

impl Sim {
    fn new(nodes: usize, length: i64, seed: u64, faults: Faults) -> Self {
        let start = MIDNIGHT - length / 2;
        let (time, behind) = (Time::at(start), Arc::<AtomicI64>::default());
        let authority = MemoryAuthority::with_rules(slow_clock(&time, &behind), DEAD_AFTER, faults.rules);
        let policies = first_caps();
        let mut sim = Self {
            ends: start + length,
            rng: StdRng::seed_from_u64(seed),
            faults,
            calm: false,
            time,
            behind,
            authority,
            flushed_at: start,
            back_at: i64::MIN / 2,
            bounds: Bounds::default(),
            seen: Default::default(),
            older: None,
            heard_of: BTreeMap::new(),
            nodes: Vec::new(),
            running: [Usd::ZERO; BUDGETS],
            books: Books::default(),
            events: BTreeMap::new(),
            in_force: policies.clone(),
            policies: policies.map(|policy| vec![policy]),
            settings: LeaseSettings::default(),
            incs: 0,
            figures: Figures::default(),
        };
        sim.earlier_life(start, length);
        for _ in 0..nodes {
            let node = sim.start();
            sim.nodes.push(node);
        }
        sim.later(start, Event::Trouble);
        sim
    }

    /// What was charged before leaves its windows as the run goes on: rolling ones bit by bit, and fixed ones at once.
    fn earlier_life(&mut self, start: i64, length: i64) {
        for budget in 0..BUDGETS {
            self.books.had_before(budget, start - DAY + length / 4, usd("0.5"));
            self.books.had_before(budget, start - FIVE_HOURS + length / 3, usd("0.5"));
        }
        for part in 0..10 {
            self.books.had_before(1, start - DAY + part * length / 10, usd("0.1"));
            self.books.had_before(1, start - FIVE_HOURS + part * length / 10, usd("0.1"));
        }
    }

    fn start(&mut self) -> Node {
        self.incs += 1;
        self.books.journals.entry(self.incs).or_default();
        let now = self.time.now();
        let latest: Vec<_> = (0..BUDGETS).map(|budget| Arc::clone(self.caps(budget))).collect();
        for timer in [Event::Tick(self.incs), Event::Request(self.incs)] {
            let after = self.rng.random_range(1..500);
            self.later(now + after, timer);
        }
        Node::start(self.incs, &latest, now, self.faults.rules)
    }

    /// The latest caps.
    fn caps(&self, budget: usize) -> &Arc<Policy> {
        &self.policies[budget][self.policies[budget].len() - 1]
    }

    fn later(&mut self, at: i64, event: Event) {
        let among_others = self.rng.random();
        self.events.insert((at, among_others), event);
    }

    fn happens(&mut self, of: u32) -> bool {
        !self.calm && self.rng.random_ratio(1, of)
    }

    /// Everything until then; what must always be true is checked after each step.
    fn until(&mut self, end: i64) -> Result<(), String> {
        while let Some(((at, _), event)) = self.events.pop_first() {
            let now = self.time.pass((at - self.time.now()).max(0));
            self.happen(event, now).map_err(|wrong| format!("{} ms from midnight: {wrong}", now - MIDNIGHT))?;
            if now >= end {
                break;
            }
        }
        Ok(())
    }

    /// Faults and traffic, then peace: in the end nothing is held, and the authority counts what was charged.
    fn run(mut self) -> Result<Figures, String> {
        self.until(self.ends)?;
        self.calm = true;
        self.faults.expiry = None;
        // What a rollback made the authority forget of nodes that are gone by then, it counts again when it is seeded.
        for budget in 0..BUDGETS {
            self.edit(budget, self.time.now());
        }
        self.until(self.ends + DEAD_AFTER + 30_000)?;
        for budget in 0..BUDGETS {
            let Seen { audit, now } = self.look(budget).ok_or("nothing is known")?;
            if audit.holders.iter().any(|held| held.reserved + held.kept + held.pending != Usd::ZERO) {
                return Err(format!("held for ever: {audit:?}"));
            }
            for (window, policy) in audit.windows.iter().zip(&self.caps(budget).windows) {
                let spent = self.books.charged(budget, self.books.begins(budget, policy, now));
                if window.spent != spent {
                    return Err(format!("in the end of {budget}: {window:?} of {spent}"));
                }
            }
            self.figures.spent += self.books.charged(budget, MIDNIGHT - FIVE_HOURS / 2);
        }
        Ok(self.figures)
    }

    /// A node and its place, if it lives.
    fn node(&self, inc: Incarnation) -> Option<usize> {
        self.nodes.iter().position(|node| node.inc == inc && node.crashed_at.is_none())
    }

    fn zone() -> &'static TimeZone {
        const { &TimeZone::UTC }
    }

    /// The time of the authority.
    fn clock(&self) -> Clock {
        slow_clock(&self.time, &self.behind)
    }
}

/// The authority's clock may be behind, and go back.
fn slow_clock(time: &Time, behind: &Arc<AtomicI64>) -> Clock {
    let (time, behind) = (time.clone(), Arc::clone(behind));
    Arc::new(move || time.now() - behind.load(Ordering::SeqCst))
}
