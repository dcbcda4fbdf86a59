//! Sees to lives that are over: tells the authority of the budgets until it is certain that it knows, and writes off what
//! a node held that never returns. Every node does that; what one has done already changes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::budget::{Authority, AuthorityError, Clock, close_life};
use crate::ledger::{self, Ended, LedgerSeeds, Loss, Pulse, Silent};
use crate::limit::{Axis, BudgetId, Scope};
use crate::money::Usd;
use crate::telemetry::Metrics;

/// How often it looks, at least and at most (milliseconds): nodes that began together shall not go on together.
const EVERY: std::ops::Range<u64> = 3_000..5_000;

/// Lives that are looked at in one round.
const AT_ONCE: u64 = 64;

/// What a process said just before its end may reach the authority so much later (milliseconds), and so may a seed
/// from before its journal was in the database: it is told once more after that.
const LATE: i64 = 7_500;

/// Whoever has not beaten for so long itself (milliseconds) does not judge others.
const OWN_PULSE: i64 = 15_000;

/// Why a round was not finished. The next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum UndertakerError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] DbErr),
    /// The authority cannot be asked.
    #[error("{0}")]
    Authority(#[from] AuthorityError),
}

/// See the module.
pub struct Undertaker {
    db: DatabaseConnection,
    authority: Arc<dyn Authority>,
    seeds: Arc<LedgerSeeds>,
    pulse: Arc<Pulse>,
    metrics: Arc<Metrics>,
    /// Lives that are over, and since when that is known here.
    ended: HashMap<Ended, i64>,
    /// The next round begins after this life.
    after: i64,
    /// Silent lives: when they were last seen, and since when they were watched without a sign of them.
    silent: HashMap<i64, (i64, i64)>,
    watched_at: i64,
}

impl Undertaker {
    /// Of a node whose own life is `pulse`.
    #[must_use]
    pub fn new(
        db: DatabaseConnection,
        authority: Arc<dyn Authority>,
        seeds: Arc<LedgerSeeds>,
        pulse: Arc<Pulse>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            db,
            authority,
            seeds,
            pulse,
            metrics,
            ended: HashMap::new(),
            after: 0,
            silent: HashMap::new(),
            watched_at: i64::MIN,
        }
    }

    /// Works until it is stopped; at once when it is nudged.
    pub async fn run(mut self, clock: Clock, nudge: Arc<Notify>, stop: CancellationToken) {
        let mut failing = false;
        while !stop.is_cancelled() {
            match stop.run_until_cancelled(Box::pin(self.round(clock()))).await {
                None => return,
                Some(Ok(())) => failing = false,
                Some(Err(error)) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "lives that are over could not be seen to; trying again");
                    }
                }
            }
            // Whoever did not look for `dead_after` has to begin watching anew.
            let most = u64::try_from(self.pulse.silence().dead_after / 2).unwrap_or(u64::MAX);
            let wait = Duration::from_millis(rand::rng().random_range(EVERY).min(most));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = nudge.notified() => {}
            }
        }
    }

    /// Looks once, at `now` (Unix milliseconds).
    ///
    /// # Errors
    ///
    /// When the database or the authority failed.
    pub async fn round(&mut self, now: i64) -> Result<(), UndertakerError> {
        let told = self.tell(now).await;
        let written_off = self.write_off_silent(now).await;
        told.and(written_off)
    }

    async fn tell(&mut self, now: i64) -> Result<(), UndertakerError> {
        let ended = ledger::untold_lives(&self.db, self.after, AT_ONCE).await?;
        let more = ended.len() as u64 == AT_ONCE;
        let mut failed = None;
        for life in &ended {
            if let Err(error) = self.tell_one(*life, now).await {
                failed = Some(error);
            }
        }
        // Those that fail do not keep the others waiting.
        self.after = ended.last().filter(|_| more).map_or(0, |life| life.inc);
        failed.map_or(Ok(()), Err)
    }

    async fn tell_one(&mut self, life: Ended, now: i64) -> Result<(), UndertakerError> {
        let budgets = close_life(self.authority.as_ref(), life.inc, []).await?;
        // What was written off is not held any more, but counted differently when the life has returned.
        let written_off = ledger::written_off_budgets(&self.db, life.inc).await?;
        self.authority.count_anew(&written_off).await?;
        let since = *self.ended.entry(life).or_insert(now);
        if now - since >= LATE {
            ledger::told(&self.db, life, now).await?;
            self.ended.remove(&life);
            tracing::info!(life = life.inc, budgets, "the budget authority knows that a life is over");
        }
        Ok(())
    }

    /// Time alone proves nothing: after an outage of the database everybody was seen long ago, and clocks differ. So a
    /// life is given up only after it was watched without a sign for as long as a node may be silent.
    async fn write_off_silent(&mut self, now: i64) -> Result<(), UndertakerError> {
        let silence = self.pulse.silence();
        if now.saturating_sub(self.watched_at) > silence.dead_after {
            self.silent.clear();
        }
        self.watched_at = now;
        let until = now.saturating_sub(silence.given_up());
        let silent = match ledger::silent_lives(&self.db, until).await {
            Ok(silent) if now - self.pulse.confirmed_at() <= OWN_PULSE => silent,
            other => {
                self.silent.clear();
                return other.map(drop).map_err(Into::into);
            }
        };
        self.silent.retain(|inc, _| silent.iter().any(|life| life.inc == *inc));
        let mut failed = None;
        for life in silent.into_iter().filter(|life| life.inc != self.pulse.inc()) {
            let watched = self.silent.entry(life.inc).or_insert((life.seen_at, now));
            if watched.0 != life.seen_at {
                *watched = (life.seen_at, now);
            }
            if now - watched.1 >= silence.dead_after
                && let Err(error) = self.write_off(&life, until).await
            {
                failed = Some(error);
            }
        }
        // Those that fail do not keep the others waiting.
        failed.map_or(Ok(()), Err)
    }

    async fn write_off(&self, life: &Silent, until: i64) -> Result<(), UndertakerError> {
        let budgets = self.authority.held_by(life.inc).await?;
        let mut losses = Vec::new();
        for &budget in &budgets {
            let audit = match self.authority.audit(budget).await {
                Ok(Some(audit)) => audit,
                Ok(None) => continue,
                Err(error @ AuthorityError::Garbled(_)) => {
                    tracing::error!(life = life.inc, ?budget, %error, "nothing is charged for a node that is given up");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(held) = audit.holders.iter().find(|holder| holder.inc == life.inc) else { continue };
            if held.seen > until {
                // It is the database that does not hear it.
                return Ok(());
            }
            let at = if held.seen > 0 { held.seen } else { life.seen_at };
            losses.extend(self.loss(budget, held.unwritten, at));
        }
        if !ledger::write_off(&self.db, life, &losses).await? {
            return Ok(());
        }
        self.metrics.nodes_written_off.inc();
        let charged: Usd = losses.iter().map(|loss| loss.amount).sum();
        tracing::warn!(
            life = life.inc, node = life.name, budgets = budgets.len(), %charged,
            "a node was silent for so long that it was given up: what it had told the budgets and not written was charged \
             in its name; if its journal is found, its own rows take their place"
        );
        for Loss { budget, amount, .. } in losses.iter().filter(|loss| loss.amount > Usd::ZERO) {
            tracing::warn!(life = life.inc, ?budget, %amount, "charged for a node that was given up");
        }
        // If that fails, the next round tells it.
        close_life(self.authority.as_ref(), life.inc, budgets).await?;
        Ok(())
    }

    fn loss(&self, budget: BudgetId, amount: Usd, at: i64) -> Option<Loss> {
        if matches!(budget.scope, Scope::Count(_)) {
            return None;
        }
        let provider = match budget.axis {
            Axis::User | Axis::Key => Arc::from(""),
            Axis::Provider => {
                let name = self.seeds.provider_name(budget.owner);
                if name.is_none() {
                    tracing::warn!(?budget, %amount, "nothing is charged for a node that was given up: the provider is not configured here");
                }
                name?
            }
        };
        Some(Loss { budget, amount, at, provider })
    }
}
