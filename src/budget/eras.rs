//! Which eras owners have entered while requests of theirs were on their way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::Budgets;
use super::plan::Target;
use crate::limit::Axis;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Eras {
    /// Whether there is any: most nodes never see a reset.
    any: AtomicBool,
    latest: RwLock<HashMap<(Axis, i64), i64>>,
}

impl Budgets {
    /// What this user or key has spent was reset. Requests that are on their way are charged in the new era.
    pub fn owner_was_reset(&self, axis: Axis, owner: i64, era: i64) {
        let mut latest = self.eras.latest.write();
        let known = latest.entry((axis, owner)).or_default();
        *known = era.max(*known);
        self.eras.any.store(true, Ordering::Release);
    }

    /// The era that a request is charged in which was admitted for this target.
    pub(super) fn era_of(&self, target: &Target) -> i64 {
        if !self.eras.any.load(Ordering::Acquire) {
            return target.era;
        }
        let latest = self.eras.latest.read();
        latest.get(&(target.axis, target.id.owner)).map_or(target.era, |era| target.era.max(*era))
    }
}
