//! Redis dies under load, or falls silent, and comes back: `open` lets everybody through, `closed` nobody who would have to
//! be paid for, nobody waits for long to learn it, and afterwards nothing is counted twice and nothing is blocked.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Cluster, MODEL, OTHER_MODEL, Plan};
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::capped::{self, Whose};
use crate::support::{eventually, scale, spending};
use crate::traffic::{Asked, Order, Times, Traffic, once, tally};

/// How Redis goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its connections are reset.
    Dies,
    /// It says nothing any more.
    FallsSilent,
}

/// How long a node waits for an answer: as long as it does when nothing is said about it.
const PATIENCE: Duration = Duration::from_millis(50);

/// A request at the moment of death may take so much longer than nearly all others do.
const ADDED_AT_DEATH: Duration = Duration::from_millis(100);

/// From then on nothing is added but what cannot be told from chance.
const KNOWN_AFTER: Duration = Duration::from_secs(1);
const CHANCE: Duration = Duration::from_millis(10);

/// Slow enough for a machine that does other things.
const PACE: Order = Order { model: MODEL, max_tokens: 1_000, pause: Duration::from_millis(40) };

/// So many ask for themselves, and as many of those who have no cap: what slows down both is not the death of Redis.
const CLIENTS: usize = 6;

/// A node of which every request has to ask Redis about budgets that are not a model group's.
fn asking(redis: &Redis) -> Plan {
    let crumbs = json!({"fraction": 0.000_001, "min": 0.000_001});
    let slices = json!({"fraction": 0.05, "min": 0.001});
    Plan::new(3, &redis.url()).patience(PATIENCE).budgets("lease", crumbs).budgets("model_group_lease", slices)
}

/// One death: when, and when it was over.
struct Away {
    gone: Instant,
    back: Instant,
}

/// What was asked by those who have budgets, and by those who have none.
struct Found {
    capped: Vec<Asked>,
    free: Vec<Asked>,
}

fn between(asked: &[Asked], from: Instant, to: Instant) -> Vec<&Asked> {
    asked.iter().filter(|asked| (from..to).contains(&asked.began)).collect()
}

/// Whether who has a budget waits no longer than who has none.
fn nothing_is_added(capped: Times, free: Times) -> bool {
    [(capped.p50, free.p50), (capped.p99, free.p99)].iter().all(|&(capped, free)| capped <= free * 3 / 2 + CHANCE)
}

impl Found {
    /// Compares them around each death. What is wrong shows most times, and what others do to the machine some times.
    fn judge(&self, deaths: &[Away]) {
        let quick = deaths.iter().filter(|death| {
            let at_once = self.is_quick_at(death);
            self.is_quick_after(death) && at_once
        });
        let quick = quick.count();
        assert!(quick * 2 > deaths.len(), "budgets slowed requests down at all but {quick} of {} deaths", deaths.len());
    }

    /// Around the moment of death.
    fn is_quick_at(&self, Away { gone, .. }: &Away) -> bool {
        let [capped, free] =
            [&self.capped, &self.free].map(|asked| between(asked, *gone - ADDED_AT_DEATH, *gone + KNOWN_AFTER));
        // What comes after the wait is as slow as all that the machine does at that moment.
        let usual = Times::of(free.iter().copied()).p99;
        let late = |asked: &[&Asked]| asked.iter().filter(|asked| asked.took > usual + ADDED_AT_DEATH).count();
        let (found, anyway) = (late(&capped), late(&free));
        println!("at death {found} late of {:?}\n others {anyway} late of {:?}", Times::of(capped), Times::of(free));
        found <= 2 * anyway + 1
    }

    /// When everybody knows.
    fn is_quick_after(&self, Away { gone, back }: &Away) -> bool {
        let [capped, free] =
            [&self.capped, &self.free].map(|asked| Times::of(between(asked, *gone + KNOWN_AFTER, *back)));
        println!("away     {capped:?}\n  others {free:?}");
        nothing_is_added(capped, free)
    }
}

/// Lets Redis go away several times while everybody asks, and whoever has never asked before as well.
async fn deaths(redis: &mut Redis, cluster: &Cluster, callers: &[Caller], end: End) -> (Found, Vec<Away>) {
    let free = cluster.admin().caller(json!({}), json!({})).await;
    let capped = Traffic::start(&cluster.all(), callers, CLIENTS / callers.len(), PACE);
    let free = Traffic::start(&cluster.all(), std::slice::from_ref(&free), CLIENTS, PACE);
    let (mut deaths, mut first) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..scale(3, 20) {
        let mut strangers = [Vec::new(), Vec::new()];
        for _ in 0..CLIENTS {
            strangers[0].push(capped::limited(cluster.admin(), Whose::User, "total", cluster.group, 1_000.0).await);
            strangers[1].push(cluster.admin().caller(json!({}), json!({})).await);
        }
        capped.passes(40).await;
        let gone = Instant::now();
        match end {
            End::Dies => redis.stop(),
            End::FallsSilent => redis.pause(),
        }
        let asking = strangers.each_ref().map(|strangers| {
            let nodes = cluster.nodes.iter().cycle();
            futures::future::join_all(strangers.iter().zip(nodes).map(|(stranger, node)| once(node, stranger, PACE)))
        });
        for (first, asked) in first.iter_mut().zip(futures::future::join_all(asking).await) {
            first.extend(asked);
        }
        tokio::time::sleep(Duration::from_secs(scale(3, 10) as u64).saturating_sub(gone.elapsed())).await;
        deaths.push(Away { gone, back: Instant::now() });
        match end {
            End::Dies => redis.restart(),
            End::FallsSilent => redis.resume(),
        }
        capped.passes(40).await;
    }
    let [mut with, mut without] = first;
    with.extend(capped.stop().await);
    without.extend(free.stop().await);
    (Found { capped: with, free: without }, deaths)
}

/// Somebody with a budget that asks every time, somebody else with another, and one whose budget is leased by the slice.
async fn callers(cluster: &Cluster) -> [Caller; 3] {
    [
        cluster.limited(Whose::User, "total", 1_000.0).await,
        cluster.limited(Whose::Key, "daily", 1_000.0).await,
        cluster.limited(Whose::UserForGroup, "5h", 1_000.0).await,
    ]
}

/// Nothing is counted twice, nothing is lost, and nothing stays blocked.
async fn all_is_well(cluster: &Cluster, callers: &[Caller]) -> usize {
    let mut rows = 0;
    for caller in callers {
        rows += cluster.balance(caller).await.rows;
    }
    cluster.audit();
    nothing_stays_blocked(cluster, callers).await;
    rows
}

async fn nothing_stays_blocked(cluster: &Cluster, callers: &[Caller]) {
    for caller in callers {
        let after = Traffic::start(&cluster.all(), std::slice::from_ref(caller), CLIENTS, PACE);
        after.passes(30).await;
        after.stop().await;
    }
}

async fn open_lets_through(end: End) {
    let mut redis = Redis::start();
    let cluster = asking(&redis).budgets("on_authority_failure", "open").start().await;
    cluster.provider.decide(spending::answer);
    let callers = callers(&cluster).await;
    let (found, deaths) = deaths(&mut redis, &cluster, &callers, end).await;
    let ended = tally(&found.capped);
    println!("{end:?}: {ended:?}; unenforced {}", cluster.metric("unenforced_violations_total").await);
    assert_eq!(ended.passed, found.capped.len(), "no request fails: {ended:?}");
    found.judge(&deaths);
    let strangers = deaths.len() * CLIENTS;
    assert_eq!(all_is_well(&cluster, &callers).await, ended.passed - strangers);
}

async fn closed_refuses(end: End) {
    let mut redis = Redis::start();
    let cluster = asking(&redis).start().await;
    cluster.provider.decide(spending::answer);
    // Whoever has a lease in hand is another story.
    let callers = &callers(&cluster).await[..2];
    let (found, deaths) = deaths(&mut redis, &cluster, callers, end).await;
    let ended = tally(&found.capped);
    println!("{end:?}: {ended:?}");
    for Away { gone, back } in &deaths {
        let refused = between(&found.capped, *gone + KNOWN_AFTER, *back);
        assert!(!refused.is_empty());
        assert!(refused.iter().all(|asked| matches!(asked.end, Some((503, _)))), "nobody can be asked: {refused:?}");
    }
    assert_eq!((ended.refused, ended.lost), (0, 0), "{ended:?}");
    found.judge(&deaths);
    assert_eq!(all_is_well(&cluster, callers).await, ended.passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_dies_under_load_and_open_lets_every_request_through_without_delay() {
    open_lets_through(End::Dies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_falls_silent_under_load_and_open_lets_every_request_through_without_delay() {
    open_lets_through(End::FallsSilent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_dies_under_load_and_closed_refuses_without_delay() {
    closed_refuses(End::Dies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_redis_falls_silent_under_load_and_closed_refuses_without_delay() {
    closed_refuses(End::FallsSilent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_closed_spends_what_is_held_then_refuses_at_once_and_goes_on_when_redis_is_back() {
    let mut redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).patience(PATIENCE).start().await;
    let callers = [
        // Small enough for what a node holds to be spent in a moment, and never all of it.
        cluster.limited(Whose::User, "total", 40.0).await,
        cluster.limited(Whose::UserGroupForGroup, "daily", 40.0).await,
    ];
    let free = cluster.admin().caller(json!({}), json!({})).await;
    for node in cluster.all() {
        assert_eq!(node.spend(&free, OTHER_MODEL, 50).await.head.status, 200);
    }
    cluster.provider.decide(spending::answer);
    let traffic = Traffic::start(&cluster.all(), &callers, 3, PACE);
    let others = Traffic::start(&cluster.all(), std::slice::from_ref(&free), 6, PACE);
    traffic.passes(30).await;
    redis.stop();
    let gone = Instant::now();
    // What is held is spent first.
    let mut own = 0;
    for node in cluster.all() {
        for caller in &callers {
            eventually("the lease is spent", async || {
                let reply = node.spend(caller, MODEL, 50).await;
                own += usize::from(reply.head.status == 200);
                (reply.head.status == 503).then_some(())
            })
            .await;
        }
    }
    let spent_after = gone.elapsed();
    tokio::time::sleep(KNOWN_AFTER.saturating_sub(gone.elapsed())).await;
    let from = Instant::now();
    traffic.advances(200).await;
    for node in cluster.all() {
        let reply = node.spend(&free, OTHER_MODEL, 50).await;
        assert_eq!(reply.head.status, 200, "whoever has no budget needs no authority");
    }
    let to = Instant::now();
    redis.restart();
    let restarted = Instant::now();
    traffic.passes(60).await;
    let asked = traffic.stop().await;
    let ended = tally(&asked);
    let refused = between(&asked, from, to);
    let times = Times::of(refused.iter().copied());
    let free = Times::of(between(&others.stop().await, from, to));
    let first = asked.iter().find(|asked| asked.began > restarted && asked.passed()).unwrap();
    println!(
        "leases were spent after {spent_after:?}; refusals {times:?}, others {free:?}; {ended:?}; the first \
         passed {:?} after the return",
        first.began - restarted
    );
    assert!(refused.iter().all(|asked| matches!(&asked.end, Some((503, _)))), "{:?}", tally(refused));
    assert!(nothing_is_added(times, free), "{times:?}, and {free:?} without a budget");
    let mut rows = 0;
    for caller in &callers {
        rows += cluster.balance(caller).await.rows;
    }
    assert_eq!((rows, ended.lost), (own + ended.passed, 0), "{ended:?}");
    let held = asked.iter().filter(|asked| (gone..from).contains(&asked.began) && asked.passed()).count();
    assert!(own + held > 0, "nothing was held, so this is about nothing");
    nothing_stays_blocked(&cluster, &callers).await;
    cluster.audit();
}
