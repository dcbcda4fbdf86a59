//! The thin shell through which `pingora-proxy` drives an [`Exchange`].
//!
//! The traits are Pingora's, public but hidden from its documentation: the crate's version is pinned, and everything
//! that touches them is here.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector as Pool;
use pingora::connectors::http::custom::{Connection, Connector as CustomConnector};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::custom::client::Session;
use pingora::protocols::http::custom::{BodyWrite, CustomMessageWrite};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::{Digest, UniqueIDType};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType, Result};

use super::attempt::Attempt;
use super::engine::{DrainLimits, Exchange};
use super::race::{Race, Rivalry};

/// Opens exchanges for the proxy. Pooling, TLS and protocol negotiation stay Pingora's.
pub struct Connector {
    pool: Arc<Pool>,
    drain: Arc<ArcSwap<DrainLimits>>,
}

impl Connector {
    /// A connector with a pool of its own.
    #[must_use]
    pub fn new(conf: &ServerConf, drain: Arc<ArcSwap<DrainLimits>>) -> Self {
        Self { pool: Arc::new(Pool::new(Some(ConnectorOptions::from_server_conf(conf)))), drain }
    }
}

#[async_trait]
impl CustomConnector for Connector {
    type Session = ExchangeSession;

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Connection<Self::Session>, bool)> {
        let peer = (peer as &dyn Any)
            .downcast_ref::<HttpPeer>()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "not an HttpPeer"))?;
        let exchange = Exchange::connect(Arc::clone(&self.pool), peer).await?;
        let reused = exchange.reused();
        Ok((Connection::Session(ExchangeSession::new(exchange, Arc::clone(&self.drain))), reused))
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(&self, _peer: &P) -> Option<Self::Session> {
        None
    }

    /// Called always, whatever became of the exchange.
    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        mut session: Self::Session,
        _peer: &P,
        _idle: Option<Duration>,
    ) {
        let drain = self.drain.load_full();
        if let Some(race) = session.race.take() {
            race.abandon(&drain).await;
        }
        if let Some(exchange) = session.exchange.take() {
            exchange.release(&drain).await;
        }
    }
}

/// What the proxy holds of an exchange.
pub struct ExchangeSession {
    exchange: Option<Exchange>,
    /// As long as it is open whose answer the client gets; almost always there is none.
    race: Option<Box<Race>>,
    drain: Arc<ArcSwap<DrainLimits>>,
    head: Option<ResponseHeader>,
    digest: Option<Digest>,
    ended: bool,
}

impl ExchangeSession {
    fn new(mut exchange: Exchange, drain: Arc<ArcSwap<DrainLimits>>) -> Self {
        let digest = exchange.digest().cloned();
        Self { exchange: Some(exchange), race: None, drain, head: None, digest, ended: false }
    }

    fn exchange(&mut self) -> Result<&mut Exchange> {
        self.exchange.as_mut().ok_or_else(gone)
    }
}

fn gone() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "the exchange is gone")
}

impl Drop for ExchangeSession {
    /// The proxy's task was cut off (a panic): the answer is read on, as when the client leaves.
    fn drop(&mut self) {
        let (exchange, race) = (self.exchange.take(), self.race.take());
        if (exchange.is_some() || race.is_some())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let drain = self.drain.load_full();
            runtime.spawn(async move {
                if let Some(race) = race {
                    race.abandon(&drain).await;
                }
                if let Some(exchange) = exchange {
                    exchange.release(&drain).await;
                }
            });
        }
    }
}

#[async_trait]
impl Session for ExchangeSession {
    async fn write_request_header(&mut self, mut head: Box<RequestHeader>, _end: bool) -> Result<()> {
        let attempt = head.extensions_mut().remove::<Arc<Attempt>>().ok_or_else(|| {
            Error::explain(ErrorType::InternalError, "the request has no attempt: upstream_request_filter adds it")
        })?;
        self.exchange()?.prepare(attempt);
        self.race = head.extensions_mut().remove::<Rivalry>().map(|rivalry| Box::new(Race::new(rivalry)));
        Ok(())
    }

    async fn read_response_header(&mut self) -> Result<()> {
        // The proxy's loop also waits for two message channels that an HTTP client never uses. When an answer ends
        // before the loop has seen them closed, it goes on to read the client's next request as if it belonged to
        // this one. `try_join!` polls the loop at the latest after the second yield: then the channels are closed
        // before the request has left.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        if let Some(race) = self.race.as_mut() {
            let exchange = self.exchange.as_mut().ok_or_else(gone)?;
            let decided = race.start(exchange, &self.drain.load_full()).await;
            self.race = None;
            decided?;
        }
        let exchange = self.exchange()?;
        exchange.start().await?;
        self.head = exchange.head().cloned();
        Ok(())
    }

    async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        let exchange = self.exchange()?;
        let piece = exchange.next().await?;
        self.ended = exchange.ended();
        Ok(piece)
    }

    /// The end is always told with a piece of the body, never with the head: it is there that answers are settled.
    async fn check_response_end_or_error(&mut self, headers: bool) -> Result<bool> {
        Ok(!headers && self.ended)
    }

    fn response_finished(&self) -> bool {
        self.ended
    }

    fn response_header(&self) -> Option<&ResponseHeader> {
        self.head.as_ref()
    }

    fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.digest.as_mut()
    }

    fn take_request_body_writer(&mut self) -> Option<Box<dyn BodyWrite>> {
        Some(Box::new(NoBody))
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        Some(Box::new(futures::stream::empty()))
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        Some(Box::new(()))
    }

    async fn read_trailers(&mut self) -> Result<Option<HeaderMap>> {
        Ok(None)
    }

    fn was_upgraded(&self) -> bool {
        false
    }

    fn fd(&self) -> UniqueIDType {
        // The proxy only hands it to a hook that is not used.
        UniqueIDType::default()
    }

    // What the attempt carries takes the place of what follows; the proxy's custom path does not call it.

    async fn write_request_body(&mut self, _data: Bytes, _end: bool) -> Result<()> {
        Ok(())
    }

    async fn finish_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {}

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    async fn drain_custom_messages(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The body travels in the attempt; what the proxy would write is nothing.
struct NoBody;

#[async_trait]
impl BodyWrite for NoBody {
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()> {
        data.clear();
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    async fn cleanup(&mut self) -> Result<()> {
        Ok(())
    }

    fn upgrade_body_writer(&mut self) {}
}
