//! What is to be charged for an answer of which not all has come.

use serde_json::Value;

use super::dialects::cost_of_row;
use super::gateway::MODEL;
use super::{Api, Tokens};

/// What is to be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    pub tokens: Tokens,
    pub estimated: bool,
}

impl Charge {
    pub const NOTHING: Self = Self {
        tokens: Tokens { input: 0, output: 0, cache_read: 0, cache_write_5m: 0, cache_write_1h: 0, reasoning: 0 },
        estimated: false,
    };

    /// By the size of the request and of the text that came, where nobody counts for us.
    pub fn estimate(api: Api, stream: bool, text_bytes: usize) -> Self {
        Self::by_size(api.request(MODEL, stream).to_string().len(), text_bytes)
    }

    fn by_size(request_bytes: usize, text_bytes: usize) -> Self {
        let tokens = Tokens { input: quarter(request_bytes), output: quarter(text_bytes), ..Tokens::default() };
        Self { tokens, estimated: true }
    }

    /// What can be known from the first events of a stream.
    pub fn after(api: Api, seen: usize) -> Self {
        Self::of(api, api.tokens(), api.request(MODEL, true).to_string().len(), seen)
    }

    /// The same, of any stream that answers a request of so many bytes.
    pub fn of(api: Api, real: Tokens, request_bytes: usize, seen: usize) -> Self {
        let events = api.events(&real);
        let unsaid = Self::by_size(request_bytes, events[..seen].iter().map(|event| text_of(api, event).len()).sum());
        let text = unsaid.tokens.output;
        let last_word = Self { tokens: real, estimated: false };
        let left = events.len() - seen;
        match api {
            // The last event but one says what came out, the first one what went in.
            Api::Anthropic if left <= 1 => last_word,
            Api::Anthropic if seen > 0 => Self { tokens: Tokens { output: text.max(1), ..real }, estimated: true },
            Api::Chat if left <= 1 => last_word,
            Api::Responses | Api::Gemini if left == 0 => last_word,
            // Running numbers, which say more than the text does.
            Api::Gemini if seen > 0 => {
                let tokens = Tokens { output: seen as i64, reasoning: 3, ..real };
                assert!(tokens.output + tokens.reasoning >= text);
                Self { tokens, estimated: true }
            }
            _ => unsaid,
        }
    }

    /// Checks a row.
    pub fn is(&self, row: &Value, outcome: &str, context: &str) {
        assert_eq!(row["outcome"], outcome, "{context}: {row}");
        let charged = Self { tokens: Tokens::of_row(row), estimated: row["estimated"].as_bool().unwrap() };
        assert_eq!(charged, *self, "{context}: {row}");
        assert_eq!(cost_of_row(row), self.tokens.cost(), "{context}: {row}");
    }
}

/// A token is four bytes, and a part of one is one.
fn quarter(bytes: usize) -> i64 {
    bytes.div_ceil(4) as i64
}

/// The JSON of an event; none for `[DONE]`.
pub fn document(event: &str) -> Option<Value> {
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    (data != "[DONE]").then(|| serde_json::from_str(data).unwrap())
}

/// The text that an event brings.
pub fn text_of(api: Api, event: &str) -> String {
    let place = match api {
        Api::Anthropic => "/delta/text",
        Api::Chat => "/choices/0/delta/content",
        Api::Responses => "/delta",
        Api::Gemini => "/candidates/0/content/parts/0/text",
        Api::Embeddings => return String::new(),
    };
    let document = document(event).unwrap_or_default();
    document.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned()
}
