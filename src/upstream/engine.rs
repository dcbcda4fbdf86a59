//! The engine: one [`Exchange`] sends an attempt and reads its answer to the end, whoever listens.
//!
//! A client may leave at any await point. What is in flight then stays in the exchange (`start` is a boxed future that
//! outlives its caller), so that [`Exchange::give_up`] can carry on where the caller stopped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use parking_lot::Mutex;
use pingora::connectors::http::Connector as Pool;
use pingora::http::ResponseHeader;
use pingora::protocols::Digest;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::attempt::{Attempt, Ending};
use super::peer::real_peer;

/// An error answer up to this size is read whole before it is judged: it can be passed on later, and its
/// connection is reused.
const SMALL_ANSWER: usize = 64 * 1024;

/// How long a small error answer may take to arrive.
const SMALL_ANSWER_TIME: Duration = Duration::from_secs(1);

/// Pieces that are already there are passed on as one, up to this size: fewer calls and writes, no delay.
const COALESCE: usize = 16 * 1024;

/// After a failed write the provider may have answered early; its answer is awaited this long.
const EARLY_ANSWER_TIME: Duration = Duration::from_secs(1);

/// A provider that closed an idle connection as we sent is noticed within this time. Later it may have worked on the
/// request: sending it again would be paid twice.
const STALE_TIME: Duration = Duration::from_secs(1);

/// Makes the pool groups of fresh connections differ.
static FRESH: AtomicU64 = AtomicU64::new(0);

/// Bounds of reading on after clients have left.
#[derive(Debug)]
pub struct DrainLimits {
    /// How long one answer may be read on.
    pub time: Duration,
    /// How many answers may be read on at once.
    pub slots: Arc<Semaphore>,
}

type Start = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// An answer whose head is there.
struct Answer {
    session: HttpSession,
    head: ResponseHeader,
    /// Read with the head and not handed out yet: the body of an error answer, or its beginning.
    ahead: Option<Bytes>,
    /// The provider has sent all of it.
    ended: bool,
    /// The connection must not be used again.
    spent: bool,
}

enum State {
    /// Connected, nothing sent.
    Idle(Box<HttpSession>),
    /// Sending, or waiting for the head.
    Starting(Start),
    Open(Box<Answer>),
    /// Failed, or handed over.
    Gone,
}

/// One attempt on one connection.
pub struct Exchange {
    pool: Arc<Pool>,
    peer: HttpPeer,
    reused: bool,
    attempt: Option<Arc<Attempt>>,
    /// The mutex is never contended: it makes the boxed future `Sync`, which the proxy's trait demands.
    state: Mutex<State>,
    deadline: Option<Instant>,
    /// An error met while pieces were joined; told at the next read.
    pending: Option<Box<Error>>,
}

impl Exchange {
    /// Connects, or takes a pooled connection.
    ///
    /// # Errors
    /// When no connection can be made within the peer's connect time-out.
    pub async fn connect(pool: Arc<Pool>, peer: &HttpPeer) -> Result<Self> {
        let peer = real_peer(peer);
        let (session, reused) = pool.get_http_session(&peer).await?;
        Ok(Self {
            pool,
            peer,
            reused,
            attempt: None,
            state: Mutex::new(State::Idle(Box::new(session))),
            deadline: None,
            pending: None,
        })
    }

    /// Whether the connection had been used before.
    pub(super) const fn reused(&self) -> bool {
        self.reused
    }

    /// Says what to send; nothing is sent before [`start`](Self::start).
    pub(super) fn prepare(&mut self, attempt: Arc<Attempt>) {
        self.attempt = Some(attempt);
    }

    /// Facts about the connection, as long as nothing has been sent.
    pub(super) fn digest(&mut self) -> Option<&Digest> {
        match self.state.get_mut() {
            State::Idle(session) => session.digest(),
            State::Open(answer) => answer.session.digest(),
            State::Starting(_) | State::Gone => None,
        }
    }

    /// Sends the request and waits for the head of the answer. May be dropped and called again.
    ///
    /// # Errors
    /// When the provider breaks off, falls silent or talks nonsense.
    pub async fn start(&mut self) -> Result<()> {
        if let State::Idle(_) = self.state.get_mut() {
            let attempt = self.attempt.clone().ok_or_else(not_prepared)?;
            if !attempt.timeouts.total.is_zero() {
                self.deadline = Some(Instant::now() + attempt.timeouts.total);
            }
            if let State::Idle(session) = std::mem::replace(self.state.get_mut(), State::Gone) {
                let (pool, peer, reused) = (Arc::clone(&self.pool), self.peer.clone(), self.reused);
                let deadline = self.deadline;
                *self.state.get_mut() =
                    State::Starting(Box::pin(start(pool, peer, reused, *session, attempt, deadline)));
            }
        }
        if let State::Starting(start) = self.state.get_mut() {
            let outcome = start.await;
            *self.state.get_mut() = match outcome {
                Ok(answer) => State::Open(Box::new(answer)),
                Err(error) => {
                    *self.state.get_mut() = State::Gone;
                    return Err(error);
                }
            };
        }
        Ok(())
    }

    /// The head of the answer, once it is there.
    pub(super) fn head(&mut self) -> Option<&ResponseHeader> {
        match self.state.get_mut() {
            State::Open(answer) => Some(&answer.head),
            _ => None,
        }
    }

    /// Whether the whole answer has been handed out.
    pub(super) fn ended(&mut self) -> bool {
        self.pending.is_none()
            && matches!(self.state.get_mut(), State::Open(answer) if answer.ended && answer.ahead.is_none())
    }

    /// The next piece of the body; an empty last piece when the end came after the last byte.
    ///
    /// # Errors
    /// When the provider breaks off or falls silent.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(error) = self.pending.take() {
            *self.state.get_mut() = State::Gone;
            return Err(error);
        }
        let (Some(attempt), State::Open(answer)) = (self.attempt.as_ref(), self.state.get_mut()) else {
            return Ok(None);
        };
        if let Some(ahead) = answer.ahead.take() {
            return Ok(Some(ahead));
        }
        if answer.ended {
            return Ok(None);
        }
        match read_piece(answer, attempt, idle_limit(attempt, self.deadline)).await {
            Ok(piece) => {
                let (joined, error) = join_ready(answer, attempt, piece);
                self.pending = error;
                Ok(Some(joined))
            }
            Err(error) => {
                *self.state.get_mut() = State::Gone;
                Err(error)
            }
        }
    }

    /// The proxy is done with the exchange: pools the connection when the answer was read to its end, else reads on
    /// in the background, so that what the provider bills is known.
    pub(super) async fn release(mut self, drain: &DrainLimits) {
        let state = std::mem::replace(self.state.get_mut(), State::Gone);
        match state {
            State::Open(answer) if answer.ended => self.pool_connection(*answer).await,
            State::Idle(session) => {
                // Nothing was sent: the client left before the attempt began.
                self.pool.release_http_session(*session, &self.peer, self.peer.idle_timeout()).await;
            }
            State::Starting(_) | State::Open(_) => self.give_up(state, drain),
            State::Gone => {}
        }
    }

    async fn pool_connection(&self, answer: Answer) {
        if !answer.spent {
            self.pool.release_http_session(answer.session, &self.peer, self.peer.idle_timeout()).await;
        }
    }

    /// Reads on without the client, within bounds, and tells the observer how it ended.
    fn give_up(mut self, state: State, drain: &DrainLimits) {
        let Some(attempt) = self.attempt.take() else { return };
        if attempt.is_rejected() {
            return;
        }
        let wanted = attempt.observer.draining();
        let slot = Arc::clone(&drain.slots).try_acquire_owned().ok().filter(|_| wanted);
        let Some(slot) = slot else {
            attempt.observer.drained(Ending::GaveUp);
            return;
        };
        let limit = Instant::now() + drain.time;
        tokio::spawn(async move {
            let _slot = slot;
            let mut told = Told { attempt: Arc::clone(&attempt), ending: Ending::Broken };
            match timeout_at(limit, self.read_to_end(state, &attempt)).await {
                Ok(Some(answer)) => {
                    told.ending = Ending::Complete;
                    drop(told);
                    self.pool_connection(*answer).await;
                }
                Ok(None) => {}
                Err(_) => told.ending = Ending::GaveUp,
            }
        });
    }

    async fn read_to_end(&self, state: State, attempt: &Attempt) -> Option<Box<Answer>> {
        if self.pending.is_some() {
            return None;
        }
        let mut answer = match state {
            State::Starting(start) => Box::new(start.await.ok()?),
            State::Open(answer) => answer,
            State::Idle(_) | State::Gone => return None,
        };
        while !answer.ended {
            read_piece(&mut answer, attempt, idle_limit(attempt, self.deadline)).await.ok()?;
        }
        Some(answer)
    }
}

/// Tells the observer how a drain ended, also when the drain's task is cut off.
struct Told {
    attempt: Arc<Attempt>,
    ending: Ending,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.attempt.observer.drained(self.ending);
    }
}

/// Sends and waits for the head; once more when a pooled connection turns out to be dead.
async fn start(
    pool: Arc<Pool>,
    peer: HttpPeer,
    reused: bool,
    session: HttpSession,
    attempt: Arc<Attempt>,
    deadline: Option<Instant>,
) -> Result<Answer> {
    let http2 = matches!(session, HttpSession::H2(_));
    let begun = Instant::now();
    match send(session, &peer, &attempt, deadline).await {
        Ok(answer) => Ok(answer),
        Err(error) if is_downgrade(&error) => {
            pool.prefer_h1(&peer);
            let (session, _) = pool.get_http_session(&peer).await?;
            send(session, &peer, &attempt, deadline).await
        }
        // The pool drops an HTTP/2 connection that says so.
        Err(mut error) if reused && http2 => {
            error.retry.decide_reuse(reused);
            if !error.retry() {
                return Err(error);
            }
            let (session, _) = pool.get_http_session(&peer).await?;
            send(session, &peer, &attempt, deadline).await
        }
        Err(error) if reused && is_stale(&error) && begun.elapsed() < STALE_TIME => {
            let mut fresh = peer;
            // A group of its own: the pool has no idle connection for it, so this one is new.
            fresh.group_key = fresh.group_key.wrapping_add(FRESH.fetch_add(1, Ordering::Relaxed) + 1);
            let (session, _) = pool.get_http_session(&fresh).await?;
            let mut answer = send(session, &fresh, &attempt, deadline).await?;
            answer.spent = true;
            Ok(answer)
        }
        Err(error) => Err(error),
    }
}

async fn send(
    mut session: HttpSession,
    peer: &HttpPeer,
    attempt: &Attempt,
    deadline: Option<Instant>,
) -> Result<Answer> {
    session.set_write_timeout(peer.options.write_timeout);
    let sent = send_request(&mut session, attempt).await;
    let spent = sent.is_err();
    if let Err(error) = sent {
        // The provider may have answered early (413, 429) and closed its reading side.
        let early = tokio::time::timeout(EARLY_ANSWER_TIME, read_head(&mut session)).await;
        let Ok(Ok(head)) = early else { return Err(error) };
        return opened(session, head, attempt, true, deadline).await;
    }
    let limit = earliest(limit(attempt.timeouts.first_byte), deadline);
    let head = within(limit, "waiting for the first byte", read_head(&mut session)).await??;
    opened(session, head, attempt, spent, deadline).await
}

async fn send_request(session: &mut HttpSession, attempt: &Attempt) -> Result<()> {
    session.write_request_header(Box::new(attempt.head.clone())).await?;
    if !attempt.body.is_empty() {
        session.write_request_body(attempt.body.clone(), true).await?;
    }
    session.finish_request_body().await
}

/// Reads heads until a final one: 1xx are the provider's own affair.
async fn read_head(session: &mut HttpSession) -> Result<ResponseHeader> {
    loop {
        session.read_response_header().await?;
        let head = session.response_header().ok_or_else(not_prepared)?;
        if !head.status.is_informational() {
            return Ok(head.clone());
        }
        if matches!(session, HttpSession::H2(_)) || head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "unexpected informational answer");
        }
    }
}

async fn opened(
    mut session: HttpSession,
    head: ResponseHeader,
    attempt: &Attempt,
    spent: bool,
    deadline: Option<Instant>,
) -> Result<Answer> {
    if let HttpSession::H1(h1) = &mut session {
        h1.respect_keepalive();
    }
    attempt.observer.head(&head);
    let ended = session.response_done();
    let mut answer = Answer { session, head, ahead: None, ended, spent };
    if ended {
        attempt.observer.ended();
        // Whoever settles is asked with a piece of the body, if only an empty one.
        answer.ahead = Some(Bytes::new());
    } else if answer.head.status.is_client_error() || answer.head.status.is_server_error() {
        read_small_body(&mut answer, attempt, deadline).await?;
    }
    Ok(answer)
}

/// Reads the body of an error answer with its head, as far as it is small and comes at once: then it can be judged,
/// and passed on later. What is longer or slower is streamed from where this stopped.
async fn read_small_body(answer: &mut Answer, attempt: &Attempt, deadline: Option<Instant>) -> Result<()> {
    let limit = earliest(Some(Instant::now() + SMALL_ANSWER_TIME), deadline);
    let mut body = BytesMut::new();
    while !answer.ended && body.len() < SMALL_ANSWER {
        match read_piece(answer, attempt, limit).await {
            Ok(piece) => body.extend_from_slice(&piece),
            Err(error) if *error.etype() == ErrorType::ReadTimedout => break,
            Err(error) => return Err(error),
        }
    }
    if answer.ended {
        attempt.set_small_answer(body.clone().freeze());
    }
    if answer.ended || !body.is_empty() {
        answer.ahead = Some(body.freeze());
    }
    Ok(())
}

/// One piece of the body, told to the observer; sets `ended` when it is the last. An end without bytes is an empty
/// piece, so that whoever settles at the end is always asked.
async fn read_piece(answer: &mut Answer, attempt: &Attempt, limit: Option<Instant>) -> Result<Bytes> {
    loop {
        let read = answer.session.read_response_body();
        let Some(piece) = within(limit, "waiting for the next byte", read).await?? else {
            answer.ended = true;
            attempt.observer.ended();
            return Ok(Bytes::new());
        };
        answer.ended = is_done(&mut answer.session)?;
        if !piece.is_empty() {
            attempt.observer.body(&piece);
        }
        if answer.ended {
            attempt.observer.ended();
        }
        if !piece.is_empty() || answer.ended {
            return Ok(piece);
        }
    }
}

fn is_done(session: &mut HttpSession) -> Result<bool> {
    match session {
        // An HTTP/2 stream looks ended after an error too; this asks.
        HttpSession::H2(h2) => h2.check_response_end_or_error(),
        other => Ok(other.response_done()),
    }
}

/// Joins what can be read without waiting. An error met here is told after the bytes before it.
fn join_ready(answer: &mut Answer, attempt: &Attempt, first: Bytes) -> (Bytes, Option<Box<Error>>) {
    let mut joined: Option<BytesMut> = None;
    let mut length = first.len();
    while !answer.ended && length < COALESCE {
        // Unlimited by the task's budget: "not ready" must mean that nothing is there.
        let read = tokio::task::unconstrained(read_piece(answer, attempt, None)).now_or_never();
        match read {
            None => break,
            Some(Err(error)) => return (joined.map_or(first, BytesMut::freeze), Some(error)),
            Some(Ok(piece)) => {
                length += piece.len();
                if !piece.is_empty() {
                    joined.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&piece);
                }
            }
        }
    }
    (joined.map_or(first, BytesMut::freeze), None)
}

fn idle_limit(attempt: &Attempt, deadline: Option<Instant>) -> Option<Instant> {
    earliest(limit(attempt.timeouts.idle), deadline)
}

fn limit(after: Duration) -> Option<Instant> {
    (!after.is_zero()).then(|| Instant::now() + after)
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

async fn within<T>(limit: Option<Instant>, doing: &'static str, work: impl Future<Output = T>) -> Result<T> {
    match limit {
        Some(limit) => timeout_at(limit, work).await.explain_err(ErrorType::ReadTimedout, |_| doing),
        None => Ok(work.await),
    }
}

/// A connection that had been idle was closed before any byte of the answer.
fn is_stale(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::WriteError | ErrorType::ReadError)
}

fn is_downgrade(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::H2Downgrade | ErrorType::InvalidH2)
}

fn not_prepared() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "the exchange has nothing to send")
}
