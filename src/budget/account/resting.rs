//! A budget that nobody holds anything of, in as little memory as it takes: there may be a million of them.

use std::sync::Arc;

use super::window::WindowState;
use super::{Account, Holder};
use crate::budget::protocol::Position;
use crate::budget::rules::Rules;
use crate::limit::Policy;
use crate::money::Usd;

/// Contact, seeding, and how many windows follow.
const HEAD: usize = 2;

const PER_WINDOW: usize = 3;
const PER_HOLDER: usize = 3;

/// A budget that nobody holds anything of.
#[derive(Clone, Debug)]
pub struct Resting {
    policy: Arc<Policy>,
    /// Head, then each window of the policy, then each node.
    numbers: Box<[i64]>,
}

impl Resting {
    /// When the budget was last spoken of.
    #[must_use]
    pub fn last_contact(&self) -> i64 {
        self.numbers.first().copied().unwrap_or(i64::MIN)
    }

    /// Packs a budget; none when it is not that simple.
    #[must_use]
    pub fn of(account: &Account) -> Option<Self> {
        let quiet = |holder: &Holder| !holder.closed && holder.unwritten == Usd::ZERO;
        if !account.is_idle() || account.reseed || !account.join.is_empty() || !account.holders.iter().all(quiet) {
            return None;
        }
        let mut numbers =
            Vec::with_capacity(HEAD + PER_WINDOW * account.windows.len() + PER_HOLDER * account.holders.len());
        numbers.extend([account.now, account.seeded_at]);
        for window in &account.windows {
            numbers.extend(window.packed()?);
        }
        for holder in &account.holders {
            let place = match holder.position {
                Position::Start => return None,
                Position::At(count) => i64::try_from(count).ok()?,
                Position::Mark(lsn) => -1 - i64::try_from(lsn).ok()?,
            };
            numbers.extend([holder.inc, i64::try_from(holder.seq).ok()?, place]);
        }
        Some(Self { policy: Arc::clone(&account.policy), numbers: numbers.into() })
    }

    /// The budget as it was.
    #[must_use]
    pub fn wake(&self, rules: Rules) -> Account {
        let (head, rest) = self.numbers.split_at(HEAD);
        let (windows, holders) = rest.split_at(PER_WINDOW * self.policy.windows.len());
        let windows = self.policy.windows.iter().zip(windows.chunks_exact(PER_WINDOW));
        Account {
            policy: Arc::clone(&self.policy),
            now: head[0],
            seeded_at: head[1],
            recall_at: i64::MIN,
            settle_until: i64::MIN,
            join: Vec::new(),
            reseed: false,
            windows: windows.map(|(policy, numbers)| WindowState::unpacked(policy, numbers)).collect(),
            holders: holders.chunks_exact(PER_HOLDER).map(holder).collect(),
            rules,
        }
    }
}

fn holder(numbers: &[i64]) -> Holder {
    let place = numbers[2];
    let position =
        if place < 0 { Position::Mark((-1 - place).cast_unsigned()) } else { Position::At(place.cast_unsigned()) };
    Holder {
        inc: numbers[0],
        seq: numbers[1].cast_unsigned(),
        position,
        reserved: Usd::ZERO,
        kept: Usd::ZERO,
        unwritten: Usd::ZERO,
        pending: Usd::ZERO,
        closed: false,
        heard: false,
        ends_at: i64::MAX,
    }
}
