//! Whole files, from their text to the configuration or to what is wrong with them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod anything;
mod defaults;
mod files;
mod mistakes;
mod secrets;
mod variables;

use std::path::Path as FilePath;

use super::{Environment, parse};
use crate::config::{Config, ConfigError};

const MINIMAL: &str = "providers: [{name: a, dialects: [anthropic], base_url: 'https://a.example'}]";

/// Every key of the configuration with its default.
const ALL_DEFAULTS: &str = r#"
server:
  listen: 0.0.0.0:8080
  admin: 127.0.0.1:8081
  metrics: 127.0.0.1:9464
  max_request_body: 32MiB
  threads: 0
  timeouts: {header: 10s, body: 60s}
  trusted_proxies: []
log: {level: info, format: text}
shutdown: {grace: 60s}
database: {url: "sqlite://data/tollgate.db", max_connections: 16}
node: {name: "${HOSTNAME:-node}", data_dir: data}
budgets:
  model_group_limits: true
  on_authority_failure: open
  reservation: expected
  time_zone: UTC
  default_max_output_tokens: 32768
  lease: {fraction: 0.05, min: 0.001, life: 5s, idle_return: 1s, dead_after: 30s, write_off: 10m}
  model_group_lease: {}
prices: {file: null, unpriced: refuse}
ledger: {journal_max: 1GiB, fsync: 50ms, interrupted: estimate, request_detail_days: 30, refusal_days: 7}
routing:
  strategy: weighted
  retry_budget: 0.2
  deadline: 0s
  affinity: {enabled: true, ttl: 1h}
  gate: {enabled: true, max_bytes: 64KiB, max_time: 30s}
  racing: {after: 0s, loser: absorb}
on_client_abort: {drain: 60s}
providers:
  - name: a
    dialects: [anthropic]
    base_url: https://a.example
    enabled: true
    schedule: []
    priority: 0
    weight: 1
    cost_multiplier: 1.0
    groups: [default]
    max_concurrent_requests: 0
    timeouts: {connect: 5s, first_byte: 120s, idle: 120s, total: 0s}
    attempts: 2
    circuit: {failures: 5, ratio: 0.5, window: 60s, open: 60s, half_open: 2}
    health: {interval: 0s, timeout: 5s, path: null}
    tls: {ca_file: null, verify: true}
"#;

fn no_env(_: &str) -> Option<String> {
    None
}

fn read(text: &str) -> Result<Config, Vec<ConfigError>> {
    parse(text, FilePath::new(""), &no_env)
}

fn errors(text: &str, env: &Environment<'_>) -> Vec<String> {
    let errors = parse(text, FilePath::new(""), env).expect_err(text);
    errors.iter().map(ToString::to_string).collect()
}

fn error(text: &str) -> String {
    let errors = errors(text, &no_env);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.into_iter().next().unwrap()
}
