//! A gateway whose stages panic when a test says so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::gateway::admit::unpanicked;
use crate::gateway::{Gateway, RequestContext};

/// Where a request may meet a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// At the end of `request_filter`, where everything is known and nothing is sent.
    Admit,
    /// The same, outside of what is caught there.
    Admitted,
    Route,
    Send,
    Judge,
    Head,
    Body,
    LastByte,
    Close,
}

/// The gateway; the stage that is armed panics, once.
pub(super) struct Panicking {
    pub(super) gateway: Gateway,
    pub(super) armed: Arc<Mutex<Option<Stage>>>,
}

impl Panicking {
    fn reach(&self, stage: Stage) {
        let armed = self.armed.lock().take_if(|armed| *armed == stage);
        assert_eq!(armed, None, "the test wants a panic here");
    }
}

#[async_trait]
impl ProxyHttp for Panicking {
    type CTX = RequestContext;

    fn new_ctx(&self) -> Self::CTX {
        self.gateway.new_ctx()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        if *self.armed.lock() != Some(Stage::Admit) {
            let answered = self.gateway.request_filter(session, ctx).await;
            self.reach(Stage::Admitted);
            return answered;
        }
        let outcome = unpanicked(async {
            let next = self.gateway.examine(session, ctx).await;
            self.reach(Stage::Admit);
            next
        });
        let outcome = outcome.await;
        self.gateway.conclude(session, ctx, outcome).await
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let peer = self.gateway.upstream_peer(session, ctx).await;
        self.reach(Stage::Route);
        peer
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let sent = self.gateway.upstream_request_filter(session, upstream, ctx).await;
        self.reach(Stage::Send);
        sent
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.reach(Stage::Judge);
        self.gateway.upstream_response_filter(session, head, ctx).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        self.gateway.fail_to_connect(session, peer, ctx, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        self.gateway.error_while_proxy(peer, session, error, ctx, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        self.gateway.fail_to_proxy(session, error, ctx).await
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.reach(Stage::Head);
        self.gateway.response_filter(session, head, ctx).await
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        self.reach(if end { Stage::LastByte } else { Stage::Body });
        self.gateway.response_body_filter(session, body, end, ctx)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        self.reach(Stage::Close);
        self.gateway.logging(session, error, ctx).await;
    }
}
