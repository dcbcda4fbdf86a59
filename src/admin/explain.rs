//! `/explain`: what would become of a request, without making it.

use axum::Json;
use axum::extract::State;
use entity::{keys, users};
use sea_orm::EntityTrait;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::AdminState;
use super::auth::Viewer;
use super::budgets::{BudgetWindow, OwnerId};
use super::extract::Params;
use super::problem::{InvalidParam, Problem};
use super::usd;
use crate::dialect::Dialect;
use crate::gateway::Question;

const DIALECTS: [(&str, Dialect); 5] = [
    ("anthropic", Dialect::Anthropic),
    ("openai_chat", Dialect::OpenaiChat),
    ("openai_responses", Dialect::OpenaiResponses),
    ("openai_embeddings", Dialect::OpenaiEmbeddings),
    ("gemini", Dialect::Gemini),
];

/// The whole decision.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The wire format that was assumed.
    pub dialect: &'static str,
    /// Every provider: first those that would be tried, in this order, then those that would not.
    pub candidates: Vec<ExplainedCandidate>,
    /// The group of the model that the decisive candidate would be sent; null: it is in none.
    #[schema(required)]
    pub model_group: Option<ExplainedGroup>,
    /// The budgets that would pay at the decisive candidate, one per axis.
    pub budgets: Vec<ExplainedBudget>,
    /// What would happen.
    pub verdict: Verdict,
}

/// A provider, and what speaks for and against it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedCandidate {
    /// Its name.
    pub provider: String,
    /// The model that it would be sent.
    pub served_model: String,
    /// The group of that model.
    #[schema(required)]
    pub model_group: Option<ExplainedGroup>,
    /// Why it would not get the request: `dialect`, `model`, `provider_group`, `circuit_open`, `model_circuit_open`,
    /// `busy`, `provider_budget_exceeded`, or the code of a refusal; null: it could serve it.
    #[schema(required)]
    pub excluded: Option<&'static str>,
    /// What the request would set aside.
    #[serde(serialize_with = "optional_usd")]
    #[schema(value_type = Option<f64>, required)]
    pub needs_usd: Option<i64>,
    /// The budgets that would pay, one per axis.
    pub budgets: Vec<ExplainedBudget>,
}

/// A model group.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExplainedGroup {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// A budget that would pay.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedBudget {
    /// `key`, `user` or `provider`.
    pub axis: &'static str,
    /// Whose it is.
    pub owner_id: OwnerId,
    /// `mainline`, or the name of the model group.
    pub scope: String,
    /// The model group; null: mainline.
    #[schema(required)]
    pub model_group_id: Option<i64>,
    /// Its windows; empty: it has no cap; null: they cannot be found out now.
    #[schema(required)]
    pub windows: Option<Vec<BudgetWindow>>,
}

/// What would happen.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether it would go to a provider.
    pub admitted: bool,
    /// To which.
    #[schema(required)]
    pub provider: Option<String>,
    /// The code of the refusal that the client would get.
    #[schema(required)]
    pub code: Option<&'static str>,
    /// Its status.
    #[schema(required)]
    pub status: Option<u16>,
    /// Its message.
    #[schema(required)]
    pub message: Option<String>,
    /// Its details.
    #[schema(value_type = Option<Object>, required)]
    pub details: Option<Value>,
}

/// The parameters, for the documentation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "documents what get reads")]
pub struct ExplainParams {
    /// Whose request.
    #[param(minimum = 1)]
    user_id: i64,
    /// With which key; left out: with one that limits nothing.
    #[param(minimum = 1)]
    key_id: Option<i64>,
    /// For which model, as a client names it.
    #[param(min_length = 1, max_length = 256)]
    model: String,
    /// In which wire format; left out: the first one of the first provider that takes the model.
    #[param(pattern = "^(anthropic|openai_chat|openai_responses|openai_embeddings|gemini)$")]
    dialect: Option<String>,
}

/// Tells what would become of a small request of this kind now, without making it. Limits on the number of requests are
/// left aside.
#[utoipa::path(get, path = "/explain", operation_id = "explain", tag = "budgets", params(ExplainParams),
    responses((status = 200, description = "The decision.", body = Explanation)))]
pub(super) async fn get(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Explanation>, Problem> {
    let (user_id, key_id, model) = (params.id("userId"), params.id("keyId"), params.name("model"));
    let dialect = params.choice("dialect", &DIALECTS);
    params.required("userId", user_id.is_some());
    params.required("model", model.is_some());
    params.finish()?;
    let unknown = |name: &str, what: &str| InvalidParam::new(name, "invalid", format!("there is no such {what}"));
    let user = users::Entity::find_by_id(user_id.unwrap_or(0)).one(&state.db).await?;
    let user = user.ok_or_else(|| Problem::validation(vec![unknown("userId", "user")]))?;
    let key = match key_id {
        None => None,
        Some(id) => {
            let key = keys::Entity::find_by_id(id).one(&state.db).await?.filter(|key| key.user_id == user.id);
            Some(key.ok_or_else(|| Problem::validation(vec![unknown("keyId", "key of this user")]))?)
        }
    };
    let question = Question { user, key, model: model.unwrap_or_default(), dialect };
    Ok(Json(state.budgets.explain(question).await))
}

#[allow(clippy::ref_option, reason = "serde wants a reference")]
fn optional_usd<S: serde::Serializer>(nanos: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match nanos {
        Some(nanos) => usd::nanos(nanos, serializer),
        None => serializer.serialize_none(),
    }
}
