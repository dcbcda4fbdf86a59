//! A budget whose authority is away: what this node may spend of it alone.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{Known, Lease};
use crate::budget::denial::{Denial, Facts, Need};
use crate::budget::protocol::{Incarnation, SeedStatement, WindowReport};
use crate::budget::solo::{Room, Solo, Turn};
use crate::limit::WindowPolicy;
use crate::money::Usd;

/// What this node decides alone.
#[derive(Debug)]
pub(in crate::budget) enum Alone {
    /// So much may be set aside.
    Fits(Usd),
    /// The budget cannot pay.
    Denied(Vec<Denial>),
    /// Nothing is known about it.
    Unknown,
}

impl Lease {
    /// What becomes of a request for which nobody can be asked.
    pub fn alone(&mut self, need: Need, nodes: i64, zone: &TimeZone, now: i64) -> Alone {
        let Some(rooms) = self.rooms(nodes, zone, now) else { return Alone::Unknown };
        let required = if self.reserved == Usd::ZERO { need.least } else { need.amount };
        let room = rooms.iter().map(|room| room.room).min().unwrap_or(Usd::ZERO);
        if required <= room {
            return Alone::Fits(need.amount.min(room));
        }
        let denials = self.policy().windows.iter().zip(&rooms).filter_map(|(policy, room)| {
            let facts =
                Facts { budget: self.budget, policy, report: &room.report, untold: Usd::ZERO, available: Usd::ZERO };
            facts.deny(required, need.amount, now)
        });
        Alone::Denied(denials.collect())
    }

    /// The windows as this node knows them alone, with everything that it has charged.
    pub fn windows_alone(&mut self, nodes: i64, zone: &TimeZone, now: i64) -> Option<Vec<WindowReport>> {
        let rooms = self.rooms(nodes, zone, now)?;
        Some(rooms.into_iter().map(|room| room.report).collect())
    }

    /// Whose turn it is to ask the ledger about this budget.
    pub fn turn_to_ask_ledger(&mut self, zone: &TimeZone, now: i64, ledger_away_until: i64) -> Turn {
        self.solo(zone, now).turn(now, ledger_away_until)
    }

    /// The ledger was asked.
    pub fn asked_ledger(&mut self) {
        if let Some(solo) = &mut self.solo {
            solo.asked();
        }
    }

    /// What the ledger says.
    pub fn learn_from_ledger(&mut self, ledger: &SeedStatement, inc: Incarnation, now: i64) {
        let Some(solo) = &mut self.solo else { return };
        let mark = ledger.seed.marks.iter().find(|(marked, _)| *marked == inc).map_or(0, |(_, lsn)| *lsn);
        let told = self.charges.differing(mark, self.charges.position());
        solo.learn(ledger, &told, &self.charges.untold_by_minute(), now);
    }

    fn rooms(&mut self, nodes: i64, zone: &TimeZone, now: i64) -> Option<Vec<Room>> {
        let (held, reserved) = (self.held, self.reserved);
        let terms = Arc::clone(self.terms(zone, now));
        self.solo(zone, now).rooms(&terms, held, reserved, nodes, now)
    }

    /// Begins with what the authority said last, if it did.
    fn solo(&mut self, zone: &TimeZone, now: i64) -> &mut Solo {
        let terms = Arc::clone(self.terms(zone, now));
        let Self { solo, known, charges, .. } = self;
        let solo = solo.get_or_insert_with(|| Box::new(Solo::new(Arc::clone(&terms.policy))));
        if !solo.knows()
            && let Some(known) = known.as_ref().filter(|known| !known.blocked)
        {
            let then = crate::budget::terms::of(Arc::clone(&terms.policy), zone, known.at);
            let spent: Vec<_> = terms.policy.windows.iter().map(|policy| known.spent_by_others(policy)).collect();
            solo.remember(&then, &spent, &charges.untold_by_minute(), known.at, now);
        }
        solo
    }
}

impl Known {
    /// What was spent in a window or held by others, at most.
    fn spent_by_others(&self, policy: &WindowPolicy) -> Usd {
        let report = self.windows.iter().find(|report| report.window == policy.window);
        report.map_or_else(
            || policy.cap_at(self.at) - self.free - self.held,
            |report| report.spent + report.held - self.held,
        )
    }
}
