//! Stage 4: try again, go elsewhere, or pass on; decided while nothing has gone to the client.

use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, Session};

use super::Gateway;
use super::context::{Current, RequestContext, UpstreamAnswer};
use super::fault::Fault;
use super::{reply, route};
use crate::dialect::ErrorCode;
use crate::ledger::Outcome;

impl Gateway {
    /// `upstream_response_filter`: an answer that is none, by its status or by what the engine has held of it, is not
    /// passed on while another attempt can be made.
    pub(super) fn judge_head(&self, session: &Session, head: &ResponseHeader, ctx: &mut RequestContext) -> Result<()> {
        let status = head.status.as_u16();
        let Some(fault) = Fault::of_status(status).or_else(|| held_fault(ctx.current.as_ref())) else {
            return Ok(());
        };
        let has_better = fault.is_mute && ctx.last_answer.as_ref().is_some_and(|kept| !kept.is_mute);
        if has_answered(session) || !(Self::has_more(ctx) || was_refused(ctx) || has_better) {
            return Ok(());
        }
        if let Some(current) = &ctx.current {
            current.tab.report(fault.reason);
            current.tab.forgive();
            if let Some(attempt) = &current.attempt {
                attempt.reject();
                if let Some(body) = attempt.small_answer().filter(|_| !has_better) {
                    let (headers, body, is_mute) = (head.headers.clone(), body.clone(), fault.is_mute);
                    ctx.last_answer = Some(UpstreamAnswer { status, headers, body, is_mute });
                }
            }
        }
        let mut error = Error::explain(ErrorType::HTTPStatus(status), "the provider's status");
        error.as_up();
        self.try_elsewhere(ctx, &mut error);
        Err(error)
    }

    /// `fail_to_connect`.
    pub(super) fn judge_connect(&self, ctx: &mut RequestContext, mut error: Box<Error>) -> Box<Error> {
        if let Some(current) = &ctx.current {
            current.tab.report(match error.etype() {
                ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => "connect_timeout",
                ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => "tls_failed",
                _ => "connect_failed",
            });
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
        let answered = ctx.current.as_ref().and_then(|current| current.tab.status());
        if matches!(error.etype(), ErrorType::HTTPStatus(status) if Some(*status) == answered) {
            // The head of the answer was judged, and what to do decided.
            return error;
        }
        let by_client = *error.esource() == ErrorSource::Downstream;
        if let Some(current) = &ctx.current
            && !by_client
        {
            current.tab.report(match error.etype() {
                ErrorType::ReadTimedout if current.tab.status().is_none() => "first_byte_timeout",
                ErrorType::ReadTimedout => "idle_timeout",
                ErrorType::WriteTimedout => "write_timeout",
                _ => "broken",
            });
        }
        if by_client || has_answered(session) {
            error.set_retry(false);
            return error;
        }
        if let Some(current) = &ctx.current {
            current.tab.forgive();
        }
        if *error.etype() == ErrorType::ReadTimedout {
            // The provider may still be working on it: asking it once more would have it do so twice.
            self.forsake(ctx);
        }
        self.try_elsewhere(ctx, &mut error);
        error
    }

    fn try_elsewhere(&self, ctx: &mut RequestContext, error: &mut Error) {
        let more = Self::has_more(ctx);
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
        let refusal = ctx.refusal.take().or(skipped).unwrap_or_else(route::no_provider);
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
                self.refused(&refusal);
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

/// What is wrong with an answer that was held back.
fn held_fault(current: Option<&Current>) -> Option<Fault> {
    let current = current?;
    current.attempt.as_ref().filter(|attempt| attempt.gate.is_some())?;
    current.tab.fault()
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
