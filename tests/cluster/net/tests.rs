//! The way itself: what it does to whoever uses it.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use redis::aio::MultiplexedConnection;

use super::{Faults, Proxy, frame};
use crate::servers::redis::Redis;
use crate::support::eventually;

const PATIENCE: Duration = Duration::from_millis(50);

const COUNT: &str = "return redis.call('INCR', KEYS[1])";

async fn connect(proxy: &Proxy) -> MultiplexedConnection {
    let client = redis::Client::open(proxy.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// Counts up by a script; what was answered, if anything was within the time.
async fn count(connection: &MultiplexedConnection) -> Option<i64> {
    let mut connection = connection.clone();
    let mut script = redis::cmd("EVAL");
    script.arg(COUNT).arg(1).arg("counter");
    tokio::time::timeout(PATIENCE, script.query_async(&mut connection)).await.ok()?.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_way_passes_everything_and_counts_it() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port(), PATIENCE, 1).await;
    let connection = connect(&proxy).await;
    let before = proxy.figures();
    for turn in 1..=20 {
        assert_eq!(count(&connection).await, Some(turn));
    }
    let figures = proxy.figures().since(&before);
    assert_eq!((figures.scripts(), figures.faults), (20, 0), "{figures:?}");
    assert_eq!(figures.bytes_back, (":1\r\n".len() * 9 + ":10\r\n".len() * 11) as u64);
    assert!(figures.bytes_there > 20 * COUNT.len() as u64, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_swallowed_is_done_and_the_next_answer_is_that_of_the_next_question() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port(), PATIENCE, 1).await;
    let connection = connect(&proxy).await;
    proxy.faults(Faults { swallowed: 1_000, ..Faults::default() });
    assert_eq!(count(&connection).await, None);
    proxy.faults(Faults::default());
    eventually("the next is answered", async || {
        (count(&connection).await == redis.call(&["GET", "counter"]).await).then_some(())
    })
    .await;
    assert!(redis.call::<i64>(&["GET", "counter"]).await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_doubled_is_done_twice_and_answered_once() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port(), PATIENCE, 1).await;
    let connection = connect(&proxy).await;
    proxy.faults(Faults { doubled: 1_000, ..Faults::default() });
    assert_eq!(count(&connection).await, Some(1));
    assert_eq!(count(&connection).await, Some(3));
    proxy.faults(Faults::default());
    assert_eq!(count(&connection).await, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_is_overtaken() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port(), PATIENCE, 1).await;
    let connection = connect(&proxy).await;
    proxy.faults(Faults { late: 1_000, ..Faults::default() });
    let began = Instant::now();
    assert_eq!(count(&connection).await, None);
    proxy.faults(Faults::default());
    let first = eventually("the next is answered", async || count(&connection).await).await;
    assert!(began.elapsed() < Duration::from_millis(1_400), "{:?}", began.elapsed());
    let asked = first;
    eventually("the late one is done", async || {
        let done: i64 = redis.call(&["GET", "counter"]).await;
        (done == asked + 1).then_some(())
    })
    .await;
    assert!(began.elapsed() >= Duration::from_millis(1_500), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_cut_closed_or_hangs_says_so_in_its_own_manner() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port(), PATIENCE, 1).await;
    let connection = connect(&proxy).await;
    proxy.hang(true);
    assert_eq!(count(&connection).await, None);
    assert_eq!(redis.call::<i64>(&["GET", "counter"]).await, 1, "it is done all the same");
    proxy.hang(false);
    eventually("it goes on", async || count(&connection).await).await;
    proxy.cut();
    eventually("the connection is over", async || count(&connection).await.is_none().then_some(())).await;
    let connection = connect(&proxy).await;
    assert!(count(&connection).await.is_some());
    proxy.close(true);
    let client = redis::Client::open(proxy.url()).unwrap();
    assert!(client.get_multiplexed_async_connection().await.is_err());
    proxy.close(false);
    assert!(count(&connect(&proxy).await).await.is_some());
    proxy.faults(Faults { cut: 1_000, ..Faults::default() });
    let before: i64 = redis.call(&["GET", "counter"]).await;
    assert_eq!(count(&connect(&proxy).await).await, None);
    assert_eq!(redis.call::<i64>(&["GET", "counter"]).await, before + 1);
}

#[test]
fn values_end_where_they_end() {
    let whole = "*3\r\n$3\r\na\r\n\r\n:5\r\n%1\r\n+k\r\n*-1\r\n>2\r\n$-1\r\n_\r\n-ERR x\r\n";
    let mut buffer = BytesMut::from(whole);
    let values: Vec<_> = std::iter::from_fn(|| frame::take(&mut buffer)).collect();
    assert_eq!(values, ["*3\r\n$3\r\na\r\n\r\n:5\r\n%1\r\n+k\r\n*-1\r\n", ">2\r\n$-1\r\n_\r\n", "-ERR x\r\n"]);
    for end in 0..values[0].len() {
        assert_eq!(frame::take(&mut BytesMut::from(&whole[..end])), None, "{end}");
    }
    assert_eq!(frame::words(&frame::command(&["EVAL", "", "2"])), [&b"EVAL"[..], b"", b"2"]);
}
