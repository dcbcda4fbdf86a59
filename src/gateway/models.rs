//! The lists of models that a key may use.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::app::{App, Live};
use crate::dialect::{Endpoint, ErrorCode, GatewayError, ModelEntry, Route, Shape, model, model_list};
use crate::directory::Principal;

/// When every model was "created": the lists carry the field, providers' own dates are not known here.
const CREATED: i64 = 1_704_067_200;

/// The answer to a request for a list, or for one model.
pub(super) fn answer(app: &App, live: &Live, route: &Route, principal: &Principal) -> Result<Bytes, GatewayError> {
    let entries = usable(app, live, principal);
    if route.endpoint == Endpoint::ListModels {
        return Ok(model_list(route.shape, &entries));
    }
    let wanted = route.path_model.as_deref().unwrap_or_default();
    let wanted = if route.shape == Shape::Gemini { wanted.strip_prefix("models/").unwrap_or(wanted) } else { wanted };
    let entry = entries.iter().find(|entry| entry.id == wanted).ok_or_else(|| {
        GatewayError::new(ErrorCode::NotFound, format!("there is no model {wanted:?} that this API key may use"))
    })?;
    Ok(model(route.shape, entry))
}

/// The priced models, and the sources of redirects, that a provider in reach of the key takes.
fn usable(app: &App, live: &Live, principal: &Principal) -> Vec<ModelEntry> {
    let prices = app.prices.load();
    let groups = principal.provider_groups();
    let in_reach: Vec<_> = live.catalogue.iter().filter(|p| p.settings.enabled && p.is_in_reach(groups)).collect();
    let mut found: BTreeMap<&str, ModelEntry> = BTreeMap::new();
    for (name, price) in prices.names() {
        if let Some(provider) = in_reach.iter().find(|p| p.takes(name)) {
            found.insert(name, entry(name, &provider.name, price.max_input_tokens, price.max_output_tokens));
        }
    }
    for provider in &in_reach {
        for (from, to) in &provider.settings.redirects {
            let price = prices.get(to).or_else(|| prices.get(from));
            let limits = price.map_or((None, None), |p| (p.max_input_tokens, p.max_output_tokens));
            found.entry(from).or_insert_with(|| entry(from, &provider.name, limits.0, limits.1));
        }
    }
    found.into_values().filter(|entry| principal.allows_model(&entry.id)).collect()
}

fn entry(id: &str, owner: &str, max_input: Option<u64>, max_output: Option<u64>) -> ModelEntry {
    ModelEntry { id: id.to_owned(), created: CREATED, owned_by: owner.to_owned(), max_input, max_output }
}
