#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::super::{Charge, Endpoint, Meter};
use super::*;

fn read(body: &str) -> Meter {
    let mut meter = Meter::new(Endpoint::Messages, None, 200);
    meter.feed(body.as_bytes());
    meter.finish();
    meter
}

fn usage(usage: &str) -> Usage {
    read(&format!(r#"{{"type":"message","stop_reason":"end_turn","usage":{usage}}}"#)).usage().unwrap()
}

fn stream(events: &[&str]) -> Meter {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    read(&body)
}

#[test]
fn the_split_of_cache_writes_wins_and_the_rest_lives_five_minutes() {
    let writes = |text: &str| {
        let usage = usage(text);
        (usage.cache_write_5m, usage.cache_write_1h)
    };
    assert_eq!(writes(r#"{"cache_creation_input_tokens":100}"#), (100, 0));
    assert_eq!(
        writes(r#"{"cache_creation_input_tokens":100,"cache_creation":{"ephemeral_1h_input_tokens":60}}"#),
        (40, 60)
    );
    assert_eq!(
        writes(
            r#"{"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":60},"cache_creation_input_tokens":100}"#
        ),
        (40, 60)
    );
    assert_eq!(
        writes(
            r#"{"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":60}}"#
        ),
        (10, 60),
        "the split is the more exact one"
    );
}

#[test]
fn message_delta_wins_only_where_it_speaks() {
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":100,"cache_read_input_tokens":7,"output_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":50},"cache_creation_input_tokens":50}}}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":null,"cache_read_input_tokens":0,"output_tokens":30}}"#;
    let meter = stream(&[start, delta]);
    let expected = Usage { input: 100, output: 30, cache_read: 0, cache_write_1h: 50, ..Usage::default() };
    assert_eq!(meter.charge(0), Charge { usage: expected, estimated: false }, "the stop reason makes it final");
    assert!(!meter.is_complete(), "message_stop has not come");
}

#[test]
fn running_deltas_are_final_only_with_a_stop_reason() {
    let running =
        r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"input_tokens":9,"output_tokens":3}}"#;
    assert!(stream(&[running]).charge(0).estimated);
    assert_eq!(stream(&[running]).usage(), Some(Usage { input: 9, output: 3, ..Usage::default() }));
}

#[test]
fn iterations_before_the_last_are_paid_for() {
    let total = usage(
        r#"{"input_tokens":23000,"output_tokens":1000,"iterations":[
            {"type":"compaction","input_tokens":180000,"output_tokens":3500,"cache_read_input_tokens":10},
            {"type":"message","input_tokens":23000,"output_tokens":1000}]}"#,
    );
    assert_eq!(total, Usage { input: 203_000, output: 4500, cache_read: 10, ..Usage::default() });
}

#[test]
fn iterations_that_are_in_the_total_are_not_added_to_it() {
    let total = usage(
        r#"{"input_tokens":30,"output_tokens":5,"iterations":[{"input_tokens":10,"output_tokens":2},{"input_tokens":20,"output_tokens":3}]}"#,
    );
    assert_eq!(total, Usage { input: 30, output: 5, ..Usage::default() });
}

#[test]
fn the_event_line_names_what_the_data_does_not() {
    assert!(read("event: message_stop\ndata: {}\n\n").is_complete());
    assert!(!read("event: message_stop\n\ndata: {}\n\n").is_complete(), "the name belongs to its own event");
    assert!(read("event: error\ndata: {\"message\":\"x\"}\n\n").saw_error());
}

#[test]
fn the_batch_tier_is_read() {
    assert_eq!(usage(r#"{"input_tokens":1,"service_tier":"batch"}"#).service_tier, ServiceTier::Batch);
    assert_eq!(usage(r#"{"input_tokens":1,"service_tier":null}"#).service_tier, ServiceTier::Standard);
}
