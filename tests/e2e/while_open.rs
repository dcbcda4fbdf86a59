//! What is changed while a stream is open: the stream is charged to what it was admitted by, once, and all sums agree.

use entity::usage_ledger;
use serde_json::{Value, json};

use crate::support::admin::Caller;
use crate::support::gateway::Setup;
use crate::support::racing::capped;
use crate::support::{Admin, Api, Books, Gate, Gateway, Provider, Wire, eventually, spending};

/// What a stream here costs.
const COST: i64 = 50_000_000;

/// A gateway before a provider whose streams wait in their middle, and a caller who pays for `red` from a budget of his
/// user group for the model group `reds`.
struct Scene {
    provider: Provider,
    gateway: Gateway,
    books: Books,
    caller: Caller,
    reds: i64,
    users: i64,
    gate: Gate,
}

/// A stream that is open.
struct Open {
    wire: Wire,
    id: String,
}

impl Scene {
    /// The user group may spend so much on `reds`, the user and the key two dollars on everything else.
    async fn new(usd: f64) -> Self {
        let provider = Provider::start().await;
        let setup = Setup::new([provider.entry("slow", &["openai_chat"])]);
        let gateway = setup.start_spending("worst_case", &["red", "blue"]).await;
        let admin = gateway.admin();
        let reds = admin.model_group("reds", &["red"]).await;
        let caller = admin.caller(json!({"limits": capped(2.0)}), json!({"limits": capped(2.0)})).await;
        let users = admin.user_group("painters", &[caller.user_id]).await;
        admin.limit("user_group", users, reds, capped(usd)).await;
        let books = Books::of(&gateway).await;
        Self { provider, gateway, books, caller, reds, users, gate: Gate::new() }
    }

    fn admin(&self) -> &Admin {
        self.gateway.admin()
    }

    /// Opens a stream that waits until [`Self::finish`].
    async fn open(&self, model: &str) -> Open {
        let gate = self.gate.clone();
        self.provider.decide(move |request| spending::stream(request, 990).gated_after(2, &gate));
        let mut body = spending::request(model, Some(1_000));
        body["stream"] = json!(true);
        let mut wire = self.gateway.connect().await;
        wire.post(&Api::Chat.path(model, true), &self.caller.secret, &body).await;
        let head = wire.head().await.unwrap();
        assert_eq!(head.status, 200);
        wire.piece().await.unwrap().unwrap();
        Open { id: head.request_id().to_owned(), wire }
    }

    /// Lets it go on to its end; its row, once the books balance.
    async fn finish(&self, mut open: Open) -> usage_ledger::Model {
        self.gate.open(1);
        open.wire.body().await.unwrap();
        self.books.balance(&self.gateway, &self.caller).await;
        let rows = self.books.rows(&self.caller).await;
        let row = rows.into_iter().find(|row| row.request_id == open.id).expect("a row of the stream");
        assert_eq!((row.cost_nanos, &*row.outcome, row.attempt), (COST, "completed", 1));
        row
    }

    /// What the user's budget of this scope has used, in nano-dollars.
    async fn used(&self, scope: impl Into<Value>) -> i64 {
        let window = self.admin().window("user", self.caller.user_id, &scope.into(), "total").await;
        crate::support::books::nanos(&window["usedUsd"])
    }

    async fn groups_are_switched(&self, on: bool) {
        let question = format!("/explain?userId={}&model=red", self.caller.user_id);
        eventually("groups are switched", async || {
            (self.admin().get(&question).await["modelGroup"].is_object() == on).then_some(())
        })
        .await;
    }

    /// The status of a whole answer of the same cost.
    async fn another(&self, model: &str) -> u16 {
        self.provider.decide(spending::answer);
        self.gateway.spend(&self.caller, model, 50).await.head.status
    }
}

/// The group that the row names, and whether the mainlines of user and key have paid.
fn charged(row: &usage_ledger::Model) -> (Option<i64>, bool, bool) {
    (row.model_group_id, row.counted_in_user_global, row.counted_in_key_global)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_moves_leaves_an_open_stream_with_its_old_group() {
    let scene = Scene::new(0.06).await;
    let admin = scene.admin();
    let others = admin.model_group("others", &["green"]).await;
    admin.limit("user", scene.caller.user_id, others, capped(0.06)).await;
    let open = scene.open("red").await;
    admin.delete(&format!("/model-groups/{}/models/red", scene.reds)).await;
    admin.put(&format!("/model-groups/{others}/models/red"), &json!({})).await;
    // The new group has all of its budget, whatever is still set aside in the old one.
    let second = scene.open("red").await;
    assert_eq!(charged(&scene.finish_both(open, second).await[0]), (Some(scene.reds), false, true));
    assert_eq!((scene.used(scene.reds).await, scene.used(others).await), (COST, COST));
    assert_eq!(scene.used("mainline").await, 0);
    assert_eq!(scene.another("red").await, 402, "the new group's budget is used up");
}

impl Scene {
    /// Lets two go on to their end; their rows.
    async fn finish_both(&self, first: Open, mut second: Open) -> [usage_ledger::Model; 2] {
        self.gate.open(2);
        second.wire.body().await.unwrap();
        let first = self.finish(first).await;
        let rows = self.books.rows(&self.caller).await;
        [first, rows.into_iter().find(|row| row.request_id == second.id).unwrap()]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_raised_or_taken_away_counts_an_open_stream() {
    let scene = Scene::new(1.0).await;
    let admin = scene.admin();
    // Lowered under what is set aside: the stream goes on, the next is refused.
    let open = scene.open("red").await;
    let limit = admin.limit("user_group", scene.users, scene.reds, capped(0.01)).await;
    assert_eq!(scene.another("red").await, 402);
    assert_eq!(charged(&scene.finish(open).await), (Some(scene.reds), false, true));
    assert_eq!(scene.used(scene.reds).await, COST);
    // Raised: what is used counts, and so does what is set aside.
    admin.limit("user_group", scene.users, scene.reds, capped(0.16)).await;
    let open = scene.open("red").await;
    admin.limit("user_group", scene.users, scene.reds, capped(0.12)).await;
    assert_eq!(scene.another("red").await, 402, "0.05 are used, and 0.05 set aside of 0.12");
    scene.finish(open).await;
    assert_eq!(scene.used(scene.reds).await, 2 * COST);
    // Taken away: the mainline pays for the next, not for the one that runs; and it counts when there is a limit again.
    admin.limit("user_group", scene.users, scene.reds, capped(0.2)).await;
    let open = scene.open("red").await;
    admin.delete(&format!("/model-limits/{limit}")).await;
    assert_eq!(scene.another("red").await, 200);
    assert_eq!(charged(&scene.finish(open).await), (Some(scene.reds), false, true));
    assert_eq!(scene.used("mainline").await, COST);
    admin.limit("user_group", scene.users, scene.reds, capped(0.2)).await;
    assert_eq!(scene.used(scene.reds).await, 3 * COST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_limit_does_not_take_an_open_stream_from_the_mainline() {
    let scene = Scene::new(1.0).await;
    let admin = scene.admin();
    let blues = admin.model_group("blues", &["blue"]).await;
    let open = scene.open("blue").await;
    admin.limit("user", scene.caller.user_id, blues, capped(0.06)).await;
    admin.limit("key", scene.caller.key_id, blues, capped(0.06)).await;
    assert_eq!(scene.another("blue").await, 200, "the new budget begins at nothing");
    assert_eq!(charged(&scene.finish(open).await), (Some(blues), true, true));
    assert_eq!((scene.used("mainline").await, scene.used(blues).await), (COST, COST));
    // The first cap of a mainline knows what was spent without one, and what ran meanwhile.
    let admin = scene.admin();
    let free = admin.caller(json!({}), json!({})).await;
    let scene = Scene { caller: free, ..scene };
    let open = scene.open("red").await;
    scene.admin().patch(&format!("/users/{}", scene.caller.user_id), &json!({"limits": capped(0.06)})).await;
    scene.admin().patch(&format!("/keys/{}", scene.caller.key_id), &json!({"limits": capped(0.06)})).await;
    assert_eq!(charged(&scene.finish(open).await), (Some(scene.reds), true, true));
    assert_eq!(scene.used("mainline").await, COST);
    assert_eq!(scene.another("red").await, 402);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boost_that_ends_leaves_an_open_stream_its_money() {
    let scene = Scene::new(0.01).await;
    let admin = scene.admin();
    let boost = json!({"userId": scene.caller.user_id, "modelGroupId": scene.reds, "window": "total", "usd": 0.2,
        "startsAt": "2026-01-01T00:00:00Z", "expiresAt": "2999-01-01T00:00:00Z", "reason": "a fair"});
    let mut five_hours = boost.clone();
    five_hours["window"] = json!("5h");
    let boosts = [admin.post("/quota-boosts", &boost).await, admin.post("/quota-boosts", &five_hours).await];
    let open = scene.open("red").await;
    for boost in &boosts {
        admin.delete(&format!("/quota-boosts/{}", boost["id"])).await;
    }
    assert_eq!(scene.another("red").await, 402);
    assert_eq!(charged(&scene.finish(open).await), (Some(scene.reds), false, true));
    let window = admin.window("user", scene.caller.user_id, &json!(scene.reds), "total").await;
    assert_eq!(
        (&window["limitUsd"], &window["usedUsd"], &window["remainingUsd"]),
        (&json!(0.01), &json!(0.05), &json!(0)),
        "{window}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boost_that_runs_out_leaves_an_open_stream_its_money() {
    let scene = Scene::new(0.01).await;
    let admin = scene.admin();
    let end = jiff::Timestamp::now() + jiff::Span::new().seconds(3);
    for window in ["total", "5h"] {
        let boost = json!({"userId": scene.caller.user_id, "modelGroupId": scene.reds, "window": window, "usd": 0.2,
            "startsAt": "2026-01-01T00:00:00Z", "expiresAt": end.to_string(), "reason": "a fair"});
        admin.post("/quota-boosts", &boost).await;
    }
    let open = scene.open("red").await;
    let window = async || admin.window("user", scene.caller.user_id, &json!(scene.reds), "total").await;
    eventually("the boost is over", async || (window().await["limitUsd"] == 0.01).then_some(())).await;
    assert!(jiff::Timestamp::now() >= end, "not before its time");
    let reserved = window().await["reservedUsd"].as_f64().unwrap();
    assert!(reserved >= 0.05, "{reserved}");
    assert_eq!(scene.another("red").await, 402);
    assert_eq!(charged(&scene.finish(open).await), (Some(scene.reds), false, true));
    assert_eq!(scene.used(scene.reds).await, COST);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_user_group_pays_an_open_stream_from_its_budget() {
    let scene = Scene::new(0.06).await;
    let admin = scene.admin();
    let member = format!("/user-groups/{}/members/{}", scene.users, scene.caller.user_id);
    let open = scene.open("red").await;
    admin.delete(&member).await;
    assert_eq!(scene.another("red").await, 200, "the mainline pays");
    assert_eq!(charged(&scene.finish(open).await), (Some(scene.reds), false, true));
    assert_eq!(scene.used("mainline").await, COST);
    admin.put(&member, &json!({})).await;
    assert_eq!(scene.used(scene.reds).await, COST, "who comes back has spent it");
    assert_eq!(scene.another("red").await, 402);
    // The whole user group goes.
    let scene = Scene::new(0.06).await;
    let open = scene.open("red").await;
    scene.admin().delete(&format!("/user-groups/{}", scene.users)).await;
    assert_eq!(charged(&scene.finish(open).await), (Some(scene.reds), false, true));
    assert_eq!(scene.used("mainline").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_group_that_goes_takes_an_open_stream_along() {
    let scene = Scene::new(1.0).await;
    let admin = scene.admin();
    let open = scene.open("red").await;
    admin.delete(&format!("/model-groups/{}", scene.reds)).await;
    let again = admin.model_group("reds", &["red"]).await;
    admin.limit("user_group", scene.users, again, capped(0.06)).await;
    assert_eq!(scene.another("red").await, 200, "a new group of the same name begins at nothing");
    assert_eq!(charged(&scene.finish(open).await), (Some(scene.reds), false, true));
    assert_eq!((scene.used("mainline").await, scene.used(again).await), (0, COST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_puts_an_open_stream_into_the_new_era() {
    let scene = Scene::new(1.0).await;
    let admin = scene.admin();
    assert_eq!(scene.another("red").await, 200);
    let open = scene.open("red").await;
    admin.post(&format!("/users/{}:resetLimits", scene.caller.user_id), &json!({})).await;
    // Nothing else has touched the budget since.
    let row = scene.finish(open).await;
    assert_eq!((charged(&row), row.user_era, row.key_era), ((Some(scene.reds), false, true), 1, 0));
    assert_eq!(scene.used(scene.reds).await, COST);
}

#[tokio::test(flavor = "multi_thread")]
async fn switching_groups_off_leaves_an_open_stream_with_its_group() {
    let mut scene = Scene::new(0.06).await;
    let open = scene.open("red").await;
    scene.gateway.rewrite("budgets.model_group_limits", false);
    scene.gateway.signal("HUP");
    scene.groups_are_switched(false).await;
    assert_eq!(scene.another("red").await, 200);
    assert_eq!(charged(&scene.finish(open).await), (Some(scene.reds), false, true));
    assert_eq!(scene.used("mainline").await, COST, "of the one after the switch");
    scene.gateway.rewrite("budgets.model_group_limits", true);
    scene.gateway.signal("HUP");
    scene.groups_are_switched(true).await;
    assert_eq!(scene.another("red").await, 402);
    assert_eq!(scene.used(scene.reds).await, COST);
    // The books are the same to a process that has seen none of it.
    scene.gateway.signal("TERM");
    scene.gateway.restart().await;
    let sums = scene.books.balance(&scene.gateway, &scene.caller).await;
    assert_eq!((sums.nanos, scene.used("mainline").await, scene.used(scene.reds).await), (2 * COST, COST, COST));
}
