//! The way of a request: reserve, settle, give back, refuse.

use super::world::*;
use crate::budget::ReserveError;
use crate::limit::{Axis, Window};
use crate::money::Usd;

#[tokio::test]
async fn what_is_settled_is_used_and_what_is_dropped_is_free_again() {
    let world = World::new(worst_case());
    let plan = user_capped(&only(Window::Daily, usd("1")));
    let first = world.budgets.reserve(&plan, usd("0.4"), NOON).await.unwrap();
    let second = world.budgets.reserve(&plan, usd("0.5"), NOON).await.unwrap();
    let refused = world.budgets.reserve(&plan, usd("0.2"), NOON).await.unwrap_err();
    let ReserveError::Denied(denied) = refused else { panic!("{refused:?}") };
    assert_eq!((denied.first.budget, denied.first.window), (user(1), Window::Daily));
    assert_eq!((denied.first.used, denied.first.reserved, denied.first.cap), (Usd::ZERO, usd("0.9"), usd("1")));
    drop(second);
    world.settle(&first, &plan, usd("0.3"));
    let third = world.budgets.reserve(&plan, usd("0.7"), NOON).await.unwrap();
    assert_eq!(third.reserved(Axis::User), usd("0.7"));
    world.settle(&third, &plan, usd("0.7"));
    drop((first, third));
    world.pass(2_000).await;
    assert_eq!(world.held(user(1)), Usd::ZERO);
    let refused = world.budgets.reserve(&plan, Usd::from_nanos(1), world.time.now()).await;
    assert!(matches!(refused, Err(ReserveError::Denied(_))), "{refused:?}");
}
