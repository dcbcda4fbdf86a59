//! Every write of the OpenAPI document: it holds at once on the node that took it, and within a second on another.

use std::collections::BTreeSet;
use std::fmt::Debug;

use reqwest::Method;
use serde_json::{Value, json};

use crate::edits::{Clock, answer, capped};
use crate::harness::{Cluster, MODEL, OTHER_MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::books::nanos;
use crate::support::{Admin, Gateway};

/// Writes after which no node does anything else than before, and why.
const WITHOUT_EFFECT: [(&str, &str); 1] =
    [("createUserGroup", "it has neither members nor limits yet; both are writes of their own")];

/// What has been seen to hold.
struct Table<'a> {
    cluster: &'a Cluster,
    clock: Clock,
    seen: BTreeSet<&'static str>,
}

impl Table<'_> {
    /// The first node has just answered this write: now it is found so there, and soon on the other.
    async fn row<T: PartialEq + Debug + Clone>(
        &mut self,
        operation: &'static str,
        expected: T,
        probe: impl AsyncFn(&Gateway) -> T,
    ) {
        let others = self.cluster.but(0);
        let here = probe(&self.cluster.nodes[0]);
        let there = self.clock.holds_on(operation, &others, expected.clone(), &probe);
        let (here, ()) = tokio::join!(here, there);
        assert_eq!(here, expected, "{operation}: on the node that took it");
        self.seen.insert(operation);
    }

    /// The same of what becomes of this caller's requests.
    async fn asks(&mut self, operation: &'static str, caller: &Caller, model: &str, status: u16) {
        self.row(operation, status, async |node: &Gateway| answer(node, caller, model).await).await;
    }

    /// The same of the model group that this model is found in.
    async fn group(&mut self, operation: &'static str, caller: &Caller, name: Value) {
        let path = format!("/explain?userId={}&model={OTHER_MODEL}", caller.user_id);
        let probe = async |node: &Gateway| node.admin().get(&path).await["modelGroup"]["name"].clone();
        self.row(operation, name, probe).await;
    }

    async fn window(&mut self, operation: &'static str, axis: &str, owner: i64, used: i64) {
        let probe = async |node: &Gateway| {
            nanos(&node.admin().window(axis, owner, &json!("mainline"), "total").await["usedUsd"])
        };
        self.row(operation, used, probe).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_of_the_document_holds_at_once_where_it_was_made_and_within_a_second_elsewhere() {
    let redis = Redis::start();
    let cluster = Plan::new(2, &redis.url()).start().await;
    let mut table = Table { cluster: &cluster, clock: Clock::default(), seen: BTreeSet::new() };
    people(&mut table).await;
    groups(&mut table).await;
    limits(&mut table).await;
    prices(&mut table).await;
    circuits(&mut table).await;
    tokens(&mut table).await;

    let document = tollgate::admin::openapi();
    let operations = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap());
    let writes: BTreeSet<&str> = operations
        .filter(|(method, _)| *method != "get")
        .map(|(_, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    let without = WITHOUT_EFFECT.iter().map(|(operation, _)| *operation);
    let told: BTreeSet<&str> = table.seen.iter().copied().chain(without).collect();
    assert_eq!(told, writes, "each write is in the table, or has a reason not to be");
    table.clock.tell();
}

async fn people(table: &mut Table<'_>) {
    let admin = table.cluster.admin();
    let user_id = admin.user(json!({})).await;
    let (key_id, secret) = admin.key(user_id, json!({})).await;
    let caller = Caller { user_id, key_id, secret };
    table.asks("createUser", &caller, OTHER_MODEL, 200).await;
    let (key_id, secret) = admin.key(user_id, json!({})).await;
    let caller = Caller { key_id, secret, ..caller };
    table.asks("createKey", &caller, OTHER_MODEL, 200).await;
    let (user, key) = (format!("/users/{user_id}"), format!("/keys/{key_id}"));
    for (path, operation) in [(&user, "updateUser"), (&key, "updateKey")] {
        for (enabled, status) in [(false, 401), (true, 200)] {
            admin.patch(path, &json!({"enabled": enabled})).await;
            table.asks(operation, &caller, OTHER_MODEL, status).await;
        }
    }
    for (path, axis, owner, operation) in
        [(&user, "user", user_id, "resetUserLimits"), (&key, "key", key_id, "resetKeyLimits")]
    {
        admin.patch(path, &json!({"limits": capped(100.0)})).await;
        table.asks(operation, &caller, OTHER_MODEL, 200).await;
        for node in &table.cluster.nodes {
            node.metric_is("ledger_pending_records", 0.0).await;
        }
        admin.post(&format!("{path}:resetLimits"), &json!({})).await;
        table.window(operation, axis, owner, 0).await;
    }
    let rotated = admin.ok(Method::POST, &format!("{key}:rotate"), None).await;
    let new = Caller { secret: rotated["secret"].as_str().unwrap().to_owned(), ..caller.clone() };
    table.asks("rotateKey", &caller, OTHER_MODEL, 401).await;
    table.asks("rotateKey", &new, OTHER_MODEL, 200).await;
    admin.delete(&key).await;
    table.asks("deleteKey", &new, OTHER_MODEL, 401).await;
    let (_, secret) = admin.key(user_id, json!({})).await;
    let last = Caller { secret, ..caller };
    table.asks("createKey", &last, OTHER_MODEL, 200).await;
    admin.delete(&user).await;
    table.asks("deleteUser", &last, OTHER_MODEL, 401).await;
}

async fn groups(table: &mut Table<'_>) {
    let admin = table.cluster.admin();
    let caller = admin.caller(json!({}), json!({})).await;
    let cheap = admin.model_group("cheap", &[OTHER_MODEL]).await;
    table.group("createModelGroup", &caller, json!("cheap")).await;
    let (group, member) = (format!("/model-groups/{cheap}"), format!("/model-groups/{cheap}/models/{OTHER_MODEL}"));
    admin.patch(&group, &json!({"name": "cheaper"})).await;
    table.group("updateModelGroup", &caller, json!("cheaper")).await;
    admin.delete(&member).await;
    table.group("removeModelGroupModel", &caller, Value::Null).await;
    admin.put(&member, &json!({})).await;
    table.group("addModelGroupModel", &caller, json!("cheaper")).await;
    admin.delete(&group).await;
    table.group("deleteModelGroup", &caller, Value::Null).await;

    let painters = admin.user_group("painters", &[]).await;
    admin.limit("user_group", painters, table.cluster.group, capped(0.01)).await;
    let (group, member) =
        (format!("/user-groups/{painters}"), format!("/user-groups/{painters}/members/{}", caller.user_id));
    admin.put(&member, &json!({})).await;
    table.asks("addUserGroupMember", &caller, MODEL, 402).await;
    admin.patch(&group, &json!({"name": "sculptors"})).await;
    let (of_user, scope) = (caller.user_id, json!(table.cluster.group));
    let probe =
        async |node: &Gateway| node.admin().window("user", of_user, &scope, "total").await["source"]["name"].clone();
    table.row("updateUserGroup", json!("sculptors"), probe).await;
    admin.delete(&member).await;
    table.asks("removeUserGroupMember", &caller, MODEL, 200).await;
    admin.put(&member, &json!({})).await;
    table.asks("addUserGroupMember", &caller, MODEL, 402).await;
    admin.delete(&group).await;
    table.asks("deleteUserGroup", &caller, MODEL, 200).await;
}

async fn limits(table: &mut Table<'_>) {
    let admin = table.cluster.admin();
    let caller = admin.caller(json!({}), json!({})).await;
    table.asks("createKey", &caller, MODEL, 200).await;
    let limit = admin.limit("user", caller.user_id, table.cluster.group, capped(0.01)).await;
    table.asks("putModelLimit", &caller, MODEL, 402).await;
    let limit = format!("/model-limits/{limit}");
    for (usd, status) in [(100.0, 200), (0.01, 402)] {
        admin.patch(&limit, &json!({"limits": capped(usd)})).await;
        table.asks("updateModelLimit", &caller, MODEL, status).await;
    }
    let boost = json!({"userId": caller.user_id, "modelGroupId": table.cluster.group, "window": "total", "usd": 100,
        "startsAt": "2026-01-01T00:00:00Z", "expiresAt": "2999-01-01T00:00:00Z"});
    let boost = admin.post("/quota-boosts", &boost).await["id"].clone();
    table.asks("createQuotaBoost", &caller, MODEL, 200).await;
    admin.delete(&format!("/quota-boosts/{boost}")).await;
    table.asks("deleteQuotaBoost", &caller, MODEL, 402).await;
    admin.delete(&limit).await;
    table.asks("deleteModelLimit", &caller, MODEL, 200).await;
}

async fn prices(table: &mut Table<'_>) {
    let admin = table.cluster.admin();
    let price = async |node: &Gateway, model: &str| {
        let (status, price) = node.admin().call(Method::GET, &format!("/prices/{model}"), None).await;
        (status, price["inputUsdPerMillion"].clone())
    };
    admin.put("/prices/new-model", &json!({"inputUsdPerMillion": 7, "outputUsdPerMillion": 8})).await;
    table.row("putPrice", (200, json!(7)), async |node: &Gateway| price(node, "new-model").await).await;
    admin.delete("/prices/new-model").await;
    table.row("deletePrice", (404, Value::Null), async |node: &Gateway| price(node, "new-model").await).await;
    let list = json!({"listed-model": {"input_cost_per_token": 5e-6, "output_cost_per_token": 6e-6, "mode": "chat"}});
    admin.post("/prices:import", &list).await;
    table.row("importPrices", (200, json!(5)), async |node: &Gateway| price(node, "listed-model").await).await;
}

async fn circuits(table: &mut Table<'_>) {
    let admin = table.cluster.admin();
    let state = async |node: &Gateway| {
        let providers = node.admin().get("/providers").await;
        let mut items = providers["items"].as_array().unwrap().iter();
        items.find(|item| item["name"] == "upstream").unwrap()["circuit"]["state"].clone()
    };
    admin.post("/providers/upstream:openCircuit", &json!({})).await;
    table.row("openCircuit", json!("open"), state).await;
    admin.post("/providers/upstream:resetCircuit", &json!({})).await;
    table.row("resetCircuit", json!("closed"), state).await;
}

async fn tokens(table: &mut Table<'_>) {
    let admin = table.cluster.admin();
    let token = admin.post("/admin-tokens", &json!({"name": "new", "role": "viewer"})).await;
    let secret = token["secret"].as_str().unwrap();
    let accepted = async |node: &Gateway| {
        let (status, _) = Admin::new(node.admin().base(), secret).call(Method::GET, "/users?limit=1", None).await;
        // Whoever asks again and again is stopped by the guard, as long as the token is not known.
        assert!(matches!(status, 200 | 401 | 429), "{status}");
        status == 200
    };
    table.row("createAdminToken", true, accepted).await;
    admin.delete(&format!("/admin-tokens/{}", token["id"])).await;
    table.row("deleteAdminToken", false, accepted).await;
}
