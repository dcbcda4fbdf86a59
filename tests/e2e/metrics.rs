//! What Prometheus reads: every name and label that dashboards rely on, and nothing about who asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::gateway::MODEL;
use crate::support::wire::request;
use crate::support::{Answer, Api, Gateway, Provider, client, eventually};

/// The text that Prometheus reads.
async fn text(gateway: &Gateway) -> String {
    let url = format!("http://{}/metrics", gateway.config()["server"]["metrics"].as_str().unwrap());
    client().get(url).send().await.unwrap().text().await.unwrap()
}

/// The value of exactly this series; its labels in the order of their names.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("tollgate_")?.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_happened_and_not_to_whom() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let mut other = second.entry("second", &["openai_chat"]);
    other["priority"] = json!(1);
    let gateway = Gateway::start([first.entry("first", &["openai_chat"]), other]).await;
    let name = "ada-lovelace-in-person";
    let caller = gateway.admin().caller(json!({"name": name}), json!({"rpm": 2})).await;
    let ask = async |stream| gateway.ask_with(&caller.secret, Api::Chat, MODEL, stream).await;

    first.then(Api::Chat.stream());
    let streamed = ask(true).await;
    first.then(Answer::json(503, &json!({"error": {"message": "busy"}})));
    second.then(Api::Chat.answer());
    let elsewhere = ask(false).await;
    let refused = ask(false).await;
    let statuses = [&streamed, &elsewhere, &refused].map(|reply| reply.head.status);
    assert_eq!(statuses, [200, 200, 429]);

    let text = eventually("everything is counted", async || {
        let text = text(&gateway).await;
        let settled = value(&text, r#"ledger_records_total{result="written"}"#) == Some(2.0);
        let over =
            value(&text, "in_flight") == Some(0.0) && value(&text, "request_duration_seconds_count") == Some(3.0);
        (settled && over).then_some(text)
    })
    .await;
    let tokens = Api::Chat.tokens();
    for (series, expected) in [
        (r#"requests_total{dialect="openai_chat",provider="first",status="200"}"#, 1),
        (r#"requests_total{dialect="openai_chat",provider="second",status="200"}"#, 1),
        (r#"requests_total{dialect="openai_chat",provider="",status="429"}"#, 1),
        (r#"refusals_total{axis="key",code="rate_limit_exceeded",window="rpm"}"#, 1),
        (r#"attempts_total{outcome="ok",provider="first"}"#, 1),
        (r#"attempts_total{outcome="upstream_status",provider="first"}"#, 1),
        (r#"attempts_total{outcome="ok",provider="second"}"#, 1),
        (r#"tokens_total{kind="input"}"#, 2 * tokens.input),
        (r#"tokens_total{kind="output"}"#, 2 * tokens.output),
        (r#"tokens_total{kind="cache_read"}"#, 2 * tokens.cache_read),
        (r#"tokens_total{kind="reasoning"}"#, 2 * tokens.reasoning),
        ("request_duration_seconds_count", 3),
        ("time_to_first_byte_seconds_count", 2),
        ("overhead_seconds_count", 2),
        ("config_reload_success", 1),
        ("in_flight", 0),
    ] {
        assert_eq!(value(&text, series), Some(expected as f64), "{series} in\n{text}");
    }
    let refusals =
        text.lines().filter(|line| line.starts_with("tollgate_requests_total{") && line.contains(r#"status="429""#));
    assert_eq!(refusals.map(|line| line.rsplit(' ').next().unwrap()).collect::<Vec<_>>(), ["1"], "{text}");
    let cost = tokens.cost() as f64 / 1e9;
    for provider in ["first", "second"] {
        let series = format!(r#"cost_usd_total{{model="{MODEL}",provider="{provider}"}}"#);
        let charged = value(&text, &series).unwrap_or_else(|| panic!("{series} in\n{text}"));
        assert!((charged - cost).abs() < 1e-9, "{charged}, not {cost}");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let read = value(&text, "config_reload_timestamp_seconds").expect("when the configuration was read");
    assert!((now - Duration::from_mins(2)).as_secs_f64() < read && read <= now.as_secs_f64(), "{read}");
    for gauge in ["ledger_lag_seconds", "snapshot_age_seconds"] {
        let seconds = value(&text, gauge).unwrap_or_else(|| panic!("{gauge} in\n{text}"));
        assert!((0.0..60.0).contains(&seconds), "{gauge} is {seconds}");
    }
    for histogram in ["request_duration_seconds", "time_to_first_byte_seconds", "overhead_seconds"] {
        let sum = value(&text, &format!("{histogram}_sum")).unwrap();
        assert!(sum > 0.0 && sum < 60.0, "{histogram} has the sum {sum}");
    }

    let key = gateway.admin().get(&format!("/keys/{}", caller.key_id)).await;
    let prefix = key["prefix"].as_str().unwrap();
    assert!(caller.secret.starts_with(prefix) && prefix.len() > 3, "{prefix}");
    let ids = [&streamed, &elsewhere, &refused].map(|reply| reply.head.request_id());
    for private in [&*caller.secret, prefix, name].into_iter().chain(ids) {
        assert!(!text.contains(private), "{private} is nobody's business:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_are_counted_under_the_dialect_of_their_path() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    for api in Api::ALL {
        assert_eq!(gateway.ask_with("tg-unknown", api, MODEL, false).await.head.status, 401);
        let bearer = format!("Bearer {}", gateway.key());
        for (method, path, status) in [("GET", &*api.path(MODEL, false), 405), ("POST", "/nowhere", 404)] {
            let mut wire = gateway.connect().await;
            wire.send(request(method, path, &[("authorization", &*bearer)], b"")).await.unwrap();
            assert_eq!(wire.reply().await.unwrap().head.status, status, "{method} {path}");
        }
    }
    let text = eventually("everything is counted", async || {
        let text = text(&gateway).await;
        (value(&text, "request_duration_seconds_count") == Some(15.0)).then_some(text)
    })
    .await;
    for api in Api::ALL {
        for status in [401, 405] {
            let series = format!(r#"requests_total{{dialect="{}",provider="",status="{status}"}}"#, api.dialect());
            assert_eq!(value(&text, &series), Some(1.0), "{series} in\n{text}");
        }
    }
    assert_eq!(value(&text, r#"requests_total{dialect="",provider="",status="404"}"#), Some(5.0), "{text}");
}
