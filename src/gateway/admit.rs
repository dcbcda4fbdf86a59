//! Stage 1, `request_filter`: who asks for what, and may it.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora::protocols::http::v1::server::HttpSession;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::bill::{self, Bill};
use super::choice::Choice;
use super::context::{Admitted, RequestContext};
use super::credentials::{self, CredentialError};
use super::refused::{Asked, Asker};
use super::route::ledger_full;
use super::thread::Thread;
use super::{Gateway, body, client, door, models, reply};
use crate::budget::CountGuard;
use crate::clock::now_ms;
use crate::dialect::{
    ClientHints, Endpoint, ErrorCode, GatewayError, Inspected, LimitHeaders, Route, RouteProblem, inspect, route,
};
use crate::directory::{Principal, Refusal};
use crate::limit::CountKind;
use crate::provider::retry::Deadline;

/// The most bytes of header names and values that are read into meaning; real clients send a few kilobytes.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// A client that does not take its answer is let go after this long without progress.
const WRITE_STALL: Duration = Duration::from_secs(60);

/// What a refused client may still send of its body before its connection is closed.
const REFUSED_BODY_TIME: Duration = Duration::from_secs(2);

/// Bodies from this size on, and packed ones, would hold up other connections of their thread while they are read.
const LARGE_BODY: usize = 256 * 1024;

/// Why a request goes no further.
pub(super) enum Stop {
    /// The client is told this.
    Refuse(GatewayError),
    /// There is nobody to tell.
    Gone,
}

impl From<GatewayError> for Stop {
    fn from(error: GatewayError) -> Self {
        Self::Refuse(error)
    }
}

/// Where a request that was not refused goes.
pub(super) enum Next {
    /// To a provider.
    Forward,
    /// Nowhere: it has its answer.
    Answered,
}

impl Gateway {
    /// Returns whether the request has been answered.
    pub(super) async fn admit(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<bool> {
        door::head_is_complete();
        // The client's next request may come while this one is being answered; it is kept, not taken for an error.
        session.set_pipelining_enabled(true);
        session.set_write_timeout(Some(WRITE_STALL));
        session.set_total_drain_timeout(Some(REFUSED_BODY_TIME));
        // A panic is one request's affair: it is answered, and the connection goes on.
        let outcome = unpanicked(self.examine(session, ctx)).await;
        self.conclude(session, ctx, outcome).await
    }

    /// Answers what was refused, or panicked; returns whether the request has been answered.
    pub(super) async fn conclude(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        outcome: Option<Result<Next, Stop>>,
    ) -> Result<bool> {
        if !matches!(outcome, Some(Ok(_)))
            && let Some(counted) = ctx.counted.take()
        {
            counted.take_back();
        }
        let error = match outcome {
            Some(Ok(Next::Forward)) => {
                let own = ctx.arrived.elapsed().saturating_sub(ctx.waited);
                self.app.metrics.overhead.observe(own.as_secs_f64());
                if let Some(counted) = &mut ctx.counted {
                    counted.decide();
                }
                return Ok(false);
            }
            Some(Ok(Next::Answered)) => return Ok(true),
            Some(Err(Stop::Gone)) => {
                return Err(Error::explain(ErrorType::ConnectionClosed, "the client left").into_down());
            }
            Some(Err(Stop::Refuse(error))) => error,
            None => {
                tracing::error!(request = %ctx.id, "a request panicked; this is a bug");
                GatewayError::new(ErrorCode::InternalError, "the gateway failed to handle this request")
            }
        };
        self.refused(ctx, &error);
        tracing::debug!(request = %ctx.id, code = error.code.as_str(), message = %error.message, "refused");
        reply::refuse(session, ctx, &error).await.map_err(|e| e.into_down())?;
        Ok(true)
    }

    pub(super) async fn examine(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<Next, Stop> {
        let app = &self.app;
        let live = app.live.load_full();
        let address = client::address(session, &live.config.server.trusted_proxies);
        let route = find_route(session, ctx)?;
        check_head(session)?;
        let principal = self.authenticate(session, address).await?;
        ctx.asker = Some(Asker { user_id: principal.user.id, key_id: principal.key.id });
        if matches!(route.endpoint, Endpoint::ListModels | Endpoint::GetModel) {
            let body = models::answer(app, &live, &route, &principal)?;
            reply::json(session, ctx, body).await.map_err(|_| Stop::Gone)?;
            return Ok(Next::Answered);
        }
        // First of all a place among the others: whoever is over his limits does not get to send a body.
        ctx.counted = Some(self.take_place(&principal).await.inspect_err(|_| {
            ctx.asked = route.path_model.clone().map(Asked::for_model).map(Box::new);
        })?);
        let timeouts = &live.config.server.timeouts;
        let max = live.config.server.max_request_body;
        let reading = Instant::now();
        let packed = match body::read(session, max, timeouts.body).await {
            Ok(packed) => packed,
            Err(problem) => {
                // What comes next on this connection may be the rest of a body: it is no request.
                session.set_keepalive(None);
                return Err(problem.map_or(Stop::Gone, Stop::Refuse));
            }
        };
        ctx.waited = reading.elapsed();
        let (route, body, inspected) = self.understand(session, route, packed, max).await?;
        let headers = &session.req_header().headers;
        let thread = self.follow(&live, headers, &inspected, &body, &principal).await;
        let chosen = Choice::new(app, &live, &route, &inspected, &principal, thread.as_ref());
        let choice = match chosen {
            Ok(choice) if choice.present().is_some() => choice,
            nobody => {
                ctx.asked = Some(Box::new(Asked::with(&live, &principal, inspected.model, nobody.as_ref().ok())));
                return Err(nobody.map_or_else(|error| error, |choice| choice.nobody(app.budgets.now())).into());
            }
        };
        self.accept(ctx, route, inspected, body, principal, choice, thread).await?;
        Ok(Next::Forward)
    }

    /// Unpacks the body and finds out what it asks for. Large ones are read beside the threads that serve connections.
    async fn understand(
        &self,
        session: &Session,
        route: Route,
        packed: Bytes,
        max: u64,
    ) -> Result<(Route, Bytes, Inspected), GatewayError> {
        let headers = &session.req_header().headers;
        let work = move |route: Route, headers: &HeaderMap, packed: Bytes| {
            let body = body::unpack(headers, packed, max)?;
            let inspected = inspect(&route, &body).map_err(|e| e.to_gateway_error())?;
            Ok((route, body, inspected))
        };
        if packed.len() < LARGE_BODY && !headers.contains_key(http::header::CONTENT_ENCODING) {
            return work(route, headers, packed);
        }
        let failed = || GatewayError::new(ErrorCode::InternalError, "the gateway failed to read this request");
        let _turn = self.app.large_bodies.acquire().await.map_err(|_| failed())?;
        let headers = headers.clone();
        tokio::task::spawn_blocking(move || work(route, &headers, packed)).await.map_err(|_| failed())?
    }

    /// Finds out who asks, by the secret that the request carries, and whether he may.
    async fn authenticate(&self, session: &Session, address: IpAddr) -> Result<Arc<Principal>, GatewayError> {
        let head = session.req_header();
        let auth = &self.app.authenticator;
        let now = now_ms();
        let secret = credentials::secret(&head.headers, head.uri.query());
        // Whoever is known may be a whole company behind one address; a flood is of strangers.
        if let Ok(secret) = &secret
            && let Some(Ok(principal)) = self.app.directory.remembered(secret, now)
        {
            return principal.check(now).map(|()| principal).map_err(|refusal| explain(refusal, None));
        }
        if !self.app.flood_guard.admit(address, now) {
            let message = "too many requests without a known API key from this address";
            return Err(GatewayError::new(ErrorCode::RateLimitExceeded, message).with_retry_after(1));
        }
        match secret {
            Ok(secret) => auth.authenticate(address, &secret, now).await.map_err(|refusal| explain(refusal, None)),
            Err(problem) => {
                let message = match problem {
                    CredentialError::Missing => {
                        "no API key: send it as `Authorization: Bearer`, `x-api-key`, `x-goog-api-key` or `?key=`"
                    }
                    CredentialError::Conflict => "the request carries several API keys that differ; send one",
                };
                Err(explain(auth.refuse_without_credential(address, now), Some(message)))
            }
        }
    }

    /// Takes the request in: from here on it has room in the ledger, and its budgets can pay.
    #[allow(clippy::too_many_arguments, reason = "all that is known of a request by now")]
    async fn accept(
        &self,
        ctx: &mut RequestContext,
        route: Route,
        inspected: Inspected,
        body: Bytes,
        principal: Arc<Principal>,
        choice: Choice,
        thread: Option<Thread>,
    ) -> Result<(), GatewayError> {
        let slot = if route.endpoint.is_counting() { None } else { self.app.ledger.reserve() };
        if slot.is_none() && !route.endpoint.is_counting() {
            ctx.asked = Some(Box::new(Asked::with(choice.live(), &principal, inspected.model, Some(&choice))));
            return Err(ledger_full());
        }
        // How long the client took to send is not the providers' time.
        let deadline = Deadline::new(ctx.arrived + ctx.waited, self.app.live.load().config.routing.deadline);
        let bill = Bill {
            request_id: ctx.id.0,
            arrived: ctx.arrived,
            created_at: ctx.created_at,
            user_id: principal.user.id,
            key_id: principal.key.id,
            endpoint: route.endpoint,
            dialect: route.endpoint.dialect().unwrap_or(crate::dialect::Dialect::OpenaiChat),
            requested_model: inspected.model.clone(),
            stream: inspected.stream,
            request_bytes: body.len() as u64,
            thread,
            asked_tier: inspected.service_tier,
            most_drains: bill::most_drains(&principal.count_subject()),
            slot: Mutex::new(slot),
            reservation: Mutex::new(None),
            attempts: Mutex::new(Vec::new()),
            deciding: Mutex::default(),
            beside: None,
        };
        let mut admitted = Box::new(Admitted {
            route,
            inspected,
            body,
            principal,
            choice,
            tries: 0,
            again: None,
            deadline,
            attempts: 0,
            reserved: None,
            refusal: None,
            bill: Arc::new(bill),
        });
        self.reserve(&mut admitted).await.inspect_err(|_| ctx.asked = Some(Box::new(Asked::of(&admitted))))?;
        ctx.admitted = Some(admitted);
        Ok(())
    }

    /// Counts the request for its key and its user, or refuses it.
    async fn take_place(&self, principal: &Principal) -> Result<CountGuard, GatewayError> {
        let now = self.app.budgets.now();
        self.app.counts.admit(&principal.count_subject(), now).await.map_err(|refusal| {
            GatewayError::new(ErrorCode::RateLimitExceeded, refusal.to_string())
                .with_retry_after(refusal.retry_after.into())
                .with_details(serde_json::json!({
                    "axis": refusal.axis.as_str(),
                    "window": refusal.kind.as_str(),
                    "limit": refusal.limit,
                    "used": refusal.current,
                }))
                .with_limit(LimitHeaders {
                    limit: refusal.limit.to_string(),
                    remaining: "0".to_owned(),
                    // When a place among the concurrent requests is free, nobody knows.
                    reset: (refusal.kind == CountKind::Rpm)
                        .then(|| self.app.budgets.now().div_euclid(1_000) + i64::from(refusal.retry_after)),
                })
        })
    }
}

/// The work's result; none when it panicked. Later stages run in the task of their connection (of their stream, on
/// HTTP/2), which is all that ends with a panic there.
pub(super) async fn unpanicked<T>(work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.ok()
}

/// A refusal of the directory in the client's words.
pub(super) fn explain(refusal: Refusal, message: Option<&str>) -> GatewayError {
    let (code, retry_after) = match refusal {
        Refusal::InvalidApiKey => (ErrorCode::InvalidApiKey, None),
        Refusal::KeyDisabled => (ErrorCode::KeyDisabled, None),
        Refusal::KeyExpired => (ErrorCode::KeyExpired, None),
        Refusal::UserDisabled => (ErrorCode::UserDisabled, None),
        Refusal::UserExpired => (ErrorCode::UserExpired, None),
        Refusal::TooManyAuthFailures { retry_after } => (ErrorCode::TooManyAuthFailures, Some(retry_after.as_secs())),
        Refusal::Unavailable => (ErrorCode::BudgetUnavailable, Some(1)),
    };
    let own_words = message.filter(|_| refusal == Refusal::InvalidApiKey);
    let mut error = GatewayError::new(code, own_words.map_or_else(|| refusal.to_string(), str::to_owned));
    error.retry_after = retry_after;
    error
}

fn find_route(session: &Session, ctx: &mut RequestContext) -> Result<Route, GatewayError> {
    let head = session.req_header();
    let hints = ClientHints::from_headers(|name| head.headers.contains_key(name));
    match route(head.method.as_str(), head.uri.path(), head.uri.query(), hints) {
        Ok(route) => {
            (ctx.shape, ctx.dialect) = (route.shape, route.endpoint.dialect());
            Ok(route)
        }
        Err(error) => {
            (ctx.shape, ctx.dialect) = (error.shape, error.dialect);
            let told = error.to_gateway_error();
            Err(match error.problem {
                RouteProblem::MethodNotAllowed { allow } => told.with_details(serde_json::json!({"allow": allow})),
                _ => told,
            })
        }
    }
}

/// Refuses heads that are too large to be honest, or that two servers could frame differently.
fn check_head(session: &mut Session) -> Result<(), GatewayError> {
    let headers = &session.req_header().headers;
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > MAX_HEADER_BYTES {
        session.set_keepalive(None);
        return Err(GatewayError::new(
            ErrorCode::InvalidRequest,
            format!("the headers of the request have {size} bytes; at most {MAX_HEADER_BYTES} are accepted"),
        ));
    }
    // Pingora accepts lists of codings and repeated ones as long as `chunked` is the last.
    let mut codings = headers.get_all(http::header::TRANSFER_ENCODING).iter();
    let plain = codings.next().is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    if !plain || codings.next().is_some() {
        session.set_keepalive(None);
        return Err(GatewayError::new(
            ErrorCode::InvalidRequest,
            "the only transfer-encoding that is accepted is `chunked`, once",
        ));
    }
    let Some(raw) = session.as_http1().map(HttpSession::get_headers_raw_bytes) else { return Ok(()) };
    // Pingora drops the content-length of such a request and goes on (RFC 9112, 6.3, allows it); nobody honest
    // sends one.
    if session.req_header().headers.contains_key(http::header::TRANSFER_ENCODING) && has_content_length(&raw) {
        session.set_keepalive(None);
        return Err(GatewayError::new(
            ErrorCode::InvalidRequest,
            "the request has both content-length and transfer-encoding; send one of them",
        ));
    }
    // Pingora takes it for the end of a line (RFC 9112, 2.2, allows it); others take it for a part of the line.
    if memchr::memchr_iter(b'\n', &raw).any(|at| at == 0 || raw[at - 1] != b'\r') {
        session.set_keepalive(None);
        return Err(GatewayError::new(
            ErrorCode::InvalidRequest,
            "a line of the request's head ends with a line feed alone; end each with CR LF",
        ));
    }
    Ok(())
}

fn has_content_length(raw_head: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    raw_head.split(|b| *b == b'\n').any(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_only_the_work_that_panicked() {
        let index = std::hint::black_box(1);
        assert_eq!(unpanicked(async { [0_u8][index] }).await, None);
        assert_eq!(unpanicked(async { 7 }).await, Some(7));
    }

    #[test]
    fn a_length_beside_chunks_is_seen_in_the_raw_head() {
        assert!(has_content_length(b"POST / HTTP/1.1\r\nContent-LENGTH: 5\r\n\r\n"));
        assert!(!has_content_length(b"POST / HTTP/1.1\r\nx-content-length: 5\r\n\r\n"));
    }
}
