//! What has become known of an answer so far, in any dialect.

use super::super::{ServiceTier, Usage};

/// What a dialect's reader has found out.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Progress {
    /// Bytes of generated text.
    pub content_bytes: u64,
    /// The dialect's closing event was seen.
    pub closed: bool,
    /// The provider reports an error.
    pub error: bool,
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
