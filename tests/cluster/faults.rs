//! A network that loses, delays and repeats: nothing is counted twice or forgotten, and no cap is passed.

use std::time::{Duration, Instant};

use crate::harness::{Cluster, MODEL, Plan};
use crate::net::{Faults, Figures, Proxy};
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::capped::{self, Whose};
use crate::support::{scale, seed};
use crate::traffic::{Order, Traffic, tally};
use crate::witness::{self, Witness};

/// How long a node waits for an answer: every one that is lost costs so much, and all that was asked meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whatever was lost is said again within this time, without anybody asking.
const PEACE: Duration = Duration::from_secs(2);

/// And some more on a machine that does other things.
const JITTER: Duration = Duration::from_millis(500);

/// Two that are reached, and two that are not.
const CAPS: [(Whose, &str, f64); 4] = [
    (Whose::User, "total", 2.0),
    (Whose::KeyForGroup, "5h", 3.0),
    (Whose::UserGroupForGroup, "daily", 1_000.0),
    (Whose::Key, "monthly", 1_000.0),
];

async fn trouble(faults: Faults) {
    let seed = seed();
    println!("TOLLGATE_SEED={seed}");
    let redis = Redis::start();
    let witness = Witness::of(&redis.url());
    let mut ways = Vec::new();
    for n in 0..3 {
        ways.push(Proxy::to(redis.port(), PATIENCE, seed.wrapping_add(n)).await);
    }
    let cluster = Plan::over(ways.iter().map(Proxy::url).collect()).patience(PATIENCE).start().await;
    let mut callers = Vec::new();
    for (whose, window, usd) in CAPS {
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
    tokio::time::sleep(PEACE).await;
    let mut wrong = wrong(&cluster, &witness, &callers).await;
    while !wrong.is_empty() && peace.elapsed() < PEACE + JITTER {
        tokio::time::sleep(Duration::from_millis(20)).await;
        wrong = self::wrong(&cluster, &witness, &callers).await;
    }
    let took = peace.elapsed();
    assert!(wrong.is_empty(), "{took:?} after the end of the trouble: {wrong:#?}");
    let mut rows = 0;
    for (caller, (whose, window, usd)) in callers.iter().zip(CAPS) {
        let sums = cluster.balance(caller).await;
        println!("{window} of {whose:?}: {sums:?} of {usd} USD");
        assert!(sums.nanos as f64 <= usd * 1e9, "{window} of {whose:?}: {sums:?}");
        rows += sums.rows;
    }
    println!("{faults:?}: {ended:?}; {gone_wrong:?}; seen at peace {took:?} after the end of the trouble");
    assert_eq!((rows, ended.lost), (ended.passed, 0), "{ended:?}");
    assert!(gone_wrong.faults >= 10, "this is about trouble: {gone_wrong:?}");
    assert!(cluster.metric("budget_drift_usd").await.abs() < f64::EPSILON, "at no moment was a sum wrong");
    cluster.audit();
    // Nothing is held for nobody: all that is left can be spent.
    for (caller, (whose, window, usd)) in callers.iter().zip(CAPS) {
        let enough = if usd > 100.0 { 40 } else { 100 };
        let passed = capped::ask(&cluster.all(), caller, MODEL, Some(1_000), enough).await;
        let sums = cluster.balance(caller).await;
        println!("{window} of {whose:?}: {sums:?} after {passed} more");
        assert!(sums.nanos as f64 <= usd * 1e9, "{window} of {whose:?}: {sums:?}");
        assert!(passed == enough || sums.nanos as f64 >= usd * 0.9e9, "{window} of {whose:?}: {sums:?}");
    }
}

/// In which budgets Redis does not count what the ledger says, or somebody still holds something.
async fn wrong(cluster: &Cluster, witness: &Witness, callers: &[Caller]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (caller, (whose, ..)) in callers.iter().zip(CAPS) {
        let counted = witness.audit(witness::budget(whose, caller, cluster.group)).await.expect("Redis knows it");
        let spent = cluster.books.sums(caller).await.nanos;
        if counted.windows[0].spent.nanos() != spent || witness::held(&counted) != 0 {
            wrong.push(format!("{whose:?}: {spent} in the ledger, but {counted:?}"));
        }
    }
    wrong
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
