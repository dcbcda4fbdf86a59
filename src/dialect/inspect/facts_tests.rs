#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::super::{ClientHints, route};
use super::*;

fn facts(path: &str, body: &str) -> Facts {
    let route = route("POST", path, None, ClientHints::default()).unwrap();
    inspect(&route, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}")).facts
}

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const EMBEDDINGS: &str = "/v1/embeddings";
const GEMINI: &str = "/v1beta/models/g:generateContent";
const BATCH_EMBED: &str = "/v1beta/models/g:batchEmbedContents";

/// A body around one part of a message.
fn around(path: &str, part: &str) -> String {
    match path {
        MESSAGES | CHAT => format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#),
        RESPONSES => {
            format!(r#"{{"model":"m","input":[{{"type":"message","role":"user","content":[{part}]}}]}}"#)
        }
        EMBEDDINGS => format!(r#"{{"model":"m","input":[{part}]}}"#),
        BATCH_EMBED => format!(r#"{{"requests":[{{"content":{{"parts":[{part}]}}}}]}}"#),
        _ => format!(r#"{{"contents":[{{"role":"user","parts":[{part}]}}]}}"#),
    }
}

/// A body with one more member at the top.
fn with(path: &str, member: &str) -> String {
    if path == GEMINI { format!("{{{member}}}") } else { format!(r#"{{"model":"m",{member}}}"#) }
}

#[test]
fn text_is_all_in_the_body() {
    for (path, part) in [
        (MESSAGES, r#"{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}"#),
        (
            MESSAGES,
            r#"{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x"}],"is_error":false}"#,
        ),
        (MESSAGES, r#"{"type":"thinking","thinking":"…","signature":"AAAA"}"#),
        (MESSAGES, r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"x"},"title":"t"}"#),
        (CHAT, r#"{"type":"text","text":"see https://example.com/a.png"}"#),
        (RESPONSES, r#"{"type":"input_text","text":"hi"}"#),
        (RESPONSES, r#"{"type":"input_text","text":"hi","file_id":null}"#),
        (EMBEDDINGS, r#""a","b",[1,2,3]"#),
        (GEMINI, r#"{"text":"hi","thoughtSignature":"AA"},{"functionResponse":{"name":"f","response":{"url":"x"}}}"#),
        (BATCH_EMBED, r#"{"text":"hi"}"#),
    ] {
        let found = facts(path, &around(path, part));
        assert_eq!((found.outside, found.images, found.calls), (None, 0, ToolCalls::None), "{part}");
    }
}

#[test]
fn what_is_not_in_the_body_is_found_in_every_dialect() {
    for (path, part) in [
        (MESSAGES, r#"{"type":"image","source":{"type":"url","url":"https://x/y.png"}}"#),
        (MESSAGES, r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#),
        (MESSAGES, r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"}}"#),
        (MESSAGES, r#"{"type":"document","source":{"data":"JVBE"}}"#),
        (
            MESSAGES,
            r#"{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"url":"u"}}]}}"#,
        ),
        (MESSAGES, r#"{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"url":"u"}}]}"#),
        (MESSAGES, r#"{"type":"container_upload","file_id":"f"}"#),
        (MESSAGES, r#"{"type":"hologram","hologram":{}}"#),
        (CHAT, r#"{"type":"image_url","image_url":{"url":"https://x/y.png"}}"#),
        (CHAT, r#"{"type":"image_url","image_url":"https://x/y.png"}"#),
        (CHAT, r#"{"type":"image_url","image\u005furl":{"url":"https://x/y.png"}}"#),
        (CHAT, r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","url":"https://x/y.png"}}"#),
        (CHAT, r#"{"type":"image_url","image_url":{"url":"data:application/pdf;base64,AA"}}"#),
        (CHAT, r#"{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}"#),
        (CHAT, r#"{"type":"file","file":{"file_id":"f"}}"#),
        (CHAT, r#"{"type":"video_url","video_url":{"url":"u"}}"#),
        (RESPONSES, r#"{"type":"input_image","image_url":"https://x/y.png"}"#),
        (RESPONSES, r#"{"type":"input_image","file_id":"f"}"#),
        (RESPONSES, r#"{"type":"input_file","file_url":"u"}"#),
        (RESPONSES, r#"{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,AA"}"#),
        (EMBEDDINGS, r#"{"image":"https://x/y.png"}"#),
        (GEMINI, r#"{"fileData":{"fileUri":"u"}}"#),
        (GEMINI, r#"{"file_data":{"file_uri":"u"}}"#),
        (GEMINI, r#"{"inlineData":{"mimeType":"audio/wav","data":"AA"}}"#),
        (GEMINI, r#"{"inline_data":{"mime_type":"application/pdf","data":"AA"}}"#),
        (GEMINI, r#"{"inlineData":{"mimeType":"image/png","mime_type":"video/mp4","data":"AA"}}"#),
        (GEMINI, r#"{"functionResponse":{"name":"f","parts":[{"fileData":{"fileUri":"u"}}]}}"#),
        (BATCH_EMBED, r#"{"fileData":{"fileUri":"u"}}"#),
    ] {
        assert!(facts(path, &around(path, part)).outside.is_some(), "{part}");
    }
    for (path, member) in [
        (MESSAGES, r#""container":"c""#),
        (MESSAGES, r#""system":[{"type":"text","text":"x","attachment":{"url":"u"}}]"#),
        (CHAT, r#""messages":[{"role":"assistant","audio":{"id":"audio_1"}}]"#),
        (RESPONSES, r#""previous_response_id":"r""#),
        (RESPONSES, r#""conversation":{"id":"c"}"#),
        (RESPONSES, r#""prompt":{"id":"p"}"#),
        (RESPONSES, r#""input":[{"type":"item_reference","id":"i"}]"#),
        (RESPONSES, r#""input":[{"id":"i"}]"#),
        (RESPONSES, r#""input":[{"type":"reasoning","id":"rs_1","summary":[]}]"#),
        (RESPONSES, r#""input":[{"type":"image_generation_call","id":"ig_1"}]"#),
        (GEMINI, r#""cachedContent":"cachedContents/1""#),
        (GEMINI, r#""cached_content":"cachedContents/1""#),
        (GEMINI, r#""systemInstruction":{"parts":[{"fileData":{}}]}"#),
    ] {
        assert!(facts(path, &with(path, member)).outside.is_some(), "{member}");
    }
    for (path, member) in [
        (RESPONSES, r#""previous_response_id":null,"conversation":null,"prompt":null,"tools":[]"#),
        (
            RESPONSES,
            r#""input":[{"role":"user","content":"hi"},{"type":"reasoning","encrypted_content":"AA","summary":[]}]"#,
        ),
        (RESPONSES, r#""input":[{"type":"function_call_output","call_id":"c","output":"x"}],"instructions":"hi""#),
        (RESPONSES, r#""input":"see https://example.com""#),
        (MESSAGES, r#""system":"hi","mcp_servers":[],"container":null"#),
        (CHAT, r#""enable_search":false,"plugins":[],"web_search_options":null"#),
    ] {
        assert_eq!(facts(path, &with(path, member)).outside, None, "{member}");
    }
}

#[test]
fn images_in_the_body_are_counted() {
    for (path, part) in [
        (MESSAGES, r#"{"type":"image","source":{"data":"iVBO","media_type":"image/png","type":"base64"}}"#),
        (CHAT, r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBO","detail":"low"}}"#),
        (CHAT, r#"{"type":"image_url","image_url":"data:image/png;base64,iVBO"}"#),
        (CHAT, r#"{"type":"image_url","image_url":{"url":"data:image\/png;base64,iVBO"}}"#),
        (RESPONSES, r#"{"type":"input_image","image_url":"data:image/png;base64,iVBO"}"#),
        (GEMINI, r#"{"inlineData":{"data":"iVBO","mimeType":"image/png"}}"#),
    ] {
        let found = facts(path, &around(path, &format!("{part},{part}")));
        assert_eq!((found.images, found.outside), (2, None), "{part}");
    }
}

#[test]
fn tools_of_the_provider_are_told_from_those_of_the_client() {
    let at_most = |calls, searches| ToolCalls::AtMost { calls, searches };
    for (path, member, calls) in [
        (MESSAGES, r#""tools":[{"name":"f","input_schema":{"properties":{"type":"web_search"}}}]"#, ToolCalls::None),
        (MESSAGES, r#""tools":[{"type":"custom","name":"web_search"},{"type":"bash_20250124"}]"#, ToolCalls::None),
        (MESSAGES, r#""tools":[{"type":"web_search_20250305","max_uses":5}]"#, at_most(5, 5)),
        (
            MESSAGES,
            r#""tools":[{"max_uses":5,"type":"web_search_1"},{"type":"web_fetch_1","max_uses":2}]"#,
            at_most(7, 5),
        ),
        (
            CHAT,
            r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{}}]"#,
            ToolCalls::None,
        ),
        (RESPONSES, r#""tools":[{"type":"function"},{"type":"local_shell"}],"max_tool_calls":3"#, ToolCalls::None),
        (RESPONSES, r#""tools":[{"type":"web_search"}],"max_tool_calls":3"#, at_most(3, 3)),
        (RESPONSES, r#""max_tool_calls":3,"tools":[{"type":"file_search"},{"type":"mcp"}]"#, at_most(3, 0)),
        (RESPONSES, r#""max_tool_calls":3,"prompt":{"id":"p"}"#, at_most(3, 3)),
        (GEMINI, r#""tools":[{"functionDeclarations":[{"name":"googleSearch"}]}]"#, ToolCalls::None),
        (GEMINI, r#""tools":{"function_declarations":[]}"#, ToolCalls::None),
    ] {
        assert_eq!(facts(path, &with(path, member)).calls, calls, "{member}");
    }
}

#[test]
fn tools_whose_calls_nothing_bounds_say_what_to_set() {
    for (path, member, advice) in [
        (MESSAGES, r#""tools":[{"type":"web_search_20250305"}]"#, "max_uses"),
        (MESSAGES, r#""tools":[{"type":"web_search_1","max_uses":1},{"type":"code_execution_1"}]"#, "max_uses"),
        (MESSAGES, r#""tools":[{"type":"code_execution_1"},{"type":"web_search_1","max_uses":1}]"#, "max_uses"),
        (MESSAGES, r#""tools":[{"type":"web_search_1","max_uses":1,"max_uses":1000}]"#, "max_uses"),
        (MESSAGES, r#""tools":[{"type":"web_search_1","max_uses":-1}]"#, "max_uses"),
        (MESSAGES, r#""tools":[{"type":"custom","type":"web_search_1"}]"#, "max_uses"),
        (MESSAGES, r#""tools":[{"type":7}]"#, "max_uses"),
        (MESSAGES, r#""mcp_servers":[{"url":"u"}]"#, "max_uses"),
        (RESPONSES, r#""tools":[{"type":"web_search"}]"#, "max_tool_calls"),
        (RESPONSES, r#""tools":[{"type":"web_search"}],"max_tool_calls":null"#, "max_tool_calls"),
        (RESPONSES, r#""tools":[{"type":"web_search"}],"max_tool_calls":"many""#, "max_tool_calls"),
        (RESPONSES, r#""prompt":{"id":"p"}"#, "max_tool_calls"),
        (CHAT, r#""web_search_options":{}"#, "leave"),
        (CHAT, r#""tools":[{"type":"web_search"}]"#, "leave"),
        (CHAT, r#""tools":["web_search"]"#, "leave"),
        (CHAT, r#""enable_search":true"#, "leave"),
        (GEMINI, r#""tools":[{"functionDeclarations":[]},{"googleSearch":{}}]"#, "leave"),
        (GEMINI, r#""tools":[{"code_execution":{}}]"#, "leave"),
        (GEMINI, r#""tools":{"urlContext":{}}"#, "leave"),
    ] {
        let found = facts(path, &with(path, member));
        let ToolCalls::Unstated(what_to_do) = found.calls else { panic!("{member}: {found:?}") };
        assert!(what_to_do.contains(advice) && found.outside.is_some(), "{member}: {what_to_do}");
    }
}

#[test]
fn a_cache_write_is_found_wherever_it_stands() {
    for (body, writes) in [
        (r#"{"model":"m","messages":[{"role":"user","content":"\u00e9"}]}"#, CacheWrites::None),
        (r#"{"model":"m","cache_control":{"type":"ephemeral"}}"#, CacheWrites::FiveMinutes),
        (r#"{"model":"m","tools":[{"name":"f","cache_control":{"ttl":"1h"}}]}"#, CacheWrites::OneHour),
        (r#"{"model":"m","anything":{"cache_control":{"ttl":"1\u0068"}}}"#, CacheWrites::OneHour),
        (r#"{"model":"m","anything":{"cache\u005Fcontrol":{"ttl":"\u0031h"}}}"#, CacheWrites::OneHour),
    ] {
        assert_eq!(facts(MESSAGES, body).cache_writes, writes, "{body}");
    }
    assert_eq!(facts(CHAT, r#"{"model":"m"}"#).cache_writes, CacheWrites::FiveMinutes);
    assert_eq!(facts(GEMINI, "{}").cache_writes, CacheWrites::None);
}

#[test]
fn thinking_beside_the_output_is_found() {
    for (path, member, beside) in [
        (MESSAGES, r#""max_tokens":4096,"thinking":{"type":"enabled","budget_tokens":2048}"#, 0),
        (MESSAGES, r#""max_tokens":4096,"thinking":{"type":"enabled","budget_tokens":8192}"#, 8192),
        (CHAT, r#""thinking_budget":100,"reasoning":{"max_tokens":300}"#, 300),
        (CHAT, r#""reasoning":{"effort":"high"}"#, 0),
        (GEMINI, r#""generationConfig":{"thinkingConfig":{"thinkingBudget":1024}}"#, 1024),
        (GEMINI, r#""generation_config":{"thinking_config":{"thinking_budget":"1024"}}"#, 1024),
        (GEMINI, r#""generationConfig":{"thinkingConfig":{"thinkingBudget":-1}}"#, 0),
    ] {
        assert_eq!(facts(path, &with(path, member)).beside_output, beside, "{member}");
    }
    let predicted = with(CHAT, r#""prediction":{"type":"content","content":"abc"}"#);
    assert_eq!(facts(CHAT, &predicted).beside_output, predicted.len() as u64);
}

#[test]
fn priority_is_ruled_out_only_by_words_that_rule_it_out() {
    for (path, member, may_be) in [
        (CHAT, r#""n":1"#, true),
        (CHAT, r#""service_tier":null"#, true),
        (CHAT, r#""service_tier":"auto""#, true),
        (CHAT, r#""service_tier":"priority""#, true),
        (CHAT, r#""service_tier":["default"]"#, true),
        (CHAT, r#""service_tier":"turbo""#, true),
        (CHAT, r#""service_tier":"default""#, false),
        (CHAT, r#""service_tier":"flex""#, false),
        (MESSAGES, r#""service_tier":"standard_only""#, false),
        (GEMINI, r#""serviceTier":"SERVICE_TIER_STANDARD""#, false),
    ] {
        assert_eq!(facts(path, &with(path, member)).may_be_priority, may_be, "{member}");
    }
}

#[test]
fn audio_and_images_of_the_answer_are_expected_where_they_can_come() {
    for (path, member, audio_image) in [
        (MESSAGES, r#""max_tokens":1"#, (false, false)),
        (CHAT, r#""n":1"#, (false, true)),
        (CHAT, r#""modalities":["text"]"#, (false, false)),
        (CHAT, r#""modalities":["text","audio"],"audio":{"voice":"a"}"#, (true, true)),
        (CHAT, r#""modalities":"audio""#, (true, true)),
        (GEMINI, r#""contents":[]"#, (true, true)),
        (GEMINI, r#""generationConfig":{"responseModalities":["TEXT"]}"#, (false, false)),
        (GEMINI, r#""generationConfig":{"responseModalities":["TEXT","IMAGE"]}"#, (true, true)),
    ] {
        let found = facts(path, &with(path, member));
        assert_eq!((found.output_audio, found.output_image), audio_image, "{member}");
    }
}

#[test]
fn the_largest_of_several_counts_of_answers_counts() {
    let ask = |body: &str| {
        let route = route("POST", CHAT, None, ClientHints::default()).unwrap();
        let found = inspect(&route, body.as_bytes()).unwrap();
        (found.candidates, found.max_output_tokens)
    };
    assert_eq!(ask(r#"{"model":"m","n":2,"best_of":5}"#), (5, None));
    assert_eq!(ask(r#"{"model":"m","max_tokens":5,"max_completion_tokens":-1}"#), (1, None), "-1 may mean no bound");
    assert_eq!(ask(r#"{"model":"m","max_tokens":0}"#), (1, None), "0 may mean no bound");
    assert_eq!(ask(r#"{"model":"m","max_tokens":5,"max_completion_tokens":null}"#), (1, Some(5)));
}

#[test]
fn a_member_that_costs_is_refused_in_another_case() {
    let refused = |path: &str, body: &str| {
        inspect(&route("POST", path, None, ClientHints::default()).unwrap(), body.as_bytes()).unwrap_err()
    };
    assert_eq!(refused(CHAT, r#"{"model":"m","Max_Tokens":9}"#), InspectError::Lookalike("max_tokens"));
    assert_eq!(refused(RESPONSES, r#"{"model":"m","TOOLS":[]}"#), InspectError::Lookalike("tools"));
    assert_eq!(refused(CHAT, "{\"model\":\"m\",\"Max_To\u{212a}ens\":9}"), InspectError::Lookalike("max_tokens"));
}

#[test]
fn content_nested_absurdly_deep_counts_as_unknown() {
    let deep = |depth: usize| {
        let block = r#"{"type":"tool_result","content":["#.repeat(depth) + &"]}".repeat(depth);
        facts(MESSAGES, &around(MESSAGES, &block)).outside
    };
    assert_eq!(deep(5), None);
    assert!(deep(30).is_some());
    let lists = format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    assert!(facts(CHAT, &lists).outside.is_some());
}

#[test]
fn a_body_of_which_only_tokens_are_counted_has_no_facts() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":{"url":"u"}}]}]}"#;
    assert_eq!(facts("/v1/messages/count_tokens", body), Facts::default());
}

proptest! {
    #[test]
    fn a_reference_is_found_behind_any_text(before in ".{0,40}", after in ".{0,40}", deep in 0..5_usize) {
        let mut part = json!({ "type": "image", "source": { "type": "url", "url": before } });
        for _ in 0..deep {
            part = json!({ "type": "tool_result", "content": [{ "type": "text", "text": after }, part] });
        }
        let body = json!({ "model": "m", "metadata": { "x": after }, "messages": [{ "role": "user", "content": [part] }] });
        prop_assert_eq!(facts(MESSAGES, &body.to_string()).outside, Some("url"));
    }
}
