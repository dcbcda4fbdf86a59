#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "tests")]

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600_000;

const MODEL: &str = "gpt-4o";

const UNKNOWN: Said = Said { meaning: Meaning::Unknown, names_model: false, wait: None };

const MEANINGS: [Meaning; 8] = [
    Meaning::Unknown,
    Meaning::Quota,
    Meaning::RateLimit,
    Meaning::TooLargeHere,
    Meaning::Credential,
    Meaning::NoSuchModel,
    Meaning::Request,
    Meaning::Overloaded,
];

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn counts(scope: Scope) -> Option<Blame> {
    Some(Blame { scope, effect: Effect::Counts })
}

fn opens(scope: Scope, wait: Option<Duration>) -> Option<Blame> {
    Some(Blame { scope, effect: Effect::Opens(wait) })
}

fn verdict(failure: Failure) -> (Option<Blame>, Next) {
    let Verdict { blame, next } = failure.verdict();
    (blame, next)
}

fn said(status: u16, body: &str) -> Said {
    Said::read(status, body.as_bytes(), MODEL)
}

#[test]
fn what_goes_wrong_without_an_answer_counts_against_the_provider() {
    use Failure as F;
    for failure in [F::ConnectFailed, F::ConnectTimeout, F::WriteTimeout, F::Broken] {
        assert_eq!(verdict(failure), (counts(Scope::Provider), Next::Again), "{failure:?}");
    }
    // To ask again would change nothing, or have it do the work twice.
    for failure in [F::Unresolved, F::TlsFailed, F::FirstByteTimeout, F::IdleTimeout] {
        assert_eq!(verdict(failure), (counts(Scope::Provider), Next::Elsewhere), "{failure:?}");
    }
}

#[test]
fn of_a_status_without_words_only_the_status_counts() {
    for status in 400..600 {
        let expected = match status {
            401 => (counts(Scope::Provider), Next::PassOn),
            402 => (opens(Scope::Provider, None), Next::Elsewhere),
            408 | 429 | 500.. => (counts(Scope::Provider), Next::Again),
            _ => (None, Next::PassOn),
        };
        assert_eq!(verdict(Failure::Status(status, UNKNOWN)), expected, "{status}");
    }
}

#[test]
fn a_time_that_is_told_opens_the_circuit_for_that_long() {
    for status in [408, 429, 500, 502, 503, 504, 529] {
        let waits = |wait| Failure::Status(status, Said { wait: Some(wait), ..UNKNOWN });
        assert_eq!(verdict(waits(seconds(17))), (opens(Scope::Provider, Some(seconds(17))), Next::Elsewhere));
        assert_eq!(verdict(waits(seconds(86_400))).0, opens(Scope::Provider, Some(LONGEST)), "{status}");
        assert_eq!(
            verdict(waits(Duration::ZERO)),
            (counts(Scope::Provider), Next::Again),
            "{status}: at once is never"
        );
    }
    for status in [400, 404, 409, 413, 422, 451] {
        let waits = Failure::Status(status, Said { wait: Some(seconds(17)), ..UNKNOWN });
        assert_eq!(verdict(waits), (None, Next::PassOn), "{status}: the client's own error");
    }
}

#[test]
fn what_names_the_model_counts_against_the_model() {
    let of_model = |meaning, wait| Said { meaning, names_model: true, wait };
    let about = |status, meaning, wait| verdict(Failure::Status(status, of_model(meaning, wait))).0;
    assert_eq!(about(429, Meaning::RateLimit, None), counts(Scope::Model));
    assert_eq!(about(429, Meaning::RateLimit, Some(seconds(3))), opens(Scope::Model, Some(seconds(3))));
    assert_eq!(about(429, Meaning::Quota, Some(seconds(3))), opens(Scope::Model, Some(seconds(3))));
    assert_eq!(about(403, Meaning::Quota, None), opens(Scope::Model, None));
    assert_eq!(about(404, Meaning::NoSuchModel, None), opens(Scope::Model, None));
    // An error of its own in whose message the model happens to be is the whole provider's.
    assert_eq!(about(500, Meaning::Unknown, None), counts(Scope::Provider));
    assert_eq!(about(401, Meaning::Credential, None), opens(Scope::Provider, None));
}

#[test]
fn quota_credentials_and_models_open_at_once() {
    for status in [400, 401, 402, 403, 429] {
        let quota = Failure::Status(status, Said { meaning: Meaning::Quota, ..UNKNOWN });
        assert_eq!(verdict(quota), (opens(Scope::Provider, None), Next::Elsewhere), "{status}");
    }
    for status in [400, 401, 403] {
        let credential = Failure::Status(status, Said { meaning: Meaning::Credential, ..UNKNOWN });
        assert_eq!(verdict(credential), (opens(Scope::Provider, None), Next::Elsewhere), "{status}");
    }
    for status in [400, 403, 404] {
        let model = Failure::Status(status, Said { meaning: Meaning::NoSuchModel, ..UNKNOWN });
        assert_eq!(verdict(model), (opens(Scope::Model, None), Next::Elsewhere), "{status}");
    }
}

#[test]
fn a_request_that_is_too_large_for_one_account_goes_elsewhere_and_counts_against_nobody() {
    for status in [413, 429] {
        let too_large =
            Failure::Status(status, Said { meaning: Meaning::TooLargeHere, names_model: true, wait: Some(seconds(9)) });
        assert_eq!(verdict(too_large), (None, Next::Elsewhere), "{status}");
    }
}

#[test]
fn an_error_inside_an_answer_is_judged_like_the_status_it_stands_for() {
    for (meaning, status) in [
        (Meaning::Request, 400),
        (Meaning::Credential, 401),
        (Meaning::Quota, 402),
        (Meaning::NoSuchModel, 404),
        (Meaning::RateLimit, 429),
        (Meaning::TooLargeHere, 429),
        (Meaning::Overloaded, 529),
        (Meaning::Unknown, 500),
    ] {
        let said = Said { meaning, ..UNKNOWN };
        assert_eq!(Failure::Inside(said).verdict(), Failure::Status(status, said).verdict(), "{meaning:?}");
    }
}

#[test]
fn an_error_that_says_little_is_what_its_kind_stands_for() {
    let meanings = [
        (400, Meaning::Request),
        (401, Meaning::Credential),
        (402, Meaning::Quota),
        (404, Meaning::Request),
        (408, Meaning::Unknown),
        (429, Meaning::RateLimit),
        (500, Meaning::Unknown),
        (529, Meaning::Unknown),
    ];
    for (status, meaning) in meanings {
        assert_eq!(UNKNOWN.or_status(status).meaning, meaning, "{status}");
        let known = Said { meaning: Meaning::Overloaded, ..UNKNOWN };
        assert_eq!(known.or_status(status), known, "{status}: what it says counts");
    }
}

#[test]
fn bodies_of_every_provider_are_understood() {
    use Meaning as M;
    let cases = [
        // Anthropic
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            M::Request,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#,
            M::Quota,
        ),
        (
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            M::Credential,
        ),
        (402, r#"{"type":"error","error":{"type":"billing_error","message":"x"}}"#, M::Quota),
        (
            403,
            r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}"#,
            M::Unknown,
        ),
        (404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: gpt-4o"}}"#, M::NoSuchModel),
        (404, r#"{"type":"error","error":{"type":"not_found_error","message":"File not found"}}"#, M::Unknown),
        (
            413,
            r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
            M::Request,
        ),
        (
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit"}}"#,
            M::RateLimit,
        ),
        (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, M::Overloaded),
        // OpenAI
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            M::Credential,
        ),
        (
            404,
            r#"{"error":{"message":"The model `gpt-4o` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            M::NoSuchModel,
        ),
        (
            403,
            r#"{"error":{"message":"Project `p` does not have access to model `gpt-4o`","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            M::NoSuchModel,
        ),
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            M::Quota,
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            M::RateLimit,
        ),
        (
            429,
            r#"{"error":{"message":"Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 50000.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            M::TooLargeHere,
        ),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 128000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            M::Request,
        ),
        (
            400,
            r#"{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","param":null,"code":"billing_hard_limit_reached"}}"#,
            M::Quota,
        ),
        (
            503,
            r#"{"error":{"message":"Slow down","type":"server_error","param":null,"code":"slow_down"}}"#,
            M::Overloaded,
        ),
        (
            200,
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"invalid_prompt","message":"x"}}}"#,
            M::Request,
        ),
        (
            200,
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"x"}}}"#,
            M::Unknown,
        ),
        // Azure
        (
            404,
            r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
            M::NoSuchModel,
        ),
        // Gemini
        (
            400,
            r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#,
            M::Credential,
        ),
        (400, r#"{"error":{"code":400,"message":"Invalid value","status":"INVALID_ARGUMENT"}}"#, M::Request),
        (
            403,
            r#"{"error":{"code":403,"message":"x","status":"PERMISSION_DENIED","details":[{"reason":"CONSUMER_SUSPENDED"}]}}"#,
            M::Quota,
        ),
        (
            404,
            r#"[{"error":{"code":404,"message":"models/gpt-4o is not found for API version v1beta","status":"NOT_FOUND"}}]"#,
            M::NoSuchModel,
        ),
        (
            429,
            r#"{"error":{"code":429,"message":"Resource has been exhausted","status":"RESOURCE_EXHAUSTED"}}"#,
            M::RateLimit,
        ),
        (
            503,
            r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#,
            M::Overloaded,
        ),
        // Others
        (402, r#"{"error":{"code":402,"message":"Insufficient credits"}}"#, M::Unknown),
        (
            403,
            r#"{"code":"The caller does not have permission","error":"Your team t has either used all available credits or reached its monthly spending limit."}"#,
            M::Quota,
        ),
        (429, r#"{"error":{"code":"1113","message":"no money"}}"#, M::Quota),
        (
            404,
            r#"{"object":"error","message":"The model `gpt-4o` does not exist.","type":"NotFoundError","code":404}"#,
            M::NoSuchModel,
        ),
        (404, r#"{"error":"model 'gpt-4o' not found"}"#, M::NoSuchModel),
        (400, r#"{"error":{"message":"gpt-4o is not a valid model ID","code":400}}"#, M::NoSuchModel),
        (502, "<html>bad gateway</html>", M::Unknown),
        (500, "", M::Unknown),
        (500, "null", M::Unknown),
        (500, "[]", M::Unknown),
    ];
    for (status, body, meaning) in cases {
        assert_eq!(said(status, body).meaning, meaning, "{status} {body}");
    }
}

#[test]
fn a_client_cannot_write_a_message_that_opens_a_circuit() {
    for words in QUOTED {
        let body = format!(
            r#"{{"error":{{"message":"Invalid value: '{words}'","type":"invalid_request_error","code":"invalid_value"}}}}"#
        );
        for status in [400, 409, 413, 422] {
            let said = said(status, &body);
            assert_eq!(verdict(Failure::Status(status, said)), (None, Next::PassOn), "{status} {body}");
        }
    }
}

const QUOTED: [&str; 5] = [
    "Your credit balance is too low",
    "insufficient balance",
    "model_not_found",
    "insufficient_quota",
    "spending limit",
];

#[test]
fn the_time_and_the_model_of_a_quota_of_gemini_are_read() {
    let body = r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[
        {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m","quotaId":"PerDay","quotaDimensions":{"location":"global","model":"gemini-2.5-pro"}}]},
        {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}"#;
    let said = Said::read(429, body.as_bytes(), "gemini-2.5-pro");
    assert_eq!((said.wait, said.names_model), (Some(Duration::from_millis(34_500)), true));
    assert!(!Said::read(429, body.as_bytes(), "gemini-2.5-flash").names_model);
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn every_way_to_say_when_to_come_back_is_understood() {
    let cases: &[(&[(&str, &str)], Option<u64>)] = &[
        (&[("retry-after", "17")], Some(17_000)),
        (&[("retry-after", "0.5")], Some(500)),
        (&[("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT")], Some(30_000)),
        (&[("retry-after", "Wed, 31 Dec 2025 00:00:00 GMT")], Some(0)),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "-5")], Some(0)),
        (&[("retry-after-ms", "250"), ("retry-after", "1")], Some(250)),
        (
            &[
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-01-01T00:01:00Z"),
            ],
            Some(60_000),
        ),
        (
            &[
                ("anthropic-ratelimit-requests-remaining", "5"),
                ("anthropic-ratelimit-requests-reset", "2026-01-01T00:01:00Z"),
            ],
            None,
        ),
        (
            &[("anthropic-ratelimit-unified-status", "rejected"), ("anthropic-ratelimit-unified-reset", "1767225645")],
            Some(45_000),
        ),
        (
            &[("anthropic-ratelimit-unified-status", "allowed"), ("anthropic-ratelimit-unified-reset", "1767225645")],
            None,
        ),
        (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")], Some(360_000)),
        (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "20ms")], Some(20)),
        (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1h2m3.5s")], Some(3_723_500)),
        (
            &[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1s"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "2s"),
            ],
            Some(2_000),
        ),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1767225610000")], Some(10_000)),
        (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "12")], Some(12_000)),
        (&[], None),
    ];
    for (given, expected) in cases {
        assert_eq!(told(&headers(given), NOW), expected.map(Duration::from_millis), "{given:?}");
    }
}

proptest! {
    #[test]
    fn no_header_and_no_body_is_too_strange(text in "\\PC{0,40}", status in 0_u16..1_000, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = HeaderValue::from_str(&text) {
            let mut map = HeaderMap::new();
            for name in ["retry-after", "retry-after-ms"] {
                map.insert(name, value.clone());
            }
            let _ = told(&map, NOW);
        }
        let _ = duration_of(&text);
        let _ = Failure::Status(status, Said::read(status, &body, &text)).verdict();
    }

    #[test]
    fn what_is_passed_on_never_opens_a_circuit(status in 100_u16..1_000, meaning in 0_usize..8, names_model: bool, wait in proptest::option::of(0_u64..100_000)) {
        let said = Said { meaning: MEANINGS[meaning], names_model, wait: wait.map(Duration::from_secs) };
        for failure in [Failure::Status(status, said), Failure::Inside(said)] {
            let verdict = failure.verdict();
            if verdict.next == Next::PassOn {
                let opens = matches!(verdict.blame, Some(Blame { effect: Effect::Opens(_), .. }));
                prop_assert!(!opens, "{verdict:?}");
            }
            if let Some(Blame { effect: Effect::Opens(Some(wait)), .. }) = verdict.blame {
                prop_assert!(!wait.is_zero() && wait <= LONGEST);
                prop_assert_eq!(verdict.next, Next::Elsewhere);
            }
        }
    }
}

fn duration_of(text: &str) -> Option<Duration> {
    super::told::duration(text)
}
