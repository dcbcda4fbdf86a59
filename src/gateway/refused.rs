//! What is kept of a request that goes no further: who asked for what, who could not be asked, and who was.

use std::sync::Arc;

use super::Gateway;
use super::app::Live;
use super::choice::Choice;
use super::context::{Admitted, RequestContext};
use crate::clock::now_ms;
use crate::dialect::{Dialect, GatewayError};
use crate::directory::Principal;
use crate::ledger::AttemptReport;
use crate::provider::Provider;
use crate::refusals::{Excluded, Kind, MOST_LISTED, Refusal};

/// Whose request it is, once that is known.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub(super) user_id: i64,
    pub(super) key_id: i64,
}

/// What a refused request asked for, and how far it came. Made when it is refused, so that no other request pays for it;
/// what takes time is left for when a row is made of it.
pub(super) struct Asked {
    model: String,
    /// None: no provider was looked for.
    search: Option<Search>,
}

struct Search {
    live: Arc<Live>,
    principal: Arc<Principal>,
    passed_over: Vec<(Arc<Provider>, &'static str)>,
    attempts: Vec<AttemptReport>,
}

impl Asked {
    /// Of a request that was refused before anybody was looked for.
    pub(super) const fn for_model(model: String) -> Self {
        Self { model, search: None }
    }

    /// Of one for which somebody was looked for; none: nobody may serve it.
    pub(super) fn with(live: &Arc<Live>, principal: &Arc<Principal>, model: String, choice: Option<&Choice>) -> Self {
        let passed_over = choice.map(|choice| choice.passed_over().collect()).unwrap_or_default();
        let (live, principal) = (Arc::clone(live), Arc::clone(principal));
        Self { model, search: Some(Search { live, principal, passed_over, attempts: Vec::new() }) }
    }

    /// Of one that had been admitted, or was about to be.
    pub(super) fn of(admitted: &Admitted) -> Self {
        let Admitted { choice, principal, inspected, bill, .. } = admitted;
        let mut asked = Self::with(choice.live(), principal, inspected.model.clone(), Some(choice));
        if let Some(search) = &mut asked.search {
            search.attempts.clone_from(&bill.story().lock());
        }
        asked
    }
}

impl Search {
    /// Providers that could not be asked, and are not among those that were asked or had their turn.
    fn excluded(&self, dialect: Option<Dialect>, model: &str) -> impl Iterator<Item = Excluded> {
        let of_reason = move |provider: &Provider, reason: &str| Excluded {
            provider: Arc::clone(&provider.name),
            served_model: provider.served(&Arc::from(model)),
            reason: reason.to_owned(),
        };
        let passed_over = self.passed_over.iter().map(move |(provider, why)| of_reason(provider, why));
        let never = self.live.catalogue.iter().filter_map(move |provider| {
            let why = provider.excluded(dialect?, model, self.principal.provider_groups())?;
            Some(of_reason(provider, why.as_str()))
        });
        let is_told = |name: &str| self.attempts.iter().any(|attempt| *attempt.provider == *name);
        passed_over.filter(move |excluded| !is_told(&excluded.provider)).chain(never)
    }
}

impl Gateway {
    /// Counts a refusal, and keeps it if it is of somebody who is known: strangers could fill the table.
    pub(super) fn refused(&self, ctx: &RequestContext, error: &GatewayError) {
        let detail = |name: &str| error.details.as_ref().and_then(|d| d[name].as_str()).unwrap_or_default().to_owned();
        let labels = [error.code.as_str(), &detail("axis"), &detail("window")];
        self.app.metrics.refusals.with_label_values(&labels).inc();
        let Some(Asker { user_id, key_id }) = ctx.asker else { return };
        if self.app.live.load().config.ledger.refusal_days == 0 {
            return;
        }
        let story = || {
            let admitted = || ctx.admitted.as_deref().map(Asked::of);
            let (mut model, mut excluded, mut excluded_more, mut attempts) = (None, Vec::new(), 0, Vec::new());
            let late = if ctx.asked.is_none() { admitted() } else { None };
            if let Some(asked) = ctx.asked.as_deref().or(late.as_ref()) {
                model = Some(asked.model.clone());
                if let Some(search) = &asked.search {
                    let mut others = search.excluded(ctx.dialect, &asked.model);
                    excluded = others.by_ref().take(MOST_LISTED).collect();
                    excluded_more = others.count();
                    attempts.clone_from(&search.attempts);
                }
            }
            Refusal {
                request_id: ctx.id.0,
                created_at: ctx.created_at,
                user_id,
                key_id,
                model,
                dialect: ctx.dialect,
                error: error.clone(),
                excluded,
                excluded_more,
                attempts,
            }
        };
        self.app.refusals.keep(Kind::of(key_id, error), ctx.id.0, now_ms(), story);
    }
}
