//! The prices that were applied, each once in the database: a row of the ledger names its own by number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use entity::applied_prices::{ActiveModel, Column, Entity};
use parking_lot::Mutex;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use sha2::{Digest, Sha256};

use super::LedgerRecord;
use super::row::without_nul;

/// Far more than are in use at a time.
const KEPT: usize = 4_096;

/// Rows of one statement.
const AT_ONCE: usize = 500;

/// The numbers of prices that are in the database for good.
#[derive(Debug, Default)]
pub(super) struct AppliedPrices(Mutex<HashMap<Arc<str>, i32>>);

/// The numbers of prices, as one transaction sees them.
#[derive(Debug, Default)]
pub(super) struct Numbered {
    known: HashMap<Arc<str>, i32>,
    /// Those that may go again with the transaction.
    new: HashMap<Arc<str>, i32>,
}

impl AppliedPrices {
    /// The numbers of the records' prices. What the database does not have is added.
    pub(super) async fn of<C: ConnectionTrait>(
        &self,
        transaction: &C,
        records: &[&LedgerRecord],
    ) -> Result<Numbered, DbErr> {
        let mut numbered = Numbered::default();
        // By hash: whoever else adds some of them waits in the same order.
        let mut unknown = BTreeMap::new();
        {
            let known = self.0.lock();
            for price in records.iter().filter_map(|record| record.price.as_ref()) {
                if numbered.known.contains_key(price) {
                    continue;
                }
                match known.get(price) {
                    Some(id) => drop(numbered.known.insert(Arc::clone(price), *id)),
                    None => drop(unknown.insert(hash(price), price)),
                }
            }
        }
        let unknown: Vec<_> = unknown.into_iter().collect();
        for some in unknown.chunks(AT_ONCE) {
            let rows = some.iter().map(|(hash, price)| ActiveModel {
                id: NotSet,
                hash: Set(hash.clone()),
                json: Set(without_nul(price)),
            });
            let kept = OnConflict::column(Column::Hash).do_nothing().to_owned();
            Entity::insert_many(rows).on_conflict(kept).exec_without_returning(transaction).await?;
            let ids: Vec<(String, i32)> = Entity::find()
                .select_only()
                .columns([Column::Hash, Column::Id])
                .filter(Column::Hash.is_in(some.iter().map(|(hash, _)| hash.as_str())))
                .into_tuple()
                .all(transaction)
                .await?;
            let ids: HashMap<String, i32> = ids.into_iter().collect();
            for (hash, price) in some {
                let id = ids.get(hash).ok_or_else(|| DbErr::RecordNotFound(format!("applied price {hash}")))?;
                numbered.new.insert(Arc::clone(price), *id);
            }
        }
        Ok(numbered)
    }

    /// The transaction has come through.
    pub(super) fn keep(&self, numbered: Numbered) {
        if numbered.new.is_empty() {
            return;
        }
        let mut known = self.0.lock();
        if known.len() + numbered.new.len() > KEPT {
            known.clear();
        }
        known.extend(numbered.new);
    }
}

impl Numbered {
    /// The number of the record's price; none when nothing was charged.
    pub(super) fn of(&self, record: &LedgerRecord) -> Option<i32> {
        let price = record.price.as_ref()?;
        self.known.get(price).or_else(|| self.new.get(price)).copied()
    }
}

fn hash(price: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(price.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
