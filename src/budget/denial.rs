//! Why a request is refused: which budget, which window, how much.

use thiserror::Error;

use super::protocol::WindowReport;
use crate::limit::{BudgetId, Mode, Source, Window, WindowPolicy};
use crate::money::Usd;

/// A window that cannot pay for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Whose, and for which models.
    pub budget: BudgetId,
    /// Which window.
    pub window: Window,
    /// What was charged in it.
    pub used: Usd,
    /// Its cap now, boosts included.
    pub cap: Usd,
    /// What other requests have set aside.
    pub reserved: Usd,
    /// What the request needs.
    pub requested: Usd,
    /// How much of the cap is boosts.
    pub boost: Usd,
    /// When it can pay (rolling windows) or starts anew; none when that is not known.
    pub resets_at: Option<i64>,
    /// Whose row set the cap.
    pub source: Source,
}

impl Denial {
    /// Whether the money is there, and only set aside by requests that may turn out to cost less: worth a moment's wait.
    /// Places of requests are not: they are taken until the requests end.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !self.window.is_count() && self.used + self.requested <= self.cap
    }
}

/// All windows that cannot pay for a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the {} budget of this {} is used up: {} of {} USD used", self.first.window, self.first.budget.axis.as_str(), self.first.used, self.first.cap)]
pub struct Denied {
    /// The one to report: the key's before the user's before the provider's, then in the order of [`Window::ALL`].
    pub first: Denial,
    /// The others, in that order.
    pub others: Vec<Denial>,
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReserveError {
    /// Budgets cannot pay.
    #[error(transparent)]
    Denied(Box<Denied>),
    /// What is left of a budget cannot be found out, and the configuration says to refuse then.
    #[error("what is left of a budget cannot be found out now")]
    Unavailable,
}

impl Denied {
    /// In the order of reporting; none when nothing is denied.
    #[must_use]
    pub fn of(mut denials: Vec<Denial>) -> Option<Box<Self>> {
        denials.sort_by_key(|denial| (denial.budget.axis, denial.window));
        let mut denials = denials.into_iter();
        let first = denials.next()?;
        Some(Box::new(Self { first, others: denials.collect() }))
    }

    /// All, in the order of reporting.
    pub fn all(&self) -> impl Iterator<Item = &Denial> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// What a request asks of one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// How much.
    pub amount: Usd,
    /// With so much it is content when nobody else has reserved anything.
    pub least: Usd,
}

/// What a node knows about a window when it decides.
pub(super) struct Facts<'a> {
    pub budget: BudgetId,
    pub policy: &'a WindowPolicy,
    pub report: &'a WindowReport,
    /// Charged here and not told yet.
    pub untold: Usd,
    /// Held here and not reserved.
    pub available: Usd,
}

impl Facts<'_> {
    /// Why this window cannot pay so much, if it cannot.
    pub fn deny(&self, required: Usd, requested: Usd, now: i64) -> Option<Denial> {
        let report = self.report;
        let free = report.cap - report.spent - report.held + self.available;
        if required <= free {
            return None;
        }
        Some(Denial {
            budget: self.budget,
            window: report.window,
            used: report.spent + self.untold,
            cap: report.cap,
            reserved: (report.held - self.available - self.untold).max(Usd::ZERO),
            requested,
            boost: (report.cap - self.policy.base).max(Usd::ZERO),
            resets_at: self.resets_at(required - free, now),
            source: self.policy.source,
        })
    }

    fn resets_at(&self, missing: Usd, now: i64) -> Option<i64> {
        if self.policy.mode == Mode::Rolling {
            return self.report.leaving.iter().find(|&&(at, gone)| at > now && gone >= missing).map(|&(at, _)| at);
        }
        self.report.ends
    }
}
