//! What the circuits of a provider tell to other nodes, and do with what those tell.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::circuit::{AHEAD, Circuit, Told, Word};
use super::{Circuits, Inner, Probe, make_room};

/// Something that other nodes are to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Of the provider's circuit, or of a model's.
    Word(Option<Arc<str>>, Word),
    /// This node makes trials since then.
    Trying(Option<Arc<str>>, i64),
    /// All were closed by hand.
    Reset(i64),
}

/// What is written down of all circuits of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// When they were last closed by hand.
    pub reset_at: Option<i64>,
    /// Of the provider's circuit, and of models'.
    pub words: Vec<(Option<Arc<str>>, Word)>,
}

impl Circuits {
    /// Only what was after that counts: it is another upstream than before.
    pub fn begin_anew(&self, now: i64) {
        self.change(|inner| inner.reset_at = inner.reset_at.max(now));
    }

    /// Whether they were closed by hand just then and are closed: it may be heard of twice. One that a node has opened
    /// whose clock is ahead looks as if it had been opened since.
    #[must_use]
    pub fn was_reset(&self, at: i64) -> bool {
        self.inner.lock().reset_at == at && !self.disturbed.load(Ordering::Acquire)
    }

    /// What was done here by hand is to be told to the others.
    pub fn tell_by_hand(&self) {
        self.change(|inner| match inner.whole.word().state {
            Told::Closed => inner.tells_reset = true,
            Told::Open { .. } => inner.whole.tell(),
        });
    }

    /// Whether a probe could end the provider's being left alone.
    #[must_use]
    pub fn is_probed(&self, now: i64) -> bool {
        self.disturbed.load(Ordering::Acquire) && self.inner.lock().whole.is_probed(now)
    }

    /// A probe has ended.
    pub fn probed(&self, probe: Probe, is_good: bool) {
        self.change(|inner| {
            inner.last_probe = Some(probe);
            if is_good {
                inner.whole.probed(probe.at);
            }
        });
    }

    /// What the others are to be told, once.
    pub(super) fn take_news(&self) -> Vec<News> {
        if !self.has_news.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let mut inner = self.inner.lock();
        let mut news = Vec::new();
        if std::mem::take(&mut inner.tells_reset) {
            news.push(News::Reset(inner.reset_at));
        }
        let Inner { whole, models, .. } = &mut *inner;
        let models = models.iter_mut().map(|(model, circuit)| (Some(model), circuit));
        for (model, circuit) in std::iter::once((None, whole)).chain(models).filter(|(_, circuit)| circuit.has_news()) {
            let (word, trying) = circuit.take_news();
            news.extend(word.map(|word| News::Word(model.cloned(), word)));
            news.extend(trying.map(|at| News::Trying(model.cloned(), at)));
        }
        news
    }

    /// Another node has said this. `behind`: how much later than that one this one makes trials.
    pub(super) fn hear(&self, news: &News, now: i64, behind: i64) {
        self.change(|inner| inner.hear(news, now, behind));
    }

    /// Takes over what is written down. Returns what is missing there.
    pub(super) fn compare(&self, written: &Written, now: i64, behind: i64) -> Vec<News> {
        self.change(|inner| {
            inner.hear_all(written, now, behind);
            inner.missing(written, now)
        })
    }
}

impl Inner {
    pub(super) fn has_news(&self) -> bool {
        self.tells_reset || self.whole.has_news() || self.models.values().any(Circuit::has_news)
    }

    /// Closes those of which this is so, by hand.
    pub(super) fn reset(&mut self, now: i64, which: impl Fn(&Circuit) -> bool) {
        self.reset_at = self.reset_at.max(now);
        self.tells_reset = false;
        let all = std::iter::once(&mut self.whole).chain(self.models.values_mut());
        all.filter(|circuit| which(circuit)).for_each(|circuit| circuit.reset(now));
    }

    fn hear(&mut self, news: &News, now: i64, behind: i64) {
        match news {
            News::Reset(at) if *at > self.reset_at && *at <= now.saturating_add(AHEAD) => {
                self.reset(*at, |circuit| circuit.word().at <= *at);
            }
            News::Word(model, word) if word.at > self.reset_at => {
                if let (Some(model), true) = (model, word.is_in_force(now)) {
                    make_room(&mut self.models, model, &self.settings, now);
                }
                let Self { settings, whole, models, .. } = self;
                if let Some(circuit) = of(whole, models, model.as_ref()) {
                    circuit.hear(*word, settings, now, behind);
                }
            }
            News::Trying(model, at) => {
                let Self { settings, whole, models, .. } = self;
                if let Some(circuit) = of(whole, models, model.as_ref()) {
                    circuit.hear_trying(*at, settings, now);
                }
            }
            News::Reset(_) | News::Word(..) => {}
        }
    }

    fn hear_all(&mut self, written: &Written, now: i64, behind: i64) {
        if let Some(at) = written.reset_at {
            self.hear(&News::Reset(at), now, behind);
        }
        for (model, word) in &written.words {
            self.hear(&News::Word(model.clone(), *word), now, behind);
        }
    }

    /// What is open and not written down, or would be forgotten there; and what is written down as open and is not.
    fn missing(&self, written: &Written, now: i64) -> Vec<News> {
        let mut missing = Vec::new();
        let models = self.models.iter().map(|(model, circuit)| (Some(model), circuit));
        for (model, circuit) in std::iter::once((None, &self.whole)).chain(models) {
            let word = circuit.word();
            let found = written.words.iter().find(|(of, _)| of.as_ref() == model).map(|(_, word)| word);
            let is_forever = matches!(word.state, Told::Open { until: None, .. });
            let is_new = found.is_none_or(|found| word.is_after(found));
            let is_wrong = found.is_some_and(|found| found.is_in_force(now) && word.is_after(found));
            if is_wrong || word.is_in_force(now) && (is_new || is_forever) {
                missing.push(News::Word(model.cloned(), *word));
            }
        }
        missing
    }
}

fn of<'a>(
    whole: &'a mut Circuit,
    models: &'a mut std::collections::BTreeMap<Arc<str>, Circuit>,
    model: Option<&Arc<str>>,
) -> Option<&'a mut Circuit> {
    match model {
        Some(model) => models.get_mut(model),
        None => Some(whole),
    }
}
