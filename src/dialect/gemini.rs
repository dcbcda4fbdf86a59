//! Gemini: streams of events, arrays of chunks or one object, each with the usage so far.
//!
//! `promptTokenCount` includes the cached tokens, so they are taken out of it, and out of the modality that they
//! belong to: a cached token is counted once. Tokens of tool results come on top of the prompt, thoughts on top of
//! the candidates.
//!
//! Web search is billed by Google per query for Gemini 3 and later (each different query that is not empty), and per
//! request, however many queries, for the models before. The answer names its model, so both can be told apart.

use std::collections::BTreeSet;

use super::complaint::{Clue, error_node};
use super::meter::{Progress, Reader};
use super::scan::{Node, Scalar, array, count, object, take};
use super::{ServiceTier, Usage};

/// More different queries than this in one answer are not told apart any more.
const MAX_QUERIES: usize = 256;

/// What matters in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Chunk,
    Usage,
    Prompt,
    Cached,
    ToolUse,
    Candidates,
    Thoughts,
    Tier,
    PromptDetail,
    CachedDetail,
    CandidatesDetail,
    Modality,
    ModalityCount,
    Finish,
    Blocked,
    /// Part of an answer that is not text.
    Part,
    Query,
    ModelVersion,
    Error,
    Clue(Clue),
}

/// A chunk, or an array of them.
static ROOT: Node<Field> = CHUNK.or_array(&CHUNK);

const CHUNK: Node<Field> = object(&[
    ("candidates", array(&CANDIDATE)),
    ("usageMetadata", USAGE),
    ("modelVersion", take(Field::ModelVersion)),
    ("promptFeedback", object(&[("blockReason", take(Field::Blocked))])),
    ("error", error_node!(Field)),
    // The answers to embedContent and batchEmbedContents.
    ("embedding", THING),
    ("embeddings", array(&THING)),
])
.marked(Field::Chunk);

const CANDIDATE: Node<Field> = object(&[
    ("content", object(&[("parts", array(&PART))])),
    ("finishReason", take(Field::Finish)),
    ("groundingMetadata", object(&[("webSearchQueries", array(&QUERY))])),
]);

const PART: Node<Field> = object(&[
    ("text", count()),
    ("functionCall", count()),
    ("executableCode", object(&[("code", count())]).marked(Field::Part)),
    ("codeExecutionResult", THING),
    ("inlineData", THING),
    ("fileData", THING),
]);

const THING: Node<Field> = object(&[]).marked(Field::Part);

const QUERY: Node<Field> = take(Field::Query);

const USAGE: Node<Field> = object(&[
    ("promptTokenCount", take(Field::Prompt)),
    ("cachedContentTokenCount", take(Field::Cached)),
    ("toolUsePromptTokenCount", take(Field::ToolUse)),
    ("candidatesTokenCount", take(Field::Candidates)),
    ("thoughtsTokenCount", take(Field::Thoughts)),
    ("promptTokensDetails", array(&PROMPT_DETAIL)),
    ("cacheTokensDetails", array(&CACHED_DETAIL)),
    ("candidatesTokensDetails", array(&CANDIDATES_DETAIL)),
    ("serviceTier", take(Field::Tier)),
    ("trafficType", take(Field::Tier)),
])
.marked(Field::Usage);

const DETAIL: Node<Field> = object(&[("modality", take(Field::Modality)), ("tokenCount", take(Field::ModalityCount))]);

const PROMPT_DETAIL: Node<Field> = DETAIL.marked(Field::PromptDetail);

const CACHED_DETAIL: Node<Field> = DETAIL.marked(Field::CachedDetail);

const CANDIDATES_DETAIL: Node<Field> = DETAIL.marked(Field::CandidatesDetail);

/// The numbers of one `usageMetadata`; absent ones are zero.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    prompt: u64,
    cached: u64,
    tool_use: u64,
    candidates: u64,
    thoughts: u64,
    prompt_parts: Parts,
    cached_parts: Parts,
    candidate_parts: Parts,
}

/// Tokens of the modalities that have prices of their own. Video and documents are priced as text.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    audio: u64,
    image: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Modality {
    Audio,
    Image,
    #[default]
    Other,
}

impl From<Scalar<'_>> for Modality {
    fn from(value: Scalar<'_>) -> Self {
        match value {
            // The numbers are those of the enumeration, for clients that ask for them.
            Scalar::Text("AUDIO") | Scalar::Bare(b"4") => Self::Audio,
            Scalar::Text("IMAGE") | Scalar::Bare(b"2") => Self::Image,
            _ => Self::Other,
        }
    }
}

impl Parts {
    fn add(&mut self, modality: Modality, count: u64) {
        match modality {
            Modality::Audio => self.audio = self.audio.saturating_add(count),
            Modality::Image => self.image = self.image.saturating_add(count),
            Modality::Other => {}
        }
    }

    /// These parts of `whole`, never more than it; and what remains of it.
    fn within(self, whole: u64) -> (Self, u64) {
        let audio = self.audio.min(whole);
        let image = self.image.min(whole - audio);
        (Self { audio, image }, whole - audio - image)
    }

    const fn without(self, other: Self) -> Self {
        Self { audio: self.audio.saturating_sub(other.audio), image: self.image.saturating_sub(other.image) }
    }
}

impl Counts {
    fn usage(&self) -> Usage {
        let fresh = self.prompt.saturating_sub(self.cached);
        let (input_parts, input) = self.prompt_parts.without(self.cached_parts).within(fresh);
        let (output_parts, output) = self.candidate_parts.within(self.candidates);
        Usage {
            input: input.saturating_add(self.tool_use),
            output,
            cache_read: self.cached,
            reasoning: self.thoughts,
            input_audio: input_parts.audio,
            input_image: input_parts.image,
            output_audio: output_parts.audio,
            output_image: output_parts.image,
            ..Usage::default()
        }
    }
}

/// Reads answers of this dialect.
#[derive(Debug, Default)]
pub(super) struct Reading {
    counts: Counts,
    has_usage: bool,
    modality: Modality,
    modality_count: u64,
    queries: BTreeSet<u64>,
    bills_per_request: bool,
}

impl Reading {
    fn web_searches(&self) -> u64 {
        let queries = self.queries.len() as u64;
        if self.bills_per_request { queries.min(1) } else { queries }
    }

    fn slot(&mut self, field: Field) -> Option<&mut u64> {
        match field {
            Field::Prompt => Some(&mut self.counts.prompt),
            Field::Cached => Some(&mut self.counts.cached),
            Field::ToolUse => Some(&mut self.counts.tool_use),
            Field::Candidates => Some(&mut self.counts.candidates),
            Field::Thoughts => Some(&mut self.counts.thoughts),
            Field::ModalityCount => Some(&mut self.modality_count),
            _ => None,
        }
    }
}

impl Reader for Reading {
    type Field = Field;

    fn root() -> &'static Node<Field> {
        &ROOT
    }

    fn open(&mut self, field: Field, progress: &mut Progress) {
        match field {
            Field::Chunk => self.has_usage = false,
            Field::Usage => {
                self.counts = Counts::default();
                self.has_usage = true;
            }
            Field::PromptDetail | Field::CachedDetail | Field::CandidatesDetail => {
                self.modality = Modality::Other;
                self.modality_count = 0;
            }
            Field::Part => progress.content = true,
            Field::Error => progress.error = true,
            _ => {}
        }
    }

    fn close(&mut self, field: Field, _event: &str, progress: &mut Progress) {
        let (modality, count) = (self.modality, self.modality_count);
        match field {
            Field::PromptDetail => self.counts.prompt_parts.add(modality, count),
            Field::CachedDetail => self.counts.cached_parts.add(modality, count),
            Field::CandidatesDetail => self.counts.candidate_parts.add(modality, count),
            Field::Chunk => {
                if self.has_usage {
                    progress.report(Usage { web_searches: self.web_searches(), ..self.counts.usage() });
                }
                // An array of chunks is one document, but a stream all the same.
                progress.decide();
            }
            _ => {}
        }
    }

    fn scalar(&mut self, field: Field, value: Scalar<'_>, progress: &mut Progress) {
        match field {
            Field::Modality => self.modality = Modality::from(value),
            Field::Finish => progress.finish(value),
            Field::Blocked => {
                progress.finished |= value.is_something();
                progress.declined |= value.is_something();
            }
            Field::Error => {
                progress.error |= value.is_something();
                progress.complaint.note(Clue::Message, value);
            }
            Field::Clue(clue) => progress.complaint.note(clue, value),
            Field::ModelVersion => {
                self.bills_per_request =
                    value.text().is_some_and(|model| model.starts_with("gemini-1") || model.starts_with("gemini-2"));
            }
            Field::Query => {
                if let Some(query) = value.text().map(str::trim).filter(|query| !query.is_empty())
                    && self.queries.len() < MAX_QUERIES
                {
                    self.queries.insert(fingerprint(query));
                }
            }
            Field::Tier => {
                if let Some(tier) = value.text().and_then(ServiceTier::from_provider) {
                    progress.tier = Some(tier);
                }
            }
            _ => {
                if let (Some(slot), Some(count)) = (self.slot(field), value.count()) {
                    *slot = count;
                }
            }
        }
    }
}

/// Enough to tell queries apart without keeping them (FNV-1a).
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
