//! What the simulations of nodes have in common.

use crate::budget::{Audit, Incarnation};
use crate::money::Usd;

/// Who may have changed what is held.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// Time has passed, and journals were closed.
    Nobody,
    Node(Incarnation),
    Seed,
}

/// What the authority counts of a budget, and how late it knows it is.
pub struct Seen {
    pub audit: Audit,
    pub now: i64,
}

/// What all nodes hold together.
pub fn held(audit: &Audit) -> Usd {
    audit.holders.iter().map(|holder| holder.reserved + holder.kept + holder.pending).sum()
}
