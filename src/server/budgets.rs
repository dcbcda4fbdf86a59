//! Budgets of a single node: who knows what is spent, and what the configuration says.

use std::sync::Arc;

use sea_orm::DatabaseConnection;
use tokio_util::sync::CancellationToken;

use crate::budget::{Authority, BudgetSettings, Budgets, Clock, Incarnation, MemoryAuthority, Seeds};
use crate::clock::now_ms;
use crate::config::Config;
use crate::ledger::{Ledger, LedgerSeeds};

/// Starts with nothing known: each budget is read from the ledger when it is first used.
pub(super) fn start(
    db: &DatabaseConnection,
    inc: Incarnation,
    ledger: &Arc<Ledger>,
    config: &Config,
    stop: CancellationToken,
) -> (Arc<LedgerSeeds>, Arc<Budgets>, Arc<dyn Authority>) {
    let clock: Clock = Arc::new(now_ms);
    let seeds = Arc::new(LedgerSeeds::new(db.clone(), Arc::clone(ledger)));
    let settings = BudgetSettings::from(&config.budgets);
    // Nobody but this process holds anything: what an earlier one held has ended with it.
    let authority: Arc<dyn Authority> = Arc::new(MemoryAuthority::new(Arc::clone(&clock), 0));
    let budgets = Budgets::new(inc, Arc::clone(&authority), Arc::clone(&seeds) as Arc<dyn Seeds>, settings, clock);
    seeds.set_providers(config.providers.iter().map(|provider| provider.name.as_str()));
    tokio::spawn(Arc::clone(&budgets).run(stop.clone()));
    tokio::spawn(Arc::clone(&budgets).reconcile(stop));
    (seeds, budgets, authority)
}

/// Takes over what a new configuration says.
pub(super) fn configure(seeds: &LedgerSeeds, budgets: &Budgets, config: &Config) {
    seeds.set_providers(config.providers.iter().map(|provider| provider.name.as_str()));
    budgets.configure(BudgetSettings::from(&config.budgets));
}
