//! `/settings`: the effective configuration.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::AdminState;
use super::auth::Viewer;

/// Shows the effective configuration, secrets masked. The file and `SIGHUP` change it.
#[utoipa::path(get, path = "/settings", operation_id = "getSettings", tag = "administration",
    responses((status = 200, description = "The configuration.", body = Object)))]
pub(super) async fn get(_: Viewer, State(state): State<AdminState>) -> Json<Value> {
    Json((state.settings)())
}
