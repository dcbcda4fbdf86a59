//! What is never shown, and what is.

use std::path::Path as FilePath;

use serde_json::json;

use super::{ALL_DEFAULTS, MINIMAL, error, read};
use crate::config::parse;

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
