//! What a node does at the end of its life, and when it may have been given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::world::*;
use crate::budget::{Authority, Lifeline};
use crate::limit::Window;
use crate::money::Usd;

/// Confirms a life until some instant.
#[derive(Default)]
struct Until {
    confirmed: AtomicI64,
    heard: AtomicI64,
}

impl Lifeline for Until {
    fn confirmed_until(&self) -> i64 {
        self.confirmed.load(Ordering::SeqCst)
    }

    fn heard(&self, sent: i64) {
        self.heard.store(sent, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_node_that_ends_gives_back_what_it_holds() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("100")));
    world.spend(&plan, usd("1")).await.unwrap();
    assert!(world.held(user(1)) > Usd::ZERO);
    world.budgets.give_back_all(Duration::from_secs(5)).await;
    assert_eq!(world.held(user(1)), Usd::ZERO);
    assert_eq!(
        world.authority.held_by(NODE).await.unwrap(),
        [user(1)],
        "its charges are remembered until it is closed"
    );
    world.budgets.close_own_life().await.unwrap();
    assert_eq!(world.authority.held_by(NODE).await.unwrap(), []);
}

#[tokio::test]
async fn a_node_that_may_have_been_given_up_asks_for_nothing() {
    let world = World::new(worst_case());
    let until = Arc::new(Until::default());
    world.budgets.live_by(Arc::clone(&until) as Arc<dyn Lifeline>);
    let plan = user_capped(&only(Window::Daily, usd("100")));
    let refused = world.budgets.reserve(&plan, usd("1"), NOON).await;
    drop(refused);
    assert!(world.authority.audit_now(user(1)).is_none(), "the authority was not asked");
    until.confirmed.store(i64::MAX, Ordering::SeqCst);
    world.time.pass(1_000);
    world.spend(&plan, usd("1")).await.unwrap();
    assert!(world.authority.audit_now(user(1)).is_some());
    assert!(until.heard.load(Ordering::SeqCst) > NOON);
}
