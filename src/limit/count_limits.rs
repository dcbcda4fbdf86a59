//! Limits on the number of requests, and what a refusal says about them.

use serde::{Deserialize, Serialize};

/// The limits of one key or user; what is none is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountLimits {
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Requests in flight at once.
    pub max_concurrent: Option<u32>,
    /// Of two states of these limits the one with the higher stamp is the later.
    pub stamp: i64,
}

/// Who makes a request, and how often that may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountSubject {
    /// The key.
    pub key_id: i64,
    /// Its limits.
    pub key: CountLimits,
    /// The user of the key.
    pub user_id: i64,
    /// The user's limits.
    pub user: CountLimits,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// The key's.
    Key,
    /// The user's.
    User,
    /// The provider's.
    Provider,
}

/// Which of the two limits it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CountKind {
    /// Requests per minute.
    Rpm,
    /// Requests in flight at once.
    Concurrency,
}

/// The limit that a request does not fit into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} of this {} is used up: {current} of {limit}; try again in {retry_after} s", self.what(), self.axis.as_str())]
pub struct CountRefusal {
    /// Whose limit.
    pub axis: Axis,
    /// Which.
    pub kind: CountKind,
    /// The limit.
    pub limit: u32,
    /// What has been used of it.
    pub current: u32,
    /// Seconds until it makes sense to try again, at least 1.
    pub retry_after: u32,
}

impl Axis {
    /// All.
    pub const ALL: [Self; 3] = [Self::Key, Self::User, Self::Provider];

    /// The name in answers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Provider => "provider",
        }
    }

    /// The axis of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|axis| axis.as_str() == name)
    }
}

impl CountKind {
    /// The name in answers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Concurrency => "concurrency",
        }
    }
}

impl CountRefusal {
    const fn what(&self) -> &'static str {
        match self.kind {
            CountKind::Rpm => "the rate limit (requests per minute)",
            CountKind::Concurrency => "the limit on concurrent requests",
        }
    }
}
