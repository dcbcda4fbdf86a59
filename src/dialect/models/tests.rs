#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::*;

fn entries() -> Vec<ModelEntry> {
    let entry = |id: &str, max_input, max_output| ModelEntry {
        id: id.to_owned(),
        created: 1_735_689_600,
        owned_by: "anthropic".to_owned(),
        max_input,
        max_output,
    };
    vec![entry("claude-sonnet-4-5", Some(200_000), Some(64_000)), entry("gpt-\"5\"", None, None)]
}

fn parsed(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[test]
fn an_anthropic_list_is_one_page() {
    let body = parsed(&model_list(Shape::Anthropic, &entries()));
    assert_eq!(body["has_more"], false);
    assert_eq!((&body["first_id"], &body["last_id"]), (&json!("claude-sonnet-4-5"), &json!("gpt-\"5\"")));
    assert_eq!(
        body["data"][0],
        json!({
            "type": "model", "id": "claude-sonnet-4-5", "display_name": "claude-sonnet-4-5",
            "created_at": "2025-01-01T00:00:00Z", "max_input_tokens": 200_000, "max_tokens": 64_000,
        })
    );
    assert_eq!(
        parsed(&model_list(Shape::Anthropic, &[])),
        json!({"data": [], "has_more": false, "first_id": null, "last_id": null})
    );
}

#[test]
fn an_openai_list_has_objects() {
    let body = parsed(&model_list(Shape::Openai, &entries()));
    assert_eq!(body["object"], "list");
    assert_eq!(
        body["data"][1],
        json!({"id": "gpt-\"5\"", "object": "model", "created": 1_735_689_600, "owned_by": "anthropic"})
    );
}

#[test]
fn a_gemini_list_names_resources_and_leaves_unknown_limits_out() {
    let body = parsed(&model_list(Shape::Gemini, &entries()));
    assert_eq!(body["models"][0]["name"], "models/claude-sonnet-4-5");
    assert_eq!(body["models"][0]["inputTokenLimit"], 200_000);
    assert_eq!(body["models"][0]["outputTokenLimit"], 64_000);
    assert!(body["models"][0]["supportedGenerationMethods"].as_array().unwrap().contains(&json!("generateContent")));
    assert_eq!(body["models"][1].get("inputTokenLimit"), None);
}

#[test]
fn one_model_is_an_item_of_the_list() {
    let entries = entries();
    for (shape, items) in [(Shape::Anthropic, "data"), (Shape::Openai, "data"), (Shape::Gemini, "models")] {
        assert_eq!(parsed(&model(shape, &entries[0])), parsed(&model_list(shape, &entries))[items][0]);
    }
}
