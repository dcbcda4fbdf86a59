//! What has become known of an answer so far, in any dialect.

use super::super::complaint::Complaint;
use super::super::scan::Scalar;
use super::super::{ServiceTier, Usage};
use super::Verdict;

/// What a dialect's reader has found out.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Progress {
    /// Bytes of generated text.
    pub content_bytes: u64,
    /// The model has said something that is not text: a tool call, an image.
    pub content: bool,
    /// There is a reason for which the model says nothing: the limit that the client set, or what it asks for.
    pub declined: bool,
    /// The dialect's closing event was seen.
    pub closed: bool,
    /// The provider reports an error.
    pub error: bool,
    /// What that error is.
    pub complaint: Complaint,
    /// What the answer is, as soon as a document has said it.
    verdict: Option<Verdict>,
    /// The model has finished: a stop or finish reason was seen.
    pub finished: bool,
    /// The tier that the provider names.
    pub tier: Option<ServiceTier>,
    /// The provider's last word on the usage of the whole answer.
    reported: Option<Usage>,
    /// Whether that word was spoken after the model had finished, so that it cannot grow any more.
    reported_at_end: bool,
    /// Bytes of text when it was spoken.
    reported_at_bytes: u64,
    /// Web searches that have ended, where the stream tells of each.
    pub searches: u64,
    /// What the provider said of the prompt before the answer began.
    pub announced: Option<Usage>,
}

impl Progress {
    /// The model has finished, for this reason.
    pub fn finish(&mut self, reason: Scalar<'_>) {
        self.finished |= reason.is_something();
        self.declined |= reason.text().is_some_and(is_declining);
    }

    /// A document has ended. The first that says what the answer is decides; an error counts more than what stands
    /// beside it.
    pub fn decide(&mut self) {
        if self.verdict.is_none() {
            self.verdict = if self.error {
                Some(Verdict::Error(self.complaint.status()))
            } else {
                (self.content || self.declined || self.content_bytes > 0).then_some(Verdict::Answer)
            };
            self.complaint = Complaint::default();
        }
    }

    /// What the answer is; none as long as nothing tells.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// What the answer is when nothing more comes. One that took tokens is an answer, if only a silent one.
    pub fn verdict_at_end(&self) -> Verdict {
        let mut end = self.clone();
        end.decide();
        let took_tokens = self.reported.is_some_and(|usage| usage.output_total() > 0);
        end.verdict.unwrap_or(if took_tokens { Verdict::Answer } else { Verdict::Wordless })
    }

    /// Notes a usage. Running usage grows from chunk to chunk, so the last one counts; one without any token does not
    /// replace one that has some (some providers end a stream with zeros).
    pub fn report(&mut self, usage: Usage) {
        if usage.has_no_tokens() && usage.web_searches == 0 && self.reported.is_some() {
            return;
        }
        self.reported = Some(usage);
        self.reported_at_end = self.finished;
        self.reported_at_bytes = self.content_bytes;
    }

    /// The last usage, with the tier.
    pub fn usage(&self) -> Option<Usage> {
        self.reported.map(|usage| self.with_tier(usage))
    }

    /// Whether nothing can be added to the usage any more.
    pub fn usage_is_final(&self) -> bool {
        self.reported.is_some() && (self.closed || self.reported_at_end)
    }

    /// Bytes of text that came after the provider's last word.
    pub fn bytes_since_report(&self) -> u64 {
        self.content_bytes - self.reported_at_bytes
    }

    /// What is known for sure: the usage as far as it was reported, else what was announced.
    pub fn known(&self) -> Option<Usage> {
        self.reported.or(self.announced).map(|usage| self.with_tier(usage))
    }

    fn with_tier(&self, usage: Usage) -> Usage {
        Usage { service_tier: self.tier.unwrap_or(usage.service_tier), ..usage }
    }
}

/// Reasons for which a model ends without a word although nothing has failed.
fn is_declining(reason: &str) -> bool {
    const REASONS: [&str; 19] = [
        // The client's own limits.
        "length",
        "max_tokens",
        "max_output_tokens",
        "model_length",
        "model_context_window_exceeded",
        "stop_sequence",
        // What it asks for.
        "content_filter",
        "refusal",
        "sensitive",
        "safety",
        "image_safety",
        "recitation",
        "image_recitation",
        "blocklist",
        "prohibited_content",
        "image_prohibited_content",
        "spii",
        "language",
        // It is to be asked again.
        "pause_turn",
    ];
    REASONS.iter().any(|known| reason.eq_ignore_ascii_case(known))
}
