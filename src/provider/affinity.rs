//! Where conversations are served: each goes to the provider that served it before, whose prompt cache knows it.
//!
//! Nothing here is of consequence but what a prompt costs and how soon it is answered: what is forgotten is chosen anew.
//! So nothing waits for it, and nothing fails without it. Nodes that share a Redis tell each other (`shared.rs`).

mod memory;
mod name;
mod shared;
mod stay;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use memory::Memory;
pub use name::{Asker, ThreadName};
use name::{Secret, name};
pub use shared::Sharing;
use shared::{Elsewhere, Told};

use crate::dialect::Identity;

/// Conversations that are remembered: some 20 MB.
const CONVERSATIONS: u64 = 65_536;

/// See the module.
pub struct Affinity {
    secret: ArcSwap<Secret>,
    memory: Memory,
    elsewhere: Option<Elsewhere>,
}

impl Affinity {
    /// For a node that is alone.
    #[must_use]
    pub fn alone() -> Arc<Self> {
        Arc::new(Self::new(CONVERSATIONS, None))
    }

    /// For a node that shares this Redis; the other half is to be run. `patience`: how long an answer of it is waited
    /// for.
    #[must_use]
    pub fn shared(url: &str, patience: Duration) -> (Arc<Self>, Sharing) {
        let (elsewhere, queue) = Elsewhere::new(patience);
        let affinity = Arc::new(Self::new(CONVERSATIONS, Some(elsewhere)));
        (Arc::clone(&affinity), Sharing::new(affinity, url, queue))
    }

    fn new(conversations: u64, elsewhere: Option<Elsewhere>) -> Self {
        Self { secret: ArcSwap::from_pointee(Secret::new()), memory: Memory::new(conversations), elsewhere }
    }

    /// What the conversation is called that this asker's body belongs to; none when it says nothing.
    #[must_use]
    pub fn name(&self, asker: Asker<'_>, identity: Identity<'_>, body: &[u8]) -> Option<ThreadName> {
        name(&self.secret.load(), asker, identity, body)
    }

    /// The provider that served a conversation last, as far as this node knows; `ttl`: how long ago at most.
    #[must_use]
    pub fn known(&self, thread: ThreadName, now: i64, ttl: Duration) -> Option<Arc<str>> {
        self.memory.find(thread, now, millis(ttl))
    }

    /// What the other nodes know of it, when this one does not. Waits for an answer of Redis, but not for long; and not
    /// at all while it is away.
    pub async fn ask(&self, thread: ThreadName, now: i64) -> Option<Arc<str>> {
        let (since, provider) = self.elsewhere.as_ref()?.ask(thread).await?;
        self.memory.hear(thread, &provider, since, now);
        Some(provider)
    }

    /// Whether there are other nodes that could be asked.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// A provider has served a conversation: that is where it goes from now on. `has_past`: it was not its first turn.
    pub fn keep(&self, thread: ThreadName, has_past: bool, provider: &Arc<str>, now: i64, ttl: Duration) {
        let ttl = millis(ttl);
        let connected_at = self.elsewhere.as_ref().map(Elsewhere::connected_at);
        let kept = self.memory.keep(thread, provider, now);
        if let (Some(elsewhere), Some(connected_at)) = (&self.elsewhere, connected_at)
            && kept.is_to_be_told(now, ttl, connected_at, has_past)
        {
            elsewhere.tell(Told { thread, provider: Arc::clone(provider), since: kept.since(), lasts: has_past, ttl });
        }
    }

    /// Runs what keeps nodes in step, until `stop`.
    pub fn share(sharing: Sharing, clock: impl Fn() -> i64 + Send + Sync + 'static, stop: CancellationToken) {
        tokio::spawn(sharing.run(clock, stop));
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
