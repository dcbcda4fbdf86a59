//! Which budgets pay for an attempt, what is set aside in them before it is made, and what a client is told when they
//! cannot pay.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::Gateway;
use super::app::{App, Live};
use super::bill::Bill;
use super::context::{Admitted, Priced};
use crate::budget::estimate::{self, Asker, Terms};
use crate::budget::{Denial, Denied, Plan, ReserveError};
use crate::config::{OnAuthorityFailure, ReservationMode};
use crate::dialect::{Amounts, ErrorCode, GatewayError, Inspected, LimitHeaders};
use crate::directory::Principal;
use crate::ledger::AttemptReport;
use crate::limit::{Axis, ModelGroup, Owner, Scope, Snapshot, Source};
use crate::money::Usd;
use crate::provider::Candidate;

/// The budgets that an attempt is charged to.
pub struct Payers {
    /// As budgets are asked.
    pub plan: Plan,
    /// The group of the served model, whether or not a budget of it pays.
    pub model_group: Option<Arc<ModelGroup>>,
}

/// What was set aside for the candidate whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    /// The candidate's place.
    pub(super) turn: usize,
    /// The model's group, for the record.
    pub(super) model_group_id: Option<i64>,
    /// Output tokens that the answer has at most, if the provider does as it is told.
    pub(super) most_output: u64,
    /// What is owed if nothing is ever heard of the attempt again.
    pub(super) estimate: Usd,
    /// It was taken for the most that the request can cost.
    pub(super) is_most: bool,
}

/// What an attempt needs before it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// To be set aside in each budget that pays.
    pub(super) amount: Usd,
    /// What the journal says that it costs, should its end never be known: also where nothing is set aside.
    pub(super) estimate: Usd,
    /// Output tokens that the answer has at most.
    pub(super) most_output: u64,
}

impl App {
    /// The groups and limits in force, with whatever was changed up to this stamp: none when limits on model groups are
    /// switched off.
    ///
    /// # Errors
    /// When they have never been read, and the configuration says to refuse then.
    pub async fn groups(&self, live: &Live, stamp: i64) -> Result<Arc<Snapshot>, ReserveError> {
        let budgets = &live.config.budgets;
        if !budgets.model_group_limits {
            return Ok(Arc::clone(&self.no_groups));
        }
        if !self.limits.is_known() && budgets.on_authority_failure == OnAuthorityFailure::Closed {
            return Err(ReserveError::Unavailable);
        }
        self.limits.catch_up(stamp).await;
        Ok(Arc::clone(&self.limits.snapshot()))
    }
}

impl Payers {
    /// Who pays when this user's key is served by this candidate.
    #[must_use]
    pub fn of(groups: &Snapshot, user: &Owner, key: &Owner, candidate: &Candidate) -> Self {
        let resolution = groups.resolve(user, key, &candidate.served_model);
        let plan = Plan::new(&resolution, user, key, candidate.provider.budget.clone());
        Self { plan, model_group: resolution.model_group }
    }
}

impl Gateway {
    /// Makes the next candidate whose budgets can pay the one whose turn it is, and sets aside what it needs. What an
    /// earlier candidate had is given back only then, so that nobody else takes it in between.
    ///
    /// # Errors
    /// When there is none: the refusal of the first whose budgets refused.
    pub(super) async fn reserve(&self, admitted: &mut Admitted) -> Result<(), GatewayError> {
        loop {
            for (candidate, why) in admitted.choice.news() {
                admitted.bill.note_skipped(&candidate, why);
            }
            let turn = admitted.choice.turn();
            let Some(priced) = admitted.choice.present() else { break };
            if admitted.bill.endpoint.is_counting() || admitted.reserved.is_some_and(|r| r.turn == turn) {
                return Ok(());
            }
            match self.reserve_for(&admitted.bill, &admitted.principal, &admitted.inspected, priced).await {
                Ok(reserved) => {
                    admitted.reserved = Some(Reserved { turn, ..reserved });
                    return Ok(());
                }
                Err(skipped) => {
                    admitted.bill.note_skipped(&priced.candidate, skipped.reason());
                    if let Skipped::Refused(error) = skipped {
                        admitted.refusal.get_or_insert(error);
                    }
                    admitted.next_provider(&self.app);
                }
            }
        }
        Err(admitted.refusal.take().unwrap_or_else(|| admitted.choice.nobody(self.app.budgets.now())))
    }

    /// Sets aside what the attempt at this candidate needs; what the bill has set aside by then is moved there.
    ///
    /// # Errors
    /// As its budgets refuse: everything stays as it was.
    pub(super) async fn reserve_for(
        &self,
        bill: &Bill,
        principal: &Principal,
        inspected: &Inspected,
        priced: &Priced,
    ) -> Result<Reserved, Skipped> {
        let app = &self.app;
        let live = app.live.load_full();
        let groups = app.groups(&live, principal.limits_stamp()).await.map_err(|_| Skipped::Refused(unavailable()))?;
        let Priced { candidate, .. } = priced;
        let Need { amount, estimate, most_output } = self.need(&live, principal, inspected, priced)?;
        let payers = Payers::of(&groups, &principal.user.owner, &principal.key.owner, candidate);
        let now = app.budgets.now();
        let had = bill.reservation.lock().take();
        let outcome = match had {
            None => match app.budgets.try_reserve(&payers.plan, amount, now) {
                Some(decided) => decided,
                None => self.timed(app.budgets.reserve(&payers.plan, amount, now)).await,
            },
            Some(mut had) => match self.timed(had.move_to(&payers.plan, amount, now)).await {
                Ok(()) => Ok(had),
                Err(refused) => {
                    *bill.reservation.lock() = Some(had);
                    Err(refused)
                }
            },
        };
        match outcome {
            Ok(reservation) => {
                *bill.reservation.lock() = Some(reservation);
                let model_group_id = payers.model_group.map(|group| group.id);
                let is_most = live.config.budgets.reservation == ReservationMode::WorstCase;
                Ok(Reserved { turn: 0, model_group_id, most_output, estimate, is_most })
            }
            Err(refused) => {
                let skipped = Skipped::of(&refused, &groups, principal, now);
                if let Skipped::ProviderSpent = skipped {
                    tracing::debug!(provider = %candidate.provider.name, "the provider's budget is used up");
                }
                Err(skipped)
            }
        }
    }

    /// What a request needs when this candidate serves it.
    pub(super) fn need(
        &self,
        live: &Live,
        principal: &Principal,
        inspected: &Inspected,
        priced: &Priced,
    ) -> Result<Need, Skipped> {
        let Priced { candidate, price: Some(price) } = priced else {
            return Ok(Need { amount: Usd::ZERO, estimate: Usd::ZERO, most_output: u64::MAX });
        };
        let budgets = &live.config.budgets;
        let terms = Terms {
            price,
            multiplier_ppm: candidate.provider.settings.cost_multiplier.ppm(),
            default_max_output_tokens: budgets.default_max_output_tokens,
        };
        let asker = Asker { model: &candidate.served_model, key: principal.key.id };
        let amount = estimate::estimate(budgets.reservation, inspected, &terms, &self.app.learnt, asker)
            .map_err(|why| Skipped::Refused(why.to_gateway_error()))?;
        let estimate = match budgets.reservation {
            ReservationMode::None => estimate::expected(inspected, &terms, &self.app.learnt, asker),
            ReservationMode::Expected | ReservationMode::WorstCase => amount,
        };
        Ok(Need { amount, estimate, most_output: estimate::most_output(inspected, &terms) })
    }
}

impl Gateway {
    /// Whoever waits for a lease is counted.
    async fn timed<T>(&self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.app.metrics.lease_wait.observe(began.elapsed().as_secs_f64());
        done
    }
}

/// Why a candidate gets no request.
pub(super) enum Skipped {
    /// A budget of the user or key cannot pay, or that cannot be found out: the client is told, if nobody else can
    /// serve it.
    Refused(GatewayError),
    /// The provider's own budget is used up, which is not the client's affair.
    ProviderSpent,
}

impl Skipped {
    /// What the refusal of this candidate's budgets means for the client.
    pub(super) fn of(refused: &ReserveError, groups: &Snapshot, principal: &Principal, now: i64) -> Self {
        match refused {
            ReserveError::Unavailable => Self::Refused(unavailable()),
            ReserveError::Denied(denied) if denied.first.budget.axis == Axis::Provider => Self::ProviderSpent,
            ReserveError::Denied(denied) => Self::Refused(exceeded(denied, groups, principal, now)),
        }
    }

    /// The reason in the attempts of a request.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(error) => error.code.as_str(),
            Self::ProviderSpent => "provider_budget_exceeded",
        }
    }
}

impl Bill {
    /// Keeps in mind that a candidate was not asked.
    fn note_skipped(&self, candidate: &Candidate, reason: &str) {
        self.story().lock().push(AttemptReport {
            provider: Arc::clone(&candidate.provider.name),
            served_model: candidate.served_model.to_string(),
            started_ms: self.elapsed_ms(),
            duration_ms: 0,
            status: None,
            reason: reason.to_owned(),
            affinity: self.was_at(&candidate.provider.name),
        });
    }
}

fn unavailable() -> GatewayError {
    GatewayError::new(
        ErrorCode::BudgetUnavailable,
        "what is left of a budget of this API key cannot be found out at the moment; try again",
    )
    .with_retry_after(1)
}

/// The refusal of the budget that is reported when several cannot pay.
fn exceeded(denied: &Denied, groups: &Snapshot, principal: &Principal, now: i64) -> GatewayError {
    let Denial { budget, window, used, cap, reserved, requested, boost, resets_at, source } = denied.first;
    let scope = groups.scope_name(budget.scope);
    let axis = budget.axis.as_str();
    let of_group =
        if budget.scope == Scope::Mainline { String::new() } else { format!(" for the models of {scope:?}") };
    let held =
        if reserved > Usd::ZERO { format!(", {reserved} USD set aside by requests in flight") } else { String::new() };
    let resets = resets_at.map(rfc3339);
    let then = resets.as_ref().map_or_else(String::new, |at| format!("; it resets at {at}"));
    let message = format!(
        "the {window} budget of this {axis}{of_group} cannot pay for this request: {used} USD of {cap} USD used{held}{then}"
    );
    let details = json!({
        "axis": axis,
        "scope": scope,
        "window": window.as_str(),
        "limitUsd": cap.to_f64_for_display(),
        "usedUsd": used.to_f64_for_display(),
        "reservedUsd": reserved.to_f64_for_display(),
        "requestedUsd": requested.to_f64_for_display(),
        "boostUsd": boost.to_f64_for_display(),
        "resetsAt": resets,
        "source": source_of(source, groups, principal),
    });
    let mut error =
        GatewayError::new(ErrorCode::BudgetExceeded, message).with_details(details).with_limit(LimitHeaders {
            limit: cap.to_string(),
            remaining: (cap - used - reserved).max(Usd::ZERO).to_string(),
            reset: resets_at.map(seconds_up),
        });
    error = error.with_amounts(Amounts { limit: cap, used, reserved, requested });
    error.retry_after = resets_at.map(|at| u64::try_from(seconds_up(at - now)).unwrap_or(0).max(1));
    error
}

/// Whose row set a cap.
fn source_of(source: Source, groups: &Snapshot, principal: &Principal) -> Value {
    let name = match source {
        Source::User(_) => Some(principal.user.name.as_str()),
        Source::Key(_) => Some(principal.key.name.as_str()),
        Source::UserGroup(_) | Source::Provider(_) => groups.source_name(source),
    };
    json!({"type": source.kind(), "id": source.id(), "name": name})
}

/// Seconds, rounded up: not a moment too early.
const fn seconds_up(ms: i64) -> i64 {
    ms.div_euclid(1_000) + (ms.rem_euclid(1_000) > 0) as i64
}

fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string())
}
