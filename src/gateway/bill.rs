//! Who pays what: the bill of a request, and the tab of each of its attempts.
//!
//! A bill is settled once, by whoever learns first how the request ended: the stage that passes on the last byte, the
//! engine's drain after the client has left, the stage that closes the request, or the stop of the process. Settling is
//! synchronous and in memory, so that it can happen before the last byte is passed on.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use pingora_limits::inflight::Guard;
use uuid::Uuid;

use super::app::{App, InFlight};
use super::context::Priced;
use super::fault::Fault;
use super::payers::Reserved;
use super::stage::Stage;
use super::thread::Thread;
use crate::budget::estimate::Asker;
use crate::budget::{Reservation, Settled};
use crate::clock::now_ms;
use crate::config::Loser;
use crate::dialect::{Charge, Dialect, Endpoint, Meter, ServiceTier, Usage};
use crate::ledger::journal::{JournalError, OpenRequest};
use crate::ledger::{AttemptReport, LedgerRecord, LedgerSlot, Outcome};
use crate::limit::CountSubject;
use crate::money::Usd;
use crate::pricing::cost;
use crate::provider::failure::{Failure, Next, Said, Verdict};
use crate::provider::{InFlightAt, Pass};
use crate::upstream::{Beginning, Ending, Observer};

/// Recorded for a client that left before there was a status (nginx's convention).
const CLIENT_LEFT: u16 = 499;

/// What the list of a request's attempts says of one whose answer the client did not wait for, because another one's came.
const LOST_RACE: &str = "lost_race";

/// What the record of an attempt says that was ended while its budgets were being asked: it has cost nothing.
const NOT_RESERVED: Settled =
    Settled { key_era: 0, user_era: 0, counted_in_key_global: true, counted_in_user_global: true };

/// Answers of a key whose concurrent requests are limited that are read on at once after their client has left, if its
/// limit is not higher. Who leaves more often has the rest cut off and estimated, or leaving would be a way around the
/// limit.
const DRAINS_OF_LIMITED_KEY: u32 = 8;

/// What of a request is recorded whatever provider serves it.
pub struct Bill {
    pub(super) request_id: Uuid,
    pub(super) arrived: Instant,
    pub(super) created_at: i64,
    pub(super) user_id: i64,
    pub(super) key_id: i64,
    pub(super) endpoint: Endpoint,
    pub(super) dialect: Dialect,
    pub(super) requested_model: String,
    pub(super) stream: bool,
    pub(super) request_bytes: u64,
    /// Which conversation it belongs to, when that is followed.
    pub(super) thread: Option<Thread>,
    /// The tier that the client asked for. When the provider does not name the one it gave, only a dearer one counts:
    /// a discount needs the provider's word.
    pub(super) asked_tier: Option<ServiceTier>,
    /// How many answers of its key may be read on at once.
    pub(super) most_drains: isize,
    /// Room for the record, taken by whoever settles. Free requests have none.
    pub(super) slot: Mutex<Option<LedgerSlot>>,
    /// What is set aside in budgets; taken while it is moved to those of another attempt.
    pub(super) reservation: Mutex<Option<Reservation>>,
    /// Attempts that have ended, in order; of a rival's bill, none.
    pub(super) attempts: Mutex<Vec<AttemptReport>>,
    /// It is a rival's.
    pub(super) beside: Option<Beside>,
}

/// What the bill of a rival knows of the request that it is made for: what it uses is set aside and recorded beside what
/// the first attempt uses, and one of the two becomes the request's.
pub(super) struct Beside {
    /// The request's bill before the race.
    main: Arc<Bill>,
    /// Who pays if it loses.
    loser: Loser,
    /// It is the request's bill now.
    chosen: AtomicBool,
}

/// How many answers of a key may be read on at once, by the limits on its concurrent requests.
pub(super) fn most_drains(subject: &CountSubject) -> isize {
    let limit = subject.key.max_concurrent.into_iter().chain(subject.user.max_concurrent).min();
    limit.map_or(isize::MAX, |limit| isize::try_from(limit.max(DRAINS_OF_LIMITED_KEY)).unwrap_or(isize::MAX))
}

impl Bill {
    /// Nothing will be charged: what is set aside is given back, and the place in the ledger.
    pub(super) fn cancel(&self) {
        drop(self.slot.lock().take());
        drop(self.reservation.lock().take());
    }

    /// Charges the budgets; what the record has to say about them. `lsn` is the record's place in the journal.
    fn charge_budgets(&self, lsn: u64, settled_at: i64, cost: Usd) -> Settled {
        let reservation = self.reservation.lock().take();
        reservation.map_or(NOT_RESERVED, |reservation| reservation.settle(lsn, settled_at, cost))
    }

    /// The bill of a rival in the same request, with a place in the ledger of its own.
    pub(super) fn beside(self: &Arc<Self>, slot: Option<LedgerSlot>, loser: Loser) -> Self {
        let main = self.beside.as_ref().map_or(self, |beside| &beside.main);
        Self {
            request_id: self.request_id,
            arrived: self.arrived,
            created_at: self.created_at,
            user_id: self.user_id,
            key_id: self.key_id,
            endpoint: self.endpoint,
            dialect: self.dialect,
            requested_model: self.requested_model.clone(),
            stream: self.stream,
            request_bytes: self.request_bytes,
            thread: self.thread.clone(),
            asked_tier: self.asked_tier,
            most_drains: self.most_drains,
            slot: Mutex::new(slot),
            reservation: Mutex::new(None),
            attempts: Mutex::default(),
            beside: Some(Beside { main: Arc::clone(main), loser, chosen: AtomicBool::new(false) }),
        }
    }

    /// The attempts of the request, which all its bills share.
    pub(super) fn story(&self) -> &Mutex<Vec<AttemptReport>> {
        self.beside.as_ref().map_or(&self.attempts, |beside| &beside.main.attempts)
    }

    /// Of a rival of which nobody knows yet whether its answer will be the request's: who pays if it will not.
    fn undecided(&self) -> Option<Loser> {
        self.beside.as_ref().filter(|beside| !beside.chosen.load(Ordering::Acquire)).map(|beside| beside.loser)
    }

    /// Whether the conversation was at this provider before.
    pub(super) fn was_at(&self, provider: &str) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.before.as_deref() == Some(provider))
    }

    /// Milliseconds since the request arrived.
    pub(super) fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.arrived.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// A request's place at a provider.
pub(super) struct Place {
    /// Among those in flight.
    pub(super) in_flight: InFlightAt,
    /// Through its circuits.
    pub(super) pass: Pass,
}

/// What one attempt uses and costs.
pub struct Tab {
    app: Arc<App>,
    pub(super) bill: Arc<Bill>,
    pub(super) priced: Priced,
    /// None for what is free by nature.
    reserved: Option<Reserved>,
    /// 1 for the first.
    number: u16,
    started_ms: i64,
    meter: Mutex<Option<Meter>>,
    status: OnceLock<u16>,
    first_byte_ms: OnceLock<i64>,
    received: AtomicU64,
    /// The nano-dollars that the journal knows of.
    written_ahead: AtomicI64,
    draining: AtomicBool,
    /// Nobody will learn how the answer ends.
    gave_up: AtomicBool,
    /// The client gets nothing of the answer, and pays nothing for it.
    forgiven: AtomicBool,
    /// The client gets another one's answer.
    has_lost: AtomicBool,
    /// It is in the request's list.
    listed: AtomicBool,
    stage: Stage,
    drain_place: Mutex<Option<Guard>>,
    /// Taken by whoever learns first what the attempt says about the provider.
    pass: Mutex<Option<Pass>>,
    /// Held as long as the provider works for us, without the client too.
    _at_provider: InFlightAt,
    _in_flight: Arc<InFlight>,
}

impl Tab {
    /// None when the process is about to end: nobody would wait for the attempt.
    pub(super) fn open(
        app: &Arc<App>,
        bill: &Arc<Bill>,
        priced: Priced,
        reserved: Option<Reserved>,
        number: u16,
        at_provider: Place,
        in_flight: Arc<InFlight>,
    ) -> Option<Arc<Self>> {
        let tab = Arc::new(Self {
            app: Arc::clone(app),
            bill: Arc::clone(bill),
            priced,
            reserved,
            number,
            started_ms: bill.elapsed_ms(),
            meter: Mutex::new(None),
            status: OnceLock::new(),
            first_byte_ms: OnceLock::new(),
            received: AtomicU64::new(0),
            written_ahead: AtomicI64::new(0),
            draining: AtomicBool::new(false),
            gave_up: AtomicBool::new(false),
            forgiven: AtomicBool::new(false),
            has_lost: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            stage: Stage::default(),
            drain_place: Mutex::new(None),
            pass: Mutex::new(Some(at_provider.pass)),
            _at_provider: at_provider.in_flight,
            _in_flight: in_flight,
        });
        app.open_tabs.add((bill.request_id, number), Arc::downgrade(&tab)).then_some(tab)
    }

    /// Writes into the journal what is owed if nothing is ever heard of the attempt again: before anything goes out.
    pub(super) fn write_ahead(&self) -> Result<(), JournalError> {
        self.write_opening(if self.is_free_yet() { Usd::ZERO } else { self.estimate() })
    }

    fn estimate(&self) -> Usd {
        self.reserved.map_or(Usd::ZERO, |reserved| reserved.estimate)
    }

    /// A rival for which nobody pays unless its answer becomes the request's.
    fn is_free_yet(&self) -> bool {
        self.bill.undecided() == Some(Loser::Absorb)
    }

    /// The rival takes the place of the first attempt: what it costs is what the request costs.
    pub(super) fn chosen(&self) {
        let was_free = self.is_free_yet();
        if let Some(beside) = &self.bill.beside {
            beside.chosen.store(true, Ordering::Release);
        }
        if was_free && let Err(error) = self.write_opening(self.estimate()) {
            tracing::debug!(%error, "the journal does not know that a rival has won");
        }
    }

    /// What was set aside for it.
    pub(super) const fn reserved(&self) -> Option<Reserved> {
        self.reserved
    }

    fn write_opening(&self, estimate: Usd) -> Result<(), JournalError> {
        self.written_ahead.store(estimate.nanos(), Ordering::Relaxed);
        let bill = &self.bill;
        let mut slot = bill.slot.lock();
        let Some(slot) = slot.as_mut() else { return Ok(()) };
        let standing = bill.reservation.lock().as_ref().map_or(NOT_RESERVED, Reservation::standing);
        slot.open(&OpenRequest {
            request_id: bill.request_id,
            attempt: self.number,
            created_at: bill.created_at,
            user_id: bill.user_id,
            key_id: bill.key_id,
            provider: Cow::Borrowed(&self.priced.candidate.provider.name),
            dialect: bill.dialect,
            requested_model: Cow::Borrowed(&bill.requested_model),
            served_model: Cow::Borrowed(&self.priced.candidate.served_model),
            model_group_id: self.reserved.and_then(|reserved| reserved.model_group_id),
            estimate,
            counted_in_user_global: standing.counted_in_user_global,
            counted_in_key_global: standing.counted_in_key_global,
            user_era: standing.user_era,
            key_era: standing.key_era,
            stream: bill.stream,
            request_bytes: bill.request_bytes,
        })
    }

    /// The process ends before the attempt does: it is settled with what was seen, the prompt at least if it has gone
    /// out. Returns whether there was something to settle; an attempt that has failed leaves the bill to another one.
    pub(super) fn interrupt(&self) -> bool {
        let Some(sent) = self.stage.interrupt() else { return false };
        self.gave_up.fetch_or(sent, Ordering::AcqRel);
        self.list("interrupted");
        match self.bill.undecided() {
            Some(Loser::Absorb) => self.bill.cancel(),
            Some(Loser::Charge) => self.commit(Outcome::LostRace, None),
            None if self.has_lost() => self.commit(Outcome::LostRace, None),
            None => self.commit(Outcome::Interrupted, None),
        }
        true
    }

    /// Whether the process ended before the attempt did: what comes of it now is paid by nobody, and goes to nobody.
    pub(super) fn is_interrupted(&self) -> bool {
        self.stage.is_interrupted()
    }

    /// Whether the engine reads on without the client, and will settle.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether the dialect's own closing event has come: what follows may not leave before the bill is settled.
    pub(super) fn is_complete(&self) -> bool {
        self.meter.lock().as_ref().is_some_and(Meter::is_complete)
    }

    /// Whether it is the first attempt of its request.
    pub(super) const fn is_first(&self) -> bool {
        self.number == 1
    }

    /// The provider's status, once its head has come.
    pub(super) fn status(&self) -> Option<u16> {
        self.status.get().copied()
    }

    /// Whether what has come of the answer is an error, whoever is to blame for it.
    pub(super) fn has_failed(&self) -> bool {
        self.meter.lock().as_ref().is_some_and(Meter::has_failed)
    }

    /// What is wrong with an answer whose status is good, as far as it has come.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.meter.lock().as_ref().and_then(Meter::verdict).and_then(Fault::of_verdict)
    }

    /// What that fault is, where this is what has come of the answer.
    pub(super) fn failure_of(&self, fault: Fault, body: &[u8]) -> Failure {
        if fault.is_mute { Failure::NoAnswer(fault.reason) } else { self.failure_inside(body) }
    }

    /// What an error is that has come in these bytes: by what it says, else by the kind of error that the meter saw.
    pub(super) fn failure_inside(&self, bytes: &[u8]) -> Failure {
        let said = Said::within(bytes, &self.priced.candidate.served_model);
        let status = match self.meter.lock().as_ref().and_then(Meter::verdict) {
            Some(crate::dialect::Verdict::Error(status)) => Some(status),
            _ => None,
        };
        Failure::Inside(status.map_or(said, |status| said.or_status(status)))
    }

    /// The attempt is passed over, or left: whatever it has used is not the client's to pay.
    /// What the process had to end has been settled by the stop, and stays so.
    pub(super) fn forgive(&self) {
        self.forgiven.fetch_or(!self.is_interrupted(), Ordering::AcqRel);
    }

    /// How it went when the provider ended its answer, which may be an error or hold one.
    pub(super) fn outcome(&self) -> Outcome {
        if self.has_failed() { Outcome::UpstreamFailed } else { Outcome::Completed }
    }

    /// The attempt has failed like this: it is added to the request's list, and counts against whom it may concern.
    pub(super) fn failed(&self, failure: Failure) -> Next {
        let next = self.blame(failure);
        self.report(failure.reason());
        next
    }

    /// Counts a failure against whom it may concern.
    pub(super) fn blame(&self, failure: Failure) -> Next {
        let Verdict { blame, next } = failure.verdict();
        let pass = self.pass.lock().take();
        // What the stop of this process breaks off is nobody's fault.
        if let (Some(pass), Some(blame), false) = (pass, blame, self.is_interrupted()) {
            pass.bad(blame, failure.reason(), self.app.budgets.now());
        }
        next
    }

    /// Adds the attempt to the request's list, unless it is there.
    pub(super) fn report(&self, reason: &str) {
        if self.stage.report() {
            self.list(reason);
        }
    }

    /// Whether the client gets another one's answer.
    fn has_lost(&self) -> bool {
        self.has_lost.load(Ordering::Acquire)
    }

    fn list(&self, reason: &str) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let provider = &self.priced.candidate.provider.name;
        self.app.metrics.attempts.with_label_values(&[provider, reason]).inc();
        if !matches!(reason, "ok" | "client_aborted" | "interrupted" | LOST_RACE) {
            let error = crate::provider::RecentError { at: now_ms(), reason: reason.to_owned(), status: self.status() };
            self.app.provider_events.failed(provider, error);
        }
        self.bill.story().lock().push(AttemptReport {
            provider: Arc::clone(provider),
            served_model: self.priced.candidate.served_model.to_string(),
            started_ms: self.started_ms,
            duration_ms: self.bill.elapsed_ms() - self.started_ms,
            status: self.status(),
            reason: reason.to_owned(),
            affinity: self.bill.was_at(provider),
        });
    }

    /// Settles the bill with this attempt, unless it is settled: the cost is fixed, the record handed over.
    /// `status` is what the client got, where it differs from the provider's.
    pub(super) fn settle(&self, outcome: Outcome, status: Option<u16>) {
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

    fn commit(&self, outcome: Outcome, status: Option<u16>) {
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
    fn raise(&self, meter: &Meter) {
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

    /// What the answer says about the provider while it comes.
    fn watch(&self, piece: &[u8]) {
        let (is_error, has_content) = match self.meter.lock().as_ref() {
            // What an error says is known when its document has ended.
            Some(meter) => (meter.saw_error() && meter.verdict().is_some(), meter.content_bytes() > 0),
            None => return,
        };
        {
            let mut pass = self.pass.lock();
            let Some(pass) = pass.as_mut().filter(|_| self.status().is_some_and(|status| status < 400)) else { return };
            if !is_error && pass.is_trial() && has_content {
                pass.answered(self.app.budgets.now());
            }
        }
        if is_error {
            self.blame(self.failure_inside(piece));
        }
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

impl Drop for Tab {
    fn drop(&mut self) {
        self.app.open_tabs.remove((self.bill.request_id, self.number));
    }
}

impl Observer for Tab {
    fn sending(&self) -> bool {
        self.stage.send()
    }

    fn head(&self, head: &ResponseHeader) {
        let _ = self.first_byte_ms.set(self.bill.elapsed_ms());
        let _ = self.status.set(head.status.as_u16());
        if !head.status.is_client_error() && !head.status.is_server_error() {
            let waited = self.bill.elapsed_ms() - self.started_ms;
            self.priced.candidate.provider.load.waited(waited, self.app.budgets.now());
        }
        let content_type = head.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let meter = Meter::new(self.bill.endpoint, content_type, head.status.as_u16());
        // We have asked for it plain.
        let encodings = head.headers.get_all(http::header::CONTENT_ENCODING);
        let is_packed = encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        *self.meter.lock() = Some(if is_packed { meter.packed() } else { meter });
    }

    fn body(&self, piece: &[u8]) {
        self.received.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if let Some(meter) = self.meter.lock().as_mut() {
            meter.feed(piece);
            // What is whole is settled next.
            if !meter.is_complete() {
                self.raise(meter);
            }
        }
        self.watch(piece);
    }

    fn ended(&self) {
        if let Some(meter) = self.meter.lock().as_mut() {
            meter.finish();
        }
    }

    fn beginning(&self) -> Beginning {
        let meter = self.meter.lock();
        let Some(meter) = meter.as_ref() else { return Beginning::Unclear };
        match meter.verdict() {
            None => Beginning::Unclear,
            Some(verdict) if Fault::of_verdict(verdict).is_some() => Beginning::Bad,
            Some(_) if meter.is_document_under_way() => Beginning::Unclear,
            Some(_) => Beginning::Good,
        }
    }

    fn lost(&self) -> bool {
        // It says nothing about the provider, but that one has to wait for it.
        drop(self.pass.lock().take());
        if self.first_byte_ms.get().is_none() {
            let waited = self.bill.elapsed_ms() - self.started_ms;
            self.priced.candidate.provider.load.has_waited(waited, self.app.budgets.now());
        }
        let Some(was_sent) = self.stage.under_way() else { return false };
        self.has_lost.store(true, Ordering::Release);
        self.list(LOST_RACE);
        let loser = self.bill.beside.as_ref().map(|beside| beside.loser);
        let loser = loser.unwrap_or_else(|| self.app.live.load().config.routing.racing.loser);
        if loser == Loser::Charge && was_sent {
            return true;
        }
        // Unless the stop of the process comes before this, and has settled it.
        if self.stage.report() {
            self.bill.cancel();
        }
        false
    }

    fn draining(&self) -> bool {
        self.draining.store(true, Ordering::Release);
        let (place, load) = self.app.drain_load.incr(self.bill.key_id, 1);
        *self.drain_place.lock() = Some(place);
        load <= self.bill.most_drains
    }

    fn drained(&self, ending: Ending) {
        tracing::debug!(request = %self.bill.request_id, ?ending, "the answer was read on after the client had left");
        self.gave_up.fetch_or(ending == Ending::GaveUp, Ordering::AcqRel);
        self.settle(if self.has_lost() { Outcome::LostRace } else { Outcome::ClientAborted }, None);
    }
}
