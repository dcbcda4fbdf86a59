//! Clients that ask all the time, whole and streamed, and know afterwards what each of them was answered.
//!
//! No two requests have bodies of the same length: it tells which is which at the client, at the provider and in the
//! database, also when nobody has seen the request's id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::admin::Caller;
use super::gateway::Setup;
use super::provider::Received;
use super::{Admin, Answer, Api, Gateway, client, eventually};

/// The model that is asked for.
pub const MODEL: &str = "loaded-model";

/// How many ask at once, each with a key of its own; each user has two keys.
pub const CLIENTS: usize = 8;

/// The length of the first body.
const BASE: usize = 300;

/// By how much the others are longer than the one before: all have whole tokens, so that what is learnt from some of them
/// is exact for the others.
const BYTES_PER_TOKEN: usize = 4;

/// Tokens that every request allows for its answer.
const MAX_TOKENS: u64 = 1_000;

/// Budgets that never refuse, and have to be right all the same.
const ROOM: f64 = 1_000_000.0;

/// A request, and what came of it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The number that the length of its body tells.
    pub number: usize,
    pub end: End,
}

/// What the client got.
#[derive(Clone, Debug)]
pub enum End {
    /// The whole answer.
    Whole { id: String, status: u16, body: String },
    /// Nothing, or not all of it.
    Broken,
}

impl Asked {
    /// Whether the client got all that it had asked for.
    pub fn is_answered(&self) -> bool {
        matches!(self.end, End::Whole { status: 200, .. })
    }
}

/// Running clients.
pub struct Load {
    clients: Vec<JoinHandle<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    whole: Arc<AtomicUsize>,
}

/// Whoever asks, all with caps, half of them with others for the group of the model.
pub async fn callers(admin: &Admin) -> Vec<Caller> {
    let group = admin.model_group("loaded", &[MODEL]).await;
    let limits = || json!({"total": {"usd": ROOM}});
    let mut callers = Vec::new();
    for user in 0..CLIENTS / 2 {
        let user_id = admin.user(json!({"limits": limits()})).await;
        if user % 2 == 0 {
            admin.limit("user", user_id, group, limits()).await;
        }
        for name in ["laptop", "server"] {
            let (key_id, secret) = admin.key(user_id, json!({"name": name, "limits": limits()})).await;
            if name == "laptop" {
                admin.limit("key", key_id, group, limits()).await;
            }
            callers.push(Caller { user_id, key_id, secret });
        }
    }
    callers
}

/// The request of this number: every second one is streamed.
pub fn request(number: usize) -> Value {
    let mut body = json!({
        "model": MODEL, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": ""}],
        "stream": number / CLIENTS % 2 == 1,
    });
    if body["stream"] == true {
        // The gateway would add it, and the provider see another length.
        body["stream_options"] = json!({"include_usage": true});
    }
    let length = body.to_string().len();
    body["messages"][0]["content"] = json!("x".repeat(bytes(number) - length));
    body
}

/// The length of the body of this number.
fn bytes(number: usize) -> usize {
    BASE + BYTES_PER_TOKEN * number
}

/// The number of the request whose body has this length.
pub fn number(bytes: usize) -> usize {
    (bytes - BASE) / BYTES_PER_TOKEN
}

/// Tokens of the prompt.
fn input(number: usize) -> u64 {
    (bytes(number) / BYTES_PER_TOKEN) as u64
}

/// Tokens of the answer: not the same for any two requests that are near each other.
fn output(number: usize) -> u64 {
    1 + (number % 997) as u64
}

/// What the request of this number costs, in nano-dollars, by [`spending::price`](super::spending::price).
pub fn cost(number: usize) -> i64 {
    (input(number) * 1_000 + output(number) * 50_000) as i64
}

/// What it is charged when nobody knows its end. `worst_case`: a token per byte and what the provider may add, all of it
/// written to a cache, and all of the answer. Else what such requests use: as many bytes per token as all of them, and no
/// shorter an answer than is expected before anything is known.
pub fn estimate(number: usize, reservation: &str) -> i64 {
    let input = match reservation {
        "worst_case" => (bytes(number) + 512) as u64 * 1_250,
        _ => input(number) * 1_000,
    };
    (input + MAX_TOKENS * 50_000) as i64
}

/// What the provider answers; it takes its time, so that there is always something on its way.
pub fn answer(request: &Received) -> Answer {
    let number = number(request.body.len());
    let (input, output) = (input(number), output(number));
    let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    if request.json()["stream"] == false {
        let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}});
        let whole = json!({"id": "1", "object": "chat.completion", "created": 1, "model": MODEL,
            "choices": [choice], "usage": usage});
        return Answer::json(200, &whole).after(Duration::from_millis(20));
    }
    let chunk = |delta: Value, usage: Value| {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": null}]);
        let chunk = json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL,
            "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let mut events: Vec<String> = (0..6).map(|_| chunk(json!({"content": "yes "}), Value::Null)).collect();
    events.push(chunk(json!({}), usage));
    events.push("data: [DONE]\n\n".to_owned());
    Answer::sse(events).paced(Duration::from_millis(8))
}

impl Load {
    /// Lets everybody ask until they are told to stop, whether the gateway is there or not.
    pub fn start(gateway: &Gateway, callers: &[Caller]) -> Self {
        Self::start_after(gateway, callers, &[])
    }

    /// The same, with other requests than those of an earlier load.
    pub fn start_after(gateway: &Gateway, callers: &[Caller], earlier: &[Asked]) -> Self {
        Self::start_over([gateway], callers, earlier)
    }

    /// The same, each asking one gateway after the other.
    pub fn start_over<'a>(
        gateways: impl IntoIterator<Item = &'a Gateway>,
        callers: &[Caller],
        earlier: &[Asked],
    ) -> Self {
        let first = earlier.iter().map(|asked| asked.number + 1).max().unwrap_or(0).next_multiple_of(CLIENTS);
        let (stop, whole) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let url = |gateway: &Gateway| format!("{}{}", gateway.url(), Api::Chat.path(MODEL, false));
        let urls: Arc<[String]> = gateways.into_iter().map(url).collect();
        let clients = callers.iter().enumerate().map(|(client, caller)| {
            let (urls, secret) = (Arc::clone(&urls), caller.secret.clone());
            tokio::spawn(ask(urls, secret, first + client, Arc::clone(&stop), Arc::clone(&whole)))
        });
        Self { clients: clients.collect(), stop, whole }
    }

    /// Waits until so many more answers have come whole.
    pub async fn advances(&self, by: usize) {
        let goal = self.whole.load(Ordering::Relaxed) + by;
        eventually("the load goes on", async || (self.whole.load(Ordering::Relaxed) >= goal).then_some(())).await;
    }

    /// Lets everybody finish; what they asked.
    pub async fn stop(self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let mut asked = Vec::new();
        for client in self.clients {
            asked.extend(client.await.unwrap());
        }
        asked
    }
}

async fn ask(
    urls: Arc<[String]>,
    secret: String,
    first: usize,
    stop: Arc<AtomicBool>,
    whole: Arc<AtomicUsize>,
) -> Vec<Asked> {
    let http = client();
    let mut asked = Vec::new();
    let mut number = first;
    // Not all begin with the same gateway.
    let mut turn = first;
    while !stop.load(Ordering::Relaxed) {
        let body = request(number).to_string();
        turn += 1;
        let post = http
            .post(&urls[turn % urls.len()])
            .bearer_auth(&secret)
            .header("content-type", "application/json")
            .body(body);
        let end = match post.send().await {
            // Nobody has seen it.
            Err(error) if error.is_connect() => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            Err(_) => End::Broken,
            Ok(response) => {
                let status = response.status().as_u16();
                let id = response.headers()["x-tollgate-request-id"].to_str().unwrap().to_owned();
                match response.text().await {
                    Ok(body) => End::Whole { id, status, body },
                    Err(_) => End::Broken,
                }
            }
        };
        if matches!(end, End::Whole { .. }) {
            whole.fetch_add(1, Ordering::Relaxed);
        }
        asked.push(Asked { number, end });
        number += CLIENTS;
    }
    asked
}

/// A gateway with the price and the callers of the load.
pub async fn gateway(setup: Setup, reservation: &str) -> (Gateway, Vec<Caller>) {
    let gateway = setup.start_spending(reservation, &[MODEL]).await;
    let callers = callers(gateway.admin()).await;
    (gateway, callers)
}
