//! The most that an answer can cost when only bounds on its usage are known.

use super::Price;
use super::card::Kind;
use crate::dialect::{ServiceTier, Usage};
use crate::money::Usd;

/// Bounds on what one answer uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Tokens of the prompt, of all kinds together.
    pub input: u64,
    /// Tokens of the answer, of all kinds together.
    pub output: u64,
    /// Calls of the provider's web search.
    pub web_searches: u64,
    /// Cache writes of five minutes may occur.
    pub cache_write_5m: bool,
    /// Cache writes of an hour may occur.
    pub cache_write_1h: bool,
    /// The prompt may hold audio.
    pub input_audio: bool,
    /// The prompt may hold images.
    pub input_image: bool,
    /// The answer may hold audio.
    pub output_audio: bool,
    /// The answer may hold images.
    pub output_image: bool,
    /// The provider may serve with priority.
    pub priority: bool,
}

impl Price {
    /// The most that any usage within `bounds` costs, with the provider's multiplier in parts per million.
    ///
    /// Between two context thresholds the rates are the same for every usage, so that the longest prompt of the dearest
    /// kind with the longest answer of the dearest kind costs most there. The ceiling is the dearest of these.
    #[must_use]
    pub fn ceiling(&self, bounds: &Bounds, multiplier_ppm: u32) -> Usd {
        let tiers = [ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Batch, ServiceTier::Priority];
        let tiers = tiers.into_iter().filter(|tier| *tier != ServiceTier::Priority || bounds.priority);
        let thresholds = std::iter::once(&self.base)
            .chain(self.services.iter().flatten().map(|service| &**service))
            .flat_map(|tiered| tiered.contexts.iter().map(|context| context.above))
            .filter(|above| *above < bounds.input)
            .chain(std::iter::once(bounds.input));
        tiers
            .filter(|tier| *tier == ServiceTier::Standard || self.service(*tier).is_some())
            .flat_map(|tier| thresholds.clone().map(move |input| (tier, input)))
            .map(|(tier, input)| self.dearest(bounds, tier, input, multiplier_ppm))
            .max()
            .unwrap_or_default()
    }

    /// Whether reasoning has a price of its own: then the provider counts it apart from the answer.
    #[must_use]
    pub fn prices_reasoning_apart(&self) -> bool {
        let card = &self.base.card;
        card.get(Kind::Reasoning).is_some_and(|reasoning| Some(reasoning) != card.get(Kind::Output))
    }

    fn dearest(&self, bounds: &Bounds, service_tier: ServiceTier, input: u64, multiplier_ppm: u32) -> Usd {
        let base = Usage { web_searches: bounds.web_searches, service_tier, ..Usage::default() };
        let applied = self.applied(&Usage { input, ..base });
        let usage = [
            (Kind::Input, true),
            (Kind::CacheRead, true),
            (Kind::CacheWrite5m, bounds.cache_write_5m),
            (Kind::CacheWrite1h, bounds.cache_write_1h),
            (Kind::InputAudio, bounds.input_audio),
            (Kind::InputImage, bounds.input_image),
        ];
        let answer = [
            (Kind::Output, true),
            (Kind::Reasoning, true),
            (Kind::OutputAudio, bounds.output_audio),
            (Kind::OutputImage, bounds.output_image),
        ];
        let dearest = |kinds: &[(Kind, bool)]| {
            let kinds = kinds.iter().filter(|(_, possible)| *possible).map(|(kind, _)| *kind);
            kinds.max_by_key(|kind| applied.rates.get(*kind))
        };
        let mut most = base;
        for (kind, tokens) in [(dearest(&usage), input), (dearest(&answer), bounds.output)] {
            if let Some(field) = kind.and_then(|kind| kind.tokens_mut(&mut most)) {
                *field = tokens;
            }
        }
        applied.cost(&most, multiplier_ppm)
    }
}
