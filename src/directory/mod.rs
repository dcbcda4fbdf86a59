//! Who may call: keys and users, remembered by this node and corrected when they change.

mod authenticate;
mod budget;
mod cache;
mod failures;
mod flight;
mod flood;
mod limit_rows;
mod limits;
mod owner;
mod principal;
mod provision;
mod pubsub;
mod read;
mod refresh;
mod refusal;
mod secret;
#[cfg(test)]
mod test_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

pub use authenticate::Authenticator;
pub use budget::MissBudget;
pub use failures::{FailureGuard, Standing};
pub use flood::FloodGuard;
pub use limit_rows::limit_caps;
pub use limits::LimitKeeper;
pub use owner::{after_reset, of_key as owner_of_key, of_user as owner_of_user};
pub use principal::{KeyRecord, Principal, ProviderGroups, UserRecord};
pub use provision::{
    AdminRole, NewKey, NewUser, ProvisionError, create_admin_token, create_first_admin_token, create_key, create_user,
};
pub use pubsub::{Announcer, Change, PubSub, PubSubError};
pub use read::principal_of;
pub use refusal::Refusal;
pub use secret::{Secret, SecretHash, is_key_shaped};

use cache::{Cache, Found};
use flight::{Boarding, Flights, Pilot};

/// Queries about unknown keys at once. Fewer than the pool has connections: a scan must leave some for the others.
const QUERIES_AT_ONCE: usize = 4;

/// How long a request waits for the answer about a key that is not remembered.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// Queries about keys that turn out not to exist, per second and in a burst, from whoever.
const MISSES_PER_SECOND: i64 = 500;
const MISSES_BURST: i64 = 1_000;

/// Why a key was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nobody has this key, or it is not shaped like one.
    #[error("there is no such key")]
    Unknown,
    /// Too many keys are being looked up; this one was not.
    #[error("too many unknown keys are being looked up")]
    Busy,
    /// The database does not answer.
    #[error("the database cannot be asked about the key")]
    Unavailable,
}

/// Finds the owner of a key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: DatabaseConnection,
    cache: Cache,
    flights: Arc<Flights>,
    queries: Semaphore,
    misses: MissBudget,
    blocked_misses: MissBudget,
    /// Unix milliseconds up to which all that is remembered was true.
    fresh_at: AtomicI64,
    /// Wakes the refresh.
    doubt: Notify,
    /// Where queries run: the requests' own runtimes may end before the pool's.
    runtime: Handle,
}

impl Directory {
    /// An empty directory over this database. To be called on the runtime that the pool of connections lives on.
    #[must_use]
    pub fn new(db: DatabaseConnection, now: i64) -> Self {
        let inner = Inner {
            db,
            cache: Cache::new(),
            flights: Arc::default(),
            queries: Semaphore::new(QUERIES_AT_ONCE),
            misses: MissBudget::new(MISSES_PER_SECOND, MISSES_BURST, now),
            blocked_misses: MissBudget::of_the_blocked(now),
            fresh_at: AtomicI64::new(now),
            doubt: Notify::new(),
            runtime: Handle::current(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What this node knows about a key without asking anybody; none when it must ask.
    #[must_use]
    pub fn remembered(&self, secret: &str, now: i64) -> Option<Result<Arc<Principal>, LookupError>> {
        if !is_key_shaped(secret) {
            return Some(Err(LookupError::Unknown));
        }
        match self.inner.cache.get(&SecretHash::of(secret), now)? {
            Found::Known(principal) => Some(Ok(principal)),
            Found::Unknown => Some(Err(LookupError::Unknown)),
        }
    }

    /// The owner of a key. Whether he may call now is another question: [`Principal::check`].
    ///
    /// A remembered key costs no query and no waiting. For others the database is asked: once per key at a time, a
    /// few keys at a time, and only so many that do not exist per second.
    ///
    /// # Errors
    ///
    /// [`LookupError`].
    pub async fn lookup(&self, secret: &str, standing: Standing, now: i64) -> Result<Arc<Principal>, LookupError> {
        match self.remembered(secret, now) {
            Some(known) => known,
            None => self.ask(SecretHash::of(secret), standing, now).await,
        }
    }

    /// Forgets a user and all his keys. Whoever asks from now on gets what the database says from now on.
    pub fn invalidate_user(&self, id: i64) {
        self.inner.cache.forget_user(id);
    }

    /// Forgets a key, as [`Self::invalidate_user`] does.
    pub fn invalidate_key(&self, id: i64) {
        self.inner.cache.forget_key(id);
    }

    /// Forgets what is known about a secret, also that it does not exist.
    pub fn invalidate_hash(&self, hash: &SecretHash) {
        self.inner.cache.forget_hash(hash);
    }

    /// Forgets everything.
    pub fn invalidate_all(&self) {
        self.inner.cache.forget_all();
    }

    /// Says that anything may have changed. Everything is read again at once (by [`Self::keep_fresh`]); until then what
    /// is remembered goes on being used, so that no key stops working because a message was lost.
    pub fn doubt_all(&self) {
        self.inner.cache.doubt();
        self.inner.doubt.notify_one();
    }

    /// Takes note of a change that was made here or on another node.
    pub fn apply(&self, change: &Change) {
        match change {
            Change::User(id) => self.invalidate_user(*id),
            Change::Key { id, hash } => {
                self.invalidate_key(*id);
                if let Some(hash) = SecretHash::from_hex(hash) {
                    self.invalidate_hash(&hash);
                }
            }
            Change::Reset { .. }
            | Change::ResetCircuit { .. }
            | Change::OpenCircuit { .. }
            | Change::Prices
            | Change::Limits => {}
            Change::All => self.doubt_all(),
        }
    }

    /// How old the oldest thing may be that is remembered: since the last refresh that succeeded.
    #[must_use]
    pub fn snapshot_age(&self, now: i64) -> Duration {
        let age = now.saturating_sub(self.inner.fresh_at.load(Ordering::Relaxed));
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }

    async fn ask(&self, hash: SecretHash, standing: Standing, now: i64) -> Result<Arc<Principal>, LookupError> {
        let landing = match self.inner.flights.board(hash, self.inner.cache.generation()) {
            Boarding::Passenger(landing) => landing,
            Boarding::Full => return Err(LookupError::Busy),
            Boarding::Pilot(pilot, landing) => {
                self.inner.take_off(pilot, standing, now);
                landing
            }
        };
        flight::arrive(landing).await
    }
}

impl Inner {
    fn take_off(self: &Arc<Self>, pilot: Pilot, standing: Standing, now: i64) {
        // Somebody may have landed between our look at the cache and our taking off.
        match self.cache.get(&pilot.hash, now) {
            Some(Found::Known(principal)) => return pilot.land(Ok(principal)),
            Some(Found::Unknown) => return pilot.land(Err(LookupError::Unknown)),
            None => {}
        }
        let budget = match standing {
            Standing::Good => &self.misses,
            Standing::Blocked => &self.blocked_misses,
        };
        if !budget.take(now) {
            return pilot.land(Err(LookupError::Busy));
        }
        let inner = Arc::clone(self);
        // A task of its own: it must not end with the request that happened to come first.
        self.runtime.spawn(async move {
            let landing = inner.query(&pilot, now).await;
            if !matches!(landing, Err(LookupError::Unknown)) {
                let budget = if standing == Standing::Good { &inner.misses } else { &inner.blocked_misses };
                budget.give_back();
            }
            pilot.land(landing);
        });
    }

    async fn query(&self, pilot: &Pilot, now: i64) -> Result<Arc<Principal>, LookupError> {
        let answer = tokio::time::timeout(LOOKUP_TIMEOUT, async {
            let _permit = self.queries.acquire().await;
            read::one(&self.db, &pilot.hash).await
        });
        match answer.await {
            Ok(Ok(Some((fingerprint, principal)))) => {
                self.cache.remember(pilot.generation, pilot.hash, Some((&principal, fingerprint)), now);
                Ok(principal)
            }
            Ok(Ok(None)) => {
                self.cache.remember(pilot.generation, pilot.hash, None, now);
                Err(LookupError::Unknown)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot look up a key");
                Err(LookupError::Unavailable)
            }
            Err(_) => {
                tracing::warn!(limit = ?LOOKUP_TIMEOUT, "the database does not answer in time about a key");
                Err(LookupError::Unavailable)
            }
        }
    }
}
