//! The beginning of an exchange: the request goes out, the head of the answer comes in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::http::Connector as Pool;
use pingora::http::ResponseHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tokio::time::Instant;

use super::answer::{Answer, earliest, limit, read_small_body, within};
use super::attempt::Attempt;
use super::gate;

/// After a failed write the provider may have answered early; its answer is awaited this long.
const EARLY_ANSWER_TIME: Duration = Duration::from_secs(1);

/// A provider that closed an idle connection as we sent is noticed within this time. Later it may have worked on the
/// request: sending it again would be paid twice.
const STALE_TIME: Duration = Duration::from_secs(1);

/// Makes the pool groups of fresh connections differ.
static FRESH: AtomicU64 = AtomicU64::new(0);

/// Sends, waits for the head, and reads on for as long as an answer is judged before it goes on.
pub(super) async fn start(
    pool: Arc<Pool>,
    peer: HttpPeer,
    reused: bool,
    session: HttpSession,
    attempt: Arc<Attempt>,
    deadline: Option<Instant>,
) -> Result<Answer> {
    let mut answer = head(pool, peer, reused, session, &attempt, deadline).await?;
    let status = answer.head.status;
    if !answer.ended && (status.is_client_error() || status.is_server_error()) {
        read_small_body(&mut answer, &attempt, deadline).await?;
    } else if let Some(gate) = attempt.gate.filter(|_| status.is_success()) {
        gate::hold(&mut answer, &attempt, gate, deadline).await?;
    }
    Ok(answer)
}

/// Sends and waits for the head; once more when a pooled connection turns out to be dead.
async fn head(
    pool: Arc<Pool>,
    peer: HttpPeer,
    reused: bool,
    session: HttpSession,
    attempt: &Attempt,
    deadline: Option<Instant>,
) -> Result<Answer> {
    let http2 = matches!(session, HttpSession::H2(_));
    let begun = Instant::now();
    match send(session, &peer, attempt, deadline).await {
        Ok(answer) => Ok(answer),
        Err(error) if is_downgrade(&error) => {
            pool.prefer_h1(&peer);
            let (session, _) = pool.get_http_session(&peer).await?;
            send(session, &peer, attempt, deadline).await
        }
        // The pool drops an HTTP/2 connection that says so.
        Err(mut error) if reused && http2 => {
            error.retry.decide_reuse(reused);
            if !error.retry() {
                return Err(error);
            }
            let (session, _) = pool.get_http_session(&peer).await?;
            send(session, &peer, attempt, deadline).await
        }
        Err(error) if reused && is_stale(&error) && begun.elapsed() < STALE_TIME => {
            let mut fresh = peer;
            // A group of its own: the pool has no idle connection for it, so this one is new.
            fresh.group_key = fresh.group_key.wrapping_add(FRESH.fetch_add(1, Ordering::Relaxed) + 1);
            let (session, _) = pool.get_http_session(&fresh).await?;
            let mut answer = send(session, &fresh, attempt, deadline).await?;
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
    if !attempt.observer.sending() {
        return Error::e_explain(ErrorType::InternalError, "nobody wants the answer any more");
    }
    session.set_write_timeout(peer.options.write_timeout);
    if let Err(error) = send_request(&mut session, attempt).await {
        // The provider may have answered early (413, 429) and closed its reading side.
        let early = tokio::time::timeout(EARLY_ANSWER_TIME, read_head(&mut session)).await;
        let Ok(Ok(head)) = early else { return Err(error) };
        return Ok(opened(session, head, attempt, true));
    }
    let limit = earliest(limit(attempt.timeouts.first_byte), deadline);
    let head = within(limit, "waiting for the first byte", read_head(&mut session)).await??;
    Ok(opened(session, head, attempt, false))
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

fn opened(mut session: HttpSession, head: ResponseHeader, attempt: &Attempt, spent: bool) -> Answer {
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
    }
    answer
}

/// A connection that had been idle was closed before any byte of the answer.
fn is_stale(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::WriteError | ErrorType::ReadError)
}

fn is_downgrade(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::H2Downgrade | ErrorType::InvalidH2)
}

pub(super) fn not_prepared() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "the exchange has nothing to send")
}
