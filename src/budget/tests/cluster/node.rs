//! A node as it runs in a gateway: its budgets with the work in the background, and the requests that it serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::world::{key, uncapped, user};
use super::Limits;
use super::books::Open;
use super::network::{FaultyAuthority, Net, NodeSeeds};
use crate::budget::{BudgetSettings, Budgets, Incarnation, Plan};
use crate::config::{OnAuthorityFailure, ReservationMode};
use crate::limit::BudgetId;
use crate::money::Usd;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// A process.
pub struct Node {
    pub inc: Incarnation,
    pub budgets: Arc<Budgets>,
    pub link: Arc<FaultyAuthority>,
    /// The caps as it knows them.
    pub limits: Arc<Mutex<Limits>>,
    pub work: JoinSet<()>,
}

impl Node {
    pub fn start(net: &Arc<Net>, inc: Incarnation, limits: &Limits) -> Self {
        net.books.begin(inc);
        let link = Arc::new(FaultyAuthority { net: Arc::clone(net), inc, paused_until: AtomicI64::new(0) });
        let settings = BudgetSettings {
            reservation: ReservationMode::WorstCase,
            on_failure: OnAuthorityFailure::Closed,
            ..BudgetSettings::default()
        };
        let seeds = Arc::new(NodeSeeds { net: Arc::clone(net), inc });
        let authority = Arc::<FaultyAuthority>::clone(&link);
        let budgets = Budgets::with_rules(inc, authority, seeds, settings, net.clock(), net.faults.rules);
        net.listening.lock().push((inc, Arc::clone(&budgets)));
        let mut work = JoinSet::new();
        work.spawn(Arc::clone(&budgets).run(CancellationToken::new()));
        Self { inc, budgets, link, limits: Arc::new(Mutex::new(limits.clone())), work }
    }

    /// It is gone, with everything that ran.
    pub fn crash(&mut self) {
        self.work.abort_all();
        self.link.net.listening.lock().retain(|(inc, _)| *inc != self.inc);
    }

    pub fn is_paused(&self) -> bool {
        self.link.paused_until.load(Ordering::SeqCst) > self.link.net.now()
    }

    /// Somebody has edited the caps of a budget; the message may take its time.
    pub fn edited(&mut self, budget: BudgetId, limits: &Limits, late: u64) {
        let (ours, budgets, policy) =
            (Arc::clone(&self.limits), Arc::clone(&self.budgets), Arc::clone(&limits[&budget]));
        self.work.spawn(async move {
            sleep(Duration::from_millis(late)).await;
            if ours.lock()[&budget].version < policy.version {
                ours.lock().insert(budget, policy);
            }
            budgets.policies_changed(&[budget]);
        });
    }

    pub fn serve(&mut self) {
        let (net, budgets) = (Arc::clone(&self.link.net), Arc::clone(&self.budgets));
        let (link, limits) = (Arc::clone(&self.link), Arc::clone(&self.limits));
        self.work.spawn(async move { serve(&net, &budgets, &link, &limits).await });
    }
}

/// The plan of some user and key, each with a cap; and the budgets in it.
pub fn plan(limits: &Limits, of_user: i64, of_key: i64) -> (Plan, Vec<BudgetId>) {
    let (of_user, of_key) = (user(of_user), key(of_key));
    let mut plan = uncapped();
    plan.user.mainline = (of_user, Some(Arc::clone(&limits[&of_user])));
    plan.key.mainline = (of_key, Some(Arc::clone(&limits[&of_key])));
    (plan, vec![of_user, of_key])
}

/// One request: admitted or not, moved to another plan perhaps, settled or given up.
async fn serve(net: &Arc<Net>, budgets: &Arc<Budgets>, link: &FaultyAuthority, limits: &Mutex<Limits>) {
    let some = || (net.draw(1..=2), net.draw(1..=2));
    let estimate = || Usd::from_nanos(net.draw(1_000_000..20_000_000));
    let amount = estimate();
    let (of_user, of_key) = some();
    let (first, charged) = plan(&limits.lock(), of_user, of_key);
    let Ok(mut reservation) = budgets.reserve(&first, amount, net.now()).await else { return };
    let request = REQUESTS.fetch_add(1, Ordering::SeqCst);
    net.books.open(request, Open { inc: link.inc, budgets: charged.clone(), amount });
    check(net, &charged);
    lasts(net, link).await;
    if net.happens(8) {
        let (of_user, of_key) = some();
        let (next, charged) = plan(&limits.lock(), of_user, of_key);
        let amount = estimate();
        if reservation.move_to(&next, amount, net.now()).await.is_ok() {
            net.books.open(request, Open { inc: link.inc, budgets: charged.clone(), amount });
            check(net, &charged);
            lasts(net, link).await;
        }
    }
    let Some(open) = net.books.shut(request) else { return };
    if net.happens(10) {
        return;
    }
    let most = if net.faults.overruns { open.amount.nanos() * 2 } else { open.amount.nanos() };
    let cost = Usd::from_nanos(net.draw(1..=most));
    let lsn = net.books.charge(link.inc, &open.budgets, net.now(), cost);
    reservation.settle(lsn, net.now(), cost);
    check(net, &open.budgets);
}

async fn lasts(net: &Net, link: &FaultyAuthority) {
    sleep(Duration::from_millis(net.draw(10..4_000))).await;
    link.awake().await;
}

fn check(net: &Net, budgets: &[BudgetId]) {
    if !net.faults.overruns {
        for &budget in budgets {
            net.must(net.books.check(budget, net.now()));
        }
    }
}
