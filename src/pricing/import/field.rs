//! The names of the public list's price fields: `cache_read_input_token_cost_above_272k_tokens_priority` and friends.

use super::super::card::Kind;
use crate::dialect::ServiceTier;

/// Fields that hold one number.
const STEMS: [(&str, Kind); 12] = [
    ("input_cost_per_token", Kind::Input),
    ("output_cost_per_token", Kind::Output),
    ("cache_read_input_token_cost", Kind::CacheRead),
    // DeepSeek's word for the same.
    ("input_cost_per_token_cache_hit", Kind::CacheRead),
    ("cache_creation_input_token_cost", Kind::CacheWrite5m),
    ("input_cost_per_audio_token", Kind::InputAudio),
    ("output_cost_per_audio_token", Kind::OutputAudio),
    ("input_cost_per_image_token", Kind::InputImage),
    ("output_cost_per_image_token", Kind::OutputImage),
    ("output_cost_per_reasoning_token", Kind::Reasoning),
    ("input_cost_per_request", Kind::Request),
    ("input_cost_per_query", Kind::Request),
];

/// Endings that name a service tier.
const SERVICES: [(&str, ServiceTier); 3] =
    [("_priority", ServiceTier::Priority), ("_flex", ServiceTier::Flex), ("_batches", ServiceTier::Batch)];

/// The ending of a cache write that lives an hour.
const ONE_HOUR: &str = "_above_1hr";

/// What a field of the public list prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub kind: Kind,
    pub service: ServiceTier,
    /// The context threshold; 0 for the flat price.
    pub above: u64,
}

/// Takes the endings off a name, in any order, each at most once. None: not a price that is charged for.
pub fn parse(name: &str) -> Option<Field> {
    let (mut stem, mut service, mut above, mut one_hour) = (name, None, None, false);
    loop {
        if let Some((kind, _)) = STEMS.iter().map(|(known, kind)| (*kind, *known)).find(|(_, known)| *known == stem) {
            let kind = match (kind, one_hour) {
                (kind, false) => kind,
                (Kind::CacheWrite5m, true) => Kind::CacheWrite1h,
                (_, true) => return None,
            };
            return Some(Field { kind, service: service.unwrap_or_default(), above: above.unwrap_or(0) });
        }
        if let Some((rest, tier)) = SERVICES.iter().find_map(|(end, tier)| Some((stem.strip_suffix(end)?, *tier))) {
            if service.replace(tier).is_some() {
                return None;
            }
            stem = rest;
        } else if let Some(rest) = stem.strip_suffix(ONE_HOUR) {
            if std::mem::replace(&mut one_hour, true) {
                return None;
            }
            stem = rest;
        } else {
            let (rest, tokens) = threshold(stem)?;
            if above.replace(tokens).is_some() {
                return None;
            }
            stem = rest;
        }
    }
}

/// Splits `..._above_272k_tokens`.
fn threshold(name: &str) -> Option<(&str, u64)> {
    let (rest, count) = name.strip_suffix("_tokens")?.rsplit_once("_above_")?;
    let (digits, unit) = match count.as_bytes().last()? {
        b'k' => (&count[..count.len() - 1], 1_000),
        b'm' => (&count[..count.len() - 1], 1_000_000),
        _ => (count, 1),
    };
    let tokens = digits.parse::<u32>().ok().filter(|tokens| *tokens > 0)?;
    Some((rest, u64::from(tokens) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: Kind, service: ServiceTier, above: u64) -> Option<Field> {
        Some(Field { kind, service, above })
    }

    #[test]
    fn every_combination_of_endings_is_understood() {
        use ServiceTier::{Batch, Flex, Priority, Standard};
        let names = [
            ("input_cost_per_token", field(Kind::Input, Standard, 0)),
            ("output_cost_per_token_priority", field(Kind::Output, Priority, 0)),
            ("output_cost_per_token_above_200k_tokens", field(Kind::Output, Standard, 200_000)),
            ("input_cost_per_token_above_272k_tokens_flex", field(Kind::Input, Flex, 272_000)),
            ("input_cost_per_token_batches_above_1m_tokens", field(Kind::Input, Batch, 1_000_000)),
            ("input_cost_per_token_cache_hit", field(Kind::CacheRead, Standard, 0)),
            ("cache_creation_input_token_cost", field(Kind::CacheWrite5m, Standard, 0)),
            ("cache_creation_input_token_cost_above_1hr", field(Kind::CacheWrite1h, Standard, 0)),
            (
                "cache_creation_input_token_cost_above_1hr_above_100k_tokens",
                field(Kind::CacheWrite1h, Standard, 100_000),
            ),
            ("input_cost_per_audio_token_above_200k_tokens_priority", field(Kind::InputAudio, Priority, 200_000)),
            ("output_cost_per_reasoning_token", field(Kind::Reasoning, Standard, 0)),
        ];
        for (name, expected) in names {
            assert_eq!(parse(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for name in [
            "input_cost_per_token_ultrafast",
            "cache_read_input_token_cost_above_272k_tokens_decisions",
            "input_cost_per_token_priority_flex",
            "input_cost_per_token_above_1k_tokens_above_2k_tokens",
            "input_cost_per_token_above_1hr",
            "cache_creation_input_token_cost_above_1hr_above_1hr",
            "input_cost_per_token_above_0k_tokens",
            "input_cost_per_token_above_k_tokens",
            "input_cost_per_token_above_99999999999999999999k_tokens",
            "input_cost_per_video_per_second_above_15s_interval",
            "input_cost_per_character_above_128k_tokens",
            "_priority",
            "",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
