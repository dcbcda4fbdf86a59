//! Where caps come from, for refusals and for people who ask.

use crate::money::Usd;

use super::policy::{CapStep, Policy, Scope, Source};
use super::snapshot::Snapshot;
use super::window::{Mode, Window};

/// The name of the scope that is not a model group's.
const MAINLINE: &str = "mainline";

/// The cap of one window at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapExplanation {
    /// Which.
    pub window: Window,
    /// How it starts anew.
    pub mode: Mode,
    /// The cap in force: `base` and `boost`.
    pub cap: Usd,
    /// What the row says.
    pub base: Usd,
    /// What the boosts in force add.
    pub boost: Usd,
    /// Whose row it is.
    pub source: Source,
    /// The name of a source that is a user group; of others the name is known to who asks.
    pub source_name: Option<String>,
    /// When boosts change the cap next, and to what.
    pub next_step: Option<CapStep>,
}

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
    /// The caps of a policy at `now`, in the order in which refusals name windows.
    #[must_use]
    pub fn explain(&self, policy: &Policy, now: i64) -> Vec<CapExplanation> {
        let explained = policy.windows.iter().map(|window| CapExplanation {
            window: window.window,
            mode: window.mode,
            cap: window.cap_at(now),
            base: window.base,
            boost: window.boost_at(now),
            source: window.source,
            source_name: self.source_name(window.source).map(str::to_owned),
            next_step: window.next_step(now),
        });
        explained.collect()
    }

    /// The name of a scope in answers; none for a model group that has been deleted.
    #[must_use]
    pub fn scope_name(&self, scope: Scope) -> Option<&str> {
        match scope {
            Scope::Mainline => Some(MAINLINE),
            Scope::ModelGroup(id) => self.model_group_by_id(id).map(|group| group.name.as_str()),
            Scope::Count(kind) => Some(kind.as_str()),
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
#[path = "explain_tests.rs"]
mod tests;
