//! The REST API: every scenario runs on a SQLite file of its own, and all of them on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::needless_pass_by_value, reason = "tests")]

mod app;
mod auth;
mod conventions;
mod idempotency;
mod keys;
mod openapi;
mod prices;
mod reading;
mod summary;
#[path = "../support/mod.rs"]
mod support;
mod usage;
mod users;

use app::App;

macro_rules! scenarios {
    ($($module:ident: $($name:ident),+;)+) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $name() {
                crate::scenarios::$module::$name(crate::App::sqlite().await).await;
            })+
        })+

        #[tokio::test]
        async fn every_scenario_holds_on_postgresql() {
            use sea_orm::ConnectionTrait;
            let server = crate::support::postgres::Postgres::start();
            let root = sea_orm::Database::connect(server.url("postgres")).await.unwrap();
            $($(
                let name = concat!(stringify!($module), "_", stringify!($name));
                println!("{name}");
                let database = format!("t{}", &name[..name.len().min(60)]);
                root.execute_unprepared(&format!("CREATE DATABASE {database}")).await.unwrap();
                let app = crate::App::new(&server.url(&database)).await;
                let db = app.db.clone();
                crate::scenarios::$module::$name(app).await;
                db.close().await.unwrap();
            )+)+
        }
    };
}
