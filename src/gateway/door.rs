//! The door: what a connection may do before a request is known.
//!
//! Pingora times each read of a request's head, not the whole head, and answers a head that it cannot parse without a
//! body; over HTTP/2 it does not time heads at all. The door accepts each connection in Pingora's place, through the
//! hook for custom protocols, shakes hands where TLS is spoken, and wraps the stream (`watched.rs`): an HTTP/1 head that
//! does not end within its time is answered `request_timeout`, one that cannot be parsed `invalid_request`, both with a
//! body, and the connection is closed. An HTTP/2 connection with a head that does not end is closed without a word; how
//! large a head may become is bounded by `h2` (64 KiB of headers, 5 CONTINUATION frames).

mod blocks;
mod watched;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use pingora::apps::HttpServerApp;
use pingora::connectors::http::custom::Connector as CustomConnector;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, HttpSession as Http2Session, handshake};
use pingora::protocols::l4::stream::Stream as Plain;
use pingora::protocols::{Digest, Stream};
use pingora::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, ProcessCustomSession};
use tokio_util::task::TaskTracker;

use self::watched::{IDLE, REQUEST, Watched};
use super::Gateway;

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// How long a connection without a request is kept, in seconds.
const KEEPALIVE_SECONDS: u64 = 60;

/// Requests of one HTTP/2 connection that may be malformed before it is closed.
const MALFORMED_REQUESTS: u32 = 100;

tokio::task_local! {
    static CONNECTION: Arc<AtomicU8>;
}

/// Tells the door that the head of a request is complete.
pub(super) fn head_is_complete() {
    // On HTTP/2 a request runs in a task of its own, and there is nothing to tell. A head that came together with the
    // end of the request before was never seen to begin.
    let _ = CONNECTION.try_with(|phase| phase.store(REQUEST, Ordering::Release));
}

/// Tells the door that the request is over and the next may begin.
pub(super) fn request_is_over() {
    let _ = CONNECTION.try_with(|phase| phase.store(IDLE, Ordering::Release));
}

/// What the proxy does with each connection: Pingora gives it the connection before it has read anything, which is
/// otherwise not to be had. TLS is spoken here, not in Pingora's listener, which would serve HTTP/2 over TLS itself.
pub fn door<C: CustomConnector>(head_time: Duration, tls: Option<Acceptor>) -> ProcessCustomSession<Gateway, C> {
    let tls = tls.map(Arc::new);
    Arc::new(move |proxy, stream, shutdown| {
        let (tls, shutdown) = (tls.clone(), shutdown.clone());
        Box::pin(async move {
            let stream = match tls {
                Some(acceptor) => shake_hands(&acceptor, stream).await?,
                None => stream,
            };
            let phase = Arc::new(AtomicU8::new(IDLE));
            let watched = Watched::new(stream, Arc::clone(&phase), head_time);
            CONNECTION.scope(phase, serve(proxy, watched, shutdown)).await;
            None
        })
    })
}

async fn shake_hands(acceptor: &Acceptor, stream: Stream) -> Option<Stream> {
    // The listener speaks nothing else than TCP.
    let plain = stream.into_any().downcast::<Plain>().ok()?;
    match tokio::time::timeout(HANDSHAKE, acceptor.tls_handshake(*plain)).await {
        Ok(Ok(stream)) => return Some(Box::new(stream)),
        Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on TLS"),
        Err(_) => tracing::debug!("a client did not shake hands in time"),
    }
    None
}

async fn serve<C: CustomConnector>(proxy: Arc<HttpProxy<Gateway, C>>, mut stream: Watched, shutdown: ShutdownWatch) {
    match stream.speaks_http2().await {
        Ok(true) => serve_http2(proxy, Box::new(stream), shutdown).await,
        Ok(false) => serve_http1(proxy, Box::new(stream), &shutdown).await,
        Err(error) => tracing::debug!(%error, "a connection ended before its first request"),
    }
}

/// Requests one after the other on one connection.
async fn serve_http1<C: CustomConnector>(proxy: Arc<HttpProxy<Gateway, C>>, stream: Stream, shutdown: &ShutdownWatch) {
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive((!*shutdown.borrow()).then_some(KEEPALIVE_SECONDS));
    while let Some((stream, settings)) = proxy.process_new_http(session, shutdown).await.map(|reused| reused.consume())
    {
        session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
    }
}

/// Requests side by side on one connection, each in a task of its own.
async fn serve_http2<C: CustomConnector>(
    proxy: Arc<HttpProxy<Gateway, C>>,
    stream: Stream,
    mut shutdown: ShutdownWatch,
) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let mut connection = match handshake(stream, None).await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(%error, "an HTTP/2 connection was not set up");
            return;
        }
    };
    let requests = TaskTracker::new();
    let mut malformed = 0;
    let mut stopping = *shutdown.borrow();
    if stopping {
        connection.graceful_shutdown();
    }
    loop {
        let accepted = tokio::select! {
            _ = shutdown.changed(), if !stopping => {
                stopping = true;
                connection.graceful_shutdown();
                continue;
            }
            accepted = Http2Session::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
            // An idle connection holds memory for nobody.
            () = idle(&requests) => return,
        };
        let request = match accepted {
            Ok(Some(H2Accept::Session(request))) => request,
            Ok(Some(H2Accept::Rejected)) if malformed < MALFORMED_REQUESTS => {
                malformed += 1;
                continue;
            }
            Ok(Some(H2Accept::Rejected) | None) | Err(_) => return,
        };
        let (proxy, shutdown) = (Arc::clone(&proxy), shutdown.clone());
        requests.spawn(async move { proxy.process_new_http(ServerSession::new_http2(request), &shutdown).await });
    }
}

/// Ends when no request has been running for as long as an HTTP/1.1 connection may be idle.
async fn idle(requests: &TaskTracker) {
    loop {
        tokio::time::sleep(Duration::from_secs(KEEPALIVE_SECONDS)).await;
        if requests.is_empty() {
            return;
        }
    }
}
