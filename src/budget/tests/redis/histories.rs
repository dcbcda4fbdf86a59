//! Random histories, told to the authority in memory and the one in Redis: every answer is the same.

use std::sync::Arc;

use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::Owned;
use crate::budget::account::MINUTE;
use crate::budget::tests::world::*;
use crate::budget::{
    Audit, Authority, Incarnation, Item, MemoryAuthority, Position, Seed, SeedStatement, Statement, Terms, WindowSeed,
    terms,
};
use crate::limit::{BudgetId, CapStep, CountKind, Mode, Policy, Scope, Window};
use crate::money::Usd;

const HISTORIES: u64 = 96;
const STEPS: usize = 120;
const NODES: [Incarnation; 4] = [1, 2, 3, 40];

/// Where doubles, scripts and texts of numbers go wrong.
const AMOUNTS: [i64; 9] =
    [0, 1, 7, 1_000_000_000, 99_999_999_999_999, 100_000_000_000_000, 9_000_000_000_000_000, (1 << 53) - 1, i64::MAX];

struct History {
    rng: StdRng,
    /// Amounts from a nano-dollar to more than anybody has; else such that caps can pay many of them.
    wild: bool,
    time: Time,
    budget: BudgetId,
    zone: TimeZone,
    policies: Vec<Arc<Policy>>,
    seqs: [u64; NODES.len()],
    /// What each node thinks that the authority has counted.
    places: [Position; NODES.len()],
}

impl History {
    fn new(number: u64, time: &Time) -> Self {
        let mut rng = StdRng::seed_from_u64(number);
        let wild = number % 4 == 3;
        let owner = i64::try_from(number).unwrap() + 1;
        let (budget, policies) = match number % 6 {
            0 => (count_of_user(owner, CountKind::Rpm), counts(CountKind::Rpm)),
            1 => (count_of_user(owner, CountKind::Concurrency), counts(CountKind::Concurrency)),
            2 => (provider(owner), (0..4).map(|_| money(&mut rng, 0, wild)).collect()),
            _ => (user(owner), (1..5).map(|version| money(&mut rng, version, wild)).collect()),
        };
        let zone = TimeZone::get(["UTC", "Europe/Berlin", "America/New_York"].choose(&mut rng).unwrap()).unwrap();
        Self { rng, wild, time: time.clone(), budget, zone, policies, seqs: [0; 4], places: [Position::Start; 4] }
    }

    fn amount(&mut self) -> Usd {
        if !self.wild {
            return Usd::from_nanos(self.rng.random_range(0..60_000_000));
        }
        match self.rng.random_range(0..4) {
            0 => Usd::from_nanos(*AMOUNTS.choose(&mut self.rng).unwrap()),
            1 => Usd::from_nanos(self.rng.random_range(0..20)),
            _ => Usd::from_nanos(self.rng.random_range(0..3_000_000_000)),
        }
    }

    fn small(&mut self) -> Usd {
        if matches!(self.budget.scope, Scope::Count(_)) || self.rng.random_ratio(1, 3) {
            Usd::from_nanos(self.rng.random_range(0..6))
        } else {
            self.amount()
        }
    }

    fn terms(&mut self) -> Arc<Terms> {
        let policy = Arc::clone(self.policies.choose(&mut self.rng).unwrap());
        let now = self.time.now() + if self.rng.random_ratio(1, 8) { self.rng.random_range(-86_400_000..0) } else { 0 };
        Arc::new(terms::of(policy, &self.zone, now))
    }

    fn minute(&mut self) -> i64 {
        let ago = match self.rng.random_range(0..4) {
            0 => self.rng.random_range(-8_000..MINUTE * 600),
            1 => self.rng.random_range(-8_000..MINUTE * 60 * 30),
            _ => self.rng.random_range(-1_000..MINUTE),
        };
        let slot = if self.rng.random_ratio(1, 2) { 1_000 } else { MINUTE };
        (self.time.now() - ago).div_euclid(slot) * slot
    }

    fn statement(&mut self) -> (usize, Statement) {
        let at = self.rng.random_range(0..NODES.len());
        if !self.rng.random_ratio(1, 15) {
            self.seqs[at] += 1;
        }
        let items = (0..self.rng.random_range(0..4))
            .map(|_| Item { minute: self.minute(), era: self.rng.random_range(0..3), amount: self.small() })
            .collect::<Vec<_>>();
        let from = if self.rng.random_ratio(1, 10) { Position::At(99) } else { self.places[at] };
        let to = match from {
            Position::At(count) => count + items.len() as u64,
            _ => items.len() as u64,
        };
        let need_min = if self.rng.random_ratio(1, 2) { self.small() } else { Usd::ZERO };
        let said = Statement {
            inc: NODES[at],
            seq: self.seqs[at],
            sent: self.time.now() - if self.rng.random_ratio(1, 12) { 2_500 } else { 10 },
            from,
            to,
            items,
            reserved: self.small(),
            kept: self.small(),
            written: self.rng.random_range(0..3),
            unwritten: self.small(),
            need_min,
            need_sum: need_min + if need_min > Usd::ZERO { self.small() } else { Usd::ZERO },
            slice: self.small(),
            slice_min: Usd::from_nanos(self.rng.random_range(0..3)),
            ends_after: if self.rng.random_ratio(1, 2) { i64::MAX } else { 30_000 },
            last: self.rng.random_ratio(1, 15),
            report: self.rng.random_ratio(1, 3),
            terms: self.terms(),
        };
        // Redis is told no more than it can count.
        let exact = |amount: Usd| amount.min(crate::budget::account::EXACT);
        let said = Statement {
            reserved: exact(said.reserved),
            kept: exact(said.kept),
            unwritten: exact(said.unwritten),
            need_min: exact(said.need_min),
            need_sum: exact(said.need_sum),
            slice: exact(said.slice),
            items: said.items.iter().map(|item| Item { amount: exact(item.amount), ..*item }).collect(),
            ..said
        };
        (at, said)
    }

    fn seed(&mut self) -> SeedStatement {
        let terms = self.terms();
        let windows = terms.policy.windows.iter().map(|policy| {
            let mut minutes: Vec<_> = (0..self.rng.random_range(0..12))
                .map(|_| (self.minute(), self.rng.random_range(0..90_000_000)))
                .collect();
            minutes.sort_unstable();
            let minutes: Vec<_> = minutes.into_iter().map(|(minute, nanos)| (minute, Usd::from_nanos(nanos))).collect();
            WindowSeed { window: policy.window, sum: minutes.iter().map(|(_, amount)| *amount).sum(), minutes }
        });
        let windows: Vec<_> = windows.collect();
        let first_charge_start = self.rng.random_ratio(1, 2).then(|| self.minute().div_euclid(MINUTE) * MINUTE);
        let listed = NODES.into_iter().filter(|_| !self.rng.random_ratio(1, 5)).collect::<Vec<_>>();
        let marks = listed.into_iter().map(|inc| (inc, self.rng.random_range(1..8))).collect();
        let late = if self.rng.random_ratio(1, 10) { 6_000 } else { 100 };
        SeedStatement {
            seed: Seed { query_started: self.time.now() - late, windows, first_charge_start, marks },
            terms,
        }
    }
}

fn counts(kind: CountKind) -> Vec<Arc<Policy>> {
    (1..5).map(|version| count_policy(kind, version, [1, 5, 40, 1_000][version as usize - 1])).collect()
}

/// Some windows in some mode, with caps from a nano-dollar to the most there may be, and boosts.
fn money(rng: &mut StdRng, version: i64, wild: bool) -> Arc<Policy> {
    let mut windows = Vec::new();
    for window in Window::ALL {
        if rng.random_ratio(1, 3) && !(window == Window::Monthly && windows.is_empty()) {
            continue;
        }
        let mode = match window {
            Window::FiveHours if rng.random_ratio(1, 2) => Mode::FromFirstCharge,
            Window::Daily if rng.random_ratio(1, 2) => Mode::Rolling,
            Window::Daily => Mode::Calendar { at: rng.random_range(0..1_440) },
            window => mode(window),
        };
        let base = match rng.random_range(0..3) {
            _ if !wild => Usd::from_nanos(rng.random_range(1_000_000_000..20_000_000_000)),
            0 => Usd::from_nanos(rng.random_range(1..20)),
            1 => Usd::from_nanos(9_000_000_000_000_000),
            _ => Usd::from_nanos(rng.random_range(1..9_000_000_000)),
        };
        let mut policy = cap(window, mode, base);
        policy.since_era = rng.random_range(0..2);
        if rng.random_ratio(1, 2) {
            let from = NOON + rng.random_range(0..7_200_000);
            policy.caps.push(CapStep { from, cap: base + usd("0.5") });
            policy.caps.push(CapStep { from: from + 600_000, cap: base });
        }
        windows.push(policy);
    }
    policy(version, windows)
}

/// Nodes come in any order.
fn in_order(mut audit: Option<Audit>) -> Option<Audit> {
    if let Some(audit) = &mut audit {
        audit.holders.sort_by_key(|holder| holder.inc);
    }
    audit
}

/// From where on two answers differ.
fn difference(memory: &str, redis: &str) -> String {
    let common = memory.bytes().zip(redis.bytes()).take_while(|(one, other)| one == other).count();
    let part = |text: &str| text.chars().skip(common.saturating_sub(160)).take(400).collect::<String>();
    format!("\nmemory ...{}\nRedis  ...{}", part(memory), part(redis))
}

#[tokio::test]
async fn memory_and_redis_give_the_same_answers() {
    let time = Time::at(NOON);
    let redis = Owned::start(&time, false).await;
    let mut connection = super::connection(&redis.server).await;
    let (mut granted, mut resent, mut seeded) = (0, 0, 0);
    for number in 0..HISTORIES {
        let mut history = History::new(number, &time);
        // Both were born at the same time; every other time just now, and all nodes have to join.
        let age = if number.is_multiple_of(2) { super::AGE } else { 0 };
        super::born(&mut connection, time.now() - age).await;
        let memory = MemoryAuthority::new(time.clock(), super::DEAD_AFTER - age);
        let budget = history.budget;
        let mut told: Vec<String> = Vec::new();
        for step in 0..STEPS {
            let (one, other) = match history.rng.random_range(0..20) {
                0 | 1 => {
                    let seed = history.seed();
                    told.push(format!("{seed:?}"));
                    seeded += 1;
                    (
                        format!("{:?}", memory.seed(budget, &seed).await.unwrap()),
                        format!("{:?}", redis.seed(budget, &seed).await.unwrap()),
                    )
                }
                2 => {
                    let inc = *NODES.choose(&mut history.rng).unwrap();
                    told.push(format!("close {inc}"));
                    memory.close(inc, &[budget]).await.unwrap();
                    redis.close(inc, &[budget]).await.unwrap();
                    Default::default()
                }
                3 if history.rng.random_ratio(1, 3) => {
                    told.push("count anew".to_owned());
                    memory.count_anew(&[budget]).await.unwrap();
                    redis.count_anew(&[budget]).await.unwrap();
                    Default::default()
                }
                3 => {
                    let ms = match history.rng.random_range(0..4) {
                        0 => history.rng.random_range(0..100_000_000),
                        1 => history.rng.random_range(0..2_000_000),
                        _ => history.rng.random_range(0..40_000),
                    };
                    told.push(format!("{ms} ms"));
                    time.pass(ms);
                    Default::default()
                }
                _ => {
                    time.pass(history.rng.random_range(0..300));
                    let (at, said) = history.statement();
                    told.push(format!("{said:?}"));
                    let one = memory.exchange(budget, &said).await.unwrap();
                    let other = redis.exchange(budget, &said).await.unwrap();
                    match &one {
                        crate::budget::Answer::Ok(taken) => {
                            history.places[at] = Position::At(said.to);
                            granted += u32::from(taken.granted > Usd::ZERO);
                        }
                        crate::budget::Answer::Resend(place) => {
                            history.places[at] = *place;
                            resent += 1;
                        }
                        _ => {}
                    }
                    (format!("{one:?}"), format!("{other:?}"))
                }
            };
            let last = || told.iter().rev().take(4).rev().cloned().collect::<Vec<_>>().join("\n");
            let place = format!("history {number}, step {step}, {budget:?}");
            assert!(one == other, "{place}: {}\nafter\n{}", difference(&one, &other), last());
            let one = format!("{:?}", in_order(memory.audit(budget).await.unwrap()));
            let other = format!("{:?}", in_order(redis.audit(budget).await.unwrap()));
            assert!(one == other, "{place}, audit: {}\nafter\n{}", difference(&one, &other), last());
        }
    }
    #[allow(clippy::print_stdout, reason = "how much the histories say is part of the result")]
    {
        println!("{HISTORIES} histories of {STEPS} steps: {granted} grants, {resent} resent, {seeded} seeds");
    }
    assert!(granted > 500 && resent > 100, "the histories say something: {granted} grants, {resent} resent");
}
