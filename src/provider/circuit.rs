//! When a provider, or a model of it, is left alone for a while.
//!
//! Closed, it lets everybody through and counts. Enough failures in the window that are also a large enough share of
//! what was tried open it, and so does a failure that says so itself; open, it lets nobody through. When its time is
//! over it is half open: a few trials go through, and when as many have succeeded it closes; one that fails opens it
//! again. What began before it opened says nothing about what came after.
//!
//! A state machine without a clock and without locks: time is Unix milliseconds, passed in.

#[cfg(test)]
mod tests;
mod told;
mod word;

use std::collections::VecDeque;

pub(super) use word::AHEAD;
pub use word::{Told, Word};

use super::failure::Effect;
use super::window::Window;
use crate::config::Circuit as Settings;

/// Changes that are remembered.
pub(super) const REMEMBERED: usize = 20;

/// Why it was changed by hand.
pub(super) const BY_HAND: &str = "by_hand";
/// Why it is half open, and why it closed again.
const TIME_IS_OVER: &str = "time_is_over";
const PROBE_SUCCEEDED: &str = "probe_succeeded";
pub(super) const TRIALS_SUCCEEDED: &str = "trials_succeeded";

/// See the module.
#[derive(Debug, Default)]
pub struct Circuit {
    state: State,
    window: Window,
    /// Counts openings and resets: a result counts only if it belongs to the present one.
    era: u64,
    history: VecDeque<Change>,
    /// What is known of it, as nodes tell each other.
    word: Word,
    /// What the others have not been told.
    news: News,
    /// A trial runs on another node until then.
    held: i64,
    /// A probe ended its being open, before its time was over.
    is_by_probe: bool,
}

/// What the others have not been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    word: bool,
    /// Since when this node makes trials.
    trying: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        /// None: until somebody closes it.
        until: Option<i64>,
    },
    HalfOpen {
        /// Trials of which nothing has been heard.
        trying: u32,
        succeeded: u32,
    },
}

/// What it does with the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Lets it through.
    Closed,
    /// Keeps it out.
    Open,
    /// Lets a few through.
    HalfOpen,
}

impl Mode {
    /// The name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Unix milliseconds.
    pub at: i64,
    /// To what.
    pub to: Mode,
    /// Why: the reason of the failure that opened it, or one of this module's.
    pub reason: &'static str,
    /// Until when, if it opened for a time. Later failures may have put it off.
    pub until: Option<i64>,
    /// Another node has said so.
    pub told: bool,
}

/// That a request was let through. Not to be copied: each ends once.
#[derive(Debug)]
pub struct Ticket {
    era: u64,
    /// It is a trial of which nothing has been heard.
    trial: bool,
}

impl Ticket {
    /// One that belongs to no era.
    #[must_use]
    pub const fn stale() -> Self {
        Self { era: u64::MAX, trial: false }
    }

    /// Whether it is a trial of which nothing has been heard.
    #[must_use]
    pub const fn is_trial(&self) -> bool {
        self.trial
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider served it.
    Good,
    /// It did not, for this reason.
    Bad(Effect, &'static str),
    /// Nothing that says anything about the provider: the client left, or was at fault.
    Nothing,
}

impl Circuit {
    /// What it does at `now`.
    #[must_use]
    pub fn mode(&self, now: i64) -> Mode {
        match self.state {
            State::Closed => Mode::Closed,
            State::Open { until } if until.is_none_or(|until| now < until) => Mode::Open,
            State::Open { .. } | State::HalfOpen { .. } => Mode::HalfOpen,
        }
    }

    /// Whether it lets everybody through.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether a request would be let through.
    #[must_use]
    pub fn admits(&self, settings: &Settings, now: i64) -> bool {
        match (self.mode(now), self.state) {
            (Mode::Open, _) => false,
            (_, State::HalfOpen { trying, succeeded }) => trying + succeeded < settings.half_open,
            _ => true,
        }
    }

    /// Until when nobody is let through; none: it is not open, or nobody knows.
    #[must_use]
    pub fn opens_until(&self, now: i64) -> Option<i64> {
        match self.state {
            State::Open { until } => until.filter(|until| now < *until),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// Whether it keeps nobody out, and nothing counts.
    #[must_use]
    pub fn is_blank(&mut self, settings: &Settings, now: i64) -> bool {
        let is_over = match self.state {
            State::Closed => true,
            // And nobody has come back since.
            State::Open { until } => until.is_some_and(|until| until <= now),
            State::HalfOpen { .. } => false,
        };
        is_over && self.window.sums(settings.window, now) == (0, 0)
    }

    /// Good and bad ends within the window.
    #[must_use]
    pub fn counts(&mut self, settings: &Settings, now: i64) -> (u32, u32) {
        self.window.sums(settings.window, now)
    }

    /// The latest changes, oldest first.
    #[must_use]
    pub fn history(&self) -> &VecDeque<Change> {
        &self.history
    }

    /// Lets a request through, or not.
    pub fn enter(&mut self, settings: &Settings, now: i64) -> Option<Ticket> {
        if !self.admits(settings, now) {
            return None;
        }
        if let State::Open { .. } = self.state {
            self.state = State::HalfOpen { trying: 0, succeeded: 0 };
            self.news.trying = Some(now.max(self.word.at));
            let why = if self.is_by_probe { PROBE_SUCCEEDED } else { TIME_IS_OVER };
            self.note(now, Mode::HalfOpen, why, None);
        }
        let trial = match &mut self.state {
            State::HalfOpen { trying, .. } => {
                *trying += 1;
                true
            }
            State::Closed | State::Open { .. } => false,
        };
        Some(Ticket { era: self.era, trial })
    }

    /// The request gets what it asked for. A long answer need not end for a trial to have succeeded.
    pub fn answered(&mut self, ticket: &mut Ticket, settings: &Settings, now: i64) {
        if !std::mem::take(&mut ticket.trial) || ticket.era != self.era {
            return;
        }
        if let State::HalfOpen { trying, succeeded } = &mut self.state {
            *trying = trying.saturating_sub(1);
            *succeeded += 1;
            if *succeeded >= settings.half_open {
                self.state = State::Closed;
                self.window = Window::default();
                self.says(Told::Closed, TRIALS_SUCCEEDED, now);
                self.note(now, Mode::Closed, TRIALS_SUCCEEDED, None);
            }
        }
    }

    /// The request is over.
    pub fn leave(&mut self, mut ticket: Ticket, outcome: Outcome, settings: &Settings, now: i64) {
        if outcome == Outcome::Good {
            self.answered(&mut ticket, settings, now);
        }
        let is_present = ticket.era == self.era;
        if let (true, true, State::HalfOpen { trying, .. }) = (is_present, ticket.trial, &mut self.state) {
            *trying = trying.saturating_sub(1);
        }
        match outcome {
            Outcome::Nothing => {}
            Outcome::Good => {
                if is_present && self.state == State::Closed {
                    self.window.add(settings.window, now, true);
                }
            }
            // Whoever says when to come back means it, whenever he was asked.
            Outcome::Bad(Effect::Opens(wait), reason) => {
                self.open(after(now, wait.unwrap_or(settings.open)), true, reason, now);
            }
            Outcome::Bad(Effect::Counts, reason) if is_present => match self.state {
                // A probe that was wrong a moment ago is not asked again.
                State::HalfOpen { .. } => self.open(after(now, settings.open), self.is_by_probe, reason, now),
                State::Closed => {
                    self.window.add(settings.window, now, false);
                    if self.is_too_bad(settings, now) {
                        self.open(after(now, settings.open), false, reason, now);
                    }
                }
                State::Open { .. } => {}
            },
            Outcome::Bad(Effect::Counts, _) => {}
        }
    }

    /// Opens it by hand; `until` none: until it is reset.
    pub fn open_by_hand(&mut self, until: Option<i64>, now: i64) {
        // It is heard of twice where it was asked for: there, and from the nodes that were told.
        let is_done = self.history.back().is_some_and(|last| last.reason == BY_HAND && last.to == Mode::Open);
        if is_done && self.state == (State::Open { until }) {
            return;
        }
        self.state = State::Open { until };
        self.era += 1;
        self.says(Told::Open { until, firm: true }, BY_HAND, now);
        self.news = News::default();
        self.note(now, Mode::Open, BY_HAND, until);
    }

    /// Closes it by hand, and forgets what was counted.
    pub fn reset(&mut self, now: i64) {
        self.era += 1;
        self.window = Window::default();
        self.says(Told::Closed, BY_HAND, now);
        self.news = News::default();
        if self.state != State::Closed {
            self.state = State::Closed;
            self.note(now, Mode::Closed, BY_HAND, None);
        }
    }

    fn is_too_bad(&mut self, settings: &Settings, now: i64) -> bool {
        let (good, bad) = self.window.sums(settings.window, now);
        let all = u64::from(good) + u64::from(bad);
        bad >= settings.failures && u64::from(bad) * 1_000_000 >= all * u64::from(settings.ratio.ppm())
    }

    /// Opens it, or puts off the end of its being open; never sooner, and never what was done by hand. `firm`: only time
    /// ends it, no probe.
    fn open(&mut self, until: i64, firm: bool, reason: &'static str, now: i64) {
        match &mut self.state {
            State::Open { until: None } => return,
            // It was over and nobody has come since: that is a new one.
            State::Open { until: Some(was) } if now < *was => {
                *was = until.max(*was);
                self.put_off(until, firm, now);
                return;
            }
            _ => {}
        }
        self.state = State::Open { until: Some(until) };
        self.era += 1;
        self.window = Window::default();
        self.is_by_probe = false;
        self.says(Told::Open { until: Some(until), firm }, reason, now);
        self.note(now, Mode::Open, reason, Some(until));
    }

    /// What is known of it is that it is open for longer, or more firmly.
    fn put_off(&mut self, longer: i64, firmly: bool, now: i64) {
        if let Told::Open { until: Some(until), firm } = self.word.state {
            let state = Told::Open { until: Some(until.max(longer)), firm: firm || firmly };
            if state != self.word.state {
                self.says(state, self.word.reason, now);
            }
        }
    }

    /// That is so from now on, and the others do not know.
    fn says(&mut self, state: Told, reason: &'static str, now: i64) {
        // Whatever clocks say, it comes after what it puts an end to.
        let at = now.max(self.word.at.saturating_add(1));
        self.word = Word { at, state, reason };
        self.news = News { word: true, trying: None };
    }

    fn note(&mut self, at: i64, to: Mode, reason: &'static str, until: Option<i64>) {
        self.remember(Change { at, to, reason, until, told: false });
    }

    fn remember(&mut self, change: Change) {
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back(change);
    }
}

fn after(now: i64, wait: std::time::Duration) -> i64 {
    now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}
