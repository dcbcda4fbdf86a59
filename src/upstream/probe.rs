//! A request of our own, about which nobody but us wants to know anything but whether it is answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::http::Connector as Pool;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use tokio::time::timeout;

use super::attempt::{Attempt, Beginning, Ending, Observer, Timeouts};
use super::engine::Exchange;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error("no connection could be made")]
    Connect,
    /// It broke off.
    #[error("the connection broke off before an answer")]
    Broken,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// Sends probes, by the way that requests take, on connections of its own: one that is answered on a connection from
/// before would not show that another can be made.
pub struct Prober {
    pool: Arc<Pool>,
}

impl Default for Prober {
    fn default() -> Self {
        Self { pool: Arc::new(Pool::new(None)) }
    }
}

impl Prober {
    /// The status of the answer. What follows it is not read.
    ///
    /// # Errors
    /// There is none.
    pub async fn ask(&self, peer: &HttpPeer, head: RequestHeader, limit: Duration) -> Result<u16, ProbeError> {
        let asking = Box::pin(async {
            let connecting = Exchange::connect(Arc::clone(&self.pool), peer).await;
            let mut exchange = connecting.map_err(|_| ProbeError::Connect)?;
            exchange.prepare(Arc::new(Attempt::new(head, Bytes::new(), Timeouts::default(), Arc::new(Nobody))));
            exchange.start().await.map_err(|_| ProbeError::Broken)?;
            exchange.head().map(|head| head.status.as_u16()).ok_or(ProbeError::Broken)
        });
        timeout(limit, asking).await.unwrap_or(Err(ProbeError::Timeout))
    }
}

struct Nobody;

impl Observer for Nobody {
    fn sending(&self) -> bool {
        true
    }

    fn head(&self, _: &ResponseHeader) {}

    fn body(&self, _: &[u8]) {}

    fn ended(&self) {}

    fn beginning(&self) -> Beginning {
        Beginning::Good
    }

    fn lost(&self) -> bool {
        false
    }

    fn draining(&self) -> bool {
        false
    }

    fn drained(&self, _: Ending) {}
}
