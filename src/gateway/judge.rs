//! Stage 4: try again, go elsewhere, or pass on; decided while nothing has gone to the client.

use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, Session};

use super::Gateway;
use super::context::{RequestContext, UpstreamAnswer};
use super::{reply, route};
use crate::ledger::Outcome;

impl Gateway {
    /// `upstream_response_filter`: an error that another attempt may not meet is not passed on while there is one.
    pub(super) fn judge_head(&self, session: &Session, head: &ResponseHeader, ctx: &mut RequestContext) -> Result<()> {
        let status = head.status.as_u16();
        if !is_retryable(status) || has_answered(session) || !Self::has_more(ctx) {
            return Ok(());
        }
        if let Some(current) = &ctx.current {
            current.tab.report("upstream_status");
            if let Some(attempt) = &current.attempt {
                attempt.reject();
                if let Some(body) = attempt.small_answer() {
                    ctx.last_answer =
                        Some(UpstreamAnswer { status, headers: head.headers.clone(), body: body.clone() });
                }
            }
        }
        self.advance(ctx);
        let mut error = Error::explain(ErrorType::HTTPStatus(status), "the provider's status");
        error.as_up();
        error.set_retry(true);
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
        // In this order: an error of a socket has not decided yet, and Pingora panics when it is asked.
        let decided = matches!(error.etype(), ErrorType::HTTPStatus(_)) && error.retry();
        if decided {
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
        let sent = match (ctx.refusal.take(), ctx.last_answer.take()) {
            (_, Some(answer)) => {
                // Like any other answer it is settled before it is passed on.
                if let Some(current) = &ctx.current {
                    current.tab.settle(Outcome::UpstreamFailed, Some(answer.status));
                }
                reply::pass_on(session, ctx, answer.status, &answer.headers, answer.body).await
            }
            (refusal, None) => {
                let refusal = refusal.unwrap_or_else(route::no_provider);
                self.refused(&refusal);
                if let Some(admitted) = &ctx.admitted {
                    // A refusal is no row of the ledger.
                    drop(admitted.bill.slot.lock().take());
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

/// Statuses that another attempt may not meet: 408, 429 and all 5xx, 529 ("overloaded") among them.
const fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// Whether the client has been sent a final head; interim answers do not count.
fn has_answered(session: &Session) -> bool {
    session.response_written().is_some_and(|head| !head.status.is_informational())
}
