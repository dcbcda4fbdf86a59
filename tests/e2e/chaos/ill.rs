//! What may be wrong with a provider, and what of it clients may come to see.

use crate::support::charge::Charge;
use crate::support::mishaps::{error_document, error_event, prelude};
use crate::support::provider::End;
use crate::support::{Answer, Api};

use std::time::Duration;

use serde_json::json;

use super::till::Question;

/// What is wrong with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ill {
    Slow,
    HangsBeforeItsHead,
    HangsBeforeItsFirstWord,
    HangsWithinItsAnswer,
    RefusesConnections,
    Resets,
    BreaksOffInItsHead,
    Answers429,
    Answers429WithRetryAfter,
    Answers529,
    Answers500,
    ErrorBeforeItsFirstWord,
    ErrorWithinItsAnswer,
    BreaksOffWithinItsAnswer,
    HasAStrangersCertificate,
    SaysALengthThatIsTooLong,
    SaysALengthThatIsTooShort,
    IsGoneFromTheDns,
    AnswersWithAPage,
    AnswersNothing,
}

/// What of its answer to a request can reach a client.
pub enum Shown {
    /// Nothing.
    Never,
    /// All of it, which is right.
    Good,
    /// As much of it as was sent, and then its client sees that something is wrong; for so many nano-dollars.
    Broken { is_whole: bool, nanos: i64 },
}

impl Ill {
    pub const ALL: [Self; 20] = [
        Self::Slow,
        Self::HangsBeforeItsHead,
        Self::HangsBeforeItsFirstWord,
        Self::HangsWithinItsAnswer,
        Self::RefusesConnections,
        Self::Resets,
        Self::BreaksOffInItsHead,
        Self::Answers429,
        Self::Answers429WithRetryAfter,
        Self::Answers529,
        Self::Answers500,
        Self::ErrorBeforeItsFirstWord,
        Self::ErrorWithinItsAnswer,
        Self::BreaksOffWithinItsAnswer,
        Self::HasAStrangersCertificate,
        Self::SaysALengthThatIsTooLong,
        Self::SaysALengthThatIsTooShort,
        Self::IsGoneFromTheDns,
        Self::AnswersWithAPage,
        Self::AnswersNothing,
    ];

    /// How the attempts that meet it are listed.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Slow => "ok",
            Self::HangsBeforeItsHead => "first_byte_timeout",
            Self::HangsBeforeItsFirstWord | Self::HangsWithinItsAnswer => "idle_timeout",
            Self::RefusesConnections => "connect_failed",
            Self::Resets
            | Self::BreaksOffInItsHead
            | Self::BreaksOffWithinItsAnswer
            | Self::SaysALengthThatIsTooLong
            | Self::SaysALengthThatIsTooShort => "broken",
            Self::Answers429 | Self::Answers429WithRetryAfter | Self::Answers529 | Self::Answers500 => {
                "upstream_status"
            }
            Self::ErrorBeforeItsFirstWord | Self::ErrorWithinItsAnswer => "error_in_answer",
            Self::HasAStrangersCertificate => "tls_failed",
            Self::IsGoneFromTheDns => "resolve_failed",
            Self::AnswersWithAPage => "html_answer",
            Self::AnswersNothing => "empty_answer",
        }
    }

    /// Whether clients may be sent something before it shows.
    pub fn shows_late(self) -> bool {
        matches!(
            self,
            Self::HangsWithinItsAnswer
                | Self::ErrorWithinItsAnswer
                | Self::BreaksOffWithinItsAnswer
                | Self::SaysALengthThatIsTooLong
                | Self::SaysALengthThatIsTooShort
        )
    }

    /// What it makes of a good answer.
    pub fn spoils(self, asked: &Question, good: Answer) -> Answer {
        let Question { api, stream, .. } = *asked;
        let error = |status| Answer::json(status, &error_document(api));
        let status = |status| Answer::json(status, &json!({"error": {"message": "not now", "type": "x"}}));
        match self {
            Self::Slow => good.after(Duration::from_millis(200 + 4 * (asked.number % 100) as u64)),
            Self::HangsBeforeItsHead => Answer::silence(End::Hang),
            Self::HangsBeforeItsFirstWord if stream => Answer::sse(prelude(api)).end(End::Hang),
            Self::HangsBeforeItsFirstWord | Self::HangsWithinItsAnswer => begun(asked, good, End::Hang),
            Self::Resets => Answer::silence(End::Reset),
            Self::BreaksOffInItsHead => good.cut(30, End::Close),
            Self::Answers429 => status(429),
            Self::Answers429WithRetryAfter => status(429).header("retry-after", "1"),
            Self::Answers529 => status(529),
            Self::Answers500 => status(500),
            Self::ErrorBeforeItsFirstWord | Self::ErrorWithinItsAnswer if !stream => error(200),
            Self::ErrorBeforeItsFirstWord => Answer::sse(prelude(api).into_iter().chain([error_event(api)])),
            Self::ErrorWithinItsAnswer => {
                let mut events = api.events(&asked.tokens);
                events.truncate(first_words(api));
                Answer::sse(events.into_iter().chain([error_event(api)]))
            }
            Self::BreaksOffWithinItsAnswer => begun(asked, good, End::Close),
            Self::SaysALengthThatIsTooLong => good.lies(100).end(End::Close),
            Self::SaysALengthThatIsTooShort => good.lies(-(left_out(asked) as isize)),
            Self::AnswersWithAPage => Answer::bytes(200, "text/html", "<html><body>502 Bad Gateway</body></html>"),
            Self::AnswersNothing => Answer::bytes(200, good_type(stream), ""),
            Self::RefusesConnections | Self::HasAStrangersCertificate | Self::IsGoneFromTheDns => good,
        }
    }

    /// What of that a client may see.
    pub fn shows(self, asked: &Question) -> Shown {
        let Question { api, stream, tokens, bytes, .. } = *asked;
        let after = |events| Charge::of(api, tokens, bytes, events).tokens.cost();
        match self {
            Self::Slow => Shown::Good,
            _ if !stream => Shown::Never,
            Self::HangsWithinItsAnswer | Self::BreaksOffWithinItsAnswer => {
                Shown::Broken { is_whole: false, nanos: after(first_words(api)) }
            }
            // All of it has come.
            Self::SaysALengthThatIsTooLong => Shown::Broken { is_whole: false, nanos: tokens.cost() },
            Self::ErrorWithinItsAnswer => Shown::Broken { is_whole: true, nanos: after(first_words(api)) },
            Self::SaysALengthThatIsTooShort => {
                Shown::Broken { is_whole: true, nanos: after(api.events(&tokens).len() - LEFT_OUT) }
            }
            _ => Shown::Never,
        }
    }
}

/// Events that a length that is too short leaves out.
const LEFT_OUT: usize = 2;

/// How many bytes of an answer a length that is too short leaves out.
pub fn left_out(asked: &Question) -> usize {
    if !asked.stream {
        return 40;
    }
    asked.api.events(&asked.tokens).iter().rev().take(LEFT_OUT).map(String::len).sum()
}

/// How many events there are up to the first word.
fn first_words(api: Api) -> usize {
    let events = api.events(&api.tokens());
    let silent = events.iter().take_while(|event| crate::support::charge::text_of(api, event).is_empty()).count();
    silent + 1
}

/// The beginning of an answer, of a stream up to its first word.
fn begun(asked: &Question, good: Answer, end: End) -> Answer {
    if asked.stream { good.only(first_words(asked.api), end) } else { good.pieces(40).only(2, end) }
}

fn good_type(stream: bool) -> &'static str {
    if stream { "text/event-stream" } else { "application/json" }
}
