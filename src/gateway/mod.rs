//! The way of a request, one file per stage, in the order in which Pingora calls its hooks:
//!
//! | stage | file | hook |
//! | --- | --- | --- |
//! | admit | `admit.rs` | `request_filter` |
//! | route | `route.rs` | `upstream_peer`, once per attempt |
//! | send | `send.rs` | `upstream_request_filter` |
//! | judge | `judge.rs` | `upstream_response_filter`, `fail_to_connect`, `error_while_proxy`, `fail_to_proxy` |
//! | meter | `meter.rs` | `response_filter`, `response_body_filter` |
//! | close | `close.rs` | `logging` |
//!
//! While an answer is slow to begin, `race.rs` may send one more attempt beside it.
//!
//! What a request carries between them is in `context.rs`; who pays is in `bill.rs`, what each attempt costs in `tab.rs`; what is
//! kept of a request that is refused is in `refused.rs`.

mod admit;
mod app;
mod bill;
mod body;
mod choice;
mod client;
mod close;
mod context;
mod credentials;
mod door;
mod explain;
mod fault;
mod judge;
mod meter;
mod models;
mod open_tabs;
mod payers;
mod race;
mod refused;
mod reply;
mod route;
mod send;
mod stage;
mod tab;
#[cfg(test)]
mod tests;
mod thread;
mod worth;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use tokio::runtime::Handle;

pub use app::{App, InFlight, InFlightCount, Live};
pub use context::RequestContext;
pub use door::door;
pub use explain::{Considered, Explanation, PayingBudget, Question};
pub use open_tabs::OpenTabs;
pub use payers::Payers;

/// The gateway as Pingora's proxy sees it.
pub struct Gateway {
    app: Arc<App>,
}

impl Gateway {
    /// A gateway over the node's parts.
    #[must_use]
    pub const fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = RequestContext;

    fn new_ctx(&self) -> Self::CTX {
        self.app.runtime.get_or_init(Handle::current);
        RequestContext::new(self.app.in_flight.enter())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        self.admit(session, ctx).await
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        self.route(ctx).await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.send(session, upstream, ctx)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.judge_head(session, head, ctx)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        self.judge_connect(ctx, error)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Self::CTX,
        _reused: bool,
    ) -> Box<Error> {
        self.judge_exchange(session, ctx, error)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        self.answer_failure(session, error, ctx).await
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.pass_head(head, ctx)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        self.pass_body(body, end, ctx).map(|()| None)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        self.close(session, error, ctx);
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        // Each request has a line of its own, which says how it ended.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
        _error: &Error,
        _context: pingora_proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
