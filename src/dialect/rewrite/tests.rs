#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{ClientHints, inspect, route};
use super::*;

fn rewritten(path: &str, body: &str, served: &str) -> String {
    let route = route("POST", path, None, ClientHints::default()).unwrap();
    let body = Bytes::copy_from_slice(body.as_bytes());
    let inspected = inspect(&route, &body).unwrap();
    String::from_utf8(rewrite(&inspected, body, served).to_vec()).unwrap()
}

fn chat(body: &str, served: &str) -> String {
    rewritten("/v1/chat/completions", body, served)
}

#[test]
fn only_the_model_changes() {
    let body = "\n{ \"temperature\" : 1.0e0,\t\"model\" : \"fast\" , \"messages\":[{\"content\":\"\\u00e4 model fast\"}] }\r\n";
    let expected = body.replace("\"fast\"", "\"gpt-4o\\\"x\"");
    assert_eq!(chat(body, "gpt-4o\"x"), expected, "the new name is escaped, the rest is as it was");
}

#[test]
fn a_body_that_needs_no_change_is_not_copied() {
    let route = route("POST", "/v1/messages", None, ClientHints::default()).unwrap();
    let body = Bytes::from_static(br#"{"model":"claude\u002dx","stream":true}"#);
    let inspected = inspect(&route, &body).unwrap();
    let same = rewrite(&inspected, body.clone(), "claude-x");
    assert_eq!(same.as_ptr(), body.as_ptr());
}

#[test]
fn a_chat_stream_is_asked_for_its_usage() {
    for (body, expected) in [
        (r#"{"model":"m","stream":true}"#, r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#),
        (
            r#"{"model":"m","stream":true,"stream_options":null}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream_options":{ },"model":"m","stream":true}"#,
            r#"{"stream_options":{"include_usage":true },"model":"m","stream":true}"#,
        ),
        (
            r#"{"model":"m","stream_options":{"include_obfuscation":false},"stream":true}"#,
            r#"{"model":"m","stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}"#,
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":false},"stream":true}"#,
            r#"{"model":"m","stream_options":{"include_usage":true},"stream":true}"#,
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage": null},"stream":true}"#,
            r#"{"model":"m","stream_options":{"include_usage": true},"stream":true}"#,
        ),
    ] {
        assert_eq!(chat(body, "m"), expected);
        assert_eq!(chat(body, "n"), expected.replace("\"m\"", "\"n\""), "together with another model");
    }
}

#[test]
fn nothing_is_added_where_usage_comes_anyway() {
    for body in [
        r#"{"model":"m"}"#,
        r#"{"model":"m","stream":false,"stream_options":null}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
    ] {
        assert_eq!(chat(body, "m"), body);
    }
    let stream = r#"{"model":"m","stream":true}"#;
    for path in ["/v1/messages", "/v1/responses"] {
        assert_eq!(rewritten(path, stream, "m"), stream);
    }
}

#[test]
fn a_gemini_body_is_rewritten_wherever_it_names_the_model() {
    let body = r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"m"}]}},{"model": "m"}]}"#;
    assert_eq!(
        rewritten("/v1beta/models/m:batchEmbedContents", body, "n"),
        r#"{"requests":[{"model":"models/n","content":{"parts":[{"text":"m"}]}},{"model": "n"}]}"#
    );
    let plain = r#"{"contents":[]}"#;
    assert_eq!(rewritten("/v1beta/models/m:generateContent", plain, "n"), plain);
}

proptest! {
    #[test]
    fn the_result_is_the_same_document_but_for_the_two_members(
        model in "[ -~ä]{1,20}",
        served in "[ -~ä\"\\\\]{1,20}",
        text in ".{0,40}",
        options in prop_oneof![
            Just(None),
            Just(Some(json!(null))),
            Just(Some(json!({}))),
            Just(Some(json!({"include_usage": false, "x": [1]}))),
            Just(Some(json!({"x": {"include_usage": true}}))),
        ],
    ) {
        let mut body = json!({"model": model, "stream": true, "messages": [text]});
        if let Some(options) = options {
            body["stream_options"] = options;
        }
        let result: Value = serde_json::from_str(&chat(&body.to_string(), &served)).unwrap();
        body["model"] = json!(served);
        if !body["stream_options"].is_object() {
            body["stream_options"] = json!({});
        }
        body["stream_options"]["include_usage"] = json!(true);
        prop_assert_eq!(result, body);
    }
}
