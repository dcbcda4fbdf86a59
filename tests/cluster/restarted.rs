//! One node of three is stopped and started again, as in every roll-out: what the budgets that all use cost then.

use std::fmt;
use std::time::{Duration, Instant};

use crate::harness::{Cluster, MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::capped::Whose;
use crate::support::{Gateway, scale};
use crate::traffic::{Order, Traffic, tally};

/// So often each budget is read from the ledger at most.
const READ_AT_MOST: f64 = 3.0;

const RESULTS: [&str; 5] = ["ok", "denied", "resend", "seed", "lost"];

/// What was said to Redis, by what came of it.
#[derive(Clone, Copy)]
struct Exchanges([f64; 5]);

impl Exchanges {
    async fn of(node: &Gateway) -> Self {
        let mut counts = [0.0; 5];
        for (count, result) in counts.iter_mut().zip(RESULTS) {
            *count = node.metric(&format!("lease_exchanges_total{{result=\"{result}\"")).await;
        }
        Self(counts)
    }

    /// Of these nodes.
    async fn of_all(nodes: &[&Gateway]) -> Self {
        let mut sum = [0.0; 5];
        for node in nodes {
            let of_one = Self::of(node).await;
            sum.iter_mut().zip(of_one.0).for_each(|(sum, count)| *sum += count);
        }
        Self(sum)
    }

    fn since(self, before: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] - before.0[at]))
    }

    fn get(self, result: &str) -> f64 {
        RESULTS.iter().zip(self.0).find(|(name, _)| **name == result).unwrap().1
    }
}

impl fmt::Display for Exchanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} exchanges:", self.0.iter().sum::<f64>())?;
        RESULTS.iter().zip(self.0).try_for_each(|(name, count)| write!(f, " {count} {name}"))
    }
}

async fn nothing_had_to_be_corrected(cluster: &Cluster) {
    let drift = cluster.metric("budget_drift_usd").await;
    assert!(drift.abs() < f64::EPSILON, "{drift} USD");
    cluster.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_a_node_of_three_is_started_again_and_no_request_fails_or_is_counted_twice() {
    let redis = Redis::start();
    let mut cluster = Plan::new(3, &redis.url()).start().await;
    let mut callers = Vec::new();
    for turn in 0..scale(24, 240) {
        let whose = [Whose::User, Whose::UserForGroup, Whose::Key][turn % 3];
        callers.push(cluster.limited(whose, ["total", "5h", "daily"][turn / 3 % 3], 1_000.0).await);
    }
    let budgets = callers.len();
    let pace = Order { model: MODEL, pause: Duration::from_millis(200), ..Order::default() };
    let traffic = Traffic::start(&cluster.all(), &callers, 1, pace);
    traffic.passes(budgets * 6).await;
    let usual = Exchanges::of_all(&cluster.all()).await;
    traffic.passes(budgets * 6).await;
    let usual = Exchanges::of_all(&cluster.all()).await.since(usual);
    println!("{budgets} budgets, {} requests as usual: {usual}", budgets * 6);

    let others = Exchanges::of_all(&cluster.but(2)).await;
    let began = Instant::now();
    cluster.nodes[2].signal("TERM");
    assert_eq!(cluster.nodes[2].ended().await.code(), Some(0));
    let ended = began.elapsed();
    let last = Instant::now();
    cluster.nodes[2].relaunch();
    cluster.nodes[2].ready().await;
    println!("it ended after {ended:?}, and was ready {:?} later", last.elapsed());
    traffic.passes(budgets * 6).await;
    let (new, others) =
        (Exchanges::of(&cluster.nodes[2]).await, Exchanges::of_all(&cluster.but(2)).await.since(others));
    println!("{} requests after its start: the new life {new}; the others, from its stop on, {others}", budgets * 6);
    let asked = traffic.stop().await;
    let ended = tally(&asked);
    let mut rows = 0;
    for caller in &callers {
        rows += cluster.balance(caller).await.rows;
    }
    println!("{ended:?}; {rows} rows");
    assert_eq!((ended.passed, rows), (asked.len(), asked.len()), "no request fails or is charged twice: {ended:?}");
    assert!(new.get("seed") + others.get("seed") < 1.0, "Redis knows all of them all the time");
    // A budget is read from the ledger once because a life has ended, and once when the new life meets it; after each the
    // nodes are asked where they are. Two may read it at once.
    let resent = (new.get("resend") + others.get("resend")) / budgets as f64;
    println!("per budget {resent:.1} answers say where the budget is, so it was read about {:.1} times", resent / 3.0);
    assert!(resent > 0.0 && resent <= READ_AT_MOST * 3.0, "{resent} per budget");
    nothing_had_to_be_corrected(&cluster).await;
}
