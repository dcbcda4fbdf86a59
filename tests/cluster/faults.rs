//! A network that loses, delays and repeats: nothing is counted twice or forgotten, and no cap is passed.

use std::time::{Duration, Instant};

use crate::harness::{MODEL, Plan};
use crate::net::{Faults, Figures, Proxy};
use crate::servers::redis::Redis;
use crate::support::capped::{self, Whose};
use crate::support::{scale, seed};
use crate::traffic::{Order, Traffic, tally};

/// How long a node waits for an answer: every one that is lost costs so much, and all that was asked meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is lost is asked for again within this time, and some more on a machine that does other things.
const PEACE: Duration = Duration::from_secs(4);

async fn trouble(faults: Faults) {
    let seed = seed();
    println!("TOLLGATE_SEED={seed}");
    let redis = Redis::start();
    let mut ways = Vec::new();
    for n in 0..3 {
        ways.push(Proxy::to(redis.port(), PATIENCE, seed.wrapping_add(n)).await);
    }
    let cluster = Plan::over(ways.iter().map(Proxy::url).collect()).patience(PATIENCE).start().await;
    let mut callers = Vec::new();
    let caps = [
        (Whose::User, "total", 2.0),
        (Whose::KeyForGroup, "5h", 3.0),
        (Whose::UserGroupForGroup, "daily", 1_000.0),
        (Whose::Key, "monthly", 1_000.0),
    ];
    for (whose, window, usd) in caps {
        callers.push(cluster.limited(whose, window, usd).await);
    }
    for way in &ways {
        way.faults(faults);
    }
    let before = figures(&ways);
    let pace = Order { pause: Duration::from_millis(5), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), &callers, 4, pace);
    tokio::time::sleep(Duration::from_secs(scale(8, 120) as u64)).await;
    let asked = traffic.stop().await;
    let ended = tally(&asked);
    for way in &ways {
        way.faults(Faults::default());
    }
    let peace = Instant::now();
    let gone_wrong = figures(&ways).since(&before);
    let mut rows = 0;
    for (caller, (whose, window, usd)) in callers.iter().zip(caps) {
        let sums = cluster.balance(caller).await;
        println!("{window} of {whose:?}: {sums:?} of {usd} USD");
        assert!(sums.nanos as f64 <= usd * 1e9, "{window} of {whose:?}: {sums:?}");
        rows += sums.rows;
    }
    let took = peace.elapsed();
    println!("{faults:?}: {ended:?}; {gone_wrong:?}; all is told {took:?} after the end of the trouble");
    assert_eq!((rows, ended.lost), (ended.passed, 0), "{ended:?}");
    assert!(gone_wrong.faults >= 10, "this is about trouble: {gone_wrong:?}");
    assert!(took < PEACE, "{took:?}");
    assert!(cluster.metric("budget_drift_usd").await.abs() < f64::EPSILON, "at no moment was a sum wrong");
    cluster.audit();
    // Nothing is held for nobody: all that is left can be spent.
    for (caller, (whose, window, usd)) in callers.iter().zip(caps) {
        let enough = if usd > 100.0 { 40 } else { 100 };
        let passed = capped::ask(&cluster.all(), caller, MODEL, Some(1_000), enough).await;
        let sums = cluster.balance(caller).await;
        println!("{window} of {whose:?}: {sums:?} after {passed} more");
        assert!(sums.nanos as f64 <= usd * 1e9, "{window} of {whose:?}: {sums:?}");
        assert!(passed == enough || sums.nanos as f64 >= usd * 0.9e9, "{window} of {whose:?}: {sums:?}");
    }
}

fn figures(ways: &[Proxy]) -> Figures {
    ways.iter().fold(Figures::default(), |sum, way| sum.and(&way.figures()))
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_answers_that_are_lost_and_commands_that_come_late_or_twice_change_no_sum() {
    trouble(Faults::TROUBLE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_connections_that_break_in_the_middle_of_a_question_change_no_sum() {
    trouble(Faults { cut: 50, ..Faults::default() }).await;
}
