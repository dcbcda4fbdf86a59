//! What it takes to find out which conversation a request belongs to, and where that is.
#![allow(clippy::expect_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use tollgate::dialect::{ClientHints, Dialect, inspect, route};
use tollgate::provider::{Affinity, Asker};

const NOW: i64 = 1_700_000_000_000;
const TTL: Duration = Duration::from_secs(3_600);

/// With instructions and a past of this many bytes.
const LONG: usize = 100 * 1024;

fn conversation(members: Value) -> Vec<u8> {
    let text = "Will it rain in Zürich? ".repeat(LONG / 24);
    let mut body = json!({"model": "m", "messages": [
        {"role": "system", "content": text}, {"role": "user", "content": text}, {"role": "assistant", "content": text},
    ]});
    if let (Some(body), Value::Object(members)) = (body.as_object_mut(), members) {
        body.extend(members);
    }
    body.to_string().into_bytes()
}

fn following(c: &mut Criterion) {
    let mut group = c.benchmark_group("affinity");
    let chat = route("POST", "/v1/chat/completions", None, ClientHints::default()).expect("a path");
    let affinity = Affinity::alone();
    let provider: Arc<str> = "provider".into();
    for (name, members) in [("named", json!({"prompt_cache_key": "0b2f2a6e-6a4f-4d0b-9f0e"})), ("opening", json!({}))] {
        let body = conversation(members);
        let inspected = inspect(&chat, &body).expect("a valid request");
        let find = |body: &[u8]| {
            let asker = Asker { key: 1, dialect: Dialect::OpenaiChat, model: &inspected.model };
            affinity.name(asker, inspected.conversation.identity(|_| None), body).expect("it has one")
        };
        group.bench_function(format!("find/{name}"), |b| b.iter(|| find(black_box(&body))));
        let thread = find(&body);
        affinity.keep(thread, true, &provider, NOW, TTL);
        group.bench_function(format!("known/{name}"), |b| b.iter(|| affinity.known(black_box(thread), NOW, TTL)));
        group.bench_function(format!("keep/{name}"), |b| {
            b.iter(|| affinity.keep(black_box(thread), true, &provider, NOW, TTL));
        });
    }
    group.finish();
}

criterion_group!(benches, following);
criterion_main!(benches);
