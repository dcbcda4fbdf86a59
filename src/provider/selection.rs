//! Which provider gets an attempt: of those that may still be asked, the best of the best tier.
//!
//! A pure function of who may be asked, how things stand, and a source of chance. It is asked anew for every attempt,
//! so that a provider that failed a moment ago is not the next choice of anybody; it takes the same few microseconds
//! for hundreds of providers, and no memory as long as nobody is left out.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::tz::TimeZone;
use rand::Rng;

use super::bits::Bits;
use super::catalogue::{Catalogue, Exclusion, Provider};
use super::schedule::{LocalTime, is_open, opens_at};
use crate::config::Strategy;

/// A provider that may serve a request, and the model that it would be sent.
#[derive(Clone)]
pub struct Candidate {
    /// Who.
    pub provider: Arc<Provider>,
    /// The requested model after the provider's redirect.
    pub served_model: Arc<str>,
}

/// How things stand with a provider that may serve a request.
pub trait Standing {
    /// Why it does not get the request now.
    fn kept_out(&self, provider: &Provider) -> Option<Exclusion>;

    /// How busy it is: less is better.
    fn load(&self, provider: &Provider) -> f64;

    /// What the request would cost there, in any unit: less is better.
    fn cost(&self, provider: &Provider) -> u128;
}

/// Who was left out of a choice, and why.
pub type LeftOut = (usize, Exclusion);

impl Catalogue {
    /// Chooses among the providers at these places, which may all serve the request: the first tier in which one can
    /// take it now, and in it by the strategy. Who would have been looked at but cannot take it is added to `left_out`.
    pub fn choose(
        &self,
        among: &Bits,
        strategy: Strategy,
        standing: &impl Standing,
        rng: &mut impl Rng,
        left_out: &mut Vec<LeftOut>,
    ) -> Option<usize> {
        let mut able = Bits::none(self.providers.len());
        let (mut tier, mut total) = (None, 0);
        for place in among.iter() {
            let Some(provider) = self.providers.get(place) else { continue };
            if tier.is_some_and(|tier| tier != provider.settings.priority) {
                break;
            }
            match standing.kept_out(provider) {
                Some(why) => left_out.push((place, why)),
                None => {
                    tier = Some(provider.settings.priority);
                    able.add(place);
                    total += provider.weight();
                }
            }
        }
        match strategy {
            Strategy::Weighted => {}
            Strategy::LeastCost => {
                self.keep_least(&mut able, |provider| standing.cost(provider));
                total = able.iter().filter_map(|place| Some(self.providers.get(place)?.weight())).sum();
            }
            Strategy::LeastLoaded => return self.less_loaded(able, total, standing, rng),
        }
        self.draw(&able, total, rng)
    }

    /// The less loaded of two that are drawn by weight. Whoever is the most loaded is never asked, and nobody is asked by
    /// everybody: with the least loaded of all, each burst on each node would go to the same one. It looks at the load of
    /// two, however many there are.
    fn less_loaded(&self, mut able: Bits, total: u64, standing: &impl Standing, rng: &mut impl Rng) -> Option<usize> {
        let one = self.draw(&able, total, rng)?;
        able.remove(one);
        let left = total - self.providers.get(one)?.weight();
        let Some(other) = self.draw(&able, left, rng) else { return Some(one) };
        let load = |place: usize| self.providers.get(place).map(|provider| standing.load(provider));
        Some(if load(other) < load(one) { other } else { one })
    }

    /// Keeps those for which the measure is least: one, unless several are equal.
    fn keep_least<T: PartialOrd + Copy>(&self, able: &mut Bits, measure: impl Fn(&Provider) -> T) {
        let mut least: Option<T> = None;
        let mut kept = Bits::none(self.providers.len());
        for (place, provider) in able.iter().filter_map(|place| Some((place, self.providers.get(place)?))) {
            let measured = measure(provider);
            if least.is_some_and(|least| measured > least) {
                continue;
            }
            if least.is_none_or(|least| measured < least) {
                least = Some(measured);
                kept = Bits::none(self.providers.len());
            }
            kept.add(place);
        }
        *able = kept;
    }

    /// One of them at random, each with a chance in proportion to its weight; `total` is what all weigh.
    fn draw(&self, able: &Bits, total: u64, rng: &mut impl Rng) -> Option<usize> {
        if total == 0 {
            return None;
        }
        let mut rest = rng.random_range(0..total);
        able.iter().find(|place| {
            let weight = self.providers.get(*place).map_or(0, |provider| provider.weight());
            let is_here = rest < weight;
            rest = rest.saturating_sub(weight);
            is_here
        })
    }
}

/// How things stand at this moment.
pub struct AtPresent<'a, C> {
    /// The requested model.
    pub model: &'a str,
    /// Unix milliseconds.
    pub now: i64,
    /// Where schedules apply.
    pub zone: &'a TimeZone,
    /// What the request would cost at a provider.
    pub cost: C,
}

impl<C: Fn(&Provider) -> u128> Standing for AtPresent<'_, C> {
    fn kept_out(&self, provider: &Provider) -> Option<Exclusion> {
        provider.kept_out(self.model, self.now, self.zone)
    }

    fn load(&self, provider: &Provider) -> f64 {
        provider.load.score(self.now)
    }

    fn cost(&self, provider: &Provider) -> u128 {
        (self.cost)(provider)
    }
}

impl Provider {
    fn weight(&self) -> u64 {
        u64::from(self.settings.weight.max(1))
    }

    /// Why it does not take a request for this model now.
    #[must_use]
    pub fn kept_out(&self, model: &str, now: i64, zone: &TimeZone) -> Option<Exclusion> {
        if let Some(off) = self.off_schedule(now, zone) {
            return Some(off);
        }
        let most = self.settings.max_concurrent_requests;
        if most > 0 && self.load.in_flight() >= most {
            return Some(Exclusion::Busy);
        }
        self.circuits.shut(self.settings.redirect(model), now).map(Exclusion::from)
    }

    fn off_schedule(&self, now: i64, zone: &TimeZone) -> Option<Exclusion> {
        let hours = &self.settings.schedule;
        if hours.is_empty() {
            return None;
        }
        let at = LocalTime::new(now, zone)?;
        (!is_open(hours, &at)).then(|| Exclusion::OffSchedule { until: opens_at(hours, &at) })
    }
}
