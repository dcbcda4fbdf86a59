//! Where a request comes from.

use std::net::{IpAddr, Ipv4Addr};

use pingora_proxy::Session;

use crate::config::AddressRange;

/// The client's address: the peer's, or what trusted proxies say of it. A connection without one (a Unix socket)
/// comes from this machine.
///
/// `X-Forwarded-For` is read from the right: each trusted proxy appends who it got the request from, and whatever
/// stands before the first untrusted address is that client's own invention.
pub(super) fn address(session: &Session, trusted: &[AddressRange]) -> IpAddr {
    let peer =
        session.client_addr().and_then(|a| a.as_inet()).map_or(Ipv4Addr::LOCALHOST.into(), |a| a.ip().to_canonical());
    if trusted.is_empty() {
        return peer;
    }
    let forwarded = session.req_header().headers.get_all("x-forwarded-for");
    let hops: Vec<&str> = forwarded.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).collect();
    first_untrusted(peer, &hops, |ip| trusted.iter().any(|range| range.contains(ip)))
}

fn first_untrusted(peer: IpAddr, hops: &[&str], trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut address = peer;
    for hop in hops.iter().rev() {
        if !trusted(address) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(named) => address = named.to_canonical(),
            Err(_) => break,
        }
    }
    address
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn resolve(peer: &str, hops: &[&str]) -> String {
        let trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        first_untrusted(peer.parse().unwrap(), hops, trusted).to_string()
    }

    #[test]
    fn a_stranger_cannot_name_its_own_address() {
        assert_eq!(resolve("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
    }

    #[test]
    fn behind_trusted_proxies_the_nearest_stranger_counts() {
        assert_eq!(resolve("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(resolve("10.0.0.1", &["6.6.6.6", "203.0.113.9", " 10.0.0.2 "]), "203.0.113.9");
    }

    #[test]
    fn nonsense_ends_the_chain() {
        assert_eq!(resolve("10.0.0.1", &["203.0.113.9", "unknown"]), "10.0.0.1");
        assert_eq!(resolve("10.0.0.1", &[]), "10.0.0.1");
    }
}
