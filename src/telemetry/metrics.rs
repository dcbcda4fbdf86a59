//! The metrics, under the names that dashboards and alerts rely on. Labels are bounded: names of providers, dialects
//! and codes; never a user, key or request.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Seconds, from a cache hit to a long stream.
const DURATIONS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Seconds that the gateway itself takes.
const OVERHEADS: &[f64] =
    &[0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 1.0];

/// Seconds that a request waits for its budgets: two at most.
const WAITS: &[f64] = &[0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// Finished requests, refused ones too, by dialect (empty for lists of models and unknown paths), provider (empty
    /// when none was asked) and status.
    pub requests: IntCounterVec,
    /// Refused requests by code, axis and window (empty where there is none).
    pub refusals: IntCounterVec,
    /// Refused requests of which nothing is kept, because there were too many or the database was away.
    pub refusals_dropped: IntCounter,
    /// Attempts by provider and how they ended.
    pub attempts: IntCounterVec,
    /// Races for the first word, by who won: `first`, `rival`.
    pub races: IntCounterVec,
    /// From arrival to the last byte.
    pub request_duration: Histogram,
    /// From arrival to the first byte of the answer.
    pub time_to_first_byte: Histogram,
    /// Time in the gateway itself, before the request goes out.
    pub overhead: Histogram,
    /// What was charged, by provider and model.
    pub cost_usd: CounterVec,
    /// Tokens by kind.
    pub tokens: IntCounterVec,
    /// Exchanges about leases by how they ended.
    pub lease_exchanges: IntCounterVec,
    /// Time that requests waited for leases, also when they were moved to another provider; those that found what
    /// they needed at hand are not counted.
    pub lease_wait: Histogram,
    /// What this node holds of all budgets, in US dollars.
    pub lease_outstanding: Gauge,
    /// By how much budgets were not counted as the ledger says, in US dollars.
    pub budget_drift: Gauge,
    /// Requests that were admitted without knowing whether a budget could pay.
    pub unenforced_violations: IntCounter,
    /// Attempts that cost more than `worst_case` took for the most that they could.
    pub estimates_exceeded: IntCounter,
    /// Nodes that this one has given up, because they were silent for too long.
    pub nodes_written_off: IntCounter,
    /// Requests in flight, answers that are read on without their client included.
    pub in_flight: IntGauge,
    /// Tasks that run or wait, those of requests and all others.
    pub tasks: IntGauge,
    /// Seconds that the oldest finished request waits for the database.
    pub ledger_lag: Gauge,
    /// Bytes of the journal that are taken by requests in flight and by records that the database does not have.
    pub journal_bytes: IntGauge,
    /// Records by what became of them: `written`, `failed`.
    pub ledger_records: IntCounterVec,
    /// Finished requests that wait for the database.
    pub ledger_pending: IntGauge,
    /// Whether a provider is left alone: 0 closed, 1 half open, 2 open.
    pub circuit_state: IntGaugeVec,
    /// Probes of providers that are left alone, by provider and how they ended.
    pub probes: IntCounterVec,
    /// 1 when the configuration in force is the one in the file.
    pub config_reload_success: IntGauge,
    /// When the configuration was last read with success, Unix seconds.
    pub config_reload_timestamp: Gauge,
    /// Seconds since users, keys and limits were last read with success.
    pub snapshot_age: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        Self {
            requests: counters(&registry, "requests_total", "Finished requests.", &["dialect", "provider", "status"]),
            refusals: counters(&registry, "refusals_total", "Refused requests.", &["code", "axis", "window"]),
            refusals_dropped: register(
                &registry,
                IntCounter::with_opts(opts(
                    "refusals_dropped_total",
                    "Refused requests of which nothing is kept, because there were too many or the database was away.",
                )),
            ),
            attempts: counters(&registry, "attempts_total", "Attempts at providers.", &["provider", "outcome"]),
            races: counters(&registry, "races_total", "Races for the first word.", &["winner"]),
            request_duration: histogram(
                &registry,
                "request_duration_seconds",
                "From arrival to the last byte.",
                DURATIONS,
            ),
            time_to_first_byte: histogram(
                &registry,
                "time_to_first_byte_seconds",
                "From arrival to the first byte of the answer.",
                DURATIONS,
            ),
            overhead: histogram(&registry, "overhead_seconds", "Time in the gateway itself.", OVERHEADS),
            cost_usd: register(
                &registry,
                CounterVec::new(opts("cost_usd_total", "What was charged, in US dollars."), &["provider", "model"]),
            ),
            tokens: counters(&registry, "tokens_total", "Tokens by kind.", &["kind"]),
            lease_exchanges: counters(
                &registry,
                "lease_exchanges_total",
                "Exchanges about leases by how they ended.",
                &["result"],
            ),
            lease_wait: histogram(
                &registry,
                "lease_wait_seconds",
                "Time that requests waited for leases, also when they were moved to another provider; those that found \
                 what they needed at hand are not counted.",
                WAITS,
            ),
            lease_outstanding: float_gauge(
                &registry,
                "lease_outstanding_usd",
                "What this node holds of all budgets, in US dollars.",
            ),
            budget_drift: float_gauge(
                &registry,
                "budget_drift_usd",
                "All differences, as absolute amounts, that comparisons of budgets with the ledger have found since the start, in \
                 US dollars: it never falls.",
            ),
            unenforced_violations: register(
                &registry,
                IntCounter::with_opts(opts(
                    "unenforced_violations_total",
                    "Requests that were admitted without knowing whether a budget could pay.",
                )),
            ),
            estimates_exceeded: register(
                &registry,
                IntCounter::with_opts(opts(
                    "estimates_exceeded_total",
                    "Attempts that cost more than worst_case took for the most that they could.",
                )),
            ),
            nodes_written_off: register(
                &registry,
                IntCounter::with_opts(opts(
                    "nodes_written_off_total",
                    "Nodes that were silent for so long that this one gave them up and charged what they had not written.",
                )),
            ),
            in_flight: gauge(&registry, "in_flight", "Requests in flight."),
            tasks: gauge(
                &registry,
                "tasks",
                "Tasks that run or wait: connections, requests and what goes on beside them.",
            ),
            ledger_lag: float_gauge(
                &registry,
                "ledger_lag_seconds",
                "Seconds that the oldest finished request waits for the database.",
            ),
            journal_bytes: gauge(
                &registry,
                "journal_bytes",
                "Bytes of the journal that hold what the database does not have.",
            ),
            ledger_records: counters(&registry, "ledger_records_total", "Records by what became of them.", &["result"]),
            ledger_pending: gauge(&registry, "ledger_pending_records", "Finished requests that wait for the database."),
            circuit_state: register(
                &registry,
                IntGaugeVec::new(
                    opts("circuit_state", "Whether a provider is left alone: 0 closed, 1 half open, 2 open."),
                    &["provider"],
                ),
            ),
            probes: counters(
                &registry,
                "probes_total",
                "Probes of providers that are left alone.",
                &["provider", "result"],
            ),
            config_reload_success: gauge(
                &registry,
                "config_reload_success",
                "1 when the configuration in force is the one in the file.",
            ),
            config_reload_timestamp: float_gauge(
                &registry,
                "config_reload_timestamp_seconds",
                "When the configuration was last read with success.",
            ),
            snapshot_age: float_gauge(
                &registry,
                "snapshot_age_seconds",
                "Seconds since users, keys and limits were last read with success.",
            ),
            registry,
        }
    }
}

impl Metrics {
    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be written");
        }
        text
    }
}

/// Serves `GET /metrics` until it is told to stop. `refresh` brings the values that are only read now up to date.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    refresh: impl Fn(&Metrics) + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let answer = move || {
        let (metrics, refresh) = (Arc::clone(&metrics), refresh.clone());
        async move {
            refresh(&metrics);
            ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.render())
        }
    };
    let app = Router::new().route("/metrics", get(answer));
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("tollgate")
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(opts(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::with_opts(opts(name, help)))
}

fn float_gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
    register(registry, Gauge::with_opts(opts(name, help)))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let opts = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
    register(registry, Histogram::with_opts(opts))
}

#[allow(clippy::expect_used, reason = "names and labels are constants, and each is registered once: a test makes them")]
fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> C {
    let collector = collector.expect("a valid metric");
    registry.register(Box::new(collector.clone())).expect("a metric of its own name");
    collector
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_metric_carries_the_prefix() {
        let metrics = Metrics::default();
        metrics.requests.with_label_values(&["anthropic", "p", "200"]).inc();
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(
            text.contains("tollgate_requests_total{dialect=\"anthropic\",provider=\"p\",status=\"200\"} 1"),
            "{text}"
        );
        let strange: Vec<_> = text.lines().filter(|l| !l.starts_with('#') && !l.starts_with("tollgate_")).collect();
        assert_eq!(strange, [""; 0]);
    }
}
