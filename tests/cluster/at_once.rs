//! The same thing written on two nodes at the same moment: one of them does it, and both know.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, Plan};
use crate::servers::redis::Redis;
use crate::support::{Gateway, client};

const ROUNDS: usize = 20;

/// Sends the same to both nodes, twice each, all at once.
async fn everywhere(cluster: &Cluster, path: &str, key: Option<&str>, bodies: [&Value; 2]) -> Vec<(u16, bool, Value)> {
    let send = async |node: &Gateway, body: &Value| {
        let url = format!("{}/api/v1{path}", node.admin().base());
        let mut request = client().post(url).bearer_auth(crate::support::gateway::ADMIN_TOKEN).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.unwrap();
        let (status, replayed) = (response.status().as_u16(), response.headers().contains_key("idempotency-replayed"));
        (status, replayed, response.json().await.unwrap())
    };
    let both = cluster.nodes.iter().flat_map(|node| bodies.map(|body| send(node, body)));
    futures::future::join_all(both).await
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_of_several_groups_for_one_model_that_are_created_on_two_nodes_at_once_one_comes_into_being() {
    let redis = Redis::start();
    let cluster = Plan::new(2, &redis.url()).start().await;
    let before = cluster.admin().get("/model-groups?limit=100").await["items"].as_array().unwrap().len();
    for round in 0..ROUNDS {
        let model = format!("model {round}");
        let singleton = json!({"singleton": true, "models": [model]});
        let other = json!({"name": format!("group {round}"), "models": [model, format!("another {round}")]});
        let answers = everywhere(&cluster, "/model-groups", None, [&singleton, &other]).await;
        let made: Vec<_> = answers.iter().filter(|(status, ..)| *status == 201).collect();
        assert_eq!(made.len(), 1, "{answers:#?}");
        for (status, _, refused) in answers.iter().filter(|(status, ..)| *status != 201) {
            assert_eq!((*status, &refused["code"]), (409, &json!("model_in_other_group")), "{refused}");
            assert_eq!(refused["conflictsWith"]["id"], made[0].2["id"], "{refused}");
        }
    }
    let after = cluster.admin().get("/model-groups?limit=100").await["items"].as_array().unwrap().len();
    assert_eq!(after - before, ROUNDS, "what was refused has left nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_that_is_used_on_two_nodes_at_once_counts_once() {
    let redis = Redis::start();
    let cluster = Plan::new(2, &redis.url()).start().await;
    let admin = cluster.admin();
    let user = admin.user(json!({})).await;
    let keys = format!("/users/{user}/keys");
    for round in 0..ROUNDS {
        let body = json!({"name": "laptop"});
        let answers =
            everywhere(&cluster, &keys, Some(&format!("round {round}").replace(' ', "-")), [&body, &body]).await;
        assert!(answers.iter().all(|(status, ..)| *status == 201), "{answers:#?}");
        assert!(answers.iter().all(|(.., key)| key["id"] == answers[0].2["id"]), "{answers:#?}");
        let first: Vec<_> = answers.iter().filter(|(_, replayed, _)| !replayed).collect();
        assert_eq!(first.len(), 1, "{answers:#?}");
        assert!(first[0].2["secret"].is_string(), "whoever made it is told");
        assert!(answers.iter().all(|(_, replayed, key)| !replayed || key.get("secret").is_none()), "nobody else is");
    }
    let (_, page) = admin.call(Method::GET, &format!("{keys}?limit=100"), None).await;
    assert_eq!(page["items"].as_array().unwrap().len(), ROUNDS);
    // The same key with two bodies: one is carried out, the other is refused.
    let (one, other) = (json!({"name": "one"}), json!({"name": "other"}));
    let answers = everywhere(&cluster, &keys, Some("two-bodies"), [&one, &other]).await;
    let made: Vec<_> = answers.iter().filter(|(status, ..)| *status == 201).collect();
    assert!(made.len() == 2 && made[0].2["id"] == made[1].2["id"], "{answers:#?}");
    let refused = answers.iter().filter(|(.., answer)| answer["code"] == "idempotency_key_reused").count();
    assert_eq!(refused, 2, "{answers:#?}");
}
