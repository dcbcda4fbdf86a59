//! Taking one of each limit, or none; asking for what this node does not hold.

use std::sync::Arc;

use super::Held;
use crate::budget::acquire::{Claim, Each, Entries, Taking, Without};
use crate::budget::{Budgets, Denial, ReserveError};
use crate::limit::{
    Axis, BudgetId, CapStep, CountKind, CountLimits, CountRefusal, CountSubject, Mode, Policy, Scope, Source, Window,
    WindowPolicy,
};
use crate::money::Usd;

/// One request.
pub const ONE: Usd = Usd::from_nanos(1);

/// The limits that a request has to fit into, in the order in which they are reported.
pub struct Wants(Each<Option<Want>>);

/// One limit.
struct Want {
    id: BudgetId,
    limit: u32,
    stamp: i64,
}

impl Wants {
    /// None when there is no limit.
    pub fn of(subject: &CountSubject) -> Option<Self> {
        let want = |axis, owner, limits: CountLimits, kind| {
            let limit = match kind {
                CountKind::Rpm => limits.rpm,
                CountKind::Concurrency => limits.max_concurrent,
            };
            let id = BudgetId { axis, owner, scope: Scope::Count(kind) };
            limit.map(|limit| Want { id, limit, stamp: limits.stamp })
        };
        let wants = [
            want(Axis::Key, subject.key_id, subject.key, CountKind::Rpm),
            want(Axis::Key, subject.key_id, subject.key, CountKind::Concurrency),
            want(Axis::User, subject.user_id, subject.user, CountKind::Rpm),
            want(Axis::User, subject.user_id, subject.user, CountKind::Concurrency),
        ];
        wants.iter().any(Option::is_some).then_some(Self(wants))
    }
}

impl Want {
    fn is_in(&self, policy: &Policy) -> bool {
        policy.version > self.stamp || (policy.version == self.stamp && policy.windows[0].base == self.cap())
    }

    fn cap(&self) -> Usd {
        Usd::from_nanos(self.limit.into())
    }

    fn policy(&self) -> Arc<Policy> {
        let (window, mode) = match self.id.scope {
            Scope::Count(CountKind::Rpm) => (Window::Minute, Mode::Rolling),
            _ => (Window::AtOnce, Mode::Forever),
        };
        let source = if self.id.axis == Axis::Key { Source::Key } else { Source::User };
        let caps = vec![CapStep { from: i64::MIN, cap: self.cap() }];
        let window = WindowPolicy { window, mode, base: self.cap(), caps, source: source(self.id.owner), since_era: 0 };
        Arc::new(Policy { version: self.stamp, era: 0, windows: vec![window] })
    }
}

impl Claim for Wants {
    fn wants(&self, at: usize) -> Option<(BudgetId, Usd)> {
        self.0[at].as_ref().map(|want| (want.id, ONE))
    }

    fn news(&self, at: usize, known: Option<&Arc<Policy>>) -> Option<Arc<Policy>> {
        let want = self.0[at].as_ref()?;
        (!known.is_some_and(|known| want.is_in(known))).then(|| want.policy())
    }

    /// This node decides.
    fn without(&mut self, _: usize, _: &Budgets) -> Without {
        Without::Blindly
    }
}

impl Budgets {
    /// Takes one of each, if this node holds so much; none when somebody has to be asked.
    pub(super) fn try_count(self: &Arc<Self>, wants: &Wants, now: i64) -> Option<Held> {
        let entries = self.entries(wants, now);
        match self.take(wants, &entries, None, now) {
            Taking::Took(_) => Some(Held::new(Arc::clone(self), entries, now, false)),
            Taking::Short(_) | Taking::Gone => None,
        }
    }

    /// Takes one of each, and waits for what this node does not hold.
    ///
    /// # Errors
    ///
    /// The first limit that is used up.
    pub(super) async fn count(self: &Arc<Self>, mut wants: Wants, now: i64) -> Result<Held, CountRefusal> {
        match self.acquire(&mut wants, now).await {
            Ok(took) => Ok(Held::new(Arc::clone(self), took.entries, took.at, took.blindly)),
            Err(ReserveError::Unavailable) => Ok(Held::new(Arc::clone(self), Entries::default(), now, true)),
            Err(ReserveError::Denied(denied)) => {
                let now = now.max((self.clock)());
                // What was granted of the other limits is of no use here.
                for entry in self.entries(&wants, now).iter().flatten() {
                    self.tell_later(entry, &mut entry.lease.lock(), now);
                }
                Err(refuse(&denied.first, now))
            }
        }
    }
}

fn refuse(denial: &Denial, now: i64) -> CountRefusal {
    let requests = |amount: Usd| u32::try_from(amount.nanos()).unwrap_or(u32::MAX);
    let kind = match denial.budget.scope {
        Scope::Count(kind) => kind,
        Scope::Mainline | Scope::ModelGroup(_) => CountKind::Rpm,
    };
    // Without a known end others hold it: their requests at once, or those of a minute that are not decided yet.
    let wait = denial.resets_at.map_or(1, |at| (at - now).div_euclid(1_000) + i64::from((at - now) % 1_000 != 0));
    CountRefusal {
        axis: denial.budget.axis,
        kind,
        limit: requests(denial.cap),
        current: requests(denial.used + denial.reserved),
        retry_after: u32::try_from(wait.clamp(1, 60)).unwrap_or(1),
    }
}
