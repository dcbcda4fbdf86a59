//! The authority of several nodes: one hash per budget in Redis, and one script on one key for whatever is said about it.
//!
//! What a script does is what [`super::account`] does in memory; Redis' clock is the one that counts.

mod link;
mod messages;
mod partition;
mod registry;
mod script;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use redis::Value;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Clock;
use super::authority::{Authority, AuthorityError};
use super::counts::Living;
use super::protocol::{Answer, Audit, Incarnation, SeedStatement, Seeded, Statement};
use crate::limit::BudgetId;
use crate::money::Usd;

use link::{Answered, Link};
use messages::Message;
use partition::{PARTITIONS, Partition};
use registry::Registry;
use script::{ANEW, AUDIT, CLOSE, EXCHANGE, GAP, PARTITION, SEED};
use wire::{Arguments, Reply};

/// How often it is asked whether somebody answers again.
const PROBE: Duration = Duration::from_millis(100);

/// Keys that are asked for at once.
const AT_ONCE: usize = 16;

/// Those that are asked to give something back have so long at most.
const RECALL: Duration = Duration::from_millis(50);

/// Round trips until what was given back can be had: the message, the statements, and time to make them.
const ROUND_TRIPS: u32 = 3;

/// Why Redis gave no answer, or cannot be used.
#[derive(Debug, Error)]
pub enum RedisError {
    /// The URL makes no sense.
    #[error("the Redis URL cannot be used: {0}")]
    Url(String),
    /// No answer in time; the command may have been run.
    #[error("no answer in time")]
    Late,
    /// Nobody answers.
    #[error("{0}")]
    Away(String),
    /// What was answered makes no sense.
    #[error("{0} in Redis makes no sense; do other programs use this Redis, or another version of Tollgate?")]
    Garbled(&'static str),
    /// What is kept of a budget makes no sense.
    #[error("a key in Redis cannot be read ({0}); do other programs use this Redis, or another version of Tollgate?")]
    Unreadable(String),
    /// It may throw away what nodes hold.
    #[error(
        "its maxmemory-policy is {0}, so it may throw budgets away when its memory is full, and caps would not hold: \
         set maxmemory-policy to noeviction"
    )]
    Evicts(String),
}

impl From<RedisError> for AuthorityError {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Late => Self::Late,
            RedisError::Garbled(_) | RedisError::Unreadable(_) => Self::Garbled(error.to_string()),
            other => Self::Away(other.to_string()),
        }
    }
}

/// What a node has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants back what is not used of this budget.
    Recalled(BudgetId),
    /// Nothing is granted of this budget until this node has said what it holds.
    Joins(BudgetId),
    /// What was known of these budgets may be gone: whatever this node holds of them is to be stated again.
    Flushed(PartitionOf),
    /// Redis is back.
    Returned,
}

/// Tells whether a budget is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOf(Partition);

impl PartitionOf {
    /// Whether it is.
    #[must_use]
    pub fn holds(self, budget: BudgetId) -> bool {
        Partition::of(budget) == self.0
    }
}

/// Called with the authority's time whenever it is heard, and how long the answer took.
pub type OnTime = Box<dyn Fn(i64, Duration) + Send + Sync>;

/// The node that asks.
pub struct Asker {
    /// Its life.
    pub inc: Incarnation,
    /// The lives that go on, as far as it knows.
    pub living: Living,
    /// After so long (milliseconds) a node that has not said what it holds is not waited for.
    pub dead_after: Box<dyn Fn() -> i64 + Send + Sync>,
    /// What it learns of the time.
    pub heard: OnTime,
}

/// The authority of several nodes.
pub struct RedisAuthority {
    link: Link,
    asker: Asker,
    url: String,
    registry: Registry,
    /// Since when each partition was not flushed, as far as is known.
    births: [AtomicI64; PARTITIONS],
    events: mpsc::UnboundedSender<Event>,
    /// Instead of Redis' own, for tests.
    clock: Option<Clock>,
}

/// What [`RedisAuthority::run`] tells.
pub type Events = mpsc::UnboundedReceiver<Event>;

impl RedisAuthority {
    /// For this node. Does not connect yet.
    ///
    /// # Errors
    ///
    /// [`RedisError::Url`].
    pub fn new(url: &str, timeout: Duration, asker: Asker) -> Result<(Arc<Self>, Events), RedisError> {
        Self::with_clock(url, timeout, asker, None)
    }

    pub(super) fn with_clock(
        url: &str,
        timeout: Duration,
        asker: Asker,
        clock: Option<Clock>,
    ) -> Result<(Arc<Self>, Events), RedisError> {
        let (events, told) = mpsc::unbounded_channel();
        let authority = Self {
            link: Link::new(url, timeout)?,
            asker,
            url: url.to_owned(),
            registry: Registry::default(),
            births: [const { AtomicI64::new(0) }; PARTITIONS],
            events,
            clock,
        };
        Ok((Arc::new(authority), told))
    }

    /// Whether this Redis can be used, and what time it is there.
    ///
    /// # Errors
    ///
    /// [`RedisError::Evicts`], or that it does not answer.
    pub async fn check(&self) -> Result<(), RedisError> {
        self.link.check_eviction().await?;
        let answered = self.link.command(Partition::at(0), &redis::cmd("TIME")).await?;
        let took = answered.took;
        let (seconds, micros): (i64, i64) =
            redis::from_redis_value(answered.value).map_err(|_| RedisError::Garbled("the time"))?;
        (self.asker.heard)(seconds.saturating_mul(1_000).saturating_add(micros / 1_000), took);
        Ok(())
    }

    /// Listens to the other nodes, looks whether Redis was flushed, and whether it is back, until it is stopped.
    pub async fn run(self: Arc<Self>, look_every: Duration, stop: CancellationToken) {
        let work = async { tokio::join!(self.watch(look_every), self.come_back(), Box::pin(self.listen())) };
        stop.run_until_cancelled(work).await;
    }

    /// Whatever is forgotten while nobody speaks of it is noticed before anybody takes it for idle.
    async fn watch(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let used = stream::iter(self.registry.partitions());
            used.for_each_concurrent(AT_ONCE, |partition| async move {
                // One that does not answer is asked by whoever needs it.
                let _ = self.birth(partition).await;
            })
            .await;
        }
    }

    async fn come_back(&self) {
        loop {
            self.link.tripped.notified().await;
            let mut said = false;
            loop {
                let away = self.link.away();
                if away.is_empty() {
                    break;
                }
                for partition in away {
                    match self.link.probe(partition).await {
                        Ok(()) => {
                            tracing::info!("Redis is back");
                            self.tell(Event::Returned);
                        }
                        Err(error @ RedisError::Evicts(_)) if !said => {
                            said = true;
                            tracing::error!(%error, "this Redis is not used");
                        }
                        Err(_) => {}
                    }
                }
                tokio::time::sleep(PROBE).await;
            }
        }
    }

    async fn listen(&self) {
        messages::listen(&self.url, |heard| match heard {
            Some(Message { inc, .. }) if inc == self.asker.inc => {}
            Some(Message { kind: messages::Kind::Recall, budget, .. }) => self.tell(Event::Recalled(budget)),
            Some(Message { kind: messages::Kind::Join, budget, .. }) => self.tell(Event::Joins(budget)),
            // Messages may have been missed: whoever waits for one waits in vain, and asks again.
            None => {}
        })
        .await;
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more when the process ends.
        let _ = self.events.send(event);
    }

    /// Since when a partition was not flushed, and what time it is there.
    async fn birth(&self, partition: Partition) -> Result<(i64, i64), RedisError> {
        let arguments = self.arguments();
        let answered = self.link.run(&PARTITION, partition, &partition.birth_key(), &arguments).await?;
        let took = answered.took;
        let mut reply = reply(answered)?.ok_or(RedisError::Garbled("a partition"))?;
        let (born, now) = (reply.number()?, reply.number()?);
        (self.asker.heard)(now, took);
        let known = self.births[partition.index()].swap(born, Ordering::Relaxed);
        if known != 0 && known != born {
            tracing::warn!(partition = partition.index(), "Redis has forgotten budgets; they are read from the ledger");
            self.registry.forget_all(partition);
            self.tell(Event::Flushed(PartitionOf(partition)));
        }
        Ok((born, now))
    }

    /// Before anything can be held of a budget it is noted who may hold it.
    async fn register(&self, partition: Partition, budget: BudgetId) -> Result<(), RedisError> {
        if self.registry.knows(budget) {
            return Ok(());
        }
        // Later it is told by this whether the partition was flushed.
        if self.births[partition.index()].load(Ordering::Relaxed) == 0 {
            self.birth(partition).await?;
        }
        self.note(partition, self.asker.inc, budget).await?;
        self.registry.add(budget);
        Ok(())
    }

    /// Notes that a node may hold something of a budget.
    async fn note(&self, partition: Partition, inc: Incarnation, budget: BudgetId) -> Result<(), RedisError> {
        let add = redis::cmd("SADD").arg(partition.holdings_key(inc)).arg(wire::name(budget)).to_owned();
        self.link.command(partition, &add).await.map(drop)
    }

    async fn deregister(&self, partition: Partition, inc: Incarnation, budget: BudgetId) -> Result<(), RedisError> {
        let key = partition.holdings_key(inc);
        let remove = redis::cmd("SREM").arg(key).arg(wire::name(budget)).to_owned();
        self.link.command(partition, &remove).await.map(drop)
    }

    async fn state(&self, budget: BudgetId, said: &Statement) -> Result<Answer, RedisError> {
        let partition = Partition::of(budget);
        self.register(partition, budget).await?;
        let mut arguments = self.arguments();
        arguments.statement(said);
        let answered = self.link.run(&EXCHANGE, partition, &partition.budget_key(budget), &arguments).await?;
        let took = answered.took;
        let reply = reply(answered)?.ok_or(RedisError::Garbled("an answer"))?;
        let (answer, now) = wire::answer(reply)?;
        (self.asker.heard)(now, took);
        match &answer {
            Answer::Seed => self.registry.forget(budget),
            Answer::Ok(taken) if said.last && said.reserved == Usd::ZERO && taken.kept == Usd::ZERO => {
                self.registry.forget(budget);
                self.deregister(partition, self.asker.inc, budget).await?;
            }
            _ => {}
        }
        Ok(answer)
    }

    async fn count_from(&self, budget: BudgetId, said: &SeedStatement) -> Result<Seeded, RedisError> {
        let partition = Partition::of(budget);
        let key = partition.budget_key(budget);
        // A flush after this takes the mark away, and one before it shows in the birth of the partition.
        let gap = match self.link.run(&GAP, partition, &key, &Arguments::default()).await?.value {
            Value::BulkString(gap) => gap,
            _ => Vec::new(),
        };
        let (born, now) = self.birth(partition).await?;
        let dead_after = (self.asker.dead_after)();
        let mut arguments = self.arguments();
        if arguments.seed(born, dead_after, &gap, said).is_none() {
            return Ok(Seeded::Refused);
        }
        // What was noted may have been flushed, and what a node spent while it could not ask was never noted. The living
        // note it themselves; those that have died cannot, and their journals may not be in the database yet.
        let is_flushed = !gap.is_empty() && now < born.saturating_add(dead_after);
        let living = (self.asker.living)();
        for &(inc, _) in said.seed.marks.iter().filter(|(inc, _)| *inc != self.asker.inc) {
            if is_flushed || !living.contains(&inc) {
                self.note(partition, inc, budget).await?;
            }
        }
        let answered = self.link.run(&SEED, partition, &key, &arguments).await?;
        let reply = reply(answered)?.ok_or(RedisError::Garbled("an answer"))?;
        let (seeded, missing) = wire::seeded(reply)?;
        if missing > 0 {
            self.publish(messages::Kind::Join, budget).await?;
        }
        Ok(seeded)
    }

    async fn publish(&self, kind: messages::Kind, budget: BudgetId) -> Result<(), RedisError> {
        let message = Message { inc: self.asker.inc, kind, budget };
        let publish = redis::cmd("PUBLISH").arg(messages::CHANNEL).arg(message.to_string()).to_owned();
        self.link.command(Partition::of(budget), &publish).await.map(drop)
    }

    async fn close_one(&self, inc: Incarnation, budget: BudgetId) -> Result<(), RedisError> {
        let partition = Partition::of(budget);
        let mut arguments = Arguments::default();
        arguments.number(inc);
        self.link.run(&CLOSE, partition, &partition.budget_key(budget), &arguments).await?;
        self.deregister(partition, inc, budget).await
    }

    async fn count_one_anew(&self, budget: BudgetId) -> Result<(), RedisError> {
        let partition = Partition::of(budget);
        self.link.run(&ANEW, partition, &partition.budget_key(budget), &Arguments::default()).await.map(drop)
    }

    async fn held_in(&self, partition: Partition, inc: Incarnation) -> Result<Vec<BudgetId>, RedisError> {
        let members = redis::cmd("SMEMBERS").arg(partition.holdings_key(inc)).to_owned();
        let names: Vec<String> = redis::from_redis_value(self.link.command(partition, &members).await?.value)
            .map_err(|_| RedisError::Garbled("a list of budgets"))?;
        Ok(names.iter().filter_map(|name| wire::budget(name)).collect())
    }

    fn arguments(&self) -> Arguments {
        Arguments::at(self.clock.as_ref().map(|clock| clock()))
    }
}

fn reply(answered: Answered) -> Result<Option<Reply>, RedisError> {
    Reply::of(answered.value)
}

#[async_trait]
impl Authority for RedisAuthority {
    async fn exchange(&self, budget: BudgetId, statement: &Statement) -> Result<Answer, AuthorityError> {
        Ok(self.state(budget, statement).await?)
    }

    async fn seed(&self, budget: BudgetId, seed: &SeedStatement) -> Result<Seeded, AuthorityError> {
        Ok(self.count_from(budget, seed).await?)
    }

    async fn close(&self, inc: Incarnation, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        let closing = stream::iter(budgets.to_vec()).map(|budget| self.close_one(inc, budget));
        // One that cannot be closed does not keep the others open.
        let closed: Vec<_> = closing.buffer_unordered(AT_ONCE).collect().await;
        Ok(closed.into_iter().collect::<Result<(), _>>()?)
    }

    async fn count_anew(&self, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        let counting = stream::iter(budgets.to_vec()).map(|budget| self.count_one_anew(budget));
        Ok(counting.buffer_unordered(AT_ONCE).try_collect::<()>().await?)
    }

    async fn recall(&self, budget: BudgetId) -> bool {
        if self.publish(messages::Kind::Recall, budget).await.is_err() {
            return false;
        }
        tokio::time::sleep((self.link.round_trip() * ROUND_TRIPS).clamp(RECALL / 10, RECALL)).await;
        true
    }

    fn is_away(&self, budget: BudgetId) -> bool {
        self.link.is_away(Partition::of(budget))
    }

    async fn held_by(&self, inc: Incarnation) -> Result<Vec<BudgetId>, AuthorityError> {
        let asking = stream::iter(Partition::all()).map(|partition| self.held_in(partition, inc));
        Ok(asking.buffer_unordered(AT_ONCE).try_concat().await?)
    }

    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError> {
        let partition = Partition::of(budget);
        let key = partition.budget_key(budget);
        let answered = self.link.run(&AUDIT, partition, &key, &Arguments::default()).await?;
        Ok(reply(answered)?.map(wire::audit).transpose()?)
    }
}
