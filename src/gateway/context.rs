//! What a request carries from stage to stage.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use uuid::Uuid;

use super::app::{App, InFlight};
use super::bill::Bill;
use super::choice::Choice;
use super::payers::Reserved;
use super::race::{Ended, Race};
use super::refused::{Asked, Asker};
use super::tab::Tab;
use super::worth::Worth;
use crate::budget::CountGuard;
use crate::clock::now_ms;
use crate::dialect::{Dialect, Endpoint, GatewayError, Inspected, Route, Shape, UsageChunkFilter};
use crate::directory::Principal;
use crate::pricing::Price;
use crate::provider::Candidate;
use crate::provider::retry::Deadline;
use crate::upstream::Attempt;

/// A request's name, given by us: a client's own is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// A new name; later ones sort after earlier ones.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// One request, from its head to its end.
pub struct RequestContext {
    /// The name that the client is told.
    pub(super) id: RequestId,
    /// When its head was complete.
    pub(super) arrived: Instant,
    /// Of that, how long its body took to arrive.
    pub(super) waited: Duration,
    /// When its head was complete, in Unix milliseconds.
    pub(super) created_at: i64,
    /// How the client expects errors; guessed from the path until the route is known.
    pub(super) shape: Shape,
    /// Whose path it asked for; none: of a list of models, or of nobody.
    pub(super) dialect: Option<Dialect>,
    /// Whose it is; none: nobody's who is known.
    pub(super) asker: Option<Asker>,
    /// Its place among the concurrent requests of its key and user.
    pub(super) counted: Option<CountGuard>,
    /// Known once it may go to a provider.
    pub(super) admitted: Option<Box<Admitted>>,
    /// The attempt in progress, or the last one.
    pub(super) current: Option<Current>,
    /// Another provider may be asked beside the present one: as long as that is open, it has what was admitted.
    pub(super) race: Option<Arc<Race>>,
    /// What it asked for, when it was refused before it was admitted.
    pub(super) asked: Option<Box<Asked>>,
    /// Why we refuse, when a stage after `admit` has to.
    pub(super) refusal: Option<GatewayError>,
    /// The answer of a failed attempt, to be passed on when no other provider has a better one.
    pub(super) last_answer: Option<UpstreamAnswer>,
    /// Status that the client was sent.
    pub(super) status: Option<u16>,
    /// Seen at graceful stop.
    pub(super) in_flight: Arc<InFlight>,
}

impl RequestContext {
    pub(super) fn new(in_flight: Arc<InFlight>) -> Self {
        Self {
            id: RequestId::new(),
            arrived: Instant::now(),
            waited: Duration::ZERO,
            created_at: now_ms(),
            shape: Shape::Openai,
            dialect: None,
            asker: None,
            counted: None,
            admitted: None,
            current: None,
            race: None,
            asked: None,
            refusal: None,
            last_answer: None,
            status: None,
            in_flight,
        }
    }

    /// It is decided, or nobody waits any more: takes back what was admitted, and whose answer it is.
    pub(super) fn end_race(&mut self) {
        let Some(race) = self.race.take() else { return };
        let Ended { admitted, current, answers } = race.end();
        self.admitted = admitted.or(self.admitted.take());
        self.current = current.or(self.current.take());
        for answer in answers {
            if !self.has_better_than(answer.worth) {
                self.last_answer = Some(answer);
            }
        }
    }

    /// Whether an answer that could be passed on is kept already, and is of more use.
    pub(super) fn has_better_than(&self, worth: Worth) -> bool {
        self.last_answer.as_ref().is_some_and(|kept| kept.worth > worth)
    }

    /// Gives up the place among the concurrent requests: to be called before the last byte goes to the client, whose
    /// next request may come sooner than the end of this one.
    pub(super) fn free_place(&mut self) {
        self.counted = None;
    }
}

impl Drop for RequestContext {
    /// The last stage takes the attempt along. Where one is left a stage has panicked, and the answer was whole: what
    /// was not whole is read on, and settled by whoever does that.
    fn drop(&mut self) {
        self.end_race();
        if let Some(current) = self.current.take()
            && !current.tab.is_draining()
            && current.tab.is_complete()
        {
            current.tab.settle(current.tab.outcome(), self.status);
        }
    }
}

/// A request that may go to a provider.
pub struct Admitted {
    /// What it asks for.
    pub(super) route: Route,
    /// What its body says.
    pub(super) inspected: Inspected,
    /// Its body, unpacked.
    pub(super) body: Bytes,
    /// Who asks.
    pub(super) principal: Arc<Principal>,
    /// Who may serve it, and whose turn it is.
    pub(super) choice: Choice,
    /// Attempts made on that one.
    pub(super) tries: u32,
    /// It is asked once more, after this pause.
    pub(super) again: Option<Duration>,
    /// When an answer has to have begun.
    pub(super) deadline: Deadline,
    /// Attempts made on all.
    pub(super) attempts: u16,
    /// What is set aside, and for which candidate.
    pub(super) reserved: Option<Reserved>,
    /// What the client is told when no candidate can be paid for: the first refusal.
    pub(super) refusal: Option<GatewayError>,
    /// What is recorded and charged at the end.
    pub(super) bill: Arc<Bill>,
}

impl Admitted {
    /// It is the turn of the next provider, if there is one.
    pub(super) fn next_provider(&mut self, app: &App) {
        self.choice.advance(app, &self.inspected);
        (self.tries, self.again) = (0, None);
    }
}

/// A candidate, and what it charges.
#[derive(Clone)]
pub struct Priced {
    /// Who would serve it.
    pub(super) candidate: Candidate,
    /// None: free.
    pub(super) price: Option<Arc<Price>>,
}

/// An attempt in progress.
pub struct Current {
    /// What is sent; known once the connection stands.
    pub(super) attempt: Option<Arc<Attempt>>,
    /// What it will cost.
    pub(super) tab: Arc<Tab>,
    /// Takes the usage chunk out again for a client that did not ask for it.
    pub(super) usage_chunk: Option<UsageChunkFilter>,
}

impl Current {
    /// An attempt that has not been sent.
    pub(super) fn new(tab: Arc<Tab>, inspected: &Inspected) -> Self {
        let adds_usage =
            inspected.endpoint == Endpoint::ChatCompletions && inspected.stream && !inspected.include_usage;
        Self { attempt: None, tab, usage_chunk: adds_usage.then(UsageChunkFilter::default) }
    }
}

/// An answer that was not passed on, whole.
pub struct UpstreamAnswer {
    /// Status and headers.
    pub(super) status: u16,
    /// End-to-end headers.
    pub(super) headers: HeaderMap,
    /// Body.
    pub(super) body: Bytes,
    /// How much it tells the client.
    pub(super) worth: Worth,
}
