//! Serves the REST API to clients that may be slow, but not for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// For how long a connection waits for the next request, and for the whole of its head. Longer than clients keep one that
/// they do not use, so that it is they who end it.
const HEAD: Duration = Duration::from_secs(120);

/// For the first head: who connects wants something.
const FIRST_HEAD: Duration = Duration::from_secs(10);

/// Connections at once; further ones wait to be taken. Each is a file of the process that also serves the gateway.
const CONNECTIONS: usize = 256;

/// For how long a client may take nothing of an answer that it has asked for.
const STALLED: Duration = Duration::from_secs(60);

/// Before the next try to accept, when the process has no more files to open.
const RETRY: Duration = Duration::from_millis(100);

/// Serves until the node stops; what is being answered then is finished.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let next = async || {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        Ok::<_, io::Error>((listener.accept().await?, place))
    };
    while let Some(accepted) = stop.run_until_cancelled(next()).await {
        match accepted {
            Ok(((stream, client), place)) => {
                // When it is full nobody keeps a place that he does not use: health is asked for here, too.
                let keeps = places.available_permits() > CONNECTIONS / 4;
                let conversation = converse(stream, client, keeps, router.clone(), stop.clone());
                tokio::spawn(async move {
                    conversation.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener took no connection; it goes on");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, client: SocketAddr, keeps: bool, router: Router, stop: CancellationToken) {
    let asked = CancellationToken::new();
    let asks = asked.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        asks.cancel();
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(client));
        answer(router.clone(), request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(keeps)
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(Impatient::new(stream, STALLED)), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = without(&asked) => {
            tracing::debug!("a connection to the admin address asked for nothing");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the admin address broke off");
    }
}

/// Returns when there was no first head in time.
async fn without(asked: &CancellationToken) {
    if tokio::time::timeout(FIRST_HEAD, asked.cancelled()).await.is_ok() {
        std::future::pending().await
    }
}

/// Answers a request. What changes something is carried out to its end, whether or not the client stays: between its commit
/// and its taking effect nobody's hanging up may stop it.
async fn answer(router: Router, request: Request) -> io::Result<Response> {
    let changes_nothing = request.method().is_safe();
    let answering = router.oneshot(request);
    let Ok(answer) =
        if changes_nothing { answering.await } else { tokio::spawn(answering).await.map_err(io::Error::other)? };
    Ok(answer)
}

/// A connection that ends when the other side takes nothing for a while.
struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    const fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    /// Passes on what became of a write, until it has waited for too long.
    fn bounded<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waiting.as_mut().poll(context).map(|()| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn whoever_takes_nothing_of_an_answer_is_left() {
        let (client, server) = tokio::io::duplex(16);
        let mut server = Impatient::new(server, Duration::from_millis(50));
        let error = server.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_a_little_now_and_then_is_served() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut server = Impatient::new(server, Duration::from_millis(500));
        let reading = async {
            let mut taken = [0; 16];
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                client.read_exact(&mut taken).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(server.write_all(&[0; 128]), reading);
        written.unwrap();
    }
}
