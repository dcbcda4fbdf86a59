//! From the rows that set caps, and the boosts on them, to the policy of one budget.

use crate::money::Usd;

use super::data::{Owner, WindowCap};
use super::policy::{CapStep, LARGEST_CAP, Policy, Source, WindowPolicy};
use super::window::Window;

/// What of an owner goes into its policies, beside caps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub stamp: i64,
    pub era: i64,
    pub since: [i64; 5],
}

/// Caps that were set in one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub source: Source,
    pub caps: &'a [WindowCap],
    pub stamp: i64,
}

/// A temporary grant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boost {
    pub window: Window,
    pub usd: Usd,
    pub starts_at: i64,
    pub expires_at: i64,
    pub stamp: i64,
}

impl Facts {
    pub(super) fn of(owner: &Owner) -> Self {
        Self { stamp: owner.stamp, era: owner.era, since: owner.since }
    }
}

/// The policy of rows, of which the first wins a tie; none when they set no cap: that is not a budget.
pub(super) fn policy(facts: Facts, rows: &[Row<'_>], boosts: &[Boost]) -> Option<Policy> {
    let windows: Vec<WindowPolicy> = Window::ALL
        .into_iter()
        .zip(facts.since)
        .filter_map(|(window, since_era)| {
            let (cap, source) = highest(window, rows)?;
            let base = cap.usd.min(LARGEST_CAP);
            let caps = steps(base, window, boosts);
            Some(WindowPolicy { window, mode: cap.mode, base, caps, source, since_era })
        })
        .collect();
    if windows.is_empty() {
        return None;
    }
    // Rows that lost count too: the version must rise when one of them is edited out of the way of another.
    let stamps = rows.iter().map(|row| row.stamp).chain(boosts.iter().map(|boost| boost.stamp));
    Some(Policy { version: stamps.fold(facts.stamp, i64::max), era: facts.era, windows })
}

fn highest<'a>(window: Window, rows: &[Row<'a>]) -> Option<(&'a WindowCap, Source)> {
    let mut highest: Option<(&WindowCap, Source)> = None;
    for row in rows {
        for cap in row.caps.iter().filter(|cap| cap.window == window && cap.usd > Usd::ZERO) {
            if highest.is_none_or(|(best, _)| cap.usd > best.usd) {
                highest = Some((cap, row.source));
            }
        }
    }
    highest
}

/// The cap as a function of time: one step at each instant at which the sum of the boosts in force changes.
fn steps(base: Usd, window: Window, boosts: &[Boost]) -> Vec<CapStep> {
    let grants = boosts
        .iter()
        .filter(|boost| boost.window == window && boost.usd > Usd::ZERO && boost.starts_at < boost.expires_at);
    // In i128 a sum is exact in whatever order grants begin and end.
    let mut edges: Vec<(i64, i128)> = grants
        .flat_map(|boost| {
            let usd = i128::from(boost.usd.nanos());
            [(boost.starts_at, usd), (boost.expires_at, -usd)]
        })
        .collect();
    edges.sort_unstable();
    let mut steps = vec![CapStep { from: i64::MIN, cap: base }];
    let mut granted = 0;
    for at_once in edges.chunk_by(|one, next| one.0 == next.0) {
        granted += at_once.iter().map(|(_, usd)| usd).sum::<i128>();
        let (from, cap) = (at_once[0].0, raised(base, granted));
        match steps.last_mut() {
            Some(last) if last.from == from => last.cap = cap,
            Some(last) if last.cap == cap => {}
            _ => steps.push(CapStep { from, cap }),
        }
    }
    steps
}

fn raised(base: Usd, granted: i128) -> Usd {
    let sum = i128::from(base.nanos()).saturating_add(granted);
    i64::try_from(sum).map_or(LARGEST_CAP, |nanos| Usd::from_nanos(nanos).min(LARGEST_CAP))
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
