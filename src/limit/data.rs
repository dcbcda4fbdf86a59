//! What administrators have set about model groups, as it is read from the database: the input of a snapshot.

use super::window::{Mode, Window};
use crate::money::Usd;

/// Everything about model groups, user groups, their limits and boosts.
///
/// Every row carries the *stamp* of its last change: a number from one sequence of the database, so that of two
/// states of a policy the later one is known.
#[derive(Clone, Debug, Default)]
pub struct LimitData {
    /// The last number that had been taken: all changes up to it are contained.
    pub as_of: i64,
    /// Model groups.
    pub model_groups: Vec<ModelGroupRow>,
    /// User groups.
    pub user_groups: Vec<UserGroupRow>,
    /// Limits on model groups.
    pub limits: Vec<LimitRow>,
    /// Boosts that have not expired.
    pub boosts: Vec<BoostRow>,
}

/// A named set of models.
#[derive(Clone, Debug)]
pub struct ModelGroupRow {
    /// The id.
    pub id: i64,
    /// The name.
    pub name: String,
    /// Exact names of models, as they are sent upstream. A model is in at most one group.
    pub models: Vec<String>,
    /// See [`LimitData`].
    pub stamp: i64,
}

/// A named set of users.
#[derive(Clone, Debug)]
pub struct UserGroupRow {
    /// The id.
    pub id: i64,
    /// The name.
    pub name: String,
    /// Ids of users.
    pub members: Vec<i64>,
    /// See [`LimitData`].
    pub stamp: i64,
}

/// Caps of a subject for a model group.
#[derive(Clone, Debug)]
pub struct LimitRow {
    /// Whose.
    pub subject: Subject,
    /// For which models.
    pub model_group_id: i64,
    /// At most one per window. What is not more than nothing counts as not set.
    pub caps: Vec<WindowCap>,
    /// See [`LimitData`].
    pub stamp: i64,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A user.
    User(i64),
    /// Each member of a user group.
    UserGroup(i64),
    /// A key.
    Key(i64),
}

/// The cap of a window, as it was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowCap {
    /// Which.
    pub window: Window,
    /// How much.
    pub usd: Usd,
    /// How it starts anew.
    pub mode: Mode,
}

/// A temporary grant to a user, for a model group and a window.
#[derive(Clone, Debug)]
pub struct BoostRow {
    /// The id.
    pub id: i64,
    /// To whom.
    pub user_id: i64,
    /// For which models.
    pub model_group_id: i64,
    /// Which cap it raises.
    pub window: Window,
    /// By how much.
    pub usd: Usd,
    /// From when, Unix milliseconds.
    pub starts_at: i64,
    /// Until when (not included), Unix milliseconds.
    pub expires_at: i64,
    /// See [`LimitData`].
    pub stamp: i64,
}

/// An owner of budgets, as far as limits are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Id of the user or key.
    pub id: i64,
    /// Its limits over everything that no model group claims.
    pub mainline: Vec<WindowCap>,
    /// How often its spend was reset.
    pub era: i64,
    /// The era that each window (in the order of [`Window::ALL`]) starts from: what was charged before does not count.
    pub since: [i64; 5],
    /// When anything about it last changed that a policy is made of, memberships and deletions included.
    pub stamp: i64,
}
