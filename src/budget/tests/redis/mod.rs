//! The authority in a real Redis: the suite of all authorities, and that it answers what the one in memory answers.

#[path = "../../../../tests/support/ports.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod ports;
#[path = "../../../../tests/support/process.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod process;
#[path = "../../../../tests/support/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod server;

mod crowd;
mod figures;
mod histories;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::suite::{self, Fresh};
use super::world::*;
use crate::budget::{
    Answer, Asker, Audit, Authority, AuthorityError, Events, Incarnation, Living, RedisAuthority, SeedStatement,
    Seeded, Statement,
};
use crate::limit::BudgetId;
use server::Redis;

/// Generous: the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(5);
const DEAD_AFTER: i64 = 30_000;
/// Of an authority that nobody has to join any more.
const AGE: i64 = 3_600_000;
/// What it tells its knowledge from that of others by.
const BIRTH: i64 = NOON - AGE + DEAD_AFTER;

/// A Redis of its own for each authority, which goes by the test's time.
pub struct OnRedis;

/// An authority, with the server that it lives in.
pub struct Owned {
    pub server: Redis,
    pub authority: Arc<RedisAuthority>,
    pub events: Events,
}

impl Owned {
    pub async fn start(time: &Time, settles: bool) -> Self {
        let server = Redis::start();
        if !settles {
            born(&mut connection(&server).await, NOON - AGE).await;
        }
        let (authority, events) = authority(&server, time, 1);
        Self { server, authority, events }
    }
}

pub fn authority(server: &Redis, time: &Time, inc: Incarnation) -> (Arc<RedisAuthority>, Events) {
    RedisAuthority::with_clock(&server.url(), TIMEOUT, asker(inc), Some(time.clock())).unwrap()
}

/// A node that knows of itself and of [`suite::A`] and [`suite::B`] that they live.
pub fn asker(inc: Incarnation) -> Asker {
    let living: Living = Arc::new(move || vec![inc, suite::A, suite::B]);
    Asker { inc, living, dead_after: Box::new(|| DEAD_AFTER), heard: Box::new(|_, _| {}) }
}

pub async fn connection(server: &Redis) -> ::redis::aio::MultiplexedConnection {
    ::redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// As if Redis had been empty at this instant.
async fn born(connection: &mut ::redis::aio::MultiplexedConnection, at: i64) {
    let mut pipe = ::redis::pipe();
    for partition in 0..64 {
        pipe.set(format!("{{tg:{partition}}}:gen"), at).ignore();
    }
    pipe.query_async::<()>(connection).await.unwrap();
}

impl Fresh for OnRedis {
    type Authority = Owned;

    async fn fresh(&self, time: &Time, settles: bool) -> Owned {
        Owned::start(time, settles).await
    }
}

#[async_trait]
impl Authority for Owned {
    async fn exchange(&self, budget: BudgetId, statement: &Statement) -> Result<Answer, AuthorityError> {
        self.authority.exchange(budget, statement).await
    }

    async fn seed(&self, budget: BudgetId, seed: &SeedStatement) -> Result<Seeded, AuthorityError> {
        self.authority.seed(budget, seed).await
    }

    async fn close(&self, inc: Incarnation, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.authority.close(inc, budgets).await
    }

    async fn count_anew(&self, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.authority.count_anew(budgets).await
    }

    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError> {
        self.authority.audit(budget).await
    }
}
