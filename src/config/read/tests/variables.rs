//! What variables become, and what they cannot do.

use std::path::Path as FilePath;
use std::time::Duration;

use super::{MINIMAL, error, errors};
use crate::config::{OnAuthorityFailure, parse};

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
