//! How the process ends: signals, what is in flight, and the last records.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::BackgroundService;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::Lifecycle;
use crate::gateway::App;

/// How often the process looks whether something is still in flight.
const POLL: Duration = Duration::from_millis(20);

/// How long the database may take to store the last records.
const LAST_RECORDS: Duration = Duration::from_secs(10);

/// The same when the process shall end now.
const LAST_RECORDS_NOW: Duration = Duration::from_secs(1);

/// How long it may take to store the last refusals: nobody waits for them longer than that.
const LAST_REFUSALS: Duration = Duration::from_secs(2);

/// How long the authority may take to hear what this node gives back.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// Lets nothing begin any more, settles what is still in flight, if anything is, and writes the last records.
async fn cut_off(app: &App, deadline: Duration) {
    app.ledger.close();
    let attempts = app.open_tabs.close();
    if attempts > 0 {
        tracing::warn!(attempts, "settled what was cut off");
    }
    if app.pulse.is_some() {
        give_back(app, deadline).await;
    }
    tokio::join!(app.ledger.flush_and_stop(deadline), app.refusals.finish(deadline.min(LAST_REFUSALS)));
    // Otherwise the others do it.
    if app.pulse.is_some()
        && app.ledger.is_over()
        && let Err(error) = app.budgets.close_own_life().await
    {
        tracing::warn!(%error, "the budget authority was not told that this node has stopped; another node will");
    }
}

/// The others shall have what this node holds as soon as nothing is in flight. First of all everything is written, so that
/// nothing is told that the database does not have; while the life goes on, so that nobody else ends it meanwhile.
async fn give_back(app: &App, deadline: Duration) {
    let written = app.ledger.barrier(app.ledger.last_number());
    let _ = tokio::time::timeout(deadline / 2, written).await;
    tokio::join!(app.budgets.give_back_all(GIVE_BACK), app.counts.give_back_all(GIVE_BACK));
}

/// Ends the process at once when it is told to, also while it waits for what is in flight.
pub(super) fn on_interrupt(app: &Arc<App>, runtime: &Runtime) {
    let app = Arc::clone(app);
    // Watched before anything else can be waited for.
    let Some(mut interrupt) = runtime.block_on(async { watch(SignalKind::interrupt()) }) else { return };
    runtime.spawn(async move {
        if interrupt.recv().await.is_some() {
            tracing::info!("SIGINT: exit now");
            cut_off(&app, LAST_RECORDS_NOW).await;
            std::process::exit(0);
        }
    });
}

fn watch(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::error!(%error, "a signal cannot be watched")).ok()
}

/// Turns signals into Pingora's ways of ending.
pub(super) struct Signals {
    life: Lifecycle,
}

impl Signals {
    pub(super) fn new(life: &Lifecycle) -> Self {
        Self { life: life.clone() }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Some(mut terminate), Some(mut quit)) = (watch(SignalKind::terminate()), watch(SignalKind::quit())) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {
                tracing::info!("SIGTERM: finishing what is in flight");
                self.life.stopping.store(true, Ordering::Release);
                ShutdownSignal::GracefulTerminate
            }
            _ = quit.recv() => {
                tracing::info!("SIGQUIT: handing the sockets to a new process");
                ShutdownSignal::GracefulUpgrade
            }
        }
    }
}

/// Ends the process as soon as nothing is in flight, streams that outlive their clients included. Pingora would wait
/// its whole grace period, and then cut what still runs.
pub(super) struct Finisher {
    app: Arc<App>,
    life: Lifecycle,
    runtime: Handle,
}

impl Finisher {
    pub(super) fn new(app: &Arc<App>, life: &Lifecycle, runtime: &Handle) -> Self {
        Self { app: Arc::clone(app), life: life.clone(), runtime: runtime.clone() }
    }

    async fn finish(app: Arc<App>, life: Lifecycle) {
        life.stopping.store(true, Ordering::Release);
        let limit = Instant::now() + app.live.load().config.shutdown.grace;
        while app.in_flight.get() > 0 && Instant::now() < limit {
            tokio::time::sleep(POLL).await;
        }
        let left = app.in_flight.get();
        if left > 0 {
            tracing::warn!(requests = left, "the grace period is over; what is in flight is cut off");
        }
        life.stop.cancel();
        cut_off(&app, LAST_RECORDS).await;
        tracing::info!("stopped");
        std::process::exit(0);
    }
}

#[async_trait]
impl BackgroundService for Finisher {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        while shutdown.changed().await.is_ok() {
            if *shutdown.borrow() {
                let finish = Self::finish(Arc::clone(&self.app), self.life.clone());
                // On the runtime of the database, which outlives Pingora's.
                self.runtime.spawn(finish);
                return;
            }
        }
    }
}
