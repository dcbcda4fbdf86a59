//! Reads keys with their users from the database.

use std::collections::HashMap;
use std::sync::Arc;

use entity::{keys, users};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, JoinType, QueryFilter, QuerySelect, SelectTwo};

use super::principal::{Principal, UserRecord, fingerprint};
use super::secret::SecretHash;

/// A principal, and what tells whether it has changed.
pub(super) type Read = (u64, Arc<Principal>);

/// The key with this hash.
pub(super) async fn one(db: &DatabaseConnection, hash: &SecretHash) -> Result<Option<Read>, DbErr> {
    let row = joined().filter(keys::Column::SecretHash.eq(hash.to_string())).one(db).await?;
    Ok(row.and_then(|(key, user)| Some(principal(key, user?))))
}

/// Those of these keys that exist.
pub(super) async fn many(
    db: &DatabaseConnection,
    hashes: impl Iterator<Item = SecretHash>,
) -> Result<HashMap<SecretHash, (keys::Model, users::Model)>, DbErr> {
    let hashes = hashes.map(|hash| hash.to_string());
    let rows = joined().filter(keys::Column::SecretHash.is_in(hashes)).all(db).await?;
    Ok(rows
        .into_iter()
        .filter_map(|(key, user)| Some((SecretHash::from_hex(&key.secret_hash)?, (key, user?))))
        .collect())
}

/// Makes a principal of two rows.
pub(super) fn principal(key: keys::Model, user: users::Model) -> Read {
    let fingerprint = fingerprint(&key, &user);
    (fingerprint, Arc::new(Principal::new(key, Arc::new(UserRecord::new(user)))))
}

/// Who a key and its user are to requests.
#[must_use]
pub fn principal_of(key: keys::Model, user: users::Model) -> Arc<Principal> {
    principal(key, user).1
}

fn joined() -> SelectTwo<keys::Entity, users::Entity> {
    let owner = keys::Entity::belongs_to(users::Entity).from(keys::Column::UserId).to(users::Column::Id);
    keys::Entity::find().select_also(users::Entity).join(JoinType::InnerJoin, owner.into())
}
