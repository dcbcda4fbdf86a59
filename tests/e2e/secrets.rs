//! Whatever is logged, shown or measured, no secret is in it: at the chattiest level, and when everything goes wrong.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::support::gateway::{ADMIN_TOKEN, MODEL, Setup};
use crate::support::wire::request;
use crate::support::{Admin, Answer, Api, Gateway, Provider, eventually};

/// So many characters of a secret say more than those that are shown of a key to recognise it by.
const TELLING: usize = 8;

/// Of a secret in another alphabet.
const TELLING_ENCODED: usize = 12;

/// Something that nobody else says.
fn made_up(what: &str) -> String {
    format!("{what}-{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>())
}

/// What of a secret must not be found: any stretch of it, as it is or in another spelling.
fn traces(secret: &str) -> Vec<String> {
    let stretches = |text: &str, length: usize| -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        chars.windows(length).map(|window| window.iter().collect()).collect()
    };
    // What it begins with says only what it is.
    let unknown = secret.trim_start_matches("secret-").trim_start_matches("tgadm-").trim_start_matches("tg-");
    // That of the tests is made of words, which are said elsewhere too.
    let telling = if secret == ADMIN_TOKEN { 3 * TELLING } else { TELLING };
    let mut found = stretches(unknown, telling);
    let percent = utf8_percent_encode(unknown, NON_ALPHANUMERIC).to_string();
    if percent != unknown {
        found.extend(stretches(&percent, telling));
    }
    let hex = unknown.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    found.extend(stretches(&hex, 2 * telling));
    // Wherever in a text that is encoded it stands: what depends on its neighbours is left out at both ends.
    for before in 0..3 {
        let padded = format!("{}{unknown}", "x".repeat(before));
        for encoded in [STANDARD.encode(&padded), URL_SAFE.encode(&padded)] {
            let own = encoded.trim_end_matches('=');
            found.extend(stretches(&own[4..own.len() - 4], TELLING_ENCODED));
        }
    }
    found
}

fn finds(text: &str, secret: &str) -> Option<String> {
    traces(secret).into_iter().find(|trace| text.contains(trace.as_str()))
}

#[test]
fn a_secret_is_found_in_every_spelling() {
    let secret = made_up("secret").replace('a', "+").replace('b', "/");
    let encoded = |before: &str| STANDARD.encode(format!("{before}{secret} and more"));
    let percent = utf8_percent_encode(&secret, NON_ALPHANUMERIC).to_string();
    for text in
        [secret.clone(), percent, secret[..secret.len() - 20].to_owned(), encoded(""), encoded("a"), encoded("ab:")]
    {
        assert!(finds(&format!("a line with {text} in it"), &secret).is_some(), "{text}");
    }
    assert_eq!(finds(&format!("a line with {} in it", &secret[..13]), &secret), None);
}

/// A gateway at the chattiest level, with a secret in every place that takes one.
struct Talkative {
    gateway: Gateway,
    provider: Provider,
    postgres: Postgres,
    redis: Redis,
    /// With what each is.
    secrets: Vec<(&'static str, String)>,
}

async fn start() -> Talkative {
    let (postgres, redis, provider) = (Postgres::start(), Redis::start(), Provider::start().await);
    let mut secrets = vec![("the environment's admin token", ADMIN_TOKEN.to_owned())];
    let mut new = |what: &'static str| {
        let secret = made_up("secret");
        secrets.push((what, secret.clone()));
        secret
    };
    let (database, store, first, second) =
        (new("database password"), new("Redis password"), new("provider key"), new("other provider key"));
    let () = redis.call(&["ACL", "SETUSER", "tollgate", "on", &format!(">{store}"), "~*", "&*", "+@all"]).await;
    let mut chat = provider.entry("chat", &["openai_chat", "anthropic"]);
    chat["api_key"] = json!(first);
    let mut gemini = provider.entry("gemini", &["gemini"]);
    gemini["api_key"] = json!(second);
    let setup = Setup::new([chat, gemini])
        .set("database.url", postgres.url("postgres").replace("postgres@", &format!("postgres:{database}@")))
        .set("redis", json!({"url": redis.url().replace("redis://", &format!("redis://tollgate:{store}@"))}))
        .set("log", json!({"level": "trace"}))
        .environment(vec![("RUST_LOG".to_owned(), "trace".to_owned())]);
    let gateway = setup.start().await;
    secrets.push(("a key", gateway.key().to_owned()));
    Talkative { gateway, provider, postgres, redis, secrets }
}

impl Talkative {
    fn keep(&mut self, what: &'static str, secret: &str) {
        self.secrets.push((what, secret.to_owned()));
    }

    /// Sends a request with these headers, whatever becomes of it.
    async fn send(&self, target: &str, headers: &[(&str, &str)], body: &Value) -> u16 {
        let mut wire = self.gateway.connect().await;
        wire.send(request("POST", target, headers, body.to_string().as_bytes())).await.unwrap();
        wire.reply().await.map_or(0, |reply| reply.head.status)
    }

    /// Makes, changes and takes away everything that has a secret.
    async fn administer(&mut self) {
        let admin = self.gateway.admin().clone();
        let user = self.gateway.caller().user_id;
        let (key, secret) = admin.key(user, json!({})).await;
        self.keep("a key that was rotated away", &secret);
        let rotated = admin.ok(Method::POST, &format!("/keys/{key}:rotate"), None).await;
        self.keep("a rotated key", rotated["secret"].as_str().unwrap());
        for role in ["admin", "viewer"] {
            let token = admin.post("/admin-tokens", &json!({"name": role, "role": role})).await;
            let secret = token["secret"].as_str().unwrap();
            self.keep("an admin token", secret);
            Admin::new(admin.base(), secret).get("/users").await;
        }
        admin.delete(&format!("/keys/{key}")).await;
        let body = json!({"name": "once"});
        for _ in 0..2 {
            let url = format!("{}/api/v1/users/{user}/keys", admin.base());
            let request = crate::support::client().post(url).bearer_auth(ADMIN_TOKEN).json(&body);
            let answer: Value = request.header("idempotency-key", "again").send().await.unwrap().json().await.unwrap();
            if let Some(secret) = answer["secret"].as_str() {
                self.keep("a key that was asked for twice", secret);
            }
        }
    }

    /// Right and wrong credentials in each place that there is.
    async fn authenticate(&mut self) {
        let right = self.gateway.key().to_owned();
        let body = Api::Chat.request(MODEL, false);
        let prompt = made_up("prompt");
        let mut asks = body.clone();
        asks["messages"] = json!([{"role": "user", "content": prompt}]);
        self.keep("what was asked", &prompt);
        for place in ["authorization", "x-api-key", "x-goog-api-key", "?key=", "cookie", "basic"] {
            for wrong in [false, true] {
                let secret = if wrong { made_up("wrong") } else { right.clone() };
                if wrong {
                    self.keep("a wrong credential", &secret);
                }
                let (header, target) = match place {
                    "authorization" => (("authorization", format!("Bearer {secret}")), "/v1/chat/completions".into()),
                    "basic" => {
                        let basic = STANDARD.encode(format!("user:{secret}"));
                        (("authorization", format!("Basic {basic}")), "/v1/chat/completions".into())
                    }
                    "?key=" => (("x-nothing", String::new()), format!("/v1/chat/completions?key={secret}")),
                    header => ((header, secret.clone()), "/v1/chat/completions".to_owned()),
                };
                self.send(&target, &[(header.0, &header.1), ("content-type", "application/json")], &asks).await;
                // The admin address takes it for a token, in the query too.
                let admin = Admin::new(self.gateway.admin().base(), &secret);
                admin.call(Method::GET, "/users", None).await;
                admin.call(Method::GET, "/me", None).await;
                admin.call(Method::GET, &format!("/users?key={secret}"), None).await;
            }
        }
        let gemini = format!("/v1beta/models/{MODEL}:generateContent?key={right}");
        self.send(&gemini, &[("content-type", "application/json")], &Api::Gemini.request(MODEL, false)).await;
    }

    /// Everything that can go wrong.
    async fn fail(&mut self) {
        // A provider that repeats what it was sent.
        let keys: Vec<String> =
            self.secrets.iter().filter(|(what, _)| what.contains("provider key")).map(|(_, key)| key.clone()).collect();
        let quoted = json!({"error": {"message": format!("Incorrect API key provided: {}", keys.join(" "))}});
        for status in [401, 429, 500] {
            self.provider.always(Answer::json(status, &quoted));
            for api in [Api::Chat, Api::Anthropic, Api::Gemini] {
                self.gateway.ask(api, false).await;
            }
        }
        self.provider.always(Api::Chat.answer());
        let bearer = format!("Bearer {}", self.gateway.key());
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        for model in
            ["evil\nERROR a forged line", "evil\r\n2026-01-01T00:00:00Z ERROR forged", "\u{1b}[31mred", "a\u{2028}b"]
        {
            self.send("/v1/chat/completions", &headers, &Api::Chat.request(model, false)).await;
        }
        self.send("/v1/chat/completions", &headers, &json!("not an object")).await;
        let (_, admin) = (0, self.gateway.admin().clone());
        admin.call(Method::POST, "/users", Some(&json!({"name": "forged\nERROR line"}))).await;
        admin.call(Method::GET, "/nothing%0aERROR%20forged", None).await;
        // A file that cannot be read as it is.
        self.gateway.rewrite("providers.0.prority", 1);
        self.gateway.signal("HUP");
        eventually("the mistake was noticed", async || {
            (self.gateway.metric("config_reload_success").await == 0.0).then_some(())
        })
        .await;
        // The other servers go away, and come back.
        self.redis.stop();
        self.postgres.stop();
        self.gateway.ask(Api::Chat, false).await;
        admin.call(Method::GET, "/users", None).await;
        admin.call(Method::POST, "/users", Some(&json!({"name": "late"}))).await;
        self.postgres.restart();
        eventually("the database is back", async || {
            (admin.call(Method::GET, "/users", None).await.0 == 200).then_some(())
        })
        .await;
    }

    /// Everything that can be read.
    async fn shown(&self) -> Vec<(String, String)> {
        let mut shown = vec![("the log".to_owned(), self.gateway.log())];
        let metrics = self.gateway.series("").await;
        shown.push(("/metrics".to_owned(), format!("{metrics:?}")));
        let admin = self.gateway.admin();
        let mut paths: Vec<String> = tollgate::admin::openapi()["paths"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(path, item)| item.get("get").is_some() && !path.contains('{') && !path.starts_with("/me"))
            .map(|(path, _)| path.clone())
            .collect();
        paths.push(format!("/users/{}/keys", self.gateway.caller().user_id));
        for row in admin.usage().await {
            paths.push(format!("/requests/{}", row["requestId"].as_str().unwrap()));
        }
        for path in paths {
            let (_, answer) = admin.call(Method::GET, &path, None).await;
            shown.push((path, answer.to_string()));
        }
        shown
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_or_shown_whatever_is_done_and_whatever_fails() {
    let mut talkative = start().await;
    talkative.provider.always(Api::Chat.answer());
    talkative.administer().await;
    talkative.authenticate().await;
    talkative.fail().await;
    let shown = talkative.shown().await;
    assert!(shown.len() > 15, "{}", shown.len());
    let log = &shown[0].1;
    assert!(log.lines().count() > 100 && log.contains("TRACE"), "it says what it does");
    let mut leaks = Vec::new();
    for (place, text) in &shown {
        // It is printed once, on purpose.
        let text: String =
            text.lines().filter(|line| !line.starts_with("admin token (shown once)")).collect::<Vec<_>>().join("\n");
        for (what, secret) in &talkative.secrets {
            if let Some(trace) = finds(&text, secret) {
                let line = text.lines().find(|line| line.contains(&trace)).unwrap_or_default();
                leaks.push(format!("{what} in {place}: {line:.300}"));
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    let forged: Vec<&str> = log
        .lines()
        .filter(|line| !line.starts_with("20") && !line.starts_with("admin token (shown once)"))
        .filter(|line| line.contains("forged") || line.contains('\u{1b}'))
        .collect();
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z ERROR forged")), "nor one with a time");
    assert!(forged.is_empty(), "a line of the log is one line, and nobody else's: {forged:#?}");
}
