//! How far an attempt has come: sent, and ended in one of two ways, in one order for all who look.

use std::sync::atomic::{AtomicU8, Ordering};

/// Nothing has gone to the provider yet.
const CONNECTING: u8 = 0;
/// The provider may have begun to work.
const SENT: u8 = 1;
/// How it ended is known and on the request's list.
const REPORTED: u8 = 2;
/// The process ended before it did.
const INTERRUPTED: u8 = 3;

/// See the module.
#[derive(Default)]
pub(super) struct Stage(AtomicU8);

impl Stage {
    /// The request is about to go out. Returns whether it still may. Asked a second time when it goes out again, over a
    /// fresh connection.
    pub(super) fn send(&self) -> bool {
        let _ = self.0.compare_exchange(CONNECTING, SENT, Ordering::AcqRel, Ordering::Acquire);
        !self.is_interrupted()
    }

    /// Whether it has been sent; none: it has ended.
    pub(super) fn under_way(&self) -> Option<bool> {
        let now = self.0.load(Ordering::Acquire);
        (now < REPORTED).then_some(now == SENT)
    }

    /// It is known how the attempt ended. Returns whether that is news.
    pub(super) fn report(&self) -> bool {
        self.end(REPORTED).is_some()
    }

    /// The process ends. None when the attempt has ended before; else whether it had been sent.
    pub(super) fn interrupt(&self) -> Option<bool> {
        self.end(INTERRUPTED).map(|before| before == SENT)
    }

    /// Whether the process ended before the attempt did.
    pub(super) fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Acquire) == INTERRUPTED
    }

    fn end(&self, how: u8) -> Option<u8> {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now < REPORTED).then_some(how)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_before_the_interrupt_is_not_sent_after_it() {
        let stage = Stage::default();
        assert_eq!(stage.interrupt(), Some(false));
        assert!(!stage.send());
        assert!(stage.is_interrupted());
    }

    #[test]
    fn an_interrupt_knows_what_was_sent_and_ends_it_once() {
        let stage = Stage::default();
        assert!(stage.send() && stage.send());
        assert_eq!((stage.interrupt(), stage.interrupt()), (Some(true), None));
        assert!(!stage.report() && stage.is_interrupted(), "nobody else settles it");
    }

    #[test]
    fn what_has_ended_is_not_interrupted() {
        let stage = Stage::default();
        assert!(stage.send() && stage.report() && !stage.report());
        assert_eq!(stage.interrupt(), None);
        assert!(!stage.is_interrupted());
    }
}
