//! What a circuit does with what other nodes say of it, and with what a probe finds.
//!
//! What was told is not told on. A node that is told waits a little longer than the one that found out, which so is the
//! first to make trials; and while another makes them it waits for what they show. That keeps the trials of all nodes to those
//! of one, as far as that can be had without asking before each: nodes that begin within the time that a message takes make
//! theirs at once, and so do others when those of the first have shown nothing for long.

use std::time::Duration;

use super::super::failure::LONGEST;
use super::{AHEAD, Change, Circuit, Mode, News, Settings, State, Told, Window, Word, after};

/// The longest that the trials of another node are waited for.
const TRIALS: Duration = Duration::from_secs(10);

impl Circuit {
    /// What is known of it.
    #[must_use]
    pub const fn word(&self) -> &Word {
        &self.word
    }

    /// Whether there is something that the others have not been told.
    #[must_use]
    pub const fn has_news(&self) -> bool {
        self.news.word || self.news.trying.is_some()
    }

    /// The others are to be told what is known of it.
    pub fn tell(&mut self) {
        self.news.word = true;
    }

    /// What the others are to be told, once: what is known of it, and since when this node makes trials.
    pub fn take_news(&mut self) -> (Option<Word>, Option<i64>) {
        let News { word, trying } = std::mem::take(&mut self.news);
        (word.then_some(self.word), trying)
    }

    /// Another node has said this. `behind`: how much later than that one this one makes its trials, milliseconds.
    pub fn hear(&mut self, word: Word, settings: &Settings, now: i64, behind: i64) {
        if word.at > now.saturating_add(AHEAD) {
            return;
        }
        let word = word.cut(after(0, settings.open.max(LONGEST)));
        let was_by_hand = self.word.is_by_hand() && self.word.is_in_force(now);
        let by_hand = word.is_by_hand();
        // What was opened by hand ends by hand, or with its time.
        let holds = match word.state {
            Told::Open { .. } if by_hand && !was_by_hand && word.is_in_force(now) => true,
            _ => word.is_after(&self.word) && (by_hand || !was_by_hand),
        };
        match word.state {
            Told::Closed if holds => self.heard_closed(word, now),
            // That it is over is news where it takes the place of what is not.
            Told::Open { until, .. } if holds && (word.is_in_force(now) || by_hand && self.state != State::Closed) => {
                let behind = if by_hand { 0 } else { behind };
                self.heard_open(word, until.map(|until| until.saturating_add(behind)), now);
            }
            Told::Closed | Told::Open { .. } => {}
        }
    }

    fn heard_closed(&mut self, word: Word, now: i64) {
        (self.word, self.news) = (word, News::default());
        if self.state != State::Closed {
            self.state = State::Closed;
            self.window = Window::default();
            self.remember(Change { at: now, to: Mode::Closed, reason: word.reason, until: None, told: true });
        }
    }

    fn heard_open(&mut self, word: Word, until: Option<i64>, now: i64) {
        let before = std::mem::replace(&mut self.word, word);
        self.news = News::default();
        if self.state == (State::Open { until }) {
            return;
        }
        match (&mut self.state, until) {
            (State::Open { until: Some(was) }, Some(until)) if now < *was && !word.is_by_hand() => {
                *was = until.max(*was);
                // It may be that this node knows better.
                if let (Told::Open { until: Some(longer), firm }, true) = (before.state, before.is_in_force(now)) {
                    self.put_off(longer, firm, now);
                }
            }
            _ => {
                self.state = State::Open { until };
                self.era += 1;
                self.window = Window::default();
                self.is_by_probe = false;
                self.remember(Change { at: now, to: Mode::Open, reason: word.reason, until, told: true });
            }
        }
    }

    /// Another node makes trials since then: they may spare this one its own.
    pub fn hear_trying(&mut self, at: i64, settings: &Settings, now: i64) {
        let is_of_now = (self.word.at..=now.saturating_add(AHEAD)).contains(&at);
        if let (State::Open { until: Some(until) }, true) = (&mut self.state, is_of_now) {
            self.held = after(now, settings.open.min(TRIALS));
            *until = self.held.max(*until);
        }
    }

    /// Whether a probe could end its being open.
    #[must_use]
    pub fn is_probed(&self, now: i64) -> bool {
        self.mode(now) == Mode::Open && matches!(self.word.state, Told::Open { until: Some(_), firm: false })
    }

    /// A probe has succeeded: trials may be made now, unless another node makes them.
    pub fn probed(&mut self, now: i64) {
        if !self.is_probed(now) {
            return;
        }
        if let State::Open { until: Some(until) } = &mut self.state {
            *until = self.held.max(now).min(*until);
            self.is_by_probe = true;
        }
    }
}
