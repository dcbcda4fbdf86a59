//! Requests that cost what the test wants, and whoever may spend how much.

use serde_json::{Value, json};

use super::admin::Caller;
use super::gateway::Setup;
use super::provider::Received;
use super::wire::Reply;
use super::{Admin, Answer, Api, Gateway, eventually};

/// What a request for `max_tokens` costs, in thousandths of a US dollar: a twentieth of a thousandth per token.
pub const TOKENS_PER_MILLI: u64 = 20;

/// The price of every model here: 500 tokens of prompt and 990 of 1 000 tokens of answer cost 0.05 USD.
pub fn price() -> Value {
    json!({"inputUsdPerMillion": 1, "outputUsdPerMillion": 50, "maxInputTokens": 100_000, "maxOutputTokens": 2_000})
}

/// Tokens of every prompt here.
const PROMPT: u64 = 500;

/// What an answer of so many tokens costs.
pub fn cost_nanos(output: u64) -> i64 {
    i64::try_from(PROMPT * 1_000 + output * 50_000).unwrap()
}

/// A whole answer of almost as many tokens as were allowed, 1 000 when nothing was said.
pub fn answer(request: &Received) -> Answer {
    whole(request, request.json()["max_tokens"].as_u64().unwrap_or(1_000) - 10)
}

/// A whole answer of so many tokens.
pub fn whole(request: &Received, output: u64) -> Answer {
    let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}});
    let model = request.json()["model"].clone();
    Answer::json(
        200,
        &json!({"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice],
            "usage": usage(output)}),
    )
}

/// The same, streamed: a few words, and the usage at the end.
pub fn stream(request: &Received, output: u64) -> Answer {
    let model = request.json()["model"].clone();
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    let mut events = vec![chunk(choice(json!({"content": "So"}), Value::Null), Value::Null); 6];
    events.push(chunk(choice(json!({}), json!("stop")), Value::Null));
    events.push(chunk(json!([]), usage(output)));
    events.push("data: [DONE]\n\n".to_owned());
    Answer::sse(events)
}

fn usage(output: u64) -> Value {
    json!({"prompt_tokens": PROMPT, "completion_tokens": output, "total_tokens": PROMPT + output})
}

/// A request for so many tokens.
pub fn request(model: &str, max_tokens: Option<u64>) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Is it so?"}]});
    if let Some(max_tokens) = max_tokens {
        body["max_tokens"] = json!(max_tokens);
    }
    body
}

impl Setup {
    /// Runs until ready, with these models priced at [`price`].
    pub async fn start_spending(self, reservation: &str, models: &[&str]) -> Gateway {
        let gateway = self.set("budgets", json!({"reservation": reservation})).start().await;
        for model in models {
            gateway.admin().put(&format!("/prices/{model}"), &price()).await;
        }
        gateway
    }
}

impl Gateway {
    /// Spends so many thousandths of a US dollar, if there are as many.
    pub async fn spend(&self, caller: &Caller, model: &str, milli_usd: u64) -> Reply {
        let mut wire = self.connect().await;
        let body = request(model, Some(milli_usd * TOKENS_PER_MILLI));
        wire.post(&Api::Chat.path(model, false), &caller.secret, &body).await;
        wire.reply().await.unwrap()
    }

    /// Spends what is there.
    pub async fn spends(&self, caller: &Caller, model: &str, milli_usd: u64) {
        let reply = self.spend(caller, model, milli_usd).await;
        assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }

    /// Asks for what is not there; the refusal.
    pub async fn spends_too_much(&self, caller: &Caller, model: &str, milli_usd: u64) -> Reply {
        let reply = self.spend(caller, model, milli_usd).await;
        Api::Chat.refuses(&reply, 402, "budget_exceeded");
        reply
    }
}

impl Admin {
    /// A model group; its id.
    pub async fn model_group(&self, name: &str, models: &[&str]) -> i64 {
        self.post("/model-groups", &json!({"name": name, "models": models})).await["id"].as_i64().unwrap()
    }

    /// A user group of these users; its id.
    pub async fn user_group(&self, name: &str, users: &[i64]) -> i64 {
        let id = self.post("/user-groups", &json!({"name": name})).await["id"].as_i64().unwrap();
        for user in users {
            self.put(&format!("/user-groups/{id}/members/{user}"), &json!({})).await;
        }
        id
    }

    /// Limits of a `user`, `user_group` or `key` on a model group; the row's id.
    pub async fn limit(&self, kind: &str, subject: i64, model_group: i64, limits: Value) -> i64 {
        let limit = json!({"subjectType": kind, "subjectId": subject, "modelGroupId": model_group, "limits": limits});
        self.put("/model-limits", &limit).await["id"].as_i64().unwrap()
    }

    /// A window of a budget: `scope` is `mainline` or a model group's id.
    pub async fn window(&self, axis: &str, owner: i64, scope: &Value, window: &str) -> Value {
        let budgets = self.get(&format!("/budgets/{axis}/{owner}")).await;
        let items = budgets["items"].as_array().unwrap();
        let of_scope = |item: &&Value| {
            if scope == "mainline" { item["scope"] == "mainline" } else { item["modelGroupId"] == *scope }
        };
        let budget = items.iter().find(of_scope).unwrap_or_else(|| panic!("no budget {scope} in {budgets}"));
        let windows = budget["windows"].as_array().unwrap();
        windows
            .iter()
            .find(|found| found["window"] == window)
            .unwrap_or_else(|| panic!("no {window} in {budget}"))
            .clone()
    }

    /// The rows of a user, newest first, as soon as there are any.
    pub async fn rows_of_user(&self, user: i64) -> Vec<Value> {
        eventually("rows of the user", async || {
            let (_, page) = self.call(reqwest::Method::GET, &format!("/usage?userId={user}"), None).await;
            page["items"].as_array().filter(|rows| !rows.is_empty()).cloned()
        })
        .await
    }

    /// What the ledger says that a user has spent, once it has so many rows of his; `counted` as in the API.
    pub async fn spent(&self, user: i64, counted: &str, rows: usize) -> f64 {
        let all = format!("/usage/summary?userId={user}&groupBy=keyId");
        eventually("all rows are written", async || (self.get(&all).await["requests"] == rows).then_some(())).await;
        self.get(&format!("{all}&counted={counted}")).await["totalUsd"].as_f64().unwrap()
    }
}
