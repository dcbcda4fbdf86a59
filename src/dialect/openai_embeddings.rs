//! OpenAI Embeddings: always a whole answer, and only a prompt to pay for.

use super::Usage;
use super::complaint::{Clue, error_node};
use super::meter::{Progress, Reader};
use super::scan::{Node, Scalar, array, object, take};

/// What matters in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Usage,
    Prompt,
    Total,
    Vectors,
    Error,
    Clue(Clue),
}

static ROOT: Node<Field> = object(&[
    (
        "usage",
        object(&[("prompt_tokens", take(Field::Prompt)), ("total_tokens", take(Field::Total))]).marked(Field::Usage),
    ),
    ("data", array(&VECTOR).marked(Field::Vectors)),
    ("error", error_node!(Field)),
]);

const VECTOR: Node<Field> = object(&[]);

/// Reads answers of this dialect.
#[derive(Debug, Default)]
pub(super) struct Reading {
    prompt: Option<u64>,
    total: Option<u64>,
}

impl Reader for Reading {
    type Field = Field;

    fn root() -> &'static Node<Field> {
        &ROOT
    }

    fn open(&mut self, field: Field, progress: &mut Progress) {
        match field {
            Field::Usage => *self = Self::default(),
            Field::Vectors => progress.content = true,
            Field::Error => progress.error = true,
            _ => {}
        }
    }

    fn close(&mut self, field: Field, _event: &str, progress: &mut Progress) {
        // Some providers tell only the total, which is the same: there is no completion.
        if let (Field::Usage, Some(input)) = (field, self.prompt.or(self.total)) {
            // The vectors come before or after it, but nothing that costs.
            progress.finished = true;
            progress.report(Usage { input, ..Usage::default() });
        }
    }

    fn scalar(&mut self, field: Field, value: Scalar<'_>, progress: &mut Progress) {
        match field {
            Field::Prompt => self.prompt = value.count(),
            Field::Total => self.total = value.count(),
            Field::Error => {
                progress.error |= value.is_something();
                progress.complaint.note(Clue::Message, value);
            }
            Field::Clue(clue) => progress.complaint.note(clue, value),
            Field::Usage | Field::Vectors => {}
        }
    }
}

#[cfg(test)]
mod tests;
