//! What only the database knows of a node: its life, and whether its records are taken.

use entity::gateway_nodes::{Column, Entity, Model};
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder};

use crate::harness::Cluster;
use crate::support::books::database;
use crate::support::eventually;

/// The latest life of the node of this name.
pub async fn life(db: &DatabaseConnection, name: &str) -> Model {
    let lives = Entity::find().filter(Column::Name.eq(name)).order_by_desc(Column::Inc);
    lives.one(db).await.unwrap().expect("a node of this name")
}

/// That life, as it is now.
pub async fn life_of(db: &DatabaseConnection, inc: i64) -> Model {
    Entity::find_by_id(inc).one(db).await.unwrap().unwrap()
}

/// Waits until each node has said that it lives since the last one began: then it knows of all.
pub async fn all_know_each_other(cluster: &Cluster) {
    let db = database(&cluster.nodes[0]).await;
    eventually("all nodes know of each other", async || {
        let lives = Entity::find().all(&db).await.unwrap();
        let last = lives.iter().map(|life| life.started_at).max()?;
        lives.iter().all(|life| life.seen_at > last).then_some(())
    })
    .await;
}

/// From now on the database takes no record of this life, and says that it is busy with something else. It goes on
/// hearing that it lives.
pub async fn refuse_records(db: &DatabaseConnection, inc: i64) {
    let refuse = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'cannot_connect_now'; END $$; \
         CREATE TRIGGER refuse BEFORE UPDATE OF applied_lsn ON gateway_nodes FOR EACH ROW WHEN (NEW.inc = {inc}) \
         EXECUTE FUNCTION refuse()"
    );
    db.execute_unprepared(&refuse).await.unwrap();
}

/// It takes them again.
pub async fn take_records(db: &DatabaseConnection) {
    db.execute_unprepared("DROP TRIGGER refuse ON gateway_nodes; DROP FUNCTION refuse").await.unwrap();
}
