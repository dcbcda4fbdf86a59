//! What makes an answer with a good status none: a beginning that another attempt may not meet.

use crate::dialect::Verdict;

/// Why an answer should not go to the client while another one can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// As the attempts of a request, and the metrics, name it.
    pub reason: &'static str,
    /// It tells the client nothing: any error that a provider did report is of more use.
    pub is_mute: bool,
}

impl Fault {
    /// Of an answer with a good status that turned out to be this. An error that is the client's own is an answer.
    pub const fn of_verdict(verdict: Verdict) -> Option<Self> {
        let (reason, is_mute) = match verdict {
            Verdict::Error(status) if is_retryable(status) => ("error_in_answer", false),
            Verdict::Answer | Verdict::Error(_) => return None,
            Verdict::Wordless => ("no_content", true),
            Verdict::Empty => ("empty_answer", true),
            Verdict::Page => ("html_answer", true),
            Verdict::Torn => ("broken", true),
        };
        Some(Self { reason, is_mute })
    }
}

/// Statuses that another attempt may not meet: 408, 429 and all 5xx, 529 ("overloaded") among them.
const fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_clients_own_is_no_fault_of_the_provider_whatever_its_status_was() {
        for status in [400, 401, 403, 404, 409, 413, 422, 451] {
            assert_eq!(Fault::of_verdict(Verdict::Error(status)), None, "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504, 529] {
            let fault = Fault::of_verdict(Verdict::Error(status));
            assert_eq!(fault, Some(Fault { reason: "error_in_answer", is_mute: false }), "{status}");
        }
    }

    #[test]
    fn what_tells_the_client_nothing_is_mute() {
        for verdict in [Verdict::Wordless, Verdict::Empty, Verdict::Page, Verdict::Torn] {
            assert!(Fault::of_verdict(verdict).is_some_and(|fault| fault.is_mute), "{verdict:?}");
        }
        assert_eq!(Fault::of_verdict(Verdict::Answer), None);
    }
}
