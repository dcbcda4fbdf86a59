//! The command line: what each command is called, and who does it.

mod database;
mod output;
mod remote;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tollgate::server::{self, DEFAULT_CONFIG, ServeOptions, environment};
use tollgate::{admin, config};

use database::{with_config, with_database};
use output::{Failure, print};
use remote::{Boost, Key, Limit, ModelGroup, User, UserGroup, Verb};

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
    /// Print the OpenAPI document of the REST API.
    Openapi,
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
    /// Users of a running node: who pays.
    #[command(subcommand, after_help = remote::HELP)]
    User(Verb<User>),
    /// Keys of a running node: the secrets that clients send.
    #[command(subcommand, after_help = remote::HELP)]
    Key(Verb<Key>),
    /// User groups of a running node: a limit on one is a limit of each of its members.
    #[command(subcommand, visible_alias = "group", after_help = remote::HELP)]
    UserGroup(Verb<UserGroup>),
    /// Model groups of a running node: models with budgets of their own.
    #[command(subcommand, after_help = remote::HELP)]
    ModelGroup(Verb<ModelGroup>),
    /// Limits of a running node: what a user, a member of a group, or a key may spend on a model group.
    #[command(subcommand, after_help = remote::HELP)]
    Limit(Verb<Limit>),
    /// Boosts of a running node: more than the cap, for a while.
    #[command(subcommand, after_help = remote::HELP)]
    Boost(Verb<Boost>),
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
        /// From when on it is refused (RFC 3339) [default: never].
        #[arg(long, value_name = "TIME")]
        expires_at: Option<jiff::Timestamp>,
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
            Command::Check { file } => database::check(&file.config),
            Command::Schema => print(config::schema_text().trim_end()),
            Command::Openapi => print(admin::openapi_text().trim_end()),
            Command::Migrate { file, status } => {
                with_database(&file.config, async |db| database::migrate(db, status).await)
            }
            Command::Audit { file, repair } => {
                with_database(&file.config, async |db| database::audit(db, repair).await)
            }
            Command::AdminToken(AdminToken::Create { file, name, role, expires_at }) => {
                let expires_at = expires_at.map(jiff::Timestamp::as_millisecond);
                with_database(&file.config, async |db| database::create_token(db, &name, role, expires_at).await)
            }
            Command::Prices(Prices::Import { file, prices }) => {
                with_database(&file.config, async |db| database::import(db, &prices).await)
            }
            Command::Prices(Prices::Rerate { file, from, to, dry_run }) => {
                let range = from.as_millisecond()..to.as_millisecond();
                with_config(&file.config, async |db, config| database::rerate(db, config, range, dry_run).await)
            }
            Command::User(verb) => verb.run(),
            Command::Key(verb) => verb.run(),
            Command::UserGroup(verb) => verb.run(),
            Command::ModelGroup(verb) => verb.run(),
            Command::Limit(verb) => verb.run(),
            Command::Boost(verb) => verb.run(),
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
