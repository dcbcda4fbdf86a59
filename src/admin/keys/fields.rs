//! A key as the API shows it, and what may be written of it.

use entity::keys;
use sea_orm::ActiveValue::Set;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::limits::{self, Limits};
use super::super::problem::Problem;
use super::super::time::Instant;
use super::super::validate::{self, Check};

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Never reused.
    pub id: i64,
    /// Whose it is.
    pub user_id: i64,
    /// Display name.
    pub name: String,
    /// The first characters of the secret, to recognise it by.
    pub prefix: String,
    /// Whether it is accepted.
    pub enabled: bool,
    /// From when on it is refused.
    #[schema(required)]
    pub expires_at: Option<Instant>,
    /// Requests per minute; null: not limited.
    #[schema(required)]
    pub rpm: Option<i32>,
    /// Requests in flight at once; null: not limited.
    #[schema(required)]
    pub max_concurrent_requests: Option<i32>,
    /// The most that may be spent on everything that no model group claims.
    pub limits: Limits,
    /// Globs on the requested model; empty: all. The user must allow the model too.
    pub allowed_models: Vec<String>,
    /// Names of provider groups; empty: all. Those of the user are intersected.
    pub provider_groups: Vec<String>,
    /// Counts the writes.
    pub version: i64,
    /// When it was created.
    pub created_at: Instant,
    /// When it was last written.
    pub updated_at: Instant,
}

/// What may be written of a key.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyFields {
    #[schema(schema_with = validate::name_schema)]
    name: String,
    /// Whether it is accepted.
    #[serde(default = "validate::yes")]
    #[schema(default = true)]
    enabled: bool,
    /// From when on it is refused; in the past: at once.
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
}

impl KeyFields {
    /// What a patch of this key starts from.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn of(key: &Key, row: &keys::Model) -> Result<Self, Problem> {
        Ok(Self {
            name: key.name.clone(),
            enabled: key.enabled,
            expires_at: key.expires_at,
            rpm: key.rpm.map(i64::from),
            max_concurrent_requests: key.max_concurrent_requests.map(i64::from),
            limits: Some(limits::patchable(&limits::kept(row.limits.as_deref())?)?),
            allowed_models: Some(key.allowed_models.clone()),
            provider_groups: Some(key.provider_groups.clone()),
        })
    }

    /// Checks the fields and writes them into a row.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn apply(self, row: &mut keys::ActiveModel) -> Result<(), Problem> {
        let mut check = Check::default();
        row.name = Set(check.name("name", &self.name));
        row.enabled = Set(self.enabled);
        row.expires_at = Set(self.expires_at.map(|Instant(at)| at));
        row.rpm = Set(check.count("rpm", self.rpm));
        row.max_concurrent_requests = Set(check.count("maxConcurrentRequests", self.max_concurrent_requests));
        row.limits = Set(limits::keep(&limits::read(&mut check, "limits", self.limits))?);
        row.allowed_models = Set(check.globs("allowedModels", self.allowed_models));
        row.provider_groups = Set(check.groups("providerGroups", self.provider_groups));
        check.finish()
    }
}

impl Key {
    /// A row as the API shows it.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn show(row: keys::Model) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            name: row.name,
            prefix: row.prefix,
            enabled: row.enabled,
            expires_at: row.expires_at.map(Instant),
            rpm: row.rpm,
            max_concurrent_requests: row.max_concurrent_requests,
            limits: Limits::shown(row.limits.as_deref())?,
            allowed_models: validate::shown(row.allowed_models.as_deref())?,
            provider_groups: validate::shown(row.provider_groups.as_deref())?,
            version: row.version,
            created_at: Instant(row.created_at),
            updated_at: Instant(row.updated_at),
        })
    }
}
