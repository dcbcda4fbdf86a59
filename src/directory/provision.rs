//! Makes users, keys and admin tokens where no administrator asks over REST: the demo, and the first start.

use entity::{admin_tokens, keys, users};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, SqlErr};

use super::Secret;
use crate::config::Limits;

const FIRST_TOKEN: &str = "first";

/// Why something could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Names of users and of admin tokens are unique.
    #[error("the name {0:?} is taken; choose another one")]
    NameTaken(String),
    /// A key needs a user.
    #[error("there is no user {0}")]
    NoSuchUser(i64),
    /// The database failed.
    #[error(transparent)]
    Database(DbErr),
}

/// A user to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// Display name, unique.
    pub name: String,
    /// Free text.
    pub note: Option<String>,
    /// Whether the user may call.
    pub enabled: bool,
    /// Unix milliseconds from which the user may not call.
    pub expires_at: Option<i64>,
    /// Requests per minute.
    pub rpm: Option<i32>,
    /// Requests at once.
    pub max_concurrent_requests: Option<i32>,
    /// The most that may be spent.
    pub limits: Option<Limits>,
    /// Globs; none: all.
    pub allowed_models: Option<Vec<String>>,
    /// Provider groups; none: all.
    pub provider_groups: Option<Vec<String>>,
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Display name.
    pub name: String,
    /// Whether the key may be used.
    pub enabled: bool,
    /// Unix milliseconds from which the key may not be used.
    pub expires_at: Option<i64>,
    /// Requests per minute.
    pub rpm: Option<i32>,
    /// Requests at once.
    pub max_concurrent_requests: Option<i32>,
    /// Globs; none: all.
    pub allowed_models: Option<Vec<String>>,
    /// Provider groups; none: all.
    pub provider_groups: Option<Vec<String>>,
}

/// What an admin token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRole {
    /// Everything.
    Admin,
    /// Read.
    Viewer,
}

impl NewUser {
    /// A user without limits.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            note: None,
            enabled: true,
            expires_at: None,
            rpm: None,
            max_concurrent_requests: None,
            limits: None,
            allowed_models: None,
            provider_groups: None,
        }
    }
}

impl NewKey {
    /// A key without limits of its own.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            enabled: true,
            expires_at: None,
            rpm: None,
            max_concurrent_requests: None,
            allowed_models: None,
            provider_groups: None,
        }
    }
}

impl AdminRole {
    /// The name in the database and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

/// Makes a user.
///
/// # Errors
///
/// [`ProvisionError`].
pub async fn create_user<C: ConnectionTrait>(db: &C, user: NewUser, now: i64) -> Result<users::Model, ProvisionError> {
    let limits = user.limits.as_ref().map(serde_json::to_string).transpose();
    let row = users::ActiveModel {
        id: NotSet,
        name: Set(user.name.clone()),
        note: Set(user.note),
        enabled: Set(user.enabled),
        expires_at: Set(user.expires_at),
        rpm: Set(user.rpm),
        max_concurrent_requests: Set(user.max_concurrent_requests),
        limits: Set(limits.map_err(|error| ProvisionError::Database(DbErr::Json(error.to_string())))?),
        allowed_models: Set(user.allowed_models.as_deref().map(json)),
        provider_groups: Set(user.provider_groups.as_deref().map(json)),
        version: Set(1),
        created_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    row.insert(db).await.map_err(|error| explain(error, &user.name, 0))
}

/// Makes a key of a user. The secret is returned once and not stored.
///
/// # Errors
///
/// [`ProvisionError`].
pub async fn create_key<C: ConnectionTrait>(
    db: &C,
    user_id: i64,
    key: NewKey,
    now: i64,
) -> Result<(keys::Model, Secret), ProvisionError> {
    let secret = Secret::for_key();
    let row = keys::ActiveModel {
        id: NotSet,
        user_id: Set(user_id),
        name: Set(key.name),
        secret_hash: Set(secret.hash().to_string()),
        prefix: Set(secret.prefix().to_owned()),
        enabled: Set(key.enabled),
        expires_at: Set(key.expires_at),
        rpm: Set(key.rpm),
        max_concurrent_requests: Set(key.max_concurrent_requests),
        allowed_models: Set(key.allowed_models.as_deref().map(json)),
        provider_groups: Set(key.provider_groups.as_deref().map(json)),
        version: Set(1),
        created_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    let row = row.insert(db).await.map_err(|error| explain(error, "", user_id))?;
    Ok((row, secret))
}

/// Makes an admin token. The secret is returned once and not stored.
///
/// # Errors
///
/// [`ProvisionError`].
pub async fn create_admin_token<C: ConnectionTrait>(
    db: &C,
    name: &str,
    role: AdminRole,
    now: i64,
) -> Result<(admin_tokens::Model, Secret), ProvisionError> {
    let secret = Secret::for_admin();
    let row = admin_tokens::ActiveModel {
        id: NotSet,
        name: Set(name.to_owned()),
        role: Set(role.as_str().to_owned()),
        secret_hash: Set(secret.hash().to_string()),
        prefix: Set(secret.prefix().to_owned()),
        created_at: Set(now),
        expires_at: NotSet,
    };
    let row = row.insert(db).await.map_err(|error| explain(error, name, 0))?;
    Ok((row, secret))
}

/// Makes an admin token if there is none yet, so that a new installation can be administered.
///
/// # Errors
///
/// [`ProvisionError::Database`].
pub async fn create_first_admin_token<C: ConnectionTrait>(
    db: &C,
    now: i64,
) -> Result<Option<(admin_tokens::Model, Secret)>, ProvisionError> {
    if admin_tokens::Entity::find().count(db).await.map_err(ProvisionError::Database)? > 0 {
        return Ok(None);
    }
    match create_admin_token(db, FIRST_TOKEN, AdminRole::Admin, now).await {
        // Another node was faster: the name is its lock.
        Err(ProvisionError::NameTaken(_)) => Ok(None),
        made => made.map(Some),
    }
}

fn json(names: &[String]) -> String {
    serde_json::Value::from(names).to_string()
}

fn explain(error: DbErr, name: &str, user_id: i64) -> ProvisionError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => ProvisionError::NameTaken(name.to_owned()),
        Some(SqlErr::ForeignKeyConstraintViolation(_)) => ProvisionError::NoSuchUser(user_id),
        _ => ProvisionError::Database(error),
    }
}
