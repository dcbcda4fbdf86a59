//! A user as the API shows it, and what may be written of it.

use std::collections::BTreeSet;

use entity::users;
use sea_orm::ActiveValue::Set;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::limits::{self, Limits};
use super::super::problem::Problem;
use super::super::time::Instant;
use super::super::validate::{self, Check};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Never reused.
    pub id: i64,
    /// Unique.
    pub name: String,
    /// Free text for the administrator.
    #[schema(required)]
    pub note: Option<String>,
    /// Whether its keys are accepted.
    pub enabled: bool,
    /// From when on its keys are refused.
    #[schema(required)]
    pub expires_at: Option<Instant>,
    /// Requests per minute over all its keys; null: not limited.
    #[schema(required)]
    pub rpm: Option<i32>,
    /// Requests in flight at once over all its keys; null: not limited.
    #[schema(required)]
    pub max_concurrent_requests: Option<i32>,
    /// The most that may be spent on everything that no model group claims.
    pub limits: Limits,
    /// Globs on the requested model; empty: all.
    pub allowed_models: Vec<String>,
    /// Names of provider groups; empty: all.
    pub provider_groups: Vec<String>,
    /// The user groups that it is in.
    pub user_group_ids: Vec<i64>,
    /// Counts the writes.
    pub version: i64,
    /// When it was created.
    pub created_at: Instant,
    /// When it was last written.
    pub updated_at: Instant,
}

/// What may be written of a user.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserFields {
    #[schema(schema_with = validate::name_schema)]
    name: String,
    #[serde(default)]
    #[schema(schema_with = validate::note_schema)]
    note: Option<String>,
    /// Whether its keys are accepted.
    #[serde(default = "validate::yes")]
    #[schema(default = true)]
    enabled: bool,
    /// From when on its keys are refused; in the past: at once.
    #[serde(default)]
    expires_at: Option<Instant>,
    #[serde(default, deserialize_with = "validate::integer")]
    #[schema(schema_with = validate::count_schema)]
    rpm: Option<i64>,
    #[serde(default, deserialize_with = "validate::integer")]
    #[schema(schema_with = validate::count_schema)]
    max_concurrent_requests: Option<i64>,
    #[serde(default)]
    #[schema(schema_with = limits::schema)]
    limits: Option<Value>,
    #[serde(default)]
    #[schema(schema_with = validate::globs_schema)]
    allowed_models: Option<Vec<String>>,
    #[serde(default)]
    #[schema(schema_with = validate::groups_schema)]
    provider_groups: Option<Vec<String>>,
    #[serde(default)]
    #[schema(schema_with = validate::ids_schema)]
    user_group_ids: Option<Vec<i64>>,
}

impl UserFields {
    /// What a patch of this user starts from.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn of(user: &User, row: &users::Model) -> Result<Self, Problem> {
        Ok(Self {
            name: user.name.clone(),
            note: user.note.clone(),
            enabled: user.enabled,
            expires_at: user.expires_at,
            rpm: user.rpm.map(i64::from),
            max_concurrent_requests: user.max_concurrent_requests.map(i64::from),
            limits: Some(limits::patchable(&limits::kept(row.limits.as_deref())?)?),
            allowed_models: Some(user.allowed_models.clone()),
            provider_groups: Some(user.provider_groups.clone()),
            user_group_ids: Some(user.user_group_ids.clone()),
        })
    }

    /// Checks the fields and writes them into a row; returns the groups that the user shall be in.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn apply(self, row: &mut users::ActiveModel) -> Result<BTreeSet<i64>, Problem> {
        let mut check = Check::default();
        row.name = Set(check.name("name", &self.name));
        row.note = Set(check.note("note", self.note));
        row.enabled = Set(self.enabled);
        row.expires_at = Set(self.expires_at.map(|Instant(at)| at));
        row.rpm = Set(check.count("rpm", self.rpm));
        row.max_concurrent_requests = Set(check.count("maxConcurrentRequests", self.max_concurrent_requests));
        row.limits = Set(limits::keep(&limits::read(&mut check, "limits", self.limits))?);
        row.allowed_models = Set(check.globs("allowedModels", self.allowed_models));
        row.provider_groups = Set(check.groups("providerGroups", self.provider_groups));
        let groups = check.ids("userGroupIds", self.user_group_ids);
        check.finish()?;
        Ok(groups)
    }
}

impl User {
    /// A row as the API shows it.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn show(row: users::Model, user_group_ids: Vec<i64>) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            name: row.name,
            note: row.note,
            enabled: row.enabled,
            expires_at: row.expires_at.map(Instant),
            rpm: row.rpm,
            max_concurrent_requests: row.max_concurrent_requests,
            limits: Limits::shown(row.limits.as_deref())?,
            allowed_models: validate::shown(row.allowed_models.as_deref())?,
            provider_groups: validate::shown(row.provider_groups.as_deref())?,
            user_group_ids,
            version: row.version,
            created_at: Instant(row.created_at),
            updated_at: Instant(row.updated_at),
        })
    }
}
