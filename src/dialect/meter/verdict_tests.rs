//! What an answer is, by its beginning: events as providers send them, cut at every byte.

use super::*;

const SSE: Option<&str> = Some("text/event-stream");

/// An answer of which `before` says nothing yet, and `decisive` all.
struct Case {
    endpoint: Endpoint,
    before: &'static str,
    decisive: &'static str,
    verdict: Verdict,
}

const fn case(endpoint: Endpoint, before: &'static str, decisive: &'static str, verdict: Verdict) -> Case {
    Case { endpoint, before, decisive, verdict }
}

fn meter(endpoint: Endpoint) -> Meter {
    Meter::new(endpoint, SSE, 200)
}

/// Nothing is said too early, and nothing else at any cut.
fn check(case: &Case) {
    let context = format!("{:?}: {:?} then {:?}", case.endpoint, case.before, case.decisive);
    let all = [case.before, case.decisive].concat();
    for cut in 0..=all.len() {
        let mut meter = meter(case.endpoint);
        let (head, tail) = all.as_bytes().split_at(cut);
        meter.feed(head);
        if cut <= case.before.len() {
            assert_eq!(meter.verdict(), None, "{context}, cut at {cut}");
        }
        assert!(meter.verdict().is_none_or(|verdict| verdict == case.verdict), "{context}, cut at {cut}");
        meter.feed(tail);
        assert_eq!(meter.verdict(), Some(case.verdict), "{context}, cut at {cut}");
        if meter.is_complete() {
            continue;
        }
        // The first word counts.
        meter.feed(b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"x\"}}\n\n");
        meter.finish();
        assert_eq!(meter.verdict(), Some(case.verdict), "{context}, after what follows");
    }
    let mut meter = meter(case.endpoint);
    for byte in all.as_bytes().chunks(1) {
        meter.feed(byte);
    }
    assert_eq!(meter.verdict(), Some(case.verdict), "{context}, byte by byte");
}

const MESSAGE_START: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\"type\":\"message\",",
    "\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],\"stop_reason\":null,\"usage\":",
    "{\"input_tokens\":472,\"output_tokens\":2}}}\n\n: keep-alive\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n"
);
const TEXT_START: &str = concat!(
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":",
    "{\"type\":\"text\",\"text\":\"\"}}\n\n"
);

#[test]
fn what_an_anthropic_stream_is() {
    use Endpoint::Messages;
    let started = [MESSAGE_START, TEXT_START].concat().leak();
    for case in [
        case(
            Messages,
            started,
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
            Verdict::Answer,
        ),
        case(
            Messages,
            MESSAGE_START,
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"get_weather\",\"input\":{}}}\n\n",
            Verdict::Answer,
        ),
        case(
            Messages,
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"Let me\"}}\n\n",
            Verdict::Answer,
        ),
        case(
            Messages,
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"EqQB\"}}\n\n",
            Verdict::Answer,
        ),
        // A refusal is the model's word.
        case(
            Messages,
            MESSAGE_START,
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":0}}\n\n",
            Verdict::Answer,
        ),
        case(
            Messages,
            MESSAGE_START,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"details\":null,\"type\":\"overloaded_error\",\"message\":\"Overloaded\"},\"request_id\":\"req_1\"}\n\n",
            Verdict::Error(529),
        ),
        case(
            Messages,
            "",
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow\"}}\n\n",
            Verdict::Error(429),
        ),
        case(
            Messages,
            started,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Internal server error\"}}\n\n",
            Verdict::Error(500),
        ),
        case(
            Messages,
            MESSAGE_START,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 210000 tokens > 200000 maximum\"}}\n\n",
            Verdict::Error(400),
        ),
        case(Messages, MESSAGE_START, "event: error\ndata: Overloaded\n\n", Verdict::Error(500)),
        case(
            Messages,
            started,
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":0}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
            Verdict::Wordless,
        ),
        // The model has nothing to say, which has been known to happen, and to cost.
        case(
            Messages,
            started,
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
            Verdict::Answer,
        ),
    ] {
        check(&case);
    }
}

const ROLE: &str = concat!(
    ": OPENROUTER PROCESSING\n\ndata: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,",
    "\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n"
);

#[test]
fn what_a_chat_stream_is() {
    use Endpoint::ChatCompletions as Chat;
    for case in [
        case(Chat, ROLE, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n", Verdict::Answer),
        case(
            Chat,
            ROLE,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"Hm\"}}]}\n\n",
            Verdict::Answer,
        ),
        case(Chat, ROLE, "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"Hm\"}}]}\n\n", Verdict::Answer),
        case(Chat, ROLE, "data: {\"choices\":[{\"index\":0,\"delta\":{\"refusal\":\"I\"}}]}\n\n", Verdict::Answer),
        case(
            Chat,
            ROLE,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}\n\n",
            Verdict::Answer,
        ),
        case(
            Chat,
            ROLE,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"images\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:\"}}]}}]}\n\n",
            Verdict::Answer,
        ),
        // Azure's first chunk says nothing; its filter is the client's affair.
        case(
            Chat,
            "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n",
            Verdict::Answer,
        ),
        case(Chat, ROLE, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n", Verdict::Answer),
        case(
            Chat,
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: [DONE]\n\n",
            Verdict::Wordless,
        ),
        case(
            Chat,
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":0}}\n\n",
            "data: [DONE]\n\n",
            Verdict::Wordless,
        ),
        // What it thought is not shown.
        case(
            Chat,
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":40}}\n\n",
            "data: [DONE]\n\n",
            Verdict::Answer,
        ),
        case(Chat, ROLE, "data: [DONE]\n\n", Verdict::Wordless),
        case(
            Chat,
            ROLE,
            "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
            Verdict::Error(500),
        ),
        case(
            Chat,
            "",
            "data: {\"error\":{\"message\":\"Rate limit reached\",\"type\":\"tokens\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}\n\n",
            Verdict::Error(429),
        ),
        case(
            Chat,
            "",
            "data: {\"error\":{\"message\":\"This model's maximum context length is 128000 tokens.\",\"type\":\"invalid_request_error\",\"param\":\"messages\",\"code\":\"context_length_exceeded\"}}\n\n",
            Verdict::Error(400),
        ),
        case(
            Chat,
            ROLE,
            "data: {\"id\":\"gen-1\",\"error\":{\"code\":502,\"message\":\"Provider disconnected\"},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n",
            Verdict::Error(502),
        ),
        case(Chat, "", "data: {\"error\":\"Overloaded\"}\n\n", Verdict::Error(500)),
        case(
            Chat,
            ROLE,
            "event: error\ndata: {\"error\":{\"message\":\"x\",\"type\":\"overloaded\"}}\n\n",
            Verdict::Error(503),
        ),
    ] {
        check(&case);
    }
}

const CREATED: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",",
    "\"object\":\"response\",\"status\":\"in_progress\",\"error\":null,\"incomplete_details\":null,\"output\":[],\"usage\":null}}\n\n",
    "event: response.in_progress\ndata: {\"type\":\"response.in_progress\",\"sequence_number\":1,\"response\":{\"id\":\"resp_1\",",
    "\"status\":\"in_progress\",\"error\":null,\"output\":[]}}\n\nevent: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":2}\n\n"
);

#[test]
fn what_a_responses_stream_is() {
    use Endpoint::Responses;
    for case in [
        case(
            Responses,
            CREATED,
            "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"id\":\"msg_1\",\"type\":\"message\",\"status\":\"in_progress\",\"content\":[]}}\n\n",
            Verdict::Answer,
        ),
        case(
            Responses,
            CREATED,
            "data: {\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1\",\"delta\":\"Hi\"}\n\n",
            Verdict::Answer,
        ),
        case(
            Responses,
            CREATED,
            "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hi\"}]}]}}\n\n",
            Verdict::Answer,
        ),
        case(
            Responses,
            CREATED,
            "data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"content_filter\"},\"output\":[]}}\n\n",
            Verdict::Answer,
        ),
        case(
            Responses,
            CREATED,
            "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"error\":null,\"output\":[]}}\n\n",
            Verdict::Wordless,
        ),
        case(
            Responses,
            CREATED,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"The model failed to generate a response.\"},\"output\":[],\"usage\":null}}\n\n",
            Verdict::Error(500),
        ),
        case(
            Responses,
            CREATED,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"...\"}}}\n\n",
            Verdict::Error(429),
        ),
        case(
            Responses,
            CREATED,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"context_length_exceeded\",\"message\":\"...\"}}}\n\n",
            Verdict::Error(400),
        ),
        case(
            Responses,
            "",
            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"An error occurred\",\"param\":null,\"sequence_number\":0}\n\n",
            Verdict::Error(500),
        ),
        case(
            Responses,
            CREATED,
            "event: error\ndata: {\"type\":\"error\",\"code\":\"invalid_prompt\",\"message\":\"...\",\"param\":null}\n\n",
            Verdict::Error(400),
        ),
        case(
            Responses,
            CREATED,
            "data: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"code\":\"context_length_exceeded\",\"message\":\"...\"}}\n\n",
            Verdict::Error(400),
        ),
    ] {
        check(&case);
    }
}

#[test]
fn what_a_gemini_stream_is() {
    use Endpoint::StreamGenerateContent as Gemini;
    let thinking = "data: {\"candidates\":[{\"content\":{\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":8}}\r\n\r\n";
    for case in [
        case(
            Gemini,
            thinking,
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hi\"}],\"role\":\"model\"}}]}\r\n\r\n",
            Verdict::Answer,
        ),
        case(
            Gemini,
            thinking,
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{}}}]}}]}\r\n\r\n",
            Verdict::Answer,
        ),
        case(
            Gemini,
            "",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AA\"}}]}}]}\r\n\r\n",
            Verdict::Answer,
        ),
        case(
            Gemini,
            "",
            "data: {\"promptFeedback\":{\"blockReason\":\"PROHIBITED_CONTENT\"},\"usageMetadata\":{\"promptTokenCount\":8}}\r\n\r\n",
            Verdict::Answer,
        ),
        case(Gemini, "", "data: {\"candidates\":[{\"finishReason\":\"SAFETY\",\"index\":0}]}\r\n\r\n", Verdict::Answer),
        case(Gemini, thinking, "data: {\"candidates\":[{\"finishReason\":\"MAX_TOKENS\"}]}\r\n\r\n", Verdict::Answer),
        case(
            Gemini,
            thinking,
            "data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded.\",\"status\":\"UNAVAILABLE\"}}\r\n\r\n",
            Verdict::Error(503),
        ),
        case(
            Gemini,
            "",
            "data: {\"error\":{\"code\":400,\"message\":\"The input token count exceeds\",\"status\":\"INVALID_ARGUMENT\"}}\r\n\r\n",
            Verdict::Error(400),
        ),
        // Without `alt=sse`: one array, chunk by chunk.
        case(Gemini, "[", "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hi\"}]}}]}", Verdict::Answer),
        case(Gemini, "[", "{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\"}}", Verdict::Error(429)),
    ] {
        check(&case);
    }
}

#[test]
fn what_a_whole_answer_is_is_known_at_its_end() {
    for (endpoint, body, verdict) in [
        (Endpoint::Messages, include_str!("../golden/anthropic_whole.json"), Verdict::Answer),
        (Endpoint::ChatCompletions, include_str!("../golden/chat_whole.json"), Verdict::Answer),
        (Endpoint::Responses, include_str!("../golden/responses_whole.json"), Verdict::Answer),
        (Endpoint::Embeddings, include_str!("../golden/embeddings_whole.json"), Verdict::Answer),
        (Endpoint::GenerateContent, include_str!("../golden/gemini_whole.json"), Verdict::Answer),
        (Endpoint::EmbedContent, r#"{"embedding":{"values":[0.1]}}"#, Verdict::Answer),
        (Endpoint::BatchEmbedContents, r#"{"embeddings":[{"values":[0.1]}]}"#, Verdict::Answer),
        (Endpoint::MessagesCountTokens, r#"{"input_tokens":0}"#, Verdict::Answer),
        (Endpoint::GeminiCountTokens, r#"{"totalTokens":31}"#, Verdict::Answer),
        (Endpoint::MessagesCountTokens, r#"{"type":"error","error":{"type":"overloaded_error"}}"#, Verdict::Error(529)),
        (Endpoint::GeminiCountTokens, "{}", Verdict::Wordless),
        (
            Endpoint::Messages,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
            Verdict::Error(529),
        ),
        (Endpoint::Messages, r#"{"type":"message","content":[],"stop_reason":"refusal"}"#, Verdict::Answer),
        (Endpoint::Messages, r#"{"type":"message","content":[],"stop_reason":"max_tokens"}"#, Verdict::Answer),
        (Endpoint::Messages, r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#, Verdict::Wordless),
        (Endpoint::Messages, r#"{"content":[{"type":"tool_use","id":"t","name":"f","input":{}}]}"#, Verdict::Answer),
        (
            Endpoint::ChatCompletions,
            r#"{"error":{"message":"m","type":"server_error","code":null}}"#,
            Verdict::Error(500),
        ),
        (
            Endpoint::ChatCompletions,
            r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#,
            Verdict::Error(400),
        ),
        (Endpoint::ChatCompletions, r#"{"choices":[],"usage":{"prompt_tokens":0}}"#, Verdict::Wordless),
        (Endpoint::ChatCompletions, r#"{"code":500,"msg":"busy"}"#, Verdict::Wordless),
        (Endpoint::ChatCompletions, "Bad gateway", Verdict::Wordless),
        (Endpoint::Responses, r#"{"object":"response","status":"queued","error":null,"output":[]}"#, Verdict::Answer),
        (Endpoint::Responses, r#"{"object":"response","status":"incomplete","output":[]}"#, Verdict::Answer),
        (
            Endpoint::Responses,
            r#"{"object":"response","status":"failed","error":{"code":"server_error"},"output":[]}"#,
            Verdict::Error(500),
        ),
        (Endpoint::Embeddings, r#"{"object":"list","model":"m"}"#, Verdict::Wordless),
        (Endpoint::GenerateContent, r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, Verdict::Answer),
        (Endpoint::GenerateContent, r#"{"candidates":[],"usageMetadata":{"promptTokenCount":8}}"#, Verdict::Wordless),
        (Endpoint::GenerateContent, r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#, Verdict::Error(503)),
    ] {
        for cut in 0..body.len() {
            let mut meter = Meter::new(endpoint, Some("application/json"), 200);
            meter.feed(&body.as_bytes()[..cut]);
            assert!(meter.verdict().is_none_or(|early| early == verdict), "{endpoint:?} {body} at {cut}");
            if cut < body.trim_end().len() {
                assert_eq!(meter.verdict(), None, "{endpoint:?} {body} at {cut}");
            }
            meter.feed(&body.as_bytes()[cut..]);
            meter.finish();
            assert_eq!(meter.verdict(), Some(verdict), "{endpoint:?} {body} at {cut}");
        }
    }
}

#[test]
fn what_says_nothing_is_nothing_until_it_ends() {
    for filler in
        ["", " \r\n\n", "\u{feff}", ": keep-alive\n\n", "retry: 3000\n\n", "event: ping\n\n", "data: not json {\n\n"]
    {
        let mut meter = meter(Endpoint::ChatCompletions);
        for _ in 0..1000 {
            meter.feed(filler.as_bytes());
            assert_eq!(meter.verdict(), None, "{filler:?}");
        }
        meter.finish();
        let expected = if filler.trim_matches(['\u{feff}', ' ', '\r', '\n']).is_empty() {
            Verdict::Empty
        } else {
            Verdict::Wordless
        };
        assert_eq!(meter.verdict(), Some(expected), "{filler:?}");
        assert!(meter.has_failed());
        assert_eq!(meter.charge(4000), Charge::default(), "{filler:?}: nothing was said, nothing is paid");
    }
}

#[test]
fn a_page_for_people_is_no_answer_and_costs_nothing() {
    for page in ["<!DOCTYPE html><html>", "\n <html>Bad gateway", "\u{feff}<?xml version=\"1.0\"?>"] {
        for cut in 0..page.len() {
            let mut meter = Meter::new(Endpoint::Messages, Some("text/html"), 200);
            meter.feed(&page.as_bytes()[..cut]);
            meter.feed(&page.as_bytes()[cut..]);
            assert_eq!(meter.verdict(), Some(Verdict::Page), "{page:?} at {cut}");
            assert_eq!(meter.charge(4000), Charge::default());
        }
    }
}

#[test]
fn a_byte_order_mark_hides_nothing() {
    for body in [
        "\u{feff}{\"choices\":[{\"message\":{\"content\":\"Hi\"}}]}",
        "\u{feff}data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n",
    ] {
        for cut in 0..body.len() {
            let mut meter = meter(Endpoint::ChatCompletions);
            meter.feed(&body.as_bytes()[..cut]);
            meter.feed(&body.as_bytes()[cut..]);
            assert_eq!(meter.verdict(), Some(Verdict::Answer), "{body:?} at {cut}");
        }
    }
}

#[test]
fn an_answer_without_words_that_said_its_usage_pays_that() {
    let mut meter = meter(Endpoint::Messages);
    meter.feed(MESSAGE_START.as_bytes());
    meter.finish();
    assert_eq!(meter.verdict(), Some(Verdict::Wordless));
    let charge = meter.charge(4000);
    assert_eq!((charge.usage.input, charge.usage.output, charge.estimated), (472, 2, true));
}

#[test]
fn what_is_packed_is_taken_for_an_answer_and_estimated() {
    let mut meter = Meter::new(Endpoint::ChatCompletions, Some("application/json"), 200).packed();
    assert_eq!(meter.verdict(), Some(Verdict::Answer));
    meter.feed(b"\x1f\x8b\x08\0");
    meter.finish();
    assert_eq!((meter.verdict(), meter.has_failed(), meter.response_bytes()), (Some(Verdict::Answer), false, 4));
    let usage = Usage { input: 1000, ..Usage::default() };
    assert_eq!(meter.charge(4000), Charge { usage, estimated: true });
}

#[test]
fn a_document_that_ends_within_its_json_is_torn_whatever_it_has_said() {
    let whole = r#"{"choices":[{"index":0,"message":{"content":"a {\"b\": [1"},"finish_reason":"stop"}],"x":[[1],{}]}"#;
    for cut in 1..whole.len() {
        let mut meter = Meter::new(Endpoint::ChatCompletions, Some("application/json"), 200);
        meter.feed(&whole.as_bytes()[..cut]);
        assert_eq!((meter.verdict(), meter.is_document_under_way()), (None, true), "cut at {cut}");
        meter.finish();
        assert_eq!(meter.verdict(), Some(Verdict::Torn), "cut at {cut}");
        assert!(meter.has_failed(), "cut at {cut}");
    }
    let mut meter = Meter::new(Endpoint::ChatCompletions, Some("application/json"), 200);
    meter.feed(whole.as_bytes());
    assert_eq!((meter.verdict(), meter.is_document_under_way()), (Some(Verdict::Answer), true));
    meter.feed(b"\n");
    meter.finish();
    assert_eq!((meter.verdict(), meter.is_document_under_way()), (Some(Verdict::Answer), false));
}

#[test]
fn lines_of_json_and_events_are_not_torn_by_their_end() {
    for (content_type, text) in [
        ("application/x-ndjson", "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}\n{\"choices\""),
        ("text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\""),
    ] {
        let mut meter = Meter::new(Endpoint::ChatCompletions, Some(content_type), 200);
        meter.feed(text.as_bytes());
        assert!(!meter.is_document_under_way(), "{content_type}");
        meter.finish();
        assert_eq!(meter.verdict(), Some(Verdict::Answer), "{content_type}");
    }
}
