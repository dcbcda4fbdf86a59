//! OpenAI Responses: whole response objects, and streams whose last event carries one.
//!
//! A response that is incomplete has been paid for as well: `response.incomplete` and `response.failed` end a stream
//! like `response.completed`, with their usage.

use super::complaint::{Clue, error_node};
use super::meter::{Progress, Reader};
use super::openai_usage::Totals;
use super::scan::{Node, Scalar, array, count, object, take};
use super::{ServiceTier, Usage};

/// What matters in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Root,
    Type,
    Status,
    Usage,
    Input,
    Output,
    Total,
    Cached,
    CacheWrite,
    InputAudio,
    InputImage,
    Reasoning,
    OutputAudio,
    OutputImage,
    Tier,
    Error,
    Clue(Clue),
    /// An item of a response's `output`.
    Item,
    /// The item that an event is about.
    EventItem,
    ItemType,
    ActionType,
}

static ROOT: Node<Field> = object(&[
    ("type", take(Field::Type)),
    ("delta", count()),
    ("item", ITEM.marked(Field::EventItem)),
    ("response", RESPONSE),
    // From here: a response that is not in an event.
    ("status", take(Field::Status)),
    ("usage", USAGE),
    ("service_tier", take(Field::Tier)),
    ("error", error_node!(Field)),
    ("output", array(&WHOLE_ITEM)),
    // Of an `error` event.
    ("code", take(Field::Clue(Clue::Code))),
    ("message", take(Field::Clue(Clue::Message))),
])
.marked(Field::Root);

/// The text of a response in an event was streamed before, and is not counted again.
const RESPONSE: Node<Field> = object(&[
    ("status", take(Field::Status)),
    ("usage", USAGE),
    ("service_tier", take(Field::Tier)),
    ("error", error_node!(Field)),
    ("output", array(&OUTPUT_ITEM)),
]);

const ITEM: Node<Field> = object(&[("type", take(Field::ItemType)), ("action", ACTION)]);

const ACTION: Node<Field> = object(&[("type", take(Field::ActionType))]);

const OUTPUT_ITEM: Node<Field> = ITEM.marked(Field::Item);

const WHOLE_ITEM: Node<Field> = object(&[
    ("type", take(Field::ItemType)),
    ("action", ACTION),
    ("content", array(&PART)),
    ("summary", array(&PART)),
    ("name", count()),
    ("arguments", count()),
    ("input", count()),
    ("code", count()),
])
.marked(Field::Item);

const PART: Node<Field> = object(&[("text", count()), ("refusal", count())]);

const USAGE: Node<Field> = object(&[
    ("input_tokens", take(Field::Input)),
    ("output_tokens", take(Field::Output)),
    ("total_tokens", take(Field::Total)),
    ("input_tokens_details", INPUT_DETAILS),
    ("output_tokens_details", OUTPUT_DETAILS),
])
.marked(Field::Usage);

const INPUT_DETAILS: Node<Field> = object(&[
    ("cached_tokens", take(Field::Cached)),
    ("cache_write_tokens", take(Field::CacheWrite)),
    ("cache_creation_tokens", take(Field::CacheWrite)),
    ("audio_tokens", take(Field::InputAudio)),
    ("image_tokens", take(Field::InputImage)),
]);

const OUTPUT_DETAILS: Node<Field> = object(&[
    ("reasoning_tokens", take(Field::Reasoning)),
    ("audio_tokens", take(Field::OutputAudio)),
    ("image_tokens", take(Field::OutputImage)),
]);

/// Reads answers of this dialect.
#[derive(Debug, Default)]
pub(super) struct Reading {
    kind: Kind,
    /// The response waits for its turn, or is worked on.
    pending: bool,
    totals: Totals,
    has_usage: bool,
    item: Item,
    /// Searches in this document's `output`.
    listed_searches: u64,
    /// Searches in items that events reported as done.
    streamed_searches: u64,
    /// This event is about a search.
    event_is_search: bool,
}

/// What an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unnamed,
    /// The response has ended, well or not.
    End,
    Failed,
    ItemDone,
    /// Something of the answer.
    Part,
    Error,
    Other,
}

impl From<&str> for Kind {
    fn from(name: &str) -> Self {
        match name {
            "" => Self::Unnamed,
            "response.completed" | "response.incomplete" | "response.cancelled" | "response.done" => Self::End,
            "response.failed" => Self::Failed,
            "response.output_item.done" => Self::ItemDone,
            "error" => Self::Error,
            "response.created" | "response.queued" | "response.in_progress" => Self::Other,
            _ if name.starts_with("response.") => Self::Part,
            _ => Self::Other,
        }
    }
}

/// What is known of an output item. Only searching is billed: the same call may also open a page, or look for
/// something in one.
#[derive(Clone, Copy, Debug, Default)]
struct Item {
    is_search_call: bool,
    does_not_search: bool,
}

impl Item {
    const fn is_search(self) -> bool {
        self.is_search_call && !self.does_not_search
    }
}

impl Reading {
    fn slot(&mut self, field: Field) -> Option<&mut u64> {
        let totals = &mut self.totals;
        match field {
            Field::Input => Some(&mut totals.prompt),
            Field::Output => Some(&mut totals.completion),
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

    fn end_document(&mut self, event: &str, progress: &mut Progress) {
        let kind = if self.kind == Kind::Unnamed { Kind::from(event) } else { self.kind };
        if kind == Kind::ItemDone && self.event_is_search {
            self.streamed_searches += 1;
            progress.searches = self.streamed_searches;
        }
        progress.error |= matches!(kind, Kind::Failed | Kind::Error);
        // What is to be fetched later is an answer as well.
        let is_ticket = kind == Kind::Unnamed && self.pending;
        progress.content |= is_ticket || matches!(kind, Kind::ItemDone | Kind::Part);
        let ends = matches!(kind, Kind::End | Kind::Failed);
        progress.finished |= ends;
        progress.closed |= ends;
        if self.has_usage {
            let web_searches = self.listed_searches.max(self.streamed_searches);
            progress.report(Usage { web_searches, ..self.totals.usage() });
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
            Field::Root => {
                self.kind = Kind::Unnamed;
                self.pending = false;
                self.has_usage = false;
                self.listed_searches = 0;
                self.event_is_search = false;
            }
            Field::Usage => {
                self.totals = Totals::default();
                self.has_usage = true;
            }
            Field::Item => {
                self.item = Item::default();
                progress.content = true;
            }
            Field::EventItem => self.item = Item::default(),
            Field::Error => progress.error = true,
            _ => {}
        }
    }

    fn close(&mut self, field: Field, event: &str, progress: &mut Progress) {
        match field {
            Field::Item => self.listed_searches += u64::from(self.item.is_search()),
            Field::EventItem => self.event_is_search = self.item.is_search(),
            Field::Root => self.end_document(event, progress),
            _ => {}
        }
    }

    fn scalar(&mut self, field: Field, value: Scalar<'_>, progress: &mut Progress) {
        match field {
            Field::Type => self.kind = value.text().map_or(Kind::Unnamed, Kind::from),
            Field::Status => {
                let status = value.text().unwrap_or_default();
                progress.finished |= matches!(status, "completed" | "incomplete" | "failed" | "cancelled");
                // By the limit that the client set, or by what it asks for.
                progress.declined |= status == "incomplete";
                self.pending = matches!(status, "queued" | "in_progress");
            }
            Field::ItemType => self.item.is_search_call = value.text() == Some("web_search_call"),
            Field::ActionType => self.item.does_not_search = value.text().is_some_and(|action| action != "search"),
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
                    *slot = count.max(*slot);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
