//! OpenAI Chat Completions, and the many providers that speak it with accents of their own.
//!
//! A stream tells its usage in one more chunk without choices, or running in every chunk, or inside the last choice.
//! Whatever comes last counts.

use super::ServiceTier;
use super::complaint::{Clue, error_node};
use super::meter::{Progress, Reader};
use super::openai_usage::Totals;
use super::scan::{Node, Scalar, array, count, object, take};

/// What matters in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Root,
    Usage,
    Prompt,
    Completion,
    Total,
    Cached,
    CacheWrite,
    InputAudio,
    InputImage,
    Reasoning,
    OutputAudio,
    OutputImage,
    Tier,
    Finish,
    /// Part of a message that is not text.
    Part,
    Error,
    Clue(Clue),
}

static ROOT: Node<Field> = object(&[
    ("choices", array(&CHOICE)),
    ("usage", USAGE),
    ("service_tier", take(Field::Tier)),
    ("error", error_node!(Field)),
    // Groq's place for it.
    ("x_groq", object(&[("usage", USAGE), ("error", error_node!(Field))])),
])
.marked(Field::Root);

const CHOICE: Node<Field> = object(&[
    ("delta", MESSAGE),
    ("message", MESSAGE),
    ("text", count()),
    ("finish_reason", take(Field::Finish)),
    // Moonshot's place for it in streams.
    ("usage", USAGE),
    // OpenRouter's, where one choice has failed.
    ("error", error_node!(Field)),
]);

const MESSAGE: Node<Field> = object(&[
    ("content", count().or_array(&PART)),
    ("reasoning_content", count()),
    ("reasoning", count()),
    ("refusal", count()),
    ("tool_calls", array(&TOOL_CALL)),
    ("function_call", FUNCTION),
    ("audio", object(&[("transcript", count())]).marked(Field::Part)),
    ("images", array(&IMAGE)),
]);

const IMAGE: Node<Field> = object(&[]).marked(Field::Part);

const PART: Node<Field> = object(&[("text", count()), ("thinking", array(&THOUGHT)), ("refusal", count())]);

const THOUGHT: Node<Field> = object(&[("text", count())]);

const TOOL_CALL: Node<Field> = object(&[("function", FUNCTION), ("custom", FUNCTION)]).marked(Field::Part);

const FUNCTION: Node<Field> = object(&[("name", count()), ("arguments", count()), ("input", count())]);

const USAGE: Node<Field> = object(&[
    ("prompt_tokens", take(Field::Prompt)),
    ("completion_tokens", take(Field::Completion)),
    ("total_tokens", take(Field::Total)),
    ("prompt_tokens_details", PROMPT_DETAILS),
    ("completion_tokens_details", COMPLETION_DETAILS),
    // DeepSeek.
    ("prompt_cache_hit_tokens", take(Field::Cached)),
    // Moonshot.
    ("cached_tokens", take(Field::Cached)),
    // Proxies that translate from Anthropic.
    ("cache_read_input_tokens", take(Field::Cached)),
    ("cache_creation_input_tokens", take(Field::CacheWrite)),
    ("reasoning_tokens", take(Field::Reasoning)),
])
.marked(Field::Usage);

const PROMPT_DETAILS: Node<Field> = object(&[
    ("cached_tokens", take(Field::Cached)),
    ("cache_write_tokens", take(Field::CacheWrite)),
    ("cache_creation_tokens", take(Field::CacheWrite)),
    ("cache_creation_input_tokens", take(Field::CacheWrite)),
    ("audio_tokens", take(Field::InputAudio)),
    ("image_tokens", take(Field::InputImage)),
]);

const COMPLETION_DETAILS: Node<Field> = object(&[
    ("reasoning_tokens", take(Field::Reasoning)),
    ("audio_tokens", take(Field::OutputAudio)),
    ("image_tokens", take(Field::OutputImage)),
]);

/// Reads answers of this dialect.
#[derive(Debug, Default)]
pub(super) struct Reading {
    totals: Totals,
    has_usage: bool,
}

impl Reading {
    fn slot(&mut self, field: Field) -> Option<&mut u64> {
        let totals = &mut self.totals;
        match field {
            Field::Prompt => Some(&mut totals.prompt),
            Field::Completion => Some(&mut totals.completion),
            Field::Total => Some(&mut totals.total),
            Field::Cached => Some(&mut totals.cached),
            Field::CacheWrite => Some(&mut totals.cache_write),
            Field::InputAudio => Some(&mut totals.input_audio),
            Field::InputImage => Some(&mut totals.input_image),
            Field::Reasoning => Some(&mut totals.reasoning),
            Field::OutputAudio => Some(&mut totals.output_audio),
            Field::OutputImage => Some(&mut totals.output_image),
            _ => None,
        }
    }
}

impl Reader for Reading {
    type Field = Field;

    const DONE: Option<&'static [u8]> = Some(b"[DONE]");

    fn root() -> &'static Node<Field> {
        &ROOT
    }

    fn open(&mut self, field: Field, progress: &mut Progress) {
        match field {
            Field::Root => self.has_usage = false,
            Field::Usage => {
                self.totals = Totals::default();
                self.has_usage = true;
            }
            Field::Part => progress.content = true,
            Field::Error => progress.error = true,
            _ => {}
        }
    }

    fn close(&mut self, field: Field, _event: &str, progress: &mut Progress) {
        if matches!(field, Field::Root) && self.has_usage {
            progress.report(self.totals.usage());
        }
    }

    fn scalar(&mut self, field: Field, value: Scalar<'_>, progress: &mut Progress) {
        match field {
            Field::Finish => progress.finish(value),
            Field::Error => {
                progress.error |= value.is_something();
                progress.complaint.note(Clue::Message, value);
            }
            Field::Clue(clue) => progress.complaint.note(clue, value),
            Field::Tier => {
                if let Some(tier) = value.text().and_then(ServiceTier::from_provider) {
                    progress.tier = Some(tier);
                }
            }
            _ => {
                if let (Some(slot), Some(count)) = (self.slot(field), value.count()) {
                    // The same number under two names must not be counted twice.
                    *slot = count.max(*slot);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
