//! What kind of error a provider reports inside an answer whose status says that all is well: the status that it would
//! have had.
//!
//! Providers copy each other's words, and proxies mix them, so all are known in every dialect.

use super::scan::Scalar;

/// What is said without saying what went wrong: as bad as any failure of the provider.
const UNKNOWN: u16 = 500;

/// Where in an error a word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clue {
    /// `type`.
    Kind,
    /// `code`: a word, or a status.
    Code,
    /// `status`: a word, or a status.
    Status,
    /// `message`, or the error itself where it is a text.
    Message,
}

/// Where an error's words are: a node for the tree of a dialect whose fields have `Error` and `Clue`.
macro_rules! error_node {
    ($field:ident) => {
        $crate::dialect::scan::object(&[
            ("type", $crate::dialect::scan::take($field::Clue($crate::dialect::complaint::Clue::Kind))),
            ("code", $crate::dialect::scan::take($field::Clue($crate::dialect::complaint::Clue::Code))),
            ("status", $crate::dialect::scan::take($field::Clue($crate::dialect::complaint::Clue::Status))),
            ("message", $crate::dialect::scan::take($field::Clue($crate::dialect::complaint::Clue::Message))),
        ])
        .or_take($field::Error)
        .marked($field::Error)
    };
}

pub(super) use error_node;

/// What an error has said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Complaint {
    kind: Option<u16>,
    code: Option<u16>,
    status: Option<u16>,
    message: Option<u16>,
}

impl Complaint {
    /// Takes a word of it.
    pub fn note(&mut self, clue: Clue, value: Scalar<'_>) {
        let (slot, found) = match clue {
            Clue::Kind => (&mut self.kind, by_word(value)),
            Clue::Code => (&mut self.code, by_word(value)),
            Clue::Status => (&mut self.status, by_word(value)),
            Clue::Message => (&mut self.message, value.text().and_then(by_message)),
        };
        *slot = found.or(*slot);
    }

    /// The status that goes with it. The more exact word counts: `context_length_exceeded` is an
    /// `invalid_request_error`, and some proxies call everything that.
    pub fn status(&self) -> u16 {
        self.code.or(self.status).or(self.kind).or(self.message).unwrap_or(UNKNOWN)
    }
}

fn by_word(value: Scalar<'_>) -> Option<u16> {
    let number = value.count().and_then(|count| u16::try_from(count).ok()).filter(|count| (400..=599).contains(count));
    number.or_else(|| by_name(&value.text()?.to_ascii_lowercase()))
}

/// The types and codes of Anthropic, OpenAI and Google, and of those who copy them.
fn by_name(name: &str) -> Option<u16> {
    Some(match name {
        "authentication_error" | "unauthenticated" | "invalid_api_key" => 401,
        "billing_error" => 402,
        "permission_error" | "permission_denied" => 403,
        "not_found_error" | "not_found" | "model_not_found" => 404,
        "request_too_large" => 413,
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "resource_exhausted"
        | "insufficient_quota"
        | "quota_exceeded"
        | "too_many_requests"
        | "tokens"
        | "requests" => 429,
        _ if name.contains("upstream") || name == "invalid_response" => 502,
        "api_error" | "server_error" | "internal" | "internal_error" | "internal_server_error" => 500,
        "unavailable" | "service_unavailable" | "overloaded" => 503,
        "timeout_error" | "timeout" | "deadline_exceeded" | "vector_store_timeout" => 504,
        "overloaded_error" => 529,
        "failed_precondition" | "out_of_range" | "bad_request" | "data_inspection_failed" => 400,
        _ if is_about_the_request(name) => 400,
        _ => return None,
    })
}

/// Codes that say what is wrong with the request, of which there are more each year.
fn is_about_the_request(name: &str) -> bool {
    ["invalid_", "unsupported_", "missing_", "unknown_parameter", "string_above_max_length"]
        .iter()
        .any(|start| name.starts_with(start))
        || ["context_length", "context_window", "prompt_too_long", "content_filter", "policy", "image"]
            .iter()
            .any(|part| name.contains(part))
}

/// Asked only where no word is known.
fn by_message(message: &str) -> Option<u16> {
    let message = message.to_ascii_lowercase();
    let own = [
        "context length",
        "context window",
        "context_length",
        "prompt is too long",
        "input is too long",
        "content policy",
        "content_policy",
        "content management policy",
        "content filter",
    ];
    own.iter().any(|words| message.contains(words)).then_some(400)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(clues: &[(Clue, Scalar<'_>)]) -> u16 {
        let mut complaint = Complaint::default();
        for (clue, value) in clues {
            complaint.note(*clue, *value);
        }
        complaint.status()
    }

    #[test]
    fn words_of_every_provider_have_their_status() {
        for (word, expected) in [
            ("invalid_request_error", 400),
            ("context_length_exceeded", 400),
            ("INVALID_ARGUMENT", 400),
            ("invalid_prompt", 400),
            ("image_too_small", 400),
            ("content_policy_violation", 400),
            ("authentication_error", 401),
            ("invalid_api_key", 401),
            ("request_too_large", 413),
            ("rate_limit_error", 429),
            ("RESOURCE_EXHAUSTED", 429),
            ("insufficient_quota", 429),
            ("server_error", 500),
            ("api_error", 500),
            ("invalid_upstream_response", 502),
            ("UNAVAILABLE", 503),
            ("overloaded_error", 529),
            ("503", 503),
            ("of_the_future", 500),
        ] {
            for clue in [Clue::Kind, Clue::Code, Clue::Status] {
                assert_eq!(status(&[(clue, Scalar::Text(word))]), expected, "{word} as {clue:?}");
            }
        }
    }

    #[test]
    fn numbers_count_where_they_are_statuses_of_errors() {
        for (number, expected) in [("429", 429), ("503", 503), ("400", 400), ("200", 500), ("1004", 500), ("null", 500)]
        {
            assert_eq!(status(&[(Clue::Code, Scalar::Bare(number.as_bytes()))]), expected, "{number}");
        }
    }

    #[test]
    fn the_more_exact_word_counts() {
        let invalid = (Clue::Kind, Scalar::Text("invalid_request_error"));
        assert_eq!(status(&[invalid, (Clue::Code, Scalar::Text("rate_limit_exceeded"))]), 429);
        assert_eq!(status(&[invalid, (Clue::Code, Scalar::Bare(b"null"))]), 400);
        assert_eq!(status(&[invalid, (Clue::Code, Scalar::Text("of_the_future"))]), 400);
    }

    #[test]
    fn a_message_tells_only_where_nothing_else_does() {
        let long = (Clue::Message, Scalar::Text("This model's maximum context length is 8192 tokens."));
        assert_eq!(status(&[long]), 400);
        assert_eq!(status(&[(Clue::Kind, Scalar::Text("new_api_error")), long]), 400);
        assert_eq!(status(&[(Clue::Kind, Scalar::Text("api_error")), long]), 500);
        assert_eq!(status(&[(Clue::Message, Scalar::Text("Overloaded"))]), 500);
    }
}
