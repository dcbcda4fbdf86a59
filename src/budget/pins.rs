//! What a waiting request holds on to: what it has got of the budgets before the one that it waits for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Budgets;
use super::acquire::Each;
use super::table::Entry;
use crate::money::Usd;

/// At most so long while it asks for the next budget: others may need this and nothing else.
const LIFE: Duration = Duration::from_millis(250);

/// Set aside, and given back when the request gives up.
pub(super) struct Pins<'a> {
    budgets: &'a Budgets,
    pins: Each<Option<Pin>>,
    since: Instant,
}

struct Pin {
    entry: Arc<Entry>,
    amount: Usd,
}

impl<'a> Pins<'a> {
    pub fn new(budgets: &'a Budgets) -> Self {
        Self { budgets, pins: Each::default(), since: Instant::now() }
    }

    /// So much was set aside in this budget.
    pub fn add(&mut self, at: usize, entry: &Arc<Entry>, amount: Usd) {
        if self.pins.iter().all(Option::is_none) {
            self.since = Instant::now();
        }
        self.pins[at] = Some(Pin { entry: Arc::clone(entry), amount });
    }

    pub fn has(&self, at: usize) -> bool {
        self.pins[at].is_some()
    }

    /// Whether others have waited long enough.
    pub fn are_old(&self) -> bool {
        self.pins.iter().any(Option::is_some) && self.since.elapsed() >= LIFE
    }

    /// All that is set aside: it is the request's.
    pub fn take(&mut self) -> Each<Usd> {
        std::mem::take(&mut self.pins).map(|pin| pin.map_or(Usd::ZERO, |pin| pin.amount))
    }

    /// Lets others have it.
    pub fn release(&mut self) {
        for pin in std::mem::take(&mut self.pins).into_iter().flatten() {
            self.budgets.put_back(&pin.entry, pin.amount);
        }
    }
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        self.release();
    }
}
