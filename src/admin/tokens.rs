//! The stored admin tokens, kept in memory for a second at a time.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use entity::admin_tokens;
use sea_orm::{DatabaseConnection, EntityTrait};
use tokio::sync::Mutex;

use super::auth::{Actor, Role};
use super::problem::Problem;

/// For how long a token that was revoked on another node may still be accepted.
const FRESH_MS: i64 = 1000;

/// Every token, as of a moment. All are loaded together: there are few, and so a flood of unknown tokens costs the
/// database one small query a second, whoever sends them.
#[derive(Debug, Default)]
pub struct TokenCache {
    current: ArcSwapOption<Snapshot>,
    /// Held while loading, and by [`forget`](Self::forget), so that what was read before a write cannot be put in place
    /// after it.
    loading: Mutex<()>,
}

/// Who may act, and until when.
#[derive(Clone, Debug)]
struct Token {
    actor: Actor,
    expires_at: Option<i64>,
}

#[derive(Debug)]
struct Snapshot {
    at: i64,
    tokens: HashMap<String, Token>,
}

impl TokenCache {
    /// The actor behind the token with this hash (in hex), if it has not expired.
    ///
    /// # Errors
    /// The database could not be read.
    pub async fn find(&self, db: &DatabaseConnection, hash: &str, now: i64) -> Result<Option<Actor>, Problem> {
        let snapshot = self.snapshot(db, now).await?;
        let token = snapshot.tokens.get(hash).filter(|token| token.expires_at.is_none_or(|at| now < at));
        Ok(token.map(|token| token.actor.clone()))
    }

    /// Makes the next lookup read the database; to be called after each write to the tokens.
    pub async fn forget(&self) {
        let _loading = self.loading.lock().await;
        self.current.store(None);
    }

    async fn snapshot(&self, db: &DatabaseConnection, now: i64) -> Result<Arc<Snapshot>, Problem> {
        let fresh = || self.current.load_full().filter(|s| (s.at..s.at + FRESH_MS).contains(&now));
        if let Some(snapshot) = fresh() {
            return Ok(snapshot);
        }
        let _loading = self.loading.lock().await;
        if let Some(snapshot) = fresh() {
            return Ok(snapshot);
        }
        let rows = admin_tokens::Entity::find().all(db).await?;
        let tokens = rows
            .into_iter()
            .map(|row| {
                // A role that this version does not know may do the least.
                let role = if row.role == Role::Admin.as_str() { Role::Admin } else { Role::Viewer };
                let actor = Actor { id: Some(row.id), name: row.name.into(), role, request: None };
                (row.secret_hash, Token { actor, expires_at: row.expires_at })
            })
            .collect();
        let snapshot = Arc::new(Snapshot { at: now, tokens });
        self.current.store(Some(Arc::clone(&snapshot)));
        Ok(snapshot)
    }
}
