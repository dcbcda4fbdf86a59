//! A Redis that is away, late, flushed, or not fit for use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::super::suite::{A, B, Talk, terms};
use super::super::world::*;
use super::server::Redis;
use super::{Owned, asker, authority, connection};
use crate::budget::{
    Answer, Authority, AuthorityError, Event, Events, Position, RedisAuthority, RedisError, Seeded, Statement,
};
use crate::limit::Window;
use crate::money::Usd;

/// The usual time limit.
const SHORT: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(10);

/// Where [`user`] 1 is.
const KEY: &str = "{tg:1}:b:user:1:mainline";

/// A Redis and a node with the usual time limit and Redis' own time.
fn usual(server: &Redis) -> (Arc<RedisAuthority>, Events, CancellationToken) {
    let (authority, events) = RedisAuthority::new(&server.url(), SHORT, asker(A)).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(Arc::clone(&authority).run(Duration::from_millis(50), stop.clone()));
    (authority, events, stop)
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < LIMIT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn next(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    let found = async {
        loop {
            let event = events.recv().await.expect("events go on");
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(LIMIT, found).await.expect("it is told")
}

fn now() -> Time {
    Time::at(crate::clock::now_ms())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_there_is_known_to_be_away_and_is_asked_again_when_it_is_back() {
    let mut server = Redis::start();
    let (authority, mut events, _stop) = usual(&server);
    let time = now();
    let policy = only(Window::Total, usd("1"));
    let talk = Talk { authority: &*authority, time: &time, terms: terms(&policy) };
    assert!(matches!(talk.say(&talk.asks(A, 1, "0.1")).await, Answer::Seed));
    server.stop();
    until("away", async || {
        let said = Statement { sent: crate::clock::now_ms(), ..talk.asks(A, 2, "0.1") };
        let failed = authority.exchange(user(1), &said).await;
        matches!(failed, Err(AuthorityError::Away(_))) && authority.is_away(user(1))
    })
    .await;
    let began = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(authority.exchange(user(1), &talk.asks(A, 3, "0.1")).await, Err(AuthorityError::Away(_))));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for it: {:?}", began.elapsed());
    server.restart();
    next(&mut events, |event| *event == Event::Returned).await;
    assert!(!authority.is_away(user(1)));
    let said = Statement { sent: crate::clock::now_ms(), ..talk.asks(A, 4, "0.1") };
    assert!(matches!(authority.exchange(user(1), &said).await, Ok(Answer::Seed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_late_answer_is_late_and_two_in_a_row_are_away() {
    let server = Redis::start();
    let (authority, mut events, _stop) = usual(&server);
    let time = now();
    let policy = only(Window::Total, usd("1"));
    let talk = Talk { authority: &*authority, time: &time, terms: terms(&policy) };
    assert!(matches!(talk.say(&talk.asks(A, 1, "0.1")).await, Answer::Seed));
    server.pause();
    let first = authority.exchange(user(1), &talk.asks(A, 2, "0.1")).await;
    assert!(matches!(first, Err(AuthorityError::Late)), "{first:?}");
    assert!(!authority.is_away(user(1)), "it may have been slow once");
    let second = authority.exchange(user(1), &talk.asks(A, 3, "0.1")).await;
    assert!(second.is_err() && authority.is_away(user(1)));
    server.resume();
    next(&mut events, |event| *event == Event::Returned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_were_forgotten_are_sent_again() {
    let server = Redis::start();
    let (authority, _events, _stop) = usual(&server);
    let time = now();
    let policy = only(Window::Total, usd("1"));
    let talk = Talk { authority: &*authority, time: &time, terms: terms(&policy) };
    for seq in 1..4 {
        assert!(matches!(talk.say(&talk.asks(A, seq, "0.1")).await, Answer::Seed));
        ::redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut connection(&server).await).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_is_noticed_and_the_others_are_asked_what_they_hold() {
    let time = Time::at(NOON);
    let mut here = Owned::start(&time, false).await;
    let (there, mut heard_there) = authority(&here.server, &time, B);
    let stop = CancellationToken::new();
    for node in [&here.authority, &there] {
        tokio::spawn(Arc::clone(node).run(Duration::from_millis(20), stop.clone()));
    }
    let policy = only(Window::Total, usd("1"));
    let talk = Talk { authority: &*here.authority, time: &time, terms: terms(&policy) };
    let other = Talk { authority: &*there, time: &time, terms: terms(&policy) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    assert_eq!(talk.ok(&talk.asks(A, 1, "0.4")).await.granted, usd("0.4"));
    assert_eq!(other.ok(&other.asks(B, 1, "0.5")).await.granted, usd("0.5"));

    let mut redis = connection(&here.server).await;
    ::redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.unwrap();
    let flushed = |event: &Event| matches!(event, Event::Flushed(partition) if partition.holds(user(1)));
    next(&mut here.events, flushed).await;
    next(&mut heard_there, flushed).await;
    assert!(matches!(talk.say(&talk.asks(A, 2, "0.1")).await, Answer::Seed));
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    next(&mut heard_there, |event| *event == Event::Joins(user(1))).await;
    let kept = |talk: &Talk<'_, RedisAuthority>, inc, seq, kept: &str| Statement {
        kept: usd(kept),
        ..talk.statement(inc, seq)
    };
    let waits = talk
        .ok(&Statement {
            from: Position::Mark(0, 0),
            need_min: usd("0.1"),
            need_sum: usd("0.1"),
            ..kept(&talk, A, 3, "0.4")
        })
        .await;
    assert!(waits.settling && waits.granted == usd("0"));
    let joined = Statement { from: Position::Mark(0, 0), ..kept(&other, B, 2, "0.5") };
    assert_eq!(other.ok(&joined).await.free, usd("0.1"), "both claims are taken as they are");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_keep_is_asked_for_and_what_was_held_is_known_by_its_holder() {
    let time = Time::at(NOON);
    let here = Owned::start(&time, false).await;
    let (there, mut heard_there) = authority(&here.server, &time, B);
    let stop = CancellationToken::new();
    tokio::spawn(Arc::clone(&there).run(Duration::from_secs(5), stop.clone()));
    let policy = only(Window::Total, usd("1"));
    let talk = Talk { authority: &*here.authority, time: &time, terms: terms(&policy) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    talk.ok(&talk.asks(A, 1, "0.4")).await;
    assert_eq!(here.authority.held_by(A).await.unwrap(), [user(1)]);
    assert_eq!(there.held_by(A).await.unwrap(), [user(1)], "whoever asks");
    assert_eq!(here.authority.held_by(B).await.unwrap(), [], "it lives, and would note it itself");
    until("the message is heard", async || {
        assert!(here.authority.recall(user(1)).await);
        std::iter::from_fn(|| heard_there.try_recv().ok()).any(|event| event == Event::Recalled(user(1)))
    })
    .await;
    there.close(A, &[user(1)]).await.unwrap();
    assert_eq!(there.held_by(A).await.unwrap(), []);
    assert!(matches!(talk.say(&talk.asks(A, 2, "0.1")).await, Answer::Stale), "it is dead");
    let last = Talk { authority: &*there, time: &time, terms: terms(&policy) };
    last.seed("0", &[(B, 0)]).await;
    last.ok(&last.asks(B, 1, "0.1")).await;
    assert_eq!(there.held_by(B).await.unwrap(), [user(1)]);
    last.ok(&Statement { last: true, ..last.statement(B, 2) }).await;
    assert_eq!(there.held_by(B).await.unwrap(), [], "it has said goodbye");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_notes_what_nodes_that_have_died_may_have_spent_without_saying_so() {
    const DEAD: crate::budget::Incarnation = 99;
    let time = Time::at(NOON);
    let here = Owned::start(&time, false).await;
    let policy = only(Window::Total, usd("1"));
    let talk = Talk { authority: &*here.authority, time: &time, terms: terms(&policy) };
    talk.seed("0", &[(A, 0)]).await;
    assert_eq!(here.authority.held_by(DEAD).await.unwrap(), []);
    time.pass(1);
    talk.seed("0", &[(A, 0), (B, 0), (DEAD, 0)]).await;
    assert_eq!(here.authority.held_by(DEAD).await.unwrap(), [user(1)], "its journal may not be in the database");
    here.authority.close(DEAD, &[user(1)]).await.unwrap();
    assert!(here.authority.audit(user(1)).await.unwrap().unwrap().reseed, "now it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_a_seed_notes_the_living_as_well() {
    let time = Time::at(NOON);
    let here = Owned::start(&time, true).await;
    let policy = only(Window::Total, usd("1"));
    let talk = Talk { authority: &*here.authority, time: &time, terms: terms(&policy) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    assert_eq!(here.authority.held_by(B).await.unwrap(), [user(1)], "it may die before it can note it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_somebody_else_is_told_apart_from_a_redis_that_is_away() {
    let time = Time::at(NOON);
    let here = Owned::start(&time, false).await;
    let mut redis = connection(&here.server).await;
    let policy = only(Window::Total, usd("1"));
    let talk = Talk { authority: &*here.authority, time: &time, terms: terms(&policy) };
    talk.seed("0", &[(A, 0)]).await;
    let text = ::redis::cmd("SET").arg(KEY).arg("hello").to_owned();
    let mut nonsense = ::redis::pipe();
    nonsense.del(KEY).ignore().hset(KEY, "a", "nonsense").ignore();
    for garble in [::redis::pipe().add_command(text).to_owned(), nonsense] {
        garble.query_async::<()>(&mut redis).await.unwrap();
        let said = here.authority.exchange(user(1), &talk.asks(A, 1, "0.1")).await;
        assert!(matches!(said, Err(AuthorityError::Garbled(_))), "{said:?}");
        assert!(matches!(here.authority.audit(user(1)).await, Err(AuthorityError::Garbled(_))));
        assert!(!here.authority.is_away(user(1)));
        // Of the others it still says all.
        let closed = here.authority.close(A, &[user(1), user(65)]).await;
        assert!(matches!(closed, Err(AuthorityError::Garbled(_))), "{closed:?}");
        assert_eq!(here.authority.held_by(A).await.unwrap(), [user(1)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_born_never_or_in_the_future_is_born_now() {
    let time = Time::at(NOON);
    let here = Owned::start(&time, false).await;
    let mut redis = connection(&here.server).await;
    let policy = only(Window::Total, usd("1"));
    let talk = Talk { authority: &*here.authority, time: &time, terms: terms(&policy) };
    let future = (NOON + 3_600_000).to_string();
    for born in ["", "yesterday", "1e999", "nan", &future] {
        for partition in 0..64 {
            let key = format!("{{tg:{partition}}}:gen");
            ::redis::cmd("SET").arg(key).arg(born).query_async::<()>(&mut redis).await.unwrap();
        }
        ::redis::cmd("DEL").arg(KEY).query_async::<()>(&mut redis).await.unwrap();
        time.pass(10);
        assert!(matches!(talk.say(&talk.asks(A, 1, "0.1")).await, Answer::Seed));
        talk.seed("0", &[(A, 0)]).await;
        let kept: String = ::redis::cmd("GET").arg("{tg:1}:gen").query_async(&mut redis).await.unwrap();
        assert_eq!(kept, time.now().to_string(), "{born:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_may_throw_budgets_away_is_not_used() {
    let server = Redis::start();
    let (authority, _events, _stop) = usual(&server);
    authority.check().await.unwrap();
    let mut redis = connection(&server).await;
    ::redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory-policy")
        .arg("allkeys-lru")
        .query_async::<()>(&mut redis)
        .await
        .unwrap();
    let refused = authority.check().await.unwrap_err();
    assert!(matches!(&refused, RedisError::Evicts(policy) if policy == "allkeys-lru"), "{refused}");
    assert!(refused.to_string().contains("noeviction"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_said_before_a_flush_is_not_what_it_holds_after_it() {
    let time = Time::at(NOON);
    let here = Owned::start(&time, false).await;
    let talk = Talk { authority: &*here.authority, time: &time, terms: terms(&only(Window::Total, usd("1"))) };
    talk.seed("0", &[(A, 0), (B, 0)]).await;
    // Its first word, which comes twice: it has nothing. Then it is granted something.
    let position = here.authority.audit(user(1)).await.unwrap().unwrap().holders[0].position;
    let first = Statement { from: position, ..talk.statement(A, 1) };
    talk.ok(&first).await;
    assert_eq!(talk.ok(&talk.asks(A, 2, "0.6")).await.granted, usd("0.6"));
    ::redis::cmd("FLUSHALL").query_async::<()>(&mut connection(&here.server).await).await.unwrap();
    time.pass(100);
    assert_eq!(talk.seed("0", &[(A, 0), (B, 0)]).await, Seeded::Taken);
    let again = here.authority.exchange(user(1), &first).await.unwrap();
    assert!(matches!(again, Answer::Resend(Position::Mark(0, _))), "{again:?}");
    // The other one has joined, and A still has to.
    let waits = talk.ok(&talk.asks(B, 1, "0.9")).await;
    assert!(waits.settling && waits.granted == Usd::ZERO, "{waits:?}");
    let kept = Statement { from: Position::Mark(0, 0), kept: usd("0.6"), ..talk.statement(A, 3) };
    assert_eq!(talk.ok(&kept).await.free, usd("0.4"));
}
