#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::super::{Charge, Endpoint, Meter};
use super::*;

fn read(body: &str) -> Meter {
    let mut meter = Meter::new(Endpoint::Responses, None, 200);
    meter.feed(body.as_bytes());
    meter.finish();
    meter
}

#[test]
fn every_way_to_end_is_billed() {
    for (kind, failed) in [("response.completed", false), ("response.incomplete", false), ("response.failed", true)] {
        let meter = read(&format!(
            "data: {{\"type\":\"{kind}\",\"response\":{{\"usage\":{{\"input_tokens\":9,\"output_tokens\":4}}}}}}\n\n"
        ));
        let usage = Usage { input: 9, output: 4, ..Usage::default() };
        assert_eq!(meter.charge(0), Charge { usage, estimated: false }, "{kind}");
        assert!(meter.is_complete() && meter.saw_error() == failed, "{kind}");
    }
}

#[test]
fn a_failed_response_without_usage_or_text_costs_nothing() {
    let meter = read(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n\
         event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"},\"usage\":null}}\n\n",
    );
    assert_eq!(meter.charge(4000), Charge::default());
}

#[test]
fn the_event_line_names_what_the_data_does_not() {
    assert!(read("event: response.incomplete\ndata: {\"response\":{}}\n\n").is_complete());
    assert!(!read("event: response.output_text.delta\ndata: {\"delta\":\"x\"}\n\n").is_complete());
}

#[test]
fn searches_are_counted_once_whether_listed_or_streamed() {
    let item = r#"{"type":"web_search_call","action":{"type":"search"}}"#;
    let done = format!("data: {{\"type\":\"response.output_item.done\",\"item\":{item}}}\n\n");
    let end = |output: &str| {
        format!(
            "data: {{\"response\":{{\"output\":[{output}],\"usage\":{{\"input_tokens\":1}}}},\"type\":\"response.completed\"}}\n\n"
        )
    };
    let searches = |body: String| read(&body).usage().unwrap().web_searches;
    assert_eq!(searches(format!("{done}{done}{}", end(&format!("{item},{item}")))), 2);
    assert_eq!(searches(format!("{done}{done}{}", end(""))), 2, "some providers leave the list empty");
    assert_eq!(searches(end(item)), 1);
    let looking = r#"{"action":{"type":"find_in_page"},"type":"web_search_call"}"#;
    assert_eq!(searches(end(&format!("{looking},{{\"type\":\"message\"}}"))), 0, "only searching is billed");
}

#[test]
fn text_of_the_closing_response_is_not_counted_again() {
    let meter = read(
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"abc\"}\n\n\
         data: {\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{}\"}\n\n\
         data: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"abc\"}]}]}}\n\n",
    );
    assert_eq!(meter.content_bytes(), 5);
}
