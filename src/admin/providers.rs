//! `/providers`: the providers of the configuration, as they are, and their circuits.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Actor, Admin, Viewer};
use super::budgets::BudgetStatus;
use super::extract::{Name, Params, Payload};
use super::idempotency::{Answer, IdempotencyKey};
use super::page::{Page, PageParams, PageRequest};
use super::ports::{CircuitChange, CircuitStatus, ProviderStatus};
use super::problem::Problem;
use super::store::{Once, Write};
use super::time::Instant;

const KIND: &str = "provider";

/// A provider, and what is left of its budget.
#[derive(Debug, Serialize, ToSchema)]
pub struct Provider {
    #[serde(flatten)]
    #[schema(inline)]
    status: ProviderStatus,
    /// Its budget, if it has a cap; null: what is left of it cannot be found out now.
    #[schema(required)]
    budgets: Option<Vec<BudgetStatus>>,
}

/// Lists providers, by name.
#[utoipa::path(get, path = "/providers", operation_id = "listProviders", tag = "providers", params(PageParams),
    responses((status = 200, description = "A page of providers.", body = Page<Provider>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<Provider>>, Problem> {
    let page = PageRequest::<String>::read(&mut params, KIND);
    params.finish()?;
    let mut providers = state.providers.list();
    // By name, because the order of the configuration may change between two pages.
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    let rest = providers.into_iter().filter(|provider| page.after.as_ref().is_none_or(|after| provider.name > *after));
    let rows = rest.take(usize::try_from(page.fetch()).unwrap_or(usize::MAX)).map(|status| show(&state, status));
    page.page(KIND, join_all(rows).await, |provider| provider.status.name.clone(), Ok).map(Json)
}

/// Until when a circuit is opened.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenCircuitFields {
    /// Left out: until it is reset.
    until: Option<Instant>,
}

/// Closes the circuit of a provider, and those of its models, on every node: it gets requests again at once, and
/// failures are counted anew.
#[utoipa::path(post, path = "/providers/{name}:resetCircuit", operation_id = "resetCircuit", tag = "providers",
    params(("name" = String, Path)), responses((status = 200, description = "The provider.", body = Provider)))]
pub(super) async fn reset_circuit(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Name(name): Name,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    body.nothing()?;
    change(&state, actor, &name, &key, &body, "reset_circuit", CircuitChange::Reset).await
}

/// Opens the circuit of a provider on every node: it gets no requests, until the given time or until it is reset.
#[utoipa::path(post, path = "/providers/{name}:openCircuit", operation_id = "openCircuit", tag = "providers",
    params(("name" = String, Path)), request_body = OpenCircuitFields,
    responses((status = 200, description = "The provider.", body = Provider)))]
pub(super) async fn open_circuit(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Name(name): Name,
    key: IdempotencyKey,
    body: Payload,
) -> Result<Response, Problem> {
    let fields: OpenCircuitFields = if body.bytes.is_empty() { Default::default() } else { body.object()? };
    let until = fields.until.map(|Instant(at)| at);
    if until.is_some_and(|until| until <= state.now()) {
        return Err(Problem::invalid("until", "invalid", "must be later than now"));
    }
    change(&state, actor, &name, &key, &body, "open_circuit", CircuitChange::Open { until }).await
}

async fn change(
    state: &AdminState,
    actor: Actor,
    name: &str,
    key: &IdempotencyKey,
    body: &Payload,
    action: &'static str,
    change: CircuitChange,
) -> Result<Response, Problem> {
    let before = find(state, name)?.circuit;
    let write = match Write::once(&state.db, actor, state.now(), key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    // Before the audit log has it, because that shows it. Should the log fail, it was done all the same: it can be
    // done again, and harms nobody's money.
    if !state.providers.change_circuit(name, change) {
        return Err(Problem::not_found(KIND));
    }
    let after = find(state, name)?;
    write.record::<CircuitStatus, CircuitStatus>(action, KIND, name, Some(&before), Some(&after.circuit)).await?;
    let answer = Answer::done(None, &show(state, after).await)?;
    write.commit_with(&answer).await?;
    Ok(answer.into_response())
}

fn find(state: &AdminState, name: &str) -> Result<ProviderStatus, Problem> {
    let found = state.providers.list().into_iter().find(|provider| provider.name == name);
    found.ok_or_else(|| Problem::not_found(KIND))
}

async fn show(state: &AdminState, status: ProviderStatus) -> Provider {
    let budgets = state.budgets.of_provider(&status.name).await.ok().map(Option::unwrap_or_default);
    Provider { status, budgets }
}
