//! Puts the parts together: database, prices, directory, ledger, Pingora's server, admin, metrics, signals.

#[cfg(test)]
mod admin_http_tests;
mod admin_listener;
mod app;
mod budgets;
mod circuits;
mod demo;
mod desk;
mod journal;
mod listeners;
mod lives;
mod ports;
mod prices;
mod probes;
mod reload;
mod stop;
mod sync;
mod undertaker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pingora::apps::HttpServerOptions;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;
use pingora_proxy::ProxyServiceBuilder;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use crate::admin::History;
use crate::clock::now_ms;
use crate::config::{Config, ConfigError};
use crate::directory::{self, ProvisionError};
use crate::gateway::{App, Gateway, Live, door};
use crate::provider::{Catalogue, CatalogueError};
use crate::store::{self, StoreError};
use crate::telemetry;
use crate::upstream::Connector;

pub use desk::BudgetDesk;
pub use prices::PriceKeeper;
pub use reload::{DEFAULT_FILE as DEFAULT_CONFIG, environment};
pub use undertaker::{Undertaker, UndertakerError};

/// Attempts of one request, over all providers; Pingora stops there.
const MAX_ATTEMPTS: usize = 100;

/// Idle connections to providers that are kept, in all.
const UPSTREAM_POOL: usize = 1_024;

/// What one read from a client takes at most. Pingora's 64 KiB would make most of what a stream costs in memory;
/// large bodies come in more, smaller reads.
const CLIENT_READ_BUFFER: usize = 8 * 1_024;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// The configuration file; the default one when none was named.
    pub config: Option<PathBuf>,
    /// With built-in pretend providers, a demo user and commands to paste.
    pub demo: bool,
    /// Take over the sockets of the process that runs now.
    pub upgrade: bool,
    /// The environment's admin token.
    pub admin_token: Option<String>,
    /// What is not in the database yet is in memory only. Not for a gateway that serves anybody: a bench compares.
    #[doc(hidden)]
    pub without_journal: bool,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not valid.
    #[error("the configuration is not valid:\n{}", listed(.0))]
    Config(Vec<ConfigError>),
    /// A provider cannot be used.
    #[error("the configuration is not valid:\n{}", listed(.0))]
    Providers(Vec<CatalogueError>),
    /// The price file cannot be used.
    #[error("prices.file: {0}")]
    Prices(String),
    /// The environment holds something that cannot be used.
    #[error("{0}")]
    Environment(String),
    /// The database failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The journal cannot be kept.
    #[error("node.data_dir {}: {error}", path.display())]
    Journal {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// An address is taken, or similar.
    #[error("{0}")]
    Listen(String),
}

impl StartError {
    fn provision(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Database(error) => Self::Store(error.into()),
            other => Self::Environment(other.to_string()),
        }
    }

    /// The exit code that tells scripts what went wrong.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) if error.is_unreachable() => 3,
            _ => 1,
        }
    }
}

/// Errors for people: a line each.
pub fn listed<E: std::fmt::Display>(errors: &[E]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| format!("  {error}")).collect();
    lines.join("\n")
}

/// What everything in the process is told: whether requests are taken, and when to stop.
#[derive(Clone, Default)]
pub(crate) struct Lifecycle {
    ready: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
    /// Ends the admin listener and the background work.
    pub(crate) stop: CancellationToken,
}

impl Lifecycle {
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.stopping.load(Ordering::Acquire)
    }
}

/// Runs the gateway until a signal ends the process.
///
/// # Errors
/// When it cannot start.
pub fn serve(options: &ServeOptions) -> Result<(), StartError> {
    if options.admin_token.as_ref().is_some_and(|token| token.chars().count() < 32) {
        return Err(StartError::Environment("TOLLGATE_ADMIN_TOKEN must have at least 32 characters".into()));
    }
    let runtime = Runtime::new().map_err(|e| StartError::Listen(format!("no runtime: {e}")))?;
    let hup = runtime.block_on(async { reload::watch_hup() });
    let source = reload::Source::new(options, &runtime)?;
    let config = source.read().map_err(StartError::Config)?;
    telemetry::init_logs(&config.log);
    let life = Lifecycle::default();
    let app = runtime.block_on(start(options, &source, config, &life, hup))?;
    stop::on_interrupt(&app, &runtime);
    run_pingora(options, &app, &life, &runtime)
}

/// Makes the parts of a node that is about to listen.
async fn start(
    options: &ServeOptions,
    source: &reload::Source,
    config: Config,
    life: &Lifecycle,
    hup: Option<Signal>,
) -> Result<Arc<App>, StartError> {
    let db = store::connect(config.database.url.expose(), config.database.max_connections).await?;
    let history = History::connect(config.database.url.expose()).await?;
    store::migrate(&db).await?;
    let prices = PriceKeeper::start(db.clone(), &config).await?;
    let catalogue = Catalogue::new(&config.providers).map_err(StartError::Providers)?;
    listeners::check_gateway(&config, options.upgrade)?;
    let admin = listeners::bind(&config.server.admin, "server.admin")?;
    let metrics_listener = listeners::bind(&config.server.metrics, "server.metrics")?;
    let app =
        App::start_with(&db, Live { config, catalogue }, prices.handle(), !options.without_journal, life.stop.clone())
            .await?;
    let first_token = directory::create_first_admin_token(&db, now_ms()).await.map_err(StartError::provision)?;
    let first_token = first_token.map(|(_, secret)| secret.expose().to_owned());
    if let Some(token) = &first_token {
        announce(&format!("admin token (shown once): {token}"));
    }
    let announcer = sync::start(&app, &prices, life)?;
    ports::serve_admin(options, &app, (&db, history), &prices, announcer, life, admin);
    ports::serve_metrics(&app, life, metrics_listener);
    ports::refresh_periodically(&app, &prices, &db, life);
    let probes = probes::Probes::start(&app, &life.stop);
    if let Some(hup) = hup {
        reload::on_hup(hup, source.clone(), Arc::clone(&app), Arc::clone(&prices), probes, life.stop.clone());
    }
    if options.demo {
        let token = options.admin_token.as_deref().or(first_token.as_deref());
        demo::prepare(&db, &app, token).await?;
    }
    Ok(app)
}

fn run_pingora(options: &ServeOptions, app: &Arc<App>, life: &Lifecycle, runtime: &Runtime) -> Result<(), StartError> {
    let live = app.live.load_full();
    let config = &live.config;
    let data_dir = &config.node.data_dir;
    let conf = ServerConf {
        threads: threads(config),
        upgrade_sock: data_dir.join("upgrade.sock").display().to_string(),
        // The process ends itself, at the latest when the grace period of the configuration then in force is over.
        grace_period_seconds: Some(u64::from(u32::MAX)),
        graceful_shutdown_timeout_seconds: Some(5),
        max_retries: MAX_ATTEMPTS,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ..ServerConf::default()
    };
    let opt = Opt { upgrade: options.upgrade, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(Some(opt), conf);
    server.bootstrap();
    let conf = Arc::clone(&server.configuration);
    let connector = Connector::new(&conf, Arc::clone(&app.drain));
    let mut http = HttpServerOptions::default();
    // Every connection goes through the door, which speaks TLS and tells HTTP/1 and HTTP/2 apart itself.
    http.force_custom = true;
    let tls = config.server.tls.as_ref().map(listeners::tls).transpose()?;
    let mut service = ProxyServiceBuilder::new(&conf, Gateway::new(Arc::clone(app)))
        .name("gateway")
        .server_options(http)
        .custom(connector, door(config.server.timeouts.header, tls))
        .build();
    let listener = ListenerConfig::tcp(config.server.listen.as_str())
        .l4_buffer(L4BufferSettings::default().read(CLIENT_READ_BUFFER));
    service.add_listener(listener);
    server.add_service(service);
    let finisher = stop::Finisher::new(app, life, runtime.handle());
    server.add_service(background_service("finisher", finisher));
    runtime.spawn(listeners::announce_ready(config.server.listen.as_str().to_owned(), life.clone()));
    server.run(RunArgs { shutdown_signal: Box::new(stop::Signals::new(life)) });
    Ok(())
}

fn threads(config: &Config) -> usize {
    match config.server.threads {
        0 => cores(),
        n => n as usize,
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Prints what a person at the terminal must see, whatever the log level.
#[allow(clippy::print_stdout, reason = "the command line's own output")]
pub(crate) fn announce(line: &str) {
    println!("{line}");
}
