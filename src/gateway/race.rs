//! A second provider for an answer that is slow to begin: who is asked, who pays, and whose answer it is.
//!
//! A rival is admitted like every attempt: the budgets of its own model pay for it, beside those of the first, until one
//! of the two has lost; it has a place at its provider, a record in the journal and a bill of its own. When there is
//! nobody, or nobody who can be paid, the first is waited for as if nothing had been asked.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use super::Gateway;
use super::app::InFlight;
use super::context::{Admitted, Current, Priced, RequestContext, UpstreamAnswer};
use super::payers::Reserved;
use super::tab::Tab;
use super::worth::Worth;
use super::{judge, send};
use crate::config::Loser;
use crate::provider::failure::{Failure, Next};
use crate::provider::retry::Deadline;
use crate::upstream::{Attempt, Challenger, Racer, Rivalry};

/// See the module.
pub(super) struct Race {
    gateway: Gateway,
    in_flight: Arc<InFlight>,
    client: HeaderMap,
    first: Arc<Tab>,
    deadline: Deadline,
    /// Who pays for the one that loses.
    loser: Loser,
    state: Mutex<State>,
}

struct State {
    /// None while a rival is being looked for.
    admitted: Option<Box<Admitted>>,
    rival: Option<Current>,
    /// The rival has taken the place of the first.
    is_rivals: bool,
    answers: Vec<UpstreamAnswer>,
}

/// What is left of a race.
pub(super) struct Ended {
    pub(super) admitted: Option<Box<Admitted>>,
    /// The rival, if its answer is the request's.
    pub(super) current: Option<Current>,
    /// Answers that were not passed on.
    pub(super) answers: Vec<UpstreamAnswer>,
}

impl Gateway {
    /// Has the attempt that is about to be sent raced, if that is wanted and somebody else may be asked.
    pub(super) fn rivalry(&self, ctx: &mut RequestContext, client: &HeaderMap) -> Option<Rivalry> {
        let crate::config::Racing { after, loser } = self.app.live.load().config.routing.racing;
        if after.is_zero() || !ctx.admitted.as_ref()?.choice.may_have_next() {
            return None;
        }
        let first = Arc::clone(&ctx.current.as_ref()?.tab);
        let deadline = ctx.admitted.as_ref()?.deadline;
        let state = State { admitted: ctx.admitted.take(), rival: None, is_rivals: false, answers: Vec::new() };
        let race = Arc::new(Race {
            gateway: Self::new(Arc::clone(&self.app)),
            in_flight: Arc::clone(&ctx.in_flight),
            client: client.clone(),
            first,
            deadline,
            loser,
            state: Mutex::new(state),
        });
        ctx.race = Some(Arc::clone(&race));
        Some(Rivalry { after, challenger: race })
    }

    /// Admits an attempt at this candidate beside the present one. None: it cannot be had, or not be paid.
    async fn admit_rival(
        &self,
        admitted: &mut Admitted,
        priced: &Priced,
        number: u16,
        race: &Race,
    ) -> Option<Arc<Tab>> {
        let main = &admitted.bill;
        let is_free = main.endpoint.is_counting();
        let slot = if is_free { None } else { Some(self.app.ledger.reserve()?) };
        let bill = Arc::new(main.beside(slot, race.loser));
        let mut reserved = None;
        if !is_free {
            let set_aside = self.reserve_for(&bill, &admitted.principal, &admitted.inspected, priced).await;
            reserved = Some(set_aside.ok()?);
        }
        self.begin(&bill, priced.clone(), reserved, number, Arc::clone(&race.in_flight)).ok()
    }
}

impl Race {
    /// Called once nobody runs any more but the one whose answer it is.
    pub(super) fn end(&self) -> Ended {
        let mut state = self.state.lock();
        let current = state.rival.take().filter(|_| state.is_rivals);
        Ended { admitted: state.admitted.take(), current, answers: std::mem::take(&mut state.answers) }
    }

    /// The next candidate that can be had and paid.
    async fn find(&self, borrowed: &mut Borrowed<'_>) -> Option<(HttpPeer, Arc<Attempt>)> {
        let gateway = &self.gateway;
        loop {
            let (admitted, asked) = borrowed.parts()?;
            let priced = admitted.choice.take_next(&gateway.app, &admitted.inspected)?;
            asked.push(priced.clone());
            let number = admitted.attempts + 1;
            let tab = gateway.admit_rival(admitted, &priced, number, self).await;
            let Some(tab) = tab else { continue };
            let peer = gateway.peer(&priced, 1, self.deadline).await;
            // From here on it has had its turn.
            asked.pop();
            admitted.attempts = number;
            let peer = match peer {
                Ok(peer) => peer,
                Err(error) => {
                    tracing::warn!(
                        request = %tab.bill.request_id, provider = %priced.candidate.provider.name, %error,
                        "the provider's name does not resolve"
                    );
                    Self::out(&tab, judge::failure_to_resolve(&tab, self.deadline));
                    continue;
                }
            };
            let gate = send::gate(&gateway.app.live.load().config.routing.gate);
            let attempt = Arc::new(send::attempt(admitted, &tab, &self.client).ok()?.behind(gate));
            let mut rival = Current::new(tab, &admitted.inspected);
            rival.attempt = Some(Arc::clone(&attempt));
            self.state.lock().rival = Some(rival);
            return Some((peer, attempt));
        }
    }

    /// The rival is the present attempt from now on.
    fn take_over(&self, state: &mut State) {
        let State { admitted: Some(admitted), rival: Some(Current { tab, .. }), is_rivals, .. } = state else { return };
        admitted.choice.take_turn(tab.priced.clone());
        (admitted.tries, admitted.again) = (1, None);
        admitted.bill = Arc::clone(&tab.bill);
        let turn = admitted.choice.turn();
        admitted.reserved = tab.reserved().map(|reserved| Reserved { turn, ..reserved });
        tab.wins_over(&self.first, self.loser);
        *is_rivals = true;
    }

    /// One of the two is out, and costs nothing.
    fn out(tab: &Tab, failure: Failure) {
        tab.failed(failure);
        tab.forgive();
        // What the process had to end is settled by the stop.
        if !tab.is_interrupted() {
            tab.bill.cancel();
        }
    }
}

#[async_trait]
impl Challenger for Race {
    async fn challenge(&self) -> Option<(HttpPeer, Arc<Attempt>)> {
        let app = &self.gateway.app;
        let share = app.live.load().config.routing.retry_budget;
        // When everything is slow, twice the traffic makes it slower.
        if !self.first.priced.candidate.provider.retries.may_retry(share, app.budgets.now()) {
            return None;
        }
        let admitted = self.state.lock().admitted.take();
        let left_out = admitted.as_ref().map_or(0, |admitted| admitted.choice.left_out_so_far());
        let mut borrowed = Borrowed { race: self, admitted, asked: Vec::new(), left_out };
        self.find(&mut borrowed).await
    }

    fn unreachable(&self, error: &Error) {
        if let Some(rival) = self.state.lock().rival.take() {
            Self::out(&rival.tab, judge::failure_to_connect(error, &rival.tab, self.deadline));
        }
    }

    fn is_answer(&self, racer: Racer, attempt: &Attempt, head: &ResponseHeader) -> bool {
        let state = self.state.lock();
        let failure = |tab: &Tab| self.gateway.failure(tab, attempt, head);
        match racer {
            // What lies in the request itself is told at once, as it would be without a rival.
            Racer::First => failure(&self.first)
                .is_none_or(|(failure, _)| head.status.as_u16() >= 400 && failure.verdict().next == Next::PassOn),
            // Whatever is wrong with a rival, the first may do better.
            Racer::Rival => {
                state.rival.as_ref().is_some_and(|rival| failure(&rival.tab).is_none() && !rival.tab.has_failed())
            }
        }
    }

    fn failed(&self, racer: Racer, attempt: &Attempt, how: Result<&ResponseHeader, &Error>) {
        let mut state = self.state.lock();
        let tab = match racer {
            Racer::First => Arc::clone(&self.first),
            Racer::Rival => match &state.rival {
                Some(rival) => Arc::clone(&rival.tab),
                None => return,
            },
        };
        let inside = || {
            let failure = tab.failure_inside(b"");
            (failure, Worth::of(failure, b""))
        };
        let (failure, worth) = match how {
            Ok(head) => self.gateway.failure(&tab, attempt, head).unwrap_or_else(inside),
            Err(error) => (judge::failure_to_answer(error, &tab), Worth::Mute),
        };
        if let (Ok(head), Some(body)) = (how, attempt.small_answer()) {
            let (status, headers, body) = (head.status.as_u16(), head.headers.clone(), body.clone());
            state.answers.push(UpstreamAnswer { status, headers, body, worth });
        }
        if racer == Racer::First {
            // Before it is out: somebody has to pay if the process ends now.
            self.take_over(&mut state);
        }
        Self::out(&tab, failure);
        if racer == Racer::Rival {
            state.rival = None;
        }
    }

    fn won(&self, racer: Racer) {
        let mut state = self.state.lock();
        let winner = match racer {
            Racer::First => {
                if let Some(rival) = &state.rival {
                    self.first.wins_over(&rival.tab, self.loser);
                }
                "first"
            }
            Racer::Rival => {
                self.take_over(&mut state);
                "rival"
            }
        };
        self.gateway.app.metrics.races.with_label_values(&[winner]).inc();
    }
}

/// What was admitted, in the hands of whoever looks for a rival; put back when that ends, wherever it ends.
struct Borrowed<'a> {
    race: &'a Race,
    admitted: Option<Box<Admitted>>,
    /// Candidates that could not be had or paid, or are being asked for: each may still have its turn.
    asked: Vec<Priced>,
    /// How many had been left out before.
    left_out: usize,
}

impl Borrowed<'_> {
    fn parts(&mut self) -> Option<(&mut Admitted, &mut Vec<Priced>)> {
        Some((self.admitted.as_deref_mut()?, &mut self.asked))
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(mut admitted) = self.admitted.take() {
            self.asked.iter().for_each(|priced| admitted.choice.give_back(priced));
            admitted.choice.forget_left_out_since(self.left_out);
            self.race.state.lock().admitted = Some(admitted);
        }
    }
}
