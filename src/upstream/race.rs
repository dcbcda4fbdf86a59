//! The race for the first word: when an answer is slow to begin, one more provider is asked at the same time, and
//! whoever has something to say first is heard.
//!
//! What is in flight stays in the race, as it does in an [`Exchange`]: a client may leave at any await point.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::connectors::http::Connector as Pool;
use pingora::http::ResponseHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use tokio::time::{Instant, sleep_until};

use super::attempt::Attempt;
use super::engine::{DrainLimits, Exchange};

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Racer {
    /// The attempt that was made first.
    First,
    /// The one that was made because the first was slow.
    Rival,
}

/// Knows who else could be asked, and judges what comes.
#[async_trait]
pub trait Challenger: Send + Sync {
    /// Somebody else who may be asked now, and what to ask. None: nobody, and this is not asked again.
    async fn challenge(&self) -> Option<(HttpPeer, Arc<Attempt>)>;

    /// There is no connection to the one who was named. The first goes on alone.
    fn unreachable(&self, error: &Error);

    /// Whether this is what the client is to get: the head has come, and what the gate had to hold.
    fn is_answer(&self, racer: Racer, attempt: &Attempt, head: &ResponseHeader) -> bool;

    /// This one has failed, with an answer that is none or without one, and the other goes on alone.
    fn failed(&self, racer: Racer, attempt: &Attempt, how: Result<&ResponseHeader, &Error>);

    /// The client gets this one's answer. The other is told through its [`Observer`](super::Observer) that it has lost.
    fn won(&self, racer: Racer);
}

/// That an attempt may be raced, and from when on.
#[derive(Clone)]
pub struct Rivalry {
    /// How long the first is waited for alone.
    pub after: Duration,
    /// Who else could be asked.
    pub challenger: Arc<dyn Challenger>,
}

/// See the module.
pub(super) struct Race {
    challenger: Arc<dyn Challenger>,
    /// The mutexes are never contended: they make the race `Sync`, which the proxy's trait demands.
    rival: Mutex<Rival>,
    /// What came of the first, if that is no answer and a rival is on its way.
    first: Mutex<Option<Result<()>>>,
}

type Later<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

enum Rival {
    /// Not before then; none: not before the first is asked.
    Due(Duration, Option<Instant>),
    /// Nobody has been named.
    Sought(Later<(HttpPeer, Arc<Attempt>)>),
    /// Somebody has been named, and nothing of the request has gone there.
    Connecting(Later<Exchange>),
    Running(Box<Exchange>),
    /// There is none, and there will be none.
    None,
}

/// What came next of a rival.
enum News {
    /// It is connected.
    Ready(Box<Exchange>),
    /// There is none.
    Nobody,
    /// It has answered, or failed.
    Done(Result<()>),
}

impl Race {
    pub(super) fn new(rivalry: Rivalry) -> Self {
        let Rivalry { after, challenger } = rivalry;
        Self { challenger, rival: Mutex::new(Rival::Due(after, None)), first: Mutex::new(None) }
    }

    /// As [`Exchange::start`], of the first and of a rival, until it is clear whose answer goes on: that is `first`
    /// then. May be dropped and called again.
    ///
    /// # Errors
    /// As the one whom nobody could replace.
    pub(super) async fn start(&mut self, first: &mut Exchange, drain: &DrainLimits) -> Result<()> {
        if let Rival::Due(after, at @ None) = self.rival.get_mut() {
            *at = Some(Instant::now() + *after);
        }
        let pool = Arc::clone(first.pool());
        loop {
            let is_over = self.first.get_mut().is_some();
            let decided = tokio::select! {
                biased;
                outcome = first.start(), if !is_over => self.first_done(first, outcome, drain).await,
                news = next(self.rival.get_mut(), &pool, &self.challenger) => {
                    self.rival_news(first, news, drain).await
                }
            };
            if let Some(outcome) = decided {
                return outcome;
            }
        }
    }

    /// The outcome of the race, if that decides it.
    async fn first_done(
        &mut self,
        first: &mut Exchange,
        outcome: Result<()>,
        drain: &DrainLimits,
    ) -> Option<Result<()>> {
        let is_answer = self.is_answer(Racer::First, first, &outcome);
        match std::mem::replace(self.rival.get_mut(), Rival::None) {
            Rival::Running(rival) if is_answer => {
                self.challenger.won(Racer::First);
                rival.lose(drain).await;
                Some(outcome)
            }
            Rival::Running(rival) => {
                self.take_over(first, *rival, &outcome, drain).await;
                None
            }
            // It would be the next to be asked anyway.
            connecting @ Rival::Connecting(_) if !is_answer => {
                *self.rival.get_mut() = connecting;
                *self.first.get_mut() = Some(outcome);
                None
            }
            Rival::Due(..) | Rival::Sought(_) | Rival::Connecting(_) | Rival::None => Some(outcome),
        }
    }

    async fn rival_news(&mut self, first: &mut Exchange, news: News, drain: &DrainLimits) -> Option<Result<()>> {
        match news {
            News::Ready(rival) => match self.first.get_mut().take() {
                Some(outcome) => self.take_over(first, *rival, &outcome, drain).await,
                None => *self.rival.get_mut() = Rival::Running(rival),
            },
            News::Nobody => return self.first.get_mut().take(),
            News::Done(outcome) => {
                let Rival::Running(mut rival) = std::mem::replace(self.rival.get_mut(), Rival::None) else {
                    return None;
                };
                if self.is_answer(Racer::Rival, &mut rival, &outcome) {
                    self.challenger.won(Racer::Rival);
                    std::mem::replace(first, *rival).lose(drain).await;
                    return Some(outcome);
                }
                self.leave(Racer::Rival, *rival, &outcome, drain).await;
            }
        }
        None
    }

    fn is_answer(&self, racer: Racer, exchange: &mut Exchange, outcome: &Result<()>) -> bool {
        let attempt = exchange.attempt().map(Arc::clone);
        let (Ok(()), Some(attempt), Some(head)) = (outcome, attempt, exchange.head()) else { return false };
        self.challenger.is_answer(racer, &attempt, head)
    }

    /// The first has failed: the rival is in its place from now on.
    async fn take_over(&self, first: &mut Exchange, rival: Exchange, outcome: &Result<()>, drain: &DrainLimits) {
        let failed = std::mem::replace(first, rival);
        self.leave(Racer::First, failed, outcome, drain).await;
    }

    async fn leave(&self, racer: Racer, mut failed: Exchange, outcome: &Result<()>, drain: &DrainLimits) {
        if let Some(attempt) = failed.attempt().map(Arc::clone) {
            match (outcome, failed.head()) {
                (Ok(()), Some(head)) => self.challenger.failed(racer, &attempt, Ok(head)),
                (Err(error), _) => self.challenger.failed(racer, &attempt, Err(error)),
                (Ok(()), None) => {}
            }
            attempt.reject();
        }
        failed.release(drain).await;
    }

    /// The client has left before it was clear who wins: the first is read on, as always; the rival has lost.
    pub(super) async fn abandon(self: Box<Self>, drain: &DrainLimits) {
        if let Rival::Running(rival) = self.rival.into_inner() {
            rival.lose(drain).await;
        }
    }
}

/// Waits for what comes next of a rival, for ever if that is nothing. May be dropped and called again.
async fn next(rival: &mut Rival, pool: &Arc<Pool>, challenger: &Arc<dyn Challenger>) -> News {
    loop {
        match rival {
            Rival::Due(_, Some(at)) => {
                sleep_until(*at).await;
                let challenger = Arc::clone(challenger);
                *rival = Rival::Sought(Box::pin(async move { challenger.challenge().await }));
            }
            Rival::Sought(sought) => {
                *rival = match sought.await {
                    Some((peer, attempt)) => {
                        let (pool, challenger) = (Arc::clone(pool), Arc::clone(challenger));
                        Rival::Connecting(Box::pin(connect(pool, peer, attempt, challenger)))
                    }
                    None => Rival::None,
                };
                if matches!(rival, Rival::None) {
                    return News::Nobody;
                }
            }
            Rival::Connecting(connecting) => {
                let connected = connecting.await;
                *rival = Rival::None;
                return connected.map_or(News::Nobody, |exchange| News::Ready(Box::new(exchange)));
            }
            Rival::Running(exchange) => return News::Done(exchange.start().await),
            Rival::Due(_, None) | Rival::None => std::future::pending().await,
        }
    }
}

async fn connect(
    pool: Arc<Pool>,
    peer: HttpPeer,
    attempt: Arc<Attempt>,
    challenger: Arc<dyn Challenger>,
) -> Option<Exchange> {
    match Exchange::connect(pool, &peer).await {
        Ok(mut exchange) => {
            exchange.prepare(attempt);
            Some(exchange)
        }
        Err(error) => {
            challenger.unreachable(&error);
            None
        }
    }
}
