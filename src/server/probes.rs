//! Asks providers that are left alone after failures whether they work again, before a client has to find out.
//!
//! Every node does it for itself, while the circuit is open there and never otherwise: a provider gets at most one probe a
//! node and interval. A good one only lets trials begin; whether the provider serves requests is for those to show.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, header};
use parking_lot::Mutex;
use pingora::http::RequestHeader;
use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use crate::dialect::Dialect;
use crate::gateway::App;
use crate::provider::{Probe, Provider};
use crate::upstream::{ProbeError, Prober};

/// Without it Anthropic does not answer.
const ANTHROPIC_VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// How a probe ended, besides an answer that is no good one.
const OK: &str = "ok";
const STATUS: &str = "upstream_status";

/// Those who probe.
pub(super) struct Probes {
    app: Arc<App>,
    prober: Arc<Prober>,
    /// Ends with the process.
    stop: CancellationToken,
    /// Ends with the configuration.
    running: Mutex<CancellationToken>,
}

impl Probes {
    /// Begins, by the configuration in force.
    pub(super) fn start(app: &Arc<App>, stop: &CancellationToken) -> Self {
        let running = Mutex::new(stop.child_token());
        let probes = Self { app: Arc::clone(app), prober: Arc::default(), stop: stop.clone(), running };
        probes.follow();
        probes
    }

    /// Goes by the configuration that has come into force.
    pub(super) fn follow(&self) {
        let running = self.stop.child_token();
        std::mem::replace(&mut *self.running.lock(), running.clone()).cancel();
        for provider in self.app.live.load().catalogue.iter() {
            if provider.settings.health.interval.is_zero() || !provider.settings.enabled {
                continue;
            }
            let (app, prober, provider) = (Arc::clone(&self.app), Arc::clone(&self.prober), Arc::clone(provider));
            let probing = async move { keep_probing(&app, &prober, &provider).await };
            tokio::spawn(running.clone().run_until_cancelled_owned(probing));
        }
    }
}

async fn keep_probing(app: &App, prober: &Prober, provider: &Provider) {
    loop {
        tokio::time::sleep(about(provider.settings.health.interval)).await;
        if !provider.circuits.is_probed(app.budgets.now()) {
            continue;
        }
        let (result, status) = match probe(app, prober, provider).await {
            Ok(status @ 200..300) => (OK, Some(status)),
            Ok(status) => (STATUS, Some(status)),
            Err(why) => (why, None),
        };
        tracing::info!(provider = %provider.name, result, status, "a provider that is left alone was probed");
        app.metrics.probes.with_label_values(&[&*provider.name, result]).inc();
        provider.circuits.probed(Probe { at: app.budgets.now(), result, status }, result == OK);
    }
}

/// Nodes that have heard of a failure at the same time shall not ask at the same time.
fn about(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.75..1.25))
}

async fn probe(app: &App, prober: &Prober, provider: &Provider) -> Result<u16, &'static str> {
    let (endpoint, limit) = (&provider.endpoint, provider.settings.health.timeout);
    let resolving = tokio::time::timeout(limit, app.resolver.resolve(&endpoint.host, endpoint.port)).await;
    let address = match &resolving {
        Ok(Ok(addresses)) => addresses.first().copied(),
        _ => None,
    };
    let (Some(address), Some(head)) = (address, head(provider)) else { return Err("resolve_failed") };
    prober.ask(&endpoint.peer(address, None), head, limit).await.map_err(|error| match error {
        ProbeError::Connect => "connect_failed",
        ProbeError::Broken => "broken",
        ProbeError::Timeout => "timeout",
    })
}

/// What is sent.
fn head(provider: &Provider) -> Option<RequestHeader> {
    let dialect = *provider.settings.dialects.first()?;
    let path = provider.settings.health.path.as_deref().unwrap_or(match dialect {
        Dialect::Gemini => "/v1beta/models",
        Dialect::Anthropic | Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::OpenaiEmbeddings => "/v1/models",
    });
    let path = provider.endpoint.path_for(path);
    let mut head = RequestHeader::build(Method::GET, path.as_bytes(), None).ok()?;
    head.insert_header(header::HOST, &*provider.endpoint.authority).ok()?;
    head.insert_header(header::USER_AGENT, HeaderValue::from_static("tollgate")).ok()?;
    head.insert_header(header::ACCEPT, HeaderValue::from_static("application/json")).ok()?;
    if dialect == Dialect::Anthropic {
        head.insert_header(ANTHROPIC_VERSION.0, ANTHROPIC_VERSION.1).ok()?;
    }
    if let Some((name, value)) = provider.credential(dialect) {
        head.insert_header(name, value.clone()).ok()?;
    }
    Some(head)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::provider::Catalogue;

    /// The target and the credential of a probe of this provider.
    fn probe(provider: &str) -> (String, RequestHeader) {
        let text = format!("providers: [{{name: p, api_key: k, {provider}}}]");
        let config = parse(&text, std::path::Path::new(""), &|_| None).unwrap();
        let catalogue = Catalogue::new(&config.providers).ok().unwrap();
        let head = head(catalogue.at(0).unwrap()).unwrap();
        (head.uri.to_string(), head)
    }

    #[test]
    fn each_is_asked_for_its_models_as_its_dialect_has_it() {
        for (provider, target, name, value) in [
            ("dialects: [anthropic], base_url: 'https://a.example'", "/v1/models", "x-api-key", "k"),
            ("dialects: [openai_chat], base_url: 'https://a.example/v1'", "/v1/models", "authorization", "Bearer k"),
            ("dialects: [gemini], base_url: 'https://a.example'", "/v1beta/models", "x-goog-api-key", "k"),
            (
                "dialects: [openai_responses], base_url: 'https://a.example/api/v4'",
                "/api/v4/models",
                "host",
                "a.example",
            ),
            (
                "dialects: [gemini], base_url: 'https://a.example/x', health: {path: /up}",
                "/x/up",
                "x-goog-api-key",
                "k",
            ),
        ] {
            let (sent_to, head) = probe(provider);
            assert_eq!(sent_to, target, "{provider}");
            assert_eq!(head.headers.get(name).unwrap(), value, "{provider}");
            assert_eq!(head.headers.contains_key("anthropic-version"), provider.contains("anthropic"), "{provider}");
        }
    }

    #[test]
    fn nodes_do_not_probe_all_at_once() {
        let waits: Vec<_> = (0..100).map(|_| about(Duration::from_secs(10))).collect();
        assert!(waits.iter().all(|wait| (Duration::from_millis(7_500)..Duration::from_millis(12_500)).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_secs(9)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(11)));
    }
}
