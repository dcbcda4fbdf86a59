//! Stage 3, `upstream_request_filter`: what the provider gets.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, OrErr, Result};
use pingora_proxy::Session;

use super::Gateway;
use super::context::{Admitted, RequestContext};
use super::judge::was_refused;
use super::tab::Tab;
use crate::config;
use crate::dialect::rewrite;
use crate::provider::Candidate;
use crate::upstream::{Attempt, Gate, Observer};

/// The client's headers that a provider gets to see. Everything else - credentials, cookies, addresses, whatever the
/// client's network added - stays here.
const PASSED: &[&str] = &[
    "accept",
    "accept-language",
    "anthropic-beta",
    "anthropic-version",
    "openai-beta",
    "user-agent",
    "x-goog-api-client",
];

/// Passed on for one key alone.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Families of headers that official SDKs send about themselves.
const PASSED_PREFIXES: &[&str] = &["x-stainless-"];

impl Gateway {
    /// Hands the attempt to the engine.
    pub(super) fn send(&self, session: &Session, upstream: &mut RequestHeader, ctx: &mut RequestContext) -> Result<()> {
        let gate = self.gate(ctx);
        let (Some(admitted), Some(current)) = (ctx.admitted.as_ref(), ctx.current.as_mut()) else {
            return Error::e_explain(ErrorType::InternalError, "a request that was not admitted reached the provider");
        };
        let client = &session.req_header().headers;
        let attempt = Arc::new(attempt(admitted, &current.tab, client)?.behind(gate));
        current.attempt = Some(Arc::clone(&attempt));
        upstream.extensions_mut().insert(attempt);
        if let Some(rivalry) = self.rivalry(ctx, client) {
            upstream.extensions_mut().insert(rivalry);
        }
        Ok(())
    }

    /// What holds the answer back to judge it; none where the client would get it whatever it is.
    fn gate(&self, ctx: &RequestContext) -> Option<Gate> {
        let has_choice = self.may_have_more(ctx) || was_refused(ctx) || ctx.last_answer.is_some();
        gate(&self.app.live.load().config.routing.gate).filter(|_| has_choice)
    }
}

/// The gate as it is configured.
pub(super) fn gate(configured: &config::Gate) -> Option<Gate> {
    let config::Gate { enabled, max_bytes, max_time } = *configured;
    enabled.then(|| Gate { max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX), max_time })
}

/// What is sent for this attempt.
pub(super) fn attempt(admitted: &Admitted, tab: &Arc<Tab>, client: &HeaderMap) -> Result<Attempt> {
    let candidate = &tab.priced.candidate;
    let body = rewrite(&admitted.inspected, admitted.body.clone(), &candidate.served_model);
    let head = head(admitted, candidate, client, &body)?;
    let observer: Arc<dyn Observer> = Arc::clone(tab) as _;
    Ok(Attempt::new(head, body, candidate.provider.timeouts, observer).begun_by(admitted.deadline.at()))
}

/// The head of a request to a provider.
fn head(admitted: &Admitted, candidate: &Candidate, client: &HeaderMap, body: &Bytes) -> Result<RequestHeader> {
    let provider = &candidate.provider;
    let path = provider.endpoint.path_for(&admitted.route.upstream_path_and_query(&candidate.served_model));
    let mut head = RequestHeader::build(Method::POST, path.as_bytes(), Some(client.len() + 4))?;
    head.insert_header(header::HOST, &*provider.endpoint.authority)?;
    for (name, value) in client {
        if is_passed(name) {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    // What was inspected is what the provider shall read.
    head.insert_header(header::CONTENT_TYPE, "application/json")?;
    if let Some(value) = client.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok()) {
        // One account serves many: nobody shall be given the answer to somebody else's request.
        head.insert_header(IDEMPOTENCY_KEY, format!("tollgate-{}-{value}", admitted.bill.key_id))?;
    }
    // What is packed cannot be metered.
    head.insert_header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    if let Some(dialect) = admitted.route.endpoint.dialect()
        && let Some((name, value)) = provider.credential(dialect)
    {
        head.insert_header(name, value.clone()).or_err(ErrorType::InternalError, "adding the provider's key")?;
    }
    Ok(head)
}

fn is_passed(name: &HeaderName) -> bool {
    PASSED.contains(&name.as_str()) || PASSED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}
