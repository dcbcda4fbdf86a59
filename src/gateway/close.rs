//! Stage 6, `logging`: what is known late.

use pingora::{Error, ErrorSource};
use pingora_proxy::Session;

use super::Gateway;
use super::context::RequestContext;
use super::door;
use crate::dialect::Dialect;
use crate::ledger::Outcome;

impl Gateway {
    /// The request is over for the client. When the client left or the provider broke off, no stage has seen an end:
    /// then the engine's drain settles, or this does.
    pub(super) fn close(&self, session: &Session, error: Option<&Error>, ctx: &mut RequestContext) {
        ctx.end_race();
        let client_left = error.is_some_and(|e| *e.esource() == ErrorSource::Downstream);
        if let Some(current) = ctx.current.take()
            && !current.tab.is_draining()
        {
            let outcome = match error {
                Some(_) if client_left => Outcome::ClientAborted,
                Some(_) => Outcome::UpstreamFailed,
                None => current.tab.outcome(),
            };
            current.tab.settle(outcome, ctx.status);
        }
        self.count(session, ctx, client_left);
        ctx.free_place();
        ctx.admitted = None;
        door::request_is_over();
    }

    fn count(&self, session: &Session, ctx: &RequestContext, client_left: bool) {
        let metrics = &self.app.metrics;
        let elapsed = ctx.arrived.elapsed();
        metrics.request_duration.observe(elapsed.as_secs_f64());
        let dialect = ctx.dialect.map_or("", Dialect::as_str);
        let provider = ctx.admitted.as_ref().map_or("", |admitted| admitted.choice.last());
        let status = ctx.status.unwrap_or(0);
        metrics.requests.with_label_values(&[dialect, provider, &status.to_string()]).inc();
        tracing::info!(
            request = %ctx.id,
            method = %session.req_header().method,
            path = session.req_header().uri.path(),
            dialect,
            provider,
            status,
            client_left,
            ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "request"
        );
    }
}
