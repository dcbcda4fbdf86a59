//! Which of several answers that no provider could do better than tells the client most.

use crate::provider::failure::{Failure, Meaning};

/// How much the answer of a failed attempt tells the client; the greater, the more. Of equals the last is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// Nothing: empty, a page, an end without a word.
    Mute,
    /// What is wrong with our account: the client can do nothing about it.
    OurAccount,
    /// A status, and nothing that explains it.
    Status,
    /// Why, in the words of the API.
    Explained,
    /// When to come back, or at least that it was too much in a short time.
    ComeBack,
}

impl Worth {
    /// Of the answer of an attempt that failed like this, with this body.
    pub fn of(failure: Failure, body: &[u8]) -> Self {
        let is_document = || matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
        let (status, said) = match failure {
            Failure::Status(status, said) => (status, said),
            Failure::Inside(said) => (0, said),
            _ => return Self::Mute,
        };
        match said.meaning {
            Meaning::Credential | Meaning::Quota => Self::OurAccount,
            _ if matches!(status, 401 | 402) => Self::OurAccount,
            Meaning::RateLimit => Self::ComeBack,
            _ if status == 429 || said.wait.is_some() => Self::ComeBack,
            // An error event of a stream is a document behind a name.
            _ if status == 0 || is_document() => Self::Explained,
            _ => Self::Status,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::failure::Said;

    const ERROR: &[u8] = br#"{"error":{"message":"no"}}"#;

    fn of(status: u16, said: Said, body: &[u8]) -> Worth {
        Worth::of(Failure::Status(status, said), body)
    }

    #[test]
    fn what_helps_the_client_is_worth_more_than_what_does_not() {
        let plain = Said::default();
        let meaning = |meaning| Said { meaning, ..plain };
        let wait = Said { wait: Some(Duration::from_secs(3)), ..plain };
        let from_worst = [
            Worth::of(Failure::NoAnswer("html_answer"), b"<html>"),
            of(401, meaning(Meaning::Credential), ERROR),
            of(502, plain, b"Bad Gateway"),
            of(500, plain, ERROR),
            of(503, wait, b""),
        ];
        assert!(from_worst.is_sorted_by(|a, b| a < b), "{from_worst:?}");
        assert_eq!(of(429, plain, b""), of(503, wait, b""));
        assert_eq!(of(429, meaning(Meaning::Quota), ERROR), of(402, plain, ERROR));
        assert_eq!(Worth::of(Failure::Inside(meaning(Meaning::Overloaded)), b"event: error"), of(529, plain, ERROR));
        assert_eq!(Worth::of(Failure::Inside(meaning(Meaning::RateLimit)), b""), Worth::ComeBack);
        assert_eq!(of(500, plain, b" \n[{\"error\":{}}]"), Worth::Explained);
        assert_eq!(of(500, plain, b""), Worth::Status);
    }
}
