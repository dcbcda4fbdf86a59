//! A failover sets aside what the next attempt needs before it gives back what the last one had, however long the
//! authority takes to answer.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::world::*;
use crate::budget::{
    Answer, Audit, Authority, AuthorityError, Budgets, Incarnation, MemoryAuthority, Plan, Reservation, ReserveError,
    SeedStatement, Seeded, Statement,
};
use crate::limit::{Axis, BudgetId, Policy, Window};
use crate::money::Usd;

/// It answers about one budget only when told to.
struct Slow {
    inner: Arc<MemoryAuthority>,
    about: BudgetId,
    asked: Notify,
    told: Semaphore,
}

#[async_trait]
impl Authority for Slow {
    async fn exchange(&self, budget: BudgetId, statement: &Statement) -> Result<Answer, AuthorityError> {
        if budget == self.about {
            self.asked.notify_one();
            let _told = self.told.acquire().await.map_err(|error| AuthorityError::Away(error.to_string()))?;
        }
        self.inner.exchange(budget, statement).await
    }

    async fn seed(&self, budget: BudgetId, seed: &SeedStatement) -> Result<Seeded, AuthorityError> {
        self.inner.seed(budget, seed).await
    }

    async fn close(&self, inc: Incarnation, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.inner.close(inc, budgets).await
    }

    async fn count_anew(&self, budgets: &[BudgetId]) -> Result<(), AuthorityError> {
        self.inner.count_anew(budgets).await
    }

    async fn audit(&self, budget: BudgetId) -> Result<Option<Audit>, AuthorityError> {
        self.inner.audit(budget).await
    }
}

fn old() -> BudgetId {
    group(Axis::User, 1, 5)
}

fn new() -> BudgetId {
    group(Axis::User, 1, 6)
}

/// A request admitted to the last of the old budget, a plan that the new one pays for, and an authority that is silent
/// about the new one.
struct Failover {
    world: World,
    slow: Arc<Slow>,
    capped: Arc<Policy>,
    from: Plan,
    to: Plan,
    reservation: Reservation,
}

impl Failover {
    /// So much of the new budget is spent.
    async fn new(spent: Usd) -> Self {
        let mut world = World::new(worst_case());
        let capped = only(Window::Daily, usd("1"));
        let with = |id| {
            let mut plan = uncapped();
            plan.user.group = Some((id, Arc::clone(&capped)));
            // Both attempts have the key's budget in common.
            plan.key.mainline.1 = Some(Arc::clone(&capped));
            plan
        };
        let (from, to) = (with(old()), with(new()));
        world.ledger.had_before(new(), NOON, spent);
        let (asked, told) = (Notify::new(), Semaphore::new(0));
        let slow = Arc::new(Slow { inner: Arc::clone(&world.authority), about: new(), asked, told });
        let authority = Arc::<Slow>::clone(&slow);
        let ledger = Arc::<PretendLedger>::clone(&world.ledger);
        world.budgets = Budgets::new(NODE, authority, ledger, worst_case(), world.time.clock());
        let reservation = world.budgets.reserve(&from, usd("1"), NOON).await.unwrap();
        Self { world, slow, capped, from, to, reservation }
    }

    /// What running requests have set aside.
    async fn reserved(&self, budget: BudgetId) -> Usd {
        reserved(&self.world, budget, &self.capped).await
    }

    /// As if nobody had ever wanted to move it.
    async fn check_as_before(self) {
        assert_eq!(self.reservation.reserved(Axis::User), usd("1"));
        assert_eq!(self.reservation.reserved(Axis::Key), usd("1"));
        assert_eq!((self.reserved(old()).await, self.reserved(new()).await), (usd("1"), Usd::ZERO));
        self.world.settle(&self.reservation, &self.from, usd("0.9"));
        self.world.jump(6_000).await;
        assert_eq!((self.world.held(old()), self.world.held(new()), self.world.held(key(1))), Default::default());
        let spent = |budget| self.world.authority.audit_now(budget).map(|audit| audit.windows[0].spent);
        assert_eq!((spent(old()), spent(key(1))), (Some(usd("0.9")), Some(usd("0.9"))));
        assert_eq!(spent(new()), Some(self.world.ledger.spent(new())));
    }
}

async fn reserved(world: &World, budget: BudgetId, capped: &Arc<Policy>) -> Usd {
    world.budgets.state(budget, capped, world.time.now()).await.unwrap().windows[0].reserved
}

/// Goes on until the authority has been asked, and says nothing.
async fn until_asked<T: std::fmt::Debug>(slow: &Slow, moving: Pin<&mut impl Future<Output = T>>) {
    tokio::select! {
        biased;
        moved = moving => panic!("it did not ask: {moved:?}"),
        () = slow.asked.notified() => {}
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_failover_waits_the_old_budgets_are_held_and_then_they_are_given_back() {
    let Failover { world, slow, capped, from, to, mut reservation } = Failover::new(Usd::ZERO).await;
    {
        let mut moving = pin!(reservation.move_to(&to, usd("0.6"), NOON));
        until_asked(&slow, moving.as_mut()).await;
        assert_eq!(reserved(&world, old(), &capped).await, usd("1"));
        assert_eq!(reserved(&world, key(1), &capped).await, usd("1"), "what both have in common");
        let another = world.budgets.try_reserve(&from, Usd::from_nanos(1), NOON);
        assert!(!matches!(another, Some(Ok(_))), "{another:?}");
        slow.told.add_permits(1);
        moving.await.unwrap();
    }
    assert_eq!((reservation.reserved(Axis::User), reservation.reserved(Axis::Key)), (usd("0.6"), usd("0.6")));
    assert_eq!(
        (reserved(&world, old(), &capped).await, reserved(&world, new(), &capped).await),
        (Usd::ZERO, usd("0.6"))
    );
    world.settle(&reservation, &to, usd("0.5"));
    let [mut from, mut to] = [from, to];
    (from.key.mainline.1, to.key.mainline.1) = (None, None);
    world.spend(&from, usd("1")).await.unwrap();
    assert_eq!(world.denial(&to, usd("0.51")).await.used, usd("0.5"));
}

#[tokio::test(start_paused = true)]
async fn a_failover_that_is_given_up_while_it_waits_leaves_everything_as_it_was() {
    let mut failover = Failover::new(Usd::ZERO).await;
    {
        let mut moving = pin!(failover.reservation.move_to(&failover.to, usd("0.6"), NOON));
        until_asked(&failover.slow, moving.as_mut()).await;
    }
    failover.slow.told.add_permits(1);
    failover.check_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn a_failover_that_is_refused_after_a_wait_leaves_everything_as_it_was() {
    let mut failover = Failover::new(usd("0.5")).await;
    {
        let mut moving = pin!(failover.reservation.move_to(&failover.to, usd("0.6"), NOON));
        until_asked(&failover.slow, moving.as_mut()).await;
        failover.slow.told.add_permits(1);
        let refused = moving.await;
        let Err(ReserveError::Denied(denied)) = refused else { panic!("{refused:?}") };
        assert_eq!((denied.first.budget, denied.first.used), (new(), usd("0.5")));
    }
    failover.check_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn two_requests_that_each_want_the_last_of_what_the_other_has_both_end() {
    let world = World::new(worst_case());
    let capped = only(Window::Daily, usd("1"));
    let [x, y] = [5, 6].map(|id| {
        let mut plan = uncapped();
        plan.user.group = Some((group(Axis::User, 1, id), Arc::clone(&capped)));
        plan
    });
    let mut a = world.budgets.reserve(&x, usd("1"), NOON).await.unwrap();
    let mut b = world.budgets.reserve(&y, usd("1"), NOON).await.unwrap();
    let both = async { tokio::join!(a.move_to(&y, usd("1"), NOON), b.move_to(&x, usd("1"), NOON)) };
    let (first, second) = timeout(Duration::from_secs(3), both).await.expect("neither waits for ever");
    assert!(matches!(first, Err(ReserveError::Denied(_))), "{first:?}");
    assert!(matches!(second, Err(ReserveError::Denied(_))), "{second:?}");
    assert_eq!((a.reserved(Axis::User), b.reserved(Axis::User)), (usd("1"), usd("1")));
    // One that ends while the other waits makes room for it.
    let ends = async {
        tokio::task::yield_now().await;
        drop(a);
    };
    let (moved, ()) = tokio::join!(b.move_to(&x, usd("1"), NOON), ends);
    moved.unwrap();
    world.settle(&b, &x, usd("1"));
    world.spend(&y, usd("1")).await.unwrap();
    assert_eq!(world.denial(&x, Usd::from_nanos(1)).await.used, usd("1"));
}
