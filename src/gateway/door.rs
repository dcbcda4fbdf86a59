//! The door: what a connection may do before a request is known.
//!
//! Pingora times each read of a request's head, not the whole head, and answers a head that it cannot parse without a
//! body. The door accepts each connection in Pingora's place, through the hook for custom protocols, and wraps the connection's stream: a head that does not end within its time is answered
//! `request_timeout`, a head that cannot be parsed `invalid_request`, both with a body, and the connection is closed.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use pingora::apps::HttpServerApp;
use pingora::connectors::http::custom::Connector as CustomConnector;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, HttpSession as Http2Session, handshake};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{ALPN, SslDigest};
use pingora::protocols::{
    Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use pingora::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, ProcessCustomSession};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;

use super::Gateway;
use super::context::RequestId;
use super::reply::REQUEST_ID;
use crate::dialect::{ClientHints, ErrorCode, GatewayError, Shape, error_body, route};

/// What an HTTP/2 client says first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Enough of a head to see the method and the beginning of the path, which tell the client's dialect.
const BEGINNING: usize = 64;

/// How long a connection without a request is kept, in seconds.
const KEEPALIVE_SECONDS: u64 = 60;

/// Requests of one HTTP/2 connection that may be malformed before it is closed.
const MALFORMED_REQUESTS: u32 = 100;

/// Between requests.
const IDLE: u8 = 0;
/// The first byte of a head has come, the last has not.
const HEAD: u8 = 1;
/// The head is known; the stages watch the rest.
const REQUEST: u8 = 2;
/// HTTP/2 frames its own heads.
const HTTP2: u8 = 3;

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

/// What the proxy does with each connection that is not HTTP/2 over TLS: Pingora gives it the connection before it has
/// read anything, which is otherwise not to be had.
pub fn door<C: CustomConnector>(head_time: Duration) -> ProcessCustomSession<Gateway, C> {
    Arc::new(move |proxy, stream, shutdown| {
        let phase = Arc::new(AtomicU8::new(IDLE));
        let watched = Watched::new(stream, Arc::clone(&phase), head_time);
        let serving = serve(proxy, watched, shutdown.clone());
        Box::pin(async move {
            CONNECTION.scope(phase, serving).await;
            None
        })
    })
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

/// A client's connection, watched while a head is being read.
struct Watched {
    inner: Stream,
    phase: Arc<AtomicU8>,
    head_time: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    beginning: Vec<u8>,
    /// Read while looking for the HTTP/2 preface; comes first when the connection is read.
    peeked: BytesMut,
    /// Our own answer, which replaces what Pingora would say.
    answer: Option<Bytes>,
}

impl Watched {
    fn new(inner: Stream, phase: Arc<AtomicU8>, head_time: Duration) -> Self {
        Self { inner, phase, head_time, deadline: None, beginning: Vec::new(), peeked: BytesMut::new(), answer: None }
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Acquire)
    }

    fn start_head(&mut self, seen: &[u8]) {
        self.phase.store(HEAD, Ordering::Release);
        let limit = Instant::now() + self.head_time;
        match self.deadline.as_mut() {
            Some(deadline) => deadline.as_mut().reset(limit),
            None => self.deadline = Some(Box::pin(tokio::time::sleep_until(limit))),
        }
        self.beginning.clear();
        self.note(seen);
    }

    fn note(&mut self, seen: &[u8]) {
        let room = BEGINNING - self.beginning.len();
        self.beginning.extend_from_slice(&seen[..seen.len().min(room)]);
    }

    fn shape(&self) -> Shape {
        let text = String::from_utf8_lossy(&self.beginning);
        let mut words = text.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        route(method, path, None, ClientHints::default()).map_or_else(|error| error.shape, |route| route.shape)
    }

    fn answer_with(&self, error: &GatewayError) -> Bytes {
        let id = RequestId::new();
        let body = error_body(self.shape(), error, &id.to_string());
        let status = error.code.status();
        let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default();
        let mut answer = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             {REQUEST_ID}: {id}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        answer.into()
    }

    fn too_late(&self) -> Bytes {
        self.answer_with(&GatewayError::new(
            ErrorCode::RequestTimeout,
            "the head of the request did not arrive in time; send it at once",
        ))
    }

    /// Reads until it is clear whether the client begins with the HTTP/2 preface.
    async fn peek_preface(&mut self) -> io::Result<()> {
        while HTTP2_PREFACE.starts_with(&self.peeked) && self.peeked.len() < HTTP2_PREFACE.len() {
            if self.inner.read_buf(&mut self.peeked).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Writes what is left of our own answer.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(answer) = self.answer.as_mut().filter(|a| !a.is_empty()) {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, answer))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            answer.advance(n);
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = if this.peeked.is_empty() {
            Pin::new(&mut this.inner).poll_read(cx, buf)
        } else {
            let n = this.peeked.len().min(buf.remaining());
            buf.put_slice(&this.peeked.split_to(n));
            Poll::Ready(Ok(()))
        };
        match (this.phase(), &read) {
            (IDLE, Poll::Ready(Ok(()))) if buf.filled().len() > before => {
                let seen = &buf.filled()[before..];
                this.start_head(seen);
            }
            (HEAD, Poll::Ready(Ok(()))) => this.note(&buf.filled()[before..]),
            (HEAD, Poll::Pending) => {
                if let Some(deadline) = this.deadline.as_mut()
                    && deadline.as_mut().poll(cx).is_ready()
                {
                    if this.answer.is_none() {
                        this.answer = Some(this.too_late());
                    }
                    // Pingora closes the connection on this error without an answer of its own.
                    let _ = ready!(this.poll_answer(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            _ => {}
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // An answer before the head is known is Pingora's bare refusal of a head that it cannot parse.
        if this.phase() == HEAD && !buf.is_empty() {
            if this.answer.is_none() {
                let error = GatewayError::new(
                    ErrorCode::InvalidRequest,
                    "the head of the request is not valid HTTP/1.1: check its request line, the number and form of its \
                     headers, and that its length is given once",
                );
                this.answer = Some(this.answer_with(&error));
            }
            ready!(this.poll_answer(cx))?;
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut this.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.phase() == HEAD {
            let first = bufs.iter().find(|b| !b.is_empty()).map_or(&[][..], |b| &**b);
            return self.poll_write(cx, first);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl Peek for Watched {}

impl Watched {
    /// Whether the client begins with the HTTP/2 preface. Nothing that is read here is lost.
    async fn speaks_http2(&mut self) -> io::Result<bool> {
        // Pingora's own peek waits for 24 bytes, which a short HTTP/1.0 request never has, and for ever.
        match tokio::time::timeout(self.head_time, self.peek_preface()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                // A client that connects and says nothing is let go without a word.
                if !self.peeked.is_empty() {
                    let seen = self.peeked.clone();
                    self.start_head(&seen);
                    self.answer = Some(self.too_late());
                    std::future::poll_fn(|cx| self.poll_answer(cx)).await?;
                }
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        if self.peeked.starts_with(HTTP2_PREFACE) {
            self.phase.store(HTTP2, Ordering::Release);
            return Ok(true);
        }
        Ok(false)
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Watched {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, socket_digest: SocketDigest) {
        self.inner.set_socket_digest(socket_digest);
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("inner", &self.inner).finish_non_exhaustive()
    }
}
