//! `/providers`: the providers of the configuration, as they are.

use axum::Json;
use axum::extract::State;
use futures::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::Viewer;
use super::budgets::BudgetStatus;
use super::extract::Params;
use super::page::{Page, PageParams, PageRequest};
use super::ports::ProviderStatus;
use super::problem::Problem;

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
    let rows = rest.take(usize::try_from(page.fetch()).unwrap_or(usize::MAX)).map(|status| async {
        let budgets = state.budgets.of_provider(&status.name).await.ok().map(Option::unwrap_or_default);
        Provider { status, budgets }
    });
    page.page(KIND, join_all(rows).await, |provider| provider.status.name.clone(), Ok).map(Json)
}
