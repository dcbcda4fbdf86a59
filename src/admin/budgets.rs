//! `/budgets/{axis}/{id}` and `/me/budgets`: what is left.

use axum::Json;
use axum::extract::State;
use entity::{keys, users};
use sea_orm::EntityTrait;
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{KeyOwner, Viewer};
use super::extract::{TwoNames, id};
use super::ports::BudgetsUnknown;
use super::problem::{Code, Problem};
use super::time::Instant;
use super::usd;

/// Budgets of one owner.
#[derive(Debug, Serialize, ToSchema)]
pub struct Budgets {
    /// The mainline budget, if it has a cap, then those for model groups.
    items: Vec<BudgetStatus>,
}

/// A budget now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// `user`, `key` or `provider`.
    pub axis: &'static str,
    /// Whose it is.
    pub owner_id: OwnerId,
    /// `mainline`, or the name of the model group.
    pub scope: String,
    /// The model group; null: mainline.
    #[schema(required)]
    pub model_group_id: Option<i64>,
    /// Those that have a cap.
    pub windows: Vec<BudgetWindow>,
}

/// The id of a user, user group or key, or the name of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OwnerId {
    /// A user, user group or key.
    Id(i64),
    /// A provider.
    Name(String),
}

/// A window of a budget now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetWindow {
    /// `total`, `5h`, `daily`, `weekly` or `monthly`.
    pub window: &'static str,
    /// `rolling` or `fixed`.
    pub reset: &'static str,
    /// The cap in force, boosts included.
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    pub limit_usd: i64,
    /// How much of the cap is boosts.
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    pub boost_usd: i64,
    /// Whose row set the cap.
    pub source: BudgetSource,
    /// What was charged.
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    pub used_usd: i64,
    /// What running requests have set aside.
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    pub reserved_usd: i64,
    /// What is left.
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    pub remaining_usd: i64,
    /// When it began; null: it moves along, has not begun, or is for ever.
    #[schema(required)]
    pub starts_at: Option<Instant>,
    /// When it starts anew; null: as before.
    #[schema(required)]
    pub resets_at: Option<Instant>,
}

/// Whose row set a cap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BudgetSource {
    /// `user`, `user_group`, `key` or `provider`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its id, or the name of a provider.
    pub id: OwnerId,
    /// Its name; null: it was deleted a moment ago.
    #[schema(required)]
    pub name: Option<String>,
}

impl From<BudgetsUnknown> for Problem {
    fn from(unknown: BudgetsUnknown) -> Self {
        Self::new(Code::Unavailable, format!("{unknown}; try again.")).retry_after(1)
    }
}

/// Shows the budgets of a user or key (by id) or of a provider (by name) as they are now.
#[utoipa::path(get, path = "/budgets/{axis}/{id}", operation_id = "getBudgets", tag = "budgets",
    params(("axis" = String, Path, pattern = "^(user|key|provider)$"), ("id" = String, Path)),
    responses(
        (status = 200, description = "The budgets.", body = Budgets),
        (status = 503, description = "The database, or what is left of a budget, cannot be asked now.",
            body = super::problem::ProblemDocument)))]
pub(super) async fn get(
    _: Viewer,
    State(state): State<AdminState>,
    TwoNames(axis, owner): TwoNames,
) -> Result<Json<Budgets>, Problem> {
    let items = match axis.as_str() {
        "user" => {
            let row = users::Entity::find_by_id(id("id", &owner)?).one(&state.db).await?;
            state.budgets.of_user(&row.ok_or_else(|| Problem::not_found("user"))?).await?
        }
        "key" => {
            let row = keys::Entity::find_by_id(id("id", &owner)?).one(&state.db).await?;
            state.budgets.of_key(&row.ok_or_else(|| Problem::not_found("key"))?).await?
        }
        "provider" => state.budgets.of_provider(&owner).await?.ok_or_else(|| Problem::not_found("provider"))?,
        _ => return Err(Problem::invalid("axis", "invalid", "must be user, key or provider")),
    };
    Ok(Json(Budgets { items }))
}

/// Shows the budgets of the key that is presented, and those of its user.
#[utoipa::path(get, path = "/me/budgets", operation_id = "getMyBudgets", tag = "me", security(("userKey" = [])),
    responses((status = 200, description = "The budgets of the user, then those of the key.", body = Budgets)))]
pub(super) async fn mine(owner: KeyOwner, State(state): State<AdminState>) -> Result<Json<Budgets>, Problem> {
    let mut items = state.budgets.of_user(&owner.user).await?;
    items.extend(state.budgets.of_key(&owner.key).await?);
    Ok(Json(Budgets { items }))
}
