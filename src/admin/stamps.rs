//! The numbers that changes to budgets carry.
//!
//! Every write to users, keys, groups, limits and boosts takes its number before it locks anything else, so such writes
//! come one after the other, on all nodes: none of them can wait for another in a circle, and what one of them has
//! looked up stays true until it commits.
//!
//! What is changed carries the number itself. Of what is deleted the number stays behind with its owners, whose budgets
//! it was part of.

use entity::{keys, model_group_limits as limits, quota_boost_grants as boosts, user_group_members as members};
use entity::{user_groups, users};
use sea_orm::sea_query::{Expr, ExprTrait as _, Query, SelectStatement, UpdateStatement};
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect, QueryTrait};

use super::ports::Invalidate;
use super::problem::Problem;
use crate::limit::Subject;

/// The users and keys whose rows a write has stamped.
#[derive(Debug, Default)]
pub struct Touched {
    users: Vec<i64>,
    keys: Vec<(i64, String)>,
}

impl Touched {
    /// A user whose own row was written.
    pub fn user(id: i64) -> Self {
        Self { users: vec![id], keys: Vec::new() }
    }

    /// A key whose own row was written.
    pub fn key(id: i64, hash: String) -> Self {
        Self { users: Vec::new(), keys: vec![(id, hash)] }
    }

    /// Stamps the members of a user group, who are about to lose it: their rows show one group less.
    pub async fn members(txn: &DatabaseTransaction, group: i64, stamp: i64, now: i64) -> Result<Self, Problem> {
        let ids = members::Entity::find()
            .select_only()
            .column(members::Column::UserId)
            .filter(members::Column::UserGroupId.eq(group));
        Self::rewritten(txn, ids.into_query(), stamp, now).await
    }

    /// Stamps a user that has joined or left a group.
    pub async fn member(txn: &DatabaseTransaction, user: i64, stamp: i64, now: i64) -> Result<Self, Problem> {
        let ids = users::Entity::find().select_only().column(users::Column::Id).filter(users::Column::Id.eq(user));
        Self::rewritten(txn, ids.into_query(), stamp, now).await
    }

    async fn rewritten(txn: &DatabaseTransaction, ids: SelectStatement, stamp: i64, now: i64) -> Result<Self, Problem> {
        let mut update = stamped(users::Entity, users::Column::Stamp, users::Column::Id, ids, stamp);
        update
            .value(users::Column::Version, Expr::col(users::Column::Version).add(1_i64))
            .value(users::Column::UpdatedAt, now)
            .returning_col(users::Column::Id);
        Ok(Self { users: returned(txn, &update, "id").await?, keys: Vec::new() })
    }

    /// Stamps everybody who has a limit or a boost for a model group that is about to be deleted.
    pub async fn subjects(txn: &DatabaseTransaction, model_group: i64, stamp: i64) -> Result<Self, Problem> {
        let of_limits = |column: limits::Column| {
            let rows = limits::Entity::find().select_only().column(column);
            rows.filter(limits::Column::ModelGroupId.eq(model_group)).filter(column.is_not_null()).into_query()
        };
        let boosted = boosts::Entity::find()
            .select_only()
            .column(boosts::Column::UserId)
            .filter(boosts::Column::ModelGroupId.eq(model_group));
        let mut with_limit = of_limits(limits::Column::UserId);
        with_limit.union(sea_orm::sea_query::UnionType::Distinct, boosted.into_query());
        let touched = Self {
            users: stamp_users(txn, with_limit, stamp).await?,
            keys: stamp_keys(txn, of_limits(limits::Column::KeyId), stamp).await?,
        };
        stamp_user_groups(txn, of_limits(limits::Column::UserGroupId), stamp).await?;
        Ok(touched)
    }

    /// Stamps the one whose limit or boost is about to be deleted.
    pub async fn owner(txn: &DatabaseTransaction, subject: Subject, stamp: i64) -> Result<Self, Problem> {
        let one = |id: i64| Query::select().expr(Expr::val(id)).to_owned();
        Ok(match subject {
            Subject::User(id) => Self { users: stamp_users(txn, one(id), stamp).await?, keys: Vec::new() },
            Subject::Key(id) => Self { users: Vec::new(), keys: stamp_keys(txn, one(id), stamp).await? },
            Subject::UserGroup(id) => {
                // The number of a group counts for each of its members.
                stamp_user_groups(txn, one(id), stamp).await?;
                Self::default()
            }
        })
    }

    /// Tells the rest of the gateway, once the write is committed.
    ///
    /// Limits come first: an owner's row that carries the new number must not meet limits without it.
    pub async fn tell(&self, invalidate: &dyn Invalidate) {
        invalidate.limits().await;
        match (self.users.as_slice(), self.keys.as_slice()) {
            ([], []) => {}
            ([user], []) => invalidate.user(*user).await,
            ([], [(key, hash)]) => invalidate.key(*key, hash).await,
            (users, keys) => invalidate.owners(users, keys).await,
        }
    }
}

async fn stamp_users(txn: &DatabaseTransaction, ids: SelectStatement, stamp: i64) -> Result<Vec<i64>, Problem> {
    let mut update = stamped(users::Entity, users::Column::Stamp, users::Column::Id, ids, stamp);
    returned(txn, update.returning_col(users::Column::Id), "id").await
}

async fn stamp_keys(
    txn: &DatabaseTransaction,
    ids: SelectStatement,
    stamp: i64,
) -> Result<Vec<(i64, String)>, Problem> {
    let mut update = stamped(keys::Entity, keys::Column::Stamp, keys::Column::Id, ids, stamp);
    update.returning(Query::returning().columns([keys::Column::Id, keys::Column::SecretHash]));
    let rows = txn.query_all(&update).await?;
    let rows = rows.iter().map(|row| Ok((row.try_get("", "id")?, row.try_get("", "secret_hash")?)));
    rows.collect::<Result<_, sea_orm::DbErr>>().map_err(Problem::from)
}

async fn stamp_user_groups(txn: &DatabaseTransaction, ids: SelectStatement, stamp: i64) -> Result<(), Problem> {
    let update = stamped(user_groups::Entity, user_groups::Column::Stamp, user_groups::Column::Id, ids, stamp);
    txn.execute(&update).await?;
    Ok(())
}

/// One statement, however many there are.
fn stamped<E: EntityTrait, C: ColumnTrait>(
    entity: E,
    column: C,
    id: C,
    ids: SelectStatement,
    stamp: i64,
) -> UpdateStatement {
    Query::update().table(entity).value(column, stamp).and_where(Expr::col(id).in_subquery(ids)).to_owned()
}

async fn returned(txn: &DatabaseTransaction, update: &UpdateStatement, column: &str) -> Result<Vec<i64>, Problem> {
    let rows = txn.query_all(update).await?;
    let ids: Result<Vec<i64>, _> = rows.iter().map(|row| row.try_get("", column)).collect();
    Ok(ids?)
}
