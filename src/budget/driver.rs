//! The background work: reporting what was charged, giving back what is idle, forgetting what is over.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Budgets;
use super::lease::{Lease, Occasion};
use super::protocol::Lsn;
use super::table::Entry;
use crate::limit::BudgetId;

/// How often due budgets are looked for.
const TICK: Duration = Duration::from_millis(100);

/// So many budgets are asked for at once.
const AT_ONCE: usize = 16;

/// While an authority is away it is looked for so often; what was due is then said.
const LOOK_FOR_IT: i64 = 500;

/// Charges are remembered for so long after they were written: a seed may be older.
const REMEMBER: i64 = 10_000;

/// A budget in the background is given so long to be seeded.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which budgets are due when. Each is in it once; an entry that was scheduled anew for an earlier instant is left
/// behind and ignored.
#[derive(Default)]
pub(super) struct Queue {
    due: Mutex<BinaryHeap<Reverse<(i64, BudgetId)>>>,
    urgent: Notify,
    /// When the journal was seen to be written up to where.
    written: Mutex<VecDeque<(i64, Lsn)>>,
}

impl Queue {
    pub fn schedule(&self, id: BudgetId, lease: &mut Lease, at: i64) {
        if at < lease.due {
            lease.due = at;
            self.due.lock().push(Reverse((at, id)));
        }
    }

    /// What is due is done now.
    pub fn wake(&self) {
        self.urgent.notify_one();
    }

    fn pop(&self, now: i64) -> Option<(i64, BudgetId)> {
        let mut due = self.due.lock();
        due.peek().filter(|Reverse((at, _))| *at <= now)?;
        due.pop().map(|Reverse(due)| due)
    }

    /// Up to where the journal has been in the database for so long that nobody asks for it any more.
    fn settled(&self, now: i64, written: Lsn) -> Lsn {
        let mut seen = self.written.lock();
        if seen.back().is_none_or(|&(at, lsn)| lsn < written && now - at >= 100) {
            seen.push_back((now, written));
        }
        while seen.get(1).is_some_and(|&(at, _)| now - at >= REMEMBER) {
            seen.pop_front();
        }
        seen.front().filter(|&&(at, _)| now - at >= REMEMBER).map_or(0, |&(_, lsn)| lsn)
    }
}

impl Budgets {
    /// Works until it is stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut turn = 0_usize;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.queue.urgent.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            self.tick((self.clock)()).await;
            turn = turn.wrapping_add(1);
            self.authority.sweep(turn, (self.clock)());
        }
    }

    /// Does what is due.
    pub async fn tick(&self, now: i64) {
        let settled = self.queue.settled(now, self.seeds.written_lsn());
        let due = std::iter::from_fn(|| self.queue.pop(now));
        let due: Vec<_> = due.filter_map(|(at, id)| self.table.get(id).map(|entry| (at, entry))).collect();
        let work = stream::iter(due).for_each_concurrent(AT_ONCE, |(at, entry)| async move {
            self.attend(&entry, at, settled, now).await;
        });
        Box::pin(work).await;
    }

    /// Has the driver look at a lease that has changed: soon, or at once when little is left.
    pub(super) fn tell_later(&self, entry: &Entry, lease: &mut Lease, now: i64) {
        let settings = self.settings.load();
        if self.authority.is_away(entry.id) {
            self.queue.schedule(entry.id, lease, now.saturating_add(LOOK_FOR_IT));
        } else if lease.is_tight() || lease.in_debt() {
            self.queue.schedule(entry.id, lease, now);
            self.queue.wake();
        } else if lease.due == i64::MAX || lease.is_count() {
            let lease_settings = settings.lease_of(entry.id);
            let wait = lease_settings.idle_return.min(lease_settings.life / 2);
            self.queue.schedule(entry.id, lease, now.saturating_add(wait));
        }
    }

    async fn attend(&self, entry: &Arc<Entry>, at: i64, settled: Lsn, now: i64) {
        let away = self.authority.is_away(entry.id);
        let (speak, last) = {
            let mut lease = entry.lease.lock();
            if lease.due != at || lease.gone {
                return;
            }
            lease.due = i64::MAX;
            // What is about to be forgotten can be told once more: others may have seeded the budget with less since.
            let last = lease.is_spent_up_to(settled);
            if !last {
                lease.trim(settled);
            }
            if away {
                // What is known here is all that is known.
                self.queue.schedule(entry.id, &mut lease, now.saturating_add(LOOK_FOR_IT));
                return;
            }
            let speak = (lease.has_news(now) || last) && !std::mem::replace(&mut lease.flying, true);
            (speak, last)
        };
        if speak {
            let give_back = entry.lease.lock().asks_before_spending();
            let occasion = Occasion { last, give_back, ..Occasion::default() };
            // A flight that is given up leaves the lease as the next one needs it.
            let _ = tokio::time::timeout(PATIENCE, self.fly(entry, occasion)).await;
        }
        if last {
            let mut lease = entry.lease.lock();
            if !lease.is_unsure() {
                lease.trim(settled);
            }
            drop(lease);
            self.table.remove_spent(entry);
        }
        let settings = self.settings.load();
        let settings = settings.lease_of(entry.id);
        let mut lease = entry.lease.lock();
        if !lease.gone {
            let next = lease.next_look(settings, now, REMEMBER);
            self.queue.schedule(entry.id, &mut lease, next);
        }
    }
}
