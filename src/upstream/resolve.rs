//! Names of providers to addresses, off the request's path where possible.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

/// How long an answer of the resolver is used. The resolver of the platform does not tell the record's own life;
/// providers move rarely, and a dead address is retried on the next one.
const TTL: Duration = Duration::from_secs(30);

/// Names remembered at once.
const CAPACITY: u64 = 1_024;

/// Resolves `host:port`, remembering the answers. Several requests for one name share one look-up.
#[derive(Clone, Debug)]
pub struct Resolver {
    cache: Cache<(Arc<str>, u16), Arc<[SocketAddr]>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { cache: Cache::builder().max_capacity(CAPACITY).time_to_live(TTL).build() }
    }
}

impl Resolver {
    /// The addresses of a name, in the platform's order of preference; never empty.
    ///
    /// # Errors
    /// What the platform's resolver says, with the name.
    pub async fn resolve(&self, host: &Arc<str>, port: u16) -> Result<Arc<[SocketAddr]>, Arc<std::io::Error>> {
        if let Ok(ip) = host.parse() {
            return Ok(Arc::from([SocketAddr::new(ip, port)]));
        }
        let look_up = async {
            let found: Vec<_> = tokio::net::lookup_host((&**host, port)).await?.collect();
            if found.is_empty() {
                return Err(std::io::Error::new(std::io::ErrorKind::NotFound, format!("no address for {host}")));
            }
            Ok(Arc::from(found))
        };
        self.cache.try_get_with((Arc::clone(host), port), look_up).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_resolves_to_itself() {
        let found = Resolver::default().resolve(&Arc::from("127.0.0.1"), 80).await.unwrap();
        assert_eq!(*found, [SocketAddr::from(([127, 0, 0, 1], 80))]);
    }

    #[tokio::test]
    async fn localhost_resolves_to_loopback() {
        let found = Resolver::default().resolve(&Arc::from("localhost"), 80).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback()), "{found:?}");
    }
}
