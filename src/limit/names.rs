//! What budgets and the rows behind their caps are called, in refusals and for people who ask.

use super::policy::{Scope, Source};
use super::snapshot::Snapshot;

/// The name of the scope that is not a model group's.
const MAINLINE: &str = "mainline";

const DELETED: &str = "a model group that was deleted";

impl Source {
    /// The name in answers.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::UserGroup(_) => "user_group",
            Self::Key(_) => "key",
            Self::Provider(_) => "provider",
        }
    }

    /// The id of the user, user group or key; of a provider, [`provider_owner`](super::provider_owner) of its name.
    #[must_use]
    pub const fn id(self) -> i64 {
        match self {
            Self::User(id) | Self::UserGroup(id) | Self::Key(id) | Self::Provider(id) => id,
        }
    }
}

impl Snapshot {
    /// The name of a scope in answers.
    #[must_use]
    pub fn scope_name(&self, scope: Scope) -> &str {
        match scope {
            Scope::Mainline => MAINLINE,
            Scope::ModelGroup(id) => self.model_group_by_id(id).map_or(DELETED, |group| group.name.as_str()),
            Scope::Count(kind) => kind.as_str(),
        }
    }

    /// The name of a source that is a user group; of others the name is known to who asks.
    #[must_use]
    pub fn source_name(&self, source: Source) -> Option<&str> {
        match source {
            Source::UserGroup(id) => self.user_group_name(id),
            Source::User(_) | Source::Key(_) | Source::Provider(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
