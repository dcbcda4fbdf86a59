//! What a request sets aside before it is sent.
//!
//! # `worst_case`
//!
//! The most that the request can cost at this price, whatever the provider truthfully reports:
//!
//! * **Input**: one token per byte of the body. Tokenizers work on bytes, so that a token has at least one, and JSON
//!   never spells a text in fewer bytes than it has. On top comes a fixed number of tokens for what providers add
//!   themselves: the marks around turns ([`OVERHEAD`]; those of one turn are fewer than the bytes of
//!   `{"role":"user","content":""}`), their words about tools and schemas ([`TOOLS_OVERHEAD`]), and the descriptions
//!   of tools that are theirs ([`PROVIDER_TOOL_OVERHEAD`]). An image in the body has a number of tokens that its bytes
//!   do not bound ([`image_tokens`]). As soon as anything of the prompt is not in the body, the model's largest input
//!   is the bound.
//! * **Passes**: each call of a tool that the provider runs makes the model read its prompt once more. So the input is
//!   taken once more for each call that the request allows, and a request that states no bound is refused.
//! * **Output**: the request's own bound, else the model's, else the configured one; times the number of answers.
//!   Thinking that has a budget of its own comes on top, and predicted text. Anthropic's bound holds per pass.
//! * **Rates**: the dearest that can apply (see [`Price::ceiling`]).
//!
//! It does not bound: passes after the provider has refused a call beyond the stated number; a provider that gives more
//! than it was asked for; a price book whose maxima are smaller than the model's.
//!
//! # `expected`
//!
//! What such requests have used lately ([`Learnt`]), within the bounds of this one. Answers are never expected to be
//! shorter than before anything was learnt: else a few short ones would prepare a burst of long ones.
//!
//! # `none`
//!
//! One nano-dollar, so that a budget of which nothing is left admits nothing. What is free asks no budget in any mode.
//! What is charged for a request whose end is never known is the estimate of `expected` all the same.

#![deny(clippy::float_arithmetic)]

mod learnt;

pub use learnt::Learnt;

use crate::config::ReservationMode;
use crate::dialect::{CacheWrites, Dialect, ErrorCode, GatewayError, Inspected, ServiceTier, ToolCalls, Usage};
use crate::money::Usd;
use crate::pricing::{Bounds, Price, cost};

/// Tokens that a provider adds to any prompt: the marks around turns, a system text of a few sentences.
const OVERHEAD: u64 = 512;

/// Tokens in which a provider tells the model how to call tools or to follow a schema; the longest that is documented
/// has about 800.
const TOOLS_OVERHEAD: u64 = 1_024;

/// Tokens of the description of a tool that the provider has written: an editor, a computer.
const PROVIDER_TOOL_OVERHEAD: u64 = 2_048;

/// Bytes of a body per token of its prompt, before anything is learnt.
const BYTES_PER_TOKEN: u64 = 4;

/// Tokens of an answer that are expected before anything is learnt.
const UNLEARNT_OUTPUT: u64 = 1_000;

/// The least that a request which is not free sets aside.
const LEAST: Usd = Usd::from_nanos(1);

/// What an answer is charged by: the price of the model that serves it, at one provider.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The price of the served model.
    pub price: &'a Price,
    /// The provider's multiplier in parts per million.
    pub multiplier_ppm: u32,
    /// Output tokens that `worst_case` assumes where neither the request nor the price book bounds them.
    pub default_max_output_tokens: u64,
}

/// Who asks which model: what is learnt is kept apart by these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker<'a> {
    /// The served model.
    pub model: &'a str,
    /// The key's id.
    pub key: i64,
}

/// Why nothing bounds what a request may cost. The message is meant for the client's eyes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbounded {
    /// Part of the prompt is elsewhere, and nobody knows how much the model takes.
    #[error(
        "nothing bounds what this request may cost: {0} is not text in the request, and the model has no \
         `maxInputTokens` in the price book; set that, or send the text itself"
    )]
    Input(&'static str),
    /// The provider may call tools as often as it likes.
    #[error("nothing bounds what this request may cost: it lets the provider call tools as often as it likes; {0}")]
    Calls(&'static str),
}

impl Unbounded {
    /// As the client is told.
    #[must_use]
    pub fn to_gateway_error(&self) -> GatewayError {
        GatewayError::new(ErrorCode::EstimateUnbounded, self.to_string())
    }
}

/// What the request sets aside; zero when it is free, and then no budget is asked.
pub fn estimate(
    mode: ReservationMode,
    request: &Inspected,
    terms: &Terms<'_>,
    learnt: &Learnt,
    asker: Asker<'_>,
) -> Result<Usd, Unbounded> {
    match mode {
        ReservationMode::None => Ok(none(request, terms)),
        ReservationMode::Expected => Ok(expected(request, terms, learnt, asker)),
        ReservationMode::WorstCase => worst_case(request, terms),
    }
}

/// As good as nothing.
#[must_use]
pub fn none(request: &Inspected, terms: &Terms<'_>) -> Usd {
    if is_free(request, terms) { Usd::ZERO } else { LEAST }
}

/// What such requests have cost lately.
#[must_use]
pub fn expected(request: &Inspected, terms: &Terms<'_>, learnt: &Learnt, asker: Asker<'_>) -> Usd {
    if is_free(request, terms) {
        return Usd::ZERO;
    }
    let bytes = request.body_bytes();
    let (most_input, most_output) = (input_once(request, terms.price).unwrap_or(u64::MAX), output(request, terms));
    let unlearnt = UNLEARNT_OUTPUT.saturating_mul(request.candidates);
    let (input, output) = match learnt.expect(asker, bytes) {
        // Whoever asks for twenty short answers shall not be trusted with a hundred long ones at once.
        Some(learnt) => (learnt.input, learnt.output.max(unlearnt)),
        None => (bytes.div_ceil(BYTES_PER_TOKEN), unlearnt),
    };
    // Unless the client asks for priority it is not expected, although it may come.
    let service_tier = request.service_tier.unwrap_or(ServiceTier::Standard);
    let usage =
        Usage { input: input.min(most_input), output: output.min(most_output), service_tier, ..Usage::default() };
    cost(terms.price, &usage, terms.multiplier_ppm).max(LEAST)
}

/// The most that the request can cost.
pub fn worst_case(request: &Inspected, terms: &Terms<'_>) -> Result<Usd, Unbounded> {
    if is_free(request, terms) {
        return Ok(Usd::ZERO);
    }
    let facts = &request.facts;
    let (calls, web_searches) = match facts.calls {
        ToolCalls::None => (0, 0),
        ToolCalls::AtMost { calls, searches } => (calls, searches),
        ToolCalls::Unstated(what_to_do) => return Err(Unbounded::Calls(what_to_do)),
    };
    let passes = calls.saturating_add(facts.extra_passes).saturating_add(1);
    let from_outside = facts.outside.is_some();
    let bounds = Bounds {
        input: input_once(request, terms.price)?.saturating_mul(passes),
        output: match dialect(request) {
            Dialect::Anthropic => output(request, terms).saturating_mul(passes),
            _ => output(request, terms),
        },
        web_searches,
        cache_write_5m: facts.cache_writes != CacheWrites::None,
        cache_write_1h: facts.cache_writes == CacheWrites::OneHour,
        input_audio: from_outside,
        input_image: from_outside || facts.images > 0,
        output_audio: facts.output_audio,
        output_image: facts.output_image,
        priority: facts.may_be_priority,
    };
    Ok(terms.price.ceiling(&bounds, terms.multiplier_ppm).max(LEAST))
}

/// The most tokens of a prompt that is read once.
fn input_once(request: &Inspected, price: &Price) -> Result<u64, Unbounded> {
    let facts = &request.facts;
    let tools = if facts.has_tools { TOOLS_OVERHEAD } else { 0 };
    let in_body = request
        .body_bytes()
        .saturating_add(OVERHEAD + tools)
        .saturating_add(facts.provider_tools.saturating_mul(PROVIDER_TOOL_OVERHEAD));
    match (facts.outside, price.max_input_tokens) {
        (Some(_), Some(most)) => Ok(most.max(in_body)),
        (Some(what), None) => Err(Unbounded::Input(what)),
        (None, most) => {
            let images = facts.images.saturating_mul(image_tokens(dialect(request)));
            Ok(in_body.saturating_add(images.min(most.unwrap_or(u64::MAX))))
        }
    }
}

/// The most tokens of all answers, further passes over the prompt included: what an estimate of an answer that nobody
/// has counted cannot be more than.
#[must_use]
pub fn most_output(request: &Inspected, terms: &Terms<'_>) -> u64 {
    match (dialect(request), request.facts.calls) {
        // Each pass has its own bound, and nobody knows how many there are.
        (Dialect::Anthropic, calls) if calls != ToolCalls::None || request.facts.extra_passes > 0 => u64::MAX,
        _ => output(request, terms),
    }
}

/// The most tokens of all answers, without further passes.
fn output(request: &Inspected, terms: &Terms<'_>) -> u64 {
    if request.endpoint.is_embedding() {
        return 0;
    }
    let facts = &request.facts;
    let of_model = terms.price.max_output_tokens.unwrap_or(terms.default_max_output_tokens);
    let bound = request.max_output_tokens.unwrap_or(of_model);
    // Some providers of this dialect do not count thinking against the bound, which shows in the price.
    let thinking_apart = dialect(request) == Dialect::OpenaiChat
        && request.max_output_tokens.is_some()
        && !facts.bounds_thinking
        && terms.price.prices_reasoning_apart();
    bound
        .saturating_add(facts.beside_output)
        .saturating_add(if thinking_apart { of_model } else { 0 })
        .saturating_mul(request.candidates)
}

/// The most tokens of one image. Providers scale images down; these are their largest after that, for the model and
/// the level of detail that take most.
const fn image_tokens(dialect: Dialect) -> u64 {
    match dialect {
        Dialect::Anthropic | Dialect::Gemini => 5_000,
        // 8 tiles of 5 667 tokens and a base of 2 833, for the smallest models.
        Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::OpenaiEmbeddings => 50_000,
    }
}

fn dialect(request: &Inspected) -> Dialect {
    // Endpoints without a dialect have no answer that costs.
    request.endpoint.dialect().unwrap_or(Dialect::OpenaiChat)
}

fn is_free(request: &Inspected, terms: &Terms<'_>) -> bool {
    !request.endpoint.is_generation() || terms.multiplier_ppm == 0 || terms.price.is_free()
}

#[cfg(test)]
mod tests;
