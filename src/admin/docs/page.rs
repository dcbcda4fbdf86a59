//! The OpenAPI document as it is served, and a page to read it and try it out, from this node alone.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::routing::{MethodRouter, get};

use super::super::AdminState;

const HTML: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
/// The page's own script and style, requests to this node, and nothing else; and no other page may show this one, on
/// which a token is entered.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The document and the page.
pub fn routes(base: &str, document: String) -> Router<AdminState> {
    let json = [(header::CONTENT_TYPE, "application/json")];
    Router::new()
        .route(&format!("{base}/openapi.json"), get(move || async move { (json, document) }))
        .route(&format!("{base}/docs"), file("text/html; charset=utf-8", HTML))
        .route(&format!("{base}/docs.js"), file("text/javascript; charset=utf-8", SCRIPT))
        .route(&format!("{base}/docs.css"), file("text/css; charset=utf-8", STYLE))
}

fn file(media_type: &'static str, text: &'static str) -> MethodRouter<AdminState> {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (HeaderName::from_static("content-security-policy"), CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    get(move || async move { (headers, text) })
}
