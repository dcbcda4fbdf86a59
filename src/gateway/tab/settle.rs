//! How an attempt is settled: what it has used, what that costs, and who is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::payers::Reserved;
use super::race::LOST_RACE;
use super::{CLIENT_LEFT, Tab};
use crate::budget::estimate::Asker;
use crate::dialect::{Charge, Meter, ServiceTier, Usage};
use crate::ledger::{LedgerRecord, Outcome};
use crate::money::Usd;
use crate::pricing::cost;
use crate::provider::failure::Failure;

impl Tab {
    /// Settles the bill with this attempt, unless it is settled: the cost is fixed, the record handed over.
    /// `status` is what the client got, where it differs from the provider's.
    pub(in super::super) fn settle(&self, outcome: Outcome, status: Option<u16>) {
        self.report(match outcome {
            Outcome::Completed => "ok",
            Outcome::ClientAborted => "client_aborted",
            Outcome::UpstreamFailed if self.status().is_some_and(|s| s >= 400) => "upstream_status",
            Outcome::UpstreamFailed => match self.fault() {
                Some(fault) => fault.reason,
                // After its first word.
                None if self.meter.lock().as_ref().is_some_and(Meter::saw_error) => "error_in_answer",
                None => "broken",
            },
            Outcome::Interrupted => "interrupted",
            Outcome::Corrected => "corrected",
            Outcome::LostRace => LOST_RACE,
        });
        self.stay(outcome);
        match outcome {
            Outcome::Completed => {
                if let Some(pass) = self.pass.lock().take() {
                    pass.good(self.app.budgets.now());
                }
            }
            Outcome::UpstreamFailed if self.status().is_none_or(|status| status < 400) => {
                self.blame(self.fault().map_or(Failure::Broken, |fault| self.failure_of(fault, b"")));
            }
            // What a status says was said when it came.
            _ => drop(self.pass.lock().take()),
        }
        // The bill of an interrupted attempt belongs to the stop, which may be just about to settle it.
        if !self.is_interrupted() {
            self.commit(outcome, status);
        }
    }

    /// The conversation goes on here: the provider has read it, also where the client has not waited for all of the
    /// answer.
    fn stay(&self, outcome: Outcome) {
        let has_answered = || {
            let answers = self.meter.lock().as_ref().is_some_and(|meter| meter.content_bytes() > 0);
            answers && self.status().is_some_and(|status| status < 400)
        };
        if outcome == Outcome::Completed || (outcome == Outcome::ClientAborted && has_answered()) {
            self.app.stays(self.bill.thread.as_ref(), &self.priced.candidate.provider.name);
        }
    }

    pub(super) fn commit(&self, outcome: Outcome, status: Option<u16>) {
        let Some(mut slot) = self.bill.slot.lock().take() else { return };
        let charge = self.charge();
        let Charge { usage, estimated } = charge.unwrap_or_default();
        let applied = charge.and(self.priced.price.as_ref()).map(|price| price.applied(&usage));
        let multiplier = self.priced.candidate.provider.settings.cost_multiplier.ppm();
        let cost = applied.map_or(Usd::ZERO, |applied| applied.cost(&usage, multiplier));
        self.count(&usage, cost);
        self.compare(cost);
        let bill = &self.bill;
        let candidate = &self.priced.candidate;
        if outcome == Outcome::Completed && charge.is_some() && !estimated {
            let asker = Asker { model: &candidate.served_model, key: bill.key_id };
            self.app.learnt.record(asker, bill.request_bytes, &usage);
        }
        // In this order: budgets take a charge for written when everything up to its number is.
        let settled_at = self.app.budgets.now();
        let lsn = slot.number();
        let settled = bill.charge_budgets(lsn, settled_at, cost);
        slot.commit(LedgerRecord {
            request_id: bill.request_id,
            attempt: self.number,
            created_at: bill.created_at,
            settled_at,
            user_id: bill.user_id,
            key_id: bill.key_id,
            provider: Arc::clone(&candidate.provider.name),
            dialect: bill.dialect,
            requested_model: bill.requested_model.clone(),
            served_model: candidate.served_model.to_string(),
            model_group_id: self.reserved.and_then(|reserved| reserved.model_group_id),
            outcome,
            estimated,
            status: status.or(self.status()).unwrap_or(match outcome {
                Outcome::ClientAborted | Outcome::LostRace => CLIENT_LEFT,
                _ => 503,
            }),
            duration_ms: bill.elapsed_ms(),
            first_byte_ms: self.first_byte_ms.get().copied(),
            usage,
            cost,
            price: applied.map(|applied| self.app.applied_json.of(&applied)),
            counted_in_user_global: settled.counted_in_user_global,
            counted_in_key_global: settled.counted_in_key_global,
            user_era: settled.user_era,
            key_era: settled.key_era,
            stream: bill.stream,
            request_bytes: bill.request_bytes,
            response_bytes: self.received.load(Ordering::Relaxed),
            // They are in the record of the attempt that the client has heard of.
            attempts: match outcome {
                Outcome::LostRace => Vec::new(),
                _ => std::mem::take(&mut *bill.story().lock()),
            },
        });
    }

    /// What is charged: the provider's own numbers when it has said them, else what can be told from what was seen,
    /// else nothing.
    fn charge(&self) -> Option<Charge> {
        if self.forgiven.load(Ordering::Acquire) {
            return None;
        }
        let meter = self.meter.lock();
        let Some(meter) = meter.as_ref().filter(|meter| meter.response_bytes() > 0) else {
            // The provider still works on a request that nobody waits for: it will bill the prompt at least, unless
            // it has refused.
            let refused = meter.as_ref().is_some_and(Meter::saw_error);
            let unseen = || Meter::new(self.bill.endpoint, None, 200).charge(self.bill.request_bytes);
            return (self.gave_up.load(Ordering::Acquire) && !refused).then(unseen);
        };
        let mut charge = meter.charge(self.bill.request_bytes);
        if charge.estimated {
            // Text of long words looks like more tokens than were allowed.
            charge.usage.output = charge.usage.output.min(self.most_output());
        }
        if meter.has_failed() && charge == Charge::default() {
            // Not even the price per request.
            return None;
        }
        if let Some(asked) =
            self.bill.asked_tier.filter(|tier| *tier == ServiceTier::Priority && meter.service_tier().is_none())
        {
            charge.usage.service_tier = asked;
        }
        Some(charge)
    }

    fn most_output(&self) -> u64 {
        self.reserved.map_or(u64::MAX, |reserved| reserved.most_output)
    }

    /// What the answer has cost by now is set aside, should it be more than was expected; and the journal is told, should
    /// it be a good deal more, also where no budget asks.
    pub(super) fn raise(&self, meter: &Meter) {
        let Some(price) = &self.priced.price else { return };
        let multiplier = self.priced.candidate.provider.settings.cost_multiplier.ppm();
        let mut usage = meter.running(self.bill.request_bytes);
        usage.output = usage.output.min(self.most_output());
        let cost = cost(price, &usage, multiplier);
        if let Some(reservation) = self.bill.reservation.lock().as_ref() {
            reservation.raise_to(cost);
        }
        let known = self.written_ahead.load(Ordering::Relaxed);
        if !self.is_free_yet()
            && cost.nanos() > known.saturating_add(known / 4)
            && let Err(error) = self.write_opening(cost)
        {
            tracing::debug!(%error, "the journal knows less of an answer than it has cost");
        }
    }

    /// What was taken for the most that the request can cost has to be that, or caps can be passed.
    fn compare(&self, cost: Usd) {
        let Some(Reserved { estimate, .. }) = self.reserved.filter(|it| it.is_most && it.estimate < cost) else {
            return;
        };
        self.app.metrics.estimates_exceeded.inc();
        tracing::warn!(
            request = %self.bill.request_id,
            provider = %self.priced.candidate.provider.name,
            model = %self.priced.candidate.served_model,
            %estimate,
            %cost,
            "a request cost more than worst_case took for the most that it can"
        );
    }

    fn count(&self, usage: &Usage, cost: Usd) {
        let metrics = &self.app.metrics;
        let candidate = &self.priced.candidate;
        // Only priced models become labels: a client cannot make up names of these.
        if self.priced.price.is_some() && cost > Usd::ZERO {
            let labels = [&*candidate.provider.name, &*candidate.served_model];
            metrics.cost_usd.with_label_values(&labels).inc_by(cost.to_f64_for_display());
        }
        for (kind, tokens) in usage.kinds() {
            if tokens > 0 {
                metrics.tokens.with_label_values(&[kind]).inc_by(tokens);
            }
        }
    }
}
