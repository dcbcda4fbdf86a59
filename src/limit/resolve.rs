//! Which budgets a request is charged to.

use std::sync::Arc;

use super::count_limits::Axis;
use super::data::{Owner, WindowCap};
use super::merge::{self, Facts, Row};
use super::policy::{BudgetId, Policy, Scope, Source, provider_owner};
use super::snapshot::{ModelGroup, Snapshot};

/// A budget, and what may be spent from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Which.
    pub id: BudgetId,
    /// Its caps.
    pub policy: Arc<Policy>,
}

/// The budgets of one side of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payers {
    /// For the model's group. None when nothing caps it: a budget without a cap is not a budget.
    pub group: Option<Budget>,
    /// For everything that no model group claims.
    pub mainline: Option<Budget>,
}

/// Who pays for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The group of the served model.
    pub model_group: Option<Arc<ModelGroup>>,
    /// The key's budgets.
    pub key: Payers,
    /// The user's budgets.
    pub user: Payers,
}

impl Snapshot {
    /// Who pays when this user's key asks for a model; named as it is sent upstream, after redirects.
    #[must_use]
    pub fn resolve(&self, user: &Owner, key: &Owner, served_model: &str) -> Resolution {
        let model_group = self.shared_model_group(served_model);
        let group = model_group.map(Arc::as_ref);
        Resolution {
            model_group: model_group.cloned(),
            key: self.payers(Axis::Key, key, group, Self::key_policy),
            user: self.payers(Axis::User, user, group, Self::user_policy),
        }
    }

    /// All budgets of a user or key: the mainline's, then those of model groups by id.
    #[must_use]
    pub fn budgets_of(&self, axis: Axis, owner: &Owner) -> Vec<Budget> {
        let of_groups = self.model_groups().iter().filter_map(|group| {
            let policy = match axis {
                Axis::User => self.user_policy(owner, group),
                Axis::Key => self.key_policy(owner, group),
                Axis::Provider => None,
            }?;
            let id = BudgetId { axis, owner: owner.id, scope: Scope::ModelGroup(group.id) };
            Some(Budget { id, policy: Arc::new(policy) })
        });
        self.mainline(axis, owner).into_iter().chain(of_groups).collect()
    }

    fn payers(
        &self,
        axis: Axis,
        owner: &Owner,
        group: Option<&ModelGroup>,
        policy: impl FnOnce(&Self, &Owner, &ModelGroup) -> Option<Policy>,
    ) -> Payers {
        let group = group.and_then(|group| {
            let id = BudgetId { axis, owner: owner.id, scope: Scope::ModelGroup(group.id) };
            self.memo.get(id, owner, || Some(Budget { id, policy: Arc::new(policy(self, owner, group)?) }))
        });
        Payers { group, mainline: self.mainline(axis, owner) }
    }

    fn mainline(&self, axis: Axis, owner: &Owner) -> Option<Budget> {
        if owner.mainline.is_empty() {
            return None;
        }
        let id = BudgetId { axis, owner: owner.id, scope: Scope::Mainline };
        self.memo.get(id, owner, || Some(Budget { id, policy: Arc::new(mainline_policy(axis, owner)?) }))
    }
}

/// What an owner may spend on everything that no model group claims.
#[must_use]
pub fn mainline_policy(axis: Axis, owner: &Owner) -> Option<Policy> {
    let source = match axis {
        Axis::User => Source::User(owner.id),
        Axis::Key => Source::Key(owner.id),
        Axis::Provider => Source::Provider(owner.id),
    };
    merge::policy(Facts::of(owner), &[Row { source, caps: &owner.mainline, stamp: owner.stamp }], &[])
}

/// The budget of a provider, and its caps if it has any. The configuration that says so has no versions and no eras:
/// both are 0.
#[must_use]
pub fn provider_budget(name: &str, limits: &[WindowCap]) -> (BudgetId, Option<Arc<Policy>>) {
    let owner = Owner { id: provider_owner(name), mainline: limits.to_vec(), ..Owner::default() };
    let id = BudgetId { axis: Axis::Provider, owner: owner.id, scope: Scope::Mainline };
    (id, mainline_policy(Axis::Provider, &owner).map(Arc::new))
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
