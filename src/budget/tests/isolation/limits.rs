//! What administrators have set in the random runs, and what they change.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::world::{cap, group, mode, policy, provider, usd};
use crate::budget::Plan;
use crate::limit::{
    Axis, BoostRow, BudgetId, LimitData, LimitRow, ModelGroupRow, Owner, Policy, Snapshot, Subject, UserGroupRow,
    Window, WindowCap,
};
use crate::money::Usd;

pub type Capped = (BudgetId, Arc<Policy>);

/// How many limits there are to edit.
pub const ROWS: usize = 6;

/// A request as it is to be served.
pub struct Served {
    pub owner: i64,
    pub model_group: Option<i64>,
    pub plan: Plan,
}

/// Two users, each with a key, and two model groups.
pub struct Limits {
    data: LimitData,
    users: [Owner; 2],
    keys: [Owner; 2],
    stamp: i64,
    /// Budgets whose caps were changed.
    changed: BTreeSet<BudgetId>,
}

fn set(window: Window, usd: Usd) -> WindowCap {
    WindowCap { window, usd, mode: mode(window) }
}

impl Limits {
    /// A few requests use the caps up. The second key has none, and the second user none of its own for models.
    pub fn new() -> Self {
        let of = |subject, model_group_id, caps: &[WindowCap]| LimitRow {
            subject,
            model_group_id,
            caps: caps.to_vec(),
            stamp: 1,
        };
        let daily = |amount| set(Window::Daily, usd(amount));
        let limits = [
            of(Subject::User(1), 1, &[daily("1")]),
            of(Subject::UserGroup(9), 1, &[daily("0.5"), set(Window::Monthly, usd("0.9"))]),
            of(Subject::Key(1), 1, &[daily("0.8")]),
            of(Subject::UserGroup(9), 2, &[set(Window::Total, usd("0.7"))]),
            of(Subject::User(2), 2, &[set(Window::FiveHours, Usd::ZERO)]),
            of(Subject::Key(2), 2, &[set(Window::Weekly, Usd::ZERO)]),
        ];
        assert_eq!(limits.len(), ROWS);
        let model_group = |id| ModelGroupRow { id, name: format!("group-{id}"), models: vec![model(id)], stamp: 1 };
        let data = LimitData {
            as_of: i64::MAX,
            model_groups: [1, 2].map(model_group).into(),
            user_groups: vec![UserGroupRow { id: 9, name: "all".into(), members: vec![1, 2], stamp: 1 }],
            limits: limits.into(),
            boosts: Vec::new(),
        };
        let owner = |id, mainline| Owner { id, mainline, stamp: 1, ..Owner::default() };
        let users = [1, 2].map(|id| owner(id, vec![set(Window::Weekly, usd("1"))]));
        let keys = [owner(1, vec![set(Window::Total, usd("0.9"))]), owner(2, Vec::new())];
        Self { data, users, keys, stamp: 1, changed: BTreeSet::new() }
    }

    /// How this user's request for a model is served: 0 is in no group.
    pub fn serve(&self, owner: i64, of_group: i64) -> Served {
        let (user, key) = (self.owner(Axis::User, owner), self.owner(Axis::Key, owner));
        let resolution = self.snapshot().resolve(user, key, &model(of_group));
        let model_group = resolution.model_group.as_ref().map(|group| group.id);
        Served { owner, model_group, plan: Plan::new(&resolution, user, key, of_provider()) }
    }

    pub fn edit(&mut self, row: usize, usd: Usd) {
        let stamp = self.next_stamp();
        let row = &mut self.data.limits[row];
        (row.stamp, row.caps[0].usd) = (stamp, usd);
        let (axis, owners) = match row.subject {
            Subject::User(id) => (Axis::User, vec![id]),
            Subject::Key(id) => (Axis::Key, vec![id]),
            Subject::UserGroup(_) => (Axis::User, vec![1, 2]),
        };
        self.changed.extend(owners.into_iter().map(|owner| group(axis, owner, row.model_group_id)));
    }

    pub fn boost(&mut self, owner: i64, of_group: i64, usd: Usd, starts_at: i64, lasts: i64) {
        let stamp = self.next_stamp();
        self.changed.insert(group(Axis::User, owner, of_group));
        self.data.boosts.push(BoostRow {
            id: stamp,
            user_id: owner,
            model_group_id: of_group,
            window: if of_group == 1 { Window::Daily } else { Window::Total },
            usd,
            starts_at,
            expires_at: starts_at + lasts,
            stamp,
        });
    }

    /// What this owner has spent counts for nothing any more. Returns the new era.
    pub fn reset(&mut self, axis: Axis, owner: i64) -> i64 {
        let stamp = self.next_stamp();
        let owner = self.owner_mut(axis, owner);
        owner.era += 1;
        (owner.since, owner.stamp) = ([owner.era; 5], stamp);
        owner.era
    }

    /// Whether its caps are others than in the beginning, or were.
    pub fn was_changed(&self, budget: BudgetId) -> bool {
        self.changed.contains(&budget)
    }

    /// Every owner gets a mainline cap and one for each group.
    pub fn cap_everything(&mut self) {
        let stamp = self.next_stamp();
        let total = set(Window::Total, usd("1000"));
        let owners = self.users.iter_mut().chain(&mut self.keys);
        owners.for_each(|owner| (owner.mainline, owner.stamp) = (vec![total], stamp));
        let subjects = [1, 2].map(|id| [Subject::User(id), Subject::Key(id)]);
        let groups =
            |subject| [1, 2].map(|model_group_id| LimitRow { subject, model_group_id, caps: vec![total], stamp });
        self.data.limits = subjects.into_iter().flatten().flat_map(groups).collect();
    }

    pub fn era(&self, axis: Axis, owner: i64) -> i64 {
        if axis == Axis::Provider { 0 } else { self.owner(axis, owner).era }
    }

    /// All that have a cap now.
    pub fn budgets(&self) -> Vec<Capped> {
        let snapshot = self.snapshot();
        let owned = |axis, owners: &[Owner; 2]| -> Vec<_> {
            let budgets = owners.iter().flat_map(|owner| snapshot.budgets_of(axis, owner));
            budgets.map(|budget| (budget.id, budget.policy)).collect()
        };
        let mut all = vec![(provider(1), of_provider().1.expect("a cap"))];
        all.extend(owned(Axis::User, &self.users));
        all.extend(owned(Axis::Key, &self.keys));
        all
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.data.clone())
    }

    fn next_stamp(&mut self) -> i64 {
        self.stamp += 1;
        self.stamp
    }

    fn owner(&self, axis: Axis, id: i64) -> &Owner {
        let owners = if axis == Axis::Key { &self.keys } else { &self.users };
        owners.iter().find(|owner| owner.id == id).expect("there are two")
    }

    fn owner_mut(&mut self, axis: Axis, id: i64) -> &mut Owner {
        let owners = if axis == Axis::Key { &mut self.keys } else { &mut self.users };
        owners.iter_mut().find(|owner| owner.id == id).expect("there are two")
    }
}

fn model(group: i64) -> String {
    format!("model-{group}")
}

fn of_provider() -> (BudgetId, Option<Arc<Policy>>) {
    (provider(1), Some(policy(1, vec![cap(Window::Monthly, mode(Window::Monthly), usd("3"))])))
}
