//! Nodes whose wall clocks differ by seconds, while a day ends, five hours begin and a boost runs out.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use entity::usage_rollup_minute;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};

use crate::harness::{Cluster, MODEL, OTHER_MODEL, PATIENCE, Plan, knows};
use crate::net::Proxy;
use crate::servers::faketime::ahead_by;
use crate::servers::redis::Redis;
use crate::support::admin::Caller;
use crate::support::books::{database, nanos};
use crate::support::capped::{self, Whose, limited};
use crate::support::gateway::run;
use crate::support::{Gateway, eventually};
use crate::traffic::{Asked, Order, Traffic, tally};

/// How far ahead the clock of each node is when it starts, in milliseconds. It goes by Redis' once it has asked: the first
/// two at once, and the last one not before a budget is asked for, because Redis does not answer it when it starts.
const AHEAD: [i64; 3] = [-3_000, 0, 3_000];

const DAY: i64 = 86_400_000;

/// All of a day, in nano-dollars.
const CAP: i64 = 1_000_000_000;

/// What is kept beyond a cap that falls is given back within this time.
const GIVEN_BACK: i64 = 1_000;

/// Nodes and a Redis that all believe that midnight is near; for them it is the same instant of the machine's clock.
struct Night {
    cluster: Cluster,
    _redis: Redis,
    _way: Proxy,
    /// What the others add to the machine's clock.
    shift: i64,
    /// By their clocks.
    midnight: i64,
}

fn machine_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

impl Night {
    /// Midnight is in so many milliseconds.
    async fn start(until: i64) -> Self {
        let now = machine_ms();
        let midnight = (now / DAY + 1) * DAY;
        let shift = midnight - until - now;
        let redis = Redis::start_in(&[], &ahead_by(shift));
        let way = Proxy::to(redis.port(), PATIENCE, 1).await;
        way.close(true);
        let plan = Plan::over(vec![redis.url(), redis.url(), way.url()]);
        let cluster = plan.clocks(&AHEAD.map(|ahead| shift + ahead)).start().await;
        way.close(false);
        Self { cluster, _redis: redis, _way: way, shift, midnight }
    }

    /// Their time.
    fn now(&self) -> i64 {
        machine_ms() + self.shift
    }

    /// Waits until so many milliseconds after midnight, or before.
    async fn at(&self, after: i64) {
        let wait = self.midnight + after - self.now();
        tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or_default())).await;
    }

    /// What a caller's rows add up to before midnight and after it.
    async fn days(&self, caller: &Caller) -> [(usize, i64); 2] {
        let rows = self.cluster.books.rows(caller).await;
        [false, true].map(|after| {
            let of_day = rows.iter().filter(|row| (row.settled_at >= self.midnight) == after).map(|row| row.cost_nanos);
            (of_day.clone().count(), of_day.sum())
        })
    }

    /// The same by the sums that the database keeps.
    async fn rolled_up(&self, caller: &Caller) -> [i64; 2] {
        let db = database(&self.cluster.nodes[0]).await;
        let of_user = usage_rollup_minute::Column::UserId.eq(caller.user_id);
        let sums = usage_rollup_minute::Entity::find().filter(of_user).all(&db).await.unwrap();
        [false, true].map(|after| {
            let of_day = sums.iter().filter(|sum| (sum.minute * 60_000 >= self.midnight) == after);
            of_day.map(|sum| sum.cost_nanos).sum()
        })
    }

    /// Waits until every node counts in these windows what the rows say; the rows of both days.
    async fn agrees(&self, caller: &Caller, rows: usize, windows: &[&str]) -> [(usize, i64); 2] {
        let days = eventually("all rows are written", async || {
            let days = self.days(caller).await;
            (days[0].0 + days[1].0 == rows).then_some(days)
        })
        .await;
        for node in &self.cluster.nodes {
            for window in windows {
                let expected = if *window == "daily" { days[1].1 } else { days[0].1 + days[1].1 };
                eventually(&format!("{window} counts {expected}"), async || {
                    let found = node.admin().window("user", caller.user_id, &json!("mainline"), window).await;
                    (nanos(&found["usedUsd"]) == expected && nanos(&found["reservedUsd"]) == 0).then_some(())
                })
                .await;
            }
        }
        assert_eq!(self.rolled_up(caller).await, days.map(|(_, sum)| sum));
        days
    }

    fn audit(&self) {
        let (node, clock) = (&self.cluster.nodes[0], ahead_by(self.shift));
        let clock: Vec<_> = clock.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let file = node.folder().join("tollgate.yaml");
        let said = run(&["audit", "-c", file.to_str().unwrap()], &clock, node.folder());
        assert!(
            said.status.success(),
            "{}{}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        );
    }
}

/// Those with these limits, whom every node knows; nobody has asked for their budgets yet.
async fn caller(night: &Night, limits: Value) -> Caller {
    let caller = night.cluster.admin().caller(json!({"limits": limits}), json!({})).await;
    for node in &night.cluster.nodes {
        knows(node, &caller).await;
    }
    caller
}

/// Who was served, and when: began and ended, in milliseconds after midnight.
fn served(asked: &[Asked], midnight_at: Instant) -> Vec<(i64, i64)> {
    let after = |at: Instant| {
        let late = at.saturating_duration_since(midnight_at).as_millis() as i64;
        late - midnight_at.saturating_duration_since(at).as_millis() as i64
    };
    let served = asked.iter().filter(|asked| matches!(asked.end, Some((200, _))));
    served.map(|asked| (after(asked.began), after(asked.began + asked.took))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_clocks_differ_by_seconds_share_a_cap() {
    let redis = Redis::start();
    let cluster = Plan::new(3, &redis.url()).clocks(&AHEAD).start().await;
    let caller = cluster.limited(Whose::User, "total", 1.0).await;
    for node in &cluster.nodes {
        knows(node, &caller).await;
    }
    let passed = capped::ask(&cluster.all(), &caller, MODEL, Some(1_000), 60).await;
    let sums = cluster.balance(&caller).await;
    println!("{passed} passed: {sums:?}");
    assert!((CAP * 9 / 10..=CAP).contains(&sums.nanos), "{sums:?}");
    assert_eq!(sums.rows, passed);
    cluster.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_clocks_that_differ_by_seconds_count_each_day_for_itself_and_keep_its_cap() {
    let mut until = 14_000;
    let night = loop {
        let night = Night::start(until).await;
        if night.now() < night.midnight - 6_000 {
            break night;
        }
        // It took too long to start them all.
        until *= 2;
        assert!(until < 100_000, "this machine is too busy");
    };
    let cluster = &night.cluster;
    // One whose day is used up when the next one begins, and one whose is not.
    let a_day = json!({"daily": {"usd": 1}, "total": {"usd": 1_000}});
    let [poor, fresh] = [caller(&night, a_day.clone()).await, caller(&night, a_day).await];
    let rolling = json!({"usd": 1_000, "reset": "rolling"});
    let rich = caller(&night, json!({"daily": {"usd": 1_000}, "5h": rolling, "total": {"usd": 1_000}})).await;
    let first = caller(&night, json!({"5h": {"usd": 1_000, "reset": "fixed"}})).await;
    let boosted = limited(cluster.admin(), Whose::UserForGroup, "total", cluster.group, 0.5).await;
    let boost_ends = 3_500;
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap().to_string();
    let boost = json!({"userId": boosted.user_id, "modelGroupId": cluster.group, "window": "total", "usd": 1_000,
        "startsAt": time(night.midnight - DAY), "expiresAt": time(night.midnight + boost_ends), "reason": "a fair"});
    cluster.admin().post("/quota-boosts", &boost).await;
    for node in &cluster.nodes {
        knows(node, &boosted).await;
    }
    println!("all is ready {} ms before midnight", night.midnight - night.now());
    assert!(night.now() < night.midnight - 3_600, "this machine is too busy");

    let pace = Order { pause: Duration::from_millis(15), ..Order::default() };
    let begin = |nodes: &[&Gateway], caller: &Caller, model| {
        Traffic::start(nodes, std::slice::from_ref(caller), 3, Order { model, ..pace })
    };
    // The one ahead is told of the time when it first asks: from then on it goes slower.
    night.at(-3_600).await;
    let midnight_at = Instant::now() + Duration::from_millis((night.midnight - night.now()).unsigned_abs());
    let early = [&poor, &rich].map(|caller| begin(&cluster.but(2), caller, OTHER_MODEL));
    assert_eq!(capped::ask(&cluster.but(2), &fresh, OTHER_MODEL, Some(1_000), 16).await, 16);
    night.at(-2_200).await;
    // For that one it is the next day.
    for node in cluster.nodes.iter().rev() {
        node.spends(&first, OTHER_MODEL, 50).await;
    }
    let firsts_took = night.now() - night.midnight;
    let ahead = [&poor, &rich].map(|caller| begin(&[&cluster.nodes[2]], caller, OTHER_MODEL));
    let late = [begin(&cluster.all(), &fresh, OTHER_MODEL), begin(&cluster.all(), &boosted, MODEL)];
    night.at(boost_ends + 2 * GIVEN_BACK).await;
    let (mut of_poor, mut of_rich) = (Vec::new(), Vec::new());
    for [poor, rich] in [early, ahead] {
        of_poor.extend(poor.stop().await);
        of_rich.extend(rich.stop().await);
    }
    let [of_fresh, of_boosted] = late;
    let [of_fresh, of_boosted] = [of_fresh.stop().await, of_boosted.stop().await];

    let [before, after] = night.agrees(&poor, tally(&of_poor).passed, &["daily", "total"]).await;
    println!("poor: {:?}; {before:?} before midnight, {after:?} after it", tally(&of_poor));
    for (_, sum) in [before, after] {
        assert!(sum <= CAP, "{before:?}, {after:?}");
        assert!(sum >= CAP * 9 / 10, "{before:?}, {after:?}");
    }

    let [before, after] = night.agrees(&fresh, 16 + tally(&of_fresh).passed, &["daily", "total"]).await;
    println!("fresh: {:?}; {before:?} before midnight, {after:?} after it", tally(&of_fresh));
    // A clock ahead may begin the next day when most of this one is spent; nobody spends of it for this one.
    assert!(before.1 <= CAP && after.1 <= CAP, "{before:?}, {after:?}");
    assert!(after.1 >= CAP * 9 / 10, "{before:?}, {after:?}");

    let [before, after] = night.agrees(&rich, tally(&of_rich).passed, &["daily", "5h", "total"]).await;
    let in_time = served(&of_rich, midnight_at).iter().filter(|(_, ended)| *ended < 0).count();
    println!("rich: {:?}; {before:?} before midnight, when {in_time} were served; {after:?} after it", tally(&of_rich));
    assert!(before.0 > 5 && after.0 > 5, "both days");
    assert!(in_time > before.0, "one clock was ahead: {in_time} were served before midnight");

    let days = night.agrees(&first, 3, &["5h"]).await;
    let window = cluster.admin().window("user", first.user_id, &json!("mainline"), "5h").await;
    println!(
        "first: {days:?}, which took until {firsts_took} ms after midnight; the five hours began at {}",
        window["startsAt"]
    );
    assert!(days[0].0 >= 1 && days[1].0 >= 1, "they are on both sides of midnight: {days:?}");
    let start: jiff::Timestamp = window["startsAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(start.as_millisecond(), night.midnight - 60_000, "with the earlier one");

    let boosted_sums = cluster.balance(&boosted).await;
    let late = served(&of_boosted, midnight_at);
    let last = late.iter().map(|(began, _)| *began).max().unwrap() - boost_ends;
    println!(
        "boosted: {:?}, {boosted_sums:?}; the last one began {last} ms after the end of the boost",
        tally(&of_boosted)
    );
    assert!(boosted_sums.nanos > 1_000_000_000, "the boost was used");
    assert!(last <= GIVEN_BACK, "{last} ms after the end of the boost");
    assert!(tally(&of_boosted).refused > 0);
    assert!(cluster.metric("budget_drift_usd").await.abs() < f64::EPSILON, "at no moment was a sum wrong");
    night.audit();
}
