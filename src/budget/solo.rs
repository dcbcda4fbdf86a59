//! What a node lets a mainline budget pay while nobody can ask the authority.
//!
//! It starts from what the ledger says, else from what the authority said last, and may use its part of what was free
//! then: one nth when n nodes live. What it has charged since it was last heard counts as its own use, and nothing else
//! does. So whatever they do and whenever they look, the nodes together use what was free, and no more. The ledger is
//! read again now and then, because it shows what others had not written yet, or more nodes than were known of; that
//! can only lower what is left. Nothing is counted apart: what is charged and set aside meanwhile is in the lease, and
//! the next statement tells it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use super::Budgets;
use super::account::WindowState;
use super::protocol::{Item, SeedStatement, Terms, WindowReport};
use super::table::Entry;
use crate::limit::{Policy, WindowPolicy};
use crate::money::Usd;

/// A request waits at most so long for the ledger; where something is known, only the one that asks.
const PATIENCE: Duration = Duration::from_millis(250);

/// What the ledger said of a budget is good for so long.
const FRESH: i64 = 5_000;

/// A ledger that did not answer is not asked by anybody for so long.
const LEDGER_AWAY: i64 = 1_000;

/// What the budgets of a node that is left alone have in common.
#[derive(Debug)]
pub(super) struct Solitude {
    nodes: AtomicUsize,
    ledger_away_until: AtomicI64,
}

impl Default for Solitude {
    fn default() -> Self {
        Self { nodes: AtomicUsize::new(1), ledger_away_until: AtomicI64::new(i64::MIN) }
    }
}

/// One budget of a node that is left alone.
#[derive(Debug)]
pub(super) struct Solo {
    policy: Arc<Policy>,
    asked_at: i64,
    asking: bool,
    /// What the nodes share.
    first: Option<Start>,
    /// What the ledger has said since.
    latest: Option<Vec<Split>>,
}

/// What is known of every window.
#[derive(Debug)]
struct Start {
    windows: Vec<Split>,
    /// It is what the authority said last: what this node holds is not among what the nodes share.
    remembered: bool,
}

/// A window, with and without what others have spent in it.
#[derive(Debug)]
struct Split {
    all: WindowState,
    own: WindowState,
    /// When it began; another one begins without what is held.
    began: i64,
}

/// What is left of a window to this node.
#[derive(Debug)]
pub(super) struct Room {
    pub room: Usd,
    /// The window, with what this node cannot have as held by others.
    pub report: WindowReport,
}

/// Whose turn it is to ask the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nobody's: what is known will do, or nothing can be known now.
    Nobody,
    /// Somebody asks, and nothing is known before.
    Wait,
    /// The caller's.
    Ask,
}

impl Split {
    fn new(mut all: WindowState, own_items: &[Item], now: i64) -> Self {
        let (mut own, began) = (all.emptied(), all.counted().start);
        for window in [&mut all, &mut own] {
            own_items.iter().for_each(|item| window.add(item, now));
        }
        Self { all, own, began }
    }

    fn both(&mut self) -> [&mut WindowState; 2] {
        [&mut self.all, &mut self.own]
    }

    /// What the cap leaves when this node's own use is left aside.
    fn free_of_own(&self, cap: Usd) -> Usd {
        cap - (self.all.spent - self.own.spent)
    }
}

impl Solo {
    /// Nothing is known yet.
    pub const fn new(policy: Arc<Policy>) -> Self {
        Self { policy, asked_at: i64::MIN, asking: false, first: None, latest: None }
    }

    pub const fn knows(&self) -> bool {
        self.first.is_some()
    }

    /// Starts from what the authority said `at` some instant: what others had spent or held in each window, at most.
    pub fn remember(&mut self, terms: &Terms, spent: &[Usd], own: &[Item], at: i64, now: i64) {
        let windows = terms.policy.windows.iter().zip(&terms.bounds).zip(spent);
        let windows = windows.map(|((policy, &bounds), &spent)| {
            let mut window = WindowState::at_most(policy, bounds, spent, at);
            window.roll(bounds, now);
            Split::new(window, own, now)
        });
        self.first = Some(Start { windows: windows.collect(), remembered: true });
    }

    /// Whose turn it is to ask the ledger at `now`. Whoever's it is has to call [`Self::asked`] in the end.
    pub fn turn(&mut self, now: i64, ledger_away_until: i64) -> Turn {
        if self.asking {
            return if self.knows() { Turn::Nobody } else { Turn::Wait };
        }
        if now < ledger_away_until || now.saturating_sub(self.asked_at) < FRESH {
            return Turn::Nobody;
        }
        self.asking = true;
        Turn::Ask
    }

    /// It was asked.
    pub const fn asked(&mut self) {
        self.asking = false;
    }

    /// What the ledger says; with what the authority was told beyond that, and what it was not told.
    pub fn learn(&mut self, ledger: &SeedStatement, told: &[Item], own: &[Item], now: i64) {
        let (terms, seed) = (&ledger.terms, &ledger.seed);
        if terms.policy != self.policy {
            return;
        }
        let window = |(policy, &bounds): (&WindowPolicy, &_)| {
            let said = seed.windows.iter().find(|window| window.window == policy.window)?;
            let mut window = WindowState::seeded(policy, bounds, said, seed.first_charge_start, now);
            told.iter().for_each(|item| window.add(item, now));
            Some(Split::new(window, own, now))
        };
        let windows = terms.policy.windows.iter().zip(&terms.bounds);
        let Some(windows) = windows.map(window).collect::<Option<Vec<_>>>() else { return };
        self.asked_at = now;
        if self.first.as_ref().is_some_and(|first| !first.remembered) {
            self.latest = Some(windows);
        } else {
            self.first = Some(Start { windows, remembered: false });
        }
    }

    /// This node has charged something.
    pub fn charge(&mut self, item: &Item, now: i64) {
        let first = self.first.iter_mut().flat_map(|first| &mut first.windows);
        for split in first.chain(self.latest.iter_mut().flatten()) {
            split.both().into_iter().for_each(|window| window.add(item, now));
        }
    }

    /// What is left to this node in each window; none when nothing is known.
    pub fn rooms(&mut self, terms: &Terms, held: Usd, reserved: Usd, nodes: i64, now: i64) -> Option<Vec<Room>> {
        let Self { first, latest, .. } = self;
        let first = first.as_mut()?;
        let windows = terms.policy.windows.iter().zip(&terms.bounds).zip(&mut first.windows).enumerate();
        let rooms = windows.map(|(at, ((policy, &bounds), split))| {
            split.both().into_iter().for_each(|window| window.roll(bounds, now));
            let cap = policy.cap_at(now);
            let free = split.free_of_own(cap);
            let still = first.remembered && split.all.counted().start == split.began;
            let kept = if still { held.min(free).max(Usd::ZERO) } else { Usd::ZERO };
            let mut most = free.min(kept + Usd::from_nanos((free - kept).nanos() / nodes.max(1)));
            let mut shown = &*split;
            if let Some(latest) = latest.as_mut().and_then(|latest| latest.get_mut(at)) {
                latest.both().into_iter().for_each(|window| window.roll(bounds, now));
                most = most.min(latest.free_of_own(cap));
                shown = latest;
            }
            let room = most - split.own.spent - reserved;
            let not_ours = cap - shown.all.spent - room;
            Room { room, report: shown.all.report(cap, not_ours, reserved) }
        });
        Some(rooms.collect())
    }
}

/// Whatever becomes of the question, others may ask, and those who wait go on.
struct Asking<'a>(&'a Entry);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.lease.lock().asked_ledger();
        self.0.landed.notify_waiters();
    }
}

impl Budgets {
    /// So many nodes live: one that is left alone uses its part of what is free.
    pub fn set_nodes(&self, nodes: usize) {
        self.solitude.nodes.store(nodes.max(1), Ordering::Relaxed);
    }

    pub(super) fn nodes(&self) -> i64 {
        i64::try_from(self.solitude.nodes.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
    }

    /// Finds out from the ledger what is spent of a budget whose authority is away, unless that is known.
    pub(super) async fn learn(&self, entry: &Arc<Entry>, now: i64) {
        let mut told = pin!(entry.landed.notified());
        told.as_mut().enable();
        let ledger_away_until = self.solitude.ledger_away_until.load(Ordering::Relaxed);
        let turn = entry.lease.lock().turn_to_ask_ledger(&self.settings.load().zone, now, ledger_away_until);
        match turn {
            Turn::Nobody => {}
            Turn::Wait => {
                // Either way it was long enough.
                let _ = tokio::time::timeout(PATIENCE, told).await;
            }
            Turn::Ask => {
                let _asking = Asking(entry);
                match tokio::time::timeout(PATIENCE, Box::pin(self.ask_ledger(entry))).await {
                    Ok(Ok(ledger)) => {
                        entry.lease.lock().learn_from_ledger(&ledger, self.inc, now.max((self.clock)()));
                    }
                    Ok(Err(error)) => self.ledger_is_away(entry, &error, now),
                    Err(late) => self.ledger_is_away(entry, &late, now),
                }
            }
        }
    }

    fn ledger_is_away(&self, entry: &Entry, error: &dyn std::error::Error, now: i64) {
        self.solitude.ledger_away_until.fetch_max(now.saturating_add(LEDGER_AWAY), Ordering::Relaxed);
        tracing::warn!(budget = ?entry.id, %error, "neither the authority nor the ledger can be asked about a budget");
    }
}
