//! How often the spend of users and keys has been reset so far: a reset in between holds for late charges too.

use std::collections::{HashMap, HashSet};

use entity::{keys, users};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};

/// Eras by owner.
pub(super) struct Eras {
    users: HashMap<i64, i64>,
    keys: HashMap<i64, i64>,
}

impl Eras {
    /// The eras that these users and keys are in now.
    pub(super) async fn read<C: ConnectionTrait>(
        db: &C,
        users: HashSet<i64>,
        keys: HashSet<i64>,
    ) -> Result<Self, DbErr> {
        let of_users = users::Entity::find().select_only().column(users::Column::Id).column(users::Column::Era);
        let of_keys = keys::Entity::find().select_only().column(keys::Column::Id).column(keys::Column::Era);
        let users: Vec<(i64, i64)> = of_users.filter(users::Column::Id.is_in(users)).into_tuple().all(db).await?;
        let keys: Vec<(i64, i64)> = of_keys.filter(keys::Column::Id.is_in(keys)).into_tuple().all(db).await?;
        Ok(Self { users: users.into_iter().collect(), keys: keys.into_iter().collect() })
    }

    /// The user's era, at least this one.
    pub(super) fn of_user(&self, id: i64, then: i64) -> i64 {
        self.users.get(&id).map_or(then, |now| then.max(*now))
    }

    /// The key's era, at least this one.
    pub(super) fn of_key(&self, id: i64, then: i64) -> i64 {
        self.keys.get(&id).map_or(then, |now| then.max(*now))
    }
}
