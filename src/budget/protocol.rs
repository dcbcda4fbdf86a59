//! What a node and an authority say to each other about one budget.
//!
//! A node's statement is absolute and numbered: what it has reserved, what it keeps, and what was charged since a
//! position that both know. So a message that is lost, late or doubled changes nothing that the next one does not
//! put right.

use std::sync::Arc;

use crate::limit::{BudgetId, Policy, Window};
use crate::money::Usd;

/// One life of a gateway process: the identity under which it holds leases. Never used twice.
pub type Incarnation = i64;

/// A place in the journal of one incarnation. Counts up from 1 without gaps.
pub type Lsn = u64;

/// Tells apart what an authority knew before it forgot everything and what it knows since. 0: a node that was in no seed.
pub type Birth = i64;

/// Up to where a node's charges to a budget are counted at the authority.
///
/// Requests may reach a budget in another order than the journal numbered them, so a node counts its charges per
/// budget. What a database has counted is known by journal position only; after seeding that is where both start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The node has just met this budget and knows of no position.
    Start,
    /// All charges up to this place in the journal, as it stands with an authority that knows nothing from before: who has
    /// told it nothing yet would otherwise seem to go on from here with what was said before the authority forgot all.
    Mark(Lsn, Birth),
    /// The node's first so many charges to this budget.
    At(u64),
}

/// Charges of one minute and era; of counts, of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Start of the minute (of the second), Unix milliseconds.
    pub minute: i64,
    /// The owner's era that they were made in.
    pub era: i64,
    /// How much.
    pub amount: Usd,
}

/// When a window of the calendar starts and ends, so that an authority needs no calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First instant, Unix milliseconds.
    pub start: i64,
    /// First instant of the next one.
    pub end: i64,
    /// When the next one ends.
    pub next_end: i64,
}

/// The caps of a budget as a node knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The caps.
    pub policy: Arc<Policy>,
    /// One per window of the policy; windows that do not follow the calendar have none. Empty until worked out.
    pub bounds: Vec<Option<Bounds>>,
}

/// What a node says.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Who.
    pub inc: Incarnation,
    /// Rises with every statement about this budget.
    pub seq: u64,
    /// When it was sent, Unix milliseconds.
    pub sent: i64,
    /// The items start after this position.
    pub from: Position,
    /// With the items, so many charges are told.
    pub to: u64,
    /// What was charged.
    pub items: Vec<Item>,
    /// What running requests have set aside.
    pub reserved: Usd,
    /// What it holds beyond that.
    pub kept: Usd,
    /// Up to where its journal is in the database, as far as it knows.
    pub written: Lsn,
    /// What was told, these items included, of places in the journal beyond that.
    pub unwritten: Usd,
    /// Less than this is of no use; nothing when it asks for nothing.
    pub need_min: Usd,
    /// What all waiting requests need.
    pub need_sum: Usd,
    /// The usual size of a lease.
    pub slice: Usd,
    /// The least size of a lease.
    pub slice_min: Usd,
    /// What it holds ends when it says nothing for so long (milliseconds). `i64::MAX`, as for all money: never.
    pub ends_after: i64,
    /// The node is about to forget this budget.
    pub last: bool,
    /// The state of the windows is wanted.
    pub report: bool,
    /// The caps.
    pub terms: Arc<Terms>,
}

/// What an authority answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The statement was taken.
    Ok(Box<Taken>),
    /// The budget is not known: seed it from the ledger.
    Seed,
    /// Nothing was taken: the charges are counted up to here.
    Resend(Position),
    /// A later statement was taken before.
    Old,
    /// It came too late to be trusted.
    Stale,
}

/// A statement was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What the node holds beyond its reservations, with what was granted now.
    pub kept: Usd,
    /// What was granted now.
    pub granted: Usd,
    /// What nobody holds after that; less than nothing when there are debts.
    pub free: Usd,
    /// So little is left that nodes keep nothing.
    pub tight: bool,
    /// Nothing is granted until all nodes have said what they hold.
    pub settling: bool,
    /// What other nodes keep and could give back; nothing when they were asked a moment ago.
    pub recallable: Usd,
    /// Until when (Unix milliseconds) what is kept may be spent: a cap falls then.
    pub valid_until: i64,
    /// Until when nothing but a node can change what is free.
    pub steady_until: i64,
    /// Caps that replace the node's, being later ones.
    pub policy: Option<Arc<Policy>>,
    /// When the fixed five hours that run now began.
    pub started: Option<i64>,
    /// The counters are not those of these caps yet: seed the budget anew.
    pub reseed: bool,
    /// There is a window of which nothing is known, so nothing can be granted.
    pub unknown: bool,
    /// The state of every window, when wanted or when nothing was granted. In the order of [`Window::ALL`].
    pub windows: Vec<WindowReport>,
}

/// The state of one window at the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowReport {
    /// Which.
    pub window: Window,
    /// The cap in force, boosts included.
    pub cap: Usd,
    /// What was charged in it.
    pub spent: Usd,
    /// What nodes hold: reserved or kept.
    pub held: Usd,
    /// What of that is reserved by running requests.
    pub reserved: Usd,
    /// When it began; none for `total` and for a fixed five hours that have not begun.
    pub starts: Option<i64>,
    /// When it starts anew; none for `total`, rolling windows and a fixed five hours that have not begun.
    pub ends: Option<i64>,
    /// Rolling windows: from this instant on so much in all has left, in order of time.
    pub leaving: Vec<(i64, Usd)>,
}

/// What the ledger says about a budget, and the caps that it was asked for.
#[derive(Clone, Debug)]
pub struct SeedStatement {
    /// What the ledger says.
    pub seed: Seed,
    /// The caps.
    pub terms: Arc<Terms>,
}

/// What became of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeded {
    /// The budget counts from it.
    Taken,
    /// It was too old, or made for other caps or an ended window: ask the ledger again. Or it is a count that lives
    /// already.
    Refused,
}

/// What an authority wants to know from the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedQuery {
    /// Which budget.
    pub budget: BudgetId,
    /// One per window.
    pub windows: Vec<WindowQuery>,
}

/// Which charges make up a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowQuery {
    /// Which.
    pub window: Window,
    /// Only charges of this era of the owner, or later.
    pub since_era: i64,
    /// Only charges of this minute or later (Unix milliseconds); `i64::MIN`: all.
    pub from: i64,
    /// Whether each minute's sum is wanted instead of one sum.
    pub by_minute: bool,
    /// Whether the stored start of fixed five hours is wanted.
    pub first_charge: bool,
}

/// What the ledger says about a budget, from one snapshot of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// When the query began, Unix milliseconds.
    pub query_started: i64,
    /// As they were asked for.
    pub windows: Vec<WindowSeed>,
    /// Latest stored start of fixed five hours, when asked for.
    pub first_charge_start: Option<i64>,
    /// Of each incarnation that is not closed, up to where its journal is contained.
    pub marks: Vec<(Incarnation, Lsn)>,
}

/// What the ledger says about one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSeed {
    /// Which.
    pub window: Window,
    /// The sum; when minutes were asked for, theirs.
    pub sum: Usd,
    /// Start of each minute (Unix milliseconds) with its sum, when asked for; in order of time.
    pub minutes: Vec<(i64, Usd)>,
}

/// What an authority counts, for comparison with the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The version of the caps that it counts under.
    pub version: i64,
    /// The counters are not those of these caps yet.
    pub reseed: bool,
    /// As they were when the budget was last spoken of.
    pub windows: Vec<Counted>,
    /// What each node holds.
    pub holders: Vec<Holding>,
}

/// What an authority counts in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Which.
    pub window: Window,
    /// When it began, as its kind tells.
    pub start: i64,
    /// What was spent in it.
    pub spent: Usd,
    /// Rolling windows: when each part leaves, and how much it is.
    pub leaving: Vec<(i64, Usd)>,
}

/// What one node holds of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Who.
    pub inc: Incarnation,
    /// Up to where its charges are counted.
    pub position: Position,
    /// Reserved by running requests.
    pub reserved: Usd,
    /// Kept beyond that.
    pub kept: Usd,
    /// Told before the last seeding and perhaps not contained in it.
    pub pending: Usd,
    /// Told and not in the database yet, as the node last said.
    pub unwritten: Usd,
    /// When it was last heard, in the authority's time (Unix milliseconds); 0: never.
    pub seen: i64,
}
