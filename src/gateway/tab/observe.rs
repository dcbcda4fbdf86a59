//! What an attempt sees of its answer, as the engine passes it on.

use std::sync::atomic::Ordering;

use pingora::http::ResponseHeader;

use super::super::fault::Fault;
use super::Tab;
use crate::dialect::Meter;
use crate::ledger::Outcome;
use crate::upstream::{Beginning, Ending, Observer};

impl Tab {
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
        self.lose()
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
