//! `/healthz` and `/readyz`, for whoever watches over the process.

use axum::extract::State;
use axum::http::StatusCode;

use super::AdminState;

/// The process answers.
pub(super) async fn live() -> &'static str {
    "ok"
}

/// The gateway takes requests.
pub(super) async fn ready(State(state): State<AdminState>) -> (StatusCode, &'static str) {
    if (state.ready)() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") }
}
