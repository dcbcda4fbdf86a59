//! The audit log: every write leaves a row, in the transaction of the write.

use entity::audit_log;
use sea_orm::{ActiveValue::Set, DatabaseTransaction, EntityTrait};
use serde::Serialize;

use super::auth::Actor;
use super::problem::Problem;

/// What was done to which object.
#[derive(Debug)]
pub struct Entry<'a> {
    /// `create`, `update`, `delete`, `rotate` or `import`.
    pub action: &'static str,
    /// `user`, `key`, `price` or `admin_token`.
    pub object_type: &'static str,
    /// Id or name of the object.
    pub object_id: &'a str,
}

/// Adds a row. `before` and `after` are the objects as the API shows them, without secrets.
///
/// # Errors
/// The database refused it; then the write must not happen either.
pub async fn record<B: Serialize + Sync, A: Serialize + Sync>(
    txn: &DatabaseTransaction,
    actor: &Actor,
    now: i64,
    entry: Entry<'_>,
    before: Option<&B>,
    after: Option<&A>,
) -> Result<(), Problem> {
    let row = audit_log::ActiveModel {
        at: Set(now),
        actor: Set(actor.name.to_string()),
        action: Set(entry.action.to_owned()),
        object_type: Set(entry.object_type.to_owned()),
        object_id: Set(entry.object_id.to_owned()),
        before: Set(json(before)?),
        after: Set(json(after)?),
        ..Default::default()
    };
    audit_log::Entity::insert(row).exec_without_returning(txn).await?;
    Ok(())
}

fn json<T: Serialize>(object: Option<&T>) -> Result<Option<String>, Problem> {
    object.map(serde_json::to_string).transpose().map_err(|error| Problem::internal(&error))
}
