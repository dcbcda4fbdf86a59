//! Where a provider lives: its base URL, how to connect to it and how to trust it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::tls::{ALPN, CustomALPN};
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{WrappedX509, parse_x509};
use url::{Host, Url};

/// Idle connections are closed before a provider's own keep-alive usually ends, so that a request rarely meets a
/// connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// How long the network may refuse to take bytes of the request. A provider that answers before it has read the
/// whole body is noticed after this time at the latest.
const WRITE_STALL: Duration = Duration::from_secs(10);

/// The name under which the proxy finds our connector; the real protocols are negotiated below it.
const H1: &[u8] = b"tollgate-h1";
const H2_OR_H1: &[u8] = b"tollgate-h2h1";

/// What is wrong with a provider's address or certificates.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL, or not one that can be called.
    #[error("base_url must be an http or https URL with a host")]
    BadUrl,
    /// The CA file cannot be used.
    #[error("tls.ca_file {0}: {1}")]
    CaFile(String, String),
}

/// A provider's address, parsed once.
#[derive(Clone)]
pub struct Endpoint {
    /// Name or address without brackets; the name is also what TLS verifies.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// Value of the `Host` header.
    pub authority: Arc<str>,
    /// Path before the dialect's own path, without a trailing slash.
    path: Arc<str>,
    tls: bool,
    ca: Option<Arc<[WrappedX509]>>,
    verify: bool,
    /// Keeps the pools of two providers apart although they share an address: the pool does not look at the CA.
    group_key: u64,
    connect: Duration,
}

impl Endpoint {
    /// An endpoint from a provider's settings; `name` keeps its connections apart from other providers'.
    ///
    /// # Errors
    /// When the URL cannot be called or the CA file cannot be read.
    pub fn new(
        name: &str,
        base_url: &Url,
        ca_file: Option<&Path>,
        verify: bool,
        connect: Duration,
    ) -> Result<Self, EndpointError> {
        let tls = match base_url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(EndpointError::BadUrl),
        };
        let host = match base_url.host().ok_or(EndpointError::BadUrl)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        let port = base_url.port_or_known_default().ok_or(EndpointError::BadUrl)?;
        let host_text = base_url.host_str().ok_or(EndpointError::BadUrl)?;
        let authority = base_url.port().map_or_else(|| host_text.to_owned(), |p| format!("{host_text}:{p}"));
        let mut hasher = DefaultHasher::new();
        (name, base_url.as_str(), ca_file, verify).hash(&mut hasher);
        Ok(Self {
            host: host.into(),
            port,
            authority: authority.into(),
            path: base_url.path().trim_end_matches('/').into(),
            tls,
            ca: ca_file.map(read_ca).transpose()?,
            verify,
            group_key: hasher.finish(),
            connect,
        })
    }

    /// The path to call: the base URL's path, then the dialect's. A base URL that ends in a version of its own
    /// (`https://api.z.ai/api/paas/v4`, `https://api.openai.com/v1`) replaces the version of the dialect's path.
    #[must_use]
    pub fn path_for(&self, path: &str) -> String {
        let rest = match (self.path.rsplit('/').next(), path.get(1..)) {
            (Some(last), Some(tail)) if is_version(last) => match tail.split_once('/') {
                Some((first, _)) if is_version(first) => &path[1 + first.len()..],
                _ => path,
            },
            _ => path,
        };
        format!("{}{rest}", self.path)
    }

    /// A peer at one of the endpoint's addresses, which has to be connected within `left`, if that is less than its own
    /// time.
    #[must_use]
    pub fn peer(&self, address: SocketAddr, left: Option<Duration>) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.tls, self.host.to_string());
        peer.group_key = self.group_key;
        let options = &mut peer.options;
        options.alpn = ALPN::Custom(CustomALPN::new(if self.tls { H2_OR_H1 } else { H1 }.to_vec()));
        let connect = Some(self.connect).filter(|connect| !connect.is_zero());
        if let Some(connect) = connect.into_iter().chain(left).min() {
            options.connection_timeout = Some(connect);
            options.total_connection_timeout = Some(connect);
        }
        options.write_timeout = Some(WRITE_STALL);
        options.idle_timeout = Some(POOL_IDLE);
        options.ca.clone_from(&self.ca);
        options.verify_cert = self.verify;
        options.verify_hostname = self.verify;
        peer
    }
}

/// The peer below the proxy: the same, with the protocols that are really offered to the provider.
pub(super) fn real_peer(peer: &HttpPeer) -> HttpPeer {
    let mut real = peer.clone();
    real.options.alpn = match &peer.options.alpn {
        ALPN::Custom(name) if name.protocol() == H2_OR_H1 => ALPN::H2H1,
        _ => ALPN::H1,
    };
    real
}

fn read_ca(file: &Path) -> Result<Arc<[WrappedX509]>, EndpointError> {
    let fail = |why: String| EndpointError::CaFile(file.display().to_string(), why);
    let pem = std::fs::read(file).map_err(|e| fail(e.to_string()))?;
    let certificates = rustls_pemfile::certs(&mut pem.as_slice())
        .map(|c| c.map(|c| WrappedX509::new(c.to_vec(), parse_x509)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| fail(e.to_string()))?;
    if certificates.is_empty() {
        return Err(fail("holds no certificate in PEM form".into()));
    }
    Ok(certificates.into())
}

/// `v1`, `v1beta`, `v4`: how providers name the version in a path.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && rest.as_bytes()[digits..].iter().all(u8::is_ascii_alphanumeric)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new("p", &Url::parse(url).unwrap(), None, true, Duration::from_secs(5)).unwrap()
    }

    #[test]
    fn the_dialects_path_follows_the_base_path() {
        let path = "/v1/chat/completions";
        assert_eq!(endpoint("https://api.openai.com").path_for(path), path);
        assert_eq!(endpoint("https://api.openai.com/").path_for(path), path);
        assert_eq!(endpoint("https://a.example/anthropic/").path_for("/v1/messages"), "/anthropic/v1/messages");
    }

    #[test]
    fn a_base_url_with_a_version_replaces_the_dialects_version() {
        let path = "/v1/chat/completions";
        assert_eq!(endpoint("https://api.openai.com/v1").path_for(path), path);
        assert_eq!(endpoint("https://api.z.ai/api/paas/v4/").path_for(path), "/api/paas/v4/chat/completions");
        assert_eq!(
            endpoint("https://g.example/v1beta").path_for("/v1beta/models/m:generateContent"),
            "/v1beta/models/m:generateContent"
        );
        assert_eq!(endpoint("https://a.example/video").path_for(path), "/video/v1/chat/completions");
    }

    #[test]
    fn the_authority_names_the_port_only_when_the_url_does() {
        assert_eq!(&*endpoint("https://a.example").authority, "a.example");
        assert_eq!(&*endpoint("http://a.example:8080").authority, "a.example:8080");
        let v6 = endpoint("http://[::1]:81");
        assert_eq!((&*v6.authority, &*v6.host, v6.port), ("[::1]:81", "::1", 81));
    }

    #[test]
    fn providers_at_one_address_do_not_share_connections() {
        let url = Url::parse("https://a.example").unwrap();
        let one = Endpoint::new("one", &url, None, true, Duration::ZERO).unwrap();
        let two = Endpoint::new("two", &url, None, true, Duration::ZERO).unwrap();
        assert_ne!(one.group_key, two.group_key);
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let url = Url::parse("https://a.example").unwrap();
        let error = Endpoint::new("p", &url, Some(file.path()), true, Duration::ZERO).err().unwrap();
        assert!(error.to_string().contains("no certificate"), "{error}");
    }

    #[test]
    fn every_peer_goes_through_the_engine_and_offers_real_protocols_below_it() {
        // One peer with a real protocol at the same address would put plain connections into the proxy's own pool,
        // from which the next request would be served past the engine.
        for (url, below) in [("http://a.example", ALPN::H1), ("https://a.example", ALPN::H2H1)] {
            let peer = endpoint(url).peer(SocketAddr::from(([127, 0, 0, 1], 80)), None);
            assert!(matches!(peer.options.alpn, ALPN::Custom(_)), "{url}");
            assert_eq!(real_peer(&peer).options.alpn, below, "{url}");
        }
    }
}
