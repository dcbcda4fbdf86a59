//! What each command of the command line does.

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use entity::usage_ledger;
use sea_orm::DatabaseConnection;
use tollgate::clock::now_ms;
use tollgate::config::{self, Config};
use tollgate::dialect::Usage;
use tollgate::limit::Scope;
use tollgate::money::Usd;
use tollgate::pricing::AppliedJson;
use tollgate::provider::Catalogue;
use tollgate::server::{self, DEFAULT_CONFIG, PriceKeeper, ServeOptions, environment};
use tollgate::store::StoreError;
use tollgate::{admin, ledger, pricing, store};

/// An edge gateway for AI APIs in which money obeys rules.
#[derive(Parser)]
#[command(name = "tollgate", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Serve {
        #[command(flatten)]
        file: OptionalFile,
        /// With built-in pretend providers, a demo user and commands to paste.
        #[arg(long)]
        demo: bool,
        /// Take over the sockets of the process that runs now; then send it SIGQUIT.
        #[arg(long)]
        upgrade: bool,
    },
    /// Validate a configuration: every error with its path.
    Check {
        #[command(flatten)]
        file: File,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Bring the database to this version's schema.
    Migrate {
        #[command(flatten)]
        file: File,
        /// Only say what is applied and what is not.
        #[arg(long)]
        status: bool,
    },
    /// Compare the sums that budgets are made of with the ledger, budget by budget; exit 1 if any differs.
    Audit {
        #[command(flatten)]
        file: File,
        /// Put the sums right; running nodes count those budgets anew.
        #[arg(long)]
        repair: bool,
    },
    /// Tokens of administrators.
    #[command(subcommand)]
    AdminToken(AdminToken),
    /// Prices of models.
    #[command(subcommand)]
    Prices(Prices),
}

#[derive(Args)]
struct OptionalFile {
    /// The configuration file [default: conf/tollgate.yaml].
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct File {
    /// The configuration file.
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

#[derive(Subcommand)]
enum AdminToken {
    /// Make a token; it is printed once.
    Create {
        #[command(flatten)]
        file: File,
        /// What it is called in the audit log.
        #[arg(long)]
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value_t = Role::Admin)]
        role: Role,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Everything.
    Admin,
    /// Look.
    Viewer,
}

#[derive(Subcommand)]
enum Prices {
    /// Import LiteLLM's model_prices JSON, or our own YAML, into the database.
    Import {
        #[command(flatten)]
        file: File,
        /// The price file.
        prices: PathBuf,
    },
    /// Write, for requests that were charged at other prices than those in force now, the differences.
    Rerate {
        #[command(flatten)]
        file: File,
        /// Requests settled at this instant or later (RFC 3339).
        #[arg(long, value_name = "TIME")]
        from: jiff::Timestamp,
        /// And before this one.
        #[arg(long, value_name = "TIME")]
        to: jiff::Timestamp,
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Why a command failed, and the exit code that says so to scripts.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(message: impl std::fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { code: if error.is_unreachable() { 3 } else { 1 }, message: error.to_string() }
    }
}

impl Cli {
    /// Does what was asked; the exit code says how it went.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve { file, demo, upgrade } => {
                let admin_token = environment("TOLLGATE_ADMIN_TOKEN").filter(|token| !token.is_empty());
                let options =
                    ServeOptions { config: file.config, demo, upgrade, admin_token, ..ServeOptions::default() };
                server::serve(&options).map_err(|error| Failure { code: error.exit_code(), message: error.to_string() })
            }
            Command::Check { file } => check(&file.config),
            Command::Schema => print(config::schema_text().trim_end()),
            Command::Migrate { file, status } => with_database(&file.config, async |db| migrate(db, status).await),
            Command::Audit { file, repair } => with_database(&file.config, async |db| audit(db, repair).await),
            Command::AdminToken(AdminToken::Create { file, name, role }) => {
                with_database(&file.config, async |db| create_token(db, &name, role).await)
            }
            Command::Prices(Prices::Import { file, prices }) => {
                with_database(&file.config, async |db| import(db, &prices).await)
            }
            Command::Prices(Prices::Rerate { file, from, to, dry_run }) => {
                let range = from.as_millisecond()..to.as_millisecond();
                with_config(&file.config, async |db, config| rerate(db, config, range, dry_run).await)
            }
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("tollgate: {}", failure.message);
                ExitCode::from(failure.code)
            }
        }
    }
}

/// Prints a command's result. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}

fn read_config(file: &Path) -> Result<Config, Failure> {
    config::load(file, &environment).map_err(|errors| invalid(file, &errors))
}

fn invalid<E: std::fmt::Display>(file: &Path, errors: &[E]) -> Failure {
    Failure::new(format!("{} is not valid:\n{}", file.display(), server::listed(errors)))
}

fn check(file: &Path) -> Result<(), Failure> {
    let config = read_config(file)?;
    Catalogue::new(&config.providers).map_err(|errors| invalid(file, &errors))?;
    print(&format!("{} is valid", file.display()))
}

fn with_database(
    file: &Path,
    work: impl AsyncFnOnce(&DatabaseConnection) -> Result<(), Failure>,
) -> Result<(), Failure> {
    with_config(file, async |db, _| work(db).await)
}

fn with_config(
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

async fn migrate(db: &DatabaseConnection, status_only: bool) -> Result<(), Failure> {
    if !status_only {
        store::migrate(db).await?;
    }
    for step in store::migration_status(db).await? {
        print(&format!("{}  {}", if step.applied { "applied" } else { "pending" }, step.name))?;
    }
    Ok(())
}

async fn create_token(db: &DatabaseConnection, name: &str, role: Role) -> Result<(), Failure> {
    store::migrate(db).await?;
    let role = match role {
        Role::Admin => admin::Role::Admin,
        Role::Viewer => admin::Role::Viewer,
    };
    let secret = admin::create_admin_token(db, name, role, now_ms()).await.map_err(Failure::new)?;
    print(secret.expose())
}

async fn import(db: &DatabaseConnection, file: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    let imported = pricing::import(&text).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    store::migrate(db).await?;
    admin::import_prices(db, &imported, now_ms()).await.map_err(Failure::new)?;
    for skipped in &imported.report.skipped {
        eprintln!("left out: {}: {}", skipped.model, skipped.reason);
    }
    print(&format!("{} prices imported, {} left out", imported.prices.len(), imported.report.skipped.len()))
}

async fn rerate(db: &DatabaseConnection, config: &Config, range: Range<i64>, dry_run: bool) -> Result<(), Failure> {
    if range.is_empty() {
        return Err(Failure { code: 2, message: "--from must be before --to".to_owned() });
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

async fn audit(db: &DatabaseConnection, repair: bool) -> Result<(), Failure> {
    up_to_date(db).await?;
    let audit = ledger::audit_sums(db, repair).await.map_err(StoreError::from)?;
    for ((axis, owner, scope), more) in &audit.budgets {
        let of = match scope {
            Scope::ModelGroup(id) => format!(", model group {id}"),
            _ => String::new(),
        };
        print(&format!("{} {owner}{of}: {more} USD more in the ledger than in the sums", axis.as_str()))?;
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
