//! What was spent in one window, as time goes on.

use std::collections::VecDeque;

use super::super::protocol::{Bounds, Counted, Item, WindowQuery, WindowReport, WindowSeed};
use super::bytes::{Reader, Writer};
use super::{AHEAD, EXACT};
use crate::limit::{Mode, Window, WindowPolicy};
use crate::money::Usd;

pub const MINUTE: i64 = 60_000;
pub const SECOND: i64 = 1_000;
pub const FIVE_HOURS: i64 = 5 * 60 * MINUTE;
const DAY: i64 = 24 * 60 * MINUTE;

/// A start that is still to come.
const NOT_BEGUN: i64 = i64::MAX;

/// What was spent in one window.
#[derive(Clone, Debug)]
pub struct WindowState {
    pub window: Window,
    mode: Mode,
    since_era: i64,
    /// False until the ledger was asked.
    pub known: bool,
    start: i64,
    /// Of a fixed five hours that have not begun: when the previous ones ended.
    end: i64,
    /// Of a fixed five hours: it cannot have begun before, because there the previous ones ended.
    after: i64,
    pub spent: Usd,
    /// Rolling windows: start and sum of each slot that is not empty, the oldest first.
    #[allow(clippy::box_collection, reason = "most windows have none, and a million of them may rest in memory")]
    slots: Option<Box<VecDeque<(i64, Usd)>>>,
}

/// How long a rolling window is, and how long its slots.
const fn rolling(window: Window) -> (i64, i64) {
    match window {
        Window::FiveHours | Window::Total | Window::AtOnce => (FIVE_HOURS, MINUTE),
        Window::Daily => (DAY, 5 * MINUTE),
        Window::Weekly => (7 * DAY, 5 * MINUTE),
        Window::Monthly => (30 * DAY, 5 * MINUTE),
        // Clients are told that a request counts from its second until the same second of the next minute: the second
        // itself is one of the sixty.
        Window::Minute => (MINUTE - SECOND, SECOND),
    }
}

/// When a slot has left its window: when the last charge that may be in it has.
const fn leaves(window: Window, slot: i64) -> i64 {
    let (length, width) = rolling(window);
    slot + width + length
}

/// Which charges of the ledger make up a window at `now`.
#[must_use]
pub fn query(policy: &WindowPolicy, bounds: Option<Bounds>, now: i64) -> WindowQuery {
    let (from, by_minute, first_charge) = match policy.mode {
        Mode::Forever => (i64::MIN, false, false),
        Mode::Calendar { .. } => (bounds.map_or(i64::MIN, |bounds| bounds.start), false, false),
        Mode::Rolling => {
            let (length, width) = rolling(policy.window);
            (slot_at(now - length, width), true, false)
        }
        // The stored start may be missing: twice the length shows where a window that runs now can have begun.
        Mode::FromFirstCharge => (slot_at(now - 2 * FIVE_HOURS, MINUTE), true, true),
    };
    WindowQuery { window: policy.window, since_era: policy.since_era, from, by_minute, first_charge }
}

/// Where the slot of this width starts that an instant is in.
pub const fn slot_at(instant: i64, width: i64) -> i64 {
    instant.div_euclid(width) * width
}

impl WindowState {
    /// A window of which nothing is known.
    #[must_use]
    pub fn unknown(policy: &WindowPolicy, bounds: Option<Bounds>) -> Self {
        let (start, end) = match (policy.mode, bounds) {
            (Mode::Calendar { .. }, Some(bounds)) => (bounds.start, bounds.end),
            (Mode::FromFirstCharge, _) => (NOT_BEGUN, i64::MIN),
            _ => (i64::MIN, i64::MAX),
        };
        Self {
            window: policy.window,
            mode: policy.mode,
            since_era: policy.since_era,
            known: false,
            start,
            end,
            after: i64::MIN,
            spent: Usd::ZERO,
            slots: None,
        }
    }

    /// The window as the ledger knows it.
    #[must_use]
    pub fn seeded(
        policy: &WindowPolicy,
        bounds: Option<Bounds>,
        seed: &WindowSeed,
        first_charge: Option<i64>,
        now: i64,
    ) -> Self {
        let mut state = Self { known: true, ..Self::unknown(policy, bounds) };
        // Nothing is in a time that is still to come, whatever a node's clock says.
        let latest = slot_at(now + AHEAD, MINUTE);
        let minutes = seed.minutes.iter().map(|&(minute, amount)| (minute.min(latest), amount));
        match state.mode {
            Mode::Forever | Mode::Calendar { .. } => state.spent = seed.sum.min(EXACT),
            Mode::Rolling => {
                for (minute, amount) in minutes {
                    state.add_to_slot(minute, amount);
                }
            }
            Mode::FromFirstCharge => {
                if let Some(start) = first_charge.map(|start| start.min(latest)) {
                    // Those before ended right there, if they can have: the minute before may be theirs.
                    let adjoins = seed.minutes.iter().any(|&(minute, _)| minute + FIVE_HOURS == start);
                    state.after = if adjoins { start } else { i64::MIN };
                    state.begin(start);
                }
                for (minute, amount) in minutes {
                    state.add_from_first(minute, amount);
                }
            }
        }
        state.roll(bounds, now);
        state
    }

    /// The window of which no more was spent than this, and nothing after `at`.
    #[must_use]
    pub fn at_most(policy: &WindowPolicy, bounds: Option<Bounds>, spent: Usd, at: i64) -> Self {
        let mut state = Self { known: true, ..Self::unknown(policy, bounds) };
        match state.mode {
            Mode::Forever | Mode::Calendar { .. } => state.spent = spent,
            Mode::Rolling => state.add_to_slot(at, spent),
            Mode::FromFirstCharge => state.add_from_first(slot_at(at, MINUTE), spent),
        }
        state
    }

    /// The same window without what was charged in it.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { spent: Usd::ZERO, slots: None, ..self.clone() }
    }

    /// The same window under later caps; none when it starts anew in another way, so that its sum is not known.
    #[must_use]
    pub fn under(&self, policy: &WindowPolicy) -> Option<Self> {
        self.is_of(policy).then(|| Self { since_era: policy.since_era, ..self.clone() })
    }

    /// Whether it is this policy's window, and starts anew as it says.
    #[must_use]
    pub fn is_of(&self, policy: &WindowPolicy) -> bool {
        self.window == policy.window && self.mode == policy.mode
    }

    /// All that is not in its policy; none when it is not known.
    pub fn pack(&self, to: &mut Writer) -> Option<()> {
        if !self.known {
            return None;
        }
        // Five hours that have begun end five hours later.
        let end = if self.first_charge().is_some() { self.after } else { self.end };
        to.put_all([self.start, end.wrapping_sub(self.start)]);
        if self.mode != Mode::Rolling {
            to.put(self.spent.nanos());
            return Some(());
        }
        let (_, width) = rolling(self.window);
        to.put_len(self.slots().count());
        let mut last = 0;
        for (slot, amount) in self.slots() {
            to.put_all([slot / width - last, amount.nanos()]);
            last = slot / width;
        }
        Some(())
    }

    /// The window that was packed so.
    #[must_use]
    pub fn unpacked(policy: &WindowPolicy, from: &mut Reader<'_>) -> Self {
        let mut state = Self { known: true, ..Self::unknown(policy, None) };
        state.start = from.number();
        state.end = state.start.wrapping_add(from.number());
        if state.mode != Mode::Rolling {
            if state.first_charge().is_some() {
                state.after = state.end;
                state.begin(state.start);
            }
            state.spent = from.usd();
            return state;
        }
        let (_, width) = rolling(state.window);
        let mut slot = 0;
        let slots = from.list(|from| {
            slot += from.number() * width;
            (slot, from.usd())
        });
        state.spent = slots.iter().map(|(_, amount)| *amount).sum();
        state.slots = (!slots.is_empty()).then(|| Box::new(slots.into()));
        state
    }

    /// Lets go of what is over at `now`.
    pub fn roll(&mut self, bounds: Option<Bounds>, now: i64) {
        match self.mode {
            Mode::Forever => {}
            Mode::Calendar { .. } => {
                let Some(bounds) = bounds else { return };
                while now >= self.end {
                    let next = if bounds.start >= self.end {
                        (bounds.start, bounds.end)
                    } else if bounds.end >= self.end {
                        (bounds.end, bounds.next_end)
                    } else {
                        return;
                    };
                    if next.1 <= self.end {
                        return;
                    }
                    (self.start, self.end) = next;
                    self.spent = Usd::ZERO;
                }
            }
            Mode::Rolling => {
                let Some(slots) = &mut self.slots else { return };
                while let Some(&(slot, amount)) = slots.front()
                    && leaves(self.window, slot) <= now
                {
                    self.spent = (self.spent - amount).max(-EXACT);
                    slots.pop_front();
                }
                if slots.is_empty() {
                    self.slots = None;
                }
            }
            Mode::FromFirstCharge => {
                if self.begun() && now >= self.end {
                    self.start = NOT_BEGUN;
                    self.spent = Usd::ZERO;
                }
            }
        }
    }

    /// Adds what was charged, if it belongs to this window.
    pub fn add(&mut self, item: &Item, now: i64) {
        if item.era < self.since_era {
            return;
        }
        match self.mode {
            Mode::Forever => self.spend(item.amount),
            Mode::Calendar { .. } => {
                if item.minute >= self.start {
                    self.spend(item.amount);
                }
            }
            Mode::Rolling => {
                if leaves(self.window, self.slot_of(item.minute)) > now {
                    self.add_to_slot(item.minute, item.amount);
                }
            }
            Mode::FromFirstCharge => {
                self.add_from_first(item.minute, item.amount);
                self.roll(None, now);
            }
        }
    }

    /// When the fixed five hours that run now began.
    #[must_use]
    pub fn first_charge(&self) -> Option<i64> {
        (self.mode == Mode::FromFirstCharge && self.begun()).then_some(self.start)
    }

    /// For comparison with the ledger.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let leaving = self.slots().map(|(slot, amount)| (leaves(self.window, slot), amount)).collect();
        Counted { window: self.window, start: self.start, spent: self.spent, leaving }
    }

    /// When time alone next changes what is spent in it.
    #[must_use]
    pub fn steady_until(&self) -> i64 {
        match self.mode {
            Mode::Rolling => self.slots().next().map_or(i64::MAX, |(slot, _)| leaves(self.window, slot)),
            Mode::FromFirstCharge if !self.begun() => i64::MAX,
            _ => self.end,
        }
    }

    /// Whether another life of this window, sent by a node with the calendar, has already ended.
    #[must_use]
    pub fn is_over(policy: &WindowPolicy, bounds: Option<Bounds>, now: i64) -> bool {
        matches!(policy.mode, Mode::Calendar { .. }) && bounds.is_none_or(|bounds| bounds.end <= now)
    }

    /// What to tell about it.
    #[must_use]
    pub fn report(&self, cap: Usd, held: Usd, reserved: Usd) -> WindowReport {
        let fixed = match self.mode {
            Mode::Calendar { .. } => true,
            Mode::FromFirstCharge => self.begun(),
            Mode::Forever | Mode::Rolling => false,
        };
        let mut gone = Usd::ZERO;
        let leaving = self.slots().map(|(slot, amount)| {
            gone = (gone + amount).min(EXACT);
            (leaves(self.window, slot), gone)
        });
        WindowReport {
            window: self.window,
            cap,
            spent: self.spent,
            held,
            reserved,
            starts: fixed.then_some(self.start),
            ends: fixed.then_some(self.end),
            leaving: leaving.collect(),
        }
    }

    fn slots(&self) -> impl Iterator<Item = (i64, Usd)> + '_ {
        self.slots.iter().flat_map(|slots| slots.iter().copied())
    }

    const fn begun(&self) -> bool {
        self.start != NOT_BEGUN
    }

    fn begin(&mut self, start: i64) {
        self.start = start;
        self.end = start.saturating_add(FIVE_HOURS);
        self.spent = Usd::ZERO;
    }

    fn slot_of(&self, minute: i64) -> i64 {
        let (_, width) = rolling(self.window);
        slot_at(minute, width)
    }

    fn add_to_slot(&mut self, minute: i64, amount: Usd) {
        let slot = self.slot_of(minute);
        let slots = self.slots.get_or_insert_default();
        let after = slots.partition_point(|&(start, _)| start < slot);
        match slots.get_mut(after) {
            Some((start, sum)) if *start == slot => *sum = (*sum + amount).min(EXACT),
            _ => slots.insert(after, (slot, amount)),
        }
        self.spend(amount);
    }

    fn spend(&mut self, amount: Usd) {
        self.spent = (self.spent + amount).clamp(-EXACT, EXACT);
    }

    /// A charge before the window belongs to an earlier one; nodes whose first charges cross on their way may be a
    /// minute apart.
    fn add_from_first(&mut self, minute: i64, amount: Usd) {
        if amount <= Usd::ZERO && !self.begun() {
            return;
        }
        if !self.begun() || minute >= self.end {
            if minute < self.end {
                return;
            }
            self.after = self.end;
            self.begin(minute);
        } else if minute < self.start {
            if self.start - minute > MINUTE || minute < self.after {
                return;
            }
            let spent = self.spent;
            self.begin(minute);
            self.spent = spent;
        }
        self.spend(amount);
    }
}
