//! Who may spend how much on what, as people and administrators see it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::servers::postgres::Postgres;
use crate::support::gateway::{MODEL, Setup};
use crate::support::{Answer, Api, Gate, Gateway, Provider, eventually};
use crate::support::{client, spending};

/// One provider of the models `red`, `green` and `blue`, which cost what is asked for.
async fn gateway(reservation: &str) -> (Provider, Gateway) {
    let provider = Provider::start().await;
    provider.decide(spending::answer);
    let setup = Setup::new([provider.entry("upstream", &["openai_chat"])]);
    let gateway = setup.start_spending(reservation, &["red", "green", "blue"]).await;
    (provider, gateway)
}

fn daily(usd: f64) -> Value {
    json!({"daily": {"usd": usd}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_people_and_programs_everything() {
    let (provider, gateway) = gateway("worst_case").await;
    let admin = gateway.admin();
    let group = admin.model_group("Colours", &["red"]).await;
    let caller = admin.caller(json!({"name": "Ada"}), json!({})).await;
    let users = admin.user_group("Painters", &[caller.user_id]).await;
    admin.limit("user_group", users, group, json!({"daily": {"usd": 0.2}, "total": {"usd": 5}})).await;
    let now = jiff::Timestamp::now().as_second();
    let boost = json!({"userId": caller.user_id, "modelGroupId": group, "window": "daily", "usd": 0.05,
        "startsAt": "2026-01-01T00:00:00Z", "expiresAt": "2999-01-01T00:00:00Z", "reason": "a fair"});
    admin.post("/quota-boosts", &boost).await;
    gateway.spends(&caller, "red", 200).await;
    let reply = gateway.spends_too_much(&caller, "red", 100).await;
    let error = &reply.json()["error"];
    let message = error["message"].as_str().unwrap();
    for word in ["daily budget", "Colours", "0.2 USD of 0.25 USD", "resets at"] {
        assert!(message.contains(word), "{word:?} in {message:?}");
    }
    let details = &error["details"];
    assert_eq!(
        (&details["axis"], &details["scope"], &details["window"]),
        (&json!("user"), &json!("Colours"), &json!("daily"))
    );
    assert_eq!((&details["limitUsd"], &details["usedUsd"]), (&json!(0.25), &json!(0.2)), "{details}");
    assert_eq!((&details["boostUsd"], &details["reservedUsd"]), (&json!(0.05), &json!(0.0)), "{details}");
    assert!(details["requestedUsd"].as_f64().unwrap() >= 0.1, "{details}");
    assert_eq!(details["source"], json!({"type": "user_group", "id": users, "name": "Painters"}));
    let resets: jiff::Timestamp = details["resetsAt"].as_str().unwrap().parse().unwrap();
    let midnight = (now / 86_400 + 1) * 86_400;
    assert!([midnight, midnight + 86_400].contains(&resets.as_second()), "{details}");
    let header = |name| reply.head.get(name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!((header("x-ratelimit-limit"), header("x-ratelimit-remaining")), ("0.25", "0.05"));
    assert_eq!(header("x-ratelimit-reset"), resets.as_second().to_string());
    let wait: i64 = header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    assert_eq!(header("x-should-retry"), "false");
    assert_eq!(provider.requests().len(), 1, "a refused request reaches no provider");
    gateway.metric_is("refusals_total{axis=\"user\",code=\"budget_exceeded\",window=\"daily\"}", 1.0).await;
    // A total does not start anew: nobody is told to come back.
    admin.limit("user_group", users, group, json!({"total": {"usd": 0.2}})).await;
    let reply = gateway.spends_too_much(&caller, "red", 100).await;
    assert_eq!((reply.head.get("retry-after"), reply.head.get("x-ratelimit-reset")), (None, None));
    assert_eq!(reply.json()["error"]["details"]["resetsAt"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn h27_each_dialect_refuses_in_its_own_words() {
    let provider = Provider::start().await;
    let dialects = Api::ALL.map(Api::dialect);
    let gateway = Gateway::start([provider.entry("upstream", &dialects)]).await;
    let caller = gateway.admin().caller(json!({"limits": {"total": {"usd": 0.000_000_001}}}), json!({})).await;
    provider.always(Api::Chat.answer());
    assert_eq!(gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await.head.status, 200, "all that is left");
    for api in Api::ALL {
        let reply = gateway.ask_with(&caller.secret, api, MODEL, false).await;
        api.refuses(&reply, 402, "budget_exceeded");
    }
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_a_failover_never_slips_past_a_cap() {
    let [first, second, third] = [Provider::start().await, Provider::start().await, Provider::start().await];
    first.always(Answer::json(500, &json!({"error": {"message": "out of order"}})));
    second.decide(spending::answer);
    third.decide(spending::answer);
    let entry = |provider: &Provider, name: &str, served: &str, priority: i64| {
        let mut entry = provider.entry(name, &["openai_chat"]);
        entry["redirects"] = json!({"colour": served});
        entry["priority"] = json!(priority);
        entry
    };
    let entries = [entry(&first, "a", "red", 0), entry(&second, "b", "green", 1), entry(&third, "c", "blue", 2)];
    let mut gateway = Setup::new(entries.clone()).start_spending("worst_case", &["red", "green", "blue"]).await;
    let admin = gateway.admin().clone();
    let greens = admin.model_group("greens", &["green"]).await;
    let caller = admin.caller(json!({}), json!({})).await;
    admin.limit("user", caller.user_id, greens, json!({"total": {"usd": 0.1}})).await;
    second.then(Answer::json(500, &json!({})));
    gateway.spends(&caller, "green", 90).await;
    let seen = second.requests().len();
    // The first fails, the second's model is spent, the third serves.
    let reply = gateway.spend(&caller, "colour", 50).await;
    assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(second.requests().len(), seen, "whose model's budget is spent is not asked");
    let row = admin.row_of(reply.head.request_id()).await;
    assert_eq!((&row["provider"], &row["modelGroupId"]), (&json!("c"), &Value::Null));
    assert_eq!(row["countedInUserGlobal"], true);
    // Without the third, the budget's refusal is the answer, not the first provider's error.
    gateway.rewrite("providers", json!(entries[..2]));
    gateway.signal("HUP");
    eventually("the third is gone", async || {
        let providers = admin.get("/providers").await;
        (providers["items"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    let asked = first.requests().len();
    let refusal = gateway.spends_too_much(&caller, "colour", 50).await;
    assert_eq!(refusal.json()["error"]["details"]["scope"], "greens");
    assert_eq!((first.requests().len(), second.requests().len()), (asked + 1, seen));
    // Nor an error that came with a good status.
    first.then(Answer::json(200, &json!({"error": {"message": "out of order", "type": "server_error"}})));
    let refusal = gateway.spends_too_much(&caller, "colour", 50).await;
    assert_eq!(refusal.json()["error"]["details"]["scope"], "greens");
    assert_eq!((first.requests().len(), second.requests().len()), (asked + 2, seen));
    let window = admin.window("user", caller.user_id, &json!(greens), "total").await;
    assert_eq!(window["reservedUsd"], json!(0), "{window}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_out_of_budget_is_skipped() {
    let [cheap, other] = [Provider::start().await, Provider::start().await];
    cheap.decide(spending::answer);
    other.decide(spending::answer);
    let mut preferred = cheap.entry("preferred", &["openai_chat"]);
    preferred["limits"] = json!({"total": {"usd": 0.2}});
    let mut second = other.entry("second", &["openai_chat"]);
    second["priority"] = json!(1);
    let mut gateway = Setup::new([preferred.clone(), second]).start_spending("worst_case", &["red"]).await;
    let caller = gateway.caller().clone();
    for _ in 0..6 {
        gateway.spends(&caller, "red", 50).await;
    }
    let served = (cheap.requests().len(), other.requests().len());
    assert!(served.0 == 3 && served.1 == 3, "0.15 of 0.20 and what the worst case leaves: {served:?}");
    // Alone, it leaves nobody: that is no fault of the client's budgets.
    gateway.rewrite("providers", json!([preferred]));
    gateway.signal("HUP");
    let admin = gateway.admin().clone();
    eventually("the second is gone", async || {
        (admin.get("/providers").await["items"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    Api::Chat.refuses(&gateway.spend(&caller, "red", 50).await, 503, "no_provider_available");
    // A larger limit is in force with the configuration.
    gateway.rewrite("providers.0.limits", json!({"total": {"usd": 0.3}}));
    gateway.signal("HUP");
    eventually("it serves again", async || (gateway.spend(&caller, "red", 50).await.head.status == 200).then_some(()))
        .await;
    let window = admin.get("/budgets/provider/preferred").await["items"][0]["windows"][0].clone();
    assert_eq!((&window["usedUsd"], &window["limitUsd"]), (&json!(0.2), &json!(0.3)), "{window}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_f19_f23_every_write_is_in_force_when_it_is_answered() {
    let (_provider, gateway) = gateway("worst_case").await;
    let admin = gateway.admin();
    let group = admin.model_group("colours", &["red"]).await;
    let caller = admin.caller(json!({}), json!({})).await;
    let users = admin.user_group("painters", &[caller.user_id]).await;
    admin.limit("user_group", users, group, daily(0.1)).await;
    gateway.spends(&caller, "red", 90).await;
    gateway.spends_too_much(&caller, "red", 50).await;
    // A boost, and its end.
    let boost = json!({"userId": caller.user_id, "modelGroupId": group, "window": "daily", "usd": 0.1,
        "startsAt": "2026-01-01T00:00:00Z", "expiresAt": "2999-01-01T00:00:00Z", "reason": "x"});
    let boost = admin.post("/quota-boosts", &boost).await["id"].clone();
    gateway.spends(&caller, "red", 90).await;
    admin.delete(&format!("/quota-boosts/{boost}")).await;
    gateway.spends_too_much(&caller, "red", 10).await;
    // A model that joins the group, and leaves it.
    gateway.spends(&caller, "green", 50).await;
    admin.put(&format!("/model-groups/{group}/models/green"), &json!({})).await;
    gateway.spends_too_much(&caller, "green", 50).await;
    admin.delete(&format!("/model-groups/{group}/models/green")).await;
    gateway.spends(&caller, "green", 50).await;
    // A member who leaves, and comes back.
    admin.delete(&format!("/user-groups/{users}/members/{}", caller.user_id)).await;
    gateway.spends(&caller, "red", 50).await;
    admin.put(&format!("/user-groups/{users}/members/{}", caller.user_id), &json!({})).await;
    gateway.spends_too_much(&caller, "red", 50).await;
    // A higher limit, and a lower one.
    admin.limit("user_group", users, group, daily(1.0)).await;
    gateway.spends(&caller, "red", 50).await;
    admin.limit("user_group", users, group, daily(0.2)).await;
    gateway.spends_too_much(&caller, "red", 50).await;
    // The user group goes, and its limits with it.
    admin.delete(&format!("/user-groups/{users}")).await;
    gateway.spends(&caller, "red", 50).await;
    // The user's own limit over everything, set and taken away.
    admin.patch(&format!("/users/{}", caller.user_id), &json!({"limits": daily(0.01)})).await;
    gateway.spends_too_much(&caller, "blue", 50).await;
    admin.patch(&format!("/users/{}", caller.user_id), &json!({"limits": null})).await;
    gateway.spends(&caller, "blue", 50).await;
    // The key's.
    admin.patch(&format!("/keys/{}", caller.key_id), &json!({"limits": daily(0.01)})).await;
    gateway.spends_too_much(&caller, "blue", 50).await;
    admin.patch(&format!("/keys/{}", caller.key_id), &json!({"limits": {"daily": null}})).await;
    gateway.spends(&caller, "blue", 50).await;
    // A model group that goes takes the limits on it along.
    admin.limit("key", caller.key_id, group, daily(0.01)).await;
    gateway.spends_too_much(&caller, "red", 50).await;
    admin.delete(&format!("/model-groups/{group}")).await;
    gateway.spends(&caller, "red", 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h20_h21_a_group_budget_takes_over_its_own_side_whole() {
    let (_provider, gateway) = gateway("worst_case").await;
    let admin = gateway.admin();
    let group = admin.model_group("colours", &["red"]).await;
    let caller = admin.caller(json!({"limits": daily(0.1)}), json!({})).await;
    admin.limit("user", caller.user_id, group, json!({"5h": {"usd": 1}})).await;
    gateway.spends(&caller, "green", 90).await;
    gateway.spends_too_much(&caller, "green", 50).await;
    // The day is used up, but the group has a budget of its own, which has no day.
    let reply = gateway.spend(&caller, "red", 50).await;
    assert_eq!(reply.head.status, 200);
    let row = admin.row_of(reply.head.request_id()).await;
    assert_eq!((&row["countedInUserGlobal"], &row["countedInKeyGlobal"]), (&json!(false), &json!(true)), "{row}");
    assert_eq!(row["modelGroupId"], group);
    // The key's side is another.
    admin.patch(&format!("/keys/{}", caller.key_id), &json!({"limits": daily(0.1)})).await;
    let refusal = gateway.spends_too_much(&caller, "red", 50).await;
    let details = &refusal.json()["error"]["details"];
    assert_eq!(
        (&details["axis"], &details["scope"], &details["usedUsd"]),
        (&json!("key"), &json!("mainline"), &json!(0.14))
    );
    for (counted, usd) in [("all", 0.14), ("userGlobal", 0.09), ("keyGlobal", 0.14), ("group", 0.05)] {
        assert!((admin.spent(caller.user_id, counted, 2).await - usd).abs() < 1e-9, "{counted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h23_h25_resets_and_moved_models_leave_history_alone() {
    let (_provider, gateway) = gateway("worst_case").await;
    let admin = gateway.admin();
    let warm = admin.model_group("warm", &["red"]).await;
    let cold = admin.model_group("cold", &["blue"]).await;
    let caller = admin.caller(json!({"limits": daily(0.1)}), json!({"limits": daily(10.0)})).await;
    admin.limit("user", caller.user_id, warm, daily(0.1)).await;
    admin.limit("user", caller.user_id, cold, daily(0.1)).await;
    gateway.spends(&caller, "red", 90).await;
    gateway.spends(&caller, "green", 90).await;
    let used = async |axis: &'static str, owner: i64, scope: Value| {
        admin.window(axis, owner, &scope, "daily").await["usedUsd"].as_f64().unwrap()
    };
    // A model that moves leaves what was spent on it where it was charged.
    admin.delete(&format!("/model-groups/{warm}/models/red")).await;
    admin.put(&format!("/model-groups/{cold}/models/red"), &json!({})).await;
    assert_eq!(used("user", caller.user_id, json!(warm)).await, 0.09);
    assert_eq!(used("user", caller.user_id, json!(cold)).await, 0.0);
    gateway.spends(&caller, "red", 90).await;
    assert_eq!(used("user", caller.user_id, json!(cold)).await, 0.09);
    // A reset starts all budgets of the user anew, and none of his keys.
    admin.post(&format!("/users/{}:resetLimits", caller.user_id), &json!({})).await;
    for scope in [json!(warm), json!(cold), json!("mainline")] {
        assert_eq!(used("user", caller.user_id, scope.clone()).await, 0.0, "{scope}");
    }
    assert_eq!(used("key", caller.key_id, json!("mainline")).await, 0.27);
    gateway.spends(&caller, "red", 90).await;
    gateway.spends_too_much(&caller, "red", 50).await;
    assert!((admin.spent(caller.user_id, "all", 4).await - 0.36).abs() < 1e-9, "the ledger forgets nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn h29_switched_off_means_off_and_what_groups_paid_stays_theirs() {
    let (_provider, mut gateway) = gateway("worst_case").await;
    let admin = gateway.admin().clone();
    let group = admin.model_group("colours", &["red"]).await;
    let caller = admin.caller(json!({"limits": {"total": {"usd": 0.3}}}), json!({})).await;
    admin.limit("user", caller.user_id, group, json!({"total": {"usd": 0.1}})).await;
    gateway.spends(&caller, "red", 90).await;
    gateway.spends_too_much(&caller, "red", 50).await;
    gateway.rewrite("budgets.model_group_limits", false);
    gateway.signal("HUP");
    let reply = eventually("groups are switched off", async || {
        Some(gateway.spend(&caller, "red", 90).await).filter(|reply| reply.head.status == 200)
    })
    .await;
    let row = admin.row_of(reply.head.request_id()).await;
    assert_eq!((&row["modelGroupId"], &row["countedInUserGlobal"]), (&Value::Null, &json!(true)), "{row}");
    let window = admin.window("user", caller.user_id, &json!("mainline"), "total").await;
    assert_eq!(window["usedUsd"], 0.09, "what the group paid stays out: {window}");
    gateway.rewrite("budgets.model_group_limits", true);
    gateway.signal("HUP");
    eventually("groups are switched on", async || {
        (gateway.spend(&caller, "red", 50).await.head.status == 402).then_some(())
    })
    .await;
    let window = admin.window("user", caller.user_id, &json!(group), "total").await;
    assert_eq!(window["usedUsd"], 0.09, "{window}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_whatever_becomes_of_a_request_nothing_stays_reserved() {
    let (provider, gateway) = gateway("worst_case").await;
    let admin = gateway.admin();
    let caller = admin.caller(json!({"limits": {"total": {"usd": 0.1}}}), json!({})).await;
    for _ in 0..50 {
        provider.then(Answer::json(500, &json!({"error": {"message": "no"}})));
        assert_eq!(gateway.spend(&caller, "red", 50).await.head.status, 500);
    }
    // Clients that leave before there is an answer, one after the other: each has all to itself.
    let gate = Gate::new();
    for round in 0..3 {
        provider.then(Answer::json(200, &json!({})).behind(&gate));
        let seen = provider.requests().len();
        let mut wire = gateway.connect().await;
        wire.post(&Api::Chat.path("red", false), &caller.secret, &spending::request("red", Some(1_000))).await;
        provider.request(seen).await;
        gateway.spends_too_much(&caller, "red", 60).await;
        drop(wire);
        gate.open(1);
        eventually(&format!("round {round}: nothing is reserved"), async || {
            let window = admin.window("user", caller.user_id, &json!("mainline"), "total").await;
            (window["reservedUsd"] == 0).then_some(())
        })
        .await;
    }
    gateway.spends(&caller, "red", 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_costs_more_than_expected_is_counted_while_it_runs() {
    let (provider, gateway) = gateway("expected").await;
    let admin = gateway.admin();
    let caller = admin.caller(json!({"limits": {"total": {"usd": 1}}}), json!({})).await;
    let mut long = spending::price();
    long["maxOutputTokens"] = json!(50_000);
    admin.put("/prices/red", &long).await;
    let gate = Gate::new();
    let words = "word ".repeat(4_000);
    let event = |text: &str| {
        format!(
            "data: {}\n\n",
            json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "red",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
        )
    };
    // 20 000 bytes are taken for 5 000 tokens: 0.25 each time.
    let pieces = [&words; 5].map(|words| event(words));
    provider.then(Answer::sse(pieces).gated(&gate));
    let mut body = spending::request("red", None);
    body["stream"] = json!(true);
    let mut wire = gateway.connect().await;
    wire.post(&Api::Chat.path("red", true), &caller.secret, &body).await;
    assert_eq!(wire.head().await.unwrap().status, 200);
    let reserved = async |at_least: f64| {
        eventually(&format!("{at_least} USD are reserved"), async || {
            let window = admin.window("user", caller.user_id, &json!("mainline"), "total").await;
            window["reservedUsd"].as_f64().filter(|usd| *usd >= at_least)
        })
        .await
    };
    reserved(0.25).await;
    gate.open(2);
    reserved(0.75).await;
    gate.open(1);
    reserved(0.99).await;
    gateway.spends_too_much(&caller, "red", 50).await;
    drop(wire);
    gate.open_wide();
    // Whether the client's leaving or the end of the answer is noticed first makes no difference here.
    let row = admin.newest_of(1).await;
    assert_eq!(row["estimated"], true, "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h11_what_nothing_bounds_is_refused_by_worst_case_and_counting_is_free() {
    let provider = Provider::start().await;
    provider.always(Answer::json(200, &json!({"input_tokens": 12})));
    let gateway = Setup::new([provider.entry("upstream", &["openai_responses", "anthropic"])])
        .set("budgets", json!({"reservation": "worst_case"}))
        .start()
        .await;
    let caller = gateway.admin().caller(json!({"limits": {"total": {"usd": 0.000_001}}}), json!({})).await;
    let mut wire = gateway.connect().await;
    let mut body = Api::Responses.request(MODEL, false);
    body["previous_response_id"] = json!("resp_1");
    wire.post(&Api::Responses.path(MODEL, false), &caller.secret, &body).await;
    Api::Responses.refuses(&wire.reply().await.unwrap(), 400, "estimate_unbounded");
    assert_eq!(provider.requests().len(), 0);
    // A budget of next to nothing does not keep anyone from counting tokens.
    wire.post("/v1/messages/count_tokens", &caller.secret, &Api::Anthropic.request(MODEL, false)).await;
    assert_eq!(wire.reply().await.unwrap().head.status, 200);
    wire.post(&Api::Anthropic.path(MODEL, false), &caller.secret, &Api::Anthropic.request(MODEL, false)).await;
    Api::Anthropic.refuses(&wire.reply().await.unwrap(), 402, "budget_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn h04_the_books_balance_after_any_traffic_and_a_restart() {
    let [first, second] = [Provider::start().await, Provider::start().await];
    let moody = |request: &crate::support::provider::Received| match rand::random_range(0..4) {
        0 => Answer::json(500, &json!({"error": {"message": "no"}})),
        _ => spending::answer(request),
    };
    first.decide(moody);
    second.decide(spending::answer);
    let mut other = second.entry("second", &["openai_chat"]);
    (other["priority"], other["redirects"]) = (json!(1), json!({"red": "blue"}));
    let setup = Setup::new([first.entry("first", &["openai_chat"]), other]);
    let mut gateway = setup.start_spending("expected", &["red", "green", "blue"]).await;
    let admin = gateway.admin().clone();
    let warm = admin.model_group("warm", &["red"]).await;
    let cold = admin.model_group("cold", &["blue"]).await;
    let limits = json!({"5h": {"usd": 2, "reset": "fixed"}, "daily": {"usd": 2}, "total": {"usd": 3}});
    let mut callers = Vec::new();
    for _ in 0..3 {
        let caller = admin.caller(json!({"limits": limits}), json!({"limits": limits})).await;
        admin.limit("user", caller.user_id, warm, limits.clone()).await;
        admin.limit("key", caller.key_id, cold, limits.clone()).await;
        callers.push(caller);
    }
    let http = client();
    let asking = (0..300).map(|n| {
        let caller = &callers[n % 3];
        let model = ["red", "green", "blue"][n / 3 % 3];
        let url = format!("{}{}", gateway.url(), Api::Chat.path(model, false));
        let request = http.post(url).bearer_auth(&caller.secret).json(&spending::request(model, Some(600)));
        async move {
            // Some leave early.
            let patience = std::time::Duration::from_millis(if n % 7 == 0 { 3 } else { 60_000 });
            let _ =
                tokio::time::timeout(patience, async { request.send().await.unwrap().bytes().await.unwrap() }).await;
        }
    });
    futures::StreamExt::for_each(futures::StreamExt::buffer_unordered(futures::stream::iter(asking), 30), |()| {
        std::future::ready(())
    })
    .await;
    let balance = async || {
        let mut books = BTreeMap::new();
        for caller in &callers {
            for (axis, owner, filter, group, global) in [
                ("user", caller.user_id, format!("userId={}", caller.user_id), warm, "userGlobal"),
                ("key", caller.key_id, format!("keyId={}", caller.key_id), cold, "keyGlobal"),
            ] {
                let sum = async |extra: String| {
                    admin.get(&format!("/usage/summary?{filter}&groupBy=provider{extra}")).await["totalUsd"]
                        .as_f64()
                        .unwrap()
                };
                let all = sum(String::new()).await;
                let mainline = sum(format!("&counted={global}")).await;
                for (scope, said) in [(json!("mainline"), mainline), (json!(group), all - mainline)] {
                    for window in ["5h", "daily", "total"] {
                        let state = admin.window(axis, owner, &scope, window).await;
                        if state["reservedUsd"] != 0 || (state["usedUsd"].as_f64().unwrap() - said).abs() > 1e-9 {
                            return Err(format!("{axis} {owner} {scope}: the ledger says {said}, the budget {state}"));
                        }
                        books.insert((axis, owner, scope.to_string(), window), state["usedUsd"].to_string());
                    }
                }
            }
        }
        Ok(books)
    };
    let books = eventually("the books balance", async || balance().await.ok()).await;
    assert!(books.values().any(|usd| usd != "0"), "{books:?}");
    gateway.signal("TERM");
    gateway.restart().await;
    assert_eq!(balance().await, Ok(books), "the same after a restart");
    // And what is used up stays used up, for the very first request.
    let caller = &callers[0];
    while gateway.spend(caller, "green", 300).await.head.status == 200 {}
    gateway.signal("TERM");
    gateway.restart().await;
    gateway.spends_too_much(caller, "green", 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_f18_f25_without_the_database_the_switch_decides_about_what_nothing_is_known_of() {
    let mut postgres = Postgres::start();
    let provider = Provider::start().await;
    provider.decide(spending::answer);
    let setup =
        Setup::new([provider.entry("upstream", &["openai_chat"])]).set("database.url", postgres.url("postgres"));
    let mut gateway = setup.start_spending("worst_case", &["red", "green"]).await;
    let admin = gateway.admin().clone();
    let group = admin.model_group("colours", &["red"]).await;
    let [known, unknown] = [
        admin.caller(json!({"limits": daily(0.1)}), json!({})).await,
        admin.caller(json!({"limits": daily(0.1)}), json!({})).await,
    ];
    for caller in [&known, &unknown] {
        admin.limit("user", caller.user_id, group, daily(0.1)).await;
        let models = client().get(format!("{}/v1/models", gateway.url())).bearer_auth(&caller.secret);
        assert_eq!(models.send().await.unwrap().status(), 200, "the key is known");
    }
    gateway.spends(&known, "green", 90).await;
    postgres.stop();
    // What is known is enforced: by the mainline budget too, for a group of which nothing is known.
    gateway.spends_too_much(&known, "green", 50).await;
    let refusal = gateway.spends_too_much(&known, "red", 50).await;
    assert_eq!(refusal.json()["error"]["details"]["scope"], "mainline");
    assert!(gateway.metric("unenforced_violations_total").await.abs() < f64::EPSILON);
    // Of the other nothing is known.
    gateway.spends(&unknown, "red", 50).await;
    gateway.metric_is("unenforced_violations_total", 1.0).await;
    assert_eq!(gateway.log().matches("admitted without knowing").count(), 1, "{}", gateway.log());
    gateway.rewrite("budgets.on_authority_failure", "closed");
    gateway.signal("HUP");
    eventually("the switch says closed", async || {
        let reply = gateway.spend(&unknown, "red", 50).await;
        (reply.head.status == 503).then(|| Api::Chat.refuses(&reply, 503, "budget_unavailable"))
    })
    .await;
    gateway.spends_too_much(&known, "green", 50).await;
    postgres.restart();
    eventually("the database is back", async || {
        (gateway.spend(&unknown, "green", 10).await.head.status == 200).then_some(())
    })
    .await;
    let row = admin.rows_of_user(unknown.user_id).await.into_iter().find(|row| row["servedModel"] == "red").unwrap();
    assert_eq!((&row["countedInUserGlobal"], &row["modelGroupId"]), (&json!(true), &json!(group)), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_database_does_not_disturb_the_first() {
    let (provider, gateway) = gateway("worst_case").await;
    let caller = gateway.admin().caller(json!({"limits": {"total": {"usd": 0.3}}}), json!({})).await;
    gateway.spends(&caller, "red", 50).await;
    let database = gateway.config()["database"]["url"].clone();
    let mut second = Setup::new([provider.entry("upstream", &["openai_chat"])]).set("database.url", database).spawn();
    second.ready().await;
    for _ in 0..4 {
        gateway.spends(&caller, "red", 50).await;
    }
    gateway.spends_too_much(&caller, "red", 90).await;
    // The second reads what is spent when it first meets the budget.
    gateway.admin().spent(caller.user_id, "all", 5).await;
    second.spends_too_much(&caller, "red", 90).await;
    for node in [&gateway, &second] {
        assert!(node.metric("unenforced_violations_total").await.abs() < f64::EPSILON);
        assert!(node.metric("lease_exchanges_total{result=\"lost\"}").await.abs() < f64::EPSILON);
    }
}
