//! Whoever may spend so much in one window, and crowds that try to spend more.

use futures::StreamExt;
use serde_json::{Value, json};

use super::admin::Caller;
use super::{Admin, Api, Gateway, client, spending};

/// Every window.
pub const WINDOWS: [&str; 5] = ["5h", "daily", "weekly", "monthly", "total"];

/// So many of a crowd ask at once.
pub const AT_ONCE: usize = 50;

/// Whose limit it is, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    User,
    Key,
    UserForGroup,
    UserGroupForGroup,
    KeyForGroup,
}

/// Everybody's.
pub const WHOSE: [Whose; 5] =
    [Whose::User, Whose::Key, Whose::UserForGroup, Whose::UserGroupForGroup, Whose::KeyForGroup];

/// Somebody new, who may spend so much in one window.
pub async fn limited(admin: &Admin, whose: Whose, window: &str, group: i64, usd: f64) -> Caller {
    limited_by(admin, whose, json!({window: {"usd": usd}}), group).await
}

/// Somebody new with these limits.
pub async fn limited_by(admin: &Admin, whose: Whose, limits: Value, group: i64) -> Caller {
    let on = |yes: bool| if yes { json!({"limits": limits}) } else { json!({}) };
    let caller = admin.caller(on(whose == Whose::User), on(whose == Whose::Key)).await;
    let (kind, id) = match whose {
        Whose::User | Whose::Key => return caller,
        Whose::UserForGroup => ("user", caller.user_id),
        Whose::KeyForGroup => ("key", caller.key_id),
        Whose::UserGroupForGroup => {
            let id = admin.user_group(&format!("users {}", caller.user_id), &[caller.user_id]).await;
            ("user_group", id)
        }
    };
    admin.limit(kind, id, group, limits).await;
    caller
}

/// Asks so often, [`AT_ONCE`] at once, each gateway in turn; how many passed.
pub async fn ask(gateways: &[&Gateway], caller: &Caller, model: &str, max_tokens: Option<u64>, times: usize) -> usize {
    ask_for(gateways, caller, model, max_tokens, times, AT_ONCE).await
}

/// The same, so many at once.
pub async fn ask_for(
    gateways: &[&Gateway],
    caller: &Caller,
    model: &str,
    max_tokens: Option<u64>,
    times: usize,
    at_once: usize,
) -> usize {
    let refusal = (402, "budget_exceeded");
    ask_unless(gateways, &caller.secret, &spending::request(model, max_tokens), times, at_once, refusal).await
}

/// The same, where whoever does not pass is refused so.
pub async fn ask_unless(
    gateways: &[&Gateway],
    secret: &str,
    body: &Value,
    times: usize,
    at_once: usize,
    refusal: (u16, &str),
) -> usize {
    let http = client();
    let model = body["model"].as_str().unwrap();
    let asking = (0..times).map(|turn| {
        let url = format!("{}{}", gateways[turn % gateways.len()].url(), Api::Chat.path(model, false));
        let request = http.post(url).bearer_auth(secret).json(body);
        async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let body: Value = response.json().await.unwrap();
            if status == 200 {
                return true;
            }
            assert_eq!((status, body["error"]["code"].as_str()), (refusal.0, Some(refusal.1)), "{body}");
            false
        }
    });
    let passed = futures::stream::iter(asking).buffer_unordered(at_once).filter(|passed| std::future::ready(*passed));
    passed.count().await
}
