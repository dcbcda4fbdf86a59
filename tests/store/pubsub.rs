//! Two nodes tell each other what has changed, through a Redis that comes and goes.

use std::time::{Duration, Instant};

use sea_orm::DatabaseConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tollgate::directory::{Announcer, Change, Directory, PubSub, Refusal, Secret, Standing};

use crate::database::{TestDatabase, eventually};
use crate::directory::{enable_user, user_with_key};
use crate::support::redis::Redis;

const LIMIT: Duration = Duration::from_secs(15);

/// What was told before Redis went away has been heard, and what was doubted has been read again.
const UNDER_WAY: Duration = Duration::from_secs(1);

struct Node {
    directory: Directory,
    announcer: Announcer,
    stop: CancellationToken,
}

impl Node {
    fn start(db: &DatabaseConnection, redis: &str) -> Self {
        let directory = Directory::new(db.clone(), 0);
        let (pubsub, announcer) = PubSub::new(redis).unwrap();
        let stop = CancellationToken::new();
        let (listener, token) = (directory.clone(), stop.clone());
        tokio::spawn(async move { Box::pin(pubsub.run(token, move |change| listener.apply(&change))).await });
        let (refreshed, token) = (directory.clone(), stop.clone());
        tokio::spawn(async move { refreshed.keep_fresh(token).await });
        Self { directory, announcer, stop }
    }

    /// Whether the key passes here, as this node remembers it.
    async fn admits(&self, secret: &Secret) -> bool {
        match self.directory.lookup(secret.expose(), Standing::Good, 0).await.unwrap().check(0) {
            Ok(()) => true,
            Err(refusal) => {
                assert_eq!(refusal, Refusal::UserDisabled);
                false
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A way to Redis that tells when whoever uses it gives a connection up.
struct Way {
    port: u16,
    closed: mpsc::UnboundedReceiver<()>,
    passing: JoinHandle<()>,
}

impl Way {
    async fn to(redis: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, closed) = mpsc::unbounded_channel();
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let tell = tell.clone();
                connections.spawn(async move {
                    let Ok(redis) = TcpStream::connect(("127.0.0.1", redis)).await else { return };
                    let ((mut from_client, mut to_client), (mut from_redis, mut to_redis)) =
                        (client.into_split(), redis.into_split());
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_client, &mut to_redis) => drop(tell.send(())),
                        _ = tokio::io::copy(&mut from_redis, &mut to_client) => {}
                    }
                });
            }
        });
        Self { port, closed, passing }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits until a connection is given up from now on.
    async fn given_up(&mut self) {
        while self.closed.try_recv().is_ok() {}
        timeout(LIMIT, self.closed.recv()).await.expect("a connection is given up").unwrap();
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

/// Until a node has subscribed it may miss a message: it is repeated, but not so soon that one is still under way when
/// the other is seen. The last to hear is the second node.
async fn connected(nodes: [&Node; 2], db: &DatabaseConnection, user: i64, secret: &Secret) {
    for (teller, listener) in [(nodes[1], nodes[0]), (nodes[0], nodes[1])] {
        for enabled in [false, true] {
            enable_user(db, user, enabled).await;
            let mut announced: Option<Instant> = None;
            let start = Instant::now();
            while listener.admits(secret).await != enabled {
                assert!(start.elapsed() < LIMIT, "the nodes are not connected");
                if announced.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
                    teller.announcer.announce(Change::User(user));
                    announced = Some(Instant::now());
                }
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_on_one_node_is_seen_on_the_other_within_a_second() {
    let (database, redis) = (TestDatabase::sqlite(), Redis::start());
    let db = database.open().await;
    let (user, key, secret) = user_with_key(&db, "ada").await;
    let (here, there) = (Node::start(&db, &redis.url()), Node::start(&db, &redis.url()));
    connected([&here, &there], &db, user, &secret).await;
    let hash = secret.hash().to_string();
    let changes = [Change::User(user), Change::Key { id: key, hash }, Change::All];
    for (change, enabled) in changes.into_iter().cycle().zip([false, true, false, true, false, true]) {
        assert_eq!(there.admits(&secret).await, !enabled, "it is remembered");
        enable_user(&db, user, enabled).await;
        here.announcer.announce(change);
        let seen = || async { there.admits(&secret).await == enabled };
        eventually("the other node has heard", Duration::from_secs(1), seen).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_changed_while_redis_was_away_is_seen_when_it_is_back() {
    let (database, mut redis) = (TestDatabase::sqlite(), Redis::start());
    let db = database.open().await;
    let (user, _, secret) = user_with_key(&db, "ada").await;
    let mut way = Way::to(redis.port()).await;
    let (here, there) = (Node::start(&db, &way.url()), Node::start(&db, &redis.url()));
    connected([&here, &there], &db, user, &secret).await;

    redis.stop();
    sleep(UNDER_WAY).await;
    assert!(there.admits(&secret).await, "what was doubted is read again while it is still true");
    enable_user(&db, user, false).await;
    let start = Instant::now();
    for _ in 0..5_000 {
        here.announcer.announce(Change::User(user));
    }
    assert!(start.elapsed() < Duration::from_secs(1), "nobody waits for Redis");
    assert!(there.admits(&secret).await, "nothing is known yet, and nothing fails");
    redis.restart();
    eventually("seen after the restart", LIMIT, || async { !there.admits(&secret).await }).await;

    connected([&here, &there], &db, user, &secret).await;
    redis.pause();
    sleep(UNDER_WAY).await;
    assert!(there.admits(&secret).await, "what was doubted is read again while it is still true");
    enable_user(&db, user, false).await;
    here.announcer.announce(Change::User(user));
    // The message is given up with the connection that it went into.
    way.given_up().await;
    assert!(there.admits(&secret).await);
    redis.resume();
    eventually("seen after the hang", LIMIT, || async { !there.admits(&secret).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_may_start_before_redis_does() {
    let (database, mut redis) = (TestDatabase::sqlite(), Redis::start());
    redis.stop();
    let db = database.open().await;
    let (user, _, secret) = user_with_key(&db, "ada").await;
    let (here, there) = (Node::start(&db, &redis.url()), Node::start(&db, &redis.url()));
    assert!(here.admits(&secret).await && there.admits(&secret).await);
    redis.restart();
    connected([&here, &there], &db, user, &secret).await;
}
