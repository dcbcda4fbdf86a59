//! Stage 2, `upstream_peer`: which provider gets this attempt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use super::Gateway;
use super::app::InFlight;
use super::bill::Bill;
use super::context::{Admitted, Current, Priced, RequestContext};
use super::judge::{self, has_time};
use super::payers::Reserved;
use super::tab::{Place, Tab};
use crate::dialect::{ErrorCode, GatewayError};
use crate::ledger::journal::JournalError;
use crate::provider::retry::{self, Deadline};
use crate::provider::{Candidate, Exclusion, Provider};

impl Gateway {
    /// The peer of the next attempt. The first takes the first candidate; each further one the same again after a pause, up
    /// to the provider's number of attempts, then the next.
    pub(super) async fn route(&self, ctx: &mut RequestContext) -> Result<Box<HttpPeer>> {
        if let Some(pause) = ctx.admitted.as_mut().and_then(|admitted| admitted.again.take()) {
            tokio::time::sleep(pause).await;
        }
        loop {
            if let Some(admitted) = ctx.admitted.as_mut()
                && let Err(refusal) = self.reserve(admitted).await
            {
                ctx.refusal = Some(refusal);
                return Err(Error::explain(ErrorType::HTTPStatus(503), "no provider is left").into_in());
            }
            let Some((priced, number, tries)) = ctx.admitted.as_mut().and_then(|admitted| {
                let priced = admitted.choice.present()?.clone();
                admitted.tries = admitted.tries.saturating_add(1);
                Some((priced, admitted.attempts + 1, admitted.tries))
            }) else {
                return Err(self.nobody_is_left(ctx));
            };
            let provider = Arc::clone(&priced.candidate.provider);
            if !has_time(ctx) {
                ctx.refusal = Some(too_late());
                return Err(Error::explain(ErrorType::HTTPStatus(503), "the request's time is over").into_in());
            }
            let Some(admitted) = ctx.admitted.as_mut() else { continue };
            let in_flight = Arc::clone(&ctx.in_flight);
            let tab = match self.begin(&admitted.bill, priced.clone(), admitted.reserved, number, in_flight) {
                Ok(tab) => tab,
                Err(NotBegun::KeptOut(why)) => {
                    self.leave_out(ctx, &provider, why);
                    continue;
                }
                Err(NotBegun::Stopping) => {
                    // The last records are being written; this one is not waited for.
                    admitted.bill.cancel();
                    ctx.refusal = Some(stopping());
                    return Err(Error::explain(ErrorType::HTTPStatus(503), "the gateway stops").into_in());
                }
                Err(NotBegun::Unwritten(error)) => {
                    // Told once by the journal: a full disk shall not be filled with it.
                    tracing::debug!(request = %ctx.id, %error, "a request is refused");
                    admitted.bill.cancel();
                    ctx.refusal = Some(ledger_full());
                    return Err(Error::explain(ErrorType::HTTPStatus(503), "the journal takes no more").into_in());
                }
            };
            admitted.attempts = number;
            if tries == 1 {
                provider.retries.asked(self.app.budgets.now());
            }
            let deadline = admitted.deadline;
            ctx.current = Some(Current::new(Arc::clone(&tab), &admitted.inspected));
            match self.peer(&priced, tries, deadline).await {
                Ok(peer) => return Ok(Box::new(peer)),
                Err(error) => {
                    tracing::warn!(request = %ctx.id, provider = %provider.name, %error, "the provider's name does not resolve");
                    tab.failed(judge::failure_to_resolve(&tab, deadline));
                    self.next_provider(ctx);
                }
            }
        }
    }

    /// Begins an attempt, of which nothing has gone out: it has a place at its provider, and the journal knows of it.
    pub(super) fn begin(
        &self,
        bill: &Arc<Bill>,
        priced: Priced,
        reserved: Option<Reserved>,
        number: u16,
        in_flight: Arc<InFlight>,
    ) -> Result<Arc<Tab>, NotBegun> {
        let place = self.enter(&priced.candidate).map_err(NotBegun::KeptOut)?;
        let tab = Tab::open(&self.app, bill, priced, reserved, number, place, in_flight).ok_or(NotBegun::Stopping)?;
        tab.write_ahead().map_err(NotBegun::Unwritten)?;
        Ok(tab)
    }

    pub(super) async fn peer(&self, priced: &Priced, tries: u32, deadline: Deadline) -> std::io::Result<HttpPeer> {
        let provider = &priced.candidate.provider;
        let endpoint = &provider.endpoint;
        let looking_up = self.app.resolver.resolve(&endpoint.host, endpoint.port);
        let connect = provider.settings.timeouts.connect;
        let most = deadline.left(Instant::now()).map_or(connect, |left| left.min(connect));
        let found = tokio::time::timeout(most, looking_up).await?;
        let addresses = found.map_err(std::io::Error::other)?;
        // A second try goes to the next address, in case the first is dead.
        let turn = usize::try_from(tries.saturating_sub(1)).unwrap_or_default();
        Ok(endpoint.peer(addresses[turn % addresses.len()], deadline.left(Instant::now())))
    }

    /// A place for one more request at a provider.
    fn enter(&self, candidate: &Candidate) -> Result<Place, Exclusion> {
        let Candidate { provider, served_model } = candidate;
        let (in_flight, load) = provider.load.enter();
        let most = provider.settings.max_concurrent_requests;
        if most > 0 && load > most {
            return Err(Exclusion::Busy);
        }
        let pass = provider.circuits.enter(served_model, self.app.budgets.now())?;
        Ok(Place { in_flight, pass })
    }

    /// Whether the provider whose turn it is may be asked once more, as far as that is its own affair.
    fn may_repeat(&self, admitted: &Admitted) -> bool {
        admitted.choice.present().is_some_and(|Priced { candidate, .. }| {
            admitted.tries < candidate.provider.settings.attempts
                && candidate.provider.circuits.shut(&candidate.served_model, self.app.budgets.now()).is_none()
        })
    }

    /// Whether another attempt could be made after the present one, as far as can be told before that has ended.
    pub(super) fn may_have_more(&self, ctx: &RequestContext) -> bool {
        has_time(ctx)
            && ctx
                .admitted
                .as_ref()
                .is_some_and(|admitted| self.may_repeat(admitted) || admitted.choice.may_have_next())
    }

    /// Whether another attempt can be made after the present one. One more at the same provider is counted by this.
    pub(super) fn has_more(&self, ctx: &mut RequestContext) -> bool {
        if !has_time(ctx) {
            return false;
        }
        let Some(admitted) = ctx.admitted.as_mut() else { return false };
        if admitted.again.is_none() {
            admitted.again = self.repeat(admitted);
        }
        admitted.again.is_some() || admitted.choice.has_next(&self.app, &admitted.inspected)
    }

    /// The pause before the same provider is asked again, if it is.
    fn repeat(&self, admitted: &Admitted) -> Option<Duration> {
        if !self.may_repeat(admitted) {
            return None;
        }
        let provider = &admitted.choice.present()?.candidate.provider;
        let pause = retry::pause(admitted.tries, &mut rand::rng());
        let share = self.app.live.load().config.routing.retry_budget;
        (admitted.deadline.allows(pause, Instant::now()) && provider.retries.may_retry(share, self.app.budgets.now()))
            .then_some(pause)
    }

    /// Moves on after a failed attempt: to the same provider again, or to the next.
    pub(super) fn advance(&self, ctx: &mut RequestContext) {
        if ctx.admitted.as_ref().is_some_and(|admitted| admitted.again.is_none()) {
            self.next_provider(ctx);
        }
    }

    /// No more attempts at the present provider.
    pub(super) fn forsake(&self, ctx: &mut RequestContext) {
        if let Some(admitted) = ctx.admitted.as_mut() {
            admitted.tries = u32::MAX;
            admitted.again = None;
        }
    }

    fn leave_out(&self, ctx: &mut RequestContext, provider: &Provider, why: Exclusion) {
        if let Some(admitted) = ctx.admitted.as_mut() {
            admitted.choice.leave_out(provider, why);
        }
        self.next_provider(ctx);
    }

    fn next_provider(&self, ctx: &mut RequestContext) {
        if let Some(admitted) = ctx.admitted.as_mut() {
            admitted.next_provider(&self.app);
        }
    }

    fn nobody_is_left(&self, ctx: &mut RequestContext) -> Box<Error> {
        let now = self.app.budgets.now();
        ctx.refusal = Some(ctx.admitted.as_ref().map_or_else(no_provider, |admitted| admitted.choice.nobody(now)));
        Error::explain(ErrorType::HTTPStatus(503), "no provider is left").into_in()
    }
}

/// Why an attempt does not begin.
pub(super) enum NotBegun {
    /// The provider does not take it now.
    KeptOut(Exclusion),
    /// The process is about to end.
    Stopping,
    /// The journal does not take what is owed for it.
    Unwritten(JournalError),
}

/// What a client is told whose request would begin, or begin again, while the process ends.
fn stopping() -> GatewayError {
    GatewayError::new(ErrorCode::NoProviderAvailable, "the gateway is stopping; try again").with_retry_after(1)
}

/// What a client is told whose request could not be recorded.
pub(super) fn ledger_full() -> GatewayError {
    GatewayError::new(ErrorCode::BudgetUnavailable, "the ledger cannot take more records at the moment; try again")
        .with_retry_after(1)
}

/// What a client is told when its time was over before any answer had begun.
pub(super) fn too_late() -> GatewayError {
    GatewayError::new(
        ErrorCode::NoProviderAvailable,
        "no provider has begun to answer within the time that the gateway allows for all attempts; try again",
    )
    .with_retry_after(1)
}

/// What a client is told when every provider has failed without an answer, or is busy.
pub(super) fn no_provider() -> GatewayError {
    GatewayError::new(
        ErrorCode::NoProviderAvailable,
        "no provider could serve this request: all that fit are unreachable, too slow or busy; try again",
    )
    .with_retry_after(1)
}
