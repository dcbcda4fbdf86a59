//! Where log lines go and how they look.

use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Changes the level of the running process.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging to standard error. `RUST_LOG` wins over the configured level.
pub fn init(log: &Log) {
    let (filter, handle) = reload::Layer::new(filter(log));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    match tracing_subscriber::registry().with(filter).with(lines).try_init() {
        Ok(()) => drop(LEVEL.set(handle)),
        Err(error) => tracing::debug!(%error, "logging was started before"),
    }
}

/// Takes over a level that was changed in the configuration.
pub fn set_level(log: &Log) {
    if let Some(Err(error)) = LEVEL.get().map(|handle| handle.reload(filter(log))) {
        tracing::error!(%error, "the log level was not changed");
    }
}

fn filter(log: &Log) -> EnvFilter {
    // What the database's driver has to say is its statements; what matters of them comes back as errors.
    let configured = || EnvFilter::new(format!("{},sqlx=warn,sea_orm=warn,sea_orm_migration=warn", log.level.as_str()));
    if std::env::var_os(EnvFilter::DEFAULT_ENV).is_some() {
        EnvFilter::try_from_default_env().unwrap_or_else(|_| configured())
    } else {
        configured()
    }
}
