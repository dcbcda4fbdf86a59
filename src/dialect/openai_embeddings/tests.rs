#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::super::{Charge, Endpoint, Meter};
use super::*;

fn read(body: &str) -> Meter {
    let mut meter = Meter::new(Endpoint::Embeddings, Some("application/json"), 200);
    meter.feed(body.as_bytes());
    meter.finish();
    meter
}

#[test]
fn only_the_prompt_is_paid_for() {
    let usage = Usage { input: 8, ..Usage::default() };
    for body in [
        r#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
        r#"{"usage":{"total_tokens":8},"data":[{"embedding":[1e-3,[],{}]}]}"#,
        r#"{"usage":{"prompt_tokens":8,"total_tokens":900},"data":"x"}"#,
    ] {
        assert_eq!(read(body).charge(4000), Charge { usage, estimated: false }, "{body}");
    }
}

#[test]
fn without_usage_the_prompt_is_estimated() {
    for body in [r#"{"data":[]}"#, r#"{"data":[],"usage":{}}"#, r#"{"data":[],"usage":null}"#] {
        let usage = Usage { input: 1000, ..Usage::default() };
        assert_eq!(read(body).charge(4000), Charge { usage, estimated: true }, "{body}");
    }
}

#[test]
fn prompt_is_what_is_left_when_total_is_absurd() {
    assert_eq!(read(r#"{"usage":{"prompt_tokens":-5,"total_tokens":1e99}}"#).usage(), Some(Usage::default()));
}
