//! Where a node listens, what it logs and how it stops.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{AddressRange, As, DurationNotation, ListenAddress, SizeNotation};

/// Where the node listens, and how patient it is with clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The gateway that clients talk to.
    pub listen: ListenAddress,
    /// The REST API, OpenAPI, dashboard, /healthz and /readyz. Keep it off the public network.
    pub admin: ListenAddress,
    /// GET /metrics for Prometheus.
    pub metrics: ListenAddress,
    /// TLS for the gateway's address. Without it the gateway speaks plain HTTP.
    pub tls: Option<ServerTls>,
    /// The largest request body, decoded.
    #[serde(with = "As::<SizeNotation>")]
    #[schemars(with = "SizeNotation")]
    pub max_request_body: u64,
    /// Worker threads. 0: one per core.
    #[schemars(range(max = 1024))]
    pub threads: u32,
    /// How long a client may take.
    pub timeouts: ServerTimeouts,
    /// Addresses and networks whose X-Forwarded-For names the client's address.
    pub trusted_proxies: Vec<AddressRange>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: ListenAddress::known("0.0.0.0", 8080),
            admin: ListenAddress::known("127.0.0.1", 8081),
            metrics: ListenAddress::known("127.0.0.1", 9464),
            tls: None,
            max_request_body: 32 << 20,
            threads: 0,
            timeouts: ServerTimeouts::default(),
            trusted_proxies: Vec::new(),
        }
    }
}

/// The certificate that the gateway shows. Files are relative to the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// How long a client may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTimeouts {
    /// For the whole head of a request.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub header: Duration,
    /// For the whole body of a request.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub body: Duration,
}

impl Default for ServerTimeouts {
    fn default() -> Self {
        Self { header: Duration::from_secs(10), body: Duration::from_secs(60) }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least severe level that is logged. The environment variable RUST_LOG wins.
    pub level: LogLevel,
    /// Lines for people, or JSON for machines.
    pub format: LogFormat,
}

/// How severe a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed and needs somebody.
    Error,
    /// What was odd but handled.
    Warn,
    /// What the node does.
    #[default]
    Info,
    /// Why it does it.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// The name in the configuration and in a filter directive.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How the node stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long requests in flight may go on after TERM.
    #[serde(with = "As::<DurationNotation>")]
    #[schemars(with = "DurationNotation")]
    pub grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(60) }
    }
}
