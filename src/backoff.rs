//! Waits between tries at something that is away: longer and longer, within bounds.

use std::time::Duration;

const MIN: Duration = Duration::from_millis(50);
const MAX: Duration = Duration::from_secs(2);

/// How often it has failed in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Whether nothing has failed since the last success.
    pub(crate) const fn is_calm(&self) -> bool {
        self.failures == 0
    }

    /// Counts a failure; how long to wait before the next try.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = MIN.saturating_mul(2_u32.saturating_pow(self.failures)).min(MAX);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}
