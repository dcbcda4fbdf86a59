//! What the file says, and what it leaves out.

use std::time::Duration;

use super::{ALL_DEFAULTS, MINIMAL, read};
use crate::config::{
    Config, Interrupted, LogFormat, LogLevel, Loser, Multiplier, OnAuthorityFailure, Ratio, Redis, ReservationMode,
    Strategy, Unpriced,
};
use crate::dialect::Dialect;
use crate::money::Usd;

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(read(MINIMAL).unwrap(), read(ALL_DEFAULTS).unwrap());
    assert_eq!(read("").unwrap(), Config::default());
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = read(MINIMAL).unwrap();
    let seconds = Duration::from_secs;
    let server = &config.server;
    assert_eq!(server.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(server.admin.to_string(), "127.0.0.1:8081");
    assert_eq!(server.metrics.to_string(), "127.0.0.1:9464");
    assert_eq!((server.max_request_body, server.threads), (32 * 1024 * 1024, 0));
    assert_eq!((server.timeouts.header, server.timeouts.body), (seconds(10), seconds(60)));
    assert!(server.trusted_proxies.is_empty() && server.tls.is_none());
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(config.shutdown.grace, seconds(60));
    assert_eq!(config.database.url.expose(), "sqlite://data/tollgate.db");
    assert_eq!(config.database.max_connections, 16);
    assert_eq!(config.redis, None);
    assert_eq!((config.node.name.as_str(), config.node.data_dir.to_str()), ("node", Some("data")));

    let budgets = &config.budgets;
    assert!(budgets.model_group_limits);
    assert_eq!(budgets.on_authority_failure, OnAuthorityFailure::Open);
    assert_eq!(budgets.reservation, ReservationMode::Expected);
    assert_eq!(budgets.time_zone.iana_name(), Some("UTC"));
    assert_eq!(budgets.default_max_output_tokens, 32_768);
    assert_eq!(budgets.lease.fraction, Ratio::from_ppm(50_000));
    assert_eq!(budgets.lease.min, Usd::from_nanos(1_000_000));
    assert_eq!((budgets.lease.life, budgets.lease.idle_return), (seconds(5), seconds(1)));
    assert_eq!((budgets.lease.dead_after, budgets.lease.write_off), (seconds(30), seconds(600)));
    assert_eq!(budgets.effective_model_group_lease(), budgets.lease);

    assert_eq!((&config.prices.file, config.prices.unpriced), (&None, Unpriced::Refuse));
    let ledger = &config.ledger;
    assert_eq!((ledger.journal_max, ledger.fsync), (1024 * 1024 * 1024, Duration::from_millis(50)));
    assert_eq!(ledger.interrupted, Interrupted::Estimate);
    assert_eq!((ledger.request_detail_days, ledger.refusal_days), (30, 7));

    let routing = &config.routing;
    assert_eq!(routing.strategy, Strategy::Weighted);
    assert_eq!((routing.retry_budget, routing.deadline), (Ratio::from_ppm(200_000), Duration::ZERO));
    assert_eq!((routing.affinity.enabled, routing.affinity.ttl), (true, seconds(3_600)));
    assert_eq!((routing.gate.enabled, routing.gate.max_bytes, routing.gate.max_time), (true, 65_536, seconds(30)));
    assert_eq!((routing.racing.after, routing.racing.loser), (Duration::ZERO, Loser::Absorb));
    assert_eq!(config.on_client_abort.drain, seconds(60));

    let provider = &config.providers[0];
    assert!(provider.api_key.is_empty() && provider.models.is_none() && provider.redirects.is_empty());
    assert!(provider.enabled && provider.schedule.is_empty());
    assert_eq!((provider.priority, provider.weight, provider.attempts), (0, 1, 2));
    assert_eq!((provider.cost_multiplier.ppm(), provider.max_concurrent_requests), (1_000_000, 0));
    assert_eq!(provider.groups, ["default"]);
    assert!(provider.limits.is_empty());
    assert_eq!((provider.timeouts.connect, provider.timeouts.first_byte), (seconds(5), seconds(120)));
    assert_eq!((provider.timeouts.idle, provider.timeouts.total), (seconds(120), Duration::ZERO));
    assert_eq!((provider.circuit.failures, provider.circuit.ratio.ppm()), (5, 500_000));
    assert_eq!((provider.circuit.window, provider.circuit.open), (seconds(60), seconds(60)));
    assert_eq!(provider.circuit.half_open, 2);
    assert_eq!((provider.health.interval, provider.health.timeout), (Duration::ZERO, seconds(5)));
    assert_eq!(provider.health.path, None);
    assert_eq!((&provider.tls.ca_file, provider.tls.verify), (&None, true));

    let redis = read("redis: {}").unwrap().redis.unwrap();
    assert_eq!(redis, Redis::default());
    assert_eq!((redis.url.expose(), redis.timeout), ("redis://127.0.0.1:6379", Duration::from_millis(50)));
}

#[test]
fn what_is_written_is_what_is_read() {
    let config = read(
        r#"
server: {listen: "[::]:80", trusted_proxies: [10.0.0.0/8, "::1"], threads: 4}
budgets: {model_group_lease: {fraction: 0.1, life: 2s}}
providers:
  - name: openai-eu
    dialects: [openai_chat, openai_responses, openai_embeddings, gemini]
    base_url: https://eu.example/openai
    api_key: sk-1
    models: ["gpt-*", exact]
    redirects: {gpt-4: gpt-4o}
    priority: -1
    weight: 3
    cost_multiplier: 0.85
    groups: [eu, default]
    limits: {5h: {usd: 10, reset: fixed}, daily: {usd: 100.5, at: "06:30"}, weekly: {usd: 1}, monthly: {usd: 2}, total: {usd: 9000000}}
"#,
    )
    .unwrap();
    assert!(config.server.trusted_proxies[0].contains([10, 1, 1, 1].into()));
    let lease = config.budgets.effective_model_group_lease();
    assert_eq!(
        (lease.fraction.ppm(), lease.life, lease.write_off),
        (100_000, Duration::from_secs(2), Duration::from_secs(600))
    );

    let provider = &config.providers[0];
    assert_eq!(
        provider.dialects,
        [Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::OpenaiEmbeddings, Dialect::Gemini]
    );
    assert_eq!(provider.base_url.as_str(), "https://eu.example/openai");
    assert!(provider.accepts("gpt-4") && provider.accepts("exact") && !provider.accepts("claude"));
    assert_eq!((provider.redirect("gpt-4"), provider.redirect("gpt-5")), ("gpt-4o", "gpt-5"));
    assert_eq!(provider.cost_multiplier, Multiplier::from_ppm(850_000));
    let daily = provider.limits.daily.as_ref().unwrap();
    assert_eq!((daily.usd, daily.at.to_string().as_str()), (Usd::from_nanos(100_500_000_000), "06:30:00"));
}
