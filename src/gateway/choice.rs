//! Which provider a request is at: who may still be asked, whose turn it is, and who was left out and why.

use std::cell::OnceCell;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::app::{App, Live};
use super::context::Priced;
use super::thread::Thread;
use crate::budget::estimate::{self, Asker, Terms};
use crate::config::Unpriced;
use crate::dialect::{ErrorCode, GatewayError, Inspected, Route};
use crate::directory::Principal;
use crate::pricing::Price;
use crate::provider::{AtPresent, Bits, Candidate, Exclusion, LeftOut, NoCandidate, Provider};

/// No multiplier.
const LIST_PRICE_PPM: u32 = 1_000_000;

/// Why somebody was passed over whose price nobody knows.
const UNPRICED: &str = ErrorCode::ModelNotPriced.as_str();

/// See the module.
pub(super) struct Choice {
    live: Arc<Live>,
    model: Arc<str>,
    key: i64,
    /// Whether it is free by nature: then nothing needs a price.
    is_free: bool,
    /// Where the conversation was before.
    before_at: Option<usize>,
    /// Those that have not been chosen, and may be.
    open: Bits,
    /// Whose turn it is; none: nobody is left.
    present: Option<Priced>,
    /// Whose turn it was before.
    before: Option<Priced>,
    /// Who comes next, when that was asked.
    ahead: Option<Priced>,
    /// How many have had their turn.
    turn: usize,
    /// Who was left out, each once; and how many of them are in the request's story.
    left_out: Vec<LeftOut>,
    told: usize,
    /// Who was passed over because nobody knows what the model costs there.
    unpriced: Vec<Candidate>,
    told_unpriced: usize,
}

impl Choice {
    /// Chooses for the first time; a conversation stays where it was, if it may. It may be that nobody can take the request
    /// now.
    ///
    /// # Errors
    /// Nobody may serve the request.
    pub(super) fn new(
        app: &App,
        live: &Arc<Live>,
        route: &Route,
        inspected: &Inspected,
        principal: &Principal,
        thread: Option<&Thread>,
    ) -> Result<Self, GatewayError> {
        let model = &inspected.model;
        if !principal.allows_model(model) {
            return Err(GatewayError::new(
                ErrorCode::ModelNotAllowed,
                format!("this API key may not use the model {model:?}"),
            ));
        }
        let dialect = route.endpoint.dialect().ok_or_else(|| {
            GatewayError::new(ErrorCode::InternalError, "an endpoint without a dialect reached the selection")
        })?;
        let open = live.catalogue.eligible(dialect, model, principal.provider_groups()).map_err(|why| match why {
            NoCandidate::NoneFits => GatewayError::new(
                ErrorCode::NoProviderAvailable,
                format!("no provider serves the model {model:?} in the dialect {}", dialect.as_str()),
            ),
            NoCandidate::OutOfReach => GatewayError::new(
                ErrorCode::ModelNotAllowed,
                format!("the providers of the model {model:?} are not among those that this API key may use"),
            ),
        })?;
        let mut choice = Self {
            live: Arc::clone(live),
            model: model.as_str().into(),
            key: principal.key.id,
            is_free: route.endpoint.is_counting(),
            before_at: thread.and_then(|thread| live.catalogue.place_of(thread.before.as_deref()?)),
            open,
            present: None,
            before: None,
            ahead: None,
            turn: 0,
            left_out: Vec::new(),
            told: 0,
            unpriced: Vec::new(),
            told_unpriced: 0,
        };
        choice.present = choice.choose(app, inspected);
        Ok(choice)
    }

    /// The providers that it is made among.
    pub(super) const fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Whose turn it is.
    pub(super) const fn present(&self) -> Option<&Priced> {
        self.present.as_ref()
    }

    /// The name of the provider whose turn it is, or was last.
    pub(super) fn last(&self) -> &str {
        self.present.as_ref().or(self.before.as_ref()).map_or("", |priced| &*priced.candidate.provider.name)
    }

    /// The number of that turn, from 0.
    pub(super) const fn turn(&self) -> usize {
        self.turn
    }

    /// It is the turn of the next one, if there is one.
    pub(super) fn advance(&mut self, app: &App, inspected: &Inspected) {
        let next = self.take_next(app, inspected);
        self.pass_turn(next);
    }

    /// Whether there may be a next one: without choosing it.
    pub(super) fn may_have_next(&self) -> bool {
        self.ahead.is_some() || !self.open.is_empty()
    }

    /// Whether there is a next one. It is kept for when its turn comes.
    pub(super) fn has_next(&mut self, app: &App, inspected: &Inspected) -> bool {
        if self.ahead.is_none() {
            self.ahead = self.choose(app, inspected);
        }
        self.ahead.is_some()
    }

    /// Takes the next one out, to be asked beside the one whose turn it is.
    pub(super) fn take_next(&mut self, app: &App, inspected: &Inspected) -> Option<Priced> {
        self.ahead.take().or_else(|| self.choose(app, inspected))
    }

    /// One that was taken out was not asked: its turn may come.
    pub(super) fn give_back(&mut self, priced: &Priced) {
        if let Some(place) = self.live.catalogue.place_of(&priced.candidate.provider.name) {
            self.open.add(place);
        }
    }

    /// How many were left out so far.
    pub(super) fn left_out_so_far(&self) -> usize {
        self.left_out.len()
    }

    /// Whoever was left out since then may be able to take the request by the time it is his turn.
    pub(super) fn forget_left_out_since(&mut self, so_far: usize) {
        for (place, _) in self.left_out.drain(so_far..) {
            self.open.add(place);
        }
    }

    /// It is the turn of one that was taken out.
    pub(super) fn take_turn(&mut self, priced: Priced) {
        self.pass_turn(Some(priced));
    }

    fn pass_turn(&mut self, next: Option<Priced>) {
        self.before = std::mem::replace(&mut self.present, next).or(self.before.take());
        self.turn += 1;
    }

    /// The provider whose turn it is could not take the request.
    pub(super) fn leave_out(&mut self, provider: &Provider, why: Exclusion) {
        if let Some(place) = self.live.catalogue.place_of(&provider.name) {
            self.left_out.push((place, why));
        }
    }

    /// Those that were left out, or passed over, since this was asked before, and why.
    pub(super) fn news(&mut self) -> Vec<(Candidate, &'static str)> {
        let left_out = &self.left_out[self.told..];
        let candidate =
            |(place, why): &LeftOut| Some((self.live.catalogue.candidate(*place, &self.model)?, why.as_str()));
        let unpriced = self.unpriced[self.told_unpriced..].iter().map(|candidate| (candidate.clone(), UNPRICED));
        let news = left_out.iter().filter_map(candidate).chain(unpriced).collect();
        (self.told, self.told_unpriced) = (self.left_out.len(), self.unpriced.len());
        news
    }

    /// What a client is told when nobody is left and nobody has answered.
    pub(super) fn nobody(&self, now: i64) -> GatewayError {
        let was_anybody = self.present.is_some() || self.before.is_some();
        if !was_anybody
            && self.left_out.is_empty()
            && let Some(candidate) = self.unpriced.first()
        {
            return GatewayError::new(
                ErrorCode::ModelNotPriced,
                format!("the model {:?} has no price; the gateway's administrator can add one", candidate.served_model),
            );
        }
        let hours: Vec<_> = self.hours(now).collect();
        let off = hours.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
        let off = off.filter(|_| !was_anybody && hours.len() == self.left_out.len());
        let is_busy = self.left_out.iter().any(|(_, why)| *why == Exclusion::Busy);
        let soonest =
            off.or_else(|| self.left_out.iter().filter_map(|(_, why)| why.until()).min()).filter(|_| !is_busy);
        let wait = soonest.map_or(1, |at| u64::try_from((at - now).max(1)).unwrap_or(1).div_ceil(1_000));
        let waiting: Vec<_> = self.waiting().collect();
        let is_told_why = !was_anybody && !waiting.is_empty() && waiting.len() == self.left_out.len();
        let message = if is_told_why {
            let list: Vec<_> = waiting.iter().map(|(name, until)| sentence(name, *until)).collect();
            format!(
                "no provider could serve this request: all that fit are left alone after failures: {}",
                list.join("; ")
            )
        } else if let Some(at) = off.and_then(|at| Timestamp::from_millisecond(at).ok()) {
            format!("no provider could serve this request: those that fit are asked at other times, next at {at}")
        } else {
            "no provider could serve this request: all that fit are unreachable, too slow or busy; try again".to_owned()
        };
        let error = GatewayError::new(ErrorCode::NoProviderAvailable, message).with_retry_after(wait);
        if waiting.is_empty() {
            return error;
        }
        let providers: Vec<_> = waiting
            .iter()
            .map(|(name, until)| json!({"provider": name, "retriedAt": until.map(|at| at.to_string())}))
            .collect();
        error.with_details(json!({"leftAlone": providers}))
    }

    /// Of those that were left out because they are asked at other times, when that is next.
    fn hours(&self, now: i64) -> impl Iterator<Item = Option<i64>> {
        let off = self.left_out.iter().filter(|(_, why)| *why == Exclusion::OffSchedule);
        off.map(move |(place, _)| self.live.catalogue.at(*place)?.opens_at(now, &self.live.config.budgets.time_zone))
    }

    /// The providers that are left alone after failures, and when they are tried again; none: nobody knows.
    fn waiting(&self) -> impl Iterator<Item = (Arc<str>, Option<Timestamp>)> {
        self.left_out.iter().filter_map(|(place, why)| {
            let (Exclusion::CircuitOpen { until } | Exclusion::ModelCircuitOpen { until }) = *why else { return None };
            let whole_second = |at: i64| Timestamp::from_second(at.div_euclid(1_000) + 1).ok();
            Some((Arc::clone(&self.live.catalogue.at(*place)?.name), until.and_then(whole_second)))
        })
    }

    /// All that were left out because they could not take the request now, and why.
    pub(super) fn left_out(&self) -> impl Iterator<Item = (Arc<Provider>, &'static str)> {
        let catalogue = &self.live.catalogue;
        self.left_out.iter().filter_map(|(place, why)| Some((catalogue.at(*place)?.clone(), why.as_str())))
    }

    /// All that could have served the request and did not get a turn, and why.
    pub(super) fn passed_over(&self) -> impl Iterator<Item = (Arc<Provider>, &'static str)> {
        let unpriced = |candidate: &Candidate| (Arc::clone(&candidate.provider), UNPRICED);
        self.left_out().chain(self.unpriced.iter().map(unpriced))
    }

    fn choose(&mut self, app: &App, inspected: &Inspected) -> Option<Priced> {
        let live = Arc::clone(&self.live);
        let strategy = live.config.routing.strategy;
        let prices = app.prices.load();
        let now = app.budgets.now();
        loop {
            let list_price = |served: &str| {
                let price = prices.of_request(served, &self.model).filter(|_| !self.is_free);
                price.map_or(0, |price| list_cost(app, &live, price, inspected, Asker { model: served, key: self.key }))
            };
            let unredirected = OnceCell::new();
            let cost = |provider: &Provider| {
                let served = provider.settings.redirect(&self.model);
                let list = match served == &*self.model {
                    true => *unredirected.get_or_init(|| list_price(served)),
                    false => list_price(served),
                };
                list * u128::from(provider.settings.cost_multiplier.ppm())
            };
            let standing = AtPresent { model: &self.model, now, zone: &live.config.budgets.time_zone, cost };
            let before = self.left_out.len();
            let (catalogue, left_out) = (&live.catalogue, &mut self.left_out);
            let chosen = match self.before_at.filter(|at| catalogue.may_stay(*at, &self.open, &standing, left_out)) {
                Some(at) => Some(at),
                None => catalogue.choose(&self.open, strategy, &standing, &mut rand::rng(), left_out),
            };
            for (place, _) in &self.left_out[before..] {
                self.open.remove(*place);
            }
            let place = chosen?;
            self.open.remove(place);
            let candidate = live.catalogue.candidate(place, &self.model)?;
            if self.is_free {
                return Some(Priced { candidate, price: None });
            }
            let price = prices.of_request(&candidate.served_model, &self.model).map(Arc::clone);
            if price.is_some() || live.config.prices.unpriced == Unpriced::Free {
                return Some(Priced { candidate, price });
            }
            self.unpriced.push(candidate);
        }
    }
}

/// What is said of a provider that is left alone.
fn sentence(name: &str, until: Option<Timestamp>) -> String {
    until.map_or_else(
        || format!("{name}, until its present trial has ended or it is reset"),
        |until| format!("{name} is tried again at {until}"),
    )
}

/// What such requests have cost lately at the list price, in nano-dollars.
fn list_cost(app: &App, live: &Live, price: &Price, inspected: &Inspected, asker: Asker<'_>) -> u128 {
    let default_max_output_tokens = live.config.budgets.default_max_output_tokens;
    let terms = Terms { price, multiplier_ppm: LIST_PRICE_PPM, default_max_output_tokens };
    u128::try_from(estimate::expected(inspected, &terms, &app.learnt, asker).nanos()).unwrap_or(0)
}
