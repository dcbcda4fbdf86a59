//! What a pretend model says, in pieces, within the number of tokens that the caller allows.

/// Bytes that count as one token, as a rule of thumb.
const BYTES_PER_TOKEN: usize = 4;

/// An answer in the pieces in which it is streamed.
pub(super) struct Reply {
    pub pieces: Vec<String>,
    pub tokens: u64,
    /// The caller's maximum cut it short.
    pub cut: bool,
}

impl Reply {
    /// The answer of `model` to `question`, of at most `max_tokens`.
    pub(super) fn new(model: &str, question: &str, max_tokens: Option<u64>) -> Self {
        let asked = if question.is_empty() {
            "You asked nothing that I can read.".to_owned()
        } else {
            format!("You asked: \"{question}\".")
        };
        let mut text = format!(
            "Hello! I am {model} in name only: a pretend provider inside Tollgate, so nothing left this machine and nobody \
             was paid. {asked} A real model would answer that now; give its provider a base_url and an api_key in the \
             configuration, start without --demo, and it will."
        );
        let room = max_tokens
            .and_then(|max| usize::try_from(max).ok())
            .map_or(usize::MAX, |max| max.saturating_mul(BYTES_PER_TOKEN));
        let cut = text.len() > room;
        if cut {
            text.truncate(text.floor_char_boundary(room));
        }
        Self { tokens: tokens(&text), pieces: text.split_inclusive(' ').map(str::to_owned).collect(), cut }
    }

    /// The answer in one piece.
    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }
}

/// What a text counts.
pub(super) const fn tokens(text: &str) -> u64 {
    text.len().div_ceil(BYTES_PER_TOKEN) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_what_it_is_and_repeats_the_question() {
        let reply = Reply::new("gpt-4o-mini", "Where is the toll gate?", None);
        assert!(reply.text().contains("pretend provider"));
        assert!(reply.text().contains("Where is the toll gate?"));
        assert!(!reply.cut);
        assert_eq!(reply.tokens, tokens(&reply.text()));
        assert!(reply.pieces.len() > 20);
    }

    #[test]
    fn the_maximum_is_never_passed_and_never_splits_a_character() {
        for max in 1..120 {
            let reply = Reply::new("m", "äöü €uro 日本", Some(max));
            assert!(reply.tokens <= max, "{max}");
            assert_eq!(reply.cut, reply.text() != Reply::new("m", "äöü €uro 日本", None).text(), "{max}");
        }
        assert!(!Reply::new("m", "hi", Some(u64::MAX)).cut);
    }
}
