//! The bounds that a request sets itself, and what they leave open.

use super::super::Endpoint;
use super::body::Body;
use super::facts::{CacheWrites, Facts};
use super::look::Look;
use super::member::Slot;
use super::options::{GenerationConfig, is_text_only, thinking_budget};
use super::place::Place;
use super::values::{as_count, as_string, as_u64};
use super::{Dialect, InspectError};

/// Words that rule out that a request is served with priority.
const NOT_PRIORITY: [&str; 5] = ["default", "standard", "standard_only", "flex", "batch"];

/// The client's bound on output tokens. Providers differ in which of two bounds they heed, and in what they make of one
/// that is no positive number: some take it for no bound at all.
pub(super) fn output(found: &Body<'_>, endpoint: Endpoint, generation: &GenerationConfig<'_>) -> Option<u64> {
    if endpoint.dialect() == Some(Dialect::Gemini) {
        return generation.max_output_tokens;
    }
    let bounds = [Slot::MaxTokens, Slot::MaxCompletionTokens].into_iter().filter_map(|slot| found.get_set(slot));
    // Anthropic fills its cache and answers nothing when it is asked for nothing.
    let least = if endpoint == Endpoint::Messages { 0 } else { 1 };
    let mut largest = None;
    for bound in bounds {
        largest = largest.max(Some(as_u64(bound).filter(|tokens| *tokens >= least)?));
    }
    largest
}

/// A bound that is a number only to some providers, such as `"100"`. Others know no bound then, so it comes on top of
/// what the model gives.
fn misspelt_output(found: &Body<'_>) -> u64 {
    let bounds = [Slot::MaxTokens, Slot::MaxCompletionTokens].into_iter().filter_map(|slot| found.get_set(slot));
    bounds.filter(|bound| as_u64(bound).is_none()).filter_map(as_count).max().unwrap_or(0)
}

/// How many answers are asked for, at least 1.
pub(super) fn candidates(found: &Body<'_>, generation: &GenerationConfig<'_>) -> u64 {
    let counts = [Slot::N, Slot::BestOf].into_iter().filter_map(|slot| found.get(slot).and_then(as_count));
    counts.chain(generation.candidate_count).max().unwrap_or(1).max(1)
}

/// Completes the facts that were gathered on the way with those that need the whole body.
pub(super) fn facts(
    found: &mut Body<'_>,
    endpoint: Endpoint,
    generation: &GenerationConfig<'_>,
    body: &str,
) -> Result<Facts, InspectError> {
    if !endpoint.is_generation() {
        return Ok(Facts::default());
    }
    if let Some(requests) = found.get(Slot::Requests) {
        let text = requests.get();
        let look = Look { text, place: Place::GeminiRequest, findings: &mut found.findings, level: 0 };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        serde::de::DeserializeSeed::deserialize(look, &mut deserializer)
            .map_err(|error| InspectError::NotJson(error.to_string()))?;
    }
    let limit = found.get_set(Slot::MaxToolCalls).and_then(as_u64);
    found.findings.bound_shared_tools(limit);
    let mut facts = std::mem::take(&mut found.findings.facts);
    facts.has_tools |= generation.has_schema;
    facts.may_be_priority = may_be_priority(found);
    facts.cache_writes = cache_writes(endpoint, body);
    (facts.output_audio, facts.output_image) = output_media(found, endpoint, generation);
    let thinking = stated_thinking(found, generation)?;
    facts.bounds_thinking = thinking.is_some();
    facts.beside_output = thinking.unwrap_or(0);
    if endpoint == Endpoint::Messages {
        // A budget for thinking is part of `max_tokens`, unless it is larger, as it may be between calls of tools.
        let bound = output(found, endpoint, generation);
        facts.beside_output = thinking.filter(|budget| bound.is_some_and(|bound| *budget >= bound)).unwrap_or(0);
    }
    facts.beside_output = facts.beside_output.saturating_add(misspelt_output(found));
    if found.get_set(Slot::Prediction).is_some() {
        // What was predicted and did not come true is billed as output.
        facts.beside_output = facts.beside_output.saturating_add(body.len() as u64);
    }
    Ok(facts)
}

/// The budget that a request sets for thinking.
fn stated_thinking(found: &Body<'_>, generation: &GenerationConfig<'_>) -> Result<Option<u64>, InspectError> {
    let mut largest = generation.thinking_budget.max(found.get_set(Slot::ThinkingBudget).and_then(as_count));
    for slot in [Slot::Thinking, Slot::Reasoning] {
        if let Some(raw) = found.get_set(slot) {
            largest = largest.max(thinking_budget(raw)?);
        }
    }
    Ok(largest)
}

fn may_be_priority(found: &Body<'_>) -> bool {
    let word = found.get_set(Slot::ServiceTier).and_then(as_string).unwrap_or_default();
    let word = word.to_ascii_lowercase();
    let word = word.strip_prefix("service_tier_").unwrap_or(&word);
    !NOT_PRIORITY.contains(&word)
}

/// Whether the answer may hold audio, and images.
fn output_media(found: &Body<'_>, endpoint: Endpoint, generation: &GenerationConfig<'_>) -> (bool, bool) {
    match endpoint {
        Endpoint::Messages => (false, false),
        Endpoint::ChatCompletions => {
            let modalities = found.get_set(Slot::Modalities);
            let text_only = modalities.is_some_and(is_text_only);
            // Audio has to be asked for; some models draw without being asked.
            let audio = found.get_set(Slot::Audio).is_some() || (modalities.is_some() && !text_only);
            (audio, !text_only)
        }
        Endpoint::Responses => (false, true),
        _ if endpoint.is_embedding() => (false, false),
        _ => {
            let text_only = generation.modalities.is_some_and(is_text_only);
            (!text_only, !text_only)
        }
    }
}

/// What may be cached: providers of some dialects do it unasked, others where the body says so. The body is searched as
/// text: a mark can stand in many places, and this misses none.
fn cache_writes(endpoint: Endpoint, body: &str) -> CacheWrites {
    match endpoint {
        Endpoint::Messages => {
            let body = body.as_bytes();
            let escaped = has_escaped_ascii(body);
            if !escaped && memchr::memmem::find(body, b"cache_control").is_none() {
                CacheWrites::None
            } else if escaped || memchr::memmem::find(body, br#""1h""#).is_some() {
                CacheWrites::OneHour
            } else {
                CacheWrites::FiveMinutes
            }
        }
        Endpoint::ChatCompletions | Endpoint::Responses => CacheWrites::FiveMinutes,
        _ => CacheWrites::None,
    }
}

/// Whether a digit, a letter or an underscore is spelled as an escape: then words may be hidden.
fn has_escaped_ascii(body: &[u8]) -> bool {
    memchr::memmem::find_iter(body, b"\\u00").any(|at| {
        let digits = body.get(at + 4..at + 6).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_none_or(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}
