#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use proptest::prelude::*;

use super::super::ServiceTier;
use super::*;

const SSE: Option<&str> = Some("text/event-stream; charset=utf-8");
const JSON: Option<&str> = Some("application/json");

/// A transcript and what must be read from it.
struct Golden {
    endpoint: Endpoint,
    content_type: Option<&'static str>,
    body: &'static str,
    usage: Usage,
    content_bytes: u64,
}

fn golden() -> Vec<Golden> {
    let gemini_stream = Usage {
        input: 1300 - 700 - 100 + 15,
        output: 10,
        cache_read: 700,
        reasoning: 100,
        input_audio: 100,
        input_image: 0,
        output_image: 50,
        web_searches: 2,
        ..Usage::default()
    };
    vec![
        Golden {
            endpoint: Endpoint::Messages,
            content_type: SSE,
            body: include_str!("../golden/anthropic_stream.sse"),
            usage: Usage {
                input: 10682,
                output: 510,
                cache_read: 18000,
                cache_write_5m: 1024,
                cache_write_1h: 1024,
                web_searches: 1,
                ..Usage::default()
            },
            content_bytes: 10 + 5 + 14 + 21,
        },
        Golden {
            endpoint: Endpoint::Messages,
            content_type: JSON,
            body: include_str!("../golden/anthropic_whole.json"),
            usage: Usage {
                input: 2095,
                output: 503,
                cache_write_5m: 300,
                service_tier: ServiceTier::Priority,
                ..Usage::default()
            },
            content_bytes: 22 + 19,
        },
        Golden {
            endpoint: Endpoint::ChatCompletions,
            content_type: SSE,
            body: include_str!("../golden/chat_stream.sse"),
            usage: Usage {
                input: 2006 - 1920 - 6,
                cache_read: 1920,
                input_audio: 6,
                output: 300 - 192 - 8,
                reasoning: 192,
                output_audio: 8,
                service_tier: ServiceTier::Flex,
                ..Usage::default()
            },
            content_bytes: 5 + 1 + 5,
        },
        Golden {
            endpoint: Endpoint::ChatCompletions,
            content_type: JSON,
            body: include_str!("../golden/chat_whole.json"),
            usage: Usage { input: 19, output: 10, ..Usage::default() },
            content_bytes: 34,
        },
        Golden {
            endpoint: Endpoint::Responses,
            content_type: SSE,
            body: include_str!("../golden/responses_stream.sse"),
            usage: Usage {
                input: 370 - 256,
                cache_read: 256,
                output: 111 - 64,
                reasoning: 64,
                web_searches: 1,
                service_tier: ServiceTier::Priority,
                ..Usage::default()
            },
            content_bytes: 9,
        },
        Golden {
            endpoint: Endpoint::Responses,
            content_type: JSON,
            body: include_str!("../golden/responses_whole.json"),
            usage: Usage { input: 36, output: 7, reasoning: 80, web_searches: 1, ..Usage::default() },
            content_bytes: 8 + 19,
        },
        Golden {
            endpoint: Endpoint::Embeddings,
            content_type: JSON,
            body: include_str!("../golden/embeddings_whole.json"),
            usage: Usage { input: 8, ..Usage::default() },
            content_bytes: 0,
        },
        Golden {
            endpoint: Endpoint::StreamGenerateContent,
            content_type: SSE,
            body: include_str!("../golden/gemini_stream.sse"),
            usage: gemini_stream,
            content_bytes: 12 + 5 + 32,
        },
        Golden {
            endpoint: Endpoint::StreamGenerateContent,
            content_type: JSON,
            body: include_str!("../golden/gemini_array.json"),
            usage: gemini_stream,
            content_bytes: 12 + 5 + 32,
        },
        Golden {
            endpoint: Endpoint::GenerateContent,
            content_type: JSON,
            body: include_str!("../golden/gemini_whole.json"),
            usage: Usage {
                input: 264,
                output: 8,
                reasoning: 28,
                web_searches: 1,
                service_tier: ServiceTier::Flex,
                ..Usage::default()
            },
            content_bytes: 31,
        },
    ]
}

/// Everything that a meter tells.
#[derive(Debug, PartialEq)]
struct Reading {
    usage: Option<Usage>,
    charge: Charge,
    complete: bool,
    error: bool,
    content_bytes: u64,
}

fn reading(meter: &Meter) -> Reading {
    Reading {
        usage: meter.usage(),
        charge: meter.charge(4000),
        complete: meter.is_complete(),
        error: meter.saw_error(),
        content_bytes: meter.content_bytes(),
    }
}

fn read<'a>(endpoint: Endpoint, content_type: Option<&str>, parts: impl IntoIterator<Item = &'a [u8]>) -> Meter {
    let mut meter = Meter::new(endpoint, content_type, 200);
    for part in parts {
        meter.feed(part);
    }
    meter.finish();
    meter
}

fn whole(endpoint: Endpoint, body: &str) -> Meter {
    read(endpoint, None, [body.as_bytes()])
}

#[test]
fn golden_transcripts_give_their_exact_usage() {
    for case in golden() {
        let meter = read(case.endpoint, case.content_type, [case.body.as_bytes()]);
        let expected = Reading {
            usage: Some(case.usage),
            charge: Charge { usage: case.usage, estimated: false },
            complete: true,
            error: false,
            content_bytes: case.content_bytes,
        };
        assert_eq!(reading(&meter), expected, "{}", case.body);
        assert_eq!(meter.response_bytes(), case.body.len() as u64);
    }
}

#[test]
fn every_split_in_two_and_every_single_byte_give_the_same() {
    for case in golden() {
        for body in [case.body.to_owned(), case.body.replace('\n', "\r\n"), case.body.replace('\n', "\r")] {
            let bytes = body.as_bytes();
            let expected = reading(&read(case.endpoint, case.content_type, [bytes]));
            assert_eq!(expected.usage, Some(case.usage), "the line ends do not matter");
            assert_eq!(reading(&read(case.endpoint, case.content_type, bytes.chunks(1))), expected, "byte by byte");
            for cut in 1..bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(reading(&read(case.endpoint, case.content_type, [head, tail])), expected, "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_stream_is_complete_with_the_last_byte_of_its_closing_event_and_not_before() {
    for (case, closing) in golden().iter().zip([
        Some("{\"type\":\"message_stop\"}"),
        None,
        Some("[DONE]"),
        None,
        Some("\"total_tokens\":481}}}"),
        None,
        None,
        None,
        None,
        None,
    ]) {
        let Some(closing) = closing else { continue };
        let end = case.body.find(closing).unwrap() + closing.len();
        let mut meter = Meter::new(case.endpoint, case.content_type, 200);
        meter.feed(&case.body.as_bytes()[..end - 1]);
        assert!(!meter.is_complete(), "{closing}");
        meter.feed(&case.body.as_bytes()[end - 1..end]);
        assert!(meter.is_complete(), "{closing}");
        assert_eq!(meter.usage(), Some(case.usage), "the usage is known when the stream is complete");
    }
}

#[test]
fn a_whole_answer_is_complete_with_its_last_bracket() {
    let body = include_str!("../golden/chat_whole.json").trim_end();
    let mut meter = Meter::new(Endpoint::ChatCompletions, JSON, 200);
    meter.feed(&body.as_bytes()[..body.len() - 1]);
    assert!(!meter.is_complete());
    meter.feed(b"}");
    assert!(meter.is_complete());
}

#[test]
fn a_running_usage_ends_with_the_final_one_and_never_falls_below_what_was_reported() {
    for case in golden() {
        let mut meter = Meter::new(case.endpoint, case.content_type, 200);
        let mut reported = 0;
        for part in case.body.as_bytes().chunks(7) {
            meter.feed(part);
            let running = meter.running(4000);
            let said = meter.usage().unwrap_or_default();
            assert!(running.output_total() >= said.output_total().max(reported), "{}", case.body);
            assert!(running.web_searches >= said.web_searches);
            reported = said.output_total();
        }
        meter.finish();
        assert_eq!(meter.running(4000), case.usage, "{}", case.body);
    }
}

#[test]
fn a_running_usage_grows_with_the_text_before_the_provider_says_anything() {
    let text = "x".repeat(400);
    for (endpoint, first, event) in [
        (
            Endpoint::Messages,
            r#"data: {"type":"message_start","message":{"usage":{"input_tokens":50,"output_tokens":1}}}"#,
            format!(r#"data: {{"type":"content_block_delta","delta":{{"type":"text_delta","text":"{text}"}}}}"#),
        ),
        (Endpoint::ChatCompletions, "", format!(r#"data: {{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#)),
        (Endpoint::Responses, "", format!(r#"data: {{"type":"response.output_text.delta","delta":"{text}"}}"#)),
        (
            Endpoint::StreamGenerateContent,
            "",
            format!(r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}]}}"#),
        ),
    ] {
        let mut meter = Meter::new(endpoint, SSE, 200);
        assert_eq!(meter.running(200), Usage { input: 50, ..Usage::default() }, "the prompt is paid for at once");
        meter.feed(format!("{first}\n\n").as_bytes());
        for events in 1..5 {
            meter.feed(format!("{event}\n\n").as_bytes());
            let expected = Usage { input: 50, output: 100 * events, ..Usage::default() };
            assert_eq!(meter.running(200), expected, "{endpoint:?}");
        }
    }
}

#[test]
fn text_that_a_running_usage_covers_is_not_estimated_on_top() {
    let text = "x".repeat(400);
    let chunk = |tokens: u64| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}}}}],\"usageMetadata\":{{\"promptTokenCount\":9,\"candidatesTokenCount\":{tokens}}}}}\n\n"
        )
    };
    let mut meter = Meter::new(Endpoint::StreamGenerateContent, SSE, 200);
    // The provider says 60 where the text alone looks like 100; then comes text of which it has said nothing yet.
    meter.feed(chunk(60).as_bytes());
    assert_eq!(meter.running(36), Usage { input: 9, output: 60, ..Usage::default() });
    meter.feed(
        format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}}}}]}}\n\n").as_bytes(),
    );
    assert_eq!(meter.running(36).output, 160);
    meter.feed(chunk(130).as_bytes());
    assert_eq!(meter.running(36).output, 130, "what stood in for the provider's number is corrected by it");
}

#[test]
fn searches_of_a_running_response_are_counted_as_they_end() {
    let mut meter = Meter::new(Endpoint::Responses, SSE, 200);
    for searches in 1..4 {
        meter.feed(b"data: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"web_search_call\",\"action\":{\"type\":\"search\"}}}\n\n");
        assert_eq!(meter.running(4).web_searches, searches);
    }
}

#[test]
fn an_error_without_an_answer_runs_up_nothing() {
    let mut meter = Meter::new(Endpoint::Messages, JSON, 529);
    meter.feed(br#"{"type":"error","error":{"type":"overloaded_error"}}"#);
    assert_eq!(meter.running(4000), Usage::default());
}

#[test]
fn an_aborted_stream_never_pays_nothing_and_is_flagged() {
    for case in golden() {
        let mut seen_final = false;
        for (at, _) in case.body.match_indices("\n\n") {
            let mut meter = Meter::new(case.endpoint, case.content_type, 200);
            meter.feed(&case.body.as_bytes()[..at + 2]);
            let charge = meter.charge(4000);
            assert!(charge.usage.input_total() > 0, "the prompt is always paid for");
            assert!(charge.usage.output_total() >= meter.content_bytes().div_ceil(4), "what was seen is paid for");
            if charge.estimated {
                assert!(!seen_final, "a final usage does not become an estimate again");
            } else {
                seen_final = true;
                assert_eq!(charge.usage, case.usage);
            }
        }
    }
}

#[test]
fn an_estimate_uses_what_the_provider_announced() {
    let body = include_str!("../golden/anthropic_stream.sse");
    let cut = body.find("event: content_block_stop").unwrap();
    let meter = read(Endpoint::Messages, SSE, [&body.as_bytes()[..cut]]);
    assert_eq!(meter.usage(), None, "the announcement is not the usage of the answer");
    let charge = meter.charge(999_999);
    assert!(charge.estimated);
    assert_eq!(
        charge.usage,
        Usage {
            input: 472,
            output: 3,
            cache_read: 18000,
            cache_write_5m: 1024,
            cache_write_1h: 1024,
            ..Usage::default()
        }
    );
}

#[test]
fn without_any_number_the_estimate_counts_bytes() {
    let meter = whole(Endpoint::ChatCompletions, "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n");
    assert_eq!(
        meter.charge(401),
        Charge { usage: Usage { input: 101, output: 2, ..Usage::default() }, estimated: true }
    );
}

#[test]
fn a_chat_stream_that_breaks_before_its_usage_chunk_pays_for_what_was_seen() {
    let body = include_str!("../golden/chat_stream.sse");
    let cut = body.find("\"choices\":[],").unwrap();
    let meter = read(Endpoint::ChatCompletions, SSE, [&body.as_bytes()[..cut]]);
    let usage = Usage { input: 1000, output: 3, service_tier: ServiceTier::Flex, ..Usage::default() };
    assert_eq!(meter.charge(4000), Charge { usage, estimated: true });
}

#[test]
fn an_error_without_an_answer_costs_nothing() {
    for (endpoint, body) in [
        (Endpoint::Messages, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
        (Endpoint::Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n"),
        (Endpoint::ChatCompletions, r#"{"error":{"message":"Rate limit","type":"tokens","code":null}}"#),
        (Endpoint::ChatCompletions, "data: {\"error\":\"boom\"}\n\n"),
        (Endpoint::Responses, "event: error\ndata: {\"code\":\"server_error\",\"message\":\"x\"}\n\n"),
        (Endpoint::Embeddings, r#"{"error":{"message":"no"}}"#),
        (Endpoint::GenerateContent, r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#),
        (Endpoint::StreamGenerateContent, r#"[{"error":{"code":503,"status":"UNAVAILABLE"}}]"#),
    ] {
        let meter = whole(endpoint, body);
        assert!(meter.saw_error(), "{body}");
        assert_eq!(meter.charge(4000), Charge::default(), "{body}");
    }
    let mut by_status = Meter::new(Endpoint::ChatCompletions, Some("text/html"), 502);
    by_status.feed(b"<html>Bad gateway</html>");
    assert!(by_status.saw_error());
    assert_eq!(by_status.charge(4000), Charge::default());
}

#[test]
fn an_error_in_the_middle_pays_for_what_was_seen() {
    let meter = whole(
        Endpoint::Messages,
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n\
         data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
    );
    let usage = Usage { input: 7, output: 1, ..Usage::default() };
    assert!(meter.saw_error());
    assert_eq!(meter.charge(4000), Charge { usage, estimated: true });
}

#[test]
fn a_null_error_is_none() {
    let meter = whole(Endpoint::Responses, r#"{"object":"response","error":null,"usage":{"input_tokens":1}}"#);
    assert!(!meter.saw_error());
}

#[test]
fn counting_is_free() {
    for (endpoint, body) in [
        (Endpoint::MessagesCountTokens, r#"{"input_tokens":2095}"#),
        (Endpoint::GeminiCountTokens, r#"{"totalTokens":31,"usageMetadata":{"promptTokenCount":31}}"#),
    ] {
        let meter = whole(endpoint, body);
        assert_eq!(meter.charge(4000), Charge::default());
        assert!(meter.is_complete());
    }
}

#[test]
fn events_of_many_mebibytes_are_not_kept() {
    let image = "A".repeat(8 * 1024 * 1024);
    let body = format!(
        "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"inlineData\":{{\"data\":\"{image}\"}}}},{{\"text\":\"ok\"}}]}},\
         \"finishReason\":\"STOP\"}}],\"usageMetadata\":{{\"promptTokenCount\":3,\"candidatesTokenCount\":1290,\
         \"candidatesTokensDetails\":[{{\"modality\":\"IMAGE\",\"tokenCount\":1290}}]}}}}\n\n"
    );
    let meter = read(Endpoint::StreamGenerateContent, SSE, body.as_bytes().chunks(65_536));
    assert_eq!(meter.usage(), Some(Usage { input: 3, output_image: 1290, ..Usage::default() }));
    assert_eq!(meter.content_bytes(), 2, "an image is not text");
}

#[test]
fn framing_oddities_do_not_matter() {
    let event = r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#;
    let usage = Some(Usage { input: 5, output: 7, ..Usage::default() });
    let (head, tail) = event.split_at(event.find("\"usage\"").unwrap());
    for body in [
        format!("\u{feff}data: {event}\n\n"),
        format!("data:{event}\n\n"),
        format!("data: {event}"),
        format!("\n\n: comment\nid: 4\nretry: 10\nevent: x\ndata: {event}\n\n"),
        format!("data: {head}\ndata: {tail}\n\n"),
        format!("data\ndata: {event}\n\n"),
        format!("database: {{\ndata: {event}\n\n"),
        format!("data: not json {{\n\ndata: {event}\n\n"),
        format!("data: {{\"choices\":[\n\ndata: {event}\n\n"),
    ] {
        let expected = reading(&whole(Endpoint::ChatCompletions, &body));
        assert_eq!(expected.usage, usage, "{body}");
        for cut in 1..body.len() {
            let (head, tail) = body.as_bytes().split_at(cut);
            assert_eq!(reading(&read(Endpoint::ChatCompletions, None, [head, tail])), expected, "{body} at {cut}");
        }
    }
}

#[test]
fn json_lines_are_read_to_the_last() {
    let body = "{\"candidates\":[],\"usageMetadata\":{\"promptTokenCount\":1}}\n\
                {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":9}}\n";
    let mut meter = Meter::new(Endpoint::StreamGenerateContent, Some("application/x-ndjson"), 200);
    meter.feed(body.as_bytes());
    assert!(!meter.is_complete(), "another line may follow");
    meter.finish();
    assert_eq!(meter.usage(), Some(Usage { input: 1, output: 9, ..Usage::default() }));
}

#[test]
fn a_name_or_value_that_never_ends_is_not_kept() {
    let body = format!(
        "{{\"{}\":1,\"service_tier\":\"{}\",\"usage\":{{\"prompt_tokens\":{}}}",
        "n".repeat(1 << 20),
        "t".repeat(1 << 20),
        "1".repeat(1 << 20)
    );
    let meter = read(Endpoint::ChatCompletions, JSON, body.as_bytes().chunks(1000));
    assert_eq!(meter.usage(), None);
}

const HOSTILE: [&str; 12] = [
    "null",
    "true",
    "-5",
    "1e400",
    "18446744073709551616",
    "9999999999999999",
    "1.9",
    "\"12\"",
    "\"x\"",
    "[]",
    "{}",
    "[[{\"a\":1}]]",
];

#[test]
fn numbers_of_every_kind_are_survived() {
    let expected = [0, 0, 0, 0, 0, 0, 1, 12, 0, 0, 0, 0];
    for (value, expected) in HOSTILE.iter().zip(expected) {
        for (endpoint, body) in [
            (
                Endpoint::Messages,
                format!(
                    r#"{{"usage":{{"input_tokens":{value},"output_tokens":3,"cache_creation":{value},"iterations":{value}}}}}"#
                ),
            ),
            (
                Endpoint::ChatCompletions,
                format!(
                    r#"{{"usage":{{"prompt_tokens":{value},"completion_tokens":3,"prompt_tokens_details":{value}}},"choices":{value}}}"#
                ),
            ),
            (
                Endpoint::Responses,
                format!(
                    r#"{{"usage":{{"input_tokens":{value},"output_tokens":3,"output_tokens_details":{value}}},"output":{value}}}"#
                ),
            ),
            (
                Endpoint::GenerateContent,
                format!(
                    r#"{{"usageMetadata":{{"promptTokenCount":{value},"candidatesTokenCount":3,"promptTokensDetails":{value}}},"candidates":{value}}}"#
                ),
            ),
        ] {
            let usage = whole(endpoint, &body).usage().expect(&body);
            assert_eq!(usage, Usage { input: expected, output: 3, ..Usage::default() }, "{body}");
        }
    }
}

#[test]
fn a_usage_of_another_type_is_none() {
    for value in HOSTILE.iter().filter(|value| **value != "{}") {
        for endpoint in [Endpoint::Messages, Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Embeddings] {
            let meter = whole(endpoint, &format!(r#"{{"usage":{value},"message":{value},"response":{value}}}"#));
            assert_eq!(meter.usage(), None, "{endpoint:?} {value}");
        }
    }
}

proptest! {
    #[test]
    fn any_cuts_give_the_same(index in 0_usize..10, mut cuts in prop::collection::vec(0_usize..6000, 0..12)) {
        let case = &golden()[index];
        let bytes = case.body.as_bytes();
        cuts.retain(|cut| *cut < bytes.len());
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        prop_assert_eq!(
            reading(&read(case.endpoint, case.content_type, parts)),
            reading(&read(case.endpoint, case.content_type, [bytes]))
        );
    }

    #[test]
    fn garbage_never_panics_and_splits_the_same(
        index in 0_usize..10,
        noise in prop::collection::vec((0_usize..6000, any::<u8>()), 0..20),
        cut in 0_usize..6000,
    ) {
        let case = &golden()[index];
        let mut bytes = case.body.as_bytes().to_vec();
        for (at, byte) in noise {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let (head, tail) = bytes.split_at(cut % bytes.len());
        prop_assert_eq!(
            reading(&read(case.endpoint, case.content_type, [head, tail])),
            reading(&read(case.endpoint, case.content_type, [&bytes[..]]))
        );
    }

    #[test]
    fn pure_noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for endpoint in [Endpoint::Messages, Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::GenerateContent] {
            let meter = read(endpoint, None, bytes.chunks(3));
            prop_assert!(meter.content_bytes() <= bytes.len() as u64);
        }
    }
}

#[test]
fn text_that_took_no_tokens_is_estimated_not_free() {
    let text = "word ".repeat(80);
    let chat = |usage: &str| {
        let choice =
            format!(r#"{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content":"{text}"}}}}"#);
        (Endpoint::ChatCompletions, JSON, format!(r#"{{"choices":[{choice}],"usage":{usage}}}"#))
    };
    let stream = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}\n\n\
         data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":0,\"completion_tokens\":0}}}}\n\ndata: [DONE]\n\n"
    );
    let claude = format!(
        r#"{{"type":"message","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","usage":{{"input_tokens":0,"output_tokens":0}}}}"#
    );
    for (endpoint, content_type, body) in [
        chat("{}"),
        chat(r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#),
        (Endpoint::ChatCompletions, SSE, stream),
        (Endpoint::Messages, JSON, claude),
    ] {
        let mut meter = Meter::new(endpoint, content_type, 200);
        meter.feed(body.as_bytes());
        meter.finish();
        let charge = meter.charge(400);
        assert!(charge.estimated, "{body}");
        assert_eq!((charge.usage.input, charge.usage.output), (100, 100), "{body}");
    }
}
