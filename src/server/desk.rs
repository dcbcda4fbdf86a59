//! What the REST API is told about budgets: their state on this node, and what would become of requests.

use std::sync::Arc;

use async_trait::async_trait;
use entity::{keys, users};

use crate::admin::{
    self, BudgetSource, BudgetStatus, BudgetView, BudgetWindow, BudgetsUnknown, ExplainedBudget, ExplainedCandidate,
    ExplainedGroup, Explanation, OwnerId, Verdict,
};
use crate::budget::WindowView;
use crate::directory::{Announcer, Change, owner_of_key, owner_of_user};
use crate::gateway::{App, Considered, Gateway, PayingBudget, Question};
use crate::limit::{Axis, Budget, BudgetId, ModelGroup, Owner, Scope, Snapshot, Source};

/// This node's budgets, as the REST API sees them.
pub struct BudgetDesk {
    app: Arc<App>,
    gateway: Gateway,
    /// Where the other nodes are told of resets.
    announcer: Option<Announcer>,
}

/// The names of owners, for people.
#[derive(Default)]
struct Names {
    user: Option<String>,
    key: Option<String>,
    provider: Option<String>,
}

impl BudgetDesk {
    /// Over the node's parts.
    #[must_use]
    pub fn new(app: &Arc<App>, announcer: Option<Announcer>) -> Self {
        Self { app: Arc::clone(app), gateway: Gateway::new(Arc::clone(app)), announcer }
    }

    /// The groups and limits in force. While they have never been read, nothing true can be said about budgets.
    async fn groups(&self, owner: &Owner) -> Result<Arc<Snapshot>, BudgetsUnknown> {
        let live = self.app.live.load_full();
        if live.config.budgets.model_group_limits && !self.app.limits.is_known() {
            return Err(BudgetsUnknown);
        }
        self.app.groups(&live, owner.stamp).await.map_err(|_| BudgetsUnknown)
    }

    async fn of_owner(&self, axis: Axis, owner: &Owner, names: Names) -> Result<Vec<BudgetStatus>, BudgetsUnknown> {
        let groups = self.groups(owner).await?;
        self.states(&groups, groups.budgets_of(axis, owner), &names).await
    }

    async fn states(
        &self,
        groups: &Snapshot,
        budgets: Vec<Budget>,
        names: &Names,
    ) -> Result<Vec<BudgetStatus>, BudgetsUnknown> {
        let mut states = Vec::with_capacity(budgets.len());
        for Budget { id, policy } in budgets {
            let now = self.app.budgets.now();
            let view = self.app.budgets.state(id, &policy, now).await.map_err(|_| BudgetsUnknown)?;
            states.push(BudgetStatus {
                axis: id.axis.as_str(),
                owner_id: owner_id(id, names),
                scope: groups.scope_name(id.scope).to_owned(),
                model_group_id: model_group_id(id.scope),
                windows: windows(&view.windows, groups, names),
            });
        }
        Ok(states)
    }
}

#[async_trait]
impl BudgetView for BudgetDesk {
    async fn of_user(&self, user: &users::Model) -> Result<Vec<BudgetStatus>, BudgetsUnknown> {
        let names = Names { user: Some(user.name.clone()), ..Names::default() };
        self.of_owner(Axis::User, &owner_of_user(user), names).await
    }

    async fn of_key(&self, key: &keys::Model) -> Result<Vec<BudgetStatus>, BudgetsUnknown> {
        let names = Names { key: Some(key.name.clone()), ..Names::default() };
        self.of_owner(Axis::Key, &owner_of_key(key), names).await
    }

    async fn of_provider(&self, name: &str) -> Result<Option<Vec<BudgetStatus>>, BudgetsUnknown> {
        let live = self.app.live.load_full();
        let Some(provider) = live.catalogue.iter().find(|provider| &*provider.name == name) else { return Ok(None) };
        let (id, policy) = provider.budget.clone();
        let budgets = policy.map(|policy| Budget { id, policy }).into_iter().collect();
        let names = Names { provider: Some(name.to_owned()), ..Names::default() };
        self.states(&self.app.no_groups, budgets, &names).await.map(Some)
    }

    fn was_reset(&self, axis: Axis, owner: i64, era: i64) {
        self.app.budgets.owner_was_reset(axis, owner, era);
        if let Some(announcer) = &self.announcer {
            announcer.announce(Change::Reset { axis, owner, era });
        }
    }

    async fn explain(&self, question: Question) -> Explanation {
        let (user, key) = (question.user.name.clone(), question.key.as_ref().map(|key| key.name.clone()));
        let explained = self.gateway.explain(question).await;
        let groups = &explained.groups;
        let candidates: Vec<_> = explained
            .candidates
            .iter()
            .map(|considered| {
                let provider = Some(considered.provider.name.to_string());
                candidate(considered, groups, &Names { user: Some(user.clone()), key: key.clone(), provider })
            })
            .collect();
        // Of a refusal the first candidate is the one that it is about.
        let decisive = candidates.get(*explained.verdict.as_ref().unwrap_or(&0));
        let verdict = match &explained.verdict {
            Ok(at) => Verdict {
                admitted: true,
                provider: candidates.get(*at).map(|candidate| candidate.provider.clone()),
                code: None,
                status: None,
                message: None,
                details: None,
            },
            Err(refusal) => Verdict {
                admitted: false,
                provider: None,
                code: Some(refusal.code.as_str()),
                status: Some(refusal.code.status()),
                message: Some(refusal.message.clone()),
                details: refusal.details.clone(),
            },
        };
        Explanation {
            dialect: explained.dialect.as_str(),
            model_group: decisive.and_then(|candidate| candidate.model_group.clone()),
            budgets: decisive.map(|candidate| candidate.budgets.clone()).unwrap_or_default(),
            candidates,
            verdict,
        }
    }
}

fn candidate(considered: &Considered, groups: &Snapshot, names: &Names) -> ExplainedCandidate {
    let budgets = considered.budgets.iter();
    ExplainedCandidate {
        provider: considered.provider.name.to_string(),
        served_model: considered.served_model.clone(),
        model_group: considered.model_group.as_deref().map(model_group),
        excluded: considered.excluded,
        needs_usd: considered.needs.map(|usd| usd.nanos()),
        // A question without a key has a key's side that nobody knows.
        budgets: budgets
            .filter(|budget| names.key.is_some() || budget.id.axis != Axis::Key)
            .map(|budget| paying(budget, groups, names))
            .collect(),
    }
}

fn paying(budget: &PayingBudget, groups: &Snapshot, names: &Names) -> ExplainedBudget {
    let known = budget.view.as_ref().map(|view| windows(&view.windows, groups, names));
    ExplainedBudget {
        axis: budget.id.axis.as_str(),
        owner_id: owner_id(budget.id, names),
        scope: groups.scope_name(budget.id.scope).to_owned(),
        model_group_id: model_group_id(budget.id.scope),
        windows: known.or_else(|| (!budget.is_capped).then(Vec::new)),
    }
}

fn model_group(group: &ModelGroup) -> ExplainedGroup {
    ExplainedGroup { id: group.id, name: group.name.clone() }
}

const fn model_group_id(scope: Scope) -> Option<i64> {
    match scope {
        Scope::Mainline | Scope::Count(_) => None,
        Scope::ModelGroup(id) => Some(id),
    }
}

/// Providers go by their name: the number that stands for it is for machines alone.
fn owner_id(id: BudgetId, names: &Names) -> OwnerId {
    match (id.axis, &names.provider) {
        (Axis::Provider, Some(name)) => OwnerId::Name(name.clone()),
        _ => OwnerId::Id(id.owner),
    }
}

fn windows(views: &[WindowView], groups: &Snapshot, names: &Names) -> Vec<BudgetWindow> {
    let window = |view: &WindowView| BudgetWindow {
        window: view.window.as_str(),
        reset: admin::reset_name(view.mode),
        limit_usd: view.cap.nanos(),
        boost_usd: view.boost.nanos(),
        source: source(view.source, groups, names),
        used_usd: view.used.nanos(),
        reserved_usd: view.reserved.nanos(),
        remaining_usd: view.remaining.nanos(),
        starts_at: view.starts_at.map(admin::Instant),
        resets_at: view.resets_at.map(admin::Instant),
    };
    views.iter().map(window).collect()
}

fn source(source: Source, groups: &Snapshot, names: &Names) -> BudgetSource {
    let (id, name) = match source {
        Source::User(id) => (OwnerId::Id(id), names.user.clone()),
        Source::Key(id) => (OwnerId::Id(id), names.key.clone()),
        Source::UserGroup(id) => (OwnerId::Id(id), groups.source_name(source).map(str::to_owned)),
        Source::Provider(_) => (OwnerId::Name(names.provider.clone().unwrap_or_default()), names.provider.clone()),
    };
    BudgetSource { kind: source.kind(), id, name }
}
