#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::dialect::{ClientHints, inspect, route};
use crate::pricing::MULTIPLIER_ONE;

mod bounds;
mod hostile;
mod learnt;
mod provider;

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const EMBEDDINGS: &str = "/v1/embeddings";
const GEMINI: &str = "/v1beta/models/m:generateContent";

const MODES: [ReservationMode; 3] = [ReservationMode::None, ReservationMode::Expected, ReservationMode::WorstCase];

const ASKER: Asker<'_> = Asker { model: "m", key: 7 };

fn price(value: &Value) -> Price {
    Price::from_value(value).unwrap()
}

/// One dollar per million tokens of the prompt, so that a token costs 1 000 nano-dollars; an output token 10 000.
fn plain() -> Value {
    json!({ "inputUsdPerMillion": 1, "outputUsdPerMillion": 10, "cacheReadUsdPerMillion": 0.1, "cacheWrite5mUsdPerMillion": 1 })
}

fn with_maxima(input: u64, output: u64) -> Value {
    let mut value = plain();
    value["maxInputTokens"] = json!(input);
    value["maxOutputTokens"] = json!(output);
    value
}

fn terms(price: &Price) -> Terms<'_> {
    Terms { price, multiplier_ppm: MULTIPLIER_ONE, default_max_output_tokens: 100 }
}

fn request(path: &str, body: &str) -> Inspected {
    let route = route("POST", path, None, ClientHints::default()).unwrap();
    inspect(&route, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

/// A request with some members at the top.
fn asking(path: &str, members: &str) -> Inspected {
    let model = if path == GEMINI { r#""x":0"# } else { r#""model":"m""# };
    let comma = if members.is_empty() { "" } else { "," };
    request(path, &format!("{{{model}{comma}{members}}}"))
}

fn nanos(estimate: Result<Usd, Unbounded>) -> u64 {
    u64::try_from(estimate.unwrap().nanos()).unwrap()
}

#[test]
fn what_is_free_sets_nothing_aside_in_any_mode() {
    let free = price(&json!({ "inputUsdPerMillion": 0, "outputUsdPerMillion": 0 }));
    let dear = price(&plain());
    let learnt = Learnt::new(1);
    let counted = request("/v1/messages/count_tokens", r#"{"model":"m","messages":[]}"#);
    let endless = asking(GEMINI, r#""tools":[{"googleSearch":{}}]"#);
    for mode in MODES {
        let zero = |request: &Inspected, terms: Terms<'_>| {
            assert_eq!(estimate(mode, request, &terms, &learnt, ASKER), Ok(Usd::ZERO), "{mode:?}");
        };
        zero(&endless, terms(&free));
        zero(&endless, Terms { multiplier_ppm: 0, ..terms(&dear) });
        zero(&counted, terms(&dear));
    }
}

#[test]
fn what_is_not_free_sets_something_aside_in_every_mode() {
    let cheapest = price(&json!({ "inputUsdPerMillion": 0, "outputUsdPerMillion": 0.000_001 }));
    let learnt = Learnt::new(1);
    // Without any output token expected, what is learnt alone would come to nothing.
    for _ in 0..20 {
        learnt.record(ASKER, 1_000, &Usage::default());
    }
    let request = asking(CHAT, r#""max_tokens":1"#);
    for mode in MODES {
        let aside = estimate(mode, &request, &terms(&cheapest), &learnt, ASKER).unwrap();
        assert!(aside >= Usd::from_nanos(1), "{mode:?}");
    }
    assert_eq!(none(&request, &terms(&price(&plain()))), Usd::from_nanos(1));
}

#[test]
fn each_mode_sets_aside_more_than_the_one_before() {
    let price = price(&with_maxima(100_000, 10_000));
    let learnt = Learnt::new(1);
    for (path, members) in
        [(MESSAGES, r#""max_tokens":500"#), (CHAT, ""), (RESPONSES, r#""input":"hi""#), (GEMINI, ""), (EMBEDDINGS, "")]
    {
        let request = asking(path, members);
        let aside = MODES.map(|mode| nanos(estimate(mode, &request, &terms(&price), &learnt, ASKER)));
        assert!(aside.is_sorted_by(|less, more| less < more), "{path}: {aside:?}");
    }
}

#[test]
fn a_refusal_says_what_to_set_and_is_the_clients_to_mend() {
    let price = price(&plain());
    for (path, members, advice) in [
        (RESPONSES, r#""previous_response_id":"r""#, "maxInputTokens"),
        (RESPONSES, r#""tools":[{"type":"web_search"}]"#, "max_tool_calls"),
        (MESSAGES, r#""tools":[{"type":"web_search_20250305"}]"#, "max_uses"),
    ] {
        let error = worst_case(&asking(path, members), &terms(&price)).unwrap_err().to_gateway_error();
        assert_eq!(error.code, ErrorCode::EstimateUnbounded);
        assert!(error.message.contains(advice), "{}", error.message);
    }
}
