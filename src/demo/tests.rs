//! Every endpoint, as a client sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use axum::{body::Body, http::Request};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::{
    config_providers, curl_lines,
    guide::{ANTHROPIC_MODEL, CHAT_MODEL, GEMINI_MODEL},
    serve,
    testing::{post, send},
};
use crate::{
    config::{self, Provider},
    dialect::Dialect,
    pricing::{PriceBook, Prices},
};

const ANTHROPIC: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const EMBEDDINGS: &str = "/v1/embeddings";
const GEMINI: &str = "/v1beta/models/gemini-2.5-flash:";
const QUESTION: &str = "Where is the toll gate?";

fn ask(path: &str) -> Value {
    let messages = json!([{"role": "user", "content": QUESTION}]);
    match path {
        ANTHROPIC => json!({"model": "claude-sonnet-4-5", "max_tokens": 500, "messages": messages}),
        CHAT => json!({"model": "gpt-4o-mini", "messages": messages}),
        RESPONSES => json!({"model": "gpt-4o-mini", "input": QUESTION}),
        _ => json!({"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}),
    }
}

fn with(mut body: Value, more: &Value) -> String {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

fn data(events: &[(String, String)]) -> Vec<Value> {
    events.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
}

fn concat(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

#[tokio::test]
async fn anthropic_answers_whole() {
    let answer = post(ANTHROPIC, ask(ANTHROPIC).to_string()).await;
    let body = answer.json();
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"));
    assert_eq!(
        (&body["type"], &body["role"], &body["model"]),
        (&json!("message"), &json!("assistant"), &json!("claude-sonnet-4-5"))
    );
    assert!(body["id"].as_str().unwrap().starts_with("msg_"));
    let text = body["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("pretend provider") && text.contains(QUESTION));
    assert_eq!(body["stop_reason"], "end_turn");
    assert_eq!(body["usage"]["input_tokens"], 9);
    assert_eq!(body["usage"]["output_tokens"].as_u64().unwrap(), text.len().div_ceil(4) as u64);
}

#[tokio::test]
async fn anthropic_streams_the_same_text_in_the_documented_order() {
    let whole = post(ANTHROPIC, ask(ANTHROPIC).to_string()).await.json();
    let events = post(ANTHROPIC, with(ask(ANTHROPIC), &json!({"stream": true}))).await.events();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["message_start", "content_block_start", "ping"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let data = data(&events);
    assert!(data.iter().zip(&names).all(|(data, name)| data["type"] == *name), "an event's name is its type");
    assert_eq!(concat(&data, "/delta/text"), whole["content"][0]["text"].as_str().unwrap());
    let end = &data[data.len() - 2];
    assert_eq!(
        (&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]),
        (&json!("end_turn"), &whole["usage"]["output_tokens"])
    );
    assert_eq!(data[0]["message"]["usage"]["input_tokens"], whole["usage"]["input_tokens"]);
}

#[tokio::test]
async fn anthropic_counts_what_it_would_charge() {
    let mut request = ask(ANTHROPIC);
    request["system"] = json!([{"type": "text", "text": "Be brief."}]);
    let charged = post(ANTHROPIC, request.to_string()).await.json()["usage"]["input_tokens"].clone();
    request.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(post(COUNT, request.to_string()).await.json(), json!({"input_tokens": charged}));
}

#[tokio::test]
async fn chat_answers_whole_with_as_many_choices_as_asked() {
    let body = post(CHAT, with(ask(CHAT), &json!({"n": 3}))).await.json();
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("gpt-4o-mini")));
    assert!(body["created"].as_i64().unwrap() > 1_700_000_000);
    let choices = body["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(choices.iter().all(|choice| choice["finish_reason"] == "stop" && choice["message"]["role"] == "assistant"));
    let text = choices[0]["message"]["content"].as_str().unwrap();
    assert!(text.contains(QUESTION));
    let usage = &body["usage"];
    assert_eq!(usage["completion_tokens"].as_u64().unwrap(), 3 * text.len().div_ceil(4) as u64);
    assert_eq!(
        usage["total_tokens"].as_u64().unwrap(),
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap()
    );
}

#[tokio::test]
async fn a_chat_stream_has_usage_only_for_those_who_ask() {
    for (options, asked) in [(json!({}), false), (json!({"stream_options": {"include_usage": true}}), true)] {
        let mut request = with(ask(CHAT), &json!({"stream": true}));
        request = with(serde_json::from_str(&request).unwrap(), &options);
        let mut events = post(CHAT, request).await.events();
        assert_eq!(events.pop().unwrap().1, "[DONE]");
        let chunks = data(&events);
        assert!(
            chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == chunks[0]["id"])
        );
        let (last, others) = chunks.split_last().unwrap();
        if asked {
            assert!(others.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
            assert_eq!(last["choices"], json!([]));
            assert!(last["usage"]["completion_tokens"].as_u64().unwrap() > 20);
        } else {
            assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
            assert_eq!(last["choices"][0]["finish_reason"], "stop");
        }
        let whole = post(CHAT, ask(CHAT).to_string()).await.json();
        assert_eq!(
            concat(&chunks, "/choices/0/delta/content"),
            whole["choices"][0]["message"]["content"].as_str().unwrap()
        );
    }
}

#[tokio::test]
async fn a_chat_stream_interleaves_its_choices() {
    let mut events = post(CHAT, with(ask(CHAT), &json!({"stream": true, "n": 2}))).await.events();
    events.pop();
    let chunks = data(&events);
    for index in 0..2_u64 {
        let own: Vec<&Value> = chunks.iter().filter(|chunk| chunk["choices"][0]["index"] == index).collect();
        assert_eq!(own.len() * 2, chunks.len());
        assert_eq!(own[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(own[own.len() - 1]["choices"][0]["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn responses_answers_whole() {
    let request = with(ask(RESPONSES), &json!({"instructions": "Be brief.", "max_output_tokens": 300}));
    let body = post(RESPONSES, request).await.json();
    assert_eq!(
        (&body["object"], &body["status"], &body["model"]),
        (&json!("response"), &json!("completed"), &json!("gpt-4o-mini"))
    );
    assert_eq!((&body["instructions"], &body["max_output_tokens"]), (&json!("Be brief."), &json!(300)));
    let part = &body["output"][0]["content"][0];
    assert_eq!(part["type"], "output_text");
    assert!(part["text"].as_str().unwrap().contains(QUESTION));
    let usage = &body["usage"];
    assert_eq!(usage["input_tokens"], 12);
    assert_eq!(usage["total_tokens"].as_u64().unwrap(), 12 + usage["output_tokens"].as_u64().unwrap());
}

#[tokio::test]
async fn responses_streams_the_full_sequence_of_events() {
    let events = post(RESPONSES, with(ask(RESPONSES), &json!({"stream": true}))).await.events();
    let data = data(&events);
    for (index, ((name, _), data)) in events.iter().zip(&data).enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(index)));
    }
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let end = &data[data.len() - 1]["response"];
    assert_eq!(data[0]["response"]["id"], end["id"]);
    assert_eq!((&data[0]["response"]["status"], &data[0]["response"]["usage"]), (&json!("in_progress"), &Value::Null));
    assert_eq!(concat(&data, "/delta"), end["output"][0]["content"][0]["text"].as_str().unwrap());
    assert!(end["usage"]["output_tokens"].as_u64().unwrap() > 20);
}

#[tokio::test]
async fn embeddings_are_the_same_as_numbers_and_as_base64() {
    let request = json!({"model": "text-embedding-3-small", "input": ["one", "two"]});
    let body = post(EMBEDDINGS, request.to_string()).await.json();
    assert_eq!(
        (&body["object"], &body["model"], &body["usage"]),
        (&json!("list"), &request["model"], &json!({"prompt_tokens": 2, "total_tokens": 2}))
    );
    let vectors: Vec<Vec<f32>> =
        (0..2).map(|i| serde_json::from_value(body["data"][i]["embedding"].clone()).unwrap()).collect();
    assert_ne!(vectors[0], vectors[1]);
    let coded = post(EMBEDDINGS, with(request, &json!({"encoding_format": "base64"}))).await.json();
    for (index, vector) in vectors.iter().enumerate() {
        assert_eq!(vector.len(), 1536);
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-3, "{length}");
        let bytes = STANDARD.decode(coded["data"][index]["embedding"].as_str().unwrap()).unwrap();
        let decoded: Vec<f32> = bytes.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
        assert_eq!(&decoded, vector);
    }
}

#[tokio::test]
async fn embeddings_take_every_form_of_input() {
    for (input, items, tokens) in [
        (json!("abcdefgh"), 1, 2),
        (json!([1, 2, 3]), 1, 3),
        (json!([[1, 2], [3]]), 2, 3),
        (json!(["a", "b", "c"]), 3, 3),
    ] {
        let request = json!({"model": "text-embedding-3-small", "input": input, "dimensions": 8});
        let body = post(EMBEDDINGS, request.to_string()).await.json();
        assert_eq!(body["data"].as_array().unwrap().len(), items, "{input}");
        assert_eq!(body["data"][0]["embedding"].as_array().unwrap().len(), 8);
        assert_eq!(body["usage"]["prompt_tokens"], tokens, "{input}");
    }
}

#[tokio::test]
async fn gemini_answers_whole() {
    let body = post(&format!("{GEMINI}generateContent"), ask(GEMINI).to_string()).await.json();
    let candidate = &body["candidates"][0];
    assert!(candidate["content"]["parts"][0]["text"].as_str().unwrap().contains(QUESTION));
    assert_eq!((&candidate["content"]["role"], &candidate["finishReason"]), (&json!("model"), &json!("STOP")));
    assert_eq!(body["modelVersion"], "gemini-2.5-flash");
    let usage = &body["usageMetadata"];
    assert_eq!(
        usage["totalTokenCount"].as_u64().unwrap(),
        usage["promptTokenCount"].as_u64().unwrap() + usage["candidatesTokenCount"].as_u64().unwrap()
    );
}

#[tokio::test]
async fn gemini_streams_events_or_one_array() {
    let whole = post(&format!("{GEMINI}generateContent"), ask(GEMINI).to_string()).await.json();
    let events = post(&format!("{GEMINI}streamGenerateContent?alt=sse"), ask(GEMINI).to_string()).await;
    assert!(events.text.contains("\r\n\r\n"), "Google ends its events with CR LF");
    let array = post(&format!("{GEMINI}streamGenerateContent"), ask(GEMINI).to_string()).await;
    assert!(array.content_type.starts_with("application/json"));
    for chunks in [data(&events.events()), array.json().as_array().unwrap().clone()] {
        let text = concat(&chunks, "/candidates/0/content/parts/0/text");
        assert_eq!(text, whole["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap());
        let counts: Vec<u64> =
            chunks.iter().map(|chunk| chunk["usageMetadata"]["candidatesTokenCount"].as_u64().unwrap()).collect();
        assert!(counts.is_sorted(), "usage runs on: {counts:?}");
        let (last, others) = chunks.split_last().unwrap();
        assert_eq!(
            (&last["usageMetadata"], &last["candidates"][0]["finishReason"]),
            (&whole["usageMetadata"], &json!("STOP"))
        );
        assert!(others.iter().all(|chunk| chunk["candidates"][0].get("finishReason").is_none()));
    }
}

#[tokio::test]
async fn gemini_counts_tokens_of_contents_and_of_a_whole_request() {
    let mut request = ask(GEMINI);
    let plain = post(&format!("{GEMINI}countTokens"), request.to_string()).await.json();
    assert_eq!(plain["totalTokens"], 9);
    request["systemInstruction"] = json!({"parts": [{"text": "Be brief."}]});
    let whole =
        post(&format!("{GEMINI}countTokens"), json!({"generateContentRequest": request}).to_string()).await.json();
    assert_eq!(whole["totalTokens"], 12);
}

#[tokio::test]
async fn gemini_embeds_one_and_many() {
    let request = json!({"content": {"parts": [{"text": "toll"}]}, "outputDimensionality": 16});
    let path = "/v1beta/models/gemini-embedding-001:";
    let one = post(&format!("{path}embedContent"), request.to_string()).await.json();
    assert_eq!(one["embedding"]["values"].as_array().unwrap().len(), 16);
    let default = json!({"content": {"parts": [{"text": "toll"}]}});
    let many =
        post(&format!("{path}batchEmbedContents"), json!({"requests": [request, default]}).to_string()).await.json();
    assert_eq!(many["embeddings"][0], one["embedding"]);
    assert_eq!(many["embeddings"][1]["values"].as_array().unwrap().len(), 3072);
}

#[tokio::test]
async fn an_answer_stops_at_the_callers_maximum_and_says_so() {
    let body = post(ANTHROPIC, with(ask(ANTHROPIC), &json!({"max_tokens": 5}))).await.json();
    assert_eq!((&body["stop_reason"], &body["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(5)));
    for name in ["max_tokens", "max_completion_tokens"] {
        let body = post(CHAT, with(ask(CHAT), &json!({name: 5}))).await.json();
        assert_eq!(
            (&body["choices"][0]["finish_reason"], &body["usage"]["completion_tokens"]),
            (&json!("length"), &json!(5))
        );
    }
    let events = post(RESPONSES, with(ask(RESPONSES), &json!({"max_output_tokens": 5, "stream": true}))).await.events();
    let (name, data) = events.last().unwrap();
    let end: Value = serde_json::from_str(data).unwrap();
    assert_eq!((name.as_str(), &end["response"]["status"]), ("response.incomplete", &json!("incomplete")));
    assert_eq!(end["response"]["incomplete_details"], json!({"reason": "max_output_tokens"}));
    for config in
        [json!({"generationConfig": {"maxOutputTokens": 5}}), json!({"generation_config": {"max_output_tokens": 5}})]
    {
        let body = post(&format!("{GEMINI}generateContent"), with(ask(GEMINI), &config)).await.json();
        assert_eq!(
            (&body["candidates"][0]["finishReason"], &body["usageMetadata"]["candidatesTokenCount"]),
            (&json!("MAX_TOKENS"), &json!(5))
        );
    }
}

#[tokio::test]
async fn what_is_invalid_is_refused_in_the_dialects_own_shape() {
    let generate = format!("{GEMINI}generateContent");
    let deep = "[".repeat(100_000);
    let cases = [
        (ANTHROPIC, "{".to_owned()),
        (ANTHROPIC, deep.clone()),
        (ANTHROPIC, json!({"model": "m", "messages": [{"role": "user", "content": "no maximum"}]}).to_string()),
        (ANTHROPIC, with(ask(ANTHROPIC), &json!({"max_tokens": -1}))),
        (ANTHROPIC, with(ask(ANTHROPIC), &json!({"messages": []}))),
        (COUNT, json!({"messages": [{"role": "user", "content": "no model"}]}).to_string()),
        (CHAT, "[]".to_owned()),
        (CHAT, deep.clone()),
        (CHAT, json!({"model": "m"}).to_string()),
        (CHAT, with(ask(CHAT), &json!({"model": "x".repeat(300)}))),
        (CHAT, with(ask(CHAT), &json!({"n": u64::MAX}))),
        (CHAT, with(ask(CHAT), &json!({"stream": "yes"}))),
        (CHAT, with(ask(CHAT), &json!({"stream_options": {"include_usage": true}}))),
        (RESPONSES, json!({"model": "m"}).to_string()),
        (RESPONSES, json!({"model": "m", "input": []}).to_string()),
        (RESPONSES, String::new()),
        (EMBEDDINGS, json!({"model": "m", "input": []}).to_string()),
        (EMBEDDINGS, json!({"model": "m", "input": ["", 1]}).to_string()),
        (EMBEDDINGS, json!({"model": "m", "input": "a", "dimensions": u64::MAX}).to_string()),
        (EMBEDDINGS, json!({"model": "m", "input": "a", "encoding_format": "hex"}).to_string()),
        (EMBEDDINGS, json!({"model": "m", "input": vec!["a"; 2049]}).to_string()),
        (&generate, json!({}).to_string()),
        (&generate, deep),
        (&generate, with(ask(GEMINI), &json!({"generationConfig": {"maxOutputTokens": 0}}))),
        (&generate, with(ask(GEMINI), &json!({"generationConfig": {"candidateCount": 2}}))),
        ("/v1beta/models/m:embedContent", json!({"content": {"parts": []}}).to_string()),
        ("/v1beta/models/m:batchEmbedContents", json!({"requests": []}).to_string()),
    ];
    for (path, body) in cases {
        let shown: String = body.chars().take(80).collect();
        let answer = post(path, body).await;
        assert_eq!((answer.status, answer.content_type.as_str()), (400, "application/json"), "{path} {shown}");
        let error = answer.json();
        assert!(!error["error"]["message"].as_str().unwrap().is_empty(), "{path} {shown}");
        match path {
            ANTHROPIC | COUNT => assert_eq!(
                (&error["type"], &error["error"]["type"]),
                (&json!("error"), &json!("invalid_request_error"))
            ),
            path if path.starts_with("/v1beta") => {
                assert_eq!(
                    (&error["error"]["code"], &error["error"]["status"]),
                    (&json!(400), &json!("INVALID_ARGUMENT"))
                );
            }
            _ => assert_eq!(error["error"]["type"], "invalid_request_error", "{path} {shown}"),
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    for path in ["/v1/unknown", "/v1beta/models/m", "/v1beta/models/m:sing"] {
        let answer = post(path, "{}").await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains("pretend"), "{path}");
    }
    assert_eq!(send(Request::get(CHAT).body(Body::empty()).unwrap()).await.status, 405);
}

#[tokio::test]
async fn every_command_to_paste_is_one_line_that_the_providers_understand() {
    let gateway = "0.0.0.0:8080".parse().unwrap();
    let lines = curl_lines(gateway, "tg-key", Some(("[::]:8081".parse().unwrap(), "admin-token")));
    assert!(lines[0].contains("http://127.0.0.1:8080/v1/chat/completions"));
    let mut asked = 0;
    for line in &lines {
        assert!(line.starts_with("curl ") && !line.contains('\n'), "{line}");
        if let Some((command, body)) = line.split_once(" -d '") {
            assert!(command.contains("tg-key"), "{line}");
            let path = command.split_once(":8080").unwrap().1.split([' ', '\'']).next().unwrap();
            let answer = post(path, body.strip_suffix('\'').unwrap().to_owned()).await;
            assert_eq!(answer.status, 200, "{line}: {}", answer.text);
            assert_eq!(line.starts_with("curl -sSN"), answer.content_type.starts_with("text/event-stream"), "{line}");
            asked += 1;
        }
    }
    assert_eq!(asked, 3);
    let last = lines.last().unwrap();
    assert!(last.contains("http://[::1]:8081/api/v1/usage") && last.contains("admin-token"), "{last}");
    assert_eq!(curl_lines(gateway, "tg-key", None).len(), lines.len() - 1);
}

fn providers() -> Vec<Provider> {
    let yaml = format!("providers:\n{}", config_providers("127.0.0.1:4321".parse().unwrap()));
    config::parse(&yaml, std::path::Path::new("."), &|_| None).unwrap().providers
}

#[test]
fn the_configuration_is_valid_and_has_every_dialect_once() {
    let providers = providers();
    let names: Vec<&str> = providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, ["demo-anthropic", "demo-openai", "demo-gemini"]);
    let mut dialects: Vec<Dialect> = providers.iter().flat_map(|provider| provider.dialects.clone()).collect();
    dialects.sort();
    assert_eq!(
        dialects,
        [Dialect::Anthropic, Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::OpenaiEmbeddings, Dialect::Gemini]
    );
    assert!(providers.iter().all(|provider| provider.base_url.as_str() == "http://127.0.0.1:4321/"));
}

#[test]
fn a_model_of_a_first_try_has_a_price_and_one_provider() {
    let prices = PriceBook::new(&Prices::new(), &Prices::new());
    for (model, provider) in [
        (CHAT_MODEL, "demo-openai"),
        ("text-embedding-3-small", "demo-openai"),
        (ANTHROPIC_MODEL, "demo-anthropic"),
        ("claude-sonnet-4-5", "demo-anthropic"),
        (GEMINI_MODEL, "demo-gemini"),
    ] {
        assert!(prices.get(model).is_some(), "{model} has no price");
        let takers: Vec<String> =
            providers().into_iter().filter(|provider| provider.accepts(model)).map(|provider| provider.name).collect();
        assert_eq!(takers, [provider], "{model}");
    }
}

#[tokio::test]
async fn a_stream_in_flight_outlives_the_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, async {
        stopped.await.ok();
    }));
    let mut client = TcpStream::connect(address).await.unwrap();
    let body = with(ask(CHAT), &json!({"stream": true}));
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all((head + &body).as_bytes()).await.unwrap();
    let mut first = [0; 512];
    let read = client.read(&mut first).await.unwrap();
    assert!(first[..read].starts_with(b"HTTP/1.1 200"));
    stop.send(()).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("data: [DONE]"), "{rest}");
    tokio::time::timeout(Duration::from_secs(10), server).await.expect("the server ends").unwrap().unwrap();
}
