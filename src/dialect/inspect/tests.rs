#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::super::{ClientHints, route};
use super::*;

fn to(path: &str) -> Route {
    route("POST", path, None, ClientHints::default()).unwrap()
}

fn chat(body: &str) -> Result<Inspected, InspectError> {
    inspect(&to("/v1/chat/completions"), body.as_bytes())
}

fn gemini(verb: &str, body: &str) -> Result<Inspected, InspectError> {
    inspect(&to(&format!("/v1beta/models/gemini-2.5-pro:{verb}")), body.as_bytes())
}

#[test]
fn a_chat_request_tells_all_that_is_needed() {
    let found = chat(
        r#"{"messages":[{"role":"user","content":"{\"model\":\"x\"}"}],"model":"gpt-4o","stream":true,"n":3,
            "max_tokens":10,"max_completion_tokens":20,"service_tier":"flex","stream_options":{"include_usage":true}}"#,
    )
    .unwrap();
    assert_eq!(found.model, "gpt-4o");
    assert!(found.stream && found.include_usage);
    assert_eq!((found.candidates, found.max_output_tokens), (3, Some(20)));
    assert_eq!(found.service_tier, Some(ServiceTier::Flex));
    assert_eq!(found.usage_edit, None);
}

#[test]
fn the_bound_on_output_is_found_in_every_dialect() {
    let bound = |path: &str, body: &str| inspect(&to(path), body.as_bytes()).unwrap().max_output_tokens;
    assert_eq!(bound("/v1/messages", r#"{"model":"m","max_tokens":1024}"#), Some(1024));
    assert_eq!(bound("/v1/responses", r#"{"model":"m","max_output_tokens":7}"#), Some(7));
    assert_eq!(bound("/v1/chat/completions", r#"{"model":"m","max_completion_tokens":5,"max_tokens":9}"#), Some(9));
    assert_eq!(bound("/v1/messages", r#"{"model":"m","max_completion_tokens":5,"n":2}"#), None);
    for body in [
        r#"{"generationConfig":{"maxOutputTokens":88,"candidateCount":2}}"#,
        r#"{"generation_config":{"max_output_tokens":88,"candidate_count":2}}"#,
    ] {
        let found = gemini("generateContent", body).unwrap();
        assert_eq!((found.max_output_tokens, found.candidates), (Some(88), 2));
    }
}

#[test]
fn numbers_that_are_none_are_absent() {
    for value in ["null", "-1", "[1]", "{}", "true"] {
        let found = chat(&format!(r#"{{"model":"m","max_tokens":{value},"n":{value}}}"#));
        match found {
            Ok(found) => assert_eq!((found.max_output_tokens, found.candidates), (None, 1), "{value}"),
            Err(error) => panic!("{value}: {error}"),
        }
    }
    assert_eq!(chat(r#"{"model":"m","max_tokens":1e3}"#).unwrap().max_output_tokens, Some(1000));
    assert_eq!(chat(r#"{"model":"m","n":0}"#).unwrap().candidates, 1);
    // What a lenient provider takes for a number is one where that is more.
    for (value, candidates) in [("\"10\"", 10), ("1e999", u64::MAX)] {
        let found = chat(&format!(r#"{{"model":"m","max_tokens":{value},"n":{value}}}"#)).unwrap();
        assert_eq!((found.max_output_tokens, found.candidates), (None, candidates), "{value}");
    }
    assert_eq!(chat(r#"{"model":"m","max_tokens":99999999999999999999}"#).unwrap().max_output_tokens, Some(u64::MAX));
}

#[test]
fn a_gemini_stream_is_told_by_its_path() {
    assert!(gemini("streamGenerateContent", "{}").unwrap().stream);
    assert!(!gemini("generateContent", r#"{"stream":true}"#).unwrap().stream);
    assert_eq!(gemini("generateContent", "{}").unwrap().model, "gemini-2.5-pro");
}

#[test]
fn a_body_that_is_not_one_json_object_is_refused() {
    let not_json = |body: &str| matches!(chat(body), Err(InspectError::NotJson(_)));
    for body in [
        "{",
        "{\"model\"",
        "{\"model\":\"m\"",
        "{\"model\":\"m\"}}",
        "{\"model\":\"m\"} {}",
        "{\"model\":\"m\"}x",
        "hello",
        "{\"model\":\"m\",}",
        "{model:\"m\"}",
        "{\"model\":'m'}",
        "{\"model\":\"m\",\"a\":\"\\x\"}",
        "{\"model\":\"m\",\"a\":01}",
        "{\"model\":\"m\",\"a\":nul}",
        "{\"model\":\"m\",\"a\":\"\n\"}",
        "{\"model\":\"m\"}\0",
        "<html>",
        "{\"model\":\"m\",\"a\":NaN}",
    ] {
        assert!(not_json(body), "{body:?}: {:?}", chat(body));
    }
    for body in ["[]", "[{\"model\":\"m\"}]", "null", "1", "\"model\"", "true"] {
        assert_eq!(chat(body), Err(InspectError::NotAnObject), "{body}");
    }
    for body in ["", " \r\n\t"] {
        assert_eq!(chat(body), Err(InspectError::Empty));
    }
    assert_eq!(chat("\u{feff}{\"model\":\"m\"}"), Err(InspectError::ByteOrderMark));
    let latin1 = inspect(&to("/v1/messages"), b"{\"model\":\"m\",\"a\":\"\xE4\"}");
    assert_eq!(latin1, Err(InspectError::NotUtf8 { at: 18 }));
    let utf16: Vec<u8> = "{\"model\":\"m\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(inspect(&to("/v1/messages"), &utf16).is_err());
}

#[test]
fn a_body_without_a_usable_model_is_refused() {
    let long = format!("{{\"model\":\"{}\"}}", "m".repeat(257));
    for (body, expected) in [
        ("{}", InspectError::NoModel),
        ("{\"metadata\":{\"model\":\"m\"}}", InspectError::NoModel),
        ("{\"model\":null}", InspectError::ModelNotString),
        ("{\"model\":7}", InspectError::ModelNotString),
        ("{\"model\":[\"m\"]}", InspectError::ModelNotString),
        ("{\"model\":\"\"}", InspectError::InvalidModel),
        ("{\"model\":\"a\\nb\"}", InspectError::InvalidModel),
        (&long, InspectError::InvalidModel),
    ] {
        assert_eq!(chat(body), Err(expected), "{body}");
    }
    assert!(chat(&format!("{{\"model\":\"{}\"}}", "m".repeat(256))).is_ok());
}

#[test]
fn a_member_that_is_there_twice_is_refused_however_it_is_spelled() {
    for (body, name) in [
        (r#"{"model":"cheap","model":"dear"}"#, "model"),
        (r#"{"model":"cheap","mod\u0065l":"dear"}"#, "model"),
        (r#"{"\u006d\u006f\u0064\u0065\u006c":"cheap","model":"dear"}"#, "model"),
        (r#"{"model":"m","stream":false,"str\u0065am":true}"#, "stream"),
        (r#"{"model":"m","stream_options":{},"stream_options":null}"#, "stream_options"),
        (
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}"#,
            "stream_options.include_usage",
        ),
        (r#"{"model":"m","n":1,"n":100}"#, "n"),
        (r#"{"model":"m","max_tokens":1,"max_tokens":100000}"#, "max_tokens"),
    ] {
        assert_eq!(chat(body), Err(InspectError::Duplicate(name)), "{body}");
    }
}

#[test]
fn a_gemini_bound_that_is_there_twice_is_refused() {
    for body in [
        r#"{"generationConfig":{"candidateCount":1,"candidateCount":8}}"#,
        r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":8}}"#,
        r#"{"generationConfig":{},"generation_config":{"candidateCount":8}}"#,
    ] {
        assert!(matches!(gemini("generateContent", body), Err(InspectError::Duplicate(_))), "{body}");
    }
    assert_eq!(gemini("generateContent", r#"{"generationConfig":[1]}"#).unwrap().candidates, 1);
}

#[test]
fn a_member_in_another_case_is_refused() {
    for (body, name) in [
        (r#"{"model":"cheap","Model":"dear"}"#, "model"),
        (r#"{"MODEL":"dear"}"#, "model"),
        (r#"{"model":"m","ſtream":true}"#, "stream"),
        (r#"{"model":"m","Stream_Options":{}}"#, "stream_options"),
    ] {
        assert_eq!(chat(body), Err(InspectError::Lookalike(name)), "{body}");
    }
    assert!(chat(r#"{"model":"m","modells":["x"],"modal":1,"streams":2}"#).is_ok());
}

#[test]
fn an_escaped_model_is_read_as_what_it_is() {
    assert_eq!(chat(r#"{"model":"gpt\u002d4o"}"#).unwrap().model, "gpt-4o");
    assert_eq!(chat(r#"{"mod\u0065l":"gpt-4o"}"#).unwrap().model, "gpt-4o");
}

#[test]
fn a_stream_flag_is_a_boolean() {
    assert!(!chat(r#"{"model":"m","stream":null}"#).unwrap().stream);
    for value in ["1", "\"true\"", "[]", "{}"] {
        let error = chat(&format!(r#"{{"model":"m","stream":{value}}}"#)).unwrap_err();
        assert_eq!(error, InspectError::WrongType { name: "stream", expected: "true or false" });
    }
    let options = chat(r#"{"model":"m","stream":true,"stream_options":[]}"#).unwrap_err();
    assert_eq!(options, InspectError::WrongType { name: "stream_options", expected: "an object" });
}

#[test]
fn absurd_nesting_is_refused_without_a_stack_overflow() {
    let nested = |depth: usize| format!("{{\"model\":\"m\",\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(chat(&nested(MAX_DEPTH - 1)).is_ok());
    assert_eq!(chat(&nested(MAX_DEPTH)), Err(InspectError::TooDeep));
    assert_eq!(chat(&nested(1_000_000)), Err(InspectError::TooDeep));
    assert!(matches!(chat(&"[".repeat(1_000_000)), Err(InspectError::NotAnObject | InspectError::NotJson(_))));
    assert!(matches!(chat(&"{\"a\":".repeat(1_000_000)), Err(InspectError::NotJson(_))));
    let batch = format!("{{\"requests\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(gemini("batchEmbedContents", &batch).is_err());
    let config = format!("{{\"generationConfig\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(gemini("generateContent", &config), Err(InspectError::TooDeep));
}

#[test]
fn wide_is_not_deep() {
    let wide = format!("{{\"model\":\"m\",\"a\":[{}{{}}]}}", "{\"b\":[\"]}\\\"{[\"]},".repeat(10_000));
    assert!(chat(&wide).is_ok());
    let text = format!("{{\"model\":\"m\",\"a\":\"{}\"}}", "[{".repeat(10_000));
    assert!(chat(&text).is_ok(), "brackets in a string are text");
}

#[test]
fn a_gemini_body_cannot_name_another_model_than_its_path() {
    for (verb, body) in [
        ("embedContent", r#"{"model":"models/dear","content":{}}"#),
        ("generateContent", r#"{"model":"dear"}"#),
        ("batchEmbedContents", r#"{"requests":[{"model":"models/gemini-2.5-pro"},{"model":"models/dear"}]}"#),
        ("batchEmbedContents", r#"{"requests":[{"model":"models/gemini-2.5-pro","mod\u0065l":"models/dear"}]}"#),
        ("countTokens", r#"{"generateContentRequest":{"model":"models/dear"}}"#),
    ] {
        let expected = InspectError::ModelMismatch { body: "dear".into(), path: "gemini-2.5-pro".into() };
        assert_eq!(gemini(verb, body), Err(expected), "{body}");
    }
    for (verb, body, places) in [
        ("embedContent", r#"{"model":"models/gemini-2.5-pro","content":{}}"#, 1),
        ("embedContent", r#"{"model":null}"#, 0),
        (
            "batchEmbedContents",
            r#"{"requests":[{"model":"models/gemini-2.5-pro"},{"content":{"model":1}},7,null,"x"]}"#,
            1,
        ),
        ("countTokens", r#"{"generateContentRequest":{"model":"gemini-2.5-pro"},"contents":[]}"#, 1),
        ("generateContent", r#"{"contents":[{"parts":[{"text":"x"}]}]}"#, 0),
    ] {
        assert_eq!(gemini(verb, body).unwrap().model_spans.len(), places, "{body}");
    }
    assert_eq!(gemini("embedContent", r#"{"model":7}"#), Err(InspectError::ModelNotString));
}

#[test]
fn every_refusal_says_what_to_do() {
    let error = chat("{}").unwrap_err().to_gateway_error();
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::InvalidRequest, "the request body has no `model`; name the model to use")
    );
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for path in ["/v1/chat/completions", "/v1beta/models/m:batchEmbedContents"] {
            let _ = inspect(&to(path), &bytes);
        }
    }

    #[test]
    fn what_is_read_is_what_a_full_parser_reads(
        model in "[ -~äß😀]{1,40}", stream in any::<bool>(), before in ".{0,20}", after in ".{0,20}",
    ) {
        let body = json!({"a": [before, {"model": 1}], "model": model, "stream": stream, "z": {"stream": after}});
        let found = chat(&body.to_string()).unwrap();
        prop_assert_eq!((found.model, found.stream), (model, stream));
    }
}

#[test]
fn what_would_be_billed_past_the_gateway_is_refused() {
    for body in [
        r#"{"model":"m","models":["dearer"]}"#,
        r#"{"model":"m","fallbacks":[{"model":"dearer"}]}"#,
        r#"{"model":"m","fallb\u0061cks":[]}"#,
    ] {
        assert!(matches!(chat(body), Err(InspectError::Unmetered(_))), "{body}");
    }
    assert!(chat(r#"{"model":"m","models":null}"#).is_ok());
    let at =
        |path: &str, body: &str| inspect(&route("POST", path, None, ClientHints::default()).unwrap(), body.as_bytes());
    assert_eq!(at("/v1/responses", r#"{"model":"m","background":true}"#), Err(InspectError::Unmetered("background")));
    assert!(at("/v1/responses", r#"{"model":"m","background":false}"#).is_ok());
    assert_eq!(at("/v1/messages", r#"{"model":"m","speed":"fast"}"#), Err(InspectError::Unmetered("speed")));
    assert!(at("/v1/messages", r#"{"model":"m","speed":"standard"}"#).is_ok());
}
