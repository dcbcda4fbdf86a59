//! The switch that decides while nobody can say what is spent, or which groups there are.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tollgate::store;

use crate::servers::postgres::Postgres;
use crate::support::admin::Caller;
use crate::support::books::nanos;
use crate::support::gateway::{MODEL, Setup, run};
use crate::support::leaving::DIALECTS;
use crate::support::wire::Reply;
use crate::support::{Api, Books, Gateway, Provider, Tokens, client, eventually, spending};

/// The gateway asks the database about whoever it does not know: these it shall know.
async fn is_known(gateway: &Gateway, caller: &Caller) {
    let models = client().get(format!("{}/v1/models", gateway.url())).bearer_auth(&caller.secret);
    assert_eq!(models.send().await.unwrap().status(), 200);
}

fn unavailable(api: Api, reply: &Reply) {
    api.refuses(reply, 503, "budget_unavailable");
    assert_eq!(reply.head.get("retry-after"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_refuses_in_every_dialect_while_the_database_hangs_and_only_what_a_budget_pays_for() {
    let (postgres, provider) = (Postgres::start(), Provider::start().await);
    let setup = Setup::new([provider.entry("upstream", &DIALECTS)])
        .set("database.url", postgres.url("postgres"))
        .set("budgets", json!({"on_authority_failure": "closed"}));
    let gateway = setup.start().await;
    let admin = gateway.admin();
    let caller = admin.caller(json!({"limits": {"daily": {"usd": 1}}}), json!({})).await;
    for known in [&caller, gateway.caller()] {
        is_known(&gateway, known).await;
    }
    postgres.pause();
    let mut refusals = 0.0;
    for (api, stream) in Api::every_way() {
        unavailable(api, &gateway.ask_with(&caller.secret, api, MODEL, stream).await);
        refusals += 1.0;
    }
    assert_eq!(provider.requests().len(), 0, "what was refused reached no provider");
    gateway.metric_is("refusals_total{axis=\"\",code=\"budget_unavailable\",window=\"\"}", refusals).await;
    provider.always(Api::Chat.answer());
    assert_eq!(gateway.ask(Api::Chat, false).await.head.status, 200, "whoever has no budget needs no answer");
    postgres.resume();
    let passed = eventually("the database answers again", async || {
        let reply = gateway.ask_with(&caller.secret, Api::Chat, MODEL, false).await;
        (reply.head.status == 200).then_some(reply)
    })
    .await;
    let row = admin.row_of(passed.head.request_id()).await;
    assert_eq!((Tokens::of_row(&row), &row["countedInUserGlobal"]), (Api::Chat.tokens(), &json!(true)), "{row}");
    let sums = Books::of(&gateway).await.balance(&gateway, &caller).await;
    assert_eq!((sums.rows, sums.nanos), (1, Api::Chat.tokens().cost()), "refusals are no rows and hold nothing");
    assert_eq!(gateway.metric("unenforced_violations_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f25_open_charges_the_mainline_for_a_group_that_nothing_is_known_of() {
    let (postgres, provider) = (Postgres::start(), Provider::start().await);
    provider.decide(spending::answer);
    let setup =
        Setup::new([provider.entry("upstream", &["openai_chat"])]).set("database.url", postgres.url("postgres"));
    let gateway = setup.start_spending("worst_case", &["red", "green"]).await;
    let (admin, books) = (gateway.admin(), Books::of(&gateway).await);
    let group = admin.model_group("colours", &["red"]).await;
    let limits = json!({"limits": {"total": {"usd": 0.1}}});
    let caller = admin.caller(limits.clone(), limits).await;
    for (kind, id) in [("user", caller.user_id), ("key", caller.key_id)] {
        admin.limit(kind, id, group, json!({"total": {"usd": 0.2}})).await;
    }
    gateway.spends(&caller, "green", 20).await;
    admin.spent(caller.user_id, "all", 1).await;
    let before = books.sums(&caller).await;
    postgres.pause();
    // Both mainlines are known, and have 0.08 left.
    let reply = gateway.spend(&caller, "red", 50).await;
    assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let refusal = gateway.spends_too_much(&caller, "red", 50).await;
    assert_eq!(refusal.json()["error"]["details"]["scope"], "mainline");
    assert_eq!(gateway.metric("unenforced_violations_total").await, 0.0, "nothing passed unchecked");
    postgres.resume();
    let row = admin.row_of(reply.head.request_id()).await;
    assert_eq!(
        (&row["modelGroupId"], &row["countedInUserGlobal"], &row["countedInKeyGlobal"]),
        (&json!(group), &json!(true), &json!(true)),
        "{row}"
    );
    let sums = books.balance(&gateway, &caller).await;
    assert_eq!(sums.rows, 2);
    for (axis, owner) in [("user", caller.user_id), ("key", caller.key_id)] {
        assert_eq!(admin.window(axis, owner, &json!(group), "total").await["usedUsd"], 0);
        let mainline = admin.window(axis, owner, &json!("mainline"), "total").await;
        assert_eq!(nanos(&mainline["usedUsd"]), sums.nanos, "{mainline}");
        assert!(sums.nanos > before.nanos);
    }
    // Now that it is known, the group pays.
    let reply = gateway.spend(&caller, "red", 50).await;
    let row = admin.row_of(reply.head.request_id()).await;
    assert_eq!((&row["countedInUserGlobal"], &row["countedInKeyGlobal"]), (&json!(false), &json!(false)), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_budget_is_not_known_is_passed_over_by_closed_and_asked_by_open() {
    let postgres = Postgres::start();
    let [limited, other] = [Provider::start().await, Provider::start().await];
    limited.decide(spending::answer);
    other.decide(spending::answer);
    let mut first = limited.entry("limited", &["openai_chat"]);
    first["limits"] = json!({"total": {"usd": 1}});
    let mut second = other.entry("other", &["openai_chat"]);
    second["priority"] = json!(1);
    let setup = Setup::new([first.clone(), second]).set("database.url", postgres.url("postgres"));
    let mut gateway = setup.start_spending("worst_case", &["red"]).await;
    let caller = gateway.caller().clone();
    is_known(&gateway, &caller).await;
    gateway.rewrite("budgets.on_authority_failure", "closed");
    gateway.signal("HUP");
    eventually("closed", async || {
        let settings = gateway.admin().get("/settings").await;
        settings.to_string().contains("\"closed\"").then_some(())
    })
    .await;
    postgres.pause();
    gateway.spends(&caller, "red", 50).await;
    assert_eq!((limited.requests().len(), other.requests().len()), (0, 1), "passed over");
    gateway.rewrite("providers", json!([first]));
    gateway.signal("HUP");
    eventually("nobody is left", async || {
        let reply = gateway.spend(&caller, "red", 50).await;
        (reply.head.status == 503).then(|| unavailable(Api::Chat, &reply))
    })
    .await;
    assert_eq!(limited.requests().len(), 0);
    gateway.rewrite("budgets.on_authority_failure", "open");
    gateway.signal("HUP");
    eventually("open", async || (gateway.spend(&caller, "red", 50).await.head.status == 200).then_some(())).await;
    assert_eq!(limited.requests().len(), 1);
    gateway.metric_is("unenforced_violations_total", 1.0).await;
    postgres.resume();
    // What passed unchecked is charged all the same.
    eventually("the provider's budget knows", async || {
        let (_, budgets) = gateway.admin().call(reqwest::Method::GET, "/budgets/provider/limited", None).await;
        let window = &budgets["items"][0]["windows"][0];
        (window["usedUsd"] == 0.05 && window["reservedUsd"] == 0).then_some(())
    })
    .await;
}

/// A gateway on SQLite that has `red` in a group and a price for it, and somebody who may spend 0.1 USD on the group and
/// 0.1 on everything else.
async fn with_a_group(provider: &Provider) -> (Gateway, Caller, i64) {
    provider.decide(spending::answer);
    let gateway = Setup::new([provider.entry("upstream", &DIALECTS)]).start_spending("worst_case", &["red"]).await;
    let admin = gateway.admin();
    let group = admin.model_group("colours", &["red"]).await;
    let caller = admin.caller(json!({"limits": {"total": {"usd": 0.1}}}), json!({})).await;
    admin.limit("user", caller.user_id, group, json!({"total": {"usd": 0.1}})).await;
    (gateway, caller, group)
}

/// Makes the groups and limits of a stopped gateway unreadable, or readable again.
async fn rename(gateway: &Gateway, from: &str, to: &str) {
    let db = store::connect(&gateway.database_url(), 1).await.unwrap();
    db.execute_unprepared(&format!("ALTER TABLE {from} RENAME TO {to}")).await.unwrap();
    db.close().await.unwrap();
}

/// The table without which no state of the limits can be read.
const BOOSTS: &str = "quota_boost_grants";

async fn ends(gateway: &mut Gateway) {
    gateway.signal("TERM");
    gateway.ended().await;
}

/// The group and flag of the row of a request that must pass.
async fn charged(gateway: &Gateway, caller: &Caller, milli_usd: u64) -> (Value, Value) {
    let reply = gateway.spend(caller, "red", milli_usd).await;
    assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let row = gateway.admin().row_of(reply.head.request_id()).await;
    (row["modelGroupId"].clone(), row["countedInUserGlobal"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn h30_until_the_limits_were_read_once_the_switch_decides_about_every_request() {
    let provider = Provider::start().await;
    let (mut gateway, caller, group) = with_a_group(&provider).await;
    ends(&mut gateway).await;
    rename(&gateway, BOOSTS, "elsewhere").await;
    gateway.rewrite("budgets.on_authority_failure", "closed");
    gateway.restart().await;
    let (admin, key) = (gateway.admin().clone(), gateway.key().to_owned());
    for (api, stream) in Api::every_way() {
        // Not even who has no limits: he may be in a group that has.
        unavailable(api, &gateway.ask_with(&key, api, MODEL, stream).await);
    }
    let (status, problem) = admin.call(reqwest::Method::GET, &format!("/budgets/user/{}", caller.user_id), None).await;
    assert_eq!((status, &problem["code"]), (503, &json!("unavailable")), "{problem}");
    let unavailable_now = async |is: bool| {
        eventually("the switch is in force", async || {
            let explained = admin.get(&format!("/explain?userId={}&model=red", caller.user_id)).await;
            ((explained["verdict"]["code"] == "budget_unavailable") == is).then_some(())
        })
        .await;
    };
    unavailable_now(true).await;
    assert_eq!(provider.requests().len(), 0);
    // Without limits on model groups there is nothing to be read.
    gateway.rewrite("budgets.model_group_limits", false);
    gateway.signal("HUP");
    unavailable_now(false).await;
    assert_eq!(charged(&gateway, &caller, 10).await, (Value::Null, json!(true)));
    gateway.rewrite("budgets.model_group_limits", true);
    gateway.signal("HUP");
    unavailable_now(true).await;
    unavailable(Api::Chat, &gateway.spend(&caller, "red", 10).await);
    // Open: no model is in a group, and the mainline holds.
    gateway.rewrite("budgets.on_authority_failure", "open");
    gateway.signal("HUP");
    unavailable_now(false).await;
    assert_eq!(charged(&gateway, &caller, 60).await, (Value::Null, json!(true)));
    let refusal = gateway.spends_too_much(&caller, "red", 50).await;
    assert_eq!(refusal.json()["error"]["details"]["scope"], "mainline");
    assert_eq!(gateway.metric("unenforced_violations_total").await, 0.0);
    // As soon as they can be read, the group pays, and what was charged before stays where it is.
    rename(&gateway, "elsewhere", BOOSTS).await;
    eventually("the limits are read", async || {
        (gateway.spend(&caller, "red", 50).await.head.status == 200).then_some(())
    })
    .await;
    let sums = Books::of(&gateway).await.balance(&gateway, &caller).await;
    let used = async |scope: Value| nanos(&admin.window("user", caller.user_id, &scope, "total").await["usedUsd"]);
    assert_eq!(used(json!(group)).await, 50_000_000);
    assert_eq!(used(json!("mainline")).await, sums.nanos - 50_000_000);
    gateway.spends_too_much(&caller, "red", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_h29_what_the_environment_says_wins_over_the_file() {
    let provider = Provider::start().await;
    let (mut gateway, caller, group) = with_a_group(&provider).await;
    assert_eq!(charged(&gateway, &caller, 10).await, (json!(group), json!(false)));
    ends(&mut gateway).await;
    gateway.restart_with(&[("ENABLE_MODEL_RATE_LIMIT", "false")]).await;
    assert_eq!(charged(&gateway, &caller, 10).await, (Value::Null, json!(true)));
    ends(&mut gateway).await;
    gateway.rewrite("budgets.model_group_limits", false);
    gateway.restart_with(&[("ENABLE_MODEL_RATE_LIMIT", "true")]).await;
    assert_eq!(charged(&gateway, &caller, 10).await, (json!(group), json!(false)));
    ends(&mut gateway).await;
    gateway.rewrite("budgets.model_group_limits", true);
    rename(&gateway, BOOSTS, "elsewhere").await;
    gateway.restart_with(&[("MODEL_RATE_LIMIT_FAIL_OPEN", "false")]).await;
    unavailable(Api::Chat, &gateway.spend(&caller, "red", 10).await);
    ends(&mut gateway).await;
    gateway.rewrite("budgets.on_authority_failure", "closed");
    gateway.restart_with(&[("MODEL_RATE_LIMIT_FAIL_OPEN", "true")]).await;
    assert_eq!(charged(&gateway, &caller, 10).await, (Value::Null, json!(true)));
    let sums = Books::of(&gateway).await.sums(&caller).await;
    assert_eq!(sums.rows, 4, "{sums:?}");
    for name in ["ENABLE_MODEL_RATE_LIMIT", "MODEL_RATE_LIMIT_FAIL_OPEN"] {
        let check = run(&["check", "-c", "tollgate.yaml"], &[(name, "perhaps")], gateway.folder());
        let said = String::from_utf8_lossy(&check.stderr).into_owned() + &String::from_utf8_lossy(&check.stdout);
        assert!(check.status.code() == Some(1) && said.contains(name), "{said}");
    }
}
