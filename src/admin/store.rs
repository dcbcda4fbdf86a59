//! How writes reach the database: one transaction each, that holds what it has read and leaves a row in the audit log.

use std::fmt::Display;

use axum::response::Response;
use entity::audit_log;
use sea_orm::{
    ActiveValue, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, EntityName, EntityTrait, QueryFilter, QuerySelect, Select, SqlErr,
};
use serde::Serialize;

use super::auth::Actor;
use super::idempotency::{Answer, Claim, IdempotencyKey};
use super::problem::{Code, Other, Problem};

/// Rows of one statement: SQLite has 32 766 variables for them.
pub const BATCH: usize = 1000;

/// A write that is going on. Dropped without [`Self::commit`], it has not happened.
pub struct Write {
    pub txn: DatabaseTransaction,
    /// The instant of all that it does.
    pub now: i64,
    actor: Actor,
    /// The idempotency key that is ours until it ends.
    key: Option<String>,
}

/// A write that is carried out once.
pub enum Once {
    /// It is to be done now.
    Write(Write),
    /// It was done before; this was the answer.
    Replay(Response),
}

impl Write {
    /// Begins a write. SQLite takes its one write lock at once, so that what is read is still true when it is written;
    /// PostgreSQL locks the rows that are read with [`Self::lock`].
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn begin(db: &DatabaseConnection, actor: Actor, now: i64) -> Result<Self, Problem> {
        Ok(Self { txn: crate::store::begin_write(db).await?, now, actor, key: None })
    }

    /// Begins a write, unless it was done with this key before.
    ///
    /// # Errors
    /// The key was used with another body, or the database refused.
    pub async fn once(
        db: &DatabaseConnection,
        actor: Actor,
        now: i64,
        key: &IdempotencyKey,
        body: &[u8],
    ) -> Result<Once, Problem> {
        let write = Self::begin(db, actor, now).await?;
        Ok(match key.claim(&write.txn, &write.actor, body, now).await? {
            Claim::Replay(answer) => Once::Replay(answer),
            Claim::Ours(key) => Once::Write(Self { key, ..write }),
        })
    }

    /// Its number; see [`super::stamps`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn stamp(&self) -> Result<i64, Problem> {
        Ok(crate::store::next_stamp(&self.txn).await?)
    }

    /// The one row of this query, and nobody else may change or delete it until the write ends.
    ///
    /// # Errors
    /// There is no such row.
    pub async fn lock<E: EntityTrait>(&self, row: Select<E>, what: &str) -> Result<E::Model, Problem> {
        row.lock_exclusive().one(&self.txn).await?.ok_or_else(|| Problem::not_found(what))
    }

    /// Nobody else writes this table until the write ends, and what is read of it stays true. SQLite has one writer at
    /// a time anyway; elsewhere this is for tables whose writers take no stamp.
    ///
    /// # Errors
    /// What the database says.
    pub async fn alone<E: EntityName>(&self, table: E) -> Result<(), Problem> {
        if self.txn.get_database_backend() == DbBackend::Postgres {
            let lock = format!("LOCK TABLE \"{}\" IN EXCLUSIVE MODE", table.table_name());
            self.txn.execute_unprepared(&lock).await?;
        }
        Ok(())
    }

    /// Leaves a row in the audit log: what was done to which kind of object, its id or name, and the object as the API
    /// shows it, without secrets.
    ///
    /// # Errors
    /// The database refused it; then the write must not happen either.
    pub async fn record<B: Serialize + Sync, A: Serialize + Sync>(
        &self,
        action: &'static str,
        object_type: &'static str,
        object_id: impl Display,
        before: Option<&B>,
        after: Option<&A>,
    ) -> Result<(), Problem> {
        self.record_all(vec![self.row(action, object_type, object_id, before, after)?]).await
    }

    /// A row of the audit log, for [`Self::record_all`].
    ///
    /// # Errors
    /// The object cannot be written as JSON.
    pub fn row<B: Serialize, A: Serialize>(
        &self,
        action: &'static str,
        object_type: &'static str,
        object_id: impl Display,
        before: Option<&B>,
        after: Option<&A>,
    ) -> Result<audit_log::ActiveModel, Problem> {
        Ok(audit_log::ActiveModel {
            at: Set(self.now),
            request_id: Set(self.actor.request.map(|id| id.to_string())),
            actor: Set(self.actor.name.to_string()),
            actor_id: Set(self.actor.id),
            action: Set(action.to_owned()),
            object_type: Set(object_type.to_owned()),
            object_id: Set(object_id.to_string()),
            before: Set(text(before)?),
            after: Set(text(after)?),
            ..Default::default()
        })
    }

    /// Leaves rows in the audit log, in this order: of a write that changes many objects, one for each.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn record_all(&self, rows: Vec<audit_log::ActiveModel>) -> Result<(), Problem> {
        for batch in rows.chunks(BATCH) {
            audit_log::Entity::insert_many(batch.iter().cloned()).exec_without_returning(&self.txn).await?;
        }
        Ok(())
    }

    /// It has happened.
    ///
    /// # Errors
    /// The database refused; then it has not.
    pub async fn commit(self) -> Result<(), Problem> {
        Ok(self.txn.commit().await?)
    }

    /// It has happened, and a request with the same key will get this answer, which must not have secrets in it.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_with(self, answer: &Answer) -> Result<(), Problem> {
        if let Some(key) = self.key {
            answer.remember(&self.txn, key).await?;
        }
        Ok(self.txn.commit().await?)
    }
}

fn text<T: Serialize>(object: Option<&T>) -> Result<Option<String>, Problem> {
    object.map(serde_json::to_string).transpose().map_err(|error| Problem::internal(&error))
}

/// Objects whose names are unique.
pub struct Names<E: EntityTrait> {
    /// As in the audit log.
    pub kind: &'static str,
    /// In words.
    pub what: &'static str,
    pub id: E::Column,
    pub name: E::Column,
}

impl<E: EntityTrait> Names<E> {
    /// No object other than `itself` has this name. Whoever gives names has taken a stamp or is alone in the table, so it
    /// stays so until the write ends.
    ///
    /// # Errors
    /// One has, and which.
    pub async fn is_free(
        &self,
        write: &Write,
        wanted: &ActiveValue<String>,
        itself: Option<i64>,
    ) -> Result<(), Problem> {
        let Some(wanted) = wanted.try_as_ref() else { return Ok(()) };
        let taken = E::find().select_only().column(self.id).filter(self.name.eq(wanted.as_str()));
        match taken.into_tuple::<i64>().one(&write.txn).await? {
            Some(id) if itself != Some(id) => {
                let detail = format!("There is another {} of this name (id {id}).", self.what);
                let other = Other { kind: self.kind, id: Some(id), name: wanted.clone() };
                Err(Problem::new(Code::Conflict, detail).conflicts_with(other))
            }
            _ => Ok(()),
        }
    }
}

/// The problem behind a failed insert or update of an object whose `name` is unique, when [`Names::is_free`] has not seen
/// the other one.
pub fn name_taken(what: &str) -> impl FnOnce(DbErr) -> Problem {
    move |error| match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => {
            Problem::new(Code::Conflict, format!("There is another {what} of this name."))
        }
        _ => error.into(),
    }
}
