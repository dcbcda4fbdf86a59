//! A running gateway adds up what was spent in quarters of an hour that are over.

use entity::usage_rollup_quarter::Entity;
use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::json;

use crate::support::racing::capped;
use crate::support::{Provider, SOON, spending, within};
use crate::support::{books::database, gateway::Setup};

const MODEL: &str = "summed";

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_sums_up_what_was_spent_an_hour_ago() {
    let provider = Provider::start().await;
    provider.decide(spending::answer);
    let setup = Setup::new([provider.entry("upstream", &["openai_chat"])]);
    let gateway = setup.start_spending("expected", &[MODEL]).await;
    let caller = gateway.admin().caller(json!({"limits": capped(100.0)}), json!({"limits": capped(100.0)})).await;
    gateway.spends(&caller, MODEL, 50).await;
    gateway.admin().rows_of_user(caller.user_id).await;
    let db = database(&gateway).await;
    // As a ledger from before there were such sums.
    let earlier = "BEGIN IMMEDIATE; UPDATE usage_ledger SET settled_at = settled_at - 3600000; \
                   DELETE FROM usage_rollup_quarter; \
                   UPDATE usage_rollup_state SET announced_until = 0, announced_id = 0, sealed_until = 0; COMMIT";
    db.execute_unprepared(earlier).await.unwrap();
    let sums = within(SOON * 2, "it is summed up", async || {
        let sums = Entity::find().all(&db).await.unwrap();
        (!sums.is_empty()).then_some(sums)
    })
    .await;
    assert_eq!((sums.len(), sums[0].user_id, sums[0].requests), (1, caller.user_id, 1));
    assert_eq!((sums[0].provider.as_str(), sums[0].served_model.as_str()), ("upstream", MODEL));
}
