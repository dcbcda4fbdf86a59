//! `serve --demo`: pretend providers in the process, a user with a key, and commands to paste.

use std::sync::Arc;

use sea_orm::DatabaseConnection;
use tokio::runtime::Runtime;

use super::{StartError, announce, listeners, ports};
use crate::config::{self, Provider};
use crate::gateway::App;
use crate::{demo, directory};

/// Starts the pretend providers on a free loopback port, and returns their configuration.
pub(super) fn start_providers(runtime: &Runtime) -> Result<Vec<Provider>, StartError> {
    let fail = |e: std::io::Error| StartError::Listen(format!("the pretend providers cannot listen: {e}"));
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    // Until the process ends: requests may need them to the last.
    runtime.spawn(demo::serve(listener, std::future::pending()));
    let text = format!("providers:\n{}", demo::config_providers(address));
    let parsed = config::parse(&text, std::path::Path::new("."), &|_| None).map_err(StartError::Config)?;
    Ok(parsed.providers)
}

/// Makes the demo user's key and prints what to paste.
pub(super) async fn prepare(db: &DatabaseConnection, app: &Arc<App>, admin: Option<&str>) -> Result<(), StartError> {
    let key = directory::demo_key(db, ports::now_ms()).await?;
    app.directory.invalidate_all();
    let live = app.live.load();
    let server = &live.config.server;
    let address = |a| listeners::resolve(a).map_err(|e| StartError::Listen(format!("{a}: {e}")));
    let (gateway, admin_address) = (address(&server.listen)?, address(&server.admin)?);
    announce("Try it; the answers come from built-in pretend providers:");
    for line in demo::curl_lines(gateway, &key, admin.map(|token| (admin_address, token))) {
        announce(&line);
    }
    Ok(())
}
