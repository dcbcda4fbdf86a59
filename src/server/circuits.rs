//! The circuits of providers as people see and change them: over REST on this node, and from there on the others.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::admin::{CircuitChange, CircuitStatus, Instant, ModelCircuit, ProbeStatus};
use crate::directory::Change;
use crate::gateway::App;
use crate::provider::circuit::{self, Mode};
use crate::provider::{CircuitSharing, CircuitView, Provider};
use crate::telemetry::Metrics;

/// A message takes no longer than this, milliseconds.
const AT_ONCE: i64 = 60_000;

/// Keeps them in step with those of the other nodes.
pub(super) fn share(app: &Arc<App>, redis: &str, stop: &CancellationToken) {
    let news = Arc::clone(app.live.load().catalogue.news());
    let (listed, timed) = (Arc::clone(app), Arc::clone(app));
    let providers = move || listed.live.load().catalogue.iter().cloned().collect();
    CircuitSharing::new(redis, providers, move || timed.budgets.now(), news).start(stop.clone());
}

/// Does what was asked for on another node.
pub(super) fn changed(app: &App, change: &Change) {
    let (name, change, at) = match change {
        Change::ResetCircuit { provider, at } => (provider, CircuitChange::Reset, *at),
        Change::OpenCircuit { provider, until, at } => (provider, CircuitChange::Open { until: *until }, *at),
        _ => return,
    };
    if let Some(provider) = app.live.load().catalogue.find(name) {
        let now = app.budgets.now();
        // All nodes have it at the same time, unless a clock is wrong.
        let at = if (now - AT_ONCE..=now).contains(&at) { at } else { now };
        if !(change == CircuitChange::Reset && provider.circuits.was_reset(at)) {
            apply(provider, change, at);
        }
    }
}

/// Does it here, and says how to tell the other nodes.
pub(super) fn ask(app: &App, provider: &Provider, change: CircuitChange) -> Change {
    let at = app.budgets.now();
    apply(provider, change, at);
    provider.circuits.tell_by_hand();
    let provider = provider.name.to_string();
    match change {
        CircuitChange::Reset => Change::ResetCircuit { provider, at },
        CircuitChange::Open { until } => Change::OpenCircuit { provider, until, at },
    }
}

fn apply(provider: &Provider, change: CircuitChange, at: i64) {
    match change {
        CircuitChange::Reset => provider.circuits.reset(at),
        CircuitChange::Open { until } => provider.circuits.open_by_hand(until, at),
    }
    tracing::info!(provider = %provider.name, ?change, "a circuit was changed by hand");
}

/// How they are.
pub(super) fn status(app: &App, provider: &Provider) -> CircuitStatus {
    let view = provider.circuits.view(app.budgets.now());
    let mut status = shown(&view.whole);
    status.last_probe =
        view.last_probe.map(|probe| ProbeStatus { at: Instant(probe.at), result: probe.result, status: probe.status });
    let disturbed = view.models.into_iter().filter(|(_, circuit)| circuit.mode != Mode::Closed || circuit.bad > 0);
    status.models = disturbed
        .map(|(model, circuit)| {
            let CircuitStatus { state, reason, until, failures, successes, .. } = shown(&circuit);
            ModelCircuit { model: model.to_string(), state, reason, until, failures, successes }
        })
        .collect();
    status
}

/// For the metrics; a provider that is gone has none.
pub(super) fn read_gauges(app: &App, metrics: &Metrics) {
    metrics.circuit_state.reset();
    let now = app.budgets.now();
    for provider in app.live.load().catalogue.iter() {
        let state = match provider.circuits.view(now).whole.mode {
            Mode::Closed => 0,
            Mode::HalfOpen => 1,
            Mode::Open => 2,
        };
        metrics.circuit_state.with_label_values(&[&*provider.name]).set(state);
    }
}

fn shown(circuit: &CircuitView) -> CircuitStatus {
    let opened = circuit.history.iter().find(|change| change.to == Mode::Open);
    CircuitStatus {
        state: circuit.mode.as_str(),
        reason: opened.filter(|_| circuit.mode != Mode::Closed).map(|change| change.reason),
        until: circuit.until.map(Instant),
        failures: circuit.bad,
        successes: circuit.good,
        history: circuit.history.iter().map(changed_to).collect(),
        models: Vec::new(),
        last_probe: None,
    }
}

fn changed_to(change: &circuit::Change) -> crate::admin::CircuitEvent {
    crate::admin::CircuitEvent {
        at: Instant(change.at),
        state: change.to.as_str(),
        reason: change.reason,
        until: change.until.map(Instant),
        told: change.told,
    }
}
