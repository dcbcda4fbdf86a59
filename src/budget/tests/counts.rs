//! Requests that several nodes count together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::world::*;
use crate::budget::{
    Answer, Audit, Authority, AuthorityError, BudgetSettings, Budgets, CountGuard, Counts, Incarnation,
    MemoryAuthority, SeedStatement, Seeded, Statement,
};
use crate::limit::{Axis, BudgetId, CountKind, CountLimits, CountRefusal, CountSubject};

const NONE: CountLimits = CountLimits { rpm: None, max_concurrent: None, stamp: 1 };

/// An authority that all nodes can reach, or none; it can have nodes give back what they do not use.
struct Reached {
    memory: MemoryAuthority,
    away: AtomicBool,
    nodes: Mutex<Vec<Arc<Budgets>>>,
    time: Time,
}

#[async_trait]
impl Authority for Reached {
    async fn exchange(&self, budget: BudgetId, statement: &Statement) -> Result<Answer, AuthorityError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(AuthorityError::Away("away".to_owned()));
        }
        Ok(self.memory.exchange_now(budget, statement))
    }

    async fn seed(&self, budget: BudgetId, seed: &SeedStatement) -> Result<Seeded, AuthorityError> {
        Ok(self.memory.seed_now(budget, seed))
    }

    async fn close(&self, inc: Incarnation, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.memory.close_now(inc, budgets);
        Ok(())
    }

    async fn count_anew(&self, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.memory.count_anew(budgets).await
    }

    async fn recall(&self, budget: BudgetId) -> bool {
        let nodes = self.nodes.lock().clone();
        for node in nodes {
            node.policies_changed(&[budget]);
            node.tick(self.time.now()).await;
        }
        true
    }

    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError> {
        Ok(self.memory.audit_now(budget))
    }
}

struct Cluster {
    time: Time,
    authority: Arc<Reached>,
    nodes: [Counts; 3],
}

impl Cluster {
    fn new() -> Self {
        let time = Time::at(NOON - NOON % 1_000);
        let memory = MemoryAuthority::new(time.clock(), 0);
        let authority =
            Arc::new(Reached { memory, away: AtomicBool::new(false), nodes: Mutex::default(), time: time.clone() });
        let nodes = [1, 2, 3].map(|inc| {
            let authority = Arc::<Reached>::clone(&authority);
            Counts::shared(inc, authority, Arc::new(|| vec![1, 2, 3]), BudgetSettings::default(), time.clock())
        });
        *authority.nodes.lock() = nodes.iter().map(|node| Arc::clone(node.leases().unwrap())).collect();
        Self { time, authority, nodes }
    }

    async fn admit(&self, node: usize, subject: &CountSubject) -> Result<CountGuard, CountRefusal> {
        let mut guard = self.nodes[node].admit(subject, self.time.now()).await?;
        guard.decide();
        Ok(guard)
    }

    /// Admitted by a node, and over.
    async fn pass_through(&self, node: usize, subject: &CountSubject) -> Result<(), CountRefusal> {
        self.admit(node, subject).await.map(drop)
    }

    /// The nodes do what is due.
    async fn tick(&self) {
        for node in &self.nodes {
            node.leases().unwrap().tick(self.time.now()).await;
        }
    }

    /// As long as a refusal is remembered.
    async fn moment(&self) {
        self.time.pass(10);
        self.tick().await;
    }

    async fn pass(&self, ms: i64) {
        for _ in 0..ms / 500 {
            self.time.pass(500);
            self.tick().await;
        }
    }
}

fn rpm(limit: u32) -> CountLimits {
    CountLimits { rpm: Some(limit), ..NONE }
}

fn at_once(limit: u32) -> CountLimits {
    CountLimits { max_concurrent: Some(limit), ..NONE }
}

fn of_user(user: CountLimits) -> CountSubject {
    CountSubject { key_id: 1, key: NONE, user_id: 1, user }
}

#[tokio::test]
async fn three_nodes_together_admit_the_limit_and_not_one_more() {
    for limit in [1, 2, 5, 60, 1_000] {
        for limits in [rpm(limit), at_once(limit)] {
            let cluster = Cluster::new();
            let subject = of_user(limits);
            let mut guards = Vec::new();
            for n in 0..limit as usize {
                let guard = cluster.admit(n % 3, &subject).await;
                guards.push(guard.unwrap_or_else(|refusal| panic!("{n} of {limits:?}: {refusal}")));
            }
            for node in 0..3 {
                let refusal = cluster.admit(node, &subject).await.unwrap_err();
                assert_eq!((refusal.axis, refusal.limit, refusal.current), (Axis::User, limit, limit), "{limits:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_place_that_one_node_frees_is_free_for_the_others_at_once() {
    let cluster = Cluster::new();
    let subject = of_user(at_once(1));
    for n in 0..100 {
        let guard = cluster.admit(n % 3, &subject).await.unwrap_or_else(|refusal| panic!("{n}: {refusal}"));
        let refusal = cluster.admit((n + 1) % 3, &subject).await.unwrap_err();
        assert_eq!((refusal.kind, refusal.retry_after), (CountKind::Concurrency, 1));
        cluster.time.pass(10);
        drop(guard);
        // The same node need not wait for anything; the others for its driver, which was woken.
        if n % 2 == 0 {
            cluster.pass_through(n % 3, &subject).await.unwrap();
        }
        cluster.tick().await;
    }
}

#[tokio::test]
async fn a_minute_ends_on_all_nodes_with_the_second_that_clients_were_told() {
    let cluster = Cluster::new();
    let subject = of_user(rpm(2));
    cluster.pass_through(0, &subject).await.unwrap();
    cluster.pass(20_000).await;
    cluster.pass_through(1, &subject).await.unwrap();
    cluster.pass(1_500).await;
    for node in 0..3 {
        let refusal = cluster.admit(node, &subject).await.unwrap_err();
        assert_eq!((refusal.kind, refusal.current, refusal.retry_after), (CountKind::Rpm, 2, 39), "{node}");
    }
    cluster.time.pass(38_499);
    assert_eq!(cluster.admit(2, &subject).await.unwrap_err().retry_after, 1);
    cluster.time.pass(1);
    cluster.pass_through(2, &subject).await.unwrap();
    assert_eq!(cluster.admit(0, &subject).await.unwrap_err().retry_after, 20);
}

#[tokio::test]
async fn a_request_that_is_refused_after_all_counts_for_nothing() {
    let cluster = Cluster::new();
    let subject = of_user(CountLimits { rpm: Some(1), max_concurrent: Some(1), stamp: 1 });
    for node in [0, 1, 2, 0] {
        let guard = cluster.nodes[node].admit(&subject, cluster.time.now()).await.unwrap();
        // Until it is decided it has its place in the minute.
        assert!(cluster.admit((node + 1) % 3, &subject).await.is_err());
        guard.take_back();
        cluster.moment().await;
    }
    cluster.pass_through(1, &subject).await.unwrap();
    cluster.tick().await;
    assert_eq!(cluster.admit(2, &subject).await.unwrap_err().kind, CountKind::Rpm);
}

#[tokio::test]
async fn all_limits_of_key_and_user_are_taken_or_none() {
    let cluster = Cluster::new();
    let both = |key_id, limits| CountSubject { key_id, key: limits, user_id: 1, user: at_once(1) };
    let held = cluster.admit(0, &of_user(at_once(1))).await.unwrap();
    for node in 0..3 {
        assert_eq!(cluster.admit(node, &both(2, rpm(1))).await.unwrap_err().axis, Axis::User);
        assert_eq!(cluster.admit(node, &both(3, at_once(1))).await.unwrap_err().axis, Axis::User);
        cluster.moment().await;
    }
    drop(held);
    cluster.moment().await;
    cluster.pass_through(1, &both(2, rpm(1))).await.unwrap();
    cluster.moment().await;
    let held = cluster.admit(2, &both(3, at_once(1))).await.unwrap();
    // Both are in the way now.
    let refusal = cluster.admit(0, &both(2, rpm(1))).await.unwrap_err();
    assert_eq!((refusal.axis, refusal.kind), (Axis::Key, CountKind::Rpm));
    drop(held);
}

#[tokio::test]
async fn without_limits_nobody_is_asked() {
    let cluster = Cluster::new();
    cluster.authority.away.store(true, Ordering::SeqCst);
    let guard = cluster.admit(0, &of_user(NONE)).await.unwrap();
    assert_eq!(cluster.nodes[0].leases().unwrap().known(), 0);
    drop(guard);
}

#[tokio::test]
async fn each_node_counts_alone_while_nobody_can_be_asked_and_all_is_known_afterwards() {
    for limits in [rpm(2), at_once(2)] {
        let cluster = Cluster::new();
        let subject = of_user(limits);
        let mut guards = vec![cluster.admit(0, &subject).await.unwrap()];
        cluster.tick().await;
        cluster.authority.away.store(true, Ordering::SeqCst);
        for node in [0, 1, 1, 2, 2] {
            guards.push(cluster.admit(node, &subject).await.unwrap_or_else(|refusal| panic!("{node}: {refusal}")));
        }
        for node in 0..3 {
            assert_eq!(cluster.admit(node, &subject).await.unwrap_err().current, 2, "its own");
        }
        cluster.authority.away.store(false, Ordering::SeqCst);
        cluster.pass(2_000).await;
        let audit = cluster.authority.memory.audit_now(count_of_user(1, kind(limits))).unwrap();
        let held: i64 = audit.holders.iter().map(|holder| holder.reserved.nanos()).sum();
        assert_eq!(held + audit.windows[0].spent.nanos(), 6, "{limits:?}");
        drop(guards);
        cluster.pass(60_000).await;
        let again = [cluster.admit(0, &subject).await, cluster.admit(1, &subject).await];
        assert!(again.iter().all(Result::is_ok), "{again:?}");
    }
}

#[tokio::test]
async fn a_dead_nodes_place_comes_back_and_a_silent_streams_stays() {
    let cluster = Cluster::new();
    let subject = of_user(at_once(1));
    let stream = cluster.admit(0, &subject).await.unwrap();
    // The node that serves it has nothing else to say.
    cluster.pass(120_000).await;
    assert!(cluster.admit(1, &subject).await.is_err());
    // It dies.
    std::mem::forget(stream);
    cluster.time.pass(30_000);
    let own = cluster.nodes[1].admit(&subject, cluster.time.now()).await;
    assert!(own.is_ok(), "{own:?}");
}

#[tokio::test]
async fn a_limit_that_is_changed_holds_from_the_next_request_on_and_keeps_what_was_counted() {
    let cluster = Cluster::new();
    let with = |limit, stamp| of_user(CountLimits { rpm: Some(limit), max_concurrent: None, stamp });
    for node in 0..3 {
        cluster.pass_through(node, &with(3, 1)).await.unwrap();
    }
    cluster.tick().await;
    cluster.pass_through(0, &with(5, 2)).await.unwrap();
    // A node that has not heard of it goes by the later limit all the same.
    cluster.pass_through(1, &with(3, 1)).await.unwrap();
    assert_eq!(cluster.admit(2, &with(5, 2)).await.unwrap_err().current, 5);
    let refusal = cluster.admit(1, &with(4, 3)).await.unwrap_err();
    assert_eq!((refusal.limit, refusal.current), (4, 5));
}

fn kind(limits: CountLimits) -> CountKind {
    if limits.rpm.is_some() { CountKind::Rpm } else { CountKind::Concurrency }
}
