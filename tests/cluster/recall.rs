//! What nodes keep is asked back when others need it, and seldom enough when there is nothing to be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;
use tollgate::limit::BudgetId;

use crate::harness::{MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::capped::{self, Whose};
use crate::support::{eventually, scale};
use crate::traffic::{Order, Times, Traffic, tally};
use crate::witness::{Witness, of_user};

/// A lease, in US dollars.
const LEASE: f64 = 0.5;

/// How many recalls of a budget were heard.
struct Listener {
    recalls: Arc<AtomicUsize>,
    others: Arc<AtomicUsize>,
}

impl Listener {
    async fn start(redis: &Redis, budget: BudgetId) -> Self {
        let client = redis::Client::open(redis.url()).unwrap();
        let mut channel = client.get_async_pubsub().await.unwrap();
        channel.subscribe("tollgate:leases").await.unwrap();
        let heard = Self { recalls: Arc::default(), others: Arc::default() };
        let (recalls, others) = (Arc::clone(&heard.recalls), Arc::clone(&heard.others));
        let owner = format!(":{}:", budget.owner);
        tokio::spawn(async move {
            let mut messages = channel.into_on_message();
            while let Some(message) = messages.next().await {
                let text: String = message.get_payload().unwrap();
                let counter = if text.starts_with("recall ") && text.contains(&owner) { &recalls } else { &others };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        heard
    }

    fn recalls(&self) -> usize {
        self.recalls.load(Ordering::Relaxed)
    }
}

/// What a node keeps that stands still while the others are at the cap.
const LEFT: f64 = 0.08;

#[tokio::test(flavor = "multi_thread")]
async fn many_refusals_at_a_cap_of_which_a_node_that_stands_still_has_a_part_cost_few_messages() {
    let redis = Redis::start();
    let cluster = Plan::new(4, &redis.url()).budgets("lease", json!({"min": LEFT, "idle_return": "2s"})).start().await;
    let caller = cluster.limited(Whose::User, "total", 1.0).await;
    let (budget, witness) = (of_user(&caller), Witness::of(&redis.url()));
    let heard = Listener::start(&redis, budget).await;
    cluster.nodes[3].spends(&caller, MODEL, 1).await;
    cluster.nodes[3].signal("STOP");
    let kept = witness.kept(budget).await;
    assert!(kept as f64 > LEFT * 0.9e9, "{kept}");
    let others = cluster.but(3);
    let passed = capped::ask(&others, &caller, MODEL, Some(1_000), 40).await;
    // More than is left at all, which is refused at once; and what could be paid if it came back in time.
    for (max_tokens, clients) in [(2_000, 12), (1_000, 60)] {
        let (before, began) = (heard.recalls(), Instant::now());
        let order = Order { max_tokens, ..Order::default() };
        let traffic = Traffic::start(&others, std::slice::from_ref(&caller), clients, order);
        tokio::time::sleep(Duration::from_secs(scale(3, 30) as u64)).await;
        let (recalls, took) = (heard.recalls() - before, began.elapsed());
        let asked = traffic.stop().await;
        let ended = tally(&asked);
        println!(
            "after {passed}, for {max_tokens} tokens: in {took:?} {recalls} recalls; {ended:?}, {:?}",
            Times::of(&asked)
        );
        assert_eq!((ended.passed, ended.unavailable), (0, 0), "{ended:?}");
        assert!(ended.refused > 100, "this is about many refusals: {ended:?}");
        // Once per quarter of a second in the whole cluster, as long as there is something to be had.
        assert!(recalls >= 4, "{recalls}");
        assert!(recalls as u128 <= took.as_millis() / 250 + 1, "{recalls} in {took:?}");
    }
    println!("{} other messages", heard.others.load(Ordering::Relaxed));
    assert_eq!(witness.kept(budget).await, kept, "time never moves money");
    cluster.nodes[3].signal("CONT");
    eventually("it gives back what it does not need", async || (witness.kept(budget).await == 0).then_some(())).await;
    cluster.nodes[0].spends(&caller, MODEL, 50).await;
    let sums = cluster.balance(&caller).await;
    assert!((900_000_000..=1_000_000_000).contains(&sums.nanos), "{sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_into_what_another_node_keeps_is_served_however_many_ask_for_it_at_once() {
    let redis = Redis::start();
    let cluster = Plan::new(4, &redis.url()).budgets("lease", json!({"min": LEASE, "idle_return": "2s"})).start().await;
    let witness = Witness::of(&redis.url());
    let (mut slowest, mut callers) = (Duration::ZERO, Vec::new());
    for turn in 0..scale(12, 200) {
        let caller = cluster.limited(Whose::User, "total", LEASE + 0.03).await;
        let keeper = turn % 4;
        cluster.nodes[keeper].spends(&caller, MODEL, 1).await;
        let kept = witness.kept(of_user(&caller)).await;
        assert!(kept as f64 > LEASE * 0.9e9, "{kept}");
        // Each is more than is free, and all of them less than is left.
        let others = cluster.but(keeper);
        let began = Instant::now();
        let asks = (0..9).map(|n| {
            let node = others[n % 3];
            let caller = &caller;
            async move {
                // A moment apart: the first one has asked for it all.
                tokio::time::sleep(Duration::from_millis(n as u64 / 3 * 4)).await;
                node.spend(caller, MODEL, 50).await
            }
        });
        for (n, reply) in futures::future::join_all(asks).await.into_iter().enumerate() {
            let body = String::from_utf8_lossy(&reply.body);
            assert_eq!(reply.head.status, 200, "turn {turn}, {n}, after {:?}: {body}", began.elapsed());
        }
        slowest = slowest.max(began.elapsed());
        callers.push(caller);
    }
    for caller in &callers {
        let sums = cluster.balance(caller).await;
        assert_eq!((sums.rows, sums.nanos), (10, 451_000_000), "{sums:?}");
    }
    println!("the slowest nine took {slowest:?}");
}
