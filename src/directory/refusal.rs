//! Why a caller is turned away before anything else is looked at.

use std::time::Duration;

/// The reason. Its text is fit for the caller: it says nothing that a stranger should not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No credential, several that differ, or one that nobody has.
    #[error("the API key is missing or not valid")]
    InvalidApiKey,
    /// The key was switched off.
    #[error("this API key is disabled")]
    KeyDisabled,
    /// The key's time is over.
    #[error("this API key has expired")]
    KeyExpired,
    /// The user was switched off.
    #[error("the user of this API key is disabled")]
    UserDisabled,
    /// The user's time is over.
    #[error("the user of this API key has expired")]
    UserExpired,
    /// Too many wrong credentials from this address, or too many tries with this one.
    #[error("too many failed attempts to authenticate; try again later")]
    TooManyAuthFailures {
        /// When one attempt is free again.
        retry_after: Duration,
    },
    /// The key is not known here and the database cannot be asked about it now.
    #[error("the API key cannot be checked at the moment; try again")]
    Unavailable,
}
