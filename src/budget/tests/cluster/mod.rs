//! Nodes as they run in a gateway, over a network that loses, delays and doubles messages, while nodes pause and crash,
//! caps are edited and windows end. Everything but the ledger and the network is the real thing.

pub mod books;
mod network;
mod node;
mod runs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::world::{cap, edited, key, mode, policy, usd, user};
use crate::budget::ReserveError;
use crate::budget::rules::Rules;
use crate::limit::{Axis, BudgetId, Mode, Policy, Scope, Window};
use crate::money::Usd;
use network::Net;
use node::{Node, plan};

/// The caps of every budget.
type Limits = BTreeMap<BudgetId, Arc<Policy>>;

const fn mainline(axis: Axis, owner: i64) -> BudgetId {
    BudgetId { axis, owner, scope: Scope::Mainline }
}

pub const BUDGETS: [BudgetId; 4] =
    [mainline(Axis::Key, 1), mainline(Axis::Key, 2), mainline(Axis::User, 1), mainline(Axis::User, 2)];

/// Sunday 30 November 2025, 23:59:40 UTC: every window of the calendar ends soon.
const START: i64 = 1_764_547_180_000;
pub const FIVE_HOURS: i64 = 5 * 60 * 60_000;
const LENGTH: i64 = 30_000;
/// By then the last pause is over, and what was on its way has come or is lost.
const PEACE: i64 = 15_000;
const DEAD_AFTER: i64 = 30_000;
/// A journal is adopted so long after its process died: by then its last messages are too old to be taken.
const ADOPTED_AFTER: i64 = 3_000;
const NODES: usize = 2;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
struct Faults {
    pauses: bool,
    crashes: bool,
    /// The authority forgets everything. A single node's never does; it shows what waiting for the others is for.
    flushes: bool,
    /// Requests cost up to twice what was set aside.
    overruns: bool,
    /// What no rule allows: what a silent node holds is freed after so long.
    expiry: Option<i64>,
    rules: Rules,
}

const ALL: Faults =
    Faults { pauses: true, crashes: true, flushes: false, overruns: false, expiry: None, rules: Rules::ALL };

/// Between them the budgets have every window in every mode.
fn limits() -> Limits {
    let all = |five_hours: Mode, daily: Mode| {
        let windows = Window::ALL.into_iter().map(|window| {
            let mode = match window {
                Window::FiveHours => five_hours,
                Window::Daily => daily,
                _ => mode(window),
            };
            cap(window, mode, usd("1.5"))
        });
        policy(1, windows.collect())
    };
    let calendar = Mode::Calendar { at: 0 };
    [
        (key(1), all(Mode::FromFirstCharge, calendar)),
        (key(2), all(Mode::Rolling, Mode::Rolling)),
        (user(1), all(Mode::FromFirstCharge, Mode::Rolling)),
        (user(2), all(Mode::Rolling, calendar)),
    ]
    .into()
}

struct Cluster {
    net: Arc<Net>,
    limits: Limits,
    nodes: Vec<Node>,
    crashed: Vec<(i64, usize)>,
    incs: i64,
}

impl Cluster {
    fn new(seed: u64, faults: Faults) -> Self {
        let net = Net::new(seed, faults);
        let mut cluster = Self { net, limits: limits(), nodes: Vec::new(), crashed: Vec::new(), incs: 1 };
        // What an earlier life charged leaves its windows soon, rolling ones and fixed ones.
        let before = [START - FIVE_HOURS + 30_000, START - 24 * 60 * 60_000 + 10_000, START - 60 * 24 * 60 * 60_000];
        cluster.net.books.begin(1);
        for at in before {
            cluster.net.books.charge(1, &BUDGETS, at, usd("0.4"));
        }
        cluster.net.books.adopt(1, START);
        for _ in 0..NODES {
            let node = cluster.start();
            cluster.nodes.push(node);
        }
        cluster
    }

    fn start(&mut self) -> Node {
        self.incs += 1;
        Node::start(&self.net, self.incs, &self.limits)
    }

    async fn step(&mut self) -> Result<(), String> {
        sleep(Duration::from_millis(self.net.draw(1..40))).await;
        let now = self.net.now();
        self.go_wrong(now);
        self.net.expire(&BUDGETS);
        let closed = self.net.books.closed();
        for &inc in &closed {
            // Closing is repeated: an older seed may have brought the node back.
            self.net.authority().close_now(inc, &BUDGETS);
        }
        for at in 0..self.nodes.len() {
            let inc = self.nodes[at].inc;
            if self.net.happens(30) {
                self.net.books.write(inc, self.net.books.end(inc));
            }
            while let Some(ended) = self.nodes[at].work.try_join_next() {
                if ended.is_err_and(|error| error.is_panic()) {
                    return Err("a node panicked".into());
                }
            }
            let lives = !self.crashed.iter().any(|&(_, crashed)| crashed == at);
            if lives && !self.nodes[at].is_paused() && self.net.happens(3) {
                self.nodes[at].serve();
            }
        }
        self.net.wrong()
    }

    fn go_wrong(&mut self, now: i64) {
        for at in 0..self.nodes.len() {
            if self.net.faults.pauses && self.net.happens(800) {
                let until = now + self.net.draw(6_000..12_000);
                self.nodes[at].link.paused_until.store(until, Ordering::SeqCst);
            }
            let crashes = self.net.faults.crashes && self.net.happens(1_000);
            if crashes && !self.crashed.iter().any(|&(_, crashed)| crashed == at) {
                self.nodes[at].crash();
                self.crashed.push((now, at));
            }
        }
        for (_, at) in self.crashed.extract_if(.., |(died, _)| now - *died > ADOPTED_AFTER).collect::<Vec<_>>() {
            self.net.books.adopt(self.nodes[at].inc, now);
            self.nodes[at] = self.start();
        }
        if self.net.faults.flushes && self.net.happens(1_000) {
            self.net.flush();
        }
        if self.net.happens(100) {
            self.edit();
        }
    }

    /// Somebody raises or lowers the caps of a budget.
    fn edit(&mut self) {
        let budget = BUDGETS[self.net.draw(0..BUDGETS.len())];
        let by = if self.net.happens(3) { -usd("0.5") } else { usd("0.6") };
        let policy = &self.limits[&budget];
        let policy = edited(policy, policy.version + 1, |policy| {
            for window in &mut policy.windows {
                window.base = (window.base + by).max(usd("0.1"));
                window.caps[0].cap = window.base;
            }
        });
        self.limits.insert(budget, policy);
        for node in &mut self.nodes {
            let late = if self.net.happens(5) { self.net.draw(1..2_000) } else { 1 };
            node.edited(budget, &self.limits, late);
        }
    }

    /// Faults and traffic, then peace: in the end nothing is held, the authority counts what was charged, and what is
    /// left of the caps can be spent. Returns what was spent in all.
    async fn run(mut self) -> Result<Usd, String> {
        while self.net.now() < START + LENGTH {
            self.step().await?;
        }
        self.net.calm.store(true, Ordering::SeqCst);
        let quiet = |cluster: &Self| {
            for &inc in cluster.nodes.iter().map(|node| &node.inc) {
                cluster.net.books.write(inc, cluster.net.books.end(inc));
            }
        };
        while self.net.now() < START + LENGTH + PEACE {
            self.step().await?;
            quiet(&self);
        }
        for turn in 0..3 {
            for (&budget, policy) in &self.limits {
                for node in &self.nodes {
                    let seen = node.budgets.state(budget, policy, self.net.now()).await;
                    seen.map_err(|error| format!("turn {turn}, {budget:?}: {error}"))?;
                }
            }
            sleep(Duration::from_secs(3)).await;
        }
        for (&budget, policy) in &self.limits {
            self.check_at_rest(budget, policy)?;
        }
        self.spend_the_rest().await?;
        Ok(self.spent())
    }

    fn check_at_rest(&self, budget: BudgetId, policy: &Policy) -> Result<(), String> {
        let audit = self.net.authority().audit_now(budget).ok_or("nothing is known")?;
        if books::held(&audit) != Usd::ZERO {
            return Err(format!("{budget:?} is held for ever: {audit:?}"));
        }
        let spent = self.net.books.spent(budget, policy, self.net.now());
        for ((window, spent), counted) in spent.iter().zip(&audit.windows) {
            if *spent != counted.spent {
                return Err(format!(
                    "in the end {budget:?} {} {:?}: {counted:?} of {spent}",
                    window.window, window.mode
                ));
            }
        }
        Ok(())
    }

    /// The last that the caps allow is admitted, to the nano-dollar, and then nothing is.
    async fn spend_the_rest(&mut self) -> Result<(), String> {
        let (plan, charged) = plan(&self.limits, 1, 2);
        let now = self.net.now();
        let windows = charged.iter().flat_map(|&budget| self.net.books.spent(budget, &self.limits[&budget], now));
        let left = windows.map(|(window, spent)| window.cap_at(now) - spent).min().unwrap_or_default();
        let node = &self.nodes[self.net.draw(0..NODES)];
        if left > Usd::ZERO {
            let last = node.budgets.reserve(&plan, left, now).await;
            let last = last.map_err(|error| format!("{left} are left and cannot be had: {error}"))?;
            let lsn = self.net.books.charge(node.inc, &charged, now, left);
            last.settle(lsn, now, left);
        }
        match node.budgets.reserve(&plan, Usd::from_nanos(1), self.net.now()).await {
            Err(ReserveError::Denied(_)) => Ok(()),
            other => Err(format!("nothing is left, and: {other:?}")),
        }
    }

    fn spent(&self) -> Usd {
        let forever = policy(1, vec![cap(Window::Total, Mode::Forever, usd("1"))]);
        BUDGETS.iter().map(|&budget| self.net.books.spent(budget, &forever, self.net.now())[0].1).sum()
    }
}
