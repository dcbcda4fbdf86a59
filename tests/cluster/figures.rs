//! What many nodes cost: exchanges and bytes per request, and the memory that a budget takes in Redis.

use std::time::Instant;

use entity::{keys, users};
use futures::StreamExt;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Set};
use tollgate::directory::Secret;

use crate::harness::{MODEL, OTHER_MODEL, PATIENCE, Plan};
use crate::net::{Figures, Proxy};
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::books::database;
use crate::support::capped::{self, AT_ONCE, Whose};
use crate::support::{Gateway, scale, spending};

/// The most exchanges per request of a budget that is far from its cap.
const EXCHANGES_PER_REQUEST: f64 = 0.1;

async fn ways(redis: &Redis) -> Vec<Proxy> {
    let mut ways = Vec::new();
    for n in 0..3 {
        ways.push(Proxy::to(redis.port(), PATIENCE, n).await);
    }
    ways
}

fn figures(ways: &[Proxy]) -> Figures {
    ways.iter().fold(Figures::default(), |sum, way| sum.and(&way.figures()))
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_busy_budget_far_from_its_cap_is_asked_for_once_in_ten_requests_at_most() {
    let redis = Redis::start();
    let ways = ways(&redis).await;
    let cluster = Plan::over(ways.iter().map(Proxy::url).collect()).start().await;
    cluster.provider.decide(spending::answer);
    for whose in [Whose::User, Whose::UserGroupForGroup] {
        let caller = cluster.limited(whose, "total", 100_000.0).await;
        capped::ask(&cluster.all(), &caller, MODEL, Some(1_000), 30).await;
        let before = (figures(&ways), cluster.metric("lease_exchanges_total").await);
        let requests = scale(2_000, 50_000);
        let began = Instant::now();
        let passed = capped::ask(&cluster.all(), &caller, MODEL, Some(1_000), requests).await;
        let took = began.elapsed();
        let exchanges = cluster.metric("lease_exchanges_total").await - before.1;
        let sent = figures(&ways).since(&before.0);
        let per = |count: f64| count / requests as f64;
        println!(
            "{whose:?}: {requests} requests in {took:?}; per request {:.4} exchanges, {:.4} commands, {:.1} bytes there, \
             {:.1} back; {:?}",
            per(exchanges),
            per(sent.all() as f64),
            per(sent.bytes_there as f64),
            per(sent.bytes_back as f64),
            sent.commands
        );
        assert_eq!(passed, requests);
        assert!(before.1 > 0.0, "they are counted");
        assert!(per(exchanges) <= EXCHANGES_PER_REQUEST, "{exchanges} exchanges");
        assert!(per(sent.scripts() as f64) <= 2.0 * EXCHANGES_PER_REQUEST, "{sent:?}");
        cluster.balance(&caller).await;
    }
}

/// So many users with a cap and a key each, written into the database.
async fn crowd(node: &Gateway, model: &Caller, count: usize) -> Vec<Caller> {
    // Far above those that the database numbers itself.
    let first = 1_000_000 * model.user_id;
    let db = database(node).await;
    let user = users::Entity::find_by_id(model.user_id).one(&db).await.unwrap().unwrap();
    let key = keys::Entity::find_by_id(model.key_id).one(&db).await.unwrap().unwrap();
    let mut callers = Vec::new();
    let ids: Vec<i64> = (0..count).map(|n| first + n as i64).collect();
    for ids in ids.chunks(1_000) {
        let (mut more_users, mut more_keys) = (Vec::new(), Vec::new());
        for &id in ids {
            let secret = Secret::for_key();
            let mut user = user.clone().into_active_model().reset_all();
            (user.id, user.name) = (Set(id), Set(format!("one of many {id}")));
            let mut key = key.clone().into_active_model().reset_all();
            (key.id, key.user_id, key.secret_hash) = (Set(id), Set(id), Set(secret.hash().to_string()));
            more_users.push(user);
            more_keys.push(key);
            callers.push(Caller { user_id: id, key_id: id, secret: secret.expose().to_owned() });
        }
        users::Entity::insert_many(more_users).exec_without_returning(&db).await.unwrap();
        keys::Entity::insert_many(more_keys).exec_without_returning(&db).await.unwrap();
    }
    callers
}

async fn memory(redis: &Redis) -> i64 {
    let info: String = redis.call(&["INFO", "memory"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_many_budgets_with_a_request_each_and_what_they_cost() {
    let redis = Redis::start();
    let ways = ways(&redis).await;
    let cluster = Plan::over(ways.iter().map(Proxy::url).collect()).start().await;
    cluster.provider.decide(spending::answer);
    for (window, reset) in [("total", "fixed"), ("daily", "rolling")] {
        // A hundred thousand are asked for without HTTP: budget::tests::redis::crowd.
        let count = scale(250, 10_000);
        let limits = match window {
            "daily" => serde_json::json!({"daily": {"usd": 1_000, "reset": reset}}),
            _ => serde_json::json!({window: {"usd": 1_000}}),
        };
        let model = cluster.admin().caller(serde_json::json!({"limits": limits}), serde_json::json!({})).await;
        let callers = crowd(&cluster.nodes[0], &model, count).await;
        let before = (figures(&ways), cluster.metric("lease_exchanges_total").await, memory(&redis).await);
        let began = Instant::now();
        let asking = callers.iter().enumerate().map(|(n, caller)| {
            let node = &cluster.nodes[n % 3];
            async move { node.spend(caller, OTHER_MODEL, 50).await.head.status }
        });
        let statuses: Vec<u16> = futures::stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
        let took = began.elapsed();
        let held = memory(&redis).await - before.2;
        for caller in callers.iter().step_by(count.div_ceil(20)) {
            cluster.balance(caller).await;
        }
        let rest = memory(&redis).await - before.2;
        let exchanges = cluster.metric("lease_exchanges_total").await - before.1;
        let sent = figures(&ways).since(&before.0);
        let key: Option<String> = redis.call::<Vec<String>>(&["KEYS", "{tg:*}:b:*"]).await.pop();
        let own: Option<i64> = match &key {
            Some(key) => redis.call(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).await,
            None => None,
        };
        let per = |sum: f64| sum / count as f64;
        println!(
            "{count} budgets, {window} {reset}, in {took:?}; per request {:.2} exchanges, {:.0} bytes there, {:.0} back; \
             Redis takes {:.0} bytes per budget in use and {:.0} at rest, {own:?} of them in {key:?}",
            per(exchanges),
            per(sent.bytes_there as f64),
            per(sent.bytes_back as f64),
            per(held as f64),
            per(rest as f64)
        );
        let refused = statuses.iter().filter(|status| **status != 200).count();
        assert_eq!(refused, 0, "all are far from their caps");
        assert!(per(held as f64) < 8_192.0, "{held} bytes");
        // Four or five on a machine that has time; one that has none repeats what was not answered.
        assert!(per(exchanges) < 24.0, "{exchanges} exchanges");
        assert!(per(sent.bytes_there as f64) < 16_384.0 && per(sent.bytes_back as f64) < 8_192.0, "{sent:?}");
    }
}
