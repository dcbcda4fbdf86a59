//! What can be told about budgets: their windows now, and what would become of a request.

use std::sync::Arc;
use std::time::Duration;

use super::denial::Need;
use super::lease::{Alone, Lease, Occasion, Verdict};
use super::plan::Plan;
use super::protocol::WindowReport;
use super::{BudgetSettings, Budgets, Denied, ReserveError};
use crate::config::{OnAuthorityFailure, ReservationMode};
use crate::limit::{Axis, BudgetId, Mode, Policy, Scope, Source, Window};
use crate::money::Usd;

/// Whoever looks waits at most so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Flights made for others bring no report; so many are waited for.
const FLIGHTS: usize = 4;

/// A budget now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetView {
    /// Which.
    pub budget: BudgetId,
    /// In the order of [`Window::ALL`].
    pub windows: Vec<WindowView>,
}

/// A window of a budget now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowView {
    /// Which.
    pub window: Window,
    /// How it starts anew.
    pub mode: Mode,
    /// The cap in force, boosts included.
    pub cap: Usd,
    /// How much of the cap is boosts.
    pub boost: Usd,
    /// Whose row set the cap.
    pub source: Source,
    /// What was charged.
    pub used: Usd,
    /// What running requests have set aside.
    pub reserved: Usd,
    /// What is left: nothing when more was charged than the cap.
    pub remaining: Usd,
    /// When it began; none for `total`, rolling windows and a fixed five hours that have not begun.
    pub starts_at: Option<i64>,
    /// When it starts anew; none for the same.
    pub resets_at: Option<i64>,
}

/// What would become of a request.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The budgets that pay, the key's before the user's before the provider's, and whether they are mainline
    /// budgets. None where nothing is known.
    pub budgets: Vec<(Axis, BudgetId, bool, Option<BudgetView>)>,
    /// Whether it would be admitted.
    pub verdict: Result<(), ReserveError>,
}

impl Budgets {
    /// The windows of a budget now.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Unavailable`] when that cannot be found out.
    pub async fn state(&self, budget: BudgetId, policy: &Arc<Policy>, now: i64) -> Result<BudgetView, ReserveError> {
        let view = self.look(budget, policy, now, |lease| self.view_of(budget, lease, now)).await;
        view.ok_or(ReserveError::Unavailable)
    }

    /// What would become of a request of this cost, without admitting it.
    pub async fn explain(&self, plan: &Plan, amount: Usd, now: i64) -> Explained {
        let settings = self.settings.load_full();
        let all_that_is_left = settings.reservation == ReservationMode::Expected;
        let amount = self.to_set_aside(amount);
        let mut explained = Explained { budgets: Vec::new(), verdict: Ok(()) };
        let mut denials = Vec::new();
        let mut unavailable = false;
        for mut target in plan.targets() {
            loop {
                let Some(policy) = &target.policy else {
                    explained.budgets.push((target.axis, target.id, target.mainline, None));
                    break;
                };
                let seen = self.look(target.id, policy, now, |lease| {
                    let need = lease.need(amount, all_that_is_left, now);
                    let view = self.view_of(target.id, lease, now);
                    if self.authority.is_away(target.id) {
                        let verdict = self.verdict_away(&settings, target.mainline, lease, need, now)?;
                        return Some((view, verdict));
                    }
                    Some((Some(view?), lease.verdict(need, now)))
                });
                let seen = seen.await;
                if seen.is_none()
                    && settings.on_failure == OnAuthorityFailure::Open
                    && !target.mainline
                    && let Some(mainline) = plan.fallback(target.axis)
                {
                    target = mainline;
                    continue;
                }
                unavailable |= seen.is_none() && settings.on_failure == OnAuthorityFailure::Closed;
                let view = seen.and_then(|(view, verdict)| {
                    if let Verdict::Denied(denied) = verdict
                        && amount > Usd::ZERO
                    {
                        denials.extend(denied);
                    }
                    view
                });
                explained.budgets.push((target.axis, target.id, target.mainline, view));
                break;
            }
        }
        if let Some(denied) = Denied::of(denials) {
            explained.verdict = Err(ReserveError::Denied(denied));
        } else if unavailable && amount > Usd::ZERO {
            explained.verdict = Err(ReserveError::Unavailable);
        }
        explained
    }

    /// Asks for the state of the windows and reads it.
    async fn look<T>(
        &self,
        budget: BudgetId,
        policy: &Arc<Policy>,
        now: i64,
        read: impl Fn(&mut Lease) -> Option<T>,
    ) -> Option<T> {
        let asking = async {
            for _ in 0..FLIGHTS {
                let entry = self.entry(budget, policy, now);
                {
                    let mut lease = entry.lease.lock();
                    self.adopt(&mut lease, policy, now);
                }
                if self.authority.is_away(entry.id) {
                    if entry.id.scope == Scope::Mainline {
                        self.learn(&entry, now).await;
                    }
                    return read(&mut entry.lease.lock());
                }
                self.ask(&entry, Occasion { report: true, ..Occasion::default() }).await;
                if let Some(seen) = read(&mut entry.lease.lock()) {
                    return Some(seen);
                }
            }
            None
        };
        tokio::time::timeout(PATIENCE, Box::pin(asking)).await.ok().flatten()
    }

    /// Whether a budget whose authority is away can pay; none: the switch has refused, or another one is asked.
    fn verdict_away(
        &self,
        settings: &BudgetSettings,
        mainline: bool,
        lease: &mut Lease,
        need: Need,
        now: i64,
    ) -> Option<Verdict> {
        if lease.fits(need, now).is_some() {
            return Some(Verdict::Payable);
        }
        if settings.on_failure == OnAuthorityFailure::Closed || !mainline {
            return None;
        }
        Some(match lease.alone(need, self.nodes(), &settings.zone, now) {
            Alone::Fits(_) => Verdict::Payable,
            Alone::Denied(denials) => Verdict::Denied(denials),
            Alone::Unknown => Verdict::Unknown,
        })
    }

    fn view_of(&self, budget: BudgetId, lease: &mut Lease, now: i64) -> Option<BudgetView> {
        if budget.scope == Scope::Mainline && self.authority.is_away(budget) {
            let reports = lease.windows_alone(self.nodes(), &self.settings.load().zone, now)?;
            return view(budget, lease, &reports, Usd::ZERO, now);
        }
        let reports = lease.windows()?;
        let (_, untold) = lease.own();
        view(budget, lease, &reports, untold, now)
    }
}

/// `untold`: what is not in the reports yet.
fn view(budget: BudgetId, lease: &Lease, reports: &[WindowReport], untold: Usd, now: i64) -> Option<BudgetView> {
    let windows = lease.policy().windows.iter().map(|policy| {
        let report = reports.iter().find(|report| report.window == policy.window)?;
        let (cap, used) = (policy.cap_at(now), report.spent + untold);
        let reserved = (report.reserved - untold).max(Usd::ZERO);
        Some(WindowView {
            window: policy.window,
            mode: policy.mode,
            cap,
            boost: policy.boost_at(now),
            source: policy.source,
            used,
            reserved,
            remaining: (cap - used - reserved).max(Usd::ZERO),
            starts_at: report.starts,
            resets_at: report.ends,
        })
    });
    Some(BudgetView { budget, windows: windows.collect::<Option<_>>()? })
}
