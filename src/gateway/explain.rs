//! What would become of a request, found out by what decides about requests, without making it.

use std::sync::Arc;

use entity::{keys, users};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::app::Live;
use super::choice::Choice;
use super::context::Priced;
use super::payers::Skipped;
use super::{Gateway, Payers, admit, route};
use crate::budget::{BudgetView, Plan};
use crate::clock::now_ms;
use crate::dialect::{self, ClientHints, Dialect, ErrorCode, GatewayError, Inspected, Route, inspect};
use crate::directory::{Principal, principal_of};
use crate::limit::{Axis, BudgetId, ModelGroup, Snapshot};
use crate::money::Usd;
use crate::provider::Provider;

/// A request that nobody makes.
#[derive(Clone, Debug)]
pub struct Question {
    /// Whose.
    pub user: users::Model,
    /// With which key; none: with one that limits nothing.
    pub key: Option<keys::Model>,
    /// For which model, as a client names it.
    pub model: String,
    /// In which wire format; none: the first one of the first provider that takes the model.
    pub dialect: Option<Dialect>,
}

/// The answer.
pub struct Explanation {
    /// The wire format that was assumed.
    pub dialect: Dialect,
    /// Every provider: first those that would be tried, in this order.
    pub candidates: Vec<Considered>,
    /// The place of the candidate that would get the request, or what the client would be told.
    pub verdict: Result<usize, GatewayError>,
    /// Groups and limits that it was decided by.
    pub groups: Arc<Snapshot>,
}

/// A provider, and what speaks for and against it.
pub struct Considered {
    /// Who.
    pub provider: Arc<Provider>,
    /// The model that it would be sent.
    pub served_model: String,
    /// The group of that model.
    pub model_group: Option<Arc<ModelGroup>>,
    /// Why it would not get the request; none: it could serve it.
    pub excluded: Option<&'static str>,
    /// What the request would set aside; none when it does not come to that.
    pub needs: Option<Usd>,
    /// The budgets that would pay: the key's, the user's, the provider's. Empty when it does not come to that.
    pub budgets: Vec<PayingBudget>,
}

/// A budget that would pay.
pub struct PayingBudget {
    /// Which.
    pub id: BudgetId,
    /// Whether it has a cap.
    pub is_capped: bool,
    /// Its windows; none when it has no cap, or when they cannot be found out.
    pub view: Option<BudgetView>,
}

impl Gateway {
    /// What would become of a small request of this kind now. Limits on the number of requests are left aside.
    pub async fn explain(&self, question: Question) -> Explanation {
        let app = &self.app;
        let live = app.live.load_full();
        let Question { user, key, model, dialect } = question;
        let principal = principal_of(key.unwrap_or_else(|| unlimited_key(user.id)), user);
        let dialect = dialect.unwrap_or_else(|| first_dialect(&live, &model));
        let groups = app.groups(&live, principal.limits_stamp()).await;
        let allowed = principal.check(now_ms()).map_err(|refusal| admit::explain(refusal, None));
        let outcome = allowed.and_then(|()| imagined(dialect, &model)).and_then(|(route, inspected)| {
            let choice = Choice::new(app, &live, &route, &inspected, &principal, None)?;
            Ok((inspected, choice))
        });
        let mut candidates = Vec::new();
        let mut verdict = Err(route::no_provider());
        let mut left_out: Vec<(Arc<Provider>, &'static str)> = Vec::new();
        let otherwise = match outcome {
            Ok((inspected, mut choice)) => {
                let mut refusal = None;
                while let Some(priced) = choice.present() {
                    let (considered, skipped) = match &groups {
                        Ok(groups) => self.consider(&live, groups, &principal, &inspected, priced).await,
                        Err(away) => (Considered::new(priced), Some(Skipped::of(away, &app.no_groups, &principal, 0))),
                    };
                    match skipped {
                        None if verdict.is_err() => verdict = Ok(candidates.len()),
                        Some(Skipped::Refused(error)) => drop(refusal.get_or_insert(error)),
                        None | Some(Skipped::ProviderSpent) => {}
                    }
                    candidates.push(considered);
                    choice.advance(app, &inspected);
                }
                if verdict.is_err() {
                    verdict = Err(refusal.unwrap_or_else(|| choice.nobody(app.budgets.now())));
                }
                left_out.extend(choice.left_out());
                // A candidate that is not among them has no price.
                ErrorCode::ModelNotPriced.as_str()
            }
            Err(error) => {
                verdict = Err(error.clone());
                error.code.as_str()
            }
        };
        let tried: Vec<Arc<str>> = candidates.iter().map(|c: &Considered| Arc::clone(&c.provider.name)).collect();
        let groups = groups.unwrap_or_else(|_| Arc::clone(&app.no_groups));
        for provider in live.catalogue.iter().filter(|provider| !tried.contains(&provider.name)) {
            let excluded = provider.excluded(dialect, &model, principal.provider_groups()).map(|why| why.as_str());
            let passed_over = || left_out.iter().find(|(other, _)| other.name == provider.name).map(|(_, why)| *why);
            let served_model = provider.settings.redirect(&model).to_owned();
            candidates.push(Considered {
                provider: Arc::clone(provider),
                model_group: groups.model_group(&served_model).cloned().map(Arc::new),
                served_model,
                excluded: Some(excluded.or_else(passed_over).unwrap_or(otherwise)),
                needs: None,
                budgets: Vec::new(),
            });
        }
        Explanation { dialect, candidates, verdict, groups }
    }

    async fn consider(
        &self,
        live: &Live,
        groups: &Snapshot,
        principal: &Principal,
        inspected: &Inspected,
        priced: &Priced,
    ) -> (Considered, Option<Skipped>) {
        let payers = Payers::of(groups, &principal.user.owner, &principal.key.owner, &priced.candidate);
        let mut considered = Considered { model_group: payers.model_group.clone(), ..Considered::new(priced) };
        let amount = match self.need(live, principal, inspected, priced) {
            Ok(need) => need.amount,
            Err(skipped) => {
                considered.excluded = Some(skipped.reason());
                return (considered, Some(skipped));
            }
        };
        let now = self.app.budgets.now();
        let explained = Box::pin(self.app.budgets.explain(&payers.plan, amount, now)).await;
        considered.needs = Some(amount);
        let budgets = explained.budgets.into_iter();
        considered.budgets = budgets
            .map(|(axis, id, _, view)| PayingBudget { is_capped: is_capped(&payers.plan, axis, id), id, view })
            .collect();
        let refused = explained.verdict.err();
        let skipped = refused.map(|why| Skipped::of(&why, groups, principal, now));
        considered.excluded = skipped.as_ref().map(Skipped::reason);
        (considered, skipped)
    }
}

impl Considered {
    fn new(priced: &Priced) -> Self {
        Self {
            provider: Arc::clone(&priced.candidate.provider),
            served_model: priced.candidate.served_model.to_string(),
            model_group: None,
            excluded: None,
            needs: None,
            budgets: Vec::new(),
        }
    }
}

fn is_capped(plan: &Plan, axis: Axis, id: BudgetId) -> bool {
    let side = match axis {
        Axis::Provider => return plan.provider.1.is_some(),
        Axis::Key => &plan.key,
        Axis::User => &plan.user,
    };
    side.group.as_ref().is_some_and(|(group, _)| *group == id) || (side.mainline.0 == id && side.mainline.1.is_some())
}

/// The smallest request for a model in a dialect, read as if a client had sent it.
fn imagined(dialect: Dialect, model: &str) -> Result<(Route, Inspected), GatewayError> {
    let named = json!({"model": model});
    let (path, body) = match dialect {
        Dialect::Anthropic => ("/v1/messages".to_owned(), named),
        Dialect::OpenaiChat => ("/v1/chat/completions".to_owned(), named),
        Dialect::OpenaiResponses => ("/v1/responses".to_owned(), named),
        Dialect::OpenaiEmbeddings => ("/v1/embeddings".to_owned(), named),
        Dialect::Gemini => {
            let name = utf8_percent_encode(model, NON_ALPHANUMERIC);
            (format!("/v1beta/models/{name}:generateContent"), json!({}))
        }
    };
    let route = dialect::route("POST", &path, None, ClientHints::default()).map_err(|e| e.to_gateway_error())?;
    let inspected = inspect(&route, body.to_string().as_bytes()).map_err(|e| e.to_gateway_error())?;
    Ok((route, inspected))
}

fn first_dialect(live: &Live, model: &str) -> Dialect {
    let takes = live.catalogue.iter().find(|provider| provider.takes(model));
    takes.and_then(|provider| provider.settings.dialects.first().copied()).unwrap_or(Dialect::OpenaiChat)
}

/// A key that nobody has, and that its user alone limits.
fn unlimited_key(user_id: i64) -> keys::Model {
    keys::Model { user_id, enabled: true, ..keys::Model::default() }
}
