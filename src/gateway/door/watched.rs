//! A client's connection, watched while a head is being read.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{ALPN, SslDigest};
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::super::context::RequestId;
use super::super::reply::REQUEST_ID;
use super::blocks::{Blocks, PREFACE};
use crate::dialect::{ClientHints, ErrorCode, GatewayError, Shape, error_body, route};

/// Enough of a head to see the method and the beginning of the path, which tell the client's dialect.
const BEGINNING: usize = 64;

/// Between requests.
pub(super) const IDLE: u8 = 0;
/// The first byte of a head has come, the last has not.
const HEAD: u8 = 1;
/// The head is known; the stages watch the rest.
pub(super) const REQUEST: u8 = 2;
/// Requests come side by side; their heads are found by their frames.
const HTTP2: u8 = 3;

/// See the module.
pub(super) struct Watched {
    inner: Stream,
    phase: Arc<AtomicU8>,
    head_time: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    beginning: Vec<u8>,
    /// Heads over HTTP/2.
    blocks: Blocks,
    /// Read while looking for the HTTP/2 preface; comes first when the connection is read.
    peeked: BytesMut,
    /// Our own answer, which replaces what Pingora would say.
    answer: Option<Bytes>,
}

impl Watched {
    pub(super) fn new(inner: Stream, phase: Arc<AtomicU8>, head_time: Duration) -> Self {
        Self {
            inner,
            phase,
            head_time,
            deadline: None,
            beginning: Vec::new(),
            blocks: Blocks::default(),
            peeked: BytesMut::new(),
            answer: None,
        }
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Acquire)
    }

    fn start_head(&mut self, seen: &[u8]) {
        self.phase.store(HEAD, Ordering::Release);
        self.start_deadline();
        self.beginning.clear();
        self.note(seen);
    }

    fn start_deadline(&mut self) {
        let limit = Instant::now() + self.head_time;
        match self.deadline.as_mut() {
            Some(deadline) => deadline.as_mut().reset(limit),
            None => self.deadline = Some(Box::pin(tokio::time::sleep_until(limit))),
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
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
        while PREFACE.starts_with(&self.peeked) && self.peeked.len() < PREFACE.len() {
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
            (HEAD, Poll::Pending) if this.is_late(cx) => {
                if this.answer.is_none() {
                    this.answer = Some(this.too_late());
                }
                // Pingora closes the connection on this error without an answer of its own.
                let _ = ready!(this.poll_answer(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            (HTTP2, Poll::Ready(Ok(()))) if this.blocks.see(&buf.filled()[before..]) => this.start_deadline(),
            // Nothing else may come on the connection before the head has ended: it is of no use any more.
            (HTTP2, Poll::Pending) if this.blocks.is_open() && this.is_late(cx) => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
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
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
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
        if self.peeked.starts_with(PREFACE) {
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
