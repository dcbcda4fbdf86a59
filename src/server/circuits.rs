//! The circuits of providers as people see and change them: over REST on this node, and from there on the others.

use crate::admin::{CircuitChange, CircuitStatus, Instant, ModelCircuit};
use crate::directory::Change;
use crate::gateway::App;
use crate::provider::circuit::{self, Mode};
use crate::provider::{CircuitView, Provider};
use crate::telemetry::Metrics;

/// Does what was asked for on another node.
pub(super) fn changed(app: &App, change: &Change) {
    let (name, change) = match change {
        Change::ResetCircuit { provider } => (provider, CircuitChange::Reset),
        Change::OpenCircuit { provider, until } => (provider, CircuitChange::Open { until: *until }),
        _ => return,
    };
    if let Some(provider) = app.live.load().catalogue.find(name) {
        apply(app, provider, change);
    }
}

/// Does it here.
pub(super) fn apply(app: &App, provider: &Provider, change: CircuitChange) {
    let now = app.budgets.now();
    match change {
        CircuitChange::Reset => provider.circuits.reset(now),
        CircuitChange::Open { until } => provider.circuits.open_by_hand(until, now),
    }
    tracing::info!(provider = %provider.name, ?change, "a circuit was changed by hand");
}

/// For the other nodes.
pub(super) fn announcement(provider: &str, change: CircuitChange) -> Change {
    let provider = provider.to_owned();
    match change {
        CircuitChange::Reset => Change::ResetCircuit { provider },
        CircuitChange::Open { until } => Change::OpenCircuit { provider, until },
    }
}

/// How they are.
pub(super) fn status(app: &App, provider: &Provider) -> CircuitStatus {
    let view = provider.circuits.view(app.budgets.now());
    let mut status = shown(&view.whole);
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
    }
}

fn changed_to(change: &circuit::Change) -> crate::admin::CircuitEvent {
    crate::admin::CircuitEvent {
        at: Instant(change.at),
        state: change.to.as_str(),
        reason: change.reason,
        until: change.until.map(Instant),
    }
}
