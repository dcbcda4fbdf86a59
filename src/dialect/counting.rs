//! Answers of the endpoints that only count tokens: one number, in every dialect.

use super::complaint::{Clue, error_node};
use super::meter::{Progress, Reader};
use super::scan::{Node, Scalar, object, take};

/// What matters in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Count,
    Error,
    Clue(Clue),
}

static ROOT: Node<Field> =
    object(&[("input_tokens", take(Field::Count)), ("totalTokens", take(Field::Count)), ("error", error_node!(Field))]);

/// Reads them.
#[derive(Debug, Default)]
pub(super) struct Reading;

impl Reader for Reading {
    type Field = Field;

    fn root() -> &'static Node<Field> {
        &ROOT
    }

    fn open(&mut self, field: Field, progress: &mut Progress) {
        progress.error |= matches!(field, Field::Error);
    }

    fn close(&mut self, _field: Field, _event: &str, _progress: &mut Progress) {}

    fn scalar(&mut self, field: Field, value: Scalar<'_>, progress: &mut Progress) {
        match field {
            Field::Count => progress.content |= value.count().is_some(),
            Field::Error => {
                progress.error |= value.is_something();
                progress.complaint.note(Clue::Message, value);
            }
            Field::Clue(clue) => progress.complaint.note(clue, value),
        }
    }
}
