//! Which conversation a request belongs to, and where that was before.

use std::sync::Arc;

use http::HeaderMap;

use super::Gateway;
use super::app::{App, Live};
use crate::dialect::Inspected;
use crate::directory::Principal;
use crate::provider::{Asker, ThreadName};

/// A conversation that is followed.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    name: ThreadName,
    /// Whether something was said before.
    has_past: bool,
    /// The provider that served it last.
    pub(super) before: Option<Arc<str>>,
}

impl Gateway {
    /// None: it is not followed, because that is switched off, or there is nothing to follow.
    pub(super) async fn follow(
        &self,
        live: &Live,
        headers: &HeaderMap,
        inspected: &Inspected,
        body: &[u8],
        principal: &Principal,
    ) -> Option<Thread> {
        let endpoint = inspected.endpoint;
        let has_choice = live.catalogue.iter().nth(1).is_some();
        let settings = Some(&live.config.routing.affinity).filter(|affinity| affinity.enabled && has_choice)?;
        if !endpoint.is_generation() || endpoint.is_embedding() {
            return None;
        }
        let affinity = &self.app.affinity;
        let asker = Asker { key: principal.key.id, dialect: endpoint.dialect()?, model: &inspected.model };
        let conversation = &inspected.conversation;
        let identity = conversation.identity(|name| headers.get(name).and_then(|value| value.to_str().ok()));
        let name = affinity.name(asker, identity, body)?;
        let now = self.app.budgets.now();
        let mut before = affinity.known(name, now, settings.ttl);
        // Of what has no past, no provider has anything in its cache that would be worth waiting for an answer.
        let has_past = affinity.is_shared() && conversation.has_past(body);
        if before.is_none() && has_past {
            before = affinity.ask(name, now).await;
        }
        Some(Thread { name, has_past, before })
    }
}

impl App {
    /// The conversation was served by this provider, and goes there from now on.
    pub(super) fn stays(&self, thread: Option<&Thread>, provider: &Arc<str>) {
        if let Some(Thread { name, has_past, .. }) = thread {
            let ttl = self.live.load().config.routing.affinity.ttl;
            self.affinity.keep(*name, *has_past, provider, self.budgets.now(), ttl);
        }
    }
}
