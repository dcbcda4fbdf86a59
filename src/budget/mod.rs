//! Budgets that hold: what a request may cost is set aside before it is sent, and replaced by what it did cost.
//!
//! A node holds a part of every budget that it uses, its lease, and spends it without asking anyone ([`Budgets`]). An
//! [`Authority`] knows what is spent and what is held by whom; it is seeded from the ledger ([`Seeds`]).

#![deny(clippy::float_arithmetic)]

mod account;
mod acquire;
mod audit;
mod authority;
mod counts;
mod denial;
mod driver;
mod elsewhere;
mod eras;
pub mod estimate;
mod failures;
mod flight;
mod lease;
mod life;
mod memory;
mod pins;
mod plan;
mod protocol;
mod redis;
mod reservation;
mod reserve;
mod rules;
mod seeds;
mod settings;
mod shards;
mod solo;
mod stats;
mod table;
mod terms;
mod view;
mod waiter;

#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

pub use audit::Drift;
pub use authority::{Authority, AuthorityError};
pub use counts::{CountGuard, Counts, Living};
pub use denial::{Denial, Denied, ReserveError};
pub use life::{Lifeline, close_life};
pub use memory::MemoryAuthority;
pub use plan::{AxisPlan, MaybeCapped, Plan};
pub use protocol::{
    Answer, Audit, Bounds, Counted, Holding, Incarnation, Item, Lsn, Position, Seed, SeedQuery, SeedStatement, Seeded,
    Statement, Taken, Terms, WindowQuery, WindowReport, WindowSeed,
};
pub use redis::{Asker, Event, Events, OnTime, PartitionOf, RedisAuthority, RedisError};
pub use reservation::{Reservation, Settled};
pub use seeds::{SeedError, Seeds};
pub use settings::{BudgetSettings, LeaseSettings};

pub use stats::{ExchangeResult, LeaseStats};
pub use view::{BudgetView, Explained, WindowView};

use driver::Queue;
use eras::Eras;
use failures::Failures;
use rules::Rules;
use solo::Solitude;
use table::Table;

/// Where the time comes from: Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What a node holds of all budgets, and who is asked for more.
pub struct Budgets {
    inc: Incarnation,
    authority: Arc<dyn Authority>,
    seeds: Arc<dyn Seeds>,
    settings: ArcSwap<BudgetSettings>,
    clock: Clock,
    table: Table,
    queue: Queue,
    /// When nothing is known about these they are not asked for.
    failures: Failures,
    solitude: Solitude,
    /// All budgets are to be counted anew, one by one.
    distrusted: AtomicBool,
    stats: LeaseStats,
    eras: Eras,
    rules: Rules,
    /// None: this life cannot be given up by anybody.
    lifeline: OnceLock<Arc<dyn Lifeline>>,
}

impl Budgets {
    /// Holds nothing yet. `inc` is the identity of this life of the process.
    #[must_use]
    pub fn new(
        inc: Incarnation,
        authority: Arc<dyn Authority>,
        seeds: Arc<dyn Seeds>,
        settings: BudgetSettings,
        clock: Clock,
    ) -> Arc<Self> {
        Self::with_rules(inc, authority, seeds, settings, clock, Rules::default())
    }

    fn with_rules(
        inc: Incarnation,
        authority: Arc<dyn Authority>,
        seeds: Arc<dyn Seeds>,
        settings: BudgetSettings,
        clock: Clock,
        rules: Rules,
    ) -> Arc<Self> {
        Arc::new(Self {
            inc,
            authority,
            seeds,
            settings: ArcSwap::from_pointee(settings),
            clock,
            table: Table::new(),
            queue: Queue::default(),
            failures: Failures::default(),
            solitude: Solitude::default(),
            distrusted: AtomicBool::new(false),
            stats: LeaseStats::default(),
            eras: Eras::default(),
            rules,
            lifeline: OnceLock::new(),
        })
    }

    /// The time that budgets go by, Unix milliseconds: requests are admitted and settled at it.
    #[must_use]
    pub fn now(&self) -> i64 {
        (self.clock)()
    }

    /// Replaces what the configuration says.
    pub fn configure(&self, settings: BudgetSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// What is counted, for metrics.
    #[must_use]
    pub const fn stats(&self) -> &LeaseStats {
        &self.stats
    }

    /// How many budgets are in memory.
    #[must_use]
    pub fn known(&self) -> usize {
        self.table.len()
    }
}
