//! The circuits of one provider: its own, and those of models about which it has said something.

mod message;
mod shared;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub use shared::CircuitSharing;

use super::circuit::{Change, Circuit, Mode, Outcome, Ticket};
use super::failure::{Blame, Scope};
use crate::config::Circuit as Settings;

/// Models of one provider with a circuit of their own. Clients name models: there shall not be any number of them.
const MODELS: usize = 256;

/// See the module.
#[derive(Debug)]
pub struct Circuits {
    /// Whether any of them is not closed: nothing else is looked at on the way of a request to a sound provider.
    disturbed: AtomicBool,
    /// Whether there is something that other nodes have not been told, and who is woken to tell it.
    has_news: AtomicBool,
    news: Arc<Notify>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    whole: Circuit,
    models: BTreeMap<Arc<str>, Circuit>,
    /// When all were last closed by hand: what was before that is of no consequence any more.
    reset_at: i64,
    /// Whether the others are to be told of that.
    tells_reset: bool,
    last_probe: Option<Probe>,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Unix milliseconds.
    pub at: i64,
    /// `ok`, or why it failed.
    pub result: &'static str,
    /// The provider's status, if it answered.
    pub status: Option<u16>,
}

/// Which circuit keeps a request out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shut {
    /// The provider's, or that of the model.
    pub scope: Scope,
    /// Until when; none: until a trial has ended, or somebody closes it.
    pub until: Option<i64>,
}

/// A circuit, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitView {
    /// What it does now.
    pub mode: Mode,
    /// Until when it is open.
    pub until: Option<i64>,
    /// Good ends within the window.
    pub good: u32,
    /// Bad ones.
    pub bad: u32,
    /// The latest changes, newest first.
    pub history: Vec<Change>,
}

/// All circuits of a provider, as people see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitsView {
    /// The provider's.
    pub whole: CircuitView,
    /// Those of models.
    pub models: Vec<(Arc<str>, CircuitView)>,
    /// The latest probe.
    pub last_probe: Option<Probe>,
}

impl Circuits {
    /// Closed ones. `news` is told when there is something to tell.
    #[must_use]
    pub fn new(settings: Settings, news: &Arc<Notify>) -> Arc<Self> {
        let (whole, models) = (Circuit::default(), BTreeMap::new());
        let inner = Inner { settings, whole, models, reset_at: i64::MIN, tells_reset: false, last_probe: None };
        Arc::new(Self {
            disturbed: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            news: Arc::clone(news),
            inner: Mutex::new(inner),
        })
    }

    /// The configuration has changed; what is open stays open.
    pub fn configure(&self, settings: &Settings) {
        self.inner.lock().settings.clone_from(settings);
    }

    /// What keeps a request for this model out.
    #[must_use]
    pub fn shut(&self, model: &str, now: i64) -> Option<Shut> {
        if !self.disturbed.load(Ordering::Acquire) {
            return None;
        }
        let inner = self.inner.lock();
        let shut = |scope, circuit: &Circuit| {
            (!circuit.admits(&inner.settings, now)).then(|| Shut { scope, until: circuit.opens_until(now) })
        };
        shut(Scope::Provider, &inner.whole).or_else(|| shut(Scope::Model, inner.models.get(model)?))
    }

    /// Lets a request for this model through, or says what keeps it out.
    ///
    /// # Errors
    /// A circuit is open, or half open and full.
    pub fn enter(self: &Arc<Self>, model: &Arc<str>, now: i64) -> Result<Pass, Shut> {
        if let Some(shut) = self.shut(model, now) {
            return Err(shut);
        }
        self.change(|inner| {
            let Inner { settings, whole, models, .. } = inner;
            let of_model = models.get_mut(model);
            // Both or neither: a place in one is not taken for a request that the other keeps out.
            if let Some(of_model) = of_model.as_ref().filter(|circuit| !circuit.admits(settings, now)) {
                return Err(Shut { scope: Scope::Model, until: of_model.opens_until(now) });
            }
            let until = whole.opens_until(now);
            let whole = whole.enter(settings, now).ok_or(Shut { scope: Scope::Provider, until })?;
            let of_model = of_model.and_then(|circuit| circuit.enter(settings, now));
            let (circuits, model) = (Arc::clone(self), Arc::clone(model));
            Ok(Pass { circuits, model, tickets: Some((whole, of_model)), entered_at: now })
        })
    }

    /// Closes all, by hand.
    pub fn reset(&self, now: i64) {
        self.change(|inner| inner.reset(now, |_| true));
    }

    /// Opens the provider's, by hand; `until` none: until it is reset.
    pub fn open_by_hand(&self, until: Option<i64>, now: i64) {
        self.change(|inner| inner.whole.open_by_hand(until, now));
    }

    /// How they are.
    #[must_use]
    pub fn view(&self, now: i64) -> CircuitsView {
        let mut inner = self.inner.lock();
        let Inner { settings, whole, models, last_probe, .. } = &mut *inner;
        let models = models.iter_mut().map(|(model, circuit)| (Arc::clone(model), view(circuit, settings, now)));
        CircuitsView { models: models.collect(), whole: view(whole, settings, now), last_probe: *last_probe }
    }

    fn change<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        let done = work(&mut inner);
        let disturbed = !inner.whole.is_closed() || inner.models.values().any(|circuit| !circuit.is_closed());
        self.disturbed.store(disturbed, Ordering::Release);
        let has_news = inner.has_news();
        drop(inner);
        if has_news && !self.has_news.swap(true, Ordering::AcqRel) {
            self.news.notify_one();
        }
        done
    }

    fn leave(&self, model: &Arc<str>, (whole, of_model): (Ticket, Option<Ticket>), end: End, now: i64) {
        self.change(|inner| {
            let Inner { settings, whole: provider, models, .. } = inner;
            let (of_provider, about_model) = match end {
                End::Good => (Outcome::Good, Outcome::Good),
                End::Nothing => (Outcome::Nothing, Outcome::Nothing),
                End::Bad(Blame { scope: Scope::Provider, effect }, reason) => {
                    (Outcome::Bad(effect, reason), Outcome::Nothing)
                }
                End::Bad(Blame { scope: Scope::Model, effect }, reason) => {
                    (Outcome::Nothing, Outcome::Bad(effect, reason))
                }
            };
            provider.leave(whole, of_provider, settings, now);
            if matches!(about_model, Outcome::Bad(..)) {
                make_room(models, model, settings, now);
            }
            if let Some(circuit) = models.get_mut(model) {
                // Whoever entered when there was none counts as long as it is closed.
                let late = |circuit: &mut Circuit| circuit.is_closed().then(|| circuit.enter(settings, now)).flatten();
                let ticket = of_model.or_else(|| late(circuit)).unwrap_or_else(Ticket::stale);
                circuit.leave(ticket, about_model, settings, now);
            }
        });
    }
}

/// The model has a circuit of its own from now on, if there are not too many.
fn make_room(models: &mut BTreeMap<Arc<str>, Circuit>, model: &Arc<str>, settings: &Settings, now: i64) {
    if models.contains_key(model) {
        return;
    }
    if models.len() >= MODELS {
        models.retain(|_, circuit| !circuit.is_blank(settings, now));
    }
    if models.len() < MODELS {
        models.insert(Arc::clone(model), Circuit::default());
    }
}

#[derive(Clone, Copy)]
enum End {
    Good,
    Bad(Blame, &'static str),
    Nothing,
}

/// That a request was let through. Dropped, it says nothing about the provider.
#[derive(Debug)]
pub struct Pass {
    circuits: Arc<Circuits>,
    model: Arc<str>,
    tickets: Option<(Ticket, Option<Ticket>)>,
    entered_at: i64,
}

impl Pass {
    /// Whether it is a trial of which nothing has been heard.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        let of = |ticket: &Option<Ticket>| ticket.as_ref().is_some_and(Ticket::is_trial);
        self.tickets.as_ref().is_some_and(|(whole, of_model)| whole.is_trial() || of(of_model))
    }

    /// The answer has begun.
    pub fn answered(&mut self, now: i64) {
        if !self.is_trial() {
            return;
        }
        let Some((whole, of_model)) = &mut self.tickets else { return };
        let model = &self.model;
        self.circuits.change(|inner| {
            inner.whole.answered(whole, &inner.settings, now);
            if let (Some(ticket), Some(circuit)) = (of_model, inner.models.get_mut(model)) {
                circuit.answered(ticket, &inner.settings, now);
            }
        });
    }

    /// The provider served it.
    pub fn good(mut self, now: i64) {
        self.end(End::Good, now);
    }

    /// It did not.
    pub fn bad(mut self, blame: Blame, reason: &'static str, now: i64) {
        self.end(End::Bad(blame, reason), now);
    }

    fn end(&mut self, end: End, now: i64) {
        if let Some(tickets) = self.tickets.take() {
            self.circuits.leave(&self.model, tickets, end, now);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.end(End::Nothing, self.entered_at);
    }
}

fn view(circuit: &mut Circuit, settings: &Settings, now: i64) -> CircuitView {
    let (good, bad) = circuit.counts(settings, now);
    let history = circuit.history().iter().rev().copied().collect();
    CircuitView { mode: circuit.mode(now), until: circuit.opens_until(now), good, bad, history }
}
