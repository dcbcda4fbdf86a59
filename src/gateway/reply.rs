//! Answers that the gateway gives itself.

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::context::RequestContext;
use crate::dialect::{ErrorCode, GatewayError, error_body};

/// Tells the client the request's name.
pub(super) const REQUEST_ID: &str = "x-tollgate-request-id";

/// Answers with an error in the client's dialect.
pub(super) async fn refuse(session: &mut Session, ctx: &mut RequestContext, error: &GatewayError) -> Result<()> {
    let body = error_body(ctx.shape, error, &ctx.id.to_string());
    let mut head = ResponseHeader::build(error.code.status(), Some(6))?;
    head.insert_header(http::header::CONTENT_TYPE, "application/json")?;
    if let Some(seconds) = error.retry_after {
        head.insert_header(http::header::RETRY_AFTER, seconds.to_string())?;
    }
    if let Some(limit) = &error.limit {
        head.insert_header("x-ratelimit-limit", &limit.limit)?;
        head.insert_header("x-ratelimit-remaining", &limit.remaining)?;
        if let Some(reset) = limit.reset {
            head.insert_header("x-ratelimit-reset", reset.to_string())?;
        }
    }
    if error.code == ErrorCode::BudgetExceeded {
        // The official SDKs would ask again and again.
        head.insert_header("x-should-retry", "false")?;
    }
    if error.code == ErrorCode::MethodNotAllowed
        && let Some(allow) = error.details.as_ref().and_then(|d| d["allow"].as_str())
    {
        head.insert_header(http::header::ALLOW, allow)?;
    }
    send(session, ctx, head, body).await
}

/// Answers with a document of our own.
pub(super) async fn json(session: &mut Session, ctx: &mut RequestContext, body: Bytes) -> Result<()> {
    let mut head = ResponseHeader::build(200, Some(4))?;
    head.insert_header(http::header::CONTENT_TYPE, "application/json")?;
    send(session, ctx, head, body).await
}

/// Passes on an answer that a provider gave to an earlier attempt.
pub(super) async fn pass_on(
    session: &mut Session,
    ctx: &mut RequestContext,
    status: u16,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<()> {
    let mut head = ResponseHeader::build(status, Some(headers.len() + 2))?;
    for (name, value) in headers {
        head.append_header(name.clone(), value.clone())?;
    }
    clean(&mut head);
    send(session, ctx, head, body).await
}

/// Takes away what concerns only the provider's connection, or the account behind it.
pub(super) fn clean(head: &mut ResponseHeader) {
    let headers = &head.headers;
    let named = headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let named = named.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    let own = headers.keys().filter(|name| is_of_connection(name) || is_of_account(name)).cloned();
    let unwanted: Vec<HeaderName> = named.chain(own).collect();
    for name in &unwanted {
        head.remove_header(name);
    }
}

/// Headers that concern one connection only (RFC 9110, 7.6.1), and the framing, which each connection has its own.
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "content-length"
    )
}

/// Headers about the account that the provider's key belongs to; it is not the client's.
fn is_of_account(name: &HeaderName) -> bool {
    matches!(name.as_str(), "anthropic-organization-id" | "openai-organization" | "openai-project" | "set-cookie")
}

async fn send(session: &mut Session, ctx: &mut RequestContext, mut head: ResponseHeader, body: Bytes) -> Result<()> {
    head.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    head.insert_header(REQUEST_ID, ctx.id.to_string())?;
    ctx.status = Some(head.status.as_u16());
    ctx.free_place();
    session.write_response_header(Box::new(head), false).await?;
    session.write_response_body(Some(body), true).await
}
