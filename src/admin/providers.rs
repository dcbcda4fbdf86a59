//! `/providers`: the providers of the configuration, as they are.

use axum::Json;
use axum::extract::State;

use super::AdminState;
use super::auth::Viewer;
use super::extract::Params;
use super::page::{Page, PageParams, PageRequest};
use super::ports::ProviderStatus;
use super::problem::Problem;

const KIND: &str = "provider";

/// Lists providers, by name.
#[utoipa::path(get, path = "/providers", operation_id = "listProviders", tag = "providers", params(PageParams),
    responses((status = 200, description = "A page of providers.", body = Page<ProviderStatus>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<ProviderStatus>>, Problem> {
    let page = PageRequest::<String>::read(&mut params, KIND);
    params.finish()?;
    let mut providers = state.providers.list();
    // By name, because the order of the configuration may change between two pages.
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    let rest = providers.into_iter().filter(|provider| page.after.as_ref().is_none_or(|after| provider.name > *after));
    let rows = rest.take(usize::try_from(page.fetch()).unwrap_or(usize::MAX)).collect();
    page.page(KIND, rows, |provider| provider.name.clone(), Ok).map(Json)
}
