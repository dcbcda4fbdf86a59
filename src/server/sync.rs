//! Keeps what this node remembers in step with what was changed elsewhere.

use std::sync::Arc;

use super::{Lifecycle, PriceKeeper, StartError, budgets, circuits};
use crate::directory::{Announcer, Change, PubSub};
use crate::gateway::App;

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
    let (node, directory, limits) = (Arc::clone(app), app.directory.clone(), Arc::clone(&app.limits));
    let (prices, stop) = (Arc::clone(prices), life.stop.clone());
    tokio::spawn(async move {
        let changed = move |change: Change| {
            directory.apply(&change);
            budgets::changed(&node, &change);
            circuits::changed(&node, &change);
            if matches!(change, Change::Limits | Change::All) {
                limits.doubt();
            }
            if matches!(change, Change::Prices | Change::All) {
                let prices = Arc::clone(&prices);
                tokio::spawn(async move { prices.refresh().await });
            }
        };
        pubsub.run(stop, changed).await;
    });
    Ok(Some(announcer))
}
