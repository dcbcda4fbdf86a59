//! What each command of the command line does.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sea_orm::DatabaseConnection;
use tollgate::config::{self, Config};
use tollgate::server::{self, DEFAULT_CONFIG, ServeOptions, environment};
use tollgate::{directory, pricing, store};

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
}

impl Cli {
    /// Does what was asked; the exit code says how it went.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve { file, demo, upgrade } => {
                let admin_token = environment("TOLLGATE_ADMIN_TOKEN").filter(|token| !token.is_empty());
                return serve(&ServeOptions { config: file.config, demo, upgrade, admin_token });
            }
            Command::Check { file } => check(&file.config),
            Command::Schema => {
                print_json(&config::schema());
                Ok(())
            }
            Command::Migrate { file, status } => with_database(&file.config, async |db| migrate(&db, status).await),
            Command::AdminToken(AdminToken::Create { file, name, role }) => {
                let role = match role {
                    Role::Admin => "admin",
                    Role::Viewer => "viewer",
                };
                with_database(&file.config, async |db| create_token(&db, &name, role).await)
            }
            Command::Prices(Prices::Import { file, prices }) => {
                with_database(&file.config, async |db| import(&db, &prices).await)
            }
        };
        done.unwrap_or_else(|failure| failure.report()).unwrap_or_success()
    }
}
