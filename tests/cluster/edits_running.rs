//! What is changed while requests run on several nodes: the change holds everywhere within a second, what runs is charged
//! to what it was admitted by, and every sum is exact afterwards.

use serde_json::{Value, json};

use crate::edits::{Clock, answer, capped};
use crate::harness::{Cluster, MODEL, OTHER_MODEL, Plan};
use crate::servers::redis::Redis;
use crate::streams::Streams;
use crate::support::admin::Caller;
use crate::support::books::nanos;
use crate::support::{Gateway, capped as crowds};

/// What a request here costs, in nano-dollars.
const COST: i64 = 50_000_000;

/// Three nodes whose provider's streams wait.
async fn start(redis: &Redis) -> (Cluster, Streams) {
    let cluster = Plan::new(3, &redis.url()).start().await;
    let streams = Streams::of(&cluster.provider, |answer| answer);
    (cluster, streams)
}

/// Asks for more than is there, on all nodes; how many passed.
async fn exhaust(cluster: &Cluster, caller: &Caller, model: &str) -> usize {
    crowds::ask(&cluster.all(), caller, model, Some(1_000), 40).await
}

/// What the only window of this budget has used, as each node sees it.
async fn used(cluster: &Cluster, caller: &Caller, scope: Value) -> [i64; 3] {
    let mut used = [0; 3];
    for (used, node) in used.iter_mut().zip(&cluster.nodes) {
        let window = node.admin().window("user", caller.user_id, &scope, "total").await;
        *used = nanos(&window["usedUsd"]);
    }
    used
}

/// Which budget refuses on this node; none: the request passes.
async fn refused_by(node: &Gateway, caller: &Caller, model: &str) -> Option<String> {
    let reply = node.spend(caller, model, 50).await;
    match reply.head.status {
        200 => None,
        402 => Some(reply.json()["error"]["details"]["scope"].as_str().unwrap().to_owned()),
        status => panic!("{status}: {}", String::from_utf8_lossy(&reply.body)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_group_that_is_deleted_limits_nobody_any_more_and_what_was_used_is_not_forgotten() {
    let redis = Redis::start();
    let (cluster, mut streams) = start(&redis).await;
    let (admin, mut clock) = (cluster.admin(), Clock::default());
    let others = admin.model_group("others", &[OTHER_MODEL]).await;
    let caller = admin.caller(json!({}), json!({})).await;
    let painters = admin.user_group("painters", &[caller.user_id]).await;
    let writers = admin.user_group("writers", &[caller.user_id]).await;
    admin.limit("user_group", painters, cluster.group, capped(0.5)).await;
    admin.limit("user_group", writers, others, capped(0.5)).await;
    cluster.agree(&cluster.all(), ("user", caller.user_id)).await;
    for model in [MODEL, OTHER_MODEL] {
        streams.open_on(&cluster.all(), &caller, model).await;
        let passed = exhaust(&cluster, &caller, model).await;
        assert!((5..=6).contains(&passed), "{passed} beside three streams");
    }
    let before = cluster.books.sums(&caller).await;
    admin.delete(&format!("/user-groups/{painters}")).await;
    let all = cluster.all();
    let probe = async |node: &Gateway| answer(node, &caller, MODEL).await;
    clock.holds_on("a user group that is deleted", &all, 200, probe).await;
    for node in &all {
        assert_eq!(refused_by(node, &caller, OTHER_MODEL).await.as_deref(), Some("others"), "its cap remains");
    }
    assert_eq!(streams.finish().await, 6);
    // Whoever limits them again finds what was spent under the group that is gone, the streams among it.
    admin.limit("user", caller.user_id, cluster.group, capped(10.0)).await;
    let sums = cluster.balance(&caller).await;
    let rows = cluster.books.rows(&caller).await;
    let of_group = rows.iter().filter(|row| !row.counted_in_user_global && row.model_group_id == Some(cluster.group));
    let of_group: i64 = of_group.map(|row| row.cost_nanos).sum();
    println!("{before:?} when the group was deleted, {sums:?} in the end, {of_group} for its model group");
    assert!((8 * COST..=500_000_000).contains(&of_group), "three streams and what was asked beside them: {of_group}");
    assert_eq!(used(&cluster, &caller, json!(cluster.group)).await, [of_group; 3]);
    assert!(used(&cluster, &caller, json!(others)).await[0] <= 500_000_000);
    clock.tell();
    cluster.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_joins_or_leaves_a_model_group_is_paid_by_the_budget_of_the_place_where_it_is() {
    let redis = Redis::start();
    let (cluster, mut streams) = start(&redis).await;
    let (admin, mut clock, all) = (cluster.admin(), Clock::default(), cluster.all());
    let caller = admin.caller(json!({"limits": capped(0.5)}), json!({})).await;
    admin.limit("user", caller.user_id, cluster.group, capped(0.5)).await;
    cluster.agree(&all, ("user", caller.user_id)).await;
    let member = format!("/model-groups/{}/models/{OTHER_MODEL}", cluster.group);
    // The general budget pays, until it has no more.
    streams.open_on(&all, &caller, OTHER_MODEL).await;
    exhaust(&cluster, &caller, OTHER_MODEL).await;
    assert_eq!(refused_by(&cluster.nodes[1], &caller, OTHER_MODEL).await.as_deref(), Some("mainline"));
    admin.put(&member, &json!({})).await;
    let probe = async |node: &Gateway| refused_by(node, &caller, OTHER_MODEL).await;
    clock.holds_on("a model that joins", &all, None, probe).await;
    // The group's pays, until it has no more either.
    streams.open_on(&all, &caller, OTHER_MODEL).await;
    exhaust(&cluster, &caller, OTHER_MODEL).await;
    for node in &all {
        assert_eq!(refused_by(node, &caller, OTHER_MODEL).await.as_deref(), Some("dear"));
    }
    admin.delete(&member).await;
    let general = Some("mainline".to_owned());
    let probe = async |node: &Gateway| refused_by(node, &caller, OTHER_MODEL).await;
    clock.holds_on("a model that leaves", &all, general, probe).await;
    // A higher general cap is its own again; the group's stays what it is.
    admin.patch(&format!("/users/{}", caller.user_id), &json!({"limits": capped(1.0)})).await;
    let probe = async |node: &Gateway| refused_by(node, &caller, OTHER_MODEL).await;
    clock.holds_on("a higher general cap", &all, None, probe).await;
    for node in &all {
        assert_eq!(refused_by(node, &caller, MODEL).await.as_deref(), Some("dear"), "whoever stayed is paid as before");
    }
    assert_eq!(streams.finish().await, 6);
    let sums = cluster.balance(&caller).await;
    let (general, group) =
        (used(&cluster, &caller, json!("mainline")).await, used(&cluster, &caller, json!(cluster.group)).await);
    println!("{sums:?}: {general:?} of the general budget, {group:?} of the group's");
    // Three streams each; three more after the cap was raised.
    assert!(general[0] <= 1_000_000_000 && general[0] >= 11 * COST, "{general:?}");
    assert!(group[0] <= 500_000_000 && group[0] >= 9 * COST, "{group:?}");
    assert_eq!(general[0] + group[0], sums.nanos, "each row counts once");
    clock.tell();
    cluster.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_moves_to_another_group_takes_along_what_he_has_used() {
    let redis = Redis::start();
    let (cluster, mut streams) = start(&redis).await;
    let (admin, mut clock, all) = (cluster.admin(), Clock::default(), cluster.all());
    let caller = admin.caller(json!({}), json!({})).await;
    let painters = admin.user_group("painters", &[caller.user_id]).await;
    let writers = admin.user_group("writers", &[]).await;
    admin.limit("user_group", painters, cluster.group, capped(0.5)).await;
    admin.limit("user_group", writers, cluster.group, capped(1.0)).await;
    cluster.agree(&all, ("user", caller.user_id)).await;
    streams.open_on(&all, &caller, MODEL).await;
    exhaust(&cluster, &caller, MODEL).await;
    let user = format!("/users/{}", caller.user_id);
    admin.patch(&user, &json!({"userGroupIds": [writers]})).await;
    let probe = async |node: &Gateway| answer(node, &caller, MODEL).await;
    clock.holds_on("who moves to a group with a higher cap", &all, 200, probe).await;
    let passed = exhaust(&cluster, &caller, MODEL).await;
    let before = cluster.books.sums(&caller).await;
    println!("{passed} passed after the move; {before:?} beside three streams");
    // Back again, he has used more than he may.
    admin.patch(&user, &json!({"userGroupIds": [painters]})).await;
    let probe = async |node: &Gateway| refused_by(node, &caller, MODEL).await;
    clock.holds_on("who moves back", &all, Some("dear".to_owned()), probe).await;
    assert_eq!(streams.finish().await, 3);
    let sums = cluster.balance(&caller).await;
    assert!(sums.nanos <= 1_000_000_000 && sums.nanos >= 900_000_000, "{sums:?}");
    assert_eq!(used(&cluster, &caller, json!(cluster.group)).await, [sums.nanos; 3]);
    assert_eq!(exhaust(&cluster, &caller, MODEL).await, 0, "the lower cap holds");
    clock.tell();
    cluster.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_disabled_is_refused_everywhere_and_what_it_has_begun_is_finished_and_charged() {
    let redis = Redis::start();
    let (cluster, mut streams) = start(&redis).await;
    let (admin, mut clock, all) = (cluster.admin(), Clock::default(), cluster.all());
    let caller = admin.caller(json!({"limits": capped(1.0)}), json!({"limits": capped(1.0)})).await;
    let (key_id, secret) = admin.key(caller.user_id, json!({"name": "server"})).await;
    let other = Caller { key_id, secret, ..caller.clone() };
    streams.open_on(&all, &caller, MODEL).await;
    for node in &all {
        for caller in [&caller, &other] {
            assert_eq!(answer(node, caller, MODEL).await, 200);
        }
    }
    let key = format!("/keys/{}", caller.key_id);
    admin.patch(&key, &json!({"enabled": false})).await;
    let probe = async |node: &Gateway| answer(node, &caller, MODEL).await;
    clock.holds_on("a key that is disabled", &all, 401, probe).await;
    for node in &all {
        assert_eq!(answer(node, &other, MODEL).await, 200, "another key of the same user is not concerned");
    }
    let late = cluster.books.sums(&caller).await.rows;
    assert_eq!(streams.finish().await, 3);
    let sums = cluster.balance(&caller).await;
    println!("{late} rows before the streams ended, {sums:?} in the end");
    let rows = cluster.books.rows(&caller).await;
    let of_key = rows.iter().filter(|row| row.key_id == caller.key_id).map(|row| row.cost_nanos).sum::<i64>();
    assert_eq!(used(&cluster, &caller, json!("mainline")).await, [sums.nanos; 3]);
    assert!(of_key >= 6 * COST, "three requests and three streams: {rows:?}");
    // Whoever is let in again finds what he has used.
    admin.patch(&key, &json!({"enabled": true})).await;
    let probe = async |node: &Gateway| answer(node, &caller, MODEL).await;
    clock.holds_on("a key that is enabled", &all, 200, probe).await;
    let passed = exhaust(&cluster, &caller, MODEL).await;
    let sums = cluster.balance(&caller).await;
    println!("{passed} more: {sums:?}");
    assert!(sums.nanos <= 1_000_000_000 && sums.nanos >= 900_000_000, "{sums:?}");
    clock.tell();
    cluster.audit();
}
