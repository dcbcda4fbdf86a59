//! Stage 4: try again, go elsewhere, or pass on; decided while nothing has gone to the client.

use std::time::{Duration, Instant};

use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, Session};
use serde_json::json;

use super::Gateway;
use super::context::{Current, RequestContext, UpstreamAnswer};
use super::tab::Tab;
use super::worth::Worth;
use super::{reply, route};
use crate::dialect::{ErrorCode, GatewayError};
use crate::ledger::{AttemptReport, Outcome};
use crate::provider::failure::{self, Failure, Next, Said};
use crate::provider::retry::Deadline;
use crate::upstream::{Attempt, DEADLINE, TOTAL_TIMEOUT};

/// Attempts of which a client is told.
const MOST_TOLD: usize = 10;

impl Gateway {
    /// `upstream_response_filter`: an answer that is none, by its status or by what the engine has held of it, is not
    /// passed on while another attempt can be made.
    pub(super) fn judge_head(&self, session: &Session, head: &ResponseHeader, ctx: &mut RequestContext) -> Result<()> {
        ctx.end_race();
        let status = head.status.as_u16();
        let failure =
            ctx.current.as_ref().and_then(|Current { attempt, tab, .. }| self.failure(tab, attempt.as_deref()?, head));
        let Some((failure, worth)) = failure else { return Ok(()) };
        let Some(next) = ctx.current.as_ref().map(|current| current.tab.blame(failure)) else { return Ok(()) };
        if next == Next::Elsewhere {
            self.forsake(ctx);
        }
        let has_better = ctx.has_better_than(worth);
        // What the engine has held is no answer, whatever it says.
        let is_held = status < 400;
        let more = (is_held || next != Next::PassOn)
            && !has_answered(session)
            && (has_better || self.has_more(ctx) || was_refused(ctx));
        let Some(current) = ctx.current.as_ref().filter(|_| more) else { return Ok(()) };
        current.tab.report(failure.reason());
        current.tab.forgive();
        if let Some(attempt) = &current.attempt {
            attempt.reject();
            if let Some(body) = attempt.small_answer().filter(|_| !has_better) {
                let (headers, body) = (head.headers.clone(), body.clone());
                ctx.last_answer = Some(UpstreamAnswer { status, headers, body, worth });
            }
        }
        let mut error = Error::explain(ErrorType::HTTPStatus(status), "the provider's status");
        error.as_up();
        self.try_elsewhere(ctx, &mut error);
        Err(error)
    }

    /// What is wrong with an answer by its status, or by what was held of it; and how much it tells the client.
    pub(super) fn failure(&self, tab: &Tab, attempt: &Attempt, head: &ResponseHeader) -> Option<(Failure, Worth)> {
        let status = head.status.as_u16();
        let body = || attempt.small_answer().map(|body| &body[..]).unwrap_or_default();
        let model = &tab.priced.candidate.served_model;
        if status >= 400 {
            let mut said = Said::read(status, body(), model);
            said.wait = failure::told(&head.headers, self.app.budgets.now()).or(said.wait);
            let failure = Failure::Status(status, said);
            return Some((failure, Worth::of(failure, body())));
        }
        // What the gate has let go is not judged any more, though more of it may have come by now.
        let held = attempt.small_answer()?;
        let fault = tab.fault()?;
        let failure = tab.failure_of(fault, held);
        Some((failure, Worth::of(failure, held)))
    }

    /// `fail_to_connect`.
    pub(super) fn judge_connect(&self, ctx: &mut RequestContext, mut error: Box<Error>) -> Box<Error> {
        if let (Some(current), Some(admitted)) = (&ctx.current, &ctx.admitted) {
            let failure = failure_to_connect(&error, &current.tab, admitted.deadline);
            self.failed(ctx, failure);
        }
        self.try_elsewhere(ctx, &mut error);
        error
    }

    /// `error_while_proxy`.
    pub(super) fn judge_exchange(
        &self,
        session: &Session,
        ctx: &mut RequestContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.end_race();
        let answered = ctx.current.as_ref().and_then(|current| current.tab.status());
        if matches!(error.etype(), ErrorType::HTTPStatus(status) if Some(*status) == answered) {
            // The head of the answer was judged, and what to do decided.
            return error;
        }
        let by_client = *error.esource() == ErrorSource::Downstream;
        if !by_client {
            let failure = ctx.current.as_ref().map(|current| failure_to_answer(&error, &current.tab));
            if let Some(failure) = failure {
                self.failed(ctx, failure);
            }
        }
        if by_client || has_answered(session) {
            error.set_retry(false);
            return error;
        }
        if let Some(current) = &ctx.current {
            current.tab.forgive();
        }
        self.try_elsewhere(ctx, &mut error);
        error
    }

    /// The present attempt has failed without an answer that could be passed on.
    fn failed(&self, ctx: &mut RequestContext, failure: Failure) {
        let next = ctx.current.as_ref().map(|current| current.tab.failed(failure));
        if next == Some(Next::Elsewhere) {
            self.forsake(ctx);
        }
    }

    fn try_elsewhere(&self, ctx: &mut RequestContext, error: &mut Error) {
        let more = self.has_more(ctx);
        error.set_retry(more);
        if more {
            self.advance(ctx);
        }
    }

    /// `fail_to_proxy`: the only place that answers when all attempts have failed.
    pub(super) async fn answer_failure(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestContext,
    ) -> FailToProxy {
        if *error.esource() == ErrorSource::Downstream || has_answered(session) {
            return FailToProxy { error_code: ctx.status.unwrap_or(0), can_reuse_downstream: false };
        }
        // Pingora closes the connection after this; say so, or the client's next request is lost.
        session.set_keepalive(None);
        let skipped = ctx.admitted.as_mut().and_then(|admitted| admitted.refusal.take());
        let refusal = ctx.refusal.take().or(skipped).unwrap_or_else(|| nobody_answered(ctx));
        // What a budget says is of more use than what a provider said.
        let sent = match ctx.last_answer.take().filter(|_| refusal.code == ErrorCode::NoProviderAvailable) {
            Some(answer) => {
                // Now, not when the client has taken it: that may be never.
                if let Some(current) = &ctx.current {
                    current.tab.settle(Outcome::UpstreamFailed, Some(answer.status));
                }
                reply::pass_on(session, ctx, answer.status, &answer.headers, answer.body).await
            }
            None => {
                let refusal = with_story(refusal, ctx);
                self.refused(ctx, &refusal);
                if let Some(admitted) = &ctx.admitted {
                    // A refusal is no row of the ledger.
                    admitted.bill.cancel();
                }
                reply::refuse(session, ctx, &refusal).await
            }
        };
        if let Err(error) = sent {
            tracing::debug!(request = %ctx.id, %error, "the client left before it was told");
        }
        FailToProxy { error_code: ctx.status.unwrap_or(0), can_reuse_downstream: false }
    }
}

/// Whether an answer may still begin.
pub(super) fn has_time(ctx: &RequestContext) -> bool {
    ctx.admitted.as_ref().is_none_or(|admitted| admitted.deadline.allows(Duration::ZERO, Instant::now()))
}

/// What a client is told when nobody has answered.
fn nobody_answered(ctx: &RequestContext) -> GatewayError {
    if has_time(ctx) { route::no_provider() } else { route::too_late() }
}

/// What became of each attempt, for a client whom no provider has answered.
fn with_story(refusal: GatewayError, ctx: &RequestContext) -> GatewayError {
    let Some(admitted) = ctx.admitted.as_ref().filter(|_| refusal.code == ErrorCode::NoProviderAvailable) else {
        return refusal;
    };
    let story = admitted.bill.story().lock();
    // Who was not asked, and why, is not the client's affair.
    let asked = |attempt: &&AttemptReport| failure::REASONS.contains(&&*attempt.reason);
    let story: Vec<_> = story.iter().filter(asked).take(MOST_TOLD).collect();
    if story.is_empty() {
        return refusal;
    }
    let words: Vec<_> = story.iter().map(|attempt| format!("{}: {}", attempt.provider, attempt.reason)).collect();
    let attempts: Vec<_> =
        story.iter().map(|attempt| json!({"provider": attempt.provider, "reason": attempt.reason})).collect();
    let mut details = refusal.details.unwrap_or_else(|| json!({}));
    details["attempts"] = attempts.into();
    GatewayError { message: format!("{} ({})", refusal.message, words.join(", ")), details: Some(details), ..refusal }
}

/// What it means that this attempt found no address.
pub(super) fn failure_to_resolve(tab: &Tab, deadline: Deadline) -> Failure {
    in_time_or(Failure::Unresolved, tab, deadline)
}

/// What it means that this attempt got no connection.
pub(super) fn failure_to_connect(error: &Error, tab: &Tab, deadline: Deadline) -> Failure {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
            in_time_or(Failure::ConnectTimeout, tab, deadline)
        }
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => Failure::TlsFailed,
        _ => Failure::ConnectFailed,
    }
}

/// This failure, unless it was the request's own time that was over.
fn in_time_or(failure: Failure, tab: &Tab, deadline: Deadline) -> Failure {
    let had_time = deadline.allows(Duration::ZERO, Instant::now());
    if had_time { failure } else { Failure::Deadline { was_first: tab.is_first() } }
}

/// What it means that this attempt ended like this.
pub(super) fn failure_to_answer(error: &Error, tab: &Tab) -> Failure {
    match error.etype() {
        &DEADLINE => Failure::Deadline { was_first: tab.is_first() },
        &TOTAL_TIMEOUT => Failure::TotalTimeout,
        ErrorType::ReadTimedout if tab.status().is_none() => Failure::FirstByteTimeout,
        ErrorType::ReadTimedout => Failure::IdleTimeout,
        ErrorType::WriteTimedout => Failure::WriteTimeout,
        _ => Failure::Broken,
    }
}

/// Whether a budget has kept another provider from being asked: then that is what the client is told when all others
/// fail.
pub(super) fn was_refused(ctx: &RequestContext) -> bool {
    ctx.admitted.as_ref().is_some_and(|admitted| admitted.refusal.is_some())
}

/// Whether the client has been sent a final head; interim answers do not count.
fn has_answered(session: &Session) -> bool {
    session.response_written().is_some_and(|head| !head.status.is_informational())
}
