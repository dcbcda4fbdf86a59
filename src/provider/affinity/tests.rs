#![allow(clippy::unwrap_used, reason = "tests")]

mod conversations;

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::dialect::{ClientHints, Dialect, inspect, route};

const HOUR: Duration = Duration::from_secs(3_600);
const NOW: i64 = 1_700_000_000_000;

fn asker(key: i64) -> Asker<'static> {
    Asker { key, dialect: Dialect::OpenaiChat, model: "m" }
}

fn named(affinity: &Affinity, key: i64, session: &str) -> ThreadName {
    affinity.name(asker(key), Identity::Named(session), b"{}").unwrap()
}

fn provider(name: &str) -> Arc<str> {
    name.into()
}

#[test]
fn a_conversation_is_where_it_was_served_last_until_it_is_forgotten() {
    let affinity = Affinity::alone();
    let thread = named(&affinity, 1, "s");
    let known = |at| affinity.known(thread, at, HOUR).map(|provider| provider.to_string());
    assert_eq!(known(NOW), None);
    affinity.keep(thread, true, &provider("a"), NOW, HOUR);
    assert_eq!(known(NOW + 3_600_000).as_deref(), Some("a"));
    assert_eq!(known(NOW + 3_600_001), None, "after its time it is forgotten");
    affinity.keep(thread, true, &provider("a"), NOW + 3_000_000, HOUR);
    assert_eq!(known(NOW + 6_600_000).as_deref(), Some("a"), "each request prolongs it");
    affinity.keep(thread, true, &provider("b"), NOW + 3_000_001, HOUR);
    assert_eq!(known(NOW + 3_000_002).as_deref(), Some("b"), "who served it last has it");
}

#[test]
fn two_keys_with_the_same_session_do_not_share() {
    let affinity = Affinity::alone();
    let (one, other) = (named(&affinity, 1, "s"), named(&affinity, 2, "s"));
    affinity.keep(one, true, &provider("a"), NOW, HOUR);
    assert!(affinity.known(one, NOW, HOUR).is_some());
    assert_eq!(affinity.known(other, NOW, HOUR), None);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let chat = route("POST", "/v1/chat/completions", None, ClientHints::default()).unwrap();
    let conversation = inspect(&chat, body.as_bytes()).unwrap().conversation;
    let opening = |key| affinity.name(asker(key), conversation.identity(|_| None), body.as_bytes()).unwrap();
    assert_eq!(opening(1), opening(1));
    assert_ne!(opening(1), opening(2), "nor do they when nothing has a name");
}

#[test]
fn what_a_cache_does_not_share_has_names_of_its_own() {
    let affinity = Affinity::alone();
    let name = |dialect, model, identity| affinity.name(Asker { key: 1, dialect, model }, identity, b"{}");
    let mut names = Vec::new();
    for dialect in [Dialect::OpenaiChat, Dialect::OpenaiResponses] {
        for model in ["m", "mo"] {
            for session in ["s", "os", "o"] {
                names.push(name(dialect, model, Identity::Named(session)).unwrap().to_string());
            }
            for person in ["s", "p"] {
                names.push(
                    name(dialect, model, Identity::Opening(Default::default(), Some(person))).unwrap().to_string(),
                );
            }
        }
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    assert_eq!(name(Dialect::OpenaiChat, "m", Identity::Opening(Default::default(), None)), None);
    let other = Affinity::alone();
    assert_ne!(named(&affinity, 1, "s"), named(&other, 1, "s"), "nobody outside can tell a name beforehand");
}

#[test]
fn a_name_and_a_secret_survive_being_told() {
    let affinity = Affinity::alone();
    let thread = named(&affinity, 1, "s");
    assert_eq!(ThreadName::from_text(&thread.to_string()), Some(thread));
    let secret = Secret::new();
    assert!(Secret::from_text(&secret.to_text()) == Some(secret));
    for text in ["", "1", "x", &"g".repeat(32), &"+".repeat(32), &"0".repeat(33)] {
        assert!(ThreadName::from_text(text).is_none() && Secret::from_text(text).is_none(), "{text}");
    }
}

#[test]
fn only_so_many_conversations_are_remembered_and_the_latest_are() {
    let affinity = Affinity::new(1_000, None);
    let names: Vec<_> = (0..20_000).map(|n| named(&affinity, 1, &format!("s{n}"))).collect();
    for thread in &names {
        affinity.keep(*thread, true, &provider("a"), NOW, HOUR);
    }
    assert!(affinity.memory.len() <= 1_000, "{}", affinity.memory.len());
    let latest = names[19_500..].iter().filter(|thread| affinity.known(**thread, NOW, HOUR).is_some()).count();
    assert_eq!(latest, 500);
    assert_eq!(affinity.known(names[0], NOW, HOUR), None);
}

#[test]
fn what_is_remembered_takes_a_bounded_amount_of_memory() {
    let bytes = allocation_counter::measure(|| {
        let affinity = Affinity::alone();
        let provider = provider("a");
        for n in 0..2 * CONVERSATIONS {
            affinity.keep(named(&affinity, 1, &n.to_string()), true, &provider, NOW, HOUR);
        }
        assert!(affinity.memory.len() <= CONVERSATIONS);
        std::mem::forget(affinity);
    });
    let mib = bytes.bytes_current >> 20;
    assert!((4..40).contains(&mib), "{mib} MiB");
}

#[test]
fn of_what_two_nodes_say_the_later_holds_on_both() {
    let (a, b) = (provider("a"), provider("b"));
    let nodes = [Memory::new(10), Memory::new(10)];
    let thread = named(&Affinity::alone(), 1, "s");
    // At nearly the same moment each serves it elsewhere, and each hears of the other afterwards.
    nodes[0].keep(thread, &a, NOW);
    nodes[1].keep(thread, &b, NOW + 1);
    nodes[0].hear(thread, &b, NOW + 1, NOW + 2);
    nodes[1].hear(thread, &a, NOW, NOW + 2);
    for node in &nodes {
        assert_eq!(node.find(thread, NOW + 2, 1_000), Some(Arc::clone(&b)));
    }
    // At the very same one.
    nodes[0].keep(thread, &a, NOW + 9);
    nodes[1].hear(thread, &provider("c"), NOW + 9, NOW + 9);
    nodes[1].hear(thread, &a, NOW + 9, NOW + 9);
    nodes[0].hear(thread, &provider("c"), NOW + 9, NOW + 9);
    assert_eq!(nodes[0].find(thread, NOW + 9, 1_000), nodes[1].find(thread, NOW + 9, 1_000));
}

#[test]
fn others_are_told_once_and_again_before_they_forget_or_when_redis_was_away() {
    let memory = Memory::new(10);
    let (thread, a) = (named(&Affinity::alone(), 1, "s"), provider("a"));
    let told = |now, connected_at, lasts| memory.keep(thread, &a, now).is_to_be_told(now, 1_000, connected_at, lasts);
    assert!(told(NOW, NOW - 5, false));
    assert!(!told(NOW + 1, NOW - 5, false));
    assert!(told(NOW + 2, NOW - 5, true), "it lasts");
    assert!(!told(NOW + 3, NOW - 5, true) && !told(NOW + 252, NOW - 5, true));
    assert!(told(NOW + 253, NOW - 5, true));
    assert!(told(NOW + 260, NOW + 255, true), "it may not have heard");
    assert!(!told(NOW + 261, NOW + 255, true));
    let heard = named(&Affinity::alone(), 1, "heard");
    memory.hear(heard, &a, NOW, NOW);
    let told = |now, lasts| memory.keep(heard, &a, now).is_to_be_told(now, 1_000, NOW - 5, lasts);
    assert!(!told(NOW + 1, false), "they said so themselves");
    assert!(told(NOW + 1, true), "but perhaps not that it lasts");
}

#[tokio::test]
async fn without_redis_nothing_waits_and_nothing_fails() {
    // Nobody listens on this port; and a name that does not resolve.
    for url in ["redis://127.0.0.1:1", "redis://nobody.invalid"] {
        let (affinity, sharing) = Affinity::shared(url, Duration::from_secs(10));
        let stop = CancellationToken::new();
        Affinity::share(sharing, || NOW, stop.clone());
        let began = Instant::now();
        for n in 0..10_000 {
            let thread = named(&affinity, 1, &n.to_string());
            if n % 100 == 0 {
                assert_eq!(affinity.ask(thread, NOW).await, None);
            }
            affinity.keep(thread, true, &provider("a"), NOW, HOUR);
        }
        assert!(affinity.known(named(&affinity, 1, "9999"), NOW, HOUR).is_some());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        stop.cancel();
    }
}
