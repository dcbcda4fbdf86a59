#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::super::{ClientHints, inspect, route};
use super::*;

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const GEMINI: &str = "/v1beta/models/m:generateContent";

fn read(path: &str, body: &str) -> Conversation {
    let route = route("POST", path, None, ClientHints::default()).unwrap();
    inspect(&route, body.as_bytes()).unwrap().conversation
}

fn named(path: &str, body: &Value, header: Option<(&str, &str)>) -> Option<String> {
    let conversation = read(path, &body.to_string());
    match conversation.identity(|name| header.filter(|(given, _)| *given == name).map(|(_, value)| value)) {
        Identity::Named(name) => Some(name.to_owned()),
        Identity::Opening(..) => None,
    }
}

/// What is heard of a conversation's beginning, and whether more follows.
fn heard(path: &str, body: &str) -> (Vec<u8>, bool) {
    let conversation = read(path, body);
    let mut heard = Vec::new();
    conversation.opening.hear(body.as_bytes(), |piece| heard.extend_from_slice(piece));
    (heard, conversation.has_past(body.as_bytes()))
}

fn begins(path: &str, body: &Value) -> Vec<u8> {
    heard(path, &body.to_string()).0
}

#[test]
fn claude_code_names_its_session_in_a_header_and_in_its_metadata() {
    let uuid = "0b2f2a6e-6a4f-4d0b-9f0e-3a8f2b1c4d5e";
    let old = json!({"model": "m", "metadata": {"user_id": format!("user_abc_account__session_{uuid}")}});
    let new = json!({"device_id": "d", "account_uuid": "", "session_id": uuid}).to_string();
    let new = json!({"model": "m", "metadata": {"user_id": new}});
    let plain = json!({"model": "m", "metadata": {"session_id": uuid}});
    for body in [old, new, plain] {
        assert_eq!(named(MESSAGES, &body, None).as_deref(), Some(uuid), "{body}");
    }
    let header = Some(("x-claude-code-session-id", uuid));
    assert_eq!(named(MESSAGES, &json!({"model": "m"}), header).as_deref(), Some(uuid));
}

#[test]
fn codex_and_other_clients_of_openai_name_theirs() {
    for header in ["session-id", "thread-id", "session_id"] {
        for path in [CHAT, RESPONSES] {
            assert_eq!(named(path, &json!({"model": "m"}), Some((header, "s1"))).as_deref(), Some("s1"), "{header}");
        }
    }
    for path in [CHAT, RESPONSES] {
        let body = json!({"model": "m", "prompt_cache_key": "k1", "user": "u1"});
        assert_eq!(named(path, &body, Some(("session-id", "s1"))).as_deref(), Some("k1"), "the cache has a name");
    }
    assert_eq!(named(MESSAGES, &json!({"model": "m", "prompt_cache_key": "k1"}), None), None, "not a member there");
}

#[test]
fn a_person_is_not_a_conversation() {
    for (path, body) in [
        (CHAT, json!({"model": "m", "user": "u1"})),
        (RESPONSES, json!({"model": "m", "user": "u1"})),
        (MESSAGES, json!({"model": "m", "metadata": {"user_id": "u1"}})),
    ] {
        let conversation = read(path, &body.to_string());
        let identity = conversation.identity(|_| None);
        assert_eq!(identity, Identity::Opening(conversation.opening, Some("u1")), "{body}");
    }
}

#[test]
fn what_is_no_name_names_nothing() {
    let long = "x".repeat(MAX_NAME + 1);
    for value in [json!(null), json!(7), json!(""), json!(" "), json!({"a": 1}), json!(["a"]), json!(long)] {
        for label in ["prompt_cache_key", "user"] {
            let body = json!({"model": "m", (label): value});
            assert_eq!(read(CHAT, &body.to_string()), Conversation::default(), "{body}");
        }
        for metadata in [json!({"user_id": value}), json!({"session_id": value}), value.clone()] {
            let body = json!({"model": "m", "metadata": metadata});
            let found = read(MESSAGES, &body.to_string());
            assert_eq!(found.session, None, "{body}");
        }
    }
    for user_id in ["{", "{}", r#"{"session_id":1}"#, "a_session_", "{\"session_id\":\"\"}"] {
        let body = json!({"model": "m", "metadata": {"user_id": user_id}});
        assert_eq!(named(MESSAGES, &body, None), None, "{body}");
    }
    assert_eq!(named(CHAT, &json!({"model": "m"}), Some(("session-id", " "))), None);
    // As before: a member that costs nothing may be spelled in any way, and be there twice.
    read(CHAT, r#"{"model":"m","User":"a","user":"b","user":"c","Prompt_Cache_Key":7,"metadata":{"a":"b"}}"#);
    read(MESSAGES, r#"{"model":"m","Metadata":1,"metadata":{"user_id":"a","user_id":"b"}}"#);
}

#[test]
fn the_beginning_of_a_conversation_stays_while_it_grows() {
    let marked = json!([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]);
    let first = json!({"model": "m", "system": "be good", "tools": [{"name": "t"}],
        "messages": [{"role": "user", "content": marked}]});
    let later = json!({"model": "m", "system": [{"type": "text", "text": "be good"}], "tools": [{"name": "t"}],
        "messages": [{"content": "hi", "role": "user"}, {"role": "assistant", "content": "yes?"},
            {"role": "user", "content": "more"}]});
    assert_eq!(begins(MESSAGES, &first), begins(MESSAGES, &later));
    assert!(!heard(MESSAGES, &first.to_string()).1 && heard(MESSAGES, &later.to_string()).1);

    let first = json!({"model": "m", "messages": [{"role": "system", "content": "be good"},
        {"role": "user", "content": "hi"}]});
    let later = json!({"messages": [{"content": "be good", "role": "system"}, {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "x"}], "model": "m"});
    assert_eq!(begins(CHAT, &first), begins(CHAT, &later));
    assert!(!heard(CHAT, &first.to_string()).1 && heard(CHAT, &later.to_string()).1);

    let first = json!({"model": "m", "instructions": "be good", "input": "hi"});
    let later = json!({"model": "m", "instructions": "be good", "input": [
        {"type": "message", "id": "msg_1", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "encrypted_content": "x"}]});
    assert_eq!(begins(RESPONSES, &first), begins(RESPONSES, &later));
    assert!(!heard(RESPONSES, &first.to_string()).1 && heard(RESPONSES, &later.to_string()).1);

    let first =
        json!({"systemInstruction": {"parts": [{"text": "be good"}]}, "contents": [{"parts": [{"text": "hi"}]}]});
    let later = json!({"systemInstruction": {"parts": [{"text": "be good"}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"text": "yes?"}]}]});
    assert_eq!(begins(GEMINI, &first), begins(GEMINI, &later));
    assert!(!heard(GEMINI, &first.to_string()).1 && heard(GEMINI, &later.to_string()).1);
}

#[test]
fn conversations_that_begin_otherwise_are_others() {
    let body = |system: &str, tool: &str, text: &str| {
        json!({"model": "m", "system": system, "tools": [{"name": tool}],
            "messages": [{"role": "user", "content": text}]})
    };
    let all = [("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"), ("ab", "", "c"), ("", "ab", "c")];
    let heard: Vec<_> = all.iter().map(|(system, tool, text)| begins(MESSAGES, &body(system, tool, text))).collect();
    for (at, one) in heard.iter().enumerate() {
        assert!(!heard[..at].contains(one), "{:?}", all[at]);
    }
    let two = |parts: [&str; 2]| {
        json!({"model": "m", "messages": [{"role": "user",
        "content": parts.map(|text| json!({"type": "text", "text": text}))}]})
    };
    assert_ne!(begins(MESSAGES, &two(["ab", "c"])), begins(MESSAGES, &two(["a", "bc"])));
}

#[test]
fn long_instructions_do_not_drown_the_first_words() {
    let long = "be good ".repeat(4 * 1024);
    let chat = |text: &str, more: bool| {
        let mut turns = vec![json!({"role": "system", "content": long}), json!({"role": "user", "content": text})];
        turns.extend(more.then(|| json!({"role": "assistant", "content": long})));
        json!({"model": "m", "messages": turns})
    };
    assert_ne!(begins(CHAT, &chat("one", false)), begins(CHAT, &chat("two", false)));
    assert_eq!(begins(CHAT, &chat("one", false)), begins(CHAT, &chat("one", true)));
    let messages = |text: &str| {
        json!({"model": "m", "system": long, "tools": [{"name": long}],
        "messages": [{"role": "user", "content": text}]})
    };
    assert_ne!(begins(MESSAGES, &messages("one")), begins(MESSAGES, &messages("two")));
}

#[test]
fn only_so_much_is_heard_however_large_a_body_is() {
    let long = "x".repeat(1 << 20);
    let many: Vec<Value> = (0..1_000).map(|_| json!({"role": "system", "content": long[..2_048]})).collect();
    for (path, body) in [
        (
            MESSAGES,
            json!({"model": "m", "system": long, "tools": [{"description": long}],
            "messages": [{"role": "user", "content": long}]}),
        ),
        (CHAT, json!({"model": "m", "messages": many})),
        (CHAT, json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": long}]}]})),
        (RESPONSES, json!({"model": "m", "input": long})),
    ] {
        let (heard, has_past) = heard(path, &body.to_string());
        assert!((1_024..80 * 1_024).contains(&heard.len()), "{path}: {}", heard.len());
        assert!(has_past || path == RESPONSES, "what is not seen may follow");
    }
}

#[test]
fn what_says_nothing_is_no_beginning() {
    for (path, body) in [
        (CHAT, json!({"model": "m"})),
        (CHAT, json!({"model": "m", "messages": []})),
        (CHAT, json!({"model": "m", "messages": [{"role": "user", "content": ""}]})),
        (CHAT, json!({"model": "m", "messages": null})),
        (CHAT, json!({"model": "m", "messages": [7, true, null]})),
        (MESSAGES, json!({"model": "m", "system": "be good", "messages": {}})),
        (GEMINI, json!({})),
    ] {
        let text = body.to_string();
        assert!(!read(path, &text).opening.hear(text.as_bytes(), |_| {}), "{body}");
    }
}

proptest::proptest! {
    /// It stops in the middle of everything, and never looks beyond.
    #[test]
    fn any_part_of_a_body_can_be_walked(cut in 0_usize..400, at in 0_usize..400) {
        let body = json!({"model": "m", "messages": [{"role": "system", "content": "\\\"a\\"},
            {"role": "user", "content": [{"type": "text", "text": "x\"y", "cache_control": {"type": "e"}}, 1.5, null]},
            {"role": "assistant", "content": "z"}]}).to_string();
        let mut opening = Opening::default();
        opening.note(Part::Turns, Some(at));
        opening.note(Part::Tools, Some(at));
        opening.hear(&body.as_bytes()[..cut.min(body.len())], |_| {});
    }
}
