//! What an answer used, read from its bytes as they pass.

use super::{Endpoint, Usage};

/// Reads one answer of one attempt. Bytes may come in any pieces.
#[derive(Debug)]
pub struct Meter {
    endpoint: Endpoint,
    status: u16,
    finished: bool,
}

/// What an attempt is charged for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The tokens.
    pub usage: Usage,
    /// Whether they are our estimate, because the provider did not say.
    pub estimated: bool,
}

impl Meter {
    /// A meter for the answer to a request of this endpoint with this head.
    #[must_use]
    pub fn new(endpoint: Endpoint, content_type: Option<&str>, status: u16) -> Self {
        let _ = content_type;
        Self { endpoint, status, finished: false }
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// The body has ended as the transport says it should.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// What the provider says was used, as far as it has said it for the answer as a whole.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        None
    }

    /// Whether the dialect's own closing event was seen (`[DONE]`, `message_stop`, `response.completed`; for a whole
    /// answer the end of its JSON; Gemini streams have none but the end of the body).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.finished
    }

    /// Whether the provider reports an error, by status or inside the answer.
    #[must_use]
    pub fn saw_error(&self) -> bool {
        self.status >= 400
    }

    /// t
    pub fn service_tier(&self) -> Option<super::ServiceTier> { None }
    /// Bytes of generated text so far.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        0
    }

    /// The usage as far as it is known, filled up with an estimate: input from the size of the request, output from
    /// the text that was seen.
    #[must_use]
    pub fn estimate(&self, request_bytes: u64) -> Usage {
        let _ = (request_bytes, self.endpoint);
        Usage::default()
    }

    /// What to charge: the provider's own numbers when they are final, else the estimate, flagged.
    #[must_use]
    pub fn charge(&self, request_bytes: u64) -> Charge {
        Charge { usage: self.estimate(request_bytes), estimated: true }
    }
}
