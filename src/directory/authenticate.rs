//! From a credential to a caller: the directory and the guard against guessing, put together.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Directory, FailureGuard, LookupError, Principal, Refusal, SecretHash, Standing};

/// Decides who calls.
#[derive(Clone, Debug)]
pub struct Authenticator {
    directory: Directory,
    failures: Arc<FailureGuard>,
}

impl Authenticator {
    /// Over this directory.
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        Self { directory, failures: Arc::default() }
    }

    /// The caller with this secret, if he may call at `now` (Unix milliseconds).
    ///
    /// A key that exists always passes the guard against guessing, and costs nothing when it is remembered.
    ///
    /// # Errors
    ///
    /// [`Refusal`]. Only keys that do not exist are counted as failures, disabled and expired ones are not.
    pub async fn authenticate(&self, client: IpAddr, secret: &str, now: i64) -> Result<Arc<Principal>, Refusal> {
        let found = match self.directory.remembered(secret, now) {
            Some(found) => found,
            None => {
                let standing = self.failures.standing(client, Some(&SecretHash::of(secret)), now);
                let found = self.directory.lookup(secret, standing, now).await;
                match (found, standing) {
                    // Nobody looked: the one who guesses is told that he guesses, not that we are busy.
                    (Err(LookupError::Busy), Standing::Blocked) => Err(LookupError::Unknown),
                    (found, _) => found,
                }
            }
        };
        match found {
            Ok(principal) => principal.check(now).map(|()| principal),
            Err(LookupError::Unknown) => Err(self.failed(client, Some(&SecretHash::of(secret)), now)),
            Err(LookupError::Busy | LookupError::Unavailable) => Err(Refusal::Unavailable),
        }
    }

    /// The refusal for a request without a credential, or with several that differ. It counts as a failure.
    #[must_use]
    pub fn refuse_without_credential(&self, client: IpAddr, now: i64) -> Refusal {
        self.failed(client, None, now)
    }

    fn failed(&self, client: IpAddr, credential: Option<&SecretHash>, now: i64) -> Refusal {
        match self.failures.failed(client, credential, now) {
            Ok(()) => Refusal::InvalidApiKey,
            Err(retry_after) => Refusal::TooManyAuthFailures { retry_after },
        }
    }
}
