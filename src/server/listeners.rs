//! Addresses: bound early, so that a taken one is told before anything else happens.

use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora::listeners::tls::{Acceptor, TlsSettings};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{Lifecycle, StartError};
use crate::config::{Config, ListenAddress, ServerTls};

/// How often a new gateway asks itself whether it listens.
const READY_POLL: Duration = Duration::from_millis(10);

/// Binds an address of our own. With `SO_REUSEPORT`, so that a new process can take over from one that still runs.
pub(super) fn bind(address: &ListenAddress, setting: &str) -> Result<TcpListener, StartError> {
    let fail = |e: std::io::Error| StartError::Listen(format!("{setting}: cannot listen on {address}: {e}"));
    let resolved = resolve(address).map_err(fail)?;
    let socket = Socket::new(Domain::for_address(resolved), Type::STREAM, Some(Protocol::TCP)).map_err(fail)?;
    socket.set_reuse_address(true).map_err(fail)?;
    socket.set_reuse_port(true).map_err(fail)?;
    socket.set_nonblocking(true).map_err(fail)?;
    socket.bind(&resolved.into()).map_err(fail)?;
    socket.listen(1_024).map_err(fail)?;
    TcpListener::from_std(socket.into()).map_err(fail)
}

/// What shakes hands with the gateway's clients.
pub(super) fn tls(settings: &ServerTls) -> Result<Acceptor, StartError> {
    let fail = |what: &str, error: &pingora::Error| StartError::Listen(format!("server.tls.{what}: {error}"));
    let (cert, key) = (settings.cert.display().to_string(), settings.key.display().to_string());
    let mut tls = TlsSettings::intermediate(&cert, &key).map_err(|error| fail("cert", &error))?;
    // These look into the files, which is done later in a panic.
    tls.set_certificate_chain_file(&cert).map_err(|error| fail("cert", &error))?;
    tls.set_private_key_file(&key).map_err(|error| fail("key", &error))?;
    tls.enable_h2();
    Ok(tls.build())
}

/// Makes sure that Pingora will be able to listen: it would end the process without a word that helps.
pub(super) fn check_gateway(config: &Config, upgrade: bool) -> Result<(), StartError> {
    if upgrade {
        return Ok(());
    }
    let address = &config.server.listen;
    let probe = resolve(address).and_then(StdListener::bind);
    probe.map(drop).map_err(|e| StartError::Listen(format!("server.listen: cannot listen on {address}: {e}")))
}

/// Sets the ready flag once the gateway's address takes connections.
pub(super) async fn announce_ready(address: String, life: Lifecycle) {
    let Some(target) = address.to_socket_addrs().ok().and_then(|mut found| found.next()).map(reachable) else { return };
    while TcpStream::connect(target).await.is_err() {
        tokio::time::sleep(READY_POLL).await;
    }
    life.ready.store(true, Ordering::Release);
    tracing::info!(%address, "the gateway takes requests");
}

/// An address at which this process can call itself.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

pub(super) fn resolve(address: &ListenAddress) -> std::io::Result<SocketAddr> {
    let found = address.as_str().to_socket_addrs()?.next();
    found.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"))
}
