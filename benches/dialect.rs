//! How fast bodies are inspected and answers metered, in bytes per second.
#![allow(clippy::expect_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tollgate::dialect::{ClientHints, Endpoint, Meter, Route, UsageChunkFilter, inspect, rewrite, route};

const KIB: usize = 1024;

/// Bytes of a stream that is metered.
const STREAM: usize = 256 * KIB;

/// Size of a read, about what arrives at once.
const READ: usize = 4 * KIB;

fn inspection(c: &mut Criterion) {
    let mut group = c.benchmark_group("inspect");
    let route = post("/v1/chat/completions");
    for (name, size) in [("1KiB", KIB), ("100KiB", 100 * KIB), ("5MiB", 5 * KIB * KIB)] {
        let texts = Bytes::from(conversation(size));
        group.throughput(Throughput::Bytes(texts.len() as u64));
        group.bench_function(name, |b| b.iter(|| inspect(&route, black_box(&texts))));
        group.bench_function(format!("{name}/rewritten"), |b| {
            b.iter(|| {
                let inspected = inspect(&route, black_box(&texts)).expect("a valid request");
                rewrite(&inspected, texts.clone(), "gpt-4o-2024-08-06")
            });
        });
        let image = Bytes::from(one_image(size));
        group.throughput(Throughput::Bytes(image.len() as u64));
        group.bench_function(format!("{name}/image"), |b| b.iter(|| inspect(&route, black_box(&image))));
    }
    group.finish();
}

fn metering(c: &mut Criterion) {
    let mut group = c.benchmark_group("meter");
    for (name, endpoint, content_type, body) in answers() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut meter = Meter::new(endpoint, Some(content_type), 200);
                for read in body.chunks(READ) {
                    meter.feed(black_box(read));
                }
                meter.finish();
                meter.charge(1000)
            });
        });
    }
    group.finish();
}

fn filtering(c: &mut Criterion) {
    let mut group = c.benchmark_group("usage_chunk_filter");
    let body = Bytes::from(repeated(CHAT_CHUNK, STREAM));
    group.throughput(Throughput::Bytes(body.len() as u64));
    let reads: Vec<Bytes> = (0..body.len()).step_by(READ).map(|at| body.slice(at..body.len().min(at + READ))).collect();
    group.bench_function("openai_chat", |b| {
        b.iter_batched(
            || reads.clone(),
            |reads| {
                let mut filter = UsageChunkFilter::new();
                reads.into_iter().map(|read| filter.push(read).len()).sum::<usize>()
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("openai_chat/metered", |b| {
        b.iter_batched(
            || reads.clone(),
            |reads| {
                let mut filter = UsageChunkFilter::new();
                let mut meter = Meter::new(Endpoint::ChatCompletions, Some("text/event-stream"), 200);
                for read in reads {
                    meter.feed(&read);
                    black_box(filter.push(read));
                }
                meter.charge(1000)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

const CHAT_CHUNK: &str = r#"data: {"id":"chatcmpl-BkEpkSnZVvYmGyTtfAkpTBgPZbYz3","object":"chat.completion.chunk","created":1750350056,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_07871e2ad8","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}],"usage":null}

"#;

const CHAT_RUNNING: &str = r#"data: {"id":"c","object":"chat.completion.chunk","created":1750350056,"model":"kimi-k2","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":4}}}

"#;

const ANTHROPIC_EVENT: &str = r#"event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" token"}}

"#;

const RESPONSES_EVENT: &str = r#"event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":5,"item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"delta":" token","logprobs":[],"obfuscation":"0123456789"}

"#;

const GEMINI_EVENT: &str = r#"data: {"candidates": [{"content": {"parts": [{"text": "some tokens at once, as Gemini sends them"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 1300,"candidatesTokenCount": 60,"totalTokenCount": 1475,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 1000}],"thoughtsTokenCount": 100},"modelVersion": "gemini-2.5-pro","responseId": "x7"}

"#;

fn answers() -> Vec<(&'static str, Endpoint, &'static str, Vec<u8>)> {
    const SSE: &str = "text/event-stream";
    const JSON: &str = "application/json";
    let text = "All work and no play makes a dull token stream. ".repeat(STREAM / 48);
    let image = "iVBORw0KGgo".repeat(STREAM / 11);
    let numbers = vec!["-0.0023064255"; STREAM / 14].join(",");
    vec![
        ("anthropic/stream", Endpoint::Messages, SSE, repeated(ANTHROPIC_EVENT, STREAM)),
        ("openai_chat/stream", Endpoint::ChatCompletions, SSE, repeated(CHAT_CHUNK, STREAM)),
        ("openai_chat/running_usage", Endpoint::ChatCompletions, SSE, repeated(CHAT_RUNNING, STREAM)),
        ("openai_responses/stream", Endpoint::Responses, SSE, repeated(RESPONSES_EVENT, STREAM)),
        ("gemini/stream", Endpoint::StreamGenerateContent, SSE, repeated(GEMINI_EVENT, STREAM)),
        (
            "anthropic/whole",
            Endpoint::Messages,
            JSON,
            format!(
                r#"{{"type":"message","content":[{{"type":"text","text":"{text}"}}],"usage":{{"input_tokens":1}}}}"#
            )
            .into(),
        ),
        (
            "openai_embeddings/numbers",
            Endpoint::Embeddings,
            JSON,
            format!(r#"{{"data":[{{"embedding":[{numbers}]}}],"usage":{{"prompt_tokens":8}}}}"#).into(),
        ),
        (
            "gemini/image",
            Endpoint::GenerateContent,
            JSON,
            format!(r#"{{"candidates":[{{"content":{{"parts":[{{"inlineData":{{"data":"{image}"}}}}]}}}}]}}"#).into(),
        ),
    ]
}

fn repeated(event: &str, size: usize) -> Vec<u8> {
    event.repeat(size / event.len()).into_bytes()
}

/// A request of about `size` bytes: many messages of some hundred bytes.
fn conversation(size: usize) -> String {
    let message = r#"{"role":"user","content":"Tell me \"everything\" about edge gateways,\nin as many words as it takes. All work and no play makes Jack a dull boy, and so on until the message is long enough to look like one."},"#;
    let messages = message.repeat(size / message.len());
    format!(r#"{{"messages":[{}],"model":"gpt-4o","stream":true}}"#, messages.trim_end_matches(','))
}

/// A request of about `size` bytes: one picture.
fn one_image(size: usize) -> String {
    let data = "iVBORw0KGgo".repeat(size / 11);
    format!(
        r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}]}}"#
    )
}

fn post(path: &str) -> Route {
    route("POST", path, None, ClientHints::default()).expect("a path of ours")
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = inspection, metering, filtering
}
criterion_main!(benches);
