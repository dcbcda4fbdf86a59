//! The part of the suite that is about requests instead of money.

use super::suite::{A, B, Fresh, Talk, terms};
use super::world::*;
use crate::budget::{Answer, Authority, Incarnation, Item, Position, Seeded, Statement};
use crate::limit::{CountKind, Window};
use crate::money::Usd;

const DEAD_AFTER: i64 = 30_000;

fn requests(count: i64) -> Usd {
    Usd::from_nanos(count)
}

/// So many requests of the second of this instant.
fn of_second(at: i64, count: i64) -> Item {
    Item { minute: at.div_euclid(1_000) * 1_000, era: 0, amount: requests(count) }
}

fn asks<T: Authority>(talk: &Talk<'_, T>, inc: Incarnation, seq: u64, count: i64) -> Statement {
    let need = requests(count);
    let slice_min = requests(1);
    Statement { need_min: need, need_sum: need, slice_min, ends_after: DEAD_AFTER, ..talk.statement(inc, seq) }
}

pub async fn a_minute_of_requests_moves_on_by_seconds(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&count_policy(CountKind::Rpm, 1, 3)) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    let told =
        Statement { to: 2, items: vec![of_second(NOON - 400, 1), of_second(NOON + 1_000, 1)], ..talk.statement(A, 1) };
    talk.ok(&told).await;
    let asks = |seq| Statement { ends_after: DEAD_AFTER + 60_000, ..asks(&talk, B, seq, 2) };
    let denied = talk.ok(&asks(1)).await;
    assert_eq!((denied.granted, denied.free), (Usd::ZERO, requests(1)));
    let first = (NOON - 400).div_euclid(1_000) * 1_000 + 60_000;
    assert_eq!(denied.windows[0].leaving, [(first, requests(1)), (NOON + 61_000, requests(2))]);
    assert_eq!(denied.steady_until, first);
    time.pass(first - 1 - NOON);
    assert_eq!(talk.ok(&asks(2)).await.granted, Usd::ZERO);
    time.pass(1);
    assert_eq!(talk.ok(&asks(3)).await.granted, requests(2));
}

pub async fn what_happens_at_once_is_held_and_never_spent(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&count_policy(CountKind::Concurrency, 1, 2)) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    talk.ok(&asks(&talk, A, 1, 2)).await;
    let running = |seq, count| Statement { reserved: requests(count), ..asks(&talk, A, seq, 0) };
    talk.ok(&running(2, 2)).await;
    let denied = talk.ok(&asks(&talk, B, 1, 1)).await;
    let report = &denied.windows[0];
    assert_eq!((report.window, report.spent, report.reserved), (Window::AtOnce, Usd::ZERO, requests(2)));
    talk.ok(&running(3, 1)).await;
    assert_eq!(talk.ok(&asks(&talk, B, 2, 1)).await.granted, requests(1));
}

pub async fn where_there_are_few_places_nodes_keep_none(fresh: impl Fresh) {
    for (limit, granted, tight) in [(7, 1, true), (8, 2, false)] {
        let time = Time::at(NOON);
        let authority = fresh.fresh(&time, false).await;
        let policy = count_policy(CountKind::Concurrency, 1, limit);
        let talk = Talk { authority: &authority, time: &time, terms: terms(&policy) };
        talk.seed("0", &[(A, 0), (B, 0)]).await;
        talk.ok(&asks(&talk, A, 1, 0)).await;
        let asked = Statement { slice: requests(3), ..asks(&talk, B, 1, 1) };
        let taken = talk.ok(&asked).await;
        assert_eq!((taken.granted, taken.tight), (requests(granted), tight), "{limit} for two nodes");
    }
}

pub async fn a_lease_of_requests_is_at_least_one(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&count_policy(CountKind::Rpm, 1, 15)) };
    talk.seed("0", &[(A, 0)]).await;
    let asked = Statement { slice: Usd::ZERO, ..asks(&talk, A, 1, 1) };
    let taken = talk.ok(&asked).await;
    assert_eq!((taken.granted, taken.tight), (requests(1), false));
    let asked = Statement { slice: requests(4), ..asks(&talk, A, 2, 1) };
    assert_eq!(talk.ok(&asked).await.granted, requests(4));
}

pub async fn what_a_silent_node_holds_of_a_count_ends_and_of_money_does_not(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let count = Talk { authority: &authority, time: &time, terms: terms(&count_policy(CountKind::Concurrency, 1, 1)) };
    let money = Talk { authority: &authority, time: &time, terms: terms(&only(Window::Total, requests(1))) };
    for talk in [&count, &money] {
        talk.seed("0", &[(A, 0), (B, 0)]).await;
    }
    let forever = |statement| Statement { ends_after: i64::MAX, ..statement };
    assert_eq!(count.ok(&asks(&count, A, 1, 1)).await.granted, requests(1));
    assert_eq!(money.ok(&forever(asks(&money, A, 1, 1))).await.granted, requests(1));
    time.pass(20_000);
    // It lives: its time begins anew.
    count.ok(&Statement { reserved: requests(1), ..asks(&count, A, 2, 0) }).await;
    time.pass(DEAD_AFTER - 1);
    assert_eq!(count.ok(&asks(&count, B, 1, 1)).await.granted, Usd::ZERO);
    time.pass(1);
    assert_eq!(count.ok(&asks(&count, B, 2, 1)).await.granted, requests(1));
    assert_eq!(money.ok(&forever(asks(&money, B, 1, 1))).await.granted, Usd::ZERO);
    // It was not dead after all: what still runs is counted, as a debt.
    let back = Statement { from: Position::Mark(0, 0), reserved: requests(1), ..asks(&count, A, 3, 0) };
    assert_eq!(count.ok(&back).await.free, requests(-1));
}

pub async fn a_count_that_lives_takes_no_seed_and_keeps_what_it_counted_under_other_limits(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, false).await;
    let policy = count_policy(CountKind::Rpm, 1, 3);
    let talk = Talk { authority: &authority, time: &time, terms: terms(&policy) };
    assert_eq!(talk.seed("0", &[(A, 0), (B, 0)]).await, Seeded::Taken);
    let told = Statement { to: 1, items: vec![of_second(NOON, 2)], ..talk.statement(A, 1) };
    talk.ok(&told).await;
    // Two nodes found it missing at once.
    assert_eq!(talk.seed("0", &[(A, 0), (B, 0)]).await, Seeded::Refused);
    assert_eq!(talk.spent().await, requests(2));
    let more = Talk { authority: &authority, time: &time, terms: terms(&count_policy(CountKind::Rpm, 2, 4)) };
    let taken = more.ok(&asks(&more, B, 1, 2)).await;
    assert_eq!((taken.granted, taken.reseed), (requests(2), false));
}

pub async fn a_node_tells_a_forgotten_count_its_minute_again_before_anything_is_granted(fresh: impl Fresh) {
    let time = Time::at(NOON);
    let authority = fresh.fresh(&time, true).await;
    let talk = Talk { authority: &authority, time: &time, terms: terms(&count_policy(CountKind::Rpm, 1, 20)) };
    // Both had told the authority of before this.
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    let before = Statement { from: Position::At(9), to: 9, ..asks(&talk, A, 1, 1) };
    assert!(matches!(talk.say(&before).await, Answer::Resend(Position::Mark(0, _))));
    let again = Statement { to: 9, items: vec![of_second(NOON - 5_000, 9)], ..asks(&talk, A, 2, 1) };
    let again = Statement { from: Position::Mark(0, 0), ..again };
    assert!(talk.ok(&again).await.settling);
    let other = Statement { to: 4, items: vec![of_second(NOON - 5_000, 4)], ..asks(&talk, B, 1, 1) };
    assert_eq!(talk.ok(&other).await.free, requests(6));
    assert_eq!(talk.spent().await, requests(13));
}
