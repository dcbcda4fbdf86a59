//! With `model_group_limits: false` a gateway full of groups, limits and boosts behaves as one that has never heard of
//! any.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::admin::Caller;
use crate::support::gateway::Setup;
use crate::support::{Admin, Answer, Api, Gateway, Provider, client, eventually, spending};

const MODELS: [&str; 2] = ["red", "green"];

/// What differs from run to run: who asked when.
const OF_THE_MOMENT: [&str; 8] =
    ["requestId", "request_id", "createdAt", "settledAt", "durationMs", "firstByteMs", "startsAt", "resetsAt"];
const HEADERS_OF_THE_MOMENT: [&str; 4] = ["date", "x-tollgate-request-id", "retry-after", "x-ratelimit-reset"];

/// Status, headers and body.
type Said = (u16, BTreeSet<(String, String)>, Value);

/// What is seen of a gateway that was asked the same as another.
#[derive(Debug, PartialEq)]
struct Seen {
    answers: Vec<Said>,
    sent: Vec<Value>,
    rows: Vec<Value>,
    budgets: [Value; 2],
    explained: Value,
    metrics: BTreeSet<String>,
}

fn without_the_moment(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_THE_MOMENT.contains(&name.as_str()));
            fields.values_mut().for_each(|field| *field = without_the_moment(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_the_moment(item.take())),
        Value::String(text) => text.truncate(text.find("; try again in ").unwrap_or(text.len())),
        _ => {}
    }
    value
}

/// A gateway with one user whose mainline pays for all models, and a key with a limit of its own.
async fn gateway() -> (Provider, Gateway, Caller) {
    let (provider, broken) = (Provider::start().await, Provider::start().await);
    provider.decide(|request| match request.json()["stream"].as_bool() {
        Some(true) => spending::stream(request, 500),
        _ => spending::answer(request),
    });
    broken.decide(|_| Answer::json(500, &json!({"error": {"message": "broken"}})));
    let mut first = broken.entry("broken", &["openai_chat"]);
    first["models"] = json!(["green"]);
    let mut second = provider.entry("upstream", &["openai_chat", "anthropic"]);
    second["priority"] = json!(1);
    second["limits"] = json!({"monthly": {"usd": 100}});
    let gateway = Setup::new([first, second]).start_spending("expected", &MODELS).await;
    let user = json!({"name": "Ada", "limits": {"total": {"usd": 0.4}, "daily": {"usd": 0.5}}});
    let caller = gateway.admin().caller(user, json!({"limits": {"weekly": {"usd": 0.45}}, "rpm": 9})).await;
    (provider, gateway, caller)
}

/// Groups of models and users with limits that nothing fits into, limits that everything fits into, and a boost.
async fn fill_with_groups(admin: &Admin, caller: &Caller) {
    let red = admin.model_group("reds", &["red"]).await;
    let green = admin.model_group("greens", &["green"]).await;
    let users = admin.user_group("painters", &[caller.user_id]).await;
    let tiny = json!({"total": {"usd": 0.000_001}, "5h": {"usd": 0.000_001}});
    admin.limit("user", caller.user_id, red, tiny.clone()).await;
    admin.limit("key", caller.key_id, red, tiny).await;
    admin.limit("user_group", users, green, json!({"daily": {"usd": 1_000}})).await;
    admin.limit("key", caller.key_id, green, json!({"monthly": {"usd": 1_000}})).await;
    let boost = json!({"userId": caller.user_id, "modelGroupId": green, "window": "daily", "usd": 5,
        "startsAt": "2026-01-01T00:00:00Z", "expiresAt": "2999-01-01T00:00:00Z", "reason": "a fair"});
    admin.post("/quota-boosts", &boost).await;
}

async fn names_and_labels(gateway: &Gateway) -> BTreeSet<String> {
    let url = format!("http://{}/metrics", gateway.config()["server"]["metrics"].as_str().unwrap());
    let text = client().get(url).send().await.unwrap().text().await.unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// Asks for everything that ends in its own way: served, streamed, failed over, counted, refused by a budget, by the
/// limit on requests, for its model, for its key.
async fn ask_everything(provider: &Provider, gateway: &Gateway, caller: &Caller) -> Seen {
    let asked = |api: Api, model: &str, max_tokens: u64, stream: bool| {
        let mut body = spending::request(model, Some(max_tokens));
        if stream {
            body["stream"] = json!(true);
        }
        (api.path(model, stream), caller.secret.clone(), body)
    };
    let mut counting = asked(Api::Anthropic, "red", 1_000, false);
    counting.0 = "/v1/messages/count_tokens".to_owned();
    let mut of_nobody = asked(Api::Chat, "red", 1_000, false);
    of_nobody.1 = "tg-unknown".to_owned();
    let mut requests = vec![
        asked(Api::Chat, "red", 2_000, false),
        asked(Api::Chat, "red", 1_000, true),
        asked(Api::Chat, "green", 2_000, false),
        of_nobody,
        asked(Api::Chat, "unpriced", 1_000, false),
        asked(Api::Chat, "red", 2_000, false),
        // 0.33 USD are used now, and this will pass all caps.
        asked(Api::Chat, "green", 4_000, false),
        asked(Api::Anthropic, "red", 4_000, false),
        asked(Api::Chat, "green", 1_000, false),
    ];
    requests.extend(std::iter::repeat_n(counting, 6));
    let (mut answers, mut charged) = (Vec::new(), 0);
    for (path, key, body) in &requests {
        let mut wire = gateway.connect().await;
        wire.post(path, key, body).await;
        let reply = wire.reply().await.unwrap();
        let headers = reply.head.headers.iter().filter(|(name, _)| !HEADERS_OF_THE_MOMENT.contains(&name.as_str()));
        let text = String::from_utf8_lossy(&reply.body);
        let body = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
        charged += usize::from(reply.head.status == 200 && !path.ends_with("count_tokens"));
        answers.push((reply.head.status, headers.cloned().collect(), without_the_moment(body)));
    }
    let admin = gateway.admin();
    admin.newest_of(charged).await;
    eventually("nothing runs", async || (gateway.metric("in_flight").await == 0.0).then_some(())).await;
    let (user, key) = (caller.user_id, caller.key_id);
    let shown = async |path: String| without_the_moment(admin.get(&path).await);
    Seen {
        answers,
        sent: provider.requests().iter().map(|request| request.json()).collect(),
        rows: admin.usage().await.into_iter().map(without_the_moment).collect(),
        budgets: [shown(format!("/budgets/user/{user}")).await, shown(format!("/budgets/key/{key}")).await],
        explained: shown(format!("/explain?userId={user}&keyId={key}&model=red")).await,
        metrics: names_and_labels(gateway).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_model_group_limits_are_off_does_what_one_without_groups_does() {
    let (provider, plain, caller) = gateway().await;
    let expected = ask_everything(&provider, &plain, &caller).await;
    let statuses: BTreeSet<u16> = expected.answers.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [200, 400, 401, 402, 429].into(), "every end is among them: {:#?}", expected.answers);

    let (provider, mut full, caller) = gateway().await;
    fill_with_groups(&full.admin().clone(), &caller).await;
    full.rewrite("budgets.model_group_limits", false);
    full.signal("HUP");
    eventually("groups are switched off", async || {
        let explained = full.admin().get(&format!("/explain?userId={}&model=red", caller.user_id)).await;
        (!explained.to_string().contains("reds")).then_some(())
    })
    .await;
    assert_eq!(ask_everything(&provider, &full, &caller).await, expected);

    // With the switch on, these groups would have been noticed at the first request.
    full.rewrite("budgets.model_group_limits", true);
    full.signal("HUP");
    eventually("groups are switched on", async || {
        let budgets = full.admin().get(&format!("/budgets/user/{}", caller.user_id)).await;
        (budgets["items"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
}
