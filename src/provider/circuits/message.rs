//! What is said of circuits, as it goes from node to node and as it is written down.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::circuit::{BY_HAND, TRIALS_SUCCEEDED, Told, Word};
use super::super::failure;
use super::told::{News, Written};

/// A longer message is not one of ours.
const MESSAGE_MAX: usize = 4_096;

/// Of a model with a longer name the others are not told.
const MODEL_MAX: usize = 512;

/// The fields of a provider's hash: its own circuit, a model's, and when all were closed by hand.
const WHOLE: &str = "provider";
const OF_MODEL: &str = "model:";
const RESET: &str = "reset";

/// Why it was opened, if another version says something that this one does not know.
const UNKNOWN: &str = "elsewhere";

/// A word, as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Said<'a> {
    at: i64,
    open: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    firm: bool,
    #[serde(borrow)]
    reason: Cow<'a, str>,
}

/// What a node says to the others.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message<'a> {
    /// Who: a node does not listen to itself.
    pub node: u64,
    /// Of which provider.
    #[serde(borrow)]
    pub of: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    what: What<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What<'a> {
    Word(#[serde(borrow)] Said<'a>),
    Trying(i64),
    Reset(i64),
}

/// Something to be written down.
pub(super) struct Field {
    /// Where.
    pub name: String,
    /// What.
    pub text: Vec<u8>,
}

impl<'a> Message<'a> {
    /// None: it is not to be told.
    pub fn new(node: u64, of: &'a str, news: &'a News) -> Option<Self> {
        let (model, what) = match news {
            News::Word(model, word) => (model.as_deref(), What::Word(Said::from(word))),
            News::Trying(model, at) => (model.as_deref(), What::Trying(*at)),
            News::Reset(at) => (None, What::Reset(*at)),
        };
        let is_short = model.is_none_or(|model| model.len() <= MODEL_MAX);
        is_short.then(|| Self { node, of: Cow::Borrowed(of), model: model.map(Cow::Borrowed), what })
    }

    /// None: it is not one of ours.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|_| bytes.len() <= MESSAGE_MAX)
    }

    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What it says.
    pub fn news(&self) -> News {
        let model = self.model.as_deref().map(Arc::from);
        match &self.what {
            What::Word(said) => News::Word(model, said.into()),
            What::Trying(at) => News::Trying(model, *at),
            What::Reset(at) => News::Reset(*at),
        }
    }

    /// What is written down of it; none: nothing, it is of the moment.
    pub fn field(&self) -> Option<Field> {
        match &self.what {
            What::Word(said) => {
                let name = self.model.as_deref().map_or_else(|| WHOLE.to_owned(), |model| format!("{OF_MODEL}{model}"));
                Some(Field { name, text: serde_json::to_vec(said).unwrap_or_default() })
            }
            What::Reset(at) => {
                let said = Said { at: *at, open: false, until: None, firm: false, reason: Cow::Borrowed(BY_HAND) };
                Some(Field { name: RESET.to_owned(), text: serde_json::to_vec(&said).unwrap_or_default() })
            }
            What::Trying(_) => None,
        }
    }
}

impl Written {
    /// What cannot be read is left out.
    pub fn read(fields: &[(String, String)]) -> Self {
        let mut written = Self::default();
        for (name, text) in fields {
            let word = || serde_json::from_str::<Said<'_>>(text).ok().as_ref().map(Word::from);
            if name == RESET {
                written.reset_at = text.parse().ok();
            } else if name == WHOLE {
                written.words.extend(word().map(|word| (None, word)));
            } else if let Some(model) = name.strip_prefix(OF_MODEL) {
                written.words.extend(word().map(|word| (Some(Arc::from(model)), word)));
            }
        }
        written
    }
}

impl From<&Word> for Said<'static> {
    fn from(word: &Word) -> Self {
        let (open, until, firm) = match word.state {
            Told::Closed => (false, None, false),
            Told::Open { until, firm } => (true, until, firm),
        };
        Self { at: word.at, open, until, firm, reason: Cow::Borrowed(word.reason) }
    }
}

impl From<&Said<'_>> for Word {
    fn from(said: &Said<'_>) -> Self {
        let state = if said.open { Told::Open { until: said.until, firm: said.firm } } else { Told::Closed };
        let known = [BY_HAND, TRIALS_SUCCEEDED].into_iter().chain(failure::REASONS.iter().copied());
        let reason = known.into_iter().find(|known| *known == said.reason).unwrap_or(UNKNOWN);
        Self { at: said.at, state, reason }
    }
}
