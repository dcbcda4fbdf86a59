#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path as FilePath;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::{
    Interrupted, LogFormat, LogLevel, Loser, Multiplier, OnAuthorityFailure, Ratio, Redis, ReservationMode, Strategy,
    Unpriced,
};
use crate::dialect::Dialect;
use crate::money::Usd;

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
    priority: 0
    weight: 1
    cost_multiplier: 1.0
    groups: [default]
    max_concurrent_requests: 0
    timeouts: {connect: 5s, first_byte: 120s, idle: 120s, total: 0s}
    attempts: 2
    circuit: {failures: 5, ratio: 0.5, window: 60s, open: 60s, half_open: 2}
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
    assert_eq!((provider.priority, provider.weight, provider.attempts), (0, 1, 2));
    assert_eq!((provider.cost_multiplier.ppm(), provider.max_concurrent_requests), (1_000_000, 0));
    assert_eq!(provider.groups, ["default"]);
    assert!(provider.limits.is_empty());
    assert_eq!((provider.timeouts.connect, provider.timeouts.first_byte), (seconds(5), seconds(120)));
    assert_eq!((provider.timeouts.idle, provider.timeouts.total), (seconds(120), Duration::ZERO));
    assert_eq!((provider.circuit.failures, provider.circuit.ratio.ppm()), (5, 500_000));
    assert_eq!((provider.circuit.window, provider.circuit.open), (seconds(60), seconds(60)));
    assert_eq!(provider.circuit.half_open, 2);
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

#[test]
fn all_mistakes_are_reported_at_once_with_their_paths() {
    let text = r#"
server:
  lisen: 0.0.0.0:80
  admin: nowhere
  metrics: 127.0.0.1:9464
  threads: many
  max_request_body: 1.5MiB
  timeouts: {header: 0s, body: 30}
  trusted_proxies: [10.0.0.0/8, 300.0.0.1]
  tls: {cert: missing.pem}
log: {level: inf}
log2: {}
database: {url: "mysql://db/x", max_connections: 0}
budgets:
  model_group_limits: "yes"
  time_zone: Mars/Olympus
  lease: {fraction: 1.5, min: 0}
prices: {file: missing.yaml}
providers:
  - name: a
    dialects: [anthropic]
    base_url: https://a.example
    api_key: ${NOT_SET}
  - name: a
    dialects: [openai]
    base_url: a.example
    timeouts: {connect: 5, idle: -1s}
    weight: 0
    attempts: 0
    limits: {daily: {usd: 9000001}, hourly: {usd: 1}, total: {}}
  - {}
  - name: "B b"
    dialects: []
    models: ["[a"]
    base_url: https://b.example
    cost_multiplier: -1
    redirects: {a: 5}
  - text
  - name: a
    dialects: [gemini]
    base_url: https://c.example
    groups: [x, x]
    timeouts: {idle: 0s}
"#;
    let errors = parse(text, FilePath::new("/nowhere"), &no_env).unwrap_err();
    let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "budgets.lease.fraction",
            "budgets.lease.min",
            "budgets.model_group_limits",
            "budgets.time_zone",
            "database.max_connections",
            "database.url",
            "log.level",
            "log2",
            "prices.file",
            "providers[0].api_key",
            "providers[1].attempts",
            "providers[1].base_url",
            "providers[1].dialects[0]",
            "providers[1].limits.daily.usd",
            "providers[1].limits.hourly",
            "providers[1].limits.total.usd",
            "providers[1].timeouts.connect",
            "providers[1].timeouts.idle",
            "providers[1].weight",
            "providers[2].base_url",
            "providers[2].dialects",
            "providers[2].name",
            "providers[3].cost_multiplier",
            "providers[3].dialects",
            "providers[3].models[0]",
            "providers[3].name",
            "providers[3].redirects.a",
            "providers[4]",
            "providers[5].groups[1]",
            "providers[5].name",
            "providers[5].timeouts.idle",
            "server.admin",
            "server.lisen",
            "server.max_request_body",
            "server.threads",
            "server.timeouts.body",
            "server.timeouts.header",
            "server.tls.key",
            "server.trusted_proxies[1]",
        ],
        "{errors:#?}"
    );
}

#[test]
fn a_message_says_what_to_do() {
    for (text, expected) in [
        ("server: {lisen: 'a:1'}", "server.lisen: is not a setting; did you mean `listen`?"),
        ("servr: {}", "servr: is not a setting; did you mean `server`?"),
        ("log: {quiet: true}", "log.quiet: is not a setting; the settings here are format, level"),
        (
            "log: {level: wran}",
            "log.level: `wran` is not one of off, error, warn, info, debug, trace; did you mean `warn`?",
        ),
        ("log: {level: }", "log.level: is empty: write one of off, error, warn, info, debug, trace"),
        ("log: {level: 5}", "log.level: `5` is not one of off, error, warn, info, debug, trace"),
        ("server: {threads: -1}", "server.threads: `-1` is too small: the least is 0"),
        ("server: {threads: 1025}", "server.threads: `1025` is too large: the most is 1024"),
        ("server: {threads: 1.5}", "server.threads: is a number, but must be a whole number"),
        ("server: {threads: }", "server.threads: is empty: write a whole number, or remove the key to get the default"),
        ("node: {name: 5}", "node.name: is a number, but must be text: put it in quotes"),
        ("server: []", "server: is a list, but must be a group of settings (`key: value` lines)"),
        (
            "server:\nlog: {level: info}",
            "server: is empty: write a group of settings (`key: value` lines), or remove the key to get the default",
        ),
        ("redis: here", "redis: is text, but must be a group of settings (`key: value` lines)"),
        ("redis: {ulr: 'redis://x'}", "redis.ulr: is not a setting; did you mean `url`?"),
        ("providers: {}", "providers: is a group of settings, but must be a list"),
        ("[]", "(the whole file): is a list, but must be a group of settings (`key: value` lines)"),
        ("log: {level: info, level: info}", "log.level: is set twice: keep one of them"),
        (
            "shutdown: {grace: 60}",
            "shutdown.grace: `60` has no unit: write one behind the number, such as 500ms, 5s, 10m, 1h or 30d",
        ),
        (
            "redis: {timeout: 50}",
            "redis.timeout: `50` has no unit: write one behind the number, such as 500ms, 5s, 10m, 1h or 30d",
        ),
        ("server: {tls: {cert: x}}", "server.tls.key: is missing: the private key, PEM."),
        (
            "server: {admin: 'localhost:8080', metrics: 'localhost:8080'}",
            "server.metrics: `localhost:8080` is server.admin too: choose another port",
        ),
        (
            "budgets: {lease: {life: 30s}}",
            "budgets.lease.dead_after: is not above `life`: a node would count as dead between two exchanges",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    assert_eq!(error("a: : b"), "line 1, column 4: is not valid YAML: mapping values are not allowed in this context");
}

#[test]
fn a_limit_without_meaning_is_refused() {
    let limit = |limits: &str| format!("{}, limits: {limits}}}]", MINIMAL.trim_end_matches("}]"));
    assert!(
        error(&limit("{daily: {usd: 1, reset: rolling, at: '06:00'}}"))
            .starts_with("providers[0].limits.daily.at: is for")
    );
    assert!(
        error(&limit("{weekly: {usd: 1, reset: fixed}}"))
            .starts_with("providers[0].limits.weekly.reset: is not a setting")
    );
    assert!(error(&limit("{daily: {usd: 0}}")).starts_with("providers[0].limits.daily.usd: `0` is nothing"));
    assert!(read(&limit("{daily: {usd: 1, reset: rolling}}")).is_ok());
}

#[test]
fn a_variable_becomes_what_the_schema_wants() {
    let env = |name: &str| match name {
        "THREADS" => Some("3".to_owned()),
        "NUMBER" => Some("12345".to_owned()),
        "NO" => Some("false".to_owned()),
        "SIZE" => Some("1048576".to_owned()),
        "ZERO" => Some("0".to_owned()),
        "RATE" => Some("0.85".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let text = r#"
server: {threads: "${THREADS}", max_request_body: "${SIZE}"}
node: {name: "${NUMBER}"}
budgets: {model_group_limits: "${NO}", lease: {min: "${RATE}"}}
prices: {file: "${EMPTY}"}
routing: {deadline: "${ZERO}", retry_budget: "${RATE}", affinity: {enabled: "${UNSET:-false}"}}
database: {max_connections: "1${THREADS}"}
providers:
  - {name: "${UNSET:-a}", dialects: ["${UNSET:-gemini}"], base_url: "https://${NUMBER}.example", cost_multiplier: "${RATE}",
     api_key: "${NUMBER}", tls: {ca_file: "${EMPTY}", verify: "${NO}"}}
"#;
    let config = parse(text, FilePath::new(""), &env).unwrap();
    assert_eq!((config.server.threads, config.server.max_request_body), (3, 1 << 20));
    assert_eq!((config.node.name.as_str(), config.database.max_connections), ("12345", 13));
    assert_eq!((config.budgets.model_group_limits, config.routing.affinity.enabled), (false, false));
    assert_eq!((config.prices.file, config.routing.deadline), (None, Duration::ZERO));
    let provider = &config.providers[0];
    assert_eq!((provider.cost_multiplier.ppm(), provider.api_key.expose()), (850_000, "12345"));
    assert_eq!((&provider.tls.ca_file, provider.tls.verify), (&None, false));

    assert!(
        error("server: {threads: '3'}").contains("is text, but must be a whole number"),
        "only variables are turned"
    );
}

#[test]
fn a_variable_cannot_change_the_file_around_it() {
    let key = "x, weight: 5} # ]\nlog: {level: trace}\n- \"'${UNSET}";
    let env = |name: &str| (name == "GROUP").then(|| key.to_owned());
    let errors = errors(&MINIMAL.replace("name: a", "name: a, redirects: {a: '${GROUP}', b: '${GROUP}'}"), &env);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("providers[0].redirects.a: is not a name"), "its line breaks are what is wrong");

    let env = |name: &str| (name == "KEY").then(|| "a:#{b}[c],\"d'&*!|>%@`".to_owned());
    for place in ["${KEY}", "\"${KEY}\"", "'${KEY}'"] {
        let text =
            format!("providers:\n- name: a\n  dialects: [gemini]\n  base_url: https://a.example\n  api_key: {place}\n");
        let config = parse(&text, FilePath::new(""), &env).unwrap();
        assert_eq!(config.providers[0].api_key.expose(), "a:#{b}[c],\"d'&*!|>%@`");
    }
}

#[test]
fn secrets_are_in_no_error_and_no_output() {
    let canary = "canary7391";
    let env = |name: &str| match name {
        "KEY" => Some("canary7391".to_owned()),
        "LINE" => Some("canary7391\n".to_owned()),
        _ => None,
    };
    let texts = [
        "providers: [{api_key: [canary7391]}, {api_key: {a: canary7391}}, {api_key: canary7391 x}, {api_key: '${LINE}'}]",
        "providers: [{base_url: 'https://a:canary7391@b.example'}, {base_url: 'canary7391'}, {base_url: '${KEY}'}]",
        "database: {url: 'canary7391://a'}",
        "database: {url: 'postgres://a:canary7391@b:x/c'}",
        "redis: {url: 'redis://:canary7391@'}",
        "server: {listen: '${KEY}', threads: '${KEY}', max_request_body: '${KEY}', trusted_proxies: ['${KEY}']}",
        "log: {level: '${KEY}', format: '${LINE}'}",
        "budgets: {time_zone: '${KEY}', model_group_limits: '${KEY}', lease: {fraction: '${KEY}', min: '${KEY}', life: '${KEY}'}}",
        "providers: [{name: '${LINE}', dialects: ['${KEY}'], models: ['[${KEY}'], limits: {daily: {usd: '${KEY}', at: '${KEY}'}}}]",
        "providers: '${KEY}'",
        "'${KEY}'",
        "unknown: '${KEY}'",
        "api_key: canary7391",
    ];
    for text in texts {
        let errors = parse(text, FilePath::new(""), &env).unwrap_err();
        let shown = format!("{errors:?} {}", errors.iter().map(ToString::to_string).collect::<String>());
        assert!(!shown.contains(canary), "{text}: {shown}");
    }
    for number in ["7391739173", "7391.739173", "true"] {
        let error = error(&MINIMAL.replace("name: a", &format!("name: a, api_key: {number}")));
        assert!(error.starts_with("providers[0].api_key: the value is") && !error.contains("7391"), "{error}");
    }

    let text = "database: {url: 'postgres://me:canary7391@db/x'}\nredis: {url: 'redis://:canary7391@cache'}\n"
        .to_owned()
        + &MINIMAL.replace("name: a", "name: a, api_key: '${KEY}'");
    let config = parse(&text, FilePath::new(""), &env).unwrap();
    let masked = config.masked();
    let shown = format!("{config:?} {config:#?} {masked} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains(canary), "{shown}");
    assert_eq!(masked["providers"][0]["api_key"], json!("***"));
    assert_eq!(masked["database"]["url"], json!("postgres://me:***@db/x"));
    assert_eq!(masked["server"]["timeouts"]["header"], json!("10s"));
    assert_eq!(config.providers[0].api_key.expose(), canary);
}

#[test]
fn the_settings_that_are_shown_are_a_configuration() {
    let mut shown = read(ALL_DEFAULTS).unwrap().masked();
    let again = read(&shown.to_string()).unwrap();
    shown["providers"][0]["api_key"] = json!("");
    assert_eq!(again, read(MINIMAL).unwrap());
}

#[test]
fn the_environment_overrules_the_file() {
    let env = |limits: &'static str, open: &'static str| {
        move |name: &str| match name {
            "ENABLE_MODEL_RATE_LIMIT" => Some(limits.to_owned()),
            "MODEL_RATE_LIMIT_FAIL_OPEN" => Some(open.to_owned()),
            "HOSTNAME" => Some("host-1".to_owned()),
            _ => None,
        }
    };
    let file = "budgets: {model_group_limits: true, on_authority_failure: closed}";
    let read = |text: &str, limits, open| parse(text, FilePath::new(""), &env(limits, open)).unwrap();
    for (limits, open, expected) in [
        ("false", "true", (false, OnAuthorityFailure::Open)),
        ("0", "1", (false, OnAuthorityFailure::Open)),
        ("TRUE", "0", (true, OnAuthorityFailure::Closed)),
        ("", "", (true, OnAuthorityFailure::Closed)),
    ] {
        let budgets = read(file, limits, open).budgets;
        assert_eq!((budgets.model_group_limits, budgets.on_authority_failure), expected, "{limits} {open}");
    }
    let config = read("", "false", "false");
    assert_eq!(config.budgets.on_authority_failure, OnAuthorityFailure::Closed);
    assert_eq!(config.node.name, "host-1");
    assert_eq!(read("node: {name: mine}", "", "").node.name, "mine");

    let errors = errors(file, &env("yes", "open"));
    assert_eq!(errors.len(), 2);
    assert!(errors[0].starts_with("budgets.model_group_limits: is overruled by the environment variable ENABLE_"));
    assert!(errors[1].starts_with("budgets.on_authority_failure: is overruled by the environment variable MODEL_"));
}

#[test]
fn files_are_looked_for_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "cert.pem", "key.pem", "prices.yaml"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let text = "server: {tls: {cert: cert.pem, key: key.pem}}\nprices: {file: prices.yaml}\n".to_owned()
        + &MINIMAL.replace("name: a", "name: a, tls: {ca_file: ca.pem}");
    let file = folder.path().join("tollgate.yaml");
    std::fs::write(&file, &text).unwrap();
    let config = load(&file, &no_env).unwrap();
    assert_eq!(config.server.tls.unwrap().key, folder.path().join("key.pem"));
    assert_eq!(config.prices.file.unwrap(), folder.path().join("prices.yaml"));
    assert_eq!(config.providers[0].tls.ca_file.as_ref().unwrap(), &folder.path().join("ca.pem"));

    std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
    std::fs::create_dir(folder.path().join("ca.pem")).unwrap();
    let errors = load(&file, &no_env).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].path, "providers[0].tls.ca_file");
}

#[test]
fn a_file_that_cannot_be_a_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollgate.yaml");
    let message = |content: &[u8]| {
        std::fs::write(&file, content).unwrap();
        let errors = load(&file, &no_env).unwrap_err();
        assert_eq!((errors.len(), errors[0].path.as_str()), (1, file.to_str().unwrap()));
        errors[0].message.clone()
    };
    assert!(message(&vec![b'#'; (LARGEST_FILE + 1) as usize]).contains("larger than 4 MiB"));
    assert!(message(b"a: \xff\xfe").contains("not UTF-8"));
    std::fs::write(&file, vec![b'#'; LARGEST_FILE as usize]).unwrap();
    assert!(load(&file, &no_env).is_ok());

    let missing = load(&folder.path().join("missing.yaml"), &no_env).unwrap_err();
    assert!(missing[0].to_string().contains("missing.yaml: cannot be read"), "{missing:?}");
    assert!(load(folder.path(), &no_env).unwrap_err()[0].message.contains("cannot be read"));
}

#[test]
fn every_example_is_a_configuration_and_names_its_schema() {
    let folder = FilePath::new(concat!(env!("CARGO_MANIFEST_DIR"), "/conf"));
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_yaml = matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml"));
        // Price files have their own format and their own test.
        if !is_yaml || name.starts_with("prices") {
            continue;
        }
        examples += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some("# yaml-language-server: $schema=../docs/config.schema.json"), "{name}");
        let config = load(&path, &no_env).unwrap_or_else(|errors| panic!("{name}: {errors:#?}"));
        assert!(!config.providers.is_empty(), "{name} shows no provider");
    }
    assert!(examples > 0);
}

/// Every place in the value with a setting or a group in it.
fn places(value: &Value, path: &Path, found: &mut Vec<Path>) {
    found.push(path.clone());
    match value {
        Value::Object(group) => group.iter().for_each(|(key, value)| places(value, &path.key(key), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| places(value, &path.index(index), found))
        }
        _ => {}
    }
}

#[test]
fn whatever_stands_in_whatever_place_is_taken_or_explained() {
    let env = |name: &str| (name == "X").then(|| "x\u{0}".to_owned());
    let mut whole = read(ALL_DEFAULTS).unwrap().masked();
    whole["redis"] = json!({"url": "redis://a", "timeout": "1s"});
    whole["server"]["trusted_proxies"] = json!(["::1"]);
    whole["server"]["tls"] = json!({"cert": "a", "key": "b"});
    whole["budgets"]["model_group_lease"] = json!({"fraction": 1, "min": 1, "life": "1s"});
    whole["providers"][0]["models"] = json!(["a"]);
    whole["providers"][0]["redirects"] = json!({"a": "b"});
    whole["providers"][0]["limits"] = json!({"5h": {"usd": 1, "reset": "rolling"}, "daily": {"usd": 1, "at": "00:00"}});
    let mut found = Vec::new();
    places(&whole, &Path::default(), &mut found);
    assert!(found.len() > 90, "{}", found.len());

    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(1e300),
        json!(0.3),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(4_294_967_296_u64),
        json!(""),
        json!("\u{0}\n"),
        json!("0"),
        json!("${X}"),
        json!("x".repeat(3_000)),
        json!([]),
        json!([null]),
        json!({}),
        json!({"": {"": []}}),
    ];
    for place in &found {
        for value in &values {
            let mut changed = whole.clone();
            let target = place.segments().iter().fold(&mut changed, |value, segment| match segment {
                crate::config::error::Segment::Key(key) => &mut value[key],
                crate::config::error::Segment::Index(index) => &mut value[index],
            });
            *target = value.clone();
            if let Err(errors) = parse(&changed.to_string(), FilePath::new(""), &env) {
                for error in errors {
                    assert!(!error.message.contains("this is a bug"), "{place} = {value}: {error}");
                    assert!(error.to_string().len() < 500, "{place}: {error}");
                    assert!(!error.message.contains('\u{0}'), "{place} = {value}: {error:?}");
                }
            }
        }
    }
}
