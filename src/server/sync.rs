//! Keeps what this node remembers in step with what was changed elsewhere.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Lifecycle, PriceKeeper, StartError, budgets, circuits};
use crate::directory::{Announcer, Change, PubSub};
use crate::gateway::App;

/// So many changes are taken over with one reading of the limits.
const AT_ONCE: usize = 1_000;

/// Starts the periodic refresh and, when Redis is configured, listens to the other nodes. Returns where changes of
/// this node are announced.
pub(super) fn start(
    app: &Arc<App>,
    prices: &Arc<PriceKeeper>,
    life: &Lifecycle,
) -> Result<Option<Announcer>, StartError> {
    let (directory, stop) = (app.directory.clone(), life.stop.clone());
    tokio::spawn(async move { directory.keep_fresh(stop).await });
    let (limits, stop) = (Arc::clone(&app.limits), life.stop.clone());
    tokio::spawn(async move { limits.keep_fresh(stop).await });
    let live = app.live.load();
    let Some(redis) = &live.config.redis else { return Ok(None) };
    let (pubsub, announcer) =
        PubSub::new(redis.url.expose()).map_err(|error| StartError::Environment(format!("redis.url: {error}")))?;
    let (said, heard) = mpsc::unbounded_channel();
    tokio::spawn(follow(heard, Arc::clone(app), Arc::clone(prices)));
    circuits::share(app, redis.url.expose(), &life.stop);
    let stop = life.stop.clone();
    tokio::spawn(async move {
        // Nobody follows any more when the process ends.
        let changed = move |change: Change| drop(said.send(change));
        pubsub.run(stop, changed).await;
    });
    Ok(Some(announcer))
}

/// Takes over what was changed elsewhere, in the order in which it was said. Limits are in force before anything that was
/// said with them: an owner's row that carries the new number must not meet limits without it, or caps that are over
/// would be taken for the later ones.
async fn follow(mut heard: mpsc::UnboundedReceiver<Change>, node: Arc<App>, prices: Arc<PriceKeeper>) {
    let mut changes = Vec::new();
    while heard.recv_many(&mut changes, AT_ONCE).await > 0 {
        let of_limits = changes.iter().any(|change| matches!(change, Change::Limits | Change::All));
        if of_limits {
            node.limits.refresh().await;
        }
        for change in changes.drain(..) {
            node.directory.apply(&change);
            budgets::changed(&node, &change);
            circuits::changed(&node, &change);
            if matches!(change, Change::Prices | Change::All) {
                let prices = Arc::clone(&prices);
                tokio::spawn(async move { prices.refresh().await });
            }
        }
    }
}
