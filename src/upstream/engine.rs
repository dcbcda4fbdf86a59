//! The engine: one [`Exchange`] sends an attempt and reads its answer to the end, whoever listens.
//!
//! A client may leave at any await point. What is in flight then stays in the exchange (`start` is a boxed future that
//! outlives its caller), so that [`Exchange::give_up`] can carry on where the caller stopped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pingora::connectors::http::Connector as Pool;
use pingora::http::ResponseHeader;
use pingora::protocols::Digest;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, idle_limit, join_ready, read_piece};
use super::attempt::{Attempt, DEADLINE, Ending, TOTAL_TIMEOUT};
use super::opening::{not_prepared, start};
use super::peer::real_peer;

/// Bounds of reading on after clients have left.
#[derive(Debug)]
pub struct DrainLimits {
    /// How long one answer may be read on.
    pub time: Duration,
    /// How many answers may be read on at once.
    pub slots: Arc<Semaphore>,
}

type Start = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

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

    /// Where its connection comes from.
    pub(super) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What is sent.
    pub(super) const fn attempt(&self) -> Option<&Arc<Attempt>> {
        self.attempt.as_ref()
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
            let outcome = match self.attempt.as_ref().and_then(|attempt| attempt.begun_by) {
                Some(deadline) => timeout_at(deadline.into(), start)
                    .await
                    .unwrap_or_else(|_| Error::e_explain(DEADLINE, "the answer has not begun in time")),
                None => start.await,
            };
            *self.state.get_mut() = match outcome {
                Ok(answer) => State::Open(Box::new(answer)),
                Err(error) => {
                    *self.state.get_mut() = State::Gone;
                    return Err(self.told(error));
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
                Err(self.told(error))
            }
        }
    }

    /// Too late for the whole attempt is another error than too late for a part of it.
    fn told(&self, mut error: Box<Error>) -> Box<Error> {
        if *error.etype() == ErrorType::ReadTimedout && self.deadline.is_some_and(|at| Instant::now() >= at) {
            error.etype = TOTAL_TIMEOUT;
        }
        error
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

    /// The client gets the answer of another attempt that was made at the same time. This one is broken off, or read on
    /// where its observer wants to know what it has used.
    pub(super) async fn lose(mut self, drain: &DrainLimits) {
        let wanted = self.attempt.as_ref().is_some_and(|attempt| attempt.observer.lost());
        let state = std::mem::replace(self.state.get_mut(), State::Gone);
        match state {
            State::Idle(session) => {
                // Nothing was sent, and nothing will come.
                if let Some(attempt) = self.attempt.as_ref().filter(|_| wanted) {
                    attempt.observer.draining();
                    attempt.observer.drained(Ending::Broken);
                }
                self.pool.release_http_session(*session, &self.peer, self.peer.idle_timeout()).await;
            }
            state if wanted => self.give_up(state, drain),
            State::Starting(_) | State::Open(_) | State::Gone => {}
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
