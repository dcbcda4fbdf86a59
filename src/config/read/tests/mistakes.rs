//! What is said about mistakes.

use std::path::Path as FilePath;

use super::{MINIMAL, error, no_env, read};
use crate::config::parse;

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
            "budgets.lease.dead_after: is not more than 2s above `life`: a node would stop spending between two exchanges",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    assert_eq!(error("a: : b"), "line 1, column 4: is not valid YAML: mapping values are not allowed in this context");
}

#[test]
fn probes_that_make_no_sense_are_refused() {
    let with = |health: &str| format!("{}, health: {health}}}]", MINIMAL.trim_end_matches("}]"));
    for (health, expected) in [
        ("{interval: 500ms}", "providers[0].health.interval: is too short: write 1s or more, or 0 for none"),
        (
            "{path: v1/models}",
            "providers[0].health.path: is not a path: write one that begins with /, such as /v1/models",
        ),
        (
            "{path: '/v1 models'}",
            "providers[0].health.path: is not a path: write one that begins with /, such as /v1/models",
        ),
    ] {
        assert_eq!(error(&with(health)), expected);
    }
    assert!(error(&with("{timeout: 0s}")).starts_with("providers[0].health.timeout: "));
    assert!(read(&with("{interval: 1s, path: '/v1/models?limit=1'}")).is_ok());
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
fn hours_that_make_no_sense_are_refused() {
    let with = |hours: &str| format!("{}, schedule: [{hours}]}}]", MINIMAL.trim_end_matches("}]"));
    for (hours, expected) in [
        (
            "{days: [mon, tue, mon], from: '08:00', to: '09:00'}",
            "providers[0].schedule[0].days[2]: is in the list twice (Mon): keep one of them",
        ),
        (
            "{from: '8:00', to: '09:00'}",
            "providers[0].schedule[0].from: `8:00` is not a time of day: write it as \"HH:MM\", such as \"06:30\"",
        ),
    ] {
        assert_eq!(error(&with(hours)), expected);
    }
    for hours in
        ["{days: [], from: '08:00', to: '09:00'}", "{days: [monday], from: '08:00', to: '09:00'}", "{from: '08:00'}"]
    {
        assert!(error(&with(hours)).starts_with("providers[0].schedule[0]"), "{hours}");
    }
    assert!(read(&with("{days: [sat, sun], from: '22:00', to: '06:00'}, {from: '00:00', to: '00:00'}")).is_ok());
}
