//! What one attempt sends, how long it may take, and who watches it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::ErrorType;
use pingora::http::{RequestHeader, ResponseHeader};

/// Watches an attempt: is told of every byte of the answer when it arrives, whether or not the client still
/// listens.
pub trait Observer: Send + Sync {
    /// The request is about to go out. Returns whether it still may.
    fn sending(&self) -> bool;

    /// The head of the final answer has arrived.
    fn head(&self, head: &ResponseHeader);

    /// A piece of the body has arrived; pieces are as the network cut them.
    fn body(&self, piece: &[u8]);

    /// The answer has ended as its framing says.
    fn ended(&self);

    /// What the answer is, as far as it has come: asked while a [`Gate`] holds it back.
    fn beginning(&self) -> Beginning;

    /// The client gets the answer of another attempt that was made at the same time. Returns whether this one shall be read
    /// on, as when the client leaves, to know what it has used; else nothing is heard of it any more.
    fn lost(&self) -> bool;

    /// The client has left and the rest of the answer would be read without it. Returns whether it may be.
    fn draining(&self) -> bool;

    /// The answer was read without the client, and this is how it ended. Called once, and only after
    /// [`draining`](Observer::draining); an answer that a client reads to its end is settled by whoever passes it on.
    fn drained(&self, ending: Ending);
}

/// What can be told of an answer by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing yet.
    Unclear,
    /// It may go on to the client.
    Good,
    /// It should not, if there is another one to be had.
    Bad,
}

/// How much of an answer is held back, and for how long, to learn what it is. After that it goes on unjudged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// No more of it than this.
    pub max_bytes: usize,
    /// No longer than this after its head.
    pub max_time: Duration,
}

/// How an answer that nobody reads any more ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The provider ended it.
    Complete,
    /// The provider broke off, or fell silent.
    Broken,
    /// It took longer than the drain may take, or there were too many drains.
    GaveUp,
}

/// How long each part of an attempt may take. Zero means: as long as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the sent request to the first byte of the answer's head.
    pub first_byte: Duration,
    /// Silence within the answer.
    pub idle: Duration,
    /// The whole attempt.
    pub total: Duration,
}

/// The type of the error of an attempt that took longer than [`Timeouts::total`].
pub const TOTAL_TIMEOUT: ErrorType = ErrorType::Custom("TotalTimeout");

/// The type of the error of an attempt whose answer had not begun at [`Attempt::begun_by`].
pub const DEADLINE: ErrorType = ErrorType::Custom("Deadline");

/// One request to one provider, complete: it can be sent again.
pub struct Attempt {
    /// Head as the provider gets it; framing headers are set by the engine.
    pub head: RequestHeader,
    /// The whole body.
    pub body: Bytes,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// When its answer has to have begun; none: whenever it likes.
    pub begun_by: Option<Instant>,
    /// How long a good status is not trusted; none: it goes on at once.
    pub gate: Option<Gate>,
    /// Told of every byte of the answer.
    pub observer: Arc<dyn Observer>,
    small_answer: OnceLock<Bytes>,
    rejected: AtomicBool,
}

impl Attempt {
    /// An attempt that is ready to be sent.
    #[must_use]
    pub fn new(head: RequestHeader, body: Bytes, timeouts: Timeouts, observer: Arc<dyn Observer>) -> Self {
        let (small_answer, rejected) = (OnceLock::new(), AtomicBool::new(false));
        Self { head, body, timeouts, begun_by: None, gate: None, observer, small_answer, rejected }
    }

    /// Its answer has to have begun by then.
    #[must_use]
    pub const fn begun_by(mut self, instant: Option<Instant>) -> Self {
        self.begun_by = instant;
        self
    }

    /// Its answer is held back until it is clear what it is.
    #[must_use]
    pub fn behind(mut self, gate: Option<Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// The body of an error answer that was small enough to be read with its head, or what was held of an answer that
    /// is none: it can be judged, and passed on later.
    #[must_use]
    pub fn small_answer(&self) -> Option<&Bytes> {
        self.small_answer.get()
    }

    pub(super) fn set_small_answer(&self, body: Bytes) {
        // One answer an attempt: a second is a retry on a fresh connection, whose first never had a head.
        let _ = self.small_answer.set(body);
    }

    /// Says that nobody wants the answer, not even for accounting: the request goes elsewhere.
    pub fn reject(&self) {
        self.rejected.store(true, Ordering::Release);
    }

    /// Whether the answer was rejected.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.rejected.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The head carries the provider's key.
        f.debug_struct("Attempt")
            .field("body_bytes", &self.body.len())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
