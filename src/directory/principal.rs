//! Who calls: a key and its user, ready to be asked what they may.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use entity::{keys, users};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Refusal, owner};
use crate::limit::{CountLimits, CountSubject, Owner};

/// A key and its user.
#[derive(Debug)]
pub struct Principal {
    /// The owner of the key, who pays.
    pub user: Arc<UserRecord>,
    /// The key that was sent.
    pub key: KeyRecord,
    provider_groups: ProviderGroups,
}

/// A user, as far as requests are concerned.
#[derive(Debug)]
pub struct UserRecord {
    /// The id.
    pub id: i64,
    /// The display name.
    pub name: String,
    /// What it may spend.
    pub owner: Owner,
    access: Access,
}

/// A key, as far as requests are concerned.
#[derive(Debug)]
pub struct KeyRecord {
    /// The id.
    pub id: i64,
    /// The display name.
    pub name: String,
    /// The first characters of the secret.
    pub prefix: String,
    /// What it may spend.
    pub owner: Owner,
    access: Access,
}

/// The provider groups that a key is confined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderGroups {
    /// Not confined.
    All,
    /// Only these; sorted.
    Only(Vec<String>),
}

impl Principal {
    pub(super) fn new(key: keys::Model, user: Arc<UserRecord>) -> Self {
        let access = Access::new(&key.allowed_models, &key.provider_groups, key.enabled, key.expires_at).with_counts(
            key.rpm,
            key.max_concurrent_requests,
            key.stamp,
        );
        let provider_groups = user.access.provider_groups.intersection(&access.provider_groups);
        let key = KeyRecord { id: key.id, owner: owner::of_key(&key), name: key.name, prefix: key.prefix, access };
        Self { user, key, provider_groups }
    }

    /// The stamp of the later one of the user's and the key's last change of limits.
    #[must_use]
    pub fn limits_stamp(&self) -> i64 {
        self.user.owner.stamp.max(self.key.owner.stamp)
    }

    /// Whether the key may be used at all at `now` (Unix milliseconds).
    ///
    /// # Errors
    ///
    /// The reason why not; the key's own comes first.
    pub fn check(&self, now: i64) -> Result<(), Refusal> {
        let (key, user) = (&self.key.access, &self.user.access);
        if !key.enabled {
            Err(Refusal::KeyDisabled)
        } else if key.is_expired(now) {
            Err(Refusal::KeyExpired)
        } else if !user.enabled {
            Err(Refusal::UserDisabled)
        } else if user.is_expired(now) {
            Err(Refusal::UserExpired)
        } else {
            Ok(())
        }
    }

    /// Whether user and key both allow this model, as the client names it.
    #[must_use]
    pub fn allows_model(&self, requested: &str) -> bool {
        self.key.access.allowed_models.allows(requested) && self.user.access.allowed_models.allows(requested)
    }

    /// The provider groups that both user and key allow.
    #[must_use]
    pub fn provider_groups(&self) -> &ProviderGroups {
        &self.provider_groups
    }

    /// The limits on the number of requests, for [`crate::budget::Counts::admit`].
    #[must_use]
    pub fn count_subject(&self) -> CountSubject {
        CountSubject {
            key_id: self.key.id,
            key: self.key.access.counts,
            user_id: self.user.id,
            user: self.user.access.counts,
        }
    }
}

impl UserRecord {
    pub(super) fn new(user: users::Model) -> Self {
        let access = Access::new(&user.allowed_models, &user.provider_groups, user.enabled, user.expires_at)
            .with_counts(user.rpm, user.max_concurrent_requests, user.stamp);
        Self { id: user.id, owner: owner::of_user(&user), name: user.name, access }
    }
}

impl ProviderGroups {
    /// Whether a provider that is in `groups` may be used.
    pub fn reach<S: AsRef<str>>(&self, groups: &[S]) -> bool {
        match self {
            Self::All => true,
            Self::Only(allowed) => groups.iter().any(|group| allowed.iter().any(|name| name == group.as_ref())),
        }
    }

    fn intersection(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, groups) | (groups, Self::All) => groups.clone(),
            (Self::Only(left), Self::Only(right)) => {
                Self::Only(left.iter().filter(|name| right.contains(name)).cloned().collect())
            }
        }
    }
}

/// What a row says about use; the same for users and keys.
#[derive(Debug)]
struct Access {
    enabled: bool,
    expires_at: Option<i64>,
    counts: CountLimits,
    allowed_models: AllowedModels,
    provider_groups: ProviderGroups,
}

impl Access {
    fn new(models: &Option<String>, groups: &Option<String>, enabled: bool, expires_at: Option<i64>) -> Self {
        Self {
            enabled,
            expires_at,
            counts: CountLimits::default(),
            allowed_models: AllowedModels::from_column(models.as_deref()),
            provider_groups: match names(groups.as_deref()) {
                None => ProviderGroups::All,
                Some(mut names) => {
                    names.sort();
                    ProviderGroups::Only(names)
                }
            },
        }
    }

    fn with_counts(mut self, rpm: Option<i32>, max_concurrent: Option<i32>, stamp: i64) -> Self {
        // A negative limit cannot be set; if one is there all the same, it admits as little as zero does.
        let limit = |value: Option<i32>| value.map(|value| u32::try_from(value).unwrap_or(0));
        self.counts = CountLimits { rpm: limit(rpm), max_concurrent: limit(max_concurrent), stamp };
        self
    }

    fn is_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

#[derive(Debug)]
enum AllowedModels {
    All,
    Matching(GlobSet),
}

impl AllowedModels {
    fn from_column(column: Option<&str>) -> Self {
        let Some(names) = names(column) else { return Self::All };
        let mut set = GlobSetBuilder::new();
        for name in names {
            match GlobBuilder::new(&name).build() {
                Ok(glob) => drop(set.add(glob)),
                Err(error) => tracing::warn!(glob = name, %error, "a pattern of allowed models allows nothing"),
            }
        }
        Self::Matching(set.build().unwrap_or_else(|error| {
            tracing::warn!(%error, "the allowed models are too many to be matched; they allow nothing");
            GlobSet::empty()
        }))
    }

    fn allows(&self, model: &str) -> bool {
        match self {
            Self::All => true,
            Self::Matching(set) => set.is_match(model),
        }
    }
}

/// A JSON array of names; none stands for "all". What cannot be read allows nothing, rather than everything.
fn names(column: Option<&str>) -> Option<Vec<String>> {
    let column = column?;
    match serde_json::from_str::<Option<Vec<String>>>(column) {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(%error, "a list in the database is not a JSON array of strings; it allows nothing");
            Some(Vec::new())
        }
    }
}

/// Tells whether two readings of the same key differ in anything that a [`Principal`] is made of.
pub(super) fn fingerprint(key: &keys::Model, user: &users::Model) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key.id, key.user_id, key.enabled, key.expires_at, key.rpm, key.max_concurrent_requests).hash(&mut hasher);
    (&key.name, &key.prefix, &key.allowed_models, &key.provider_groups).hash(&mut hasher);
    (&key.limits, key.era, &key.since_eras, key.stamp).hash(&mut hasher);
    (user.id, user.enabled, user.expires_at, user.rpm, user.max_concurrent_requests).hash(&mut hasher);
    (&user.name, &user.allowed_models, &user.provider_groups).hash(&mut hasher);
    (&user.limits, user.era, &user.since_eras, user.stamp).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "principal_tests.rs"]
mod tests;
