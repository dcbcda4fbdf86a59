//! What one attempt uses and costs, and how it went.

mod observe;
mod race;
mod settle;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use pingora_limits::inflight::Guard;

use self::race::LOST_RACE;
use super::app::{App, InFlight};
use super::bill::{Bill, NOT_RESERVED};
use super::context::Priced;
use super::fault::Fault;
use super::payers::Reserved;
use super::stage::Stage;
use crate::budget::Reservation;
use crate::clock::now_ms;
use crate::config::Loser;
use crate::dialect::{Meter, Verdict as Seen};
use crate::ledger::journal::{JournalError, OpenRequest};
use crate::ledger::{AttemptReport, Outcome};
use crate::money::Usd;
use crate::provider::failure::{Failure, Next, Said, Verdict};
use crate::provider::{InFlightAt, Pass};

/// Recorded for a client that left before there was a status (nginx's convention).
const CLIENT_LEFT: u16 = 499;

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
    /// The client gets another one's answer; who pays for this one.
    lost: OnceLock<Loser>,
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
            lost: OnceLock::new(),
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

    /// What was set aside for it.
    pub(super) const fn reserved(&self) -> Option<Reserved> {
        self.reserved
    }

    /// With what has been found out meanwhile.
    fn rewrite_opening(&self) -> Result<(), JournalError> {
        self.write_opening(Usd::from_nanos(self.written_ahead.load(Ordering::Relaxed)))
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
            has_lost: self.has_lost(),
        })
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
            Some(Seen::Error(status)) => Some(status),
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
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.app.open_tabs.remove((self.bill.request_id, self.number));
    }
}
