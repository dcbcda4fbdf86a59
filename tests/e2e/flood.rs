//! Many requests from one address: a company behind one address is served, a stranger who tries keys is not.

use futures::future::join_all;
use serde_json::json;

use crate::support::gateway::MODEL;
use crate::support::wire::request;
use crate::support::{Api, Gateway, Provider};

const CONNECTIONS: usize = 32;

/// Sends so many cheap requests over each of 32 connections as fast as they are taken; gives back how many were
/// answered with each status, and the codes of those that were refused.
async fn flood(gateway: &Gateway, each: usize, key: impl Fn(usize) -> String) -> Vec<(u16, Option<String>)> {
    let connections = (0..CONNECTIONS).map(|connection| {
        let keys: Vec<_> = (0..each).map(|number| key(connection * each + number)).collect();
        async move {
            let (mut wire, mut answers) = (gateway.connect().await, Vec::new());
            for key in keys {
                let bearer = format!("Bearer {key}");
                wire.send(request("GET", "/v1/models", &[("authorization", &*bearer)], b"")).await.unwrap();
                let reply = wire.reply().await.expect("the connection is kept");
                let code = (reply.head.status != 200).then(|| Api::Chat.code(&reply));
                answers.push((reply.head.status, code));
            }
            answers
        }
    });
    join_all(connections).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_key_is_never_taken_for_a_flood() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let answers = flood(&gateway, 94, |_| gateway.key().to_owned()).await;
    assert_eq!(answers.len(), 3_008);
    for (status, code) in answers {
        assert_eq!((status, code), (200, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_is_refused_and_a_valid_key_passes_in_the_middle_of_it() {
    let provider = Provider::start().await;
    let gateway = Gateway::start([provider.entry("upstream", &["openai_chat"])]).await;
    let strangers = flood(&gateway, 94, |number| format!("tg-{number:0>43}"));
    let known = async {
        let mut wire = gateway.connect().await;
        let bearer = format!("Bearer {}", gateway.key());
        for _ in 0..200 {
            wire.send(request("GET", "/v1/models", &[("authorization", &*bearer)], b"")).await.unwrap();
            assert_eq!(wire.reply().await.unwrap().head.status, 200, "a valid key always passes");
        }
    };
    let (answers, ()) = tokio::join!(strangers, known);
    let mut tried = 0;
    for (status, code) in answers {
        match (status, code.as_deref()) {
            (401, Some("invalid_api_key")) => tried += 1,
            // Whichever limit is met first.
            (429, Some("too_many_auth_failures" | "rate_limit_exceeded")) => {}
            other => panic!("a stranger is answered {other:?}"),
        }
    }
    assert_eq!(tried, 20, "so many guesses in five minutes, however fast they come");
    let (_, fresh) = gateway.admin().key(gateway.caller().user_id, json!({})).await;
    provider.then(Api::Chat.answer());
    // Made in the middle of it, and never seen before: it may meet the flood of this second, and passes in the next.
    crate::support::eventually("a new key passes", async || {
        (gateway.ask_with(&fresh, Api::Chat, MODEL, false).await.head.status == 200).then_some(())
    })
    .await;
}
