#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::super::{Charge, Endpoint, Meter};
use super::*;

fn read(body: &str) -> Meter {
    let mut meter = Meter::new(Endpoint::StreamGenerateContent, None, 200);
    meter.feed(body.as_bytes());
    meter.finish();
    meter
}

fn usage(metadata: &str) -> Usage {
    read(&format!(r#"{{"candidates":[{{"finishReason":"STOP"}}],"usageMetadata":{metadata}}}"#)).usage().unwrap()
}

#[test]
fn cached_tokens_are_counted_once_with_and_without_details() {
    let expected = Usage { input: 300, output: 5, cache_read: 700, ..Usage::default() };
    assert_eq!(usage(r#"{"promptTokenCount":1000,"cachedContentTokenCount":700,"candidatesTokenCount":5}"#), expected);
    assert_eq!(
        usage(
            r#"{"promptTokenCount":1000,"cachedContentTokenCount":700,"candidatesTokenCount":5,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":1000}],
                "cacheTokensDetails":[{"modality":"TEXT","tokenCount":700}]}"#
        ),
        expected
    );
}

#[test]
fn a_cached_part_is_taken_out_of_its_own_modality() {
    let found = usage(
        r#"{"promptTokenCount":1000,"cachedContentTokenCount":400,
            "promptTokensDetails":[{"tokenCount":300,"modality":"AUDIO"},{"modality":"IMAGE","tokenCount":258},{"modality":"VIDEO","tokenCount":42},{"modality":"TEXT","tokenCount":400}],
            "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":300},{"modality":"TEXT","tokenCount":100}]}"#,
    );
    assert_eq!(found, Usage { input: 342, cache_read: 400, input_image: 258, ..Usage::default() });
    assert_eq!(found.input_total(), 1000);
}

#[test]
fn details_never_exceed_their_total() {
    let found = usage(
        r#"{"promptTokenCount":10,"candidatesTokenCount":4,"cachedContentTokenCount":50,
            "promptTokensDetails":[{"modality":"AUDIO","tokenCount":900},{"modality":"IMAGE","tokenCount":900}],
            "candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":3},{"modality":"IMAGE","tokenCount":3}]}"#,
    );
    assert_eq!(found, Usage { cache_read: 50, output_audio: 3, output_image: 1, ..Usage::default() });
}

#[test]
fn modalities_are_known_by_number_too() {
    let found = usage(
        r#"{"promptTokenCount":10,"promptTokensDetails":[{"modality":4,"tokenCount":3},{"modality":2,"tokenCount":2},{"modality":1,"tokenCount":5}]}"#,
    );
    assert_eq!(found, Usage { input: 5, input_audio: 3, input_image: 2, ..Usage::default() });
}

#[test]
fn tool_results_and_thoughts_come_on_top() {
    let found = usage(
        r#"{"promptTokenCount":10,"toolUsePromptTokenCount":90,"candidatesTokenCount":1,"thoughtsTokenCount":5}"#,
    );
    assert_eq!(found, Usage { input: 100, output: 1, reasoning: 5, ..Usage::default() });
}

#[test]
fn an_event_stream_is_complete_with_its_body_and_a_finish_reason() {
    let running = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"abcdefgh\"}]}}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":1}}\n\n";
    let last = "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":7}}\n\n";
    let cut_off = read(running);
    assert!(!cut_off.is_complete());
    let usage = Usage { input: 3, output: 2, ..Usage::default() };
    assert_eq!(cut_off.charge(0), Charge { usage, estimated: true });
    let whole = read(&format!("{running}{last}"));
    assert!(whole.is_complete());
    let usage = Usage { input: 3, output: 7, ..Usage::default() };
    assert_eq!(whole.charge(0), Charge { usage, estimated: false }, "of running usage the last one counts");
}

#[test]
fn a_blocked_prompt_is_paid_for() {
    let meter =
        read("data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"usageMetadata\":{\"promptTokenCount\":12}}\n\n");
    assert_eq!(meter.charge(0), Charge { usage: Usage { input: 12, ..Usage::default() }, estimated: false });
}

#[test]
fn searches_are_billed_per_query_or_per_request_by_the_model() {
    let body = |model: &str| {
        format!(
            r#"{{"candidates":[{{"groundingMetadata":{{"webSearchQueries":["a","b"," ","a"]}},"finishReason":"STOP"}}],"usageMetadata":{{"promptTokenCount":1}},"modelVersion":"{model}"}}"#
        )
    };
    let searches = |body: String| read(&body).usage().unwrap().web_searches;
    assert_eq!(searches(body("gemini-3-pro-preview")), 2);
    assert_eq!(searches(body("gemini-2.5-flash")), 1);
    assert_eq!(
        searches(format!("[{},{}]", body("gemini-3-pro-preview"), body("gemini-3-pro-preview"))),
        2,
        "chunks repeat them"
    );
    assert_eq!(searches(r#"{"usageMetadata":{"promptTokenCount":1},"modelVersion":"gemini-2.5-flash"}"#.into()), 0);
}

#[test]
fn an_embedding_may_say_its_usage_or_not() {
    let charge = |body: &str| {
        let mut meter = Meter::new(Endpoint::EmbedContent, Some("application/json"), 200);
        meter.feed(body.as_bytes());
        assert!(meter.is_complete());
        meter.charge(400)
    };
    let said = charge(r#"{"embedding":{"values":[0.1,-2e-3]},"usageMetadata":{"promptTokenCount":6}}"#);
    assert_eq!(said, Charge { usage: Usage { input: 6, ..Usage::default() }, estimated: false });
    let silent = charge(r#"{"embedding":{"values":[0.1,-2e-3]}}"#);
    assert_eq!(silent, Charge { usage: Usage { input: 100, ..Usage::default() }, estimated: true });
}

#[test]
fn tiers_are_read_in_googles_spellings() {
    for (word, tier) in [
        ("SERVICE_TIER_FLEX", ServiceTier::Flex),
        ("priority", ServiceTier::Priority),
        ("ON_DEMAND_PRIORITY", ServiceTier::Priority),
        ("ON_DEMAND", ServiceTier::Standard),
        ("SERVICE_TIER_UNSPECIFIED", ServiceTier::Standard),
    ] {
        assert_eq!(usage(&format!(r#"{{"promptTokenCount":1,"trafficType":"{word}"}}"#)).service_tier, tier, "{word}");
    }
}
