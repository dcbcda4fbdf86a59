//! What was asked: all text of a request's turns, whatever the dialect calls its parts.

use serde_json::Value;

use super::reply;

/// Members in which the dialects keep text, or lists of things that have text.
const TEXT_MEMBERS: [&str; 4] = ["text", "content", "parts", "input"];

/// A question longer than this is cut before it is repeated.
const MAX_QUESTION_CHARS: usize = 240;

/// Every turn costs a few tokens of its own, as with real models.
const TOKENS_PER_TURN: u64 = 3;

/// What a request asks, as far as a pretend model cares.
pub(super) struct Prompt {
    /// What the whole prompt counts.
    pub tokens: u64,
    /// The text of the last turn, cut to a pleasant length.
    pub question: String,
}

impl Prompt {
    /// Reads the system text, if any, and the turns (a string, or a list with the newest last).
    pub(super) fn read(system: Option<&Value>, turns: &Value) -> Self {
        let all = [system, Some(turns)].into_iter().flatten().flat_map(texts);
        let count = turns.as_array().map_or(1, Vec::len);
        let tokens = all.map(reply::tokens).sum::<u64>() + TOKENS_PER_TURN * count as u64;
        let newest = turns.as_array().map_or(Some(turns), |list| list.last());
        Self { tokens, question: cut(&newest.map(texts).unwrap_or_default().join(" ")) }
    }
}

/// All texts in a value, in order. The parser has bounded how deep this can go.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    collect(value, &mut found);
    found
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(members) => {
            TEXT_MEMBERS.iter().filter_map(|name| members.get(*name)).for_each(|inner| collect(inner, found))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn cut(text: &str) -> String {
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(MAX_QUESTION_CHARS) {
        words.truncate(end);
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_turn_is_the_question_in_every_dialect() {
        for turns in [
            json!("why?"),
            json!([{"role": "user", "content": "no"}, {"role": "user", "content": "why?"}]),
            json!([{"role": "user", "content": [{"type": "text", "text": "why?"}]}]),
            json!([{"role": "user", "content": [{"type": "input_text", "text": "why?"}, {"type": "input_image"}]}]),
            json!([{"role": "user", "parts": [{"text": "why?"}]}]),
            json!({"parts": [{"text": "why?"}]}),
        ] {
            assert_eq!(Prompt::read(None, &turns).question, "why?", "{turns}");
        }
    }

    #[test]
    fn the_system_text_and_every_turn_count() {
        let turns = json!([{"role": "user", "content": "12345678"}]);
        assert_eq!(Prompt::read(None, &turns).tokens, 2 + TOKENS_PER_TURN);
        assert_eq!(Prompt::read(Some(&json!([{"type": "text", "text": "1234"}])), &turns).tokens, 3 + TOKENS_PER_TURN);
    }

    #[test]
    fn a_long_question_is_cut_between_characters() {
        let question = Prompt::read(None, &json!("ä".repeat(10_000))).question;
        assert_eq!(question.chars().count(), MAX_QUESTION_CHARS + 1);
        assert!(question.ends_with('…'));
    }

    #[test]
    fn numbers_and_emptiness_are_no_text() {
        for turns in [json!([]), json!(null), json!([7, true, {}]), json!([{"content": null}])] {
            assert_eq!(Prompt::read(None, &turns).question, "", "{turns}");
        }
    }
}
