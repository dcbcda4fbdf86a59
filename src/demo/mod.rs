//! Pretend providers for `tollgate serve --demo`: plausible answers in every dialect, without any account.
//!
//! They speak the real wire formats over a real socket, so that a request to them takes the same way through the
//! gateway as one to a paid provider. Nothing that they are sent leaves the machine.

mod anthropic;
mod chat;
mod embeddings;
mod gemini;
mod guide;
mod prompt;
mod reply;
mod responses;
mod wire;

pub use guide::{config_providers, curl_lines};

use std::{future::Future, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode, Uri},
    response::Response,
    routing::post,
};
use serde_json::json;
use tokio::net::TcpListener;

/// How long a pretend model takes for one word: slow enough to be seen streaming, fast enough to be pleasant.
const PACE: Duration = Duration::from_millis(15);

/// More than the gateway lets through by default, so that its limit is the one that is met.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Serves the pretend providers until `shutdown` resolves and the answers in flight have ended.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    axum::serve(listener, router(PACE)).with_graceful_shutdown(shutdown).await
}

/// All pretend providers on one address; `pace` is the pause before each word.
pub fn router(pace: Duration) -> Router {
    Router::new()
        .route("/v1/messages", post(anthropic::messages))
        .route("/v1/messages/count_tokens", post(anthropic::count_tokens))
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/responses", post(responses::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1beta/models/{call}", post(gemini::call))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(pace)
}

async fn unknown(method: Method, uri: Uri) -> Response {
    let message = format!("the pretend provider knows no {method} {}", uri.path());
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}});
    wire::json(StatusCode::NOT_FOUND, &body)
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests;
