//! Who may call, and how everybody else is turned away.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::gateway::{MODEL, Setup};
use crate::support::wire::{Reply, request};
use crate::support::{Answer, Api, Gateway, Provider, eventually};

const DIALECTS: [&str; 5] = ["anthropic", "openai_chat", "openai_responses", "openai_embeddings", "gemini"];

async fn gateway() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    provider.always(Answer::json(200, &json!({"ok": true})));
    let gateway = Gateway::start([provider.entry("upstream", &DIALECTS)]).await;
    (provider, gateway)
}

/// Posts a chat request with these headers.
async fn post(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> Reply {
    post_to(gateway, Api::Chat, target, headers).await
}

/// Posts a request of this API with these headers.
async fn post_to(gateway: &Gateway, api: Api, target: &str, headers: &[(&str, &str)]) -> Reply {
    let mut wire = gateway.connect().await;
    let body = api.request(MODEL, false).to_string();
    wire.send(request("POST", target, headers, body.as_bytes())).await.unwrap();
    wire.reply().await.unwrap()
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_come_in_each_of_four_ways() {
    let (provider, gateway) = gateway().await;
    let key = gateway.key();
    let bearer = format!("Bearer {key}");
    let lower = format!("bearer {key}");
    for (name, value) in
        [("authorization", &*bearer), ("Authorization", &lower), ("x-api-key", key), ("x-goog-api-key", key)]
    {
        assert_eq!(post(&gateway, CHAT, &[(name, value)]).await.head.status, 200, "{name}");
    }
    let targets = [format!("{CHAT}?key={key}"), format!("{CHAT}?beta=true&key={key}&x=1")];
    for target in targets {
        assert_eq!(post(&gateway, &target, &[]).await.head.status, 200, "{target}");
    }
    let all = [("authorization", &*bearer), ("x-api-key", key), ("x-goog-api-key", key)];
    assert_eq!(post(&gateway, &format!("{CHAT}?key={key}"), &all).await.head.status, 200, "all agree");
    for sent in provider.requests() {
        assert!(!format!("{sent:?}").contains(key), "never forwarded: {sent:?}");
    }
    assert!(!gateway.log().contains(key), "never logged");
}

/// A gateway behind a proxy that names each API's client by an address of its own: none of them fails so often that it
/// is slowed down.
async fn gateway_behind_a_proxy() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let entry = provider.entry("upstream", &DIALECTS);
    let gateway = Setup::new([entry]).set("server.trusted_proxies", json!(["127.0.0.1/32"])).start().await;
    (provider, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_do_not_agree_are_refused() {
    let (provider, gateway) = gateway_behind_a_proxy().await;
    let (_, other) = gateway.admin().key(gateway.caller().user_id, json!({})).await;
    let key = gateway.key();
    let bearer = format!("Bearer {key}");
    for (number, api) in Api::ALL.into_iter().enumerate() {
        let address = format!("203.0.113.{number}");
        let path = api.path(MODEL, false);
        let with_key = format!("{path}?key={other}");
        for (target, mut headers) in [
            (&path, vec![("authorization", &*bearer), ("x-api-key", &*other)]),
            (&path, vec![("x-goog-api-key", key), ("x-api-key", &*other)]),
            (&path, vec![("x-api-key", key), ("x-api-key", &*other)]),
            (&with_key, vec![("x-api-key", key)]),
            (&path, vec![("authorization", &*bearer), ("x-api-key", "tg-unknown")]),
        ] {
            headers.push(("x-forwarded-for", &address));
            api.refuses(&post_to(&gateway, api, target, &headers).await, 401, "invalid_api_key");
        }
    }
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_in_every_dialect() {
    let (provider, gateway) = gateway_behind_a_proxy().await;
    let unknown = format!("tg-{}", "A".repeat(43));
    for (number, api) in Api::ALL.into_iter().enumerate() {
        let address = format!("203.0.113.{number}");
        for mut headers in [
            vec![("x-api-key", &*unknown)],
            vec![("x-api-key", "nonsense")],
            vec![("authorization", "Bearer sk-ant-something")],
            vec![("authorization", "Basic dGc6dGc=")],
            vec![("authorization", "Bearer ")],
            vec![],
        ] {
            headers.push(("x-forwarded-for", &address));
            let reply = post_to(&gateway, api, &api.path(MODEL, false), &headers).await;
            api.refuses(&reply, 401, "invalid_api_key");
        }
    }
    assert_eq!(provider.requests().len(), 0);
    assert_eq!(gateway.admin().usage().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_and_dates_of_keys_and_users_act_at_once() {
    let (provider, gateway) = gateway().await;
    let admin = gateway.admin();
    let (user, key) = (gateway.caller().user_id, gateway.caller().key_id);
    let (user, key) = (format!("/users/{user}"), format!("/keys/{key}"));
    let ask = async || gateway.ask(Api::Anthropic, false).await;
    // In every dialect, and without a provider hearing of it.
    let is_refused = async |code: &str| {
        let heard = provider.requests().len();
        for api in Api::ALL {
            api.refuses(&gateway.ask(api, false).await, 401, code);
        }
        assert_eq!(provider.requests().len(), heard, "{code}");
    };
    for (path, code) in [(&key, "key_disabled"), (&user, "user_disabled")] {
        admin.patch(path, &json!({"enabled": false})).await;
        is_refused(code).await;
        admin.patch(path, &json!({"enabled": true})).await;
        assert_eq!(ask().await.head.status, 200, "{code} is over");
    }
    for (path, code) in [(&key, "key_expired"), (&user, "user_expired")] {
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(700);
        admin.patch(path, &json!({"expiresAt": soon.to_string()})).await;
        eventually("it expires", async || (ask().await.head.status != 200).then_some(())).await;
        assert!(jiff::Timestamp::now() >= soon, "not too early");
        is_refused(code).await;
        admin.patch(path, &json!({"expiresAt": null})).await;
        assert_eq!(ask().await.head.status, 200, "{code} is over");
    }
    admin.delete(&key).await;
    is_refused("invalid_api_key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_takes_his_keys_along() {
    let (_provider, gateway) = gateway().await;
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200);
    gateway.admin().delete(&format!("/users/{}", gateway.caller().user_id)).await;
    Api::Chat.refuses(&gateway.ask(Api::Chat, false).await, 401, "invalid_api_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_replaces_the_old_one_at_once() {
    let (_provider, gateway) = gateway().await;
    let rotated = gateway.admin().post(&format!("/keys/{}:rotate", gateway.caller().key_id), &json!({})).await;
    let secret = rotated["secret"].as_str().unwrap();
    assert_eq!(gateway.ask_with(secret, Api::Chat, MODEL, false).await.head.status, 200);
    Api::Chat.refuses(&gateway.ask(Api::Chat, false).await, 401, "invalid_api_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_unknown_works_as_soon_as_it_exists() {
    let (_provider, gateway) = gateway().await;
    for _ in 0..5 {
        let (_, secret) = gateway.admin().key(gateway.caller().user_id, json!({})).await;
        assert_eq!(secret.len(), 46, "tg- and 43 characters");
        assert_eq!(gateway.ask_with(&secret, Api::Chat, MODEL, false).await.head.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_key_must_both_allow_the_model() {
    let (provider, gateway) = gateway().await;
    let admin = gateway.admin();
    let cases = [
        (json!(["test-*"]), Value::Null, 200),
        (json!(["other"]), Value::Null, 403),
        (Value::Null, json!([MODEL]), 200),
        (Value::Null, json!(["gpt-*", "claude-*"]), 403),
        (json!(["test-*"]), json!(["*-model"]), 200),
        (json!(["test-*"]), json!(["other"]), 403),
        (json!(["TEST-*"]), Value::Null, 403),
    ];
    let mut served = 0;
    for (of_user, of_key, status) in cases {
        let caller = admin.caller(json!({"allowedModels": of_user}), json!({"allowedModels": of_key})).await;
        for api in Api::ALL {
            let reply = gateway.ask_with(&caller.secret, api, MODEL, false).await;
            if status == 200 {
                served += 1;
                assert_eq!(reply.head.status, 200, "{of_user} and {of_key}");
            } else {
                api.refuses(&reply, 403, "model_not_allowed");
            }
        }
    }
    assert_eq!(provider.requests().len(), served);
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_groups_confine_a_key() {
    let (blue, green) = (Provider::start().await, Provider::start().await);
    let mut entries = [blue.entry("blue", &["openai_chat"]), green.entry("green", &["openai_chat"])];
    entries[0]["groups"] = json!(["blue", "all"]);
    entries[1]["groups"] = json!(["green", "all"]);
    blue.always(Answer::json(200, &json!({"from": "blue"})));
    green.always(Answer::json(200, &json!({"from": "green"})));
    let gateway = Gateway::start(entries).await;
    let ask = async |user: Value, key: Value| {
        let caller = gateway.admin().caller(json!({"providerGroups": user}), json!({"providerGroups": key})).await;
        gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await
    };
    for (user, key, from) in [
        (json!(["green"]), Value::Null, "green"),
        (Value::Null, json!(["blue"]), "blue"),
        (json!(["all", "green"]), json!(["green"]), "green"),
    ] {
        assert_eq!(ask(user, key).await.json()["from"], from);
    }
    for (user, key) in [(json!(["green"]), json!(["blue"])), (json!(["red"]), Value::Null)] {
        Api::Chat.refuses(&ask(user, key).await, 403, "model_not_allowed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_keys_is_slowed_down_and_known_keys_always_pass() {
    let (_provider, gateway) = gateway().await;
    let guess = async |number: usize| {
        let key = format!("tg-{number:0>43}");
        gateway.ask_with(&key, Api::Chat, MODEL, false).await
    };
    for number in 0..20 {
        Api::Chat.refuses(&guess(number).await, 401, "invalid_api_key");
    }
    for (api, number) in Api::ALL.into_iter().zip(21..) {
        let refused = gateway.ask_with(&format!("tg-{number:0>43}"), api, MODEL, false).await;
        api.refuses(&refused, 429, "too_many_auth_failures");
        let seconds = refused.head.get("retry-after").unwrap();
        assert!((1..=300).contains(&seconds.parse::<u32>().unwrap()), "{api:?}: {seconds}");
    }
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200, "from the same address");
    let (_, fresh) = gateway.admin().key(gateway.caller().user_id, json!({})).await;
    assert_eq!(gateway.ask_with(&fresh, Api::Chat, MODEL, false).await.head.status, 200, "one made meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_has_its_own_address() {
    let provider = Provider::start().await;
    let entry = provider.entry("upstream", &DIALECTS);
    let gateway = Setup::new([entry]).set("server.trusted_proxies", json!(["127.0.0.1/32"])).start().await;
    for number in 0..25 {
        let key = format!("tg-{number:0>43}");
        let expected = if number < 20 { 401 } else { 429 };
        let reply = post(&gateway, CHAT, &[("x-api-key", &key), ("x-forwarded-for", "1.2.3.4, 203.0.113.7")]).await;
        assert_eq!(reply.head.status, expected, "guess {number}");
    }
    let other = post(&gateway, CHAT, &[("x-api-key", "tg-x"), ("x-forwarded-for", "203.0.113.8")]).await;
    assert_eq!(other.head.status, 401);
    // What stands left of the proxy's own entry is the client's word only.
    let liar = post(&gateway, CHAT, &[("x-api-key", "tg-y"), ("x-forwarded-for", "203.0.113.9, 203.0.113.7")]).await;
    assert_eq!(liar.head.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_address_wants_its_own_token() {
    let (_provider, gateway) = gateway().await;
    for token in ["", "wrong", gateway.key()] {
        let stranger = crate::support::Admin::new(gateway.admin().base(), token);
        let (status, problem) = stranger.call(Method::GET, "/users", None).await;
        assert_eq!((status, &problem["code"]), (401, &json!("unauthorized")), "{token:?}");
    }
    Api::Chat.refuses(
        &gateway.ask_with(crate::support::gateway::ADMIN_TOKEN, Api::Chat, MODEL, false).await,
        401,
        "invalid_api_key",
    );
}
