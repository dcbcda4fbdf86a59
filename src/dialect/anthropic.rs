//! Anthropic Messages: where its answers say what they used.
//!
//! `message_start` announces the prompt and `message_delta` has the last word on every number that it repeats. The
//! numbers are disjoint on the wire already: `input_tokens` does not include what the cache read or wrote.

use super::complaint::{Clue, error_node};
use super::meter::{Progress, Reader};
use super::scan::{Node, Scalar, array, count, object, take};
use super::{ServiceTier, Usage};

/// What matters in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Root,
    Type,
    /// `message.usage`, at the start of a stream.
    StartUsage,
    /// `usage`, of a whole answer or at the end of a stream.
    Usage,
    Iteration,
    Input,
    Output,
    CacheRead,
    CacheWrite,
    CacheWrite5m,
    CacheWrite1h,
    Searches,
    Tier,
    Stop,
    /// The type of a block, or of a piece of one.
    Block,
    Error,
    Clue(Clue),
}

static ROOT: Node<Field> = object(&[
    ("type", take(Field::Type)),
    ("delta", DELTA),
    ("usage", USAGE.marked(Field::Usage)),
    ("message", object(&[("usage", USAGE.marked(Field::StartUsage))])),
    ("content_block", object(&[("type", take(Field::Block))])),
    ("content", array(&BLOCK)),
    ("stop_reason", take(Field::Stop)),
    ("error", error_node!(Field)),
])
.marked(Field::Root);

const DELTA: Node<Field> = object(&[
    ("type", take(Field::Block)),
    ("text", count()),
    ("partial_json", count()),
    ("thinking", count()),
    ("stop_reason", take(Field::Stop)),
]);

const BLOCK: Node<Field> =
    object(&[("type", take(Field::Block)), ("text", count()), ("thinking", count()), ("input", count())]);

const USAGE: Node<Field> = object(&[
    ("input_tokens", take(Field::Input)),
    ("output_tokens", take(Field::Output)),
    ("cache_read_input_tokens", take(Field::CacheRead)),
    ("cache_creation_input_tokens", take(Field::CacheWrite)),
    ("cache_creation", CACHE_CREATION),
    ("server_tool_use", object(&[("web_search_requests", take(Field::Searches))])),
    ("service_tier", take(Field::Tier)),
    ("iterations", array(&ITERATION)),
]);

const ITERATION: Node<Field> = object(&[
    ("input_tokens", take(Field::Input)),
    ("output_tokens", take(Field::Output)),
    ("cache_read_input_tokens", take(Field::CacheRead)),
    ("cache_creation_input_tokens", take(Field::CacheWrite)),
    ("cache_creation", CACHE_CREATION),
])
.marked(Field::Iteration);

const CACHE_CREATION: Node<Field> = object(&[
    ("ephemeral_5m_input_tokens", take(Field::CacheWrite5m)),
    ("ephemeral_1h_input_tokens", take(Field::CacheWrite1h)),
]);

/// The numbers of one `usage` object; none where it does not say.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    searches: Option<u64>,
}

impl Numbers {
    fn slot(&mut self, field: Field) -> Option<&mut Option<u64>> {
        match field {
            Field::Input => Some(&mut self.input),
            Field::Output => Some(&mut self.output),
            Field::CacheRead => Some(&mut self.cache_read),
            Field::CacheWrite => Some(&mut self.cache_write),
            Field::CacheWrite5m => Some(&mut self.cache_write_5m),
            Field::CacheWrite1h => Some(&mut self.cache_write_1h),
            Field::Searches => Some(&mut self.searches),
            _ => None,
        }
    }

    /// Joins two objects, number by number.
    fn join(self, other: Self, join: impl Fn(Option<u64>, Option<u64>) -> Option<u64>) -> Self {
        Self {
            input: join(self.input, other.input),
            output: join(self.output, other.output),
            cache_read: join(self.cache_read, other.cache_read),
            cache_write: join(self.cache_write, other.cache_write),
            cache_write_5m: join(self.cache_write_5m, other.cache_write_5m),
            cache_write_1h: join(self.cache_write_1h, other.cache_write_1h),
            searches: join(self.searches, other.searches),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.join(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        })
    }

    fn usage(self) -> Usage {
        let five_minutes = self.cache_write_5m.unwrap_or(0);
        let one_hour = self.cache_write_1h.unwrap_or(0);
        // The flat total is older than the split; what the split does not explain lives 5 minutes, the default.
        let rest = self.cache_write.unwrap_or(0).saturating_sub(five_minutes.saturating_add(one_hour));
        Usage {
            input: self.input.unwrap_or(0),
            output: self.output.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write_5m: five_minutes.saturating_add(rest),
            cache_write_1h: one_hour,
            web_searches: self.searches.unwrap_or(0),
            ..Usage::default()
        }
    }
}

/// Reads answers of this dialect.
#[derive(Debug, Default)]
pub(super) struct Reading {
    kind: Kind,
    /// The `usage` object in progress.
    current: Numbers,
    /// The iteration in progress.
    iteration: Option<Numbers>,
    /// All iterations of the object in progress.
    iterations: Numbers,
    /// Everything said so far; later words win.
    merged: Numbers,
    /// This document has the answer's own usage.
    has_usage: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unnamed,
    Stop,
    Error,
    Other,
}

impl From<&str> for Kind {
    fn from(name: &str) -> Self {
        match name {
            "" => Self::Unnamed,
            "message_stop" => Self::Stop,
            "error" => Self::Error,
            _ => Self::Other,
        }
    }
}

impl Reading {
    /// With server-side compaction the top-level numbers leave out the iterations before the last, which are billed
    /// all the same.
    fn end_usage(&mut self) {
        let current = self.current.join(self.iterations, Option::max);
        self.merged = current.join(self.merged, Option::or);
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
                self.has_usage = false;
            }
            Field::StartUsage | Field::Usage => {
                self.current = Numbers::default();
                self.iterations = Numbers::default();
            }
            Field::Iteration => self.iteration = Some(Numbers::default()),
            Field::Error => progress.error = true,
            _ => {}
        }
    }

    fn close(&mut self, field: Field, event: &str, progress: &mut Progress) {
        match field {
            Field::Iteration => {
                if let Some(iteration) = self.iteration.take() {
                    self.iterations = self.iterations.plus(iteration);
                }
            }
            Field::StartUsage => {
                self.end_usage();
                progress.announced = Some(self.merged.usage());
            }
            Field::Usage => {
                self.end_usage();
                self.has_usage = true;
            }
            Field::Root => {
                if self.has_usage {
                    progress.report(self.merged.usage());
                }
                match if self.kind == Kind::Unnamed { Kind::from(event) } else { self.kind } {
                    Kind::Stop => progress.closed = true,
                    Kind::Error => progress.error = true,
                    Kind::Unnamed | Kind::Other => {}
                }
            }
            _ => {}
        }
    }

    fn scalar(&mut self, field: Field, value: Scalar<'_>, progress: &mut Progress) {
        match field {
            Field::Type => self.kind = value.text().map_or(Kind::Unnamed, Kind::from),
            Field::Stop => progress.finish(value),
            // Text and thoughts speak for themselves, once there is any.
            Field::Block => {
                progress.content |=
                    !matches!(value.text(), None | Some("" | "text" | "thinking" | "text_delta" | "thinking_delta"));
            }
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
                let numbers = self.iteration.as_mut().unwrap_or(&mut self.current);
                if let (Some(slot), Some(count)) = (numbers.slot(field), value.count()) {
                    *slot = Some(count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
