//! What one node remembers of conversations: so many, those that were served last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::name::ThreadName;

/// After this share of the time that a conversation is remembered the others are told of it again.
const TELL_AGAIN: i64 = 4;

/// See the module.
pub(super) struct Memory {
    conversations: Cache<ThreadName, Arc<Kept>>,
}

/// Where a conversation is.
#[derive(Debug)]
pub(super) struct Kept {
    provider: Arc<str>,
    /// Since when, Unix milliseconds: of what two nodes say, the later holds.
    since: i64,
    /// When it was last served there.
    used: AtomicI64,
    /// When the others were last told.
    told: AtomicI64,
    /// Whether they were told of it as something that lasts.
    lasts: AtomicBool,
}

impl Memory {
    pub fn new(conversations: u64) -> Self {
        let builder = Cache::builder().max_capacity(conversations);
        // Of many conversations that were used a few times each, the old ones go.
        Self { conversations: builder.eviction_policy(EvictionPolicy::lru()).build() }
    }

    /// The provider that served it at most `ttl` milliseconds ago.
    pub fn find(&self, thread: ThreadName, now: i64, ttl: i64) -> Option<Arc<str>> {
        let kept = self.conversations.get(&thread)?;
        let is_known = now.saturating_sub(kept.used.load(Ordering::Relaxed)) <= ttl;
        is_known.then(|| Arc::clone(&kept.provider))
    }

    /// It was served there now.
    pub fn keep(&self, thread: ThreadName, provider: &Arc<str>, now: i64) -> Arc<Kept> {
        if let Some(kept) = self.conversations.get(&thread)
            && kept.provider == *provider
        {
            kept.used.fetch_max(now, Ordering::Relaxed);
            return kept;
        }
        let kept = Arc::new(Kept::new(provider, now, now, i64::MIN));
        self.conversations.insert(thread, Arc::clone(&kept));
        kept
    }

    /// Another node says that it is there since then. What was decided later holds, also if it was heard of sooner.
    pub fn hear(&self, thread: ThreadName, provider: &Arc<str>, since: i64, now: i64) {
        if let Some(kept) = self.conversations.get(&thread) {
            if kept.provider == *provider {
                kept.used.fetch_max(now, Ordering::Relaxed);
                return;
            }
            if (kept.since, &kept.provider) > (since, provider) {
                return;
            }
        }
        self.conversations.insert(thread, Arc::new(Kept::new(provider, since, now, now)));
    }

    #[cfg(test)]
    pub fn len(&self) -> u64 {
        self.conversations.run_pending_tasks();
        self.conversations.entry_count()
    }
}

impl Kept {
    fn new(provider: &Arc<str>, since: i64, used: i64, told: i64) -> Self {
        let provider = Arc::clone(provider);
        let (used, told) = (AtomicI64::new(used), AtomicI64::new(told));
        Self { provider, since, used, told, lasts: AtomicBool::new(false) }
    }

    /// Since when it is there.
    pub const fn since(&self) -> i64 {
        self.since
    }

    /// Whether the others are to be told now: they do not know, or would forget, or Redis may have been away when they
    /// were told, or it has turned out to last. Says so once.
    pub fn is_to_be_told(&self, now: i64, ttl: i64, connected_at: i64, lasts: bool) -> bool {
        let told = self.told.load(Ordering::Relaxed);
        let is_old = told < connected_at || now.saturating_sub(told) > ttl / TELL_AGAIN;
        let is_news = lasts && !self.lasts.swap(true, Ordering::Relaxed);
        if is_old || is_news {
            return self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        }
        false
    }
}
