//! `serve --demo`: pretend providers in the process, a user with a key, and commands to paste.

use std::sync::Arc;

use entity::{keys, users};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter};
use tokio::runtime::Runtime;

use super::{StartError, announce, listeners};
use crate::clock::now_ms;
use crate::config::{self, Limits, Provider};
use crate::demo;
use crate::directory::{self, NewKey, NewUser, ProvisionError};
use crate::gateway::App;
use crate::limit::{Mode, Window, WindowCap};
use crate::money::Usd;

/// Names of the demo's user and key.
const USER: &str = "demo";
const KEY: &str = "demo";

/// What the demo's user may spend in a day: enough for a demo, little enough to be met by one who tries.
const DAILY: Usd = Usd::from_nanos(Usd::NANOS_PER_USD);

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
    let key = make_key(db, now_ms()).await.map_err(StartError::provision)?;
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

/// A key of the demo user. Secrets are not kept, so each start makes a new one in place of the last.
async fn make_key(db: &DatabaseConnection, now: i64) -> Result<String, ProvisionError> {
    let found = users::Entity::find().filter(users::Column::Name.eq(USER)).one(db).await;
    let user = match found.map_err(ProvisionError::Database)? {
        Some(user) => user,
        None => {
            let daily = WindowCap { window: Window::Daily, usd: DAILY, mode: Mode::Calendar { at: 0 } };
            let limits = Some(Limits::from([daily].as_slice()));
            directory::create_user(db, NewUser { limits, ..NewUser::named(USER) }, now).await?
        }
    };
    let of_user = keys::Column::UserId.eq(user.id);
    keys::Entity::delete_many()
        .filter(of_user)
        .filter(keys::Column::Name.eq(KEY))
        .exec(db)
        .await
        .map_err(ProvisionError::Database)?;
    let (_, secret) = directory::create_key(db, user.id, NewKey::named(KEY), now).await?;
    Ok(secret.expose().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn the_demos_user_has_a_small_daily_budget() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("tollgate.db").display());
        let db = crate::store::connect(&url, 1).await.unwrap();
        crate::store::migrate(&db).await.unwrap();
        make_key(&db, 0).await.unwrap();
        let user = users::Entity::find().one(&db).await.unwrap().unwrap();
        let caps = directory::owner_of_user(&user).mainline;
        assert_eq!(caps.iter().map(|cap| (cap.window, cap.usd)).collect::<Vec<_>>(), [(Window::Daily, DAILY)]);
    }
}
