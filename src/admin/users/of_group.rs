//! `/users?userGroupId=`: the members of a user group, in each order of users.

use entity::user_group_members::{Column, Entity};
use entity::users;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Select,
};

use crate::admin::sort::{Columns, Sorted};

/// SQLite looks up all members of a group of at most so many, and sorts them: that takes 5 ms. Whoever walks through all
/// users in their order soon meets enough members of a larger one.
const SMALL: u64 = 10_000;

/// What a page of the members of this group asks for; of a group that is not there it has none.
pub async fn select(
    page: &Sorted<users::Entity>,
    group: i64,
    db: &DatabaseConnection,
) -> Result<Select<users::Entity>, DbErr> {
    let backend = db.get_database_backend();
    let (mut rows, members) = (users::Entity::find(), Entity::find().filter(Column::UserGroupId.eq(group)));
    let is_user = || Expr::col((Entity, Column::UserId)).eq(Expr::col((users::Entity, users::Column::Id)));
    if page.is_by_id() {
        // The members of a group are in this order already.
        QueryTrait::query(&mut rows).join(JoinType::InnerJoin, Entity, is_user());
        let within = Some((Expr::col((Entity, Column::UserGroupId)), group));
        let columns = Columns { within, id: Expr::col((Entity, Column::UserId)), ..page.columns(backend) };
        return Ok(page.range(rows, columns, backend));
    }
    // PostgreSQL knows about how many members a group has, and does the same by itself.
    if backend == DbBackend::Sqlite && is_large(members.clone(), db).await? {
        let is_member = members.filter(is_user()).select_only().expr(Expr::val(1)).into_query();
        return Ok(page.range(rows.filter(Expr::exists(is_member)), page.columns(backend), backend));
    }
    let members = members.select_only().column(Column::UserId).into_query();
    let rows = rows.filter(users::Column::Id.in_subquery(members));
    Ok(page.range(rows, page.columns_off_index(backend), backend))
}

async fn is_large(members: Select<Entity>, db: &DatabaseConnection) -> Result<bool, DbErr> {
    Ok(members.order_by_asc(Column::UserId).offset(SMALL).one(db).await?.is_some())
}
