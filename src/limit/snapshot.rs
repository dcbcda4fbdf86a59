//! All model groups, user groups, limits and boosts at one moment, ready to be asked.

use std::collections::HashMap;
use std::sync::Arc;

use super::data::{BoostRow, LimitData, LimitRow, ModelGroupRow, Owner, Subject, UserGroupRow};
use super::memo::Memo;
use super::merge::{self, Boost, Facts, Row};
use super::policy::{Policy, Source};
use super::rows::{LimitKey, Rows};

/// What administrators have set about groups. Replaced whole whenever any of it changes, and read without locks.
///
/// The default, which knows no group, is that of a gateway whose model groups are switched off.
#[derive(Debug, Default)]
pub struct Snapshot {
    as_of: i64,
    /// The lowest id first.
    model_groups: Vec<Arc<ModelGroup>>,
    groups_of_models: HashMap<String, Arc<ModelGroup>>,
    user_groups: HashMap<i64, UserGroup>,
    groups_of_users: HashMap<i64, Vec<i64>>,
    rows: Rows,
    boosts: HashMap<(i64, i64), Vec<Boost>>,
    pub(super) memo: Memo,
}

/// A named set of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelGroup {
    /// The id.
    pub id: i64,
    /// The name.
    pub name: String,
    /// See [`LimitData`].
    pub stamp: i64,
}

#[derive(Debug)]
struct UserGroup {
    name: String,
    stamp: i64,
}

impl Snapshot {
    /// Makes the data ready.
    #[must_use]
    pub fn new(data: LimitData) -> Self {
        Self::with(data, Rows::new)
    }

    /// A later state, of which `data` has the limits that were set or changed since, and everything else. Those of the
    /// keys in `gone` were deleted, though they may have been set anew.
    #[must_use]
    pub fn changed(&self, data: LimitData, gone: &[LimitKey]) -> Self {
        Self::with(data, |limits| self.rows.changed(gone, limits))
    }

    fn with(data: LimitData, rows: impl FnOnce(Vec<LimitRow>) -> Rows) -> Self {
        let (model_groups, groups_of_models) = index_models(data.model_groups);
        let (user_groups, groups_of_users) = index_user_groups(data.user_groups);
        Self {
            as_of: data.as_of,
            model_groups,
            groups_of_models,
            user_groups,
            groups_of_users,
            rows: rows(data.limits),
            boosts: index_boosts(data.boosts),
            memo: Memo::default(),
        }
    }

    /// Whether it contains all changes up to this stamp. What an owner's row says of a later one, this does not know: together
    /// they would make caps that nobody has set.
    #[must_use]
    pub const fn contains(&self, stamp: i64) -> bool {
        stamp <= self.as_of
    }

    /// The group of a model, by the name that is sent upstream.
    #[must_use]
    pub fn model_group(&self, served_model: &str) -> Option<&ModelGroup> {
        self.shared_model_group(served_model).map(Arc::as_ref)
    }

    /// All model groups, the lowest id first.
    #[must_use]
    pub fn model_groups(&self) -> &[Arc<ModelGroup>] {
        &self.model_groups
    }

    /// The model group of this id.
    #[must_use]
    pub fn model_group_by_id(&self, id: i64) -> Option<&ModelGroup> {
        let at = self.model_groups.binary_search_by_key(&id, |group| group.id).ok()?;
        Some(&self.model_groups[at])
    }

    /// Ids of the groups that a user is in, the lowest first.
    #[must_use]
    pub fn user_groups_of(&self, user_id: i64) -> &[i64] {
        self.groups_of_users.get(&user_id).map_or(&[], Vec::as_slice)
    }

    /// The name of a user group.
    #[must_use]
    pub fn user_group_name(&self, id: i64) -> Option<&str> {
        self.user_groups.get(&id).map(|group| group.name.as_str())
    }

    pub(super) fn shared_model_group(&self, served_model: &str) -> Option<&Arc<ModelGroup>> {
        self.groups_of_models.get(served_model.trim())
    }

    /// What a user may spend on the models of a group.
    pub(super) fn user_policy(&self, user: &Owner, group: &ModelGroup) -> Option<Policy> {
        let own = self.row(Subject::User(user.id), group.id, Source::User(user.id));
        let memberships = self.user_groups_of(user.id);
        let of_groups =
            memberships.iter().filter_map(|id| self.row(Subject::UserGroup(*id), group.id, Source::UserGroup(*id)));
        let rows: Vec<Row<'_>> = own.into_iter().chain(of_groups).collect();
        // All of the user's groups, with or without a row: a row that was deleted left its trace in the group's stamp.
        let group_stamps = memberships.iter().filter_map(|id| self.user_groups.get(id)).map(|group| group.stamp);
        let stamp = group_stamps.fold(self.known(user.stamp).max(group.stamp), i64::max);
        let boosts = self.boosts.get(&(user.id, group.id)).map_or(&[][..], Vec::as_slice);
        merge::policy(Facts { stamp, ..Facts::of(user) }, &rows, boosts)
    }

    /// What a key may spend on the models of a group.
    pub(super) fn key_policy(&self, key: &Owner, group: &ModelGroup) -> Option<Policy> {
        let row = self.row(Subject::Key(key.id), group.id, Source::Key(key.id))?;
        merge::policy(Facts { stamp: self.known(key.stamp).max(group.stamp), ..Facts::of(key) }, &[row], &[])
    }

    /// The stamp of an owner's row, or the last one that is contained here: caps that do not know what was changed with a
    /// later one must not pass for the latest.
    fn known(&self, stamp: i64) -> i64 {
        stamp.min(self.as_of)
    }

    fn row(&self, subject: Subject, model_group: i64, source: Source) -> Option<Row<'_>> {
        let row = self.rows.get((subject, model_group))?;
        Some(Row { source, caps: &row.caps, stamp: row.stamp })
    }
}

/// The database lets a model into one group only; the lowest id makes sure of it here.
fn index_models(mut rows: Vec<ModelGroupRow>) -> (Vec<Arc<ModelGroup>>, HashMap<String, Arc<ModelGroup>>) {
    rows.sort_by_key(|row| row.id);
    let mut groups = Vec::with_capacity(rows.len());
    let mut of_models = HashMap::with_capacity(rows.iter().map(|row| row.models.len()).sum());
    for ModelGroupRow { id, name, models, stamp } in rows {
        let group = Arc::new(ModelGroup { id, name, stamp });
        for model in models {
            of_models.entry(model.trim().to_owned()).or_insert_with(|| Arc::clone(&group));
        }
        groups.push(group);
    }
    (groups, of_models)
}

fn index_user_groups(groups: Vec<UserGroupRow>) -> (HashMap<i64, UserGroup>, HashMap<i64, Vec<i64>>) {
    let mut by_id = HashMap::with_capacity(groups.len());
    let mut of_users: HashMap<i64, Vec<i64>> = HashMap::new();
    for UserGroupRow { id, name, members, stamp } in groups {
        for member in members {
            of_users.entry(member).or_default().push(id);
        }
        by_id.insert(id, UserGroup { name, stamp });
    }
    for groups in of_users.values_mut() {
        groups.sort_unstable();
        groups.dedup();
        groups.shrink_to_fit();
    }
    (by_id, of_users)
}

fn index_boosts(boosts: Vec<BoostRow>) -> HashMap<(i64, i64), Vec<Boost>> {
    let mut index: HashMap<_, Vec<Boost>> = HashMap::new();
    for BoostRow { user_id, model_group_id, window, usd, starts_at, expires_at, stamp, .. } in boosts {
        let boost = Boost { window, usd, starts_at, expires_at, stamp };
        index.entry((user_id, model_group_id)).or_default().push(boost);
    }
    index
}
