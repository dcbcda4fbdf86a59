//! Reserving: what a request is expected to cost is set aside in all budgets that pay for it, or in none.

use std::sync::Arc;

use super::acquire::{Claim, Each, Entries, Taking, Without};
use super::plan::{Plan, Targets};
use super::reservation::Hold;
use super::{Budgets, Denial, Denied, Reservation, ReserveError};
use crate::config::{OnAuthorityFailure, ReservationMode};
use crate::limit::{BudgetId, Policy};
use crate::money::Usd;

/// What a request that is moved has set aside already.
pub(super) type Had = [(BudgetId, Usd); 3];

/// So much from each budget that pays, beside what is set aside in it already.
struct Spend<'a> {
    plan: &'a Plan,
    targets: Targets,
    amount: Usd,
    had: Option<&'a Had>,
}

impl<'a> Spend<'a> {
    fn new(plan: &'a Plan, amount: Usd, had: Option<&'a Had>) -> Self {
        Self { plan, targets: plan.targets(), amount, had }
    }
}

impl Claim for Spend<'_> {
    fn wants(&self, at: usize) -> Option<(BudgetId, Usd)> {
        let target = self.targets.get(at)?;
        if target.policy.is_none() || self.amount <= Usd::ZERO {
            return None;
        }
        let had = self.had.and_then(|had| had.iter().find(|(budget, _)| *budget == target.id));
        Some((target.id, self.amount - had.map_or(Usd::ZERO, |(_, amount)| *amount)))
    }

    fn news(&self, at: usize, known: Option<&Arc<Policy>>) -> Option<Arc<Policy>> {
        let policy = self.targets.get(at)?.policy.as_ref()?;
        (!known.is_some_and(|known| Arc::ptr_eq(known, policy))).then(|| Arc::clone(policy))
    }

    fn without(&mut self, at: usize, budgets: &Budgets) -> Without {
        if budgets.settings.load().on_failure == OnAuthorityFailure::Closed {
            return Without::Refused;
        }
        let Some(target) = self.targets.get_mut(at) else { return Without::Refused };
        // A model group's budget that cannot be asked neither refuses nor bypasses.
        if let Some(mainline) = self.plan.fallback(target.axis).filter(|_| !target.mainline) {
            *target = mainline;
            return Without::Another;
        }
        Without::Alone
    }

    fn unchecked(&self, at: usize) {
        let Some(target) = self.targets.get(at) else { return };
        tracing::warn!(
            axis = target.axis.as_str(),
            budget = ?target.id,
            caps = ?target.policy.as_ref().map(|policy| caps(policy)),
            "admitted without knowing whether the budget can pay"
        );
    }
}

impl Budgets {
    /// Sets `amount` (what the request is expected to cost) aside in every budget of the plan, or in none. A request
    /// that costs nothing asks no budget.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Denied`] when a budget cannot pay; [`ReserveError::Unavailable`] when that cannot be found out
    /// and the configuration says to refuse then.
    pub async fn reserve(self: &Arc<Self>, plan: &Plan, amount: Usd, now: i64) -> Result<Reservation, ReserveError> {
        if let Some(result) = self.try_reserve(plan, amount, now) {
            return result;
        }
        let amount = self.to_set_aside(amount);
        let holds = Box::pin(self.set_aside(plan, amount, None, now)).await?;
        Ok(Reservation::new(Arc::clone(self), holds))
    }

    /// As [`Self::reserve`], from what this node holds and knows; none when somebody has to be asked.
    #[must_use]
    pub fn try_reserve(
        self: &Arc<Self>,
        plan: &Plan,
        amount: Usd,
        now: i64,
    ) -> Option<Result<Reservation, ReserveError>> {
        let claim = Spend::new(plan, self.to_set_aside(amount), None);
        let entries = self.entries(&claim, now);
        match self.take(&claim, &entries, None, now) {
            Taking::Took(took) => Some(Ok(Reservation::new(Arc::clone(self), holds(claim.targets, entries, took)))),
            Taking::Short(short) => {
                let denied = self.known_denial(&entries, short, claim.amount, now)?;
                let worth_waiting = denied.all().all(Denial::may_pass);
                (!worth_waiting).then_some(Err(ReserveError::Denied(denied)))
            }
            Taking::Gone => None,
        }
    }

    /// What a request of this cost sets aside.
    pub(super) fn to_set_aside(&self, amount: Usd) -> Usd {
        match self.settings.load().reservation {
            ReservationMode::None => amount.min(Usd::from_nanos(1)),
            ReservationMode::Expected | ReservationMode::WorstCase => amount,
        }
    }

    pub(super) fn takes_all_that_is_left(&self) -> bool {
        self.settings.load().reservation == ReservationMode::Expected
    }

    /// Sets aside what is missing beside what the request has already; waits for leases.
    pub(super) async fn set_aside(
        &self,
        plan: &Plan,
        amount: Usd,
        had: Option<&Had>,
        now: i64,
    ) -> Result<[Hold; 3], ReserveError> {
        let mut claim = Spend::new(plan, amount, had);
        let took = self.acquire(&mut claim, now).await?;
        Ok(holds(claim.targets, took.entries, took.amounts))
    }

    /// The refusal, when it is known of every budget that has too little.
    fn known_denial(&self, entries: &Entries, short: Each<bool>, amount: Usd, now: i64) -> Option<Box<Denied>> {
        let mut all = Vec::new();
        for at in (0..4).filter(|&at| short[at]) {
            let entry = entries[at].as_ref()?;
            if self.authority.is_away(entry.id) {
                return None;
            }
            let lease = entry.lease.lock();
            let need = lease.need(amount, self.takes_all_that_is_left(), now);
            all.extend(lease.fresh_denial(need, now)?);
        }
        Denied::of(all)
    }
}

/// The caps of a budget, for the log.
fn caps(policy: &Policy) -> Vec<String> {
    policy.windows.iter().map(|window| format!("{} {} USD", window.window, window.base)).collect()
}

fn holds(targets: Targets, entries: Entries, took: Each<Usd>) -> [Hold; 3] {
    let mut parts = entries.into_iter().zip(took);
    targets.map(|target| {
        let (entry, amount) = parts.next().unwrap_or((None, Usd::ZERO));
        Hold { target, entry: entry.filter(|_| amount > Usd::ZERO), amount }
    })
}
