//! The price of one model.

use super::card::{Card, Kind};
use crate::dialect::ServiceTier;

/// Service tiers that may have prices of their own, with the names of their fields.
pub const SERVICE_TIERS: [(ServiceTier, &str); 3] =
    [(ServiceTier::Priority, "priority"), (ServiceTier::Flex, "flex"), (ServiceTier::Batch, "batch")];

/// The price of one model: flat prices, context tiers, service tiers. The rules that make rates of them are in the
/// documentation of [`pricing`](super).
///
/// A `Price` is made by deserializing it, by [`Price::from_value`] or by an import, all of which validate it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    pub(super) base: Tiered,
    /// In the order of [`SERVICE_TIERS`]. Boxed: few models have any.
    pub(super) services: [Option<Box<Tiered>>; SERVICE_TIERS.len()],
    /// The most input tokens that the model takes.
    pub max_input_tokens: Option<u64>,
    /// The most output tokens that the model gives.
    pub max_output_tokens: Option<u64>,
}

impl Price {
    /// The prices of one service tier.
    pub(super) fn service(&self, tier: ServiceTier) -> Option<&Tiered> {
        let place = SERVICE_TIERS.iter().position(|(known, _)| *known == tier)?;
        self.services[place].as_deref()
    }

    /// Whether anything is charged for; a price of nothing but zeros is free.
    #[must_use]
    pub fn is_free(&self) -> bool {
        let free = |tiered: &Tiered| tiered.cards().all(|card| card.iter().all(|(_, femto)| femto == 0));
        free(&self.base) && self.services.iter().flatten().all(|tiered| free(tiered))
    }
}

/// Flat prices and the tiers that replace them for long prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tiered {
    pub card: Card,
    /// By rising threshold, no two alike.
    pub contexts: Vec<ContextTier>,
}

/// Prices of requests whose input is longer than `above` tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextTier {
    pub above: u64,
    pub card: Card,
}

/// A price, and the context tier that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub femto: u64,
    pub above: Option<u64>,
}

impl Tiered {
    /// The price of `kind` for a request with so many input tokens, if one is set (rule 1 of the module).
    pub fn step(&self, kind: Kind, input_tokens: u64) -> Option<Step> {
        let reached = self.contexts.partition_point(|tier| tier.above < input_tokens);
        let (femto, level) = self.find(kind, reached)?;
        let step = Step { femto, above: self.above(level) };
        let Some(text) = kind.text() else { return Some(step) };
        let (Some((now, now_level)), Some((then, _))) = (self.find(text, reached), self.find(text, level)) else {
            return Some(step);
        };
        if now_level <= level || now <= then || then == 0 {
            return Some(step);
        }
        let risen = (u128::from(femto) * u128::from(now)).div_ceil(u128::from(then));
        Some(Step { femto: u64::try_from(risen).unwrap_or(u64::MAX), above: self.above(now_level) })
    }

    /// The price set at `level` or the next below it, and where it was found. Level 0 is flat, level 1 the first tier.
    fn find(&self, kind: Kind, level: usize) -> Option<(u64, usize)> {
        (0..=level).rev().find_map(|level| {
            let card = level.checked_sub(1).map_or(&self.card, |tier| &self.contexts[tier].card);
            Some((card.get(kind)?, level))
        })
    }

    fn above(&self, level: usize) -> Option<u64> {
        Some(self.contexts[level.checked_sub(1)?].above)
    }

    fn cards(&self) -> impl Iterator<Item = &Card> {
        std::iter::once(&self.card).chain(self.contexts.iter().map(|tier| &tier.card))
    }
}
