//! A conversation stays with the provider that served it before, as long as that can serve it.

use serde_json::{Value, json};

use crate::support::gateway::Setup;
use crate::support::leaving::DIALECTS;
use crate::support::talks::{Talk, Way, provider};
use crate::support::{Answer, Api, Gateway, Provider, eventually};

/// Enough conversations that one provider does not serve all of them by chance.
const TALKS: usize = 16;

async fn two() -> [Provider; 2] {
    [provider("a").await, provider("b").await]
}

fn setup([a, b]: &[Provider; 2]) -> Setup {
    Setup::new([a.entry("a", &DIALECTS), b.entry("b", &DIALECTS)])
}

async fn attempts(gateway: &Gateway, id: &str) -> Vec<Value> {
    let path = format!("/requests/{id}");
    eventually("the request's detail", async || {
        let (status, detail) = gateway.admin().call(reqwest::Method::GET, &path, None).await;
        (status == 200).then(|| detail["detail"]["attempts"].as_array().expect("attempts").clone())
    })
    .await
}

/// Who was tried, whether it was because of the conversation, and why it ended.
fn told(attempts: &[Value]) -> Vec<(&str, bool, &str)> {
    attempts
        .iter()
        .map(|attempt| {
            let affinity = attempt["affinity"].as_bool().unwrap();
            (attempt["provider"].as_str().unwrap(), affinity, attempt["reason"].as_str().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_turns_of_a_conversation_stay_with_one_provider_however_it_is_named() {
    let providers = two().await;
    let gateway = setup(&providers).start().await;
    let key = gateway.key();
    for way in Way::ALL {
        let mut talks: Vec<_> = (0..TALKS).map(|n| Talk::new(way, &format!("talk-{n}"))).collect();
        let mut first = Vec::new();
        for talk in &mut talks {
            first.push(talk.goes_to(&gateway, key).await);
        }
        assert!(first.contains(&"a".to_owned()) && first.contains(&"b".to_owned()), "{way:?}: {first:?}");
        for turn in 1..4 {
            for (talk, first) in talks.iter_mut().zip(&first) {
                assert_eq!(talk.goes_to(&gateway, key).await, *first, "{way:?}, turn {turn}: {talk:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_of_the_same_name_under_another_key_is_another() {
    let providers = two().await;
    let gateway = setup(&providers).start().await;
    let other = gateway.admin().caller(json!({}), json!({})).await;
    let same_user = gateway.admin().key(other.user_id, json!({})).await.1;
    let mut wheres = Vec::new();
    for key in [gateway.key(), &other.secret, &same_user] {
        let mut talks: Vec<_> = (0..2 * TALKS).map(|n| Talk::new(Way::ClaudeHeader, &n.to_string())).collect();
        let mut found = Vec::new();
        for talk in &mut talks {
            found.push(talk.goes_to(&gateway, key).await);
        }
        wheres.push(found);
    }
    assert!(wheres[0] != wheres[1] && wheres[1] != wheres[2], "{wheres:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_moves_when_its_provider_fails_and_stays_where_it_went() {
    let providers = two().await;
    let gateway = setup(&providers).start().await;
    let key = gateway.key();
    let mut talk = Talk::new(Way::CacheKey, "talk");
    let (before, id, _) = talk.say(&gateway, key).await;
    let other = if before == "a" { "b" } else { "a" };
    assert_eq!(told(&attempts(&gateway, &id).await), [(&*before, false, "ok")]);
    let (_, id, _) = talk.say(&gateway, key).await;
    assert_eq!(told(&attempts(&gateway, &id).await), [(&*before, true, "ok")], "the record says why");

    let fails = &providers[usize::from(before == "b")];
    fails.then(Answer::json(500, &json!({"error": {"message": "no"}})));
    let (served, id, status) = talk.say(&gateway, key).await;
    assert_eq!((&*served, status), (other, 200));
    let attempts = attempts(&gateway, &id).await;
    assert_eq!(told(&attempts), [(&*before, true, "upstream_status"), (other, false, "ok")]);
    for _ in 0..8 {
        assert_eq!(talk.goes_to(&gateway, key).await, other, "who failed is well again, but has forgotten");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_provider_moves_nothing() {
    let providers = two().await;
    let gateway = setup(&providers).start().await;
    let key = gateway.key();
    let mut talk = Talk::new(Way::ChatCacheKey, "talk");
    let before = talk.goes_to(&gateway, key).await;
    let refuses = &providers[usize::from(before == "b")];
    for _ in 0..4 {
        refuses.then(Answer::json(400, &json!({"error": {"message": "no"}})));
        assert_eq!(talk.say(&gateway, key).await.2, 400);
        assert_eq!(talk.goes_to(&gateway, key).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_budget_is_spent_loses_its_conversations() {
    let [a, b] = two().await;
    let mut capped = a.entry("a", &DIALECTS);
    // It pays for a few answers.
    let usd = (3 * Api::Chat.tokens().cost() + 1) as f64 / 1e9;
    capped["limits"] = json!({"total": {"usd": usd}});
    let providers = [capped, b.entry("b", &DIALECTS)];
    let gateway = Setup::new(providers).set("budgets", json!({"reservation": "none"})).start().await;
    let key = gateway.key();
    let mut moved = 0;
    for n in 0..TALKS {
        let mut talk = Talk::new(Way::ChatCacheKey, &n.to_string());
        let mut before = talk.goes_to(&gateway, key).await;
        for _ in 0..6 {
            let (served, id, status) = talk.say(&gateway, key).await;
            assert_eq!(status, 200);
            if served != before {
                let attempts = attempts(&gateway, &id).await;
                assert_eq!(told(&attempts), [("a", true, "provider_budget_exceeded"), ("b", false, "ok")]);
                moved += 1;
            }
            before = served;
        }
        assert_eq!(before, "b");
    }
    assert!(moved >= 1, "somebody was at the other one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_back_to_a_better_tier() {
    let [a, b] = two().await;
    let mut worse = b.entry("b", &DIALECTS);
    worse["priority"] = json!(1);
    let gateway = Setup::new([a.entry("a", &DIALECTS), worse]).start().await;
    let mut talk = Talk::new(Way::CacheKey, "talk");
    a.then(Answer::json(500, &json!({"error": {"message": "no"}})));
    assert_eq!(talk.goes_to(&gateway, gateway.key()).await, "b");
    assert_eq!(talk.goes_to(&gateway, gateway.key()).await, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_it_changes_nothing_and_on_again_it_does() {
    let providers = two().await;
    let mut gateway = setup(&providers).set("routing", json!({"affinity": {"enabled": false}})).start().await;
    let key = gateway.key().to_owned();
    let mut talk = Talk::new(Way::ClaudeHeader, "talk");
    let mut served = Vec::new();
    for _ in 0..40 {
        served.push(talk.goes_to(&gateway, &key).await);
    }
    assert!(served.contains(&"a".to_owned()) && served.contains(&"b".to_owned()), "{served:?}");
    gateway.rewrite("routing", json!({"affinity": {"enabled": true, "ttl": "10m"}}));
    gateway.signal("HUP");
    eventually("it is on", async || {
        let (_, settings) = gateway.admin().call(reqwest::Method::GET, "/settings", None).await;
        (settings["routing"]["affinity"]["enabled"] == true).then_some(())
    })
    .await;
    let before = talk.goes_to(&gateway, &key).await;
    for _ in 0..10 {
        assert_eq!(talk.goes_to(&gateway, &key).await, before);
    }
}
