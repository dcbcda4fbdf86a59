//! What each node holds of a budget, and what it is given of what is left.

use std::sync::Arc;

use super::window::WindowState;
use super::{Account, EXACT};
use crate::budget::protocol::{Position, Statement, Taken, WindowReport};
use crate::budget::rules::Rule;
use crate::limit::Policy;
use crate::money::Usd;

/// Others are asked at most so often to give back what they do not use.
const RECALL_EVERY: i64 = 250;

impl Account {
    /// What is reserved is honoured, also as a debt; what is kept is never more than what was granted.
    pub(super) fn take_holdings(&mut self, index: usize, said: &Statement, clock: i64) {
        let sum = said.items.iter().fold(Usd::ZERO, |sum, item| (sum + item.amount).min(EXACT));
        let joins = self.join.contains(&said.inc);
        self.join.retain(|&inc| inc != said.inc);
        let Some(holder) = self.holders.get_mut(index) else { return };
        // What was told before a seed and is told again was held meanwhile beside the rest.
        let first_told = if sum > Usd::ZERO { (sum - holder.pending).max(Usd::ZERO) } else { sum };
        let mut before = (holder.reserved + holder.kept).min(EXACT) - first_told;
        if joins {
            before = before.max((said.reserved + said.kept).min(EXACT));
        }
        holder.position = Position::At(said.to);
        if self.rules.hold(Rule::Forced) {
            holder.reserved = said.reserved;
            holder.kept = said.kept.min(before - said.reserved).max(Usd::ZERO);
        } else {
            // What the rule forbids: a debt as a negative holding, which others can spend again.
            holder.reserved = said.reserved.min(before);
            holder.kept = said.kept.min(before - said.reserved).max(Usd::ZERO);
        }
        (holder.written, holder.unwritten) = (said.written, said.unwritten);
        holder.pending = Usd::ZERO;
        holder.heard = true;
        holder.ends_at = clock.saturating_add(said.ends_after);
    }

    pub(super) fn grant(&mut self, index: usize, said: &Statement, newer: Option<Arc<Policy>>, now: i64) -> Taken {
        let held = self.held();
        let caps = self.caps(now);
        let mut free = self.free(&caps, held);
        if let Some(holder) = self.holders.get_mut(index)
            && free < Usd::ZERO
        {
            let cut = holder.kept.min(-free);
            holder.kept -= cut;
            free += cut;
        }
        let settling = self.rules.hold(Rule::Join) && !self.join.is_empty() && now < self.settle_until;
        let unknown = self.windows.iter().any(|window| !window.known);
        let nodes = i64::try_from(self.holders.iter().filter(|holder| holder.heard).count()).unwrap_or(i64::MAX).max(1);
        let floor = free.max(Usd::ZERO);
        let mut granted = Usd::ZERO;
        if said.need_sum > Usd::ZERO && !settling && !unknown {
            let share = Usd::from_nanos(floor.nanos() / nodes.saturating_mul(2));
            let unhurried = if self.is_tight(free, said, nodes, &caps) {
                Usd::ZERO
            } else {
                said.slice.min(share).max(said.slice_min)
            };
            granted = said.need_sum.max(unhurried).min(floor);
            if granted < said.need_min {
                granted = Usd::ZERO;
            }
        }
        free -= granted;
        let mut kept = Usd::ZERO;
        let mut others = Usd::ZERO;
        for (at, holder) in self.holders.iter_mut().enumerate() {
            if at == index {
                holder.kept += granted;
                kept = holder.kept;
            } else {
                others += holder.kept;
            }
        }
        let denied = said.need_min > Usd::ZERO && granted == Usd::ZERO;
        let recallable = if denied && now.saturating_sub(self.recall_at) > RECALL_EVERY { others } else { Usd::ZERO };
        if recallable > Usd::ZERO {
            self.recall_at = now;
        }
        Taken {
            kept,
            granted,
            free,
            tight: self.is_tight(free, said, nodes, &caps),
            settling,
            recallable,
            valid_until: self.falls_at(now),
            steady_until: self.steady_until(now),
            policy: newer,
            started: self.windows.iter().find_map(WindowState::first_charge),
            reseed: self.reseed,
            unknown,
            windows: if denied || said.report { self.reports(&caps) } else { Vec::new() },
        }
    }

    /// A node that forgets the budget leaves nothing behind but its position.
    pub(super) fn forget(&mut self, index: usize, said: &Statement) {
        let Some(holder) = self.holders.get_mut(index) else { return };
        if said.last && holder.reserved == Usd::ZERO && holder.kept == Usd::ZERO {
            holder.unwritten = Usd::ZERO;
            holder.heard = false;
        }
    }

    /// Near the cap every node takes what it needs and no more; where there are few places for each node, always.
    fn is_tight(&self, free: Usd, said: &Statement, nodes: i64, caps: &[Usd]) -> bool {
        let cap = caps.iter().min().map_or(0, |cap| cap.nanos());
        let mut need = said.need_min;
        if self.is_count() {
            if cap < nodes.saturating_mul(4) {
                return true;
            }
            need = need.max(Usd::from_nanos(1));
        }
        free < Usd::from_nanos(cap / 100).max(need.saturating_mul(2).saturating_mul(nodes))
    }

    pub(super) fn held(&self) -> Usd {
        let held = self.holders.iter().map(|holder| holder.reserved + holder.kept + holder.pending);
        held.fold(Usd::ZERO, |sum, held| (sum + held).min(EXACT))
    }

    pub(super) fn caps(&self, now: i64) -> Vec<Usd> {
        self.policy.windows.iter().map(|policy| policy.cap_at(now)).collect()
    }

    pub(super) fn free(&self, caps: &[Usd], held: Usd) -> Usd {
        let free = self.windows.iter().zip(caps).map(|(window, &cap)| (cap - window.spent - held).max(-EXACT));
        free.min().unwrap_or(Usd::ZERO)
    }

    fn reports(&self, caps: &[Usd]) -> Vec<WindowReport> {
        let held = self.held();
        let reserved = self.holders.iter().map(|holder| holder.reserved + holder.pending);
        let reserved = reserved.fold(Usd::ZERO, |sum, reserved| (sum + reserved).min(EXACT));
        self.windows.iter().zip(caps).map(|(window, &cap)| window.report(cap, held, reserved)).collect()
    }

    /// When a cap next falls.
    fn falls_at(&self, now: i64) -> i64 {
        let steps = self.policy.windows.iter().flat_map(|policy| policy.caps.windows(2));
        let falls = steps.filter(|pair| pair[1].from > now && pair[1].cap < pair[0].cap).map(|pair| pair[1].from);
        falls.min().unwrap_or(i64::MAX)
    }

    /// When time alone next changes what is free.
    fn steady_until(&self, now: i64) -> i64 {
        let caps = self.policy.windows.iter().flat_map(|policy| &policy.caps).map(|step| step.from);
        let windows = self.windows.iter().map(WindowState::steady_until);
        caps.chain(windows).filter(|&at| at > now).min().unwrap_or(i64::MAX)
    }
}
