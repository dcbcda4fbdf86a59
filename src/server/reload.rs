//! The configuration: read at start, and again on SIGHUP without dropping a connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::probes::Probes;
use super::{PriceKeeper, ServeOptions, StartError};
use crate::clock::now_ms;
use crate::config::{self, Config, ConfigError, Provider};
use crate::gateway::{App, Live};
use crate::upstream::DrainLimits;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "conf/tollgate.yaml";

/// Where the configuration comes from.
#[derive(Clone)]
pub(super) struct Source {
    file: PathBuf,
    /// A demo without a file runs on the defaults.
    may_be_missing: bool,
    demo_providers: Vec<Provider>,
}

impl Source {
    pub(super) fn new(options: &ServeOptions, runtime: &Runtime) -> Result<Self, StartError> {
        let demo_providers = if options.demo { super::demo::start_providers(runtime)? } else { Vec::new() };
        Ok(Self {
            file: options.config.clone().unwrap_or_else(|| DEFAULT_FILE.into()),
            may_be_missing: options.demo && options.config.is_none(),
            demo_providers,
        })
    }

    pub(super) fn read(&self) -> Result<Config, Vec<ConfigError>> {
        let mut config = if self.may_be_missing && !self.file.exists() {
            config::parse("{}", Path::new("."), &environment)?
        } else {
            config::load(&self.file, &environment)?
        };
        config.providers.extend(self.demo_providers.iter().cloned());
        Ok(config)
    }
}

/// A variable of the process's environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Watches for SIGHUP, which would end the process otherwise: to be called before anything that takes time.
pub(super) fn watch_hup() -> Option<Signal> {
    signal(SignalKind::hangup())
        .inspect_err(
            |error| tracing::error!(%error, "SIGHUP cannot be watched; the configuration is only read at start"),
        )
        .ok()
}

/// Reads the configuration again at every SIGHUP. A valid one takes effect whole; an invalid one changes nothing.
pub(super) fn on_hup(
    mut hup: Signal,
    source: Source,
    app: Arc<App>,
    prices: Arc<PriceKeeper>,
    probes: Probes,
    stop: CancellationToken,
) {
    note_success(&app);
    tokio::spawn(async move {
        while stop.run_until_cancelled(hup.recv()).await.flatten().is_some() {
            reload(&source, &app, &prices, &probes).await;
        }
    });
}

async fn reload(source: &Source, app: &App, prices: &PriceKeeper, probes: &Probes) {
    let errors = match source.read() {
        Ok(config) => match apply(config, app, prices).await {
            Ok(()) => {
                probes.follow();
                note_success(app);
                tracing::info!("the configuration was read again and is in force");
                return;
            }
            Err(errors) => errors,
        },
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    };
    app.metrics.config_reload_success.set(0);
    for error in errors {
        tracing::error!("the configuration was not taken over: {error}");
    }
}

async fn apply(mut config: Config, app: &App, prices: &PriceKeeper) -> Result<(), Vec<String>> {
    let old = app.live.load_full();
    for section in config::restart_needed(&old.config, &config) {
        tracing::warn!("{section}: the change takes effect at the next start");
    }
    config.server = old.config.server.clone();
    config.database = old.config.database.clone();
    config.redis = old.config.redis.clone();
    config.node = old.config.node.clone();
    let catalogue = old
        .catalogue
        .succeeded_by(&config.providers)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let file = super::prices::read_file(&config).map_err(|error| vec![error])?;
    if config.log.format != old.config.log.format {
        tracing::warn!("log.format: the change takes effect at the next start");
    }
    if config.budgets.time_zone != old.config.budgets.time_zone {
        // Sums of windows that run now were made for the old days, weeks and months.
        tracing::warn!("budgets.time_zone: the change takes effect at the next start");
        config.budgets.time_zone = old.config.budgets.time_zone.clone();
    }
    let slots = Arc::clone(&app.drain.load().slots);
    app.drain.store(Arc::new(DrainLimits { time: config.on_client_abort.drain, slots }));
    crate::telemetry::set_log_level(&config.log);
    super::budgets::configure(app, &config);
    if let Some(pulse) = &app.pulse {
        pulse.configure(super::lives::silence(&config));
    }
    catalogue.comes_into_force(&old.catalogue, app.budgets.now());
    app.live.store(Arc::new(Live { config, catalogue }));
    prices.set_file(file);
    Ok(())
}

fn note_success(app: &App) {
    app.metrics.config_reload_success.set(1);
    let seconds = std::time::Duration::from_millis(u64::try_from(now_ms()).unwrap_or_default());
    app.metrics.config_reload_timestamp.set(seconds.as_secs_f64());
}
