//! What a request is charged to.

use std::sync::Arc;

use crate::limit::{Axis, Budget, BudgetId, Owner, Payers, Policy, Resolution, Scope};

/// A budget and its caps, if it has any.
pub type MaybeCapped = (BudgetId, Option<Arc<Policy>>);

/// What a request is charged to, frozen when it is admitted.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The key's side.
    pub key: AxisPlan,
    /// The user's side.
    pub user: AxisPlan,
    /// The provider's budget.
    pub provider: MaybeCapped,
}

/// One side of a request.
#[derive(Clone, Debug)]
pub struct AxisPlan {
    /// The owner's era at admission.
    pub era: i64,
    /// The budget of the model's group, if it has a cap: it then pays instead of the mainline budget.
    pub group: Option<(BudgetId, Arc<Policy>)>,
    /// The budget of everything else. Charged, so that a cap set while the request runs knows of it, also when it has
    /// no cap now.
    pub mainline: MaybeCapped,
}

/// One budget that is asked.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub axis: Axis,
    pub id: BudgetId,
    pub policy: Option<Arc<Policy>>,
    pub era: i64,
    /// False when a model group's budget pays.
    pub mainline: bool,
}

/// In the order in which budgets are locked, asked and reported.
pub(super) type Targets = [Target; 3];

impl Plan {
    /// The budgets of a resolution, for this user and key.
    #[must_use]
    pub fn new(resolution: &Resolution, user: &Owner, key: &Owner, provider: MaybeCapped) -> Self {
        Self {
            key: AxisPlan::new(Axis::Key, key, &resolution.key),
            user: AxisPlan::new(Axis::User, user, &resolution.user),
            provider,
        }
    }

    pub(super) fn targets(&self) -> Targets {
        [
            self.key.target(Axis::Key),
            self.user.target(Axis::User),
            Target {
                axis: Axis::Provider,
                id: self.provider.0,
                policy: self.provider.1.clone(),
                era: 0,
                mainline: true,
            },
        ]
    }

    /// What pays for this axis when its model group's budget cannot be asked.
    pub(super) fn fallback(&self, axis: Axis) -> Option<Target> {
        match axis {
            Axis::Key => Some(self.key.mainline_target(axis)),
            Axis::User => Some(self.user.mainline_target(axis)),
            Axis::Provider => None,
        }
    }
}

impl AxisPlan {
    fn new(axis: Axis, owner: &Owner, payers: &Payers) -> Self {
        let capped = |budget: &Budget| (budget.id, Arc::clone(&budget.policy));
        Self {
            era: owner.era,
            group: payers.group.as_ref().map(capped),
            mainline: (
                BudgetId { axis, owner: owner.id, scope: Scope::Mainline },
                payers.mainline.as_ref().map(|budget| Arc::clone(&budget.policy)),
            ),
        }
    }

    fn target(&self, axis: Axis) -> Target {
        match &self.group {
            Some((id, policy)) => {
                Target { axis, id: *id, policy: Some(Arc::clone(policy)), era: self.era, mainline: false }
            }
            None => self.mainline_target(axis),
        }
    }

    fn mainline_target(&self, axis: Axis) -> Target {
        Target { axis, id: self.mainline.0, policy: self.mainline.1.clone(), era: self.era, mainline: true }
    }
}
