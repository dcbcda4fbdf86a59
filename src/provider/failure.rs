//! What a failed attempt means: whose fault it is, whom it counts against and for how long, and what to do next.
//!
//! | what happened | client's fault | counts against | for how long | next |
//! | --- | --- | --- | --- | --- |
//! | name does not resolve, TLS fails | no | provider | as its failures do | another provider |
//! | connection refused or reset, connecting too slow, the request not taken | no | provider | as its failures do | again |
//! | another provider, asked later, had answered and this one not begun (racing) | no | provider | as its failures do | nothing: there is an answer |
//! | answer broken off before it began, or none in spite of its good status | no | provider | as its failures do | again |
//! | first byte or a later one too late, or the whole | no | provider | as its failures do | another provider: this one may still be working |
//! | no answer when the request's own deadline came | no | provider, unless others before it had used up the time | as its failures do | nothing: the time is over |
//! | 408, 5xx | no | provider | as its failures do | again |
//! | 408, 429, 5xx (503 and 529 among them) that say when to come back | no | model if named, else provider | opens at once, as long as it says | another provider |
//! | 429 that does not say when | no | model if named, else provider | as its failures do | again |
//! | 429, 413: this request alone is more than the account's limit | by its size | nobody | - | another provider |
//! | 402; any 4xx or 429 that says that money or quota is used up | no | model if named, else provider | opens at once, as long as it says, else as configured | another provider |
//! | 400, 401, 403 that say that our credential is refused | no | provider | opens at once, as configured | another provider |
//! | 401 that says nothing (a client's own credential is never sent) | no | provider | as its failures do | passed on |
//! | 400, 403, 404 that say that there is no such model | no | model | opens at once, as configured | another provider |
//! | every other 4xx: context too long, content refused, parameters, not found | yes | nobody | - | passed on as it came |
//! | an error inside of a 200 | by what it says | as the status that it stands for | | as that status |
//! | the client left | - | nobody | - | - |
//!
//! "As its failures do": it is one more in the circuit's window, and opens it with enough others. "Again": on the same
//! provider as long as it has attempts left and its circuit is closed, else on another. Whether anything can be done at
//! all, because nothing has gone to the client yet, is for others to know.

mod said;
#[cfg(test)]
mod tests;
mod told;

use std::time::Duration;

pub use said::{Meaning, Said};
pub use told::told;

/// The longest that what a provider says keeps us away: it may be wrong, and to ask once in a while costs little.
pub const LONGEST: Duration = Duration::from_secs(3_600);

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The provider's name has no address.
    Unresolved,
    /// No connection.
    ConnectFailed,
    /// No connection in time.
    ConnectTimeout,
    /// The connection is not to be trusted.
    TlsFailed,
    /// The provider did not take the request in time.
    WriteTimeout,
    /// No head of an answer in time.
    FirstByteTimeout,
    /// Silence within the answer.
    IdleTimeout,
    /// The whole attempt took too long.
    TotalTimeout,
    /// The answer had not begun when the time of the whole request was over.
    Deadline {
        /// The attempt had all of that time, and not only what others had left of it.
        was_first: bool,
    },
    /// Another provider was asked later, at the same time, and had answered when this one had not begun to.
    Outrun,
    /// The answer broke off.
    Broken,
    /// A good status, and nothing of an answer: why it is none.
    NoAnswer(&'static str),
    /// An answer with the status of an error.
    Status(u16, Said),
    /// An error inside of an answer whose status promised a good one.
    Inside(Said),
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whom it counts against; none: it was the client's own doing.
    pub blame: Option<Blame>,
    /// What to do.
    pub next: Next,
}

/// Whom a failure counts against, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blame {
    /// Whom.
    pub scope: Scope,
    /// How much.
    pub effect: Effect,
}

/// How much of a provider a failure says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Provider,
    /// The model that was asked for, at this provider.
    Model,
}

/// What a failure does to a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is one more.
    Counts,
    /// It opens it; none: for as long as is configured.
    Opens(Option<Duration>),
}

/// What to do after a failure, if anything can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Give the client what came.
    PassOn,
    /// Try the same provider again, then another.
    Again,
    /// Try another provider.
    Elsewhere,
}

/// All that [`Failure::reason`] says, those for which an answer is none included.
pub const REASONS: [&str; 16] = [
    "resolve_failed",
    "connect_failed",
    "connect_timeout",
    "tls_failed",
    "write_timeout",
    "first_byte_timeout",
    "idle_timeout",
    "total_timeout",
    "deadline",
    "lost_race",
    "broken",
    "no_content",
    "empty_answer",
    "html_answer",
    "error_in_answer",
    "upstream_status",
];

impl Failure {
    /// The reason in the attempts of a request and in metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unresolved => "resolve_failed",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailed => "tls_failed",
            Self::WriteTimeout => "write_timeout",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::Deadline { .. } => "deadline",
            Self::Outrun => "lost_race",
            Self::Broken => "broken",
            Self::NoAnswer(reason) => reason,
            Self::Inside(_) => "error_in_answer",
            Self::Status(..) => "upstream_status",
        }
    }

    /// What it means.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Unresolved
            | Self::TlsFailed
            | Self::FirstByteTimeout
            | Self::IdleTimeout
            | Self::TotalTimeout
            | Self::Outrun
            | Self::Deadline { was_first: true } => Verdict::counts(Scope::Provider, Next::Elsewhere),
            Self::Deadline { was_first: false } => Verdict { blame: None, next: Next::Elsewhere },
            Self::ConnectFailed | Self::ConnectTimeout | Self::WriteTimeout | Self::Broken | Self::NoAnswer(_) => {
                Verdict::counts(Scope::Provider, Next::Again)
            }
            Self::Status(status, said) => of_status(status, said),
            Self::Inside(said) => of_status(stands_for(said.meaning), said),
        }
    }
}

fn of_status(status: u16, said: Said) -> Verdict {
    use Meaning as M;
    let scope = if said.names_model { Scope::Model } else { Scope::Provider };
    match (status, said.meaning) {
        (0..400, _) => Verdict::CLIENTS,
        (413 | 429, M::TooLargeHere) => Verdict { blame: None, next: Next::Elsewhere },
        (402, _) | (400..500, M::Quota) => Verdict::opens(scope, said.wait),
        (400 | 401 | 403, M::Credential) => Verdict::opens(Scope::Provider, None),
        (400 | 403 | 404, M::NoSuchModel) => Verdict::opens(Scope::Model, None),
        (401, _) => Verdict::counts(Scope::Provider, Next::PassOn),
        (408 | 429 | 500.., _) => match said.wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => Verdict::opens(scope, Some(wait)),
            None if status == 429 => Verdict::counts(scope, Next::Again),
            None => Verdict::counts(Scope::Provider, Next::Again),
        },
        (400..500, _) => Verdict::CLIENTS,
    }
}

/// The status that an error would have had, had it come before the answer.
const fn stands_for(meaning: Meaning) -> u16 {
    match meaning {
        Meaning::Request => 400,
        Meaning::Credential => 401,
        Meaning::Quota => 402,
        Meaning::NoSuchModel => 404,
        Meaning::RateLimit | Meaning::TooLargeHere => 429,
        Meaning::Overloaded | Meaning::Unknown => 503,
    }
}

impl Verdict {
    const CLIENTS: Self = Self { blame: None, next: Next::PassOn };

    const fn counts(scope: Scope, next: Next) -> Self {
        Self { blame: Some(Blame { scope, effect: Effect::Counts }), next }
    }

    fn opens(scope: Scope, wait: Option<Duration>) -> Self {
        let wait = wait.filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST));
        Self { blame: Some(Blame { scope, effect: Effect::Opens(wait) }), next: Next::Elsewhere }
    }
}
