//! A second provider beside one that is slow to begin: who is heard, who pays, and what is told of both.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::admin::Caller;
use crate::support::certs::Authority;
use crate::support::dialects::cost_of_row;
use crate::support::gateway::{MODEL, Setup};
use crate::support::leaving::{DIALECTS, leave};
use crate::support::mishaps::{error_document, error_event, own_error, ping, prelude};
use crate::support::provider::{End, refusing};
use crate::support::racing::{Sold, Way, capped, crowd, failure};
use crate::support::talks::{self, Talk};
use crate::support::wire::Reply;
use crate::support::{Answer, Api, Books, Gate, Gateway, Provider, Tokens, eventually};

/// How long the first is waited for alone.
const AFTER: &str = "50ms";

/// Clients of a crowd, few enough that there is money for rivals.
const AT_ONCE: usize = 8;

/// A second and a third model that are priced, and that redirects lead to.
const SECOND_MODEL: &str = "second-model";
const THIRD_MODEL: &str = "third-model";

/// Three providers, tried in this order, and somebody with caps.
struct Track {
    first: Provider,
    second: Provider,
    third: Provider,
    gateway: Gateway,
    caller: Caller,
    books: Books,
}

impl Track {
    async fn start(loser: &str) -> Self {
        Self::start_with(loser, |setup| setup).await
    }

    async fn start_with(loser: &str, change: impl FnOnce(Setup) -> Setup) -> Self {
        let (first, second, third) = tokio::join!(Provider::start(), Provider::start(), Provider::start());
        let mut entries =
            [(&first, "first"), (&second, "second"), (&third, "third")].map(|(p, name)| p.entry(name, &DIALECTS));
        for (at, entry) in entries.iter_mut().enumerate() {
            entry["priority"] = json!(at);
        }
        entries[1]["redirects"] = json!({MODEL: SECOND_MODEL});
        entries[2]["redirects"] = json!({MODEL: THIRD_MODEL});
        let setup = Setup::new(entries).priced(SECOND_MODEL).priced(THIRD_MODEL);
        let setup = setup.set("routing.racing", json!({"after": AFTER, "loser": loser}));
        let gateway = change(setup).start().await;
        let limits = json!({"limits": capped(100.0)});
        let caller = gateway.admin().caller(limits.clone(), limits).await;
        let books = Books::of(&gateway).await;
        Self { first, second, third, gateway, caller, books }
    }

    /// Asks, and does something once the rival has been asked.
    async fn ask_and(&self, api: Api, stream: bool, then: impl AsyncFnOnce()) -> Reply {
        let before = self.second.requests().len();
        let asking = self.gateway.ask_with(&self.caller.secret, api, MODEL, stream);
        let watching = async {
            self.second.request(before).await;
            then().await;
        };
        tokio::join!(asking, watching).0
    }

    async fn ask(&self, api: Api, stream: bool) -> Reply {
        self.gateway.ask_with(&self.caller.secret, api, MODEL, stream).await
    }

    /// Waits until an attempt of this provider has ended like this so often.
    async fn ended(&self, provider: &str, reason: &str, times: usize) {
        let name = format!(r#"attempts_total{{outcome="{reason}",provider="{provider}"}}"#);
        self.gateway.metric_is(&name, times as f64).await;
    }

    /// Waits until the gateway has gone away from a provider's last request.
    async fn is_abandoned(provider: &Provider) {
        eventually("the loser's connection is closed", async || {
            provider.requests().last().filter(|request| request.abandoned).map(drop)
        })
        .await;
    }

    /// The rows of a request, once there are so many, by attempt.
    async fn rows(&self, id: &str, count: usize) -> Vec<Value> {
        let mut rows = eventually("the rows of the request", async || {
            Some(self.gateway.admin().rows_of(id).await).filter(|rows| rows.len() >= count)
        })
        .await;
        assert_eq!(rows.len(), count, "{rows:#?}");
        rows.sort_by_key(|row| row["attempt"].as_i64());
        rows
    }

    /// Provider, reason and status of each attempt of a request.
    async fn story(&self, id: &str) -> Vec<(String, String, Option<u64>)> {
        let attempts = self.gateway.admin().attempts_of(id).await;
        let text = |attempt: &Value, name: &str| attempt[name].as_str().unwrap().to_owned();
        let told = |attempt: &Value| {
            assert!(attempt["startedMs"].as_i64().unwrap() >= 0 && attempt["durationMs"].as_i64().unwrap() >= 0);
            (text(attempt, "provider"), text(attempt, "reason"), attempt["status"].as_u64())
        };
        attempts.iter().map(told).collect()
    }

    /// Nothing is in flight or set aside, and the budgets know these nano-dollars in so many rows.
    async fn has_paid(&self, rows: usize, nanos: i64) {
        let sums = self.books.balance(&self.gateway, &self.caller).await;
        assert_eq!((sums.rows, sums.nanos), (rows, nanos));
    }
}

fn told(attempts: &[(&str, &str, Option<u64>)]) -> Vec<(String, String, Option<u64>)> {
    attempts.iter().map(|(provider, reason, status)| ((*provider).into(), (*reason).into(), *status)).collect()
}

/// How a row of it ended: attempt, provider, model, outcome, status.
fn outline(row: &Value) -> (i64, &str, &str, &str, i64) {
    let text = |name: &str| row[name].as_str().unwrap();
    let number = |name: &str| row[name].as_i64().unwrap();
    (number("attempt"), text("provider"), text("servedModel"), text("outcome"), number("status"))
}

/// An error, whose connection is not used again: what breaks off on a used one is asked for once more.
fn error(status: u16) -> Answer {
    let error = json!({"error": {"message": format!("the provider says {status}"), "type": "x"}});
    Answer::json(status, &error).header("connection", "close").end(End::Close)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_has_a_word_first_is_heard_and_nobody_pays_for_the_other() {
    let track = Track::start("absorb").await;
    let (mut count, mut paid) = (0, 0);
    for (api, stream) in Api::every_way() {
        let gate = Gate::new();
        track.first.then(api.answer_to(stream).behind(&gate));
        track.second.then(api.answer_to(stream));
        let reply = track.ask(api, stream).await;
        let context = format!("{api:?}, streamed: {stream}");
        assert_eq!((reply.head.status, &reply.body), (200, &api.answer_to(stream).body()), "{context}");
        Track::is_abandoned(&track.first).await;
        let id = reply.head.request_id();
        let rows = track.rows(id, 1).await;
        assert_eq!(outline(&rows[0]), (2, "second", SECOND_MODEL, "completed", 200), "{context}");
        assert_eq!(Tokens::of_row(&rows[0]), api.tokens(), "{context}");
        assert_eq!(
            track.story(id).await,
            told(&[("first", "lost_race", None), ("second", "ok", Some(200))]),
            "{context}"
        );
        assert_eq!(track.second.requests()[count].json()["model"].as_str().unwrap_or(SECOND_MODEL), SECOND_MODEL);
        (count, paid) = (count + 1, paid + api.tokens().cost());
        track.has_paid(count, paid).await;
    }
    assert_eq!(track.third.requests().len(), 0, "two at once, not more");
    track.gateway.metric_is(r#"races_total{winner="rival"}"#, count as f64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_and_pings_are_no_word() {
    let track = Track::start("absorb").await;
    for api in Api::STREAMING {
        let gate = Gate::new();
        let events = prelude(api).into_iter().chain([ping(api), ping(api)]);
        let pieces = events.clone().count();
        let begun = events.chain(api.events(&api.tokens()).split_off(prelude(api).len()));
        track.first.then(Answer::sse(begun).gated_after(pieces, &gate));
        track.second.then(api.stream());
        let reply = track.ask(api, true).await;
        assert_eq!(reply.body, api.stream().body(), "{api:?}");
        Track::is_abandoned(&track.first).await;
        let story = track.story(reply.head.request_id()).await;
        assert_eq!(story, told(&[("first", "lost_race", Some(200)), ("second", "ok", Some(200))]), "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_pays_for_the_loser_pays_exactly_what_it_has_used() {
    let track = Track::start("charge").await;
    let (mut count, mut paid) = (0, 0);
    for (api, stream) in Api::every_way() {
        let context = format!("{api:?}, streamed: {stream}");
        let gate = Gate::new();
        track.first.then(api.answer_to(stream).behind(&gate));
        track.second.then(api.answer_to(stream));
        let reply = track.ask(api, stream).await;
        assert_eq!(reply.body, api.answer_to(stream).body(), "{context}");
        let id = reply.head.request_id();
        assert_eq!(outline(&track.rows(id, 1).await[0]), (2, "second", SECOND_MODEL, "completed", 200), "{context}");
        gate.open_wide();
        let rows = track.rows(id, 2).await;
        assert_eq!(outline(&rows[0]), (1, "first", MODEL, "lost_race", 200), "{context}");
        assert_eq!(outline(&rows[1]), (2, "second", SECOND_MODEL, "completed", 200), "{context}");
        for row in &rows {
            assert_eq!((Tokens::of_row(row), cost_of_row(row)), (api.tokens(), api.tokens().cost()), "{context}");
        }
        let story = track.story(id).await;
        assert_eq!(story, told(&[("first", "lost_race", None), ("second", "ok", Some(200))]), "{context}");
        (count, paid) = (count + 2, paid + 2 * api.tokens().cost());
        track.has_paid(count, paid).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h07_each_of_two_that_race_is_charged_to_the_budgets_of_its_own_model() {
    let track = Track::start("charge").await;
    let admin = track.gateway.admin();
    let group = admin.model_group("seconds", &[SECOND_MODEL]).await;
    admin.limit("user", track.caller.user_id, group, capped(100.0)).await;
    for (won_by, winner, loser) in [("rival", &track.second, &track.first), ("first", &track.first, &track.second)] {
        let gates = [Gate::new(), Gate::new()];
        winner.then(Api::Chat.answer().behind(&gates[0]));
        loser.then(Api::Chat.answer().behind(&gates[1]));
        let reply = track.ask_and(Api::Chat, false, async || gates[0].open_wide()).await;
        gates[1].open_wide();
        let rows = track.rows(reply.head.request_id(), 2).await;
        let flags = |row: &Value| {
            let flag = |name: &str| row[name].as_bool().unwrap();
            (row["modelGroupId"].as_i64(), flag("countedInUserGlobal"), flag("countedInKeyGlobal"))
        };
        assert_eq!(flags(&rows[0]), (None, true, true), "{won_by} wins");
        assert_eq!(flags(&rows[1]), (Some(group), false, true), "{won_by} wins");
    }
    track.has_paid(4, 4 * Api::Chat.tokens().cost()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loser_over_http2_is_left_too() {
    let authority = Authority::new();
    let first = Provider::start_tls(&authority, &["h2"]).await;
    let second = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut preferred = first.entry("first", &DIALECTS);
    preferred["tls"] = json!({"ca_file": authority.write(folder.path())});
    let mut other = second.entry("second", &DIALECTS);
    other["priority"] = json!(1);
    let setup = Setup::new([preferred, other]).set("routing.racing.after", AFTER);
    let gateway = setup.start().await;
    for stream in [false, true] {
        let answer = Api::Chat.answer_to(stream);
        first.then(answer.clone().behind(&Gate::new()));
        second.then(answer.clone());
        assert_eq!(gateway.ask(Api::Chat, stream).await.body, answer.body());
        Track::is_abandoned(&first).await;
        first.then(answer.clone());
        assert_eq!(gateway.ask(Api::Chat, stream).await.body, answer.body());
    }
    assert!(first.requests().iter().all(|request| request.version == http::Version::HTTP_2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_on_of_a_loser_is_estimated() {
    let track = Track::start_with("charge", |setup| setup.set("on_client_abort.drain", "0s")).await;
    track.first.then(Api::Chat.answer().behind(&Gate::new()));
    track.second.then(Api::Chat.answer());
    let reply = track.ask(Api::Chat, false).await;
    let rows = track.rows(reply.head.request_id(), 2).await;
    assert_eq!(outline(&rows[0]), (1, "first", MODEL, "lost_race", 499));
    let prompt = Tokens { input: track.first.requests()[0].body.len().div_ceil(4) as i64, ..Tokens::default() };
    assert_eq!((Tokens::of_row(&rows[0]), rows[0]["estimated"].clone()), (prompt, json!(true)));
    track.has_paid(2, prompt.cost() + Api::Chat.tokens().cost()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_may_win_after_all() {
    for loser in ["absorb", "charge"] {
        let track = Track::start(loser).await;
        let (mut count, mut paid) = (0, 0);
        for (api, stream) in Api::every_way() {
            let (first, second) = (Gate::new(), Gate::new());
            track.first.then(api.answer_to(stream).behind(&first));
            track.second.then(api.answer_to(stream).behind(&second));
            let reply = track.ask_and(api, stream, async || first.open_wide()).await;
            assert_eq!(reply.body, api.answer_to(stream).body(), "{loser}: {api:?}, streamed: {stream}");
            let id = reply.head.request_id();
            match loser {
                "absorb" => Track::is_abandoned(&track.second).await,
                _ => second.open_wide(),
            }
            let times = if loser == "absorb" { 1 } else { 2 };
            let rows = track.rows(id, times).await;
            assert_eq!(outline(&rows[0]), (1, "first", MODEL, "completed", 200));
            if let Some(lost) = rows.get(1) {
                assert_eq!(outline(lost), (2, "second", SECOND_MODEL, "lost_race", 200));
            }
            let story = track.story(id).await;
            assert_eq!(story, told(&[("second", "lost_race", None), ("first", "ok", Some(200))]));
            (count, paid) = (count + times, paid + times as i64 * api.tokens().cost());
            track.has_paid(count, paid).await;
        }
        assert!(track.gateway.metric(r#"races_total{winner="first"}"#).await > 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_whose_budgets_cannot_pay_is_not_asked() {
    let track = Track::start_with("charge", |setup| setup.set("budgets.reservation", "worst_case")).await;
    let admin = track.gateway.admin();
    let group = admin.model_group("seconds", &[SECOND_MODEL]).await;
    admin.limit("user", track.caller.user_id, group, capped(0.1)).await;
    let refused = track.gateway.ask_with(&track.caller.secret, Api::Chat, SECOND_MODEL, false).await;
    Api::Chat.refuses(&refused, 402, "budget_exceeded");
    // Somebody else can be paid.
    let gate = Gate::new();
    track.first.then(Api::Chat.answer().behind(&gate));
    track.third.always(Api::Chat.answer());
    let reply = track.ask(Api::Chat, false).await;
    assert_eq!(reply.head.status, 200);
    let id = reply.head.request_id().to_owned();
    assert_eq!(track.story(&id).await, told(&[("first", "lost_race", None), ("third", "ok", Some(200))]));
    gate.open_wide();
    // Nobody can be.
    let others = admin.model_group("thirds", &[THIRD_MODEL]).await;
    admin.limit("user", track.caller.user_id, others, capped(0.1)).await;
    track.first.then(Api::Chat.answer().after(Duration::from_millis(500)));
    let reply = track.ask(Api::Chat, false).await;
    assert_eq!(reply.head.status, 200);
    assert_eq!(track.story(reply.head.request_id()).await, told(&[("first", "ok", Some(200))]));
    assert_eq!((track.second.requests().len(), track.third.requests().len()), (0, 1));
    // It is refused where it is needed, as without a race.
    track.first.then(error(503).after(Duration::from_millis(500)));
    let reply = track.ask(Api::Chat, false).await;
    Api::Chat.refuses(&reply, 402, "budget_exceeded");
    track.is_at_rest().await;
    assert_eq!((track.second.requests().len(), track.third.requests().len()), (0, 1));
}

impl Track {
    /// Waits until the books balance.
    async fn is_at_rest(&self) {
        self.books.balance(&self.gateway, &self.caller).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_could_not_be_paid_beside_the_first_takes_its_place_when_that_fails() {
    // One of the two can be paid, not both.
    let track = Track::start_with("absorb", |setup| setup.set("budgets.reservation", "worst_case")).await;
    let admin = track.gateway.admin();
    let most = json!({"limits": capped(1.6)});
    let caller = admin.caller(most.clone(), most).await;
    let mut body = Api::Chat.request(MODEL, false);
    // A little more than a US dollar.
    body["max_tokens"] = json!(30_000);
    track.first.then(error(503).after(Duration::from_millis(500)));
    track.second.then(Api::Chat.answer());
    let mut wire = track.gateway.connect().await;
    wire.post(&Api::Chat.path(MODEL, false), &caller.secret, &body).await;
    let reply = wire.reply().await.unwrap();
    assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let story = track.story(reply.head.request_id()).await;
    assert_eq!(story, told(&[("first", "upstream_status", Some(503)), ("second", "ok", Some(200))]));
    track.books.balance(&track.gateway, &caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_fails_leaves_the_first_to_answer() {
    let track = Track::start("charge").await;
    let failures = [
        (error(503), "upstream_status", Some(503)),
        (error(400), "upstream_status", Some(400)),
        (Answer::silence(End::Close).header("connection", "close"), "broken", None),
        (Answer::json(200, &error_document(Api::Chat)), "error_in_answer", Some(200)),
        (Answer::json(200, &own_error(Api::Chat)), "error_in_answer", Some(200)),
        (Answer::sse([error_event(Api::Chat)]), "error_in_answer", Some(200)),
        (Answer::bytes(200, "application/json", ""), "empty_answer", Some(200)),
    ];
    let mut count = 0;
    for (answer, reason, status) in failures {
        let before = track.gateway.metric(&format!(r#"attempts_total{{outcome="{reason}",provider="second"}}"#)).await;
        let gate = Gate::new();
        track.first.then(Api::Chat.answer().behind(&gate));
        track.second.then(answer);
        let reply = track
            .ask_and(Api::Chat, false, async || {
                track.ended("second", reason, before as usize + 1).await;
                gate.open_wide();
            })
            .await;
        assert_eq!((reply.head.status, &reply.body), (200, &Api::Chat.answer().body()), "{reason}");
        let id = reply.head.request_id();
        assert_eq!(track.story(id).await, told(&[("second", reason, status), ("first", "ok", Some(200))]), "{reason}");
        count += 1;
        assert_eq!(outline(&track.rows(id, 1).await[0]), (1, "first", MODEL, "completed", 200));
        track.has_paid(count, count as i64 * Api::Chat.tokens().cost()).await;
    }
    assert_eq!(track.third.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_cannot_be_reached_leaves_the_first_to_answer() {
    let first = Provider::start().await;
    let (_port, mut refused) = refusing("refused", &DIALECTS);
    refused["priority"] = json!(1);
    let setup = Setup::new([first.entry("first", &DIALECTS), refused]);
    let gateway = setup.set("routing.racing.after", AFTER).start().await;
    let gate = Gate::new();
    first.then(Api::Chat.answer().behind(&gate));
    let asking = gateway.ask(Api::Chat, false);
    let watching = async {
        gateway.metric_is(r#"attempts_total{outcome="connect_failed",provider="refused"}"#, 1.0).await;
        gate.open_wide();
    };
    let reply = tokio::join!(asking, watching).0;
    assert_eq!(reply.head.status, 200);
    assert_eq!(gateway.admin().reasons_of(reply.head.request_id()).await, ["connect_failed", "ok"]);
    gateway.metric_is("in_flight", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_fails_the_rival_carries_on() {
    for loser in ["absorb", "charge"] {
        let track = Track::start(loser).await;
        let failures = [
            (error(503), "upstream_status", Some(503)),
            (error(429), "upstream_status", Some(429)),
            (Answer::silence(End::Close).header("connection", "close"), "broken", None),
            (Answer::json(200, &error_document(Api::Chat)), "error_in_answer", Some(200)),
        ];
        let (mut count, mut seen) = (0, 0);
        for (answer, reason, status) in failures {
            seen = if reason == "upstream_status" { seen + 1 } else { 1 };
            let (first, second) = (Gate::new(), Gate::new());
            track.first.then(answer.behind(&first));
            track.second.then(Api::Chat.answer().behind(&second));
            let reply = track
                .ask_and(Api::Chat, false, async || {
                    first.open_wide();
                    track.ended("first", reason, seen).await;
                    second.open_wide();
                })
                .await;
            assert_eq!((reply.head.status, &reply.body), (200, &Api::Chat.answer().body()), "{reason}");
            let id = reply.head.request_id();
            let story = track.story(id).await;
            assert_eq!(story, told(&[("first", reason, status), ("second", "ok", Some(200))]), "{reason}");
            count += 1;
            assert_eq!(outline(&track.rows(id, 1).await[0]), (2, "second", SECOND_MODEL, "completed", 200));
            track.has_paid(count, count as i64 * Api::Chat.tokens().cost()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_both_fail_the_others_are_asked_and_the_last_answer_is_passed_on_when_they_fail_too() {
    for (fails_first, third) in [("first", 200), ("second", 200), ("first", 503), ("second", 503)] {
        let track = Track::start("charge").await;
        let (first, second) = (Gate::new(), Gate::new());
        track.first.then(error(500).behind(&first));
        track.second.then(error(502).behind(&second));
        track.third.always(if third == 200 { Api::Chat.answer() } else { error(third) });
        let (sooner, later) = if fails_first == "first" { (&first, &second) } else { (&second, &first) };
        let reply = track
            .ask_and(Api::Chat, false, async || {
                sooner.open_wide();
                track.ended(fails_first, "upstream_status", 1).await;
                later.open_wide();
            })
            .await;
        assert_eq!(reply.head.status, third, "{fails_first} fails first");
        let id = reply.head.request_id();
        let failed = |name: &'static str| (name, "upstream_status", Some(if name == "first" { 500 } else { 502 }));
        let other = if fails_first == "first" { "second" } else { "first" };
        let last = if third == 200 { ("third", "ok", Some(200)) } else { ("third", "upstream_status", Some(503)) };
        assert_eq!(track.story(id).await, told(&[failed(fails_first), failed(other), last]));
        let rows = track.rows(id, 1).await;
        assert_eq!((&rows[0]["attempt"], &rows[0]["provider"]), (&json!(3), &json!("third")));
        track.has_paid(1, if third == 200 { Api::Chat.tokens().cost() } else { 0 }).await;
        let asked = [&track.first, &track.second, &track.third].map(|provider| provider.requests().len());
        assert_eq!(asked, [1; 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_took_over_is_asked_again_as_often_as_its_provider_allows() {
    let track = Track::start_with("charge", |setup| setup.set("providers.1.attempts", 2)).await;
    let (first, second) = (Gate::new(), Gate::new());
    track.first.then(error(500).behind(&first));
    track.second.then(error(502).behind(&second));
    track.second.then(Api::Chat.answer());
    let reply = track
        .ask_and(Api::Chat, false, async || {
            first.open_wide();
            track.ended("first", "upstream_status", 1).await;
            second.open_wide();
        })
        .await;
    assert_eq!(reply.head.status, 200);
    let id = reply.head.request_id();
    let failed = |name: &'static str, status| (name, "upstream_status", Some(status));
    assert_eq!(
        track.story(id).await,
        told(&[failed("first", 500), failed("second", 502), ("second", "ok", Some(200))])
    );
    assert_eq!(outline(&track.rows(id, 1).await[0]), (3, "second", SECOND_MODEL, "completed", 200));
    track.has_paid(1, Api::Chat.tokens().cost()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_is_busy_is_passed_over_and_has_its_turn_when_it_has_a_place() {
    let track = Track::start_with("absorb", |setup| setup.set("providers.1.max_concurrent_requests", 1)).await;
    // Somebody has its only place: a rival himself.
    let occupied = [Gate::new(), Gate::new()];
    track.first.then(Api::Chat.answer().behind(&occupied[0]));
    track.second.then(Api::Chat.answer().behind(&occupied[1]));
    let occupant = track.ask_and(Api::Chat, false, async || {
        let gates = [Gate::new(), Gate::new()];
        track.first.then(error(503).behind(&gates[0]));
        track.third.then(error(503).behind(&gates[1]));
        let asking = track.ask(Api::Chat, false);
        let watching = async {
            track.third.request(0).await;
            track.second.then(Api::Chat.answer());
            occupied[1].open_wide();
            track.ended("first", "lost_race", 1).await;
            track.gateway.metric_is("in_flight", 1.0).await;
            gates[1].open_wide();
            track.ended("third", "upstream_status", 1).await;
            gates[0].open_wide();
        };
        let reply = tokio::join!(asking, watching).0;
        assert_eq!(reply.head.status, 200);
        let story = track.story(reply.head.request_id()).await;
        let names: Vec<_> = story.iter().map(|(name, reason, _)| (name.as_str(), reason.as_str())).collect();
        assert_eq!(names, [("third", "upstream_status"), ("first", "upstream_status"), ("second", "ok")]);
    });
    assert_eq!(occupant.await.head.status, 200);
    track.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_request_is_told_at_once() {
    let track = Track::start("absorb").await;
    let (first, second) = (Gate::new(), Gate::new());
    track.first.then(error(400).behind(&first));
    track.second.then(Api::Chat.answer().behind(&second));
    let reply = track.ask_and(Api::Chat, false, async || first.open_wide()).await;
    assert_eq!((reply.head.status, &reply.body), (400, &error(400).body()));
    let story = track.story(reply.head.request_id()).await;
    assert_eq!(story, told(&[("second", "lost_race", None), ("first", "upstream_status", Some(400))]));
    track.has_paid(1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_race_pays_for_the_first_and_for_the_rival_only_where_losers_are_paid() {
    for loser in ["absorb", "charge"] {
        let track = Track::start(loser).await;
        let (mut count, mut paid) = (0, 0);
        for (api, stream) in Api::every_way() {
            let gate = Gate::new();
            track.first.then(api.answer_to(stream).behind(&gate));
            track.second.then(api.answer_to(stream).behind(&gate));
            let asked = track.second.requests().len();
            let mut wire = track.gateway.connect().await;
            wire.post(&api.path(MODEL, stream), &track.caller.secret, &api.request(MODEL, stream)).await;
            track.second.request(asked).await;
            leave(&track.gateway, wire, stream).await;
            if loser == "absorb" {
                Track::is_abandoned(&track.second).await;
            }
            gate.open_wide();
            let times = if loser == "absorb" { 1 } else { 2 };
            (count, paid) = (count + times, paid + times as i64 * api.tokens().cost());
            let rows = eventually("the rows are there", async || {
                let rows = track.gateway.admin().usage().await;
                (rows.len() >= count).then_some(rows)
            })
            .await;
            let mut newest: Vec<_> = rows[..times].iter().map(outline).collect();
            newest.sort_unstable();
            let both = [(1, "first", MODEL, "client_aborted", 200), (2, "second", SECOND_MODEL, "lost_race", 200)];
            assert_eq!(newest, both[..times], "{loser}: {api:?}, streamed: {stream}");
            let id = rows[0]["requestId"].as_str().unwrap();
            let story = track.story(id).await;
            assert_eq!(story, told(&[("second", "lost_race", None), ("first", "client_aborted", Some(200))]));
            track.has_paid(count, paid).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_racing_nobody_else_is_asked() {
    let track = Track::start_with("charge", |setup| setup.set("routing.racing.after", "0s")).await;
    track.first.then(Api::Chat.answer().after(Duration::from_millis(500)));
    let reply = track.ask(Api::Chat, false).await;
    assert_eq!(reply.head.status, 200);
    assert_eq!(track.story(reply.head.request_id()).await, told(&[("first", "ok", Some(200))]));
    assert_eq!(track.second.requests().len(), 0);
    track.has_paid(1, Api::Chat.tokens().cost()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_in_time_runs_alone() {
    let track = Track::start_with("charge", |setup| setup.set("routing.racing.after", "20s")).await;
    for (api, stream) in Api::every_way() {
        track.first.then(api.answer_to(stream));
        let reply = track.ask(api, stream).await;
        assert_eq!(track.story(reply.head.request_id()).await, told(&[("first", "ok", Some(200))]));
    }
    track.first.then(error(503));
    track.second.then(Api::Chat.answer());
    let reply = track.ask(Api::Chat, false).await;
    let story = track.story(reply.head.request_id()).await;
    assert_eq!(story, told(&[("first", "upstream_status", Some(503)), ("second", "ok", Some(200))]));
    track.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_without_a_head_has_failed_and_who_has_begun_has_not() {
    let circuit = json!({"failures": 3, "ratio": 0.5, "window": "60s", "open": "60s", "half_open": 1});
    let track = Track::start_with("absorb", |setup| setup.set("providers.0.circuit", circuit)).await;
    let circuit = async || track.gateway.admin().get("/providers").await["items"][0]["circuit"].clone();
    let api = Api::STREAMING[0];
    track.second.always(api.stream());
    for _ in 0..5 {
        let pieces = prelude(api).len();
        track.first.then(Answer::sse(api.events(&api.tokens())).gated_after(pieces, &Gate::new()));
        assert_eq!(track.ask(api, true).await.head.status, 200);
    }
    let sound = circuit().await;
    assert_eq!((&sound["state"], &sound["failures"]), (&json!("closed"), &json!(0)), "{sound}");
    for _ in 0..3 {
        track.first.then(Answer::silence(End::Hang));
        assert_eq!(track.ask(api, true).await.head.status, 200);
    }
    let open = circuit().await;
    assert_eq!((&open["state"], &open["reason"]), (&json!("open"), &json!("lost_race")), "{open}");
    assert_eq!(track.first.requests().len(), 8);
    assert_eq!(track.ask(api, true).await.head.status, 200);
    assert_eq!(track.first.requests().len(), 8, "nobody waits for it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_is_slow_only_a_share_of_it_is_asked_twice() {
    let circuit = json!({"failures": 1000, "ratio": 1.0, "window": "60s", "open": "60s", "half_open": 1});
    let track = Track::start_with("absorb", |setup| {
        setup
            .set("providers.0.circuit", circuit)
            .set("routing.retry_budget", json!(0.0))
            .set("routing.racing.after", "1ms")
    })
    .await;
    let slow = || Api::Chat.answer().after(Duration::from_millis(30));
    track.first.always(slow());
    track.second.always(slow());
    for _ in 0..30 {
        assert_eq!(track.ask(Api::Chat, false).await.head.status, 200);
    }
    assert_eq!((track.first.requests().len(), track.second.requests().len()), (30, 10), "ten are always allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_fail_in_a_race_counts_at_once() {
    let circuit = json!({"failures": 1, "ratio": 0.01, "window": "60s", "open": "60s", "half_open": 1});
    let track = Track::start_with("absorb", |setup| setup.set("providers.0.circuit", circuit)).await;
    let (first, second) = (Gate::new(), Gate::new());
    track.first.then(error(500).behind(&first));
    track.second.then(Api::Chat.answer().behind(&second));
    track
        .ask_and(Api::Chat, false, async || {
            first.open_wide();
            track.ended("first", "upstream_status", 1).await;
            second.open_wide();
        })
        .await;
    let circuit = track.gateway.admin().get("/providers").await["items"][0]["circuit"].clone();
    assert_eq!(circuit["state"], "open", "{circuit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_to_who_won() {
    let (slow, other) = (talks::provider("slow").await, talks::provider("other").await);
    let mut preferred = slow.entry("slow", &DIALECTS);
    preferred["weight"] = json!(1_000_000);
    let setup = Setup::new([preferred, other.entry("other", &DIALECTS)]).set("routing.racing.after", AFTER);
    let gateway = setup.start().await;
    let mut talk = Talk::new(talks::Way::ClaudeHeader, "a talk");
    slow.then(Api::Anthropic.answer().behind(&Gate::new()));
    assert_eq!(talk.goes_to(&gateway, gateway.key()).await, "other");
    assert_eq!(slow.requests().len(), 1);
    for _ in 0..3 {
        assert_eq!(talk.goes_to(&gateway, gateway.key()).await, "other");
    }
    assert_eq!(slow.requests().len(), 1, "it is not asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_race_settles_both() {
    for loser in ["absorb", "charge"] {
        let mut track = Track::start(loser).await;
        let gate = Gate::new();
        track.first.then(Api::Chat.answer().behind(&gate));
        track.second.then(Api::Chat.answer().behind(&gate));
        let mut wire = track.gateway.connect().await;
        wire.post(&Api::Chat.path(MODEL, false), &track.caller.secret, &Api::Chat.request(MODEL, false)).await;
        let sent = track.second.request(0).await;
        track.gateway.signal("INT");
        assert_eq!(track.gateway.ended().await.code(), Some(0));
        let gateway = track.gateway.successor().await;
        let rows = gateway.admin().usage().await;
        let mut outlines: Vec<_> = rows.iter().map(outline).collect();
        outlines.sort_unstable();
        let both = [(1, "first", MODEL, "interrupted", 503), (2, "second", SECOND_MODEL, "lost_race", 499)];
        let times = if loser == "absorb" { 1 } else { 2 };
        assert_eq!(outlines, both[..times], "{loser}");
        let prompt = |row: &Value| sent.body.len().div_ceil(4) as i64 - Tokens::of_row(row).input;
        assert!(rows.iter().all(|row| prompt(row).abs() <= 2 && cost_of_row(row) > 0), "{rows:#?}");
        let books = Books::of(&gateway).await;
        assert_eq!(books.balance(&gateway, &track.caller).await.rows, times);
    }
}

/// The instant is not to be had exactly: whichever side of it the stop comes to, one of the two is charged.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_as_a_race_is_decided_charges_one_of_the_two() {
    let mut outcomes = Vec::new();
    for turn in 0..6 {
        let mut track = Track::start("absorb").await;
        let gate = Gate::new();
        track.first.then(Api::Chat.answer().behind(&gate));
        track.second.then(Api::Chat.answer().behind(&gate));
        let mut wire = track.gateway.connect().await;
        wire.post(&Api::Chat.path(MODEL, false), &track.caller.secret, &Api::Chat.request(MODEL, false)).await;
        track.second.request(0).await;
        gate.open_wide();
        tokio::time::sleep(Duration::from_micros(400 * turn)).await;
        track.gateway.signal("INT");
        assert_eq!(track.gateway.ended().await.code(), Some(0));
        let gateway = track.gateway.successor().await;
        let rows = gateway.admin().usage().await;
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert!(cost_of_row(&rows[0]) > 0, "{rows:#?}");
        outcomes.push(rows[0]["outcome"].as_str().unwrap().to_owned());
        assert_eq!(Books::of(&gateway).await.balance(&gateway, &track.caller).await.rows, 1);
    }
    assert!(outcomes.iter().all(|outcome| ["completed", "interrupted"].contains(&&**outcome)), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_a_race_charges_the_rival_only_where_losers_are_paid() {
    for loser in ["absorb", "charge"] {
        let mut track = Track::start(loser).await;
        let gate = Gate::new();
        track.first.then(Api::Chat.answer().behind(&gate));
        track.second.then(Api::Chat.answer().behind(&gate));
        let mut wire = track.gateway.connect().await;
        wire.post(&Api::Chat.path(MODEL, false), &track.caller.secret, &Api::Chat.request(MODEL, false)).await;
        track.second.request(0).await;
        track.gateway.kill();
        track.gateway.relaunch();
        track.gateway.ready().await;
        let rows = track.gateway.admin().usage().await;
        let mut ended: Vec<_> = rows.iter().map(|row| (outline(row), cost_of_row(row) > 0)).collect();
        ended.sort_unstable();
        let both = [
            ((1, "first", MODEL, "interrupted", 503), true),
            ((2, "second", SECOND_MODEL, "interrupted", 503), loser == "charge"),
        ];
        assert_eq!(ended, both, "{loser}");
        track.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crowds_that_race_pass_no_cap_and_whoever_pays_for_losers_pays_for_all_that_was_sold() {
    for loser in ["absorb", "charge"] {
        let sold = Sold::default();
        let providers = [Provider::start().await, Provider::start().await, Provider::start().await];
        for provider in &providers {
            let till = sold.clone();
            provider.decide(move |request| match rand::random_range(0..10) {
                0 => failure(),
                _ => till.sell(request, 990).after(Duration::from_millis(rand::random_range(0..60))),
            });
        }
        let entries = providers.iter().enumerate().map(|(at, p)| p.entry(&at.to_string(), &["openai_chat"]));
        let setup = Setup::new(entries).set("routing.racing", json!({"after": "20ms", "loser": loser}));
        let gateway = setup.start_spending("worst_case", &["red", "blue"]).await;
        let group = gateway.admin().model_group("reds", &["red"]).await;
        let limits = json!({"limits": capped(1.0)});
        let caller = gateway.admin().caller(limits.clone(), limits).await;
        gateway.admin().limit("user", caller.user_id, group, capped(1.0)).await;
        let asks = (0..200).map(|n| ([Way::Whole, Way::Stream, Way::Leave][n % 3], ["red", "blue"][n / 3 % 2]));
        let ended = crowd(gateway.address(), &caller, asks, AT_ONCE).await;
        let books = Books::of(&gateway).await;
        let sums = books.balance(&gateway, &caller).await;
        let rows = books.rows(&caller).await;
        for red in [true, false] {
            let of_color = rows.iter().filter(|row| (row.served_model == "red") == red);
            let spent: i64 = of_color.map(|row| row.cost_nanos).sum();
            assert!((0..=1_000_000_000).contains(&spent), "{loser}: {spent} of red: {red}");
        }
        let races = gateway.metric("races_total").await;
        assert!(races > 0.0 && ended.passed > 0, "{races} races, {ended:?}");
        let lost = rows.iter().filter(|row| row.outcome == "lost_race").count();
        assert_eq!(lost > 0, loser == "charge", "{lost}");
        if loser == "charge" {
            assert_eq!(sums.nanos, sold.so_far().0, "all that was sold is charged: {sums:?}");
        }
    }
}
