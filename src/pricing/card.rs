//! What can be priced ([`Kind`]) and a set of prices for it ([`Card`]).

use crate::dialect::Usage;
use crate::money::Usd;

/// Femto-dollars (1e-15 USD) in a pico-dollar.
pub const FEMTO_PER_PICO: u64 = 1_000;

/// Femto-dollars in a nano-dollar.
pub const FEMTO_PER_NANO: u64 = 1_000_000;

/// The dearest token that is believed: 1 USD, which is 1 000 000 USD per million.
pub const MAX_TOKEN_FEMTO: u64 = 1_000_000_000_000_000;

/// The dearest request or call that is believed: 1 000 USD.
pub const MAX_CALL_FEMTO: u64 = 1_000 * MAX_TOKEN_FEMTO;

/// One thing that has a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Input,
    Output,
    CacheRead,
    CacheWrite5m,
    CacheWrite1h,
    InputAudio,
    OutputAudio,
    InputImage,
    OutputImage,
    Reasoning,
    Request,
    WebSearch,
}

impl Kind {
    pub const COUNT: usize = 12;

    /// All of them, in the order in which they are written; each stands at its own discriminant.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::InputAudio,
        Self::OutputAudio,
        Self::InputImage,
        Self::OutputImage,
        Self::Reasoning,
        Self::Request,
        Self::WebSearch,
    ];

    /// The name of its field in JSON and YAML.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Input => "inputUsdPerMillion",
            Self::Output => "outputUsdPerMillion",
            Self::CacheRead => "cacheReadUsdPerMillion",
            Self::CacheWrite5m => "cacheWrite5mUsdPerMillion",
            Self::CacheWrite1h => "cacheWrite1hUsdPerMillion",
            Self::InputAudio => "inputAudioUsdPerMillion",
            Self::OutputAudio => "outputAudioUsdPerMillion",
            Self::InputImage => "inputImageUsdPerMillion",
            Self::OutputImage => "outputImageUsdPerMillion",
            Self::Reasoning => "reasoningUsdPerMillion",
            Self::Request => "requestUsd",
            Self::WebSearch => "webSearchUsd",
        }
    }

    /// How many of it a request used.
    pub const fn units(self, usage: &Usage) -> u64 {
        match self {
            Self::Input => usage.input,
            Self::Output => usage.output,
            Self::CacheRead => usage.cache_read,
            Self::CacheWrite5m => usage.cache_write_5m,
            Self::CacheWrite1h => usage.cache_write_1h,
            Self::InputAudio => usage.input_audio,
            Self::OutputAudio => usage.output_audio,
            Self::InputImage => usage.input_image,
            Self::OutputImage => usage.output_image,
            Self::Reasoning => usage.reasoning,
            Self::Request => 1,
            Self::WebSearch => usage.web_searches,
        }
    }

    /// Where a usage counts its tokens.
    pub const fn tokens_mut(self, usage: &mut Usage) -> Option<&mut u64> {
        match self {
            Self::Input => Some(&mut usage.input),
            Self::Output => Some(&mut usage.output),
            Self::CacheRead => Some(&mut usage.cache_read),
            Self::CacheWrite5m => Some(&mut usage.cache_write_5m),
            Self::CacheWrite1h => Some(&mut usage.cache_write_1h),
            Self::InputAudio => Some(&mut usage.input_audio),
            Self::OutputAudio => Some(&mut usage.output_audio),
            Self::InputImage => Some(&mut usage.input_image),
            Self::OutputImage => Some(&mut usage.output_image),
            Self::Reasoning => Some(&mut usage.reasoning),
            Self::Request | Self::WebSearch => None,
        }
    }

    /// The text price that it rises with, and takes where it has none of its own.
    pub const fn text(self) -> Option<Self> {
        match self {
            Self::CacheRead | Self::CacheWrite5m | Self::CacheWrite1h | Self::InputAudio | Self::InputImage => {
                Some(Self::Input)
            }
            Self::OutputAudio | Self::OutputImage | Self::Reasoning => Some(Self::Output),
            Self::Input | Self::Output | Self::Request | Self::WebSearch => None,
        }
    }

    /// Whether it is priced per million tokens, not per call.
    pub const fn is_tokens(self) -> bool {
        !matches!(self, Self::Request | Self::WebSearch)
    }

    /// The highest price that is believed.
    pub const fn max_femto(self) -> u64 {
        if self.is_tokens() { MAX_TOKEN_FEMTO } else { MAX_CALL_FEMTO }
    }

    /// The smallest step of a price: a pico-dollar per token (6 decimals of USD per million), a nano-dollar per call.
    pub const fn step_femto(self) -> u64 {
        if self.is_tokens() { FEMTO_PER_PICO } else { FEMTO_PER_NANO }
    }

    /// A price as it is written: USD per million tokens, or per call.
    pub fn shown(self, femto: u64) -> Usd {
        // A femto-dollar per token is a nano-dollar per million tokens.
        let nanos = if self.is_tokens() { femto } else { femto / FEMTO_PER_NANO };
        Usd::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}

/// A set of prices in femto-dollars per token or call; what is left out is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Card([Option<u64>; Kind::COUNT]);

impl Card {
    pub const fn get(&self, kind: Kind) -> Option<u64> {
        self.0[kind as usize]
    }

    pub const fn set(&mut self, kind: Kind, femto: Option<u64>) {
        self.0[kind as usize] = femto;
    }

    /// The prices that are set, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, self.get(kind)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_own_place() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{}", kind.field());
        }
    }
}
