//! A provider that is switched off, or is not to be asked at this hour, gets nothing.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::support::gateway::{MODEL, Setup};
use crate::support::{Api, Gateway, Provider};

/// Three hours that begin so many hours from now.
fn hours(from_now: i64) -> Value {
    let at = |hours: i64| TimeZone::UTC.to_datetime(Timestamp::now() + hours.hours()).strftime("%H:00").to_string();
    json!([{"from": at(from_now), "to": at(from_now + 3)}])
}

async fn excluded(gateway: &Gateway) -> Value {
    let path = format!("/explain?userId={}&model={MODEL}", gateway.caller().user_id);
    let explained = gateway.admin().get(&path).await;
    let candidates = explained["candidates"].as_array().unwrap();
    candidates.iter().find(|candidate| candidate["provider"] == "first").unwrap()["excluded"].clone()
}

/// Sets these of the first provider.
async fn change(gateway: &mut Gateway, fields: &[(&str, Value)]) {
    let mut providers = gateway.config()["providers"].clone();
    fields.iter().for_each(|(name, value)| providers[0][name] = value.clone());
    gateway.reload("providers", providers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_switched_off_or_off_hours_gets_nothing_and_others_go_on() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    first.always(Api::Chat.answer());
    second.always(Api::Chat.answer());
    let mut other = second.entry("second", &["openai_chat"]);
    other["priority"] = json!(1);
    let mut gateway = Setup::new([first.entry("first", &["openai_chat"]), other]).start().await;
    let (mut of_first, mut of_second) = (0, 0);
    let off = [("enabled", json!(false))];
    let elsewhen = [("enabled", json!(true)), ("schedule", hours(2))];
    let now = [("schedule", hours(-1))];
    for (fields, reason) in
        [(&[][..], Value::Null), (&off, json!("disabled")), (&elsewhen, json!("off_schedule")), (&now, Value::Null)]
    {
        change(&mut gateway, fields).await;
        let reply = gateway.ask_with(gateway.key(), Api::Chat, MODEL, false).await;
        assert_eq!(reply.head.status, 200);
        *if reason.is_null() { &mut of_first } else { &mut of_second } += 1;
        assert_eq!((first.requests().len(), second.requests().len()), (of_first, of_second), "{fields:?}");
        assert_eq!(excluded(&gateway).await, reason);
        let providers = gateway.admin().get("/providers").await;
        assert_eq!(providers["items"][0]["enabled"], json!(reason != "disabled"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_is_asked_at_this_hour_the_client_is_told_when() {
    let provider = Provider::start().await;
    let mut gateway = Setup::new([provider.entry("first", &["openai_chat"])]).start().await;
    change(&mut gateway, &[("schedule", hours(2))]).await;
    let reply = gateway.ask_with(gateway.key(), Api::Chat, MODEL, false).await;
    let error: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.head.status, &error["error"]["code"]), (503, &json!("no_provider_available")), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("at other times, next at 20"), "{error}");
    let wait: u64 = reply.head.get("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=7_200).contains(&wait), "{wait}");
    change(&mut gateway, &[("schedule", json!([])), ("enabled", json!(false))]).await;
    let reply = gateway.ask_with(gateway.key(), Api::Chat, MODEL, false).await;
    assert_eq!(reply.head.status, 503);
    assert!(String::from_utf8_lossy(&reply.body).contains("no provider serves the model"));
    assert_eq!(provider.requests().len(), 0);
}
