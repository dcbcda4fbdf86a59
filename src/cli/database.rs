//! The commands that work on a configuration file and its database, beside or without a running gateway.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use entity::usage_ledger;
use sea_orm::DatabaseConnection;
use tollgate::clock::now_ms;
use tollgate::config::{self, Config};
use tollgate::dialect::Usage;
use tollgate::limit::Scope;
use tollgate::money::Usd;
use tollgate::pricing::AppliedJson;
use tollgate::provider::Catalogue;
use tollgate::server::{self, PriceKeeper, environment};
use tollgate::store::StoreError;
use tollgate::{admin, ledger, pricing, store};

use super::Role;
use super::output::{Failure, print};

fn read_config(file: &Path) -> Result<Config, Failure> {
    config::load(file, &environment).map_err(|errors| invalid(file, &errors))
}

fn invalid<E: std::fmt::Display>(file: &Path, errors: &[E]) -> Failure {
    Failure::new(format!("{} is not valid:\n{}", file.display(), server::listed(errors)))
}

pub(super) fn check(file: &Path) -> Result<(), Failure> {
    let config = read_config(file)?;
    Catalogue::new(&config.providers).map_err(|errors| invalid(file, &errors))?;
    print(&format!("{} is valid", file.display()))
}

pub(super) fn with_database(
    file: &Path,
    work: impl AsyncFnOnce(&DatabaseConnection) -> Result<(), Failure>,
) -> Result<(), Failure> {
    with_config(file, async |db, _| work(db).await)
}

pub(super) fn with_config(
    file: &Path,
    work: impl AsyncFnOnce(&DatabaseConnection, &Config) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = read_config(file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    runtime.block_on(async {
        let db = store::connect(config.database.url.expose(), config.database.max_connections).await?;
        let done = work(&db, &config).await;
        if let Err(error) = db.close().await {
            eprintln!("tollgate: the database was not closed in order: {error}");
        }
        done
    })
}

pub(super) async fn migrate(db: &DatabaseConnection, status_only: bool) -> Result<(), Failure> {
    if !status_only {
        store::migrate(db).await?;
    }
    for step in store::migration_status(db).await? {
        print(&format!("{}  {}", if step.applied { "applied" } else { "pending" }, step.name))?;
    }
    Ok(())
}

pub(super) async fn create_token(
    db: &DatabaseConnection,
    name: &str,
    role: Role,
    expires_at: Option<i64>,
) -> Result<(), Failure> {
    store::migrate(db).await?;
    let role = match role {
        Role::Admin => admin::Role::Admin,
        Role::Viewer => admin::Role::Viewer,
    };
    let secret = admin::create_admin_token(db, name, role, expires_at, now_ms()).await.map_err(Failure::new)?;
    print(secret.expose())
}

pub(super) async fn import(db: &DatabaseConnection, file: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    let imported = pricing::import(&text).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    store::migrate(db).await?;
    admin::import_prices(db, &imported, now_ms()).await.map_err(Failure::new)?;
    for skipped in &imported.report.skipped {
        eprintln!("left out: {}: {}", skipped.model, skipped.reason);
    }
    print(&format!("{} prices imported, {} left out", imported.prices.len(), imported.report.skipped.len()))
}

pub(super) async fn rerate(
    db: &DatabaseConnection,
    config: &Config,
    range: Range<i64>,
    dry_run: bool,
) -> Result<(), Failure> {
    if range.is_empty() {
        return Err(Failure::usage("--from must be before --to"));
    }
    up_to_date(db).await?;
    let book = PriceKeeper::book(db, config)
        .await
        .map_err(|error| Failure { code: error.exit_code(), message: error.to_string() })?;
    let multipliers: HashMap<&str, u32> =
        config.providers.iter().map(|provider| (provider.name.as_str(), provider.cost_multiplier.ppm())).collect();
    let shown = AppliedJson::default();
    let costs = |row: &usage_ledger::Model, usage: &Usage| {
        let applied = book.of_request(&row.served_model, &row.requested_model)?.applied(usage);
        Some((applied.cost(usage, *multipliers.get(row.provider.as_str())?), shown.of(&applied)))
    };
    let rerated = ledger::rerate(db, range, &costs, dry_run).await.map_err(StoreError::from)?;
    let (mut before, mut after) = (Usd::ZERO, Usd::ZERO);
    for (model, change) in &rerated.changed {
        print(&format!("{model}: {} requests, {} USD instead of {} USD", change.rows, change.after, change.before))?;
        before += change.before;
        after += change.after;
    }
    let changed: u64 = rerated.changed.values().map(|change| change.rows).sum();
    let verb = if dry_run { "would be corrected" } else { "corrected" };
    print(&format!("{changed} of {} requests {verb}: {after} USD instead of {before} USD", rerated.rows))?;
    if rerated.unknown > 0 {
        eprintln!(
            "left as they are: {} requests whose use is not known, or whose provider or price is not there any more",
            rerated.unknown
        );
    }
    Ok(())
}

pub(super) async fn audit(db: &DatabaseConnection, repair: bool) -> Result<(), Failure> {
    up_to_date(db).await?;
    let audit = ledger::audit_sums(db, repair).await.map_err(StoreError::from)?;
    for ((axis, owner, scope), more) in &audit.budgets {
        let of = match scope {
            Scope::ModelGroup(id) => format!(", model group {id}"),
            _ => String::new(),
        };
        print(&format!("{} {owner}{of}: {more} USD more in the ledger than in the sums", axis.as_str()))?;
    }
    if audit.quarters > 0 {
        print(&format!("{} sums per quarter of an hour, which usage summaries are read from, differ", audit.quarters))?;
    }
    if audit.wrong == 0 {
        return print(&format!("{} rows: every sum is that of its rows", audit.rows));
    }
    let wrong = format!("{} sums of {} rows were not those of their rows", audit.wrong, audit.rows);
    if repair { print(&format!("{wrong}; they are now")) } else { Err(Failure::new(format!("{wrong}; see --repair"))) }
}

/// Whoever only looks leaves the schema as running nodes know it.
async fn up_to_date(db: &DatabaseConnection) -> Result<(), Failure> {
    if store::migration_status(db).await?.iter().any(|step| !step.applied) {
        return Err(Failure::new("the database is not at this version's schema; run `tollgate migrate` first"));
    }
    Ok(())
}
