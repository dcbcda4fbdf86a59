//! What the end-to-end tests share: the real binary, a scripted provider, and clients that can misbehave.

pub mod accounts;
pub mod admin;
pub mod books;
pub mod capped;
pub mod certs;
pub mod charge;
pub mod dialects;
pub mod gateway;
pub mod h2client;
pub mod leaving;
pub mod load;
pub mod mishaps;
pub mod pairs;
pub mod program;
pub mod provider;
pub mod racing;
pub mod small_disk;
pub mod spending;
pub mod talks;
pub mod wire;

use std::time::{Duration, Instant};

pub use crate::servers::ports;
pub use admin::Admin;
pub use books::Books;
pub use dialects::{Api, Tokens};
pub use gateway::Gateway;
pub use provider::{Answer, Gate, Provider};
pub use wire::Wire;

/// How long a test waits for something that should happen at once, on a machine that does ten other things.
pub const SOON: Duration = Duration::from_secs(20);

/// The answer of `probe`, as soon as it has one.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(SOON, what, probe).await
}

/// The same for what takes its time.
pub async fn within<T>(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The result of `work`, which must not take longer than [`SOON`].
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {SOON:?} in vain: {what}"),
    }
}

/// A size of a load run: small in every run of the tests, big in `make soak`.
pub fn scale(short: usize, soak: usize) -> usize {
    if std::env::var_os("TOLLGATE_SOAK").is_some() { soak } else { short }
}

/// The seed of whatever a test does at random; `TOLLGATE_SEED` repeats a run.
pub fn seed() -> u64 {
    std::env::var("TOLLGATE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap())
}

/// An HTTP client that sends exactly one request per call and follows nothing.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}
