//! Conversations: what their clients send, turn by turn, and which provider answers.

use serde_json::{Value, json};

use super::gateway::MODEL;
use super::{Api, Gateway, Provider, client};

/// How a client tells its conversations apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ClaudeHeader,
    ClaudeMetadata,
    ClaudeJson,
    CodexSession,
    CodexThread,
    CodexUnderscore,
    CacheKey,
    ChatCacheKey,
    User,
    Opening(Api),
}

impl Way {
    pub const ALL: [Self; 13] = [
        Self::ClaudeHeader,
        Self::ClaudeMetadata,
        Self::ClaudeJson,
        Self::CodexSession,
        Self::CodexThread,
        Self::CodexUnderscore,
        Self::CacheKey,
        Self::ChatCacheKey,
        Self::User,
        Self::Opening(Api::Anthropic),
        Self::Opening(Api::Chat),
        Self::Opening(Api::Responses),
        Self::Opening(Api::Gemini),
    ];

    fn api(self) -> Api {
        match self {
            Self::ClaudeHeader | Self::ClaudeMetadata | Self::ClaudeJson => Api::Anthropic,
            Self::CodexSession | Self::CodexThread | Self::CodexUnderscore | Self::CacheKey => Api::Responses,
            Self::ChatCacheKey | Self::User => Api::Chat,
            Self::Opening(api) => api,
        }
    }

    /// Whether it has a name; else it is told by how it begins.
    fn is_named(self) -> bool {
        !matches!(self, Self::User | Self::Opening(_))
    }

    fn header(self) -> Option<&'static str> {
        match self {
            Self::ClaudeHeader => Some("x-claude-code-session-id"),
            Self::CodexSession => Some("session-id"),
            Self::CodexThread => Some("thread-id"),
            Self::CodexUnderscore => Some("session_id"),
            _ => None,
        }
    }
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct Talk {
    way: Way,
    name: String,
    turns: Vec<String>,
}

impl Talk {
    pub fn new(way: Way, name: &str) -> Self {
        Self { way, name: name.to_owned(), turns: Vec::new() }
    }

    /// Says something more; gives the name of the provider that answered, the request's id and status.
    pub async fn say(&mut self, gateway: &Gateway, key: &str) -> (String, String, u16) {
        let Self { way, name, turns } = self;
        turns.push(format!("turn {}", turns.len()));
        // What has a name begins anew each time: its name is what counts.
        let first = if way.is_named() { format!("{name} {}", turns.len()) } else { name.clone() };
        let mut body = body(way.api(), &first, turns);
        match way {
            Way::ClaudeMetadata => body["metadata"] = json!({"user_id": format!("user_1_account__session_{name}")}),
            Way::ClaudeJson => {
                let user_id = json!({"device_id": "1", "account_uuid": "", "session_id": name}).to_string();
                body["metadata"] = json!({"user_id": user_id});
            }
            Way::CacheKey | Way::ChatCacheKey => body["prompt_cache_key"] = json!(name),
            Way::User => body["user"] = json!("everybody"),
            _ => {}
        }
        let mut asked = client().post(format!("{}{}", gateway.url(), way.api().path(MODEL, false))).bearer_auth(key);
        if let Some(header) = way.header() {
            asked = asked.header(header, &*name);
        }
        let answer = asked.json(&body).send().await.unwrap();
        let told = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let provider = told("x-request-id").unwrap_or_default();
        (provider, told("x-tollgate-request-id").unwrap_or_default(), answer.status().as_u16())
    }

    /// Says something more, and is answered well; by whom.
    pub async fn goes_to(&mut self, gateway: &Gateway, key: &str) -> String {
        let (provider, _, status) = self.say(gateway, key).await;
        assert_eq!(status, 200, "{self:?}");
        provider
    }
}

/// Everything that was said before is said again, and what was said last.
fn body(api: Api, first: &str, turns: &[String]) -> Value {
    let user = |text: &str| match api {
        Api::Gemini => json!({"role": "user", "parts": [{"text": text}]}),
        _ => json!({"role": "user", "content": text}),
    };
    let model = |text: &str| match api {
        Api::Gemini => json!({"role": "model", "parts": [{"text": text}]}),
        _ => json!({"role": "assistant", "content": text}),
    };
    let mut all = vec![user(first)];
    for turn in &turns[1..] {
        all.extend([model("go on"), user(turn)]);
    }
    match api {
        Api::Anthropic => json!({"model": MODEL, "max_tokens": 100, "messages": all}),
        Api::Responses => json!({"model": MODEL, "input": all}),
        Api::Gemini => json!({"contents": all}),
        _ => json!({"model": MODEL, "messages": all}),
    }
}

/// A provider that says who it is, in every dialect.
pub async fn provider(name: &'static str) -> Provider {
    let provider = Provider::start().await;
    provider.decide(move |request| {
        let api = Api::STREAMING.into_iter().find(|api| request.target.starts_with(&api.path(MODEL, false)));
        api.unwrap_or(Api::Chat).answer().header("x-request-id", name)
    });
    provider
}
