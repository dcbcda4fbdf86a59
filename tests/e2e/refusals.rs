//! What the gateway refuses is kept for whoever asks why, and costs nobody anything.

use std::collections::HashSet;

use entity::refusals;
use reqwest::Method;
use sea_orm::{Database, EntityTrait};
use serde_json::{Value, json};

use crate::servers::postgres::Postgres;
use crate::support::admin::Caller;
use crate::support::gateway::{MODEL, Setup};
use crate::support::spending;
use crate::support::wire::Reply;
use crate::support::{Api, Gateway, Provider, client, eventually};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

/// What a body holds that nobody may find anywhere else.
const PROMPT: &str = "a prompt that is nobody's affair";

/// All that is kept of a key, newest first.
async fn refusals_of(gateway: &Gateway, caller: &Caller) -> Vec<Value> {
    let page = gateway.admin().get(&format!("/refusals?limit=100&keyId={}", caller.key_id)).await;
    assert_eq!(page["pageInfo"]["hasMore"], false);
    page["items"].as_array().unwrap().clone()
}

/// The refusal of this answer, as soon as it is kept, in the list and alone.
async fn refusal_of(gateway: &Gateway, caller: &Caller, reply: &Reply) -> (Value, Value) {
    let id = reply.head.request_id();
    let row = eventually("the refusal is listed", async || {
        refusals_of(gateway, caller).await.into_iter().find(|row| row["requestId"] == *id)
    })
    .await;
    let alone = gateway.admin().get(&format!("/requests/{id}")).await;
    assert_eq!((&alone["costUsd"], &alone["charges"], &alone["detail"]), (&json!(0), &json!([]), &Value::Null));
    let mut refusal = alone["refusal"].clone();
    let details = refusal["details"].clone();
    if !details.is_null() {
        assert_eq!(details, reply.json()["error"]["details"], "what the client was told");
    }
    for field in row.as_object().unwrap().keys() {
        assert_eq!(refusal[field].take(), row[field], "{field}");
    }
    assert_eq!(row["userId"], caller.user_id);
    assert_eq!(row["status"], reply.head.status);
    assert_eq!(row["message"], reply.json()["error"]["message"]);
    (row, refusal)
}

fn fields<'a>(row: &'a Value, names: &[&str]) -> Vec<&'a Value> {
    names.iter().map(|name| &row[name]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn h22_a_refusal_of_a_budget_is_kept_with_its_amounts_and_is_no_usage() {
    let provider = Provider::start().await;
    provider.decide(spending::answer);
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]);
    let gateway = setup.start_spending("worst_case", &["dear"]).await;
    let group = gateway.admin().model_group("opus", &["dear"]).await;
    let caller = gateway.admin().caller(json!({}), json!({})).await;
    gateway.admin().limit("user", caller.user_id, group, json!({"daily": {"usd": 0.1}})).await;
    gateway.spends(&caller, "dear", 50).await;
    let used = spending::cost_nanos(990);
    let reply = gateway.spends_too_much(&caller, "dear", 60).await;
    let (row, alone) = refusal_of(&gateway, &caller, &reply).await;
    assert_eq!(
        fields(&row, &["model", "dialect", "code", "axis", "scope", "window", "limitUsd", "reservedUsd", "repeated"]),
        [
            &json!("dear"),
            &json!("openai_chat"),
            &json!("budget_exceeded"),
            &json!("user"),
            &json!("opus"),
            &json!("daily"),
            &json!(0.1),
            &json!(0),
            &json!(0)
        ]
    );
    assert_eq!(row["usedUsd"], json!(f64::from(i32::try_from(used).unwrap()) / 1e9));
    assert!(row["requestedUsd"].as_f64().unwrap() > 0.05, "{row}");
    assert_eq!(alone["details"]["source"]["id"], caller.user_id);
    assert_eq!(alone["attempts"][0]["provider"], "upstream");
    assert_eq!(alone["attempts"][0]["reason"], "budget_exceeded");
    assert_eq!(gateway.admin().rows_of_user(caller.user_id).await.len(), 1, "a refusal is no usage");
    let summary = gateway.admin().get(&format!("/usage/summary?userId={}", caller.user_id)).await;
    assert_eq!(summary["requests"], 1, "{summary}");
    let matching = format!("/refusals?userId={}&scope=opus&axis=user&window=daily&model=dear", caller.user_id);
    assert_eq!(gateway.admin().get(&matching).await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_on_requests_models_that_are_not_allowed_and_bodies_that_make_no_sense_are_kept() {
    let provider = Provider::start().await;
    provider.always(Api::Gemini.answer());
    let far = provider.entry("far", &["openai_chat"]);
    let mut far = far;
    far["groups"] = json!(["far"]);
    let gateway = Gateway::start([provider.entry("upstream", &["gemini"]), far]).await;
    let admin = gateway.admin();

    let limited = admin.caller(json!({}), json!({"rpm": 1})).await;
    assert_eq!(gateway.ask_with(&limited.secret, Api::Gemini, MODEL, false).await.head.status, 200);
    let over = gateway.ask_with(&limited.secret, Api::Chat, MODEL, false).await;
    let (row, alone) = refusal_of(&gateway, &limited, &over).await;
    assert_eq!(
        fields(&row, &["code", "axis", "window", "scope", "model", "limitUsd"]),
        [&json!("rate_limit_exceeded"), &json!("key"), &json!("rpm"), &Value::Null, &Value::Null, &Value::Null],
        "its body was not read: nobody knows the model"
    );
    assert_eq!((&alone["details"]["limit"], &alone["details"]["used"]), (&json!(1), &json!(1)));
    let over = gateway.ask_with(&limited.secret, Api::Gemini, MODEL, false).await;
    assert_eq!(over.head.status, 429);
    let in_path = eventually("the next one is listed", async || {
        refusals_of(&gateway, &limited).await.into_iter().find(|row| row["requestId"] == *over.head.request_id())
    })
    .await;
    assert_eq!(fields(&in_path, &["model", "dialect"]), [&json!(MODEL), &json!("gemini")]);

    let confined = admin.caller(json!({"allowedModels": ["other"]}), json!({"providerGroups": ["default"]})).await;
    let forbidden = gateway.ask_with(&confined.secret, Api::Chat, MODEL, false).await;
    let (row, alone) = refusal_of(&gateway, &confined, &forbidden).await;
    assert_eq!(fields(&row, &["code", "model", "axis"]), [&json!("model_not_allowed"), &json!(MODEL), &Value::Null]);
    assert_eq!(alone["attempts"], json!([]));
    let why = |excluded: &Value| format!("{} {}", excluded["provider"], excluded["reason"]).replace('"', "");
    let excluded: HashSet<_> = alone["excluded"].as_array().unwrap().iter().map(why).collect();
    assert_eq!(excluded, HashSet::from(["upstream dialect".to_owned(), "far provider_group".to_owned()]));

    let mut wire = gateway.connect().await;
    wire.post("/v1/chat/completions", &confined.secret, &json!({"messages": PROMPT})).await;
    let (row, _) = refusal_of(&gateway, &confined, &wire.reply().await.unwrap()).await;
    assert_eq!(fields(&row, &["code", "status", "model"]), [&json!("invalid_request"), &json!(400), &Value::Null]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_providers_fail_the_attempts_are_kept() {
    let nowhere = crate::support::provider::entry("nowhere", &["openai_chat"], "http://127.0.0.1:9");
    let provider = Provider::start().await;
    let mut second = crate::support::provider::entry("second", &["openai_chat"], "http://127.0.0.1:9");
    second["priority"] = json!(1);
    let gateway = Gateway::start([nowhere, second, provider.entry("gemini", &["gemini"])]).await;
    let reply = gateway.ask(Api::Chat, false).await;
    Api::Chat.refuses(&reply, 503, "no_provider_available");
    let (row, alone) = refusal_of(&gateway, gateway.caller(), &reply).await;
    assert_eq!(fields(&row, &["code", "model"]), [&json!("no_provider_available"), &json!(MODEL)]);
    let attempts = alone["attempts"].as_array().unwrap();
    let mut asked: Vec<_> = attempts.iter().map(|attempt| attempt["provider"].as_str().unwrap()).collect();
    // How often each was asked is the retry budget's affair.
    asked.dedup();
    assert_eq!(asked, ["nowhere", "second"], "{attempts:?}");
    assert!(attempts.iter().all(|attempt| attempt["reason"] == "connect_failed"), "{attempts:?}");
    assert_eq!(alone["excluded"], json!([{"provider": "gemini", "servedModel": MODEL, "reason": "dialect"}]));
    assert_eq!(alone["excludedMore"], 0);
    assert_eq!(gateway.admin().usage().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_price_nobody_knows_is_told_of_requests_that_others_serve_and_of_those_that_nobody_does() {
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let plain = provider.entry("plain", &["openai_chat"]);
    let mut redirecting = provider.entry("redirecting", &["openai_chat"]);
    redirecting["priority"] = json!(1);
    redirecting["models"] = json!([MODEL]);
    redirecting["redirects"] = json!({"alias": MODEL});
    let gateway = Gateway::start([plain, redirecting]).await;
    let served = gateway.ask_with(gateway.key(), Api::Chat, "alias", false).await;
    assert_eq!(served.head.status, 200, "{}", served.json());
    let reasons = gateway.admin().reasons_of(served.head.request_id()).await;
    assert_eq!(reasons, ["model_not_priced", "ok"]);
    let refused = gateway.ask_with(gateway.key(), Api::Chat, "nobody-knows", false).await;
    Api::Chat.refuses(&refused, 400, "model_not_priced");
    let (_, alone) = refusal_of(&gateway, gateway.caller(), &refused).await;
    let excluded = [("plain", "model_not_priced"), ("redirecting", "model")]
        .map(|(provider, reason)| json!({"provider": provider, "servedModel": "nobody-knows", "reason": reason}));
    assert_eq!((&alone["excluded"], &alone["attempts"]), (&json!(excluded), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_leaves_nothing() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &DIALECTS)]).await;
    let disabled = gateway.admin().caller(json!({}), json!({"enabled": false})).await;
    let unknown = format!("tg-{}", "x".repeat(43));
    for (key, code) in [(&unknown, "invalid_api_key"), (&disabled.secret, "key_disabled")] {
        Api::Chat.refuses(&gateway.ask_with(key, Api::Chat, MODEL, false).await, 401, code);
    }
    // Later ones are kept, so the earlier ones are not on their way.
    let caller = gateway.admin().caller(json!({"allowedModels": ["other"]}), json!({})).await;
    let reply = gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await;
    refusal_of(&gateway, &caller, &reply).await;
    assert_eq!(gateway.admin().get("/refusals").await["items"].as_array().unwrap().len(), 1);
}

/// Asks so often, 64 at once, and is refused each time.
async fn storm(gateway: &Gateway, caller: &Caller, times: usize) {
    use futures::StreamExt;
    let http = client();
    let url = format!("{}{}", gateway.url(), Api::Chat.path(MODEL, false));
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]});
    let asking = (0..times).map(|_| {
        let request = http.post(&url).bearer_auth(&caller.secret).json(&body);
        async move { request.send().await.unwrap().status().as_u16() }
    });
    let statuses: HashSet<u16> = futures::stream::iter(asking).buffer_unordered(64).collect().await;
    assert_eq!(statuses, HashSet::from([403]));
}

fn counted(rows: &[Value]) -> u64 {
    rows.iter().map(|row| 1 + row["repeated"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_leaves_a_few_rows_that_count_every_refusal_and_no_secret() {
    const TIMES: u64 = 5_000;
    let provider = Provider::start().await;
    let mut gateway = Gateway::start([provider.entry("upstream", &DIALECTS)]).await;
    let caller = gateway.admin().caller(json!({"allowedModels": ["other"]}), json!({})).await;
    storm(&gateway, &caller, usize::try_from(TIMES).unwrap()).await;
    let rows = eventually("every refusal is counted", async || {
        let rows = refusals_of(&gateway, &caller).await;
        assert!(counted(&rows) <= TIMES, "{rows:?}");
        (counted(&rows) == TIMES).then_some(rows)
    })
    .await;
    let minutes: HashSet<_> = rows.iter().map(|row| row["createdAt"].as_str().unwrap()[..16].to_owned()).collect();
    assert!(rows.len() <= 5 * (minutes.len() + 1), "{} rows in {minutes:?}", rows.len());
    assert_eq!(gateway.metric("refusals_dropped_total").await as u64, 0);
    assert_eq!(gateway.metric("refusals_total{axis=\"\",code=\"model_not_allowed\"").await as u64, TIMES);

    // What was not told yet is written at the end.
    storm(&gateway, &caller, 300).await;
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let db = Box::pin(Database::connect(gateway.database_url())).await.unwrap();
    let rows = refusals::Entity::find().all(&db).await.unwrap();
    assert_eq!(rows.iter().map(|row| 1 + row.repeated).sum::<i64>(), 5_300);
    let everything = format!("{rows:?}");
    for secret in [PROMPT, &caller.secret, "nobody's affair"] {
        assert!(!everything.contains(secret), "{everything}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_refusals_wait_within_bounds_and_money_is_right() {
    let mut postgres = Postgres::start();
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)]).set("database.url", postgres.url("postgres"));
    let mut gateway = setup.start().await;
    let callers = {
        let mut callers = Vec::new();
        for _ in 0..4 {
            callers.push(gateway.admin().caller(json!({"allowedModels": ["other"]}), json!({})).await);
        }
        callers
    };
    for caller in &callers {
        storm(&gateway, caller, 1).await;
    }
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    eventually("what came before is kept", async || {
        let (_, page) = gateway.admin().call(Method::GET, "/refusals", None).await;
        (page["items"].as_array()?.len() == 4).then_some(())
    })
    .await;
    postgres.stop();
    for caller in &callers {
        storm(&gateway, caller, 500).await;
    }
    for _ in 0..5 {
        assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200, "nobody waits for refusals");
    }
    assert!(gateway.is_running());
    postgres.restart();
    gateway.metric_is("ledger_pending_records", 0.0).await;
    eventually("every refusal is counted", async || {
        let (_, page) = gateway.admin().call(Method::GET, "/refusals?limit=100", None).await;
        let rows = page["items"].as_array()?;
        (counted(rows) == 4 * 501).then_some(())
    })
    .await;
    assert_eq!(gateway.metric("refusals_dropped_total").await as u64, 0);
    assert_eq!(gateway.admin().usage().await.len(), 6);
    let summary = gateway.admin().get("/usage/summary").await;
    assert_eq!(summary["requests"], 6, "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_days_nothing_is_kept() {
    let provider = Provider::start().await;
    let gateway =
        Setup::new([provider.entry("upstream", &DIALECTS)]).set("ledger", json!({"refusal_days": 0})).start().await;
    let caller = gateway.admin().caller(json!({"allowedModels": ["other"]}), json!({})).await;
    storm(&gateway, &caller, 1).await;
    let mut gateway = gateway;
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let db = Box::pin(Database::connect(gateway.database_url())).await.unwrap();
    assert_eq!(refusals::Entity::find().all(&db).await.unwrap(), []);
}
