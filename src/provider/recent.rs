//! What went wrong with each provider lately, for people who look at it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

/// Errors remembered per provider.
const REMEMBERED: usize = 20;

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentError {
    /// Unix milliseconds.
    pub at: i64,
    /// Why the attempt ended, as in the attempts of a request.
    pub reason: String,
    /// The provider's status, if it answered.
    pub status: Option<u16>,
}

/// The latest errors of every provider. Written only when something failed.
#[derive(Debug, Default)]
pub struct ProviderEvents {
    by_name: Mutex<BTreeMap<Arc<str>, VecDeque<RecentError>>>,
}

impl ProviderEvents {
    /// Remembers a failed attempt.
    pub fn failed(&self, provider: &Arc<str>, error: RecentError) {
        let mut by_name = self.by_name.lock();
        let errors = by_name.entry(Arc::clone(provider)).or_default();
        if errors.len() == REMEMBERED {
            errors.pop_back();
        }
        errors.push_front(error);
    }

    /// The latest errors of a provider, newest first.
    #[must_use]
    pub fn of(&self, provider: &str) -> Vec<RecentError> {
        self.by_name.lock().get(provider).map(|errors| errors.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_errors_are_kept_newest_first() {
        let events = ProviderEvents::default();
        let name: Arc<str> = "p".into();
        for at in 0..25 {
            events.failed(&name, RecentError { at, reason: "broken".into(), status: None });
        }
        let kept = events.of("p");
        assert_eq!((kept.len(), kept[0].at, kept[19].at), (20, 24, 5));
        assert_eq!(events.of("q"), []);
    }
}
