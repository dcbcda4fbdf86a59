//! Where log lines go and how they look.

use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Libraries that write whole requests, keys included, or every statement, below these levels.
const QUIET: &str = "pingora_proxy=info,pingora_core=info,pingora_http=info,pingora=info,h2=info,hyper=info,\
                     sqlx=warn,sea_orm=warn,sea_orm_migration=warn";

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
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|wanted| EnvFilter::try_new(wanted).is_ok());
    let wanted = wanted.unwrap_or_else(|| log.level.as_str().to_owned());
    // What stands last wins: no level may bring out what these write below it.
    EnvFilter::new(format!("{wanted},{QUIET}"))
}
