//! The model lists: what this key can reach, in the shape that the client's headers ask for.

use serde_json::{Value, json};

use crate::support::gateway::{MODEL, Setup};
use crate::support::wire::{Reply, request};
use crate::support::{Gateway, Provider};

async fn get(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> Reply {
    let mut wire = gateway.connect().await;
    wire.send(request("GET", target, headers, b"")).await.unwrap();
    wire.reply().await.unwrap()
}

/// The ids of a list in the shape of OpenAI or Anthropic.
fn ids(list: &Value) -> Vec<String> {
    let items = list["data"].as_array().unwrap_or_else(|| panic!("a list: {list}"));
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

async fn gateway() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let mut claude = provider.entry("anthropic", &["anthropic"]);
    claude["models"] = json!(["acme-claude-*"]);
    let mut openai = provider.entry("openai", &["openai_chat", "openai_responses"]);
    openai["models"] = json!(["acme-gpt-*", MODEL, "alias"]);
    openai["redirects"] = json!({"alias": MODEL});
    openai["groups"] = json!(["open"]);
    let mut gemini = provider.entry("gemini", &["gemini"]);
    gemini["models"] = json!(["acme-gemini-*"]);
    let setup = Setup::new([claude, openai, gemini]);
    let gateway =
        setup.priced("acme-claude-1").priced("acme-gpt-1").priced("acme-gemini-1").priced("acme-lonely").start().await;
    (provider, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_the_shape_that_the_headers_ask_for() {
    let (provider, gateway) = gateway().await;
    let bearer = format!("Bearer {}", gateway.key());

    let openai = get(&gateway, "/v1/models", &[("authorization", &bearer)]).await.json();
    assert_eq!(openai["object"], "list");
    let first = &openai["data"][0];
    assert_eq!(first["object"], "model");
    assert!(first["created"].is_i64() && first["owned_by"].is_string(), "{first}");

    let headers = [("x-api-key", gateway.key()), ("anthropic-version", "2023-06-01")];
    let anthropic = get(&gateway, "/v1/models", &headers).await.json();
    assert_eq!(anthropic["has_more"], false);
    assert_eq!(anthropic["data"][0]["type"], "model");
    assert!(anthropic["data"][0]["display_name"].is_string() && anthropic["data"][0]["created_at"].is_string());
    assert!(anthropic["first_id"].is_string() && anthropic["last_id"].is_string());

    let gemini = get(&gateway, "/v1beta/models", &[("x-goog-api-key", gateway.key())]).await.json();
    let names: Vec<_> =
        gemini["models"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"models/acme-gemini-1"), "{names:?}");
    assert!(gemini["models"][0]["supportedGenerationMethods"].is_array(), "{gemini}");
    assert_eq!(provider.requests().len(), 0, "nobody is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_what_the_key_can_reach_and_nothing_else() {
    let (_provider, gateway) = gateway().await;
    let list = async |key: &str| {
        ids(&get(&gateway, "/v1/models", &[("authorization", &format!("Bearer {key}"))]).await.json())
    };
    let all = list(gateway.key()).await;
    for model in ["acme-gpt-1", MODEL, "alias"] {
        assert!(all.contains(&model.to_owned()), "{model} in {all:?}");
    }
    assert!(!all.contains(&"acme-lonely".to_owned()), "priced, but no provider accepts it: {all:?}");
    let confined = gateway.admin().caller(json!({}), json!({"allowedModels": ["acme-gpt-*", "alias"]})).await;
    let seen = list(&confined.secret).await;
    assert!(seen.contains(&"acme-gpt-1".to_owned()) && seen.contains(&"alias".to_owned()), "{seen:?}");
    assert!(!seen.contains(&MODEL.to_owned()), "{seen:?}");
    let elsewhere = gateway.admin().caller(json!({}), json!({"providerGroups": ["default"]})).await;
    let seen = list(&elsewhere.secret).await;
    assert!(!seen.contains(&"acme-gpt-1".to_owned()), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_model_can_be_asked_for() {
    let (_provider, gateway) = gateway().await;
    let bearer = format!("Bearer {}", gateway.key());
    let bearer = [("authorization", &*bearer)];
    let model = get(&gateway, &format!("/v1/models/{MODEL}"), &bearer).await;
    assert_eq!((model.head.status, &model.json()["id"]), (200, &json!(MODEL)));
    let google = [("x-goog-api-key", gateway.key())];
    let model = get(&gateway, "/v1beta/models/acme-gemini-1", &google).await;
    assert_eq!((model.head.status, &model.json()["name"]), (200, &json!("models/acme-gemini-1")));
    for path in ["/v1/models/unheard-of", "/v1/models/acme-lonely"] {
        crate::support::Api::Chat.refuses(&get(&gateway, path, &bearer).await, 404, "not_found");
    }
    let claude = [("x-api-key", gateway.key()), ("anthropic-version", "2023-06-01")];
    crate::support::Api::Anthropic.refuses(&get(&gateway, "/v1/models/unheard-of", &claude).await, 404, "not_found");
    crate::support::Api::Gemini.refuses(&get(&gateway, "/v1beta/models/unheard-of", &google).await, 404, "not_found");
    crate::support::Api::Chat.refuses(&get(&gateway, "/v1/models", &[]).await, 401, "invalid_api_key");
}
