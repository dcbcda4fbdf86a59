//! The life of this node among others: its heartbeat, what becomes of those that ended, and its own end when the others
//! have given it up.

use std::sync::Arc;

use nix::sys::signal::{Signal, raise};
use sea_orm::DatabaseConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Undertaker;
use super::budgets::Parts;
use crate::budget::{Clock, Lifeline};
use crate::config::Config;
use crate::ledger::{Fate, Ledger, Pulse, Silence};
use crate::telemetry::Metrics;

/// How long a node may be silent, as the configuration says.
pub(super) fn silence(config: &Config) -> Silence {
    let ms = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    // A node is given up as a whole: when that is allowed for all that it holds.
    let (lease, group) = (&config.budgets.lease, config.budgets.effective_model_group_lease());
    let (dead_after, write_off) = (lease.dead_after.max(group.dead_after), lease.write_off.max(group.write_off));
    Silence { dead_after: ms(dead_after), write_off: ms(write_off) }
}

/// Beats, and sees to lives that are over; sooner when it is nudged.
#[allow(clippy::too_many_arguments, reason = "the parts of a node that its life has to do with")]
pub(super) fn start(
    db: &DatabaseConnection,
    parts: &Parts,
    ledger: &Arc<Ledger>,
    metrics: &Arc<Metrics>,
    pulse: &Arc<Pulse>,
    clock: Clock,
    nudge: Arc<Notify>,
    stop: CancellationToken,
) {
    let Parts { seeds, budgets, counts, authority } = parts;
    let lifeline = Arc::clone(pulse) as Arc<dyn Lifeline>;
    counts.live_by(&lifeline);
    budgets.live_by(lifeline);
    let authority = Arc::clone(authority);
    let undertaker = Undertaker::new(db.clone(), authority, Arc::clone(seeds), Arc::clone(pulse), Arc::clone(metrics));
    tokio::spawn(undertaker.run(clock, nudge, stop.clone()));
    let (pulse, ledger) = (Arc::clone(pulse), Arc::clone(ledger));
    tokio::spawn(async move {
        if let Some(fate) = pulse.run(stop).await {
            end(fate, &ledger);
        }
    });
}

/// The others have given up this process: what it holds is not its own any more.
fn end(fate: Fate, ledger: &Ledger) {
    tracing::error!(
        ?fate,
        "the other nodes have given up this one, because it was silent for longer than budgets.lease.dead_after and \
         write_off (was it paused, or cut off from the database?), or a node without `redis` uses the same database; it \
         finishes what is in flight and stops: start it again"
    );
    // Nobody is admitted from here on.
    ledger.close();
    if let Err(error) = raise(Signal::SIGTERM) {
        tracing::error!(%error, "the process could not end itself");
    }
}
