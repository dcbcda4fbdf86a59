//! Which handler answers which path, and what surrounds all of them.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::http::{HeaderValue, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing;
use futures::FutureExt;
use serde_json::Value;
use tower::ServiceExt;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::RequestId;
use super::problem::{Code, Problem};
use super::{
    AdminState, admin_tokens, audit_logs, budgets, docs, explain, health, keys, me, model_groups, model_limits, prices,
    providers, quota_boosts, refusals, requests, resets, settings, summary, usage, user_group_members, user_groups,
    users,
};

/// What an answer says its request is called; so does the audit log of what it has written.
const REQUEST_ID: &str = "x-tollgate-request-id";
/// Where the API begins.
const BASE: &str = "/api/v1";
/// How the verb of `/keys/{id}:rotate` is written for the router, whose parameters are whole segments.
const VERB: &str = "/~";

/// Everything that the admin address answers, but metrics and the dashboard.
pub fn router(state: AdminState) -> Router {
    let (api, document) = api().split_for_parts();
    let document = serde_json::to_string(&docs::finish(document)).unwrap_or_default();
    let routes = Router::new()
        .nest(BASE, api)
        .merge(docs::routes(BASE, document))
        .route("/healthz", routing::get(health::live))
        .route("/readyz", routing::get(health::ready))
        .fallback(|| async { Problem::new(Code::NotFound, "There is nothing at this path.") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Code::MethodNotAllowed, "Allow names the methods of this path.")
        })
        .with_state(state);
    // The verb is taken apart before the path is matched, so it is done outside of the router.
    Router::new().fallback_service(routes.map_request(split_verb)).layer(middleware::from_fn(surround))
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> Value {
    docs::finish(api().into_openapi())
}

/// The OpenAPI document as `tollgate openapi` prints it and `docs/openapi.json` has it.
#[must_use]
pub fn openapi_text() -> String {
    format!("{:#}\n", openapi())
}

fn api() -> OpenApiRouter<AdminState> {
    let api = OpenApiRouter::with_openapi(docs::frame())
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::update, users::delete))
        .routes(routes!(keys::list_all))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::get, keys::update, keys::delete))
        .routes(routes!(user_groups::list, user_groups::create))
        .routes(routes!(user_groups::get, user_groups::update, user_groups::delete))
        .routes(routes!(user_group_members::put, user_group_members::delete))
        .routes(routes!(model_groups::list, model_groups::create))
        .routes(routes!(model_groups::get, model_groups::update, model_groups::delete))
        .routes(routes!(model_limits::list, model_limits::put))
        .routes(routes!(model_limits::get, model_limits::update, model_limits::delete))
        .routes(routes!(quota_boosts::list, quota_boosts::create))
        .routes(routes!(quota_boosts::get, quota_boosts::delete))
        .routes(routes!(budgets::get))
        .routes(routes!(explain::get))
        .routes(routes!(usage::list))
        .routes(routes!(summary::summary))
        .routes(routes!(refusals::list))
        .routes(routes!(requests::get))
        .routes(routes!(providers::list))
        .routes(routes!(audit_logs::list))
        .routes(routes!(admin_tokens::list, admin_tokens::create))
        .routes(routes!(admin_tokens::get, admin_tokens::delete))
        .routes(routes!(settings::get))
        .routes(routes!(me::get))
        .routes(routes!(budgets::mine))
        .routes(routes!(me::list_usage));
    let api = at(api, "/keys/{id}/~rotate", routes!(keys::rotate));
    let api = at(api, "/keys/{id}/~resetLimits", routes!(resets::reset_key));
    let api = at(api, "/users/{id}/~resetLimits", routes!(resets::reset_user));
    let api = at(api, "/providers/{name}/~resetCircuit", routes!(providers::reset_circuit));
    let api = at(api, "/providers/{name}/~openCircuit", routes!(providers::open_circuit));
    let api = api.routes(routes!(prices::list)).routes(routes!(prices::import_list));
    // Names of models may have slashes in them.
    let models = routes!(model_groups::put_model, model_groups::delete_model);
    let api = at(api, "/model-groups/{id}/models/{*model}", models);
    at(api, "/prices/{*model}", routes!(prices::get, prices::put, prices::delete))
}

/// Routes whose path in the documentation is not the one that the router can match.
fn at(
    api: OpenApiRouter<AdminState>,
    path: &str,
    (schemas, paths, methods): UtoipaMethodRouter<AdminState>,
) -> OpenApiRouter<AdminState> {
    let mut api = api.route(path, methods);
    let document = api.get_openapi_mut();
    for (path, item) in paths.paths {
        document.paths.paths.entry(path).or_default().merge_operations(item);
    }
    document.components.get_or_insert_default().schemas.extend(schemas);
    api
}

/// `/keys/7:rotate` becomes `/keys/7/~rotate`. Models may have colons in their names, so the paths that end in one are
/// left alone.
fn split_verb(mut request: Request) -> Request {
    let path = request.uri().path();
    let Some(object) = path.strip_prefix(BASE).filter(|rest| !ends_in_model(rest)) else { return request };
    let path = if object.contains(VERB) {
        // Nobody else may write it that way.
        format!("{BASE}/~")
    } else {
        let (head, last) = object.rsplit_once('/').unwrap_or(("", object));
        let Some((id, verb)) =
            last.split_once(':').or_else(|| last.split_once("%3A")).or_else(|| last.split_once("%3a"))
        else {
            return request;
        };
        format!("{BASE}{head}/{id}{VERB}{verb}")
    };
    let target = request.uri().query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    if let Ok(uri) = target.parse::<Uri>() {
        let original = std::mem::replace(request.uri_mut(), uri);
        request.extensions_mut().insert(OriginalUri(original));
    }
    request
}

fn ends_in_model(path: &str) -> bool {
    path.starts_with("/prices") || (path.starts_with("/model-groups/") && path.contains("/models/"))
}

/// Gives every request an id, writes every problem as its document, one's own panic included, and keeps answers out of caches.
async fn surround(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7();
    request.extensions_mut().insert(RequestId(id));
    let instance = request.uri().path().to_owned();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| {
        use axum::response::IntoResponse as _;
        Problem::internal(&"a handler panicked").into_response()
    });
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem.render(&instance, response),
        None => response,
    }
}
