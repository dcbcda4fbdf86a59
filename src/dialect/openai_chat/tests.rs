#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::super::{Charge, Endpoint, Meter, Usage};

fn read(body: &str) -> Meter {
    let mut meter = Meter::new(Endpoint::ChatCompletions, None, 200);
    meter.feed(body.as_bytes());
    meter.finish();
    meter
}

fn whole(usage: &str) -> Usage {
    read(&format!(r#"{{"choices":[{{"finish_reason":"stop"}}],"usage":{usage}}}"#)).usage().unwrap()
}

fn stream(events: &[&str]) -> Meter {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    read(&body)
}

#[test]
fn cached_tokens_are_part_of_the_prompt_in_every_accent() {
    let expected = Usage { input: 36, output: 10, cache_read: 64, ..Usage::default() };
    for usage in [
        r#"{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"prompt_tokens_details":{"cached_tokens":64}}"#,
        r#"{"prompt_tokens":100,"completion_tokens":10,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}"#,
        r#"{"prompt_tokens":100,"completion_tokens":10,"cached_tokens":64}"#,
        r#"{"prompt_tokens":100,"completion_tokens":10,"prompt_cache_hit_tokens":64,"prompt_tokens_details":{"cached_tokens":64}}"#,
        r#"{"prompt_tokens":36,"completion_tokens":10,"total_tokens":110,"cache_read_input_tokens":64}"#,
    ] {
        assert_eq!(whole(usage), expected, "{usage}");
    }
}

#[test]
fn cache_writes_are_taken_out_of_the_prompt() {
    for name in ["cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"] {
        let usage = whole(&format!(
            r#"{{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{{"cached_tokens":20,"{name}":30}}}}"#
        ));
        let expected = Usage { input: 50, output: 1, cache_read: 20, cache_write_5m: 30, ..Usage::default() };
        assert_eq!(usage, expected, "{name}");
    }
}

#[test]
fn reasoning_outside_of_the_completion_is_added_and_inside_is_not() {
    let inside = whole(
        r#"{"prompt_tokens":10,"completion_tokens":50,"total_tokens":60,"completion_tokens_details":{"reasoning_tokens":40}}"#,
    );
    assert_eq!(inside, Usage { input: 10, output: 10, reasoning: 40, ..Usage::default() });
    let outside = whole(
        r#"{"prompt_tokens":10,"completion_tokens":50,"total_tokens":100,"completion_tokens_details":{"reasoning_tokens":40}}"#,
    );
    assert_eq!(outside, Usage { input: 10, output: 50, reasoning: 40, ..Usage::default() });
}

#[test]
fn prediction_tokens_stay_in_the_output() {
    let usage = whole(
        r#"{"prompt_tokens":1,"completion_tokens":50,"completion_tokens_details":{"accepted_prediction_tokens":20,"rejected_prediction_tokens":9}}"#,
    );
    assert_eq!(usage, Usage { input: 1, output: 50, ..Usage::default() });
}

#[test]
fn of_running_usage_the_last_one_counts() {
    let chunk = |completion: u32| {
        format!(
            r#"{{"choices":[{{"delta":{{"content":"x"}}}}],"usage":{{"prompt_tokens":5,"completion_tokens":{completion}}}}}"#
        )
    };
    let (first, second) = (chunk(1), chunk(2));
    let last = r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":30}}"#;
    let meter = stream(&[&first, &second, last, "[DONE]"]);
    let usage = Usage { input: 5, output: 30, ..Usage::default() };
    assert_eq!(meter.charge(0), Charge { usage, estimated: false });
    assert!(stream(&[&first, &second]).charge(0).estimated, "the next chunk would have said more");
}

#[test]
fn zeros_at_the_end_do_not_replace_the_usage() {
    let meter = stream(&[
        r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":30}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#,
        r#"{"choices":[],"usage":null}"#,
        "[DONE]",
    ]);
    assert_eq!(meter.usage(), Some(Usage { input: 5, output: 30, ..Usage::default() }));
}

#[test]
fn usage_is_found_where_moonshot_and_groq_put_it() {
    let expected = Some(Usage { input: 1, output: 2, cache_read: 4, ..Usage::default() });
    let moonshot = stream(&[
        r#"{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":5,"completion_tokens":2,"cached_tokens":4}}]}"#,
    ]);
    assert_eq!(moonshot.usage(), expected);
    let groq = stream(&[
        r#"{"choices":[{"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}}"#,
    ]);
    assert_eq!(groq.usage(), expected);
}

#[test]
fn every_kind_of_generated_text_is_counted() {
    for delta in [
        r#"{"content":"12345"}"#,
        r#"{"content":[{"type":"text","text":"123"},{"type":"thinking","thinking":[{"text":"45"}]}]}"#,
        r#"{"reasoning_content":"12345","content":null}"#,
        r#"{"reasoning":"12345"}"#,
        r#"{"refusal":"12345"}"#,
        r#"{"tool_calls":[{"function":{"name":"12","arguments":"345"}}]}"#,
        r#"{"function_call":{"arguments":"12345"}}"#,
        r#"{"audio":{"data":"AAAA","transcript":"12345"}}"#,
    ] {
        assert_eq!(stream(&[&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#)]).content_bytes(), 5, "{delta}");
    }
}

#[test]
fn the_end_mark_is_nothing_else() {
    assert!(read("data: [DONE]").is_complete());
    assert!(read("data:[DONE]  \r\n").is_complete());
    for body in ["data: [DONE\n\n", "data: [DONE]]\n\n", "data: x[DONE]\n\n", ": [DONE]\n\n", "event: [DONE]\n\n"] {
        let meter = read(body);
        assert!(!meter.is_complete() || body.contains("]]"), "{body}");
    }
}
