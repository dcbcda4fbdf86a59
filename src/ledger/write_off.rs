//! A node that never returns: what it told the budgets and never wrote is charged in its name, once, and taken back if
//! it returns after all.

use std::sync::Arc;

use entity::gateway_nodes::{self, Column};
use entity::{usage_ledger, write_offs};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::batch;
use super::eras::Eras;
use super::node::{DEAD, LIVE, Silent};
use super::prices::Numbered;
use super::rerate::{CORRECTION, correction};
use super::starts::{scope_column, scope_of};
use super::table::chunks;
use super::{LedgerRecord, Outcome};
use crate::dialect::{Dialect, Usage};
use crate::limit::{Axis, BudgetId, Scope};
use crate::money::Usd;
use crate::store;

/// Ids of requests per query.
const BATCH: usize = 500;

/// What the clients got, as far as anybody knows.
const STATUS: u16 = 503;

/// What a node that never returned held of one budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Which.
    pub budget: BudgetId,
    /// What it told and did not write.
    pub amount: Usd,
    /// When it last told something, Unix milliseconds: the amount is charged at that instant.
    pub at: i64,
    /// The provider's name, if the budget is a provider's.
    pub provider: Arc<str>,
}

/// Declares a life dead, if it has not been seen since, and charges what it lost: all of it or nothing. False: it lives,
/// or somebody else did that.
///
/// # Errors
///
/// What the database says.
pub async fn write_off(db: &DatabaseConnection, life: &Silent, losses: &[Loss]) -> Result<bool, DbErr> {
    let transaction = store::begin_write(db).await?;
    let charged: Vec<&Loss> = losses.iter().filter(|loss| loss.amount > Usd::ZERO).collect();
    let owners = |axis| charged.iter().filter(move |loss| loss.budget.axis == axis).map(|loss| loss.budget.owner);
    let eras = Eras::read(&transaction, owners(Axis::User).collect(), owners(Axis::Key).collect()).await?;
    let records: Vec<_> = charged.iter().map(|loss| record(life.inc, loss, &eras)).collect();
    batch::put(&transaction, &Numbered::default(), &records.iter().collect::<Vec<_>>()).await?;
    remember(&transaction, life.inc, losses).await?;
    // Last, as in every other transaction that writes rows: two that lock in another order could wait for each other.
    let dead = gateway_nodes::Entity::update_many()
        .filter(Column::Inc.eq(life.inc))
        .filter(Column::State.eq(LIVE))
        .filter(Column::SeenAt.eq(life.seen_at))
        .col_expr(Column::State, Expr::value(DEAD))
        .exec(&transaction)
        .await?;
    if dead.rows_affected == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    transaction.commit().await?;
    Ok(true)
}

/// The budgets that a life held something of when it was written off.
///
/// # Errors
///
/// What the database says.
pub async fn written_off_budgets(db: &DatabaseConnection, inc: i64) -> Result<Vec<BudgetId>, DbErr> {
    let rows = write_offs::Entity::find().filter(write_offs::Column::Inc.eq(inc)).all(db).await?;
    Ok(rows.iter().filter_map(budget_of).collect())
}

/// Takes back what was charged for a life that is over now, its own rows being there.
pub(super) async fn take_back(transaction: &DatabaseTransaction, inc: i64) -> Result<(), DbErr> {
    let of_life = write_offs::Entity::find().filter(write_offs::Column::Inc.eq(inc));
    let charged = of_life.filter(write_offs::Column::CostNanos.gt(0)).all(transaction).await?;
    let mut corrections = Vec::new();
    for charged in charged.chunks(BATCH) {
        let ids = charged.iter().map(|charged| charged.request_id.as_str());
        let rows = usage_ledger::Entity::find().filter(usage_ledger::Column::RequestId.is_in(ids));
        let rows = rows.filter(usage_ledger::Column::Attempt.eq(1)).all(transaction).await?;
        let records = rows.into_iter().filter_map(|row| {
            let cost = -Usd::from_nanos(row.cost_nanos);
            correction(row, 1 + CORRECTION, cost, None)
        });
        corrections.extend(records);
    }
    // All at once: what is put locks sums in one order.
    batch::put(transaction, &Numbered::default(), &corrections.iter().collect::<Vec<_>>()).await?;
    Ok(())
}

async fn remember(transaction: &DatabaseTransaction, inc: i64, losses: &[Loss]) -> Result<(), DbErr> {
    use write_offs::Column::{Axis, Inc, Owner, Scope};
    let rows = losses.iter().map(|loss| write_offs::ActiveModel {
        inc: Set(inc),
        axis: Set(loss.budget.axis.as_str().to_owned()),
        owner: Set(loss.budget.owner),
        scope: Set(scope_column(loss.budget.scope)),
        cost_nanos: Set(loss.amount.max(Usd::ZERO).nanos()),
        request_id: Set(request_id(inc, loss.budget).to_string()),
    });
    for chunk in chunks(rows) {
        let kept = OnConflict::columns([Inc, Axis, Owner, Scope]).do_nothing().to_owned();
        write_offs::Entity::insert_many(chunk).on_conflict(kept).exec_without_returning(transaction).await?;
    }
    Ok(())
}

fn budget_of(row: &write_offs::Model) -> Option<BudgetId> {
    let axis = [Axis::User, Axis::Key, Axis::Provider].into_iter().find(|axis| axis.as_str() == row.axis)?;
    Some(BudgetId { axis, owner: row.owner, scope: scope_of(row.scope) })
}

/// The same whoever makes it.
fn request_id(inc: i64, BudgetId { axis, owner, scope }: BudgetId) -> Uuid {
    let text = format!("{inc}/{}/{owner}/{}", axis.as_str(), scope_column(scope));
    let digest = Sha256::digest(text.as_bytes());
    uuid::Builder::from_custom_bytes(digest[..16].try_into().unwrap_or_default()).into_uuid()
}

/// It counts in this one budget and in no other.
fn record(inc: i64, loss: &Loss, eras: &Eras) -> LedgerRecord {
    let BudgetId { axis, owner, scope } = loss.budget;
    let of = |wanted| if axis == wanted { owner } else { 0 };
    let (user_id, key_id) = (of(Axis::User), of(Axis::Key));
    let mainline = scope == Scope::Mainline;
    LedgerRecord {
        request_id: request_id(inc, loss.budget),
        attempt: 1,
        created_at: loss.at,
        settled_at: loss.at,
        user_id,
        key_id,
        provider: if axis == Axis::Provider { Arc::clone(&loss.provider) } else { Arc::from("") },
        // Any: nobody knows which requests these were.
        dialect: Dialect::Anthropic,
        requested_model: String::new(),
        served_model: String::new(),
        model_group_id: match scope {
            Scope::ModelGroup(id) => Some(id),
            Scope::Mainline | Scope::Count(_) => None,
        },
        outcome: Outcome::Interrupted,
        estimated: true,
        status: STATUS,
        duration_ms: 0,
        first_byte_ms: None,
        usage: Usage::default(),
        cost: loss.amount,
        price: None,
        counted_in_user_global: mainline && axis == Axis::User,
        counted_in_key_global: mainline && axis == Axis::Key,
        user_era: eras.of_user(user_id, 0),
        key_era: eras.of_key(key_id, 0),
        stream: false,
        request_bytes: 0,
        response_bytes: 0,
        attempts: Vec::new(),
    }
}
