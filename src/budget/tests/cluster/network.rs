//! The way to the authority: it loses, delays and doubles what is said and answered, and nodes that pause hear late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::books::Books;
use super::{DEAD_AFTER, Faults, START};
use crate::budget::{
    Answer, Audit, Authority, AuthorityError, Budgets, Incarnation, Lsn, MemoryAuthority, Seed, SeedError, SeedQuery,
    SeedStatement, Seeded, Seeds, Statement,
};
use crate::limit::BudgetId;
use crate::money::Usd;

/// No answer after so long is none.
const TIMEOUT: Duration = Duration::from_millis(300);

/// All that several nodes share.
pub struct Net {
    pub books: Books,
    pub faults: Faults,
    pub calm: AtomicBool,
    rng: Mutex<StdRng>,
    began: Instant,
    authority: Mutex<Arc<MemoryAuthority>>,
    wrong: Mutex<Option<String>>,
    /// Those who hear when somebody wants back what they do not use.
    pub listening: Mutex<Vec<(Incarnation, Arc<Budgets>)>>,
    heard_of: Mutex<std::collections::BTreeMap<Incarnation, i64>>,
}

impl Net {
    pub fn new(seed: u64, faults: Faults) -> Arc<Self> {
        let began = Instant::now();
        let authority = Arc::new(MemoryAuthority::with_rules(clock(began), 0, faults.rules));
        Arc::new(Self {
            books: Books::default(),
            faults,
            calm: AtomicBool::new(false),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            began,
            authority: Mutex::new(authority),
            wrong: Mutex::new(None),
            listening: Mutex::new(Vec::new()),
            heard_of: Mutex::default(),
        })
    }

    pub fn clock(&self) -> crate::budget::Clock {
        clock(self.began)
    }

    pub fn now(&self) -> i64 {
        self.clock()()
    }

    pub fn draw<T: rand::distr::uniform::SampleUniform>(&self, range: impl rand::distr::uniform::SampleRange<T>) -> T {
        self.rng.lock().random_range(range)
    }

    pub fn happens(&self, of: u32) -> bool {
        let happens = self.rng.lock().random_ratio(1, of);
        happens && !self.calm.load(Ordering::SeqCst)
    }

    /// What must not be is told at the next step.
    pub fn must(&self, result: Result<(), String>) {
        if let Err(wrong) = result {
            self.wrong.lock().get_or_insert(wrong);
        }
    }

    pub fn wrong(&self) -> Result<(), String> {
        self.wrong.lock().take().map_or(Ok(()), Err)
    }

    pub fn authority(&self) -> Arc<MemoryAuthority> {
        Arc::clone(&self.authority.lock())
    }

    pub fn flush(&self) {
        let empty = MemoryAuthority::with_rules(self.clock(), DEAD_AFTER, self.faults.rules);
        *self.authority.lock() = Arc::new(empty);
    }

    /// What no rule allows: what nobody has spoken of for so long ends.
    pub fn expire(&self, budgets: &[BudgetId]) {
        let Some(life) = self.faults.expiry.filter(|_| !self.calm.load(Ordering::SeqCst)) else { return };
        let (now, authority) = (self.now(), self.authority());
        for &budget in budgets {
            let Some(mut account) = authority.copy_of(budget) else { continue };
            for (&inc, _) in self.heard_of.lock().iter().filter(|(_, at)| now - **at > life) {
                account.expire(inc);
            }
            authority.put(budget, account);
        }
    }

    fn exchange(&self, budget: BudgetId, said: &Statement) -> Answer {
        let authority = self.authority();
        let answer = authority.exchange_now(budget, said);
        self.heard_of.lock().insert(said.inc, self.now());
        if let (Answer::Ok(_) | Answer::Resend(_), Some(audit)) = (&answer, authority.audit_now(budget)) {
            let settled = matches!(&answer, Answer::Ok(taken) if !taken.settling && !taken.unknown);
            self.books.heard(budget, &said.terms.policy, settled.then_some(&audit), self.now());
            // A seed may count what a node has not told yet and still holds; nothing is granted for that.
            let granted = matches!(&answer, Answer::Ok(taken) if taken.granted > Usd::ZERO);
            if granted && !self.faults.overruns {
                self.must(self.books.check_grant(budget, &audit));
            }
            let negative = |held: &&crate::budget::Holding| held.reserved.min(held.kept).min(held.pending) < Usd::ZERO;
            if let Some(holding) = audit.holders.iter().find(negative) {
                self.must(Err(format!("{budget:?}: {holding:?}")));
            }
        }
        answer
    }

    fn seed(&self, budget: BudgetId, said: &SeedStatement) -> Seeded {
        let seeded = self.authority().seed_now(budget, said);
        if seeded == Seeded::Taken {
            self.books.heard(budget, &said.terms.policy, None, self.now());
        }
        seeded
    }

    /// How long a message is under way; none when it is lost.
    fn way(&self) -> Option<u64> {
        if self.calm.load(Ordering::SeqCst) {
            return Some(1);
        }
        if self.happens(20) {
            return None;
        }
        let longest = if self.happens(15) { 3_000 } else { 20 };
        Some(self.draw(1..longest))
    }
}

fn clock(began: Instant) -> crate::budget::Clock {
    Arc::new(move || START + i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX))
}

/// One node's way to the authority.
pub struct FaultyAuthority {
    pub net: Arc<Net>,
    pub inc: Incarnation,
    pub paused_until: AtomicI64,
}

impl FaultyAuthority {
    pub async fn awake(&self) {
        let left = self.paused_until.load(Ordering::SeqCst) - self.net.now();
        if let Ok(left) = u64::try_from(left) {
            sleep(Duration::from_millis(left)).await;
        }
    }

    /// Some of them may not hear it.
    fn tell_others(&self, budget: BudgetId) {
        for (inc, budgets) in self.net.listening.lock().iter() {
            if *inc != self.inc && !self.net.happens(10) {
                budgets.policies_changed(&[budget]);
            }
        }
    }

    /// Whether it arrives is not for the one to know who waits for the answer, nor whether it arrives again.
    async fn send<T: Send + 'static>(
        &self,
        arrive: impl Fn(&Net) -> T + Send + Sync + 'static,
    ) -> Result<T, AuthorityError> {
        self.awake().await;
        let arrive = Arc::new(arrive);
        let (back, answer) = oneshot::channel();
        let copies = 1 + u32::from(self.net.happens(20));
        let ways: Vec<_> = (0..copies).filter_map(|_| self.net.way()).collect();
        let mut back = Some(back);
        for there in ways {
            let (net, arrive, back) = (Arc::clone(&self.net), Arc::clone(&arrive), back.take());
            tokio::spawn(async move {
                sleep(Duration::from_millis(there)).await;
                let answer = arrive(&net);
                if let (Some(back), Some(way)) = (back, net.way()) {
                    sleep(Duration::from_millis(way)).await;
                    let _ = back.send(answer);
                }
            });
        }
        let lost = || AuthorityError::Away("no answer".into());
        let answered = timeout(TIMEOUT, async {
            match answer.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        });
        let answered = answered.await.map_err(|_| lost());
        self.awake().await;
        answered
    }
}

#[async_trait]
impl Authority for FaultyAuthority {
    async fn exchange(&self, budget: BudgetId, statement: &Statement) -> Result<Answer, AuthorityError> {
        let statement = statement.clone();
        self.send(move |net| net.exchange(budget, &statement)).await
    }

    async fn seed(&self, budget: BudgetId, seed: &SeedStatement) -> Result<Seeded, AuthorityError> {
        let seed = seed.clone();
        let seeded = self.send(move |net| net.seed(budget, &seed)).await?;
        // As over Redis: what somebody told before it is in doubt until he speaks again.
        let pending = |audit: Audit| audit.holders.iter().any(|holder| holder.pending != Usd::ZERO);
        if seeded == Seeded::Taken && self.net.authority().audit_now(budget).is_some_and(pending) {
            self.tell_others(budget);
        }
        Ok(seeded)
    }

    async fn close(&self, inc: Incarnation, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.net.authority().close(inc, budgets).await
    }

    async fn count_anew(&self, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.net.authority().count_anew(budgets).await
    }

    async fn recall(&self, budget: BudgetId) -> bool {
        self.tell_others(budget);
        sleep(Duration::from_millis(50)).await;
        true
    }

    fn sweep(&self, turn: usize, now: i64) {
        self.net.authority().sweep(turn, now);
    }

    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError> {
        self.net.authority().audit(budget).await
    }
}

/// One node's journal and the database.
pub struct NodeSeeds {
    pub net: Arc<Net>,
    pub inc: Incarnation,
}

#[async_trait]
impl Seeds for NodeSeeds {
    fn now_lsn(&self) -> Lsn {
        self.net.books.end(self.inc)
    }

    fn written_lsn(&self) -> Lsn {
        self.net.books.written(self.inc)
    }

    async fn barrier(&self, lsn: Lsn) -> Result<(), SeedError> {
        sleep(Duration::from_millis(self.net.draw(1..20))).await;
        self.net.books.write(self.inc, lsn);
        Ok(())
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, SeedError> {
        let seed = self.net.books.seed(query, self.net.now());
        sleep(Duration::from_millis(self.net.draw(1..50))).await;
        Ok(seed)
    }

    fn first_charge_started(&self, budget: BudgetId, start: i64) {
        self.net.books.started(budget, start);
    }
}
