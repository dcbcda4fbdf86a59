//! An answer as it arrives: each piece is told to the observer, and timed.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use pingora::http::ResponseHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::time::{Instant, timeout_at};

use super::attempt::Attempt;
use super::pieces::Pieces;

/// An error answer up to this size is read whole before it is judged: it can be passed on later, and its
/// connection is reused.
const SMALL_ANSWER: usize = 64 * 1024;

/// How long a small error answer may take to arrive.
const SMALL_ANSWER_TIME: Duration = Duration::from_secs(1);

/// Pieces that are already there are passed on as one, up to this size: fewer calls and writes, no delay.
const COALESCE: usize = 16 * 1024;

/// An answer whose head is there.
pub(super) struct Answer {
    pub(super) session: HttpSession,
    pub(super) head: ResponseHeader,
    /// Read with the head and not handed out yet: the body, or its beginning.
    pub(super) ahead: Option<Bytes>,
    /// The provider has sent all of it.
    pub(super) ended: bool,
    /// The connection must not be used again.
    pub(super) spent: bool,
}

/// Reads the body of an error answer with its head, as far as it is small and comes at once: then it can be judged,
/// and passed on later. What is longer or slower is streamed from where this stopped.
pub(super) async fn read_small_body(answer: &mut Answer, attempt: &Attempt, deadline: Option<Instant>) -> Result<()> {
    let limit = earliest(Some(Instant::now() + SMALL_ANSWER_TIME), deadline);
    let mut body = Pieces::default();
    read_some(answer, attempt, &mut body, limit).await?;
    let body = body.into_bytes();
    if answer.ended {
        attempt.set_small_answer(body.clone());
    }
    if answer.ended || !body.is_empty() {
        answer.ahead = Some(body);
    }
    Ok(())
}

/// Reads until the end, as far as that is small and comes within the limit.
pub(super) async fn read_some(
    answer: &mut Answer,
    attempt: &Attempt,
    body: &mut Pieces,
    limit: Option<Instant>,
) -> Result<()> {
    while !answer.ended && body.len() < SMALL_ANSWER {
        match read_piece(answer, attempt, limit).await {
            Ok(piece) => body.push(piece),
            Err(error) if *error.etype() == ErrorType::ReadTimedout => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One piece of the body, told to the observer; sets `ended` when it is the last. An end without bytes is an empty
/// piece, so that whoever settles at the end is always asked.
pub(super) async fn read_piece(answer: &mut Answer, attempt: &Attempt, limit: Option<Instant>) -> Result<Bytes> {
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
pub(super) fn join_ready(answer: &mut Answer, attempt: &Attempt, first: Bytes) -> (Bytes, Option<Box<Error>>) {
    let mut joined = Pieces::default();
    joined.push(first);
    while !answer.ended && joined.len() < COALESCE {
        // Unlimited by the task's budget: "not ready" must mean that nothing is there.
        let read = tokio::task::unconstrained(read_piece(answer, attempt, None)).now_or_never();
        match read {
            None => break,
            Some(Err(error)) => return (joined.into_bytes(), Some(error)),
            Some(Ok(piece)) => joined.push(piece),
        }
    }
    (joined.into_bytes(), None)
}

pub(super) fn idle_limit(attempt: &Attempt, deadline: Option<Instant>) -> Option<Instant> {
    earliest(limit(attempt.timeouts.idle), deadline)
}

pub(super) fn limit(after: Duration) -> Option<Instant> {
    (!after.is_zero()).then(|| Instant::now() + after)
}

pub(super) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

pub(super) async fn within<T>(limit: Option<Instant>, doing: &'static str, work: impl Future<Output = T>) -> Result<T> {
    match limit {
        Some(limit) => timeout_at(limit, work).await.explain_err(ErrorType::ReadTimedout, |_| doing),
        None => Ok(work.await),
    }
}
