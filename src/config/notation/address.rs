//! Network addresses: where to listen, and whom to trust.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use schemars::{Schema, json_schema};
use serde_json::Value;

use super::{Notation, derive_from_notation, text};

const EXAMPLE: &str = "write an address and a port, such as 0.0.0.0:8080, localhost:8080 or \"[::]:8080\"";

/// A host and a port to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    text: String,
    port: u16,
}

impl ListenAddress {
    /// An address that is known to be one.
    pub(crate) fn known(host: &str, port: u16) -> Self {
        Self { text: format!("{host}:{port}"), port }
    }

    /// `host:port`, as the system's resolver takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The port; 0 lets the system choose.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The host: a name or an address, IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text.rsplit_once(':').map_or("", |(host, _)| host)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

derive_from_notation!(all: ListenAddress);

impl Notation for ListenAddress {
    type Target = Self;

    const NAME: &'static str = "ListenAddress";

    fn definition() -> Schema {
        json_schema!({
            "description": "A host (address or name) and a port.",
            "type": "string",
            "pattern": "^.+:[0-9]{1,5}$",
            "examples": ["0.0.0.0:8080", "[::]:8080", "localhost:8080"],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(format!("has no port: {EXAMPLE}"));
        };
        if port.is_empty() || !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(format!("has no port: {EXAMPLE}"));
        }
        let Ok(port) = port.parse() else {
            return Err("has a port beyond 65535".to_owned());
        };
        if !is_host(host) {
            return Err(format!("has no valid host: {EXAMPLE}"));
        }
        Ok(Self { text: text.to_owned(), port })
    }

    fn write(target: &Self) -> Value {
        Value::from(target.as_str())
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    // What consists of digits and dots only is meant as an address; as a name it would fail at start.
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return host.parse::<IpAddr>().is_ok();
    }
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// One address, or a network of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressRange(IpNet);

impl AddressRange {
    /// Whether the address is in the range. An IPv4 address in IPv6 clothes (`::ffff:a.b.c.d`) is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

derive_from_notation!(all: AddressRange);

impl Notation for AddressRange {
    type Target = Self;

    const NAME: &'static str = "AddressRange";

    fn definition() -> Schema {
        json_schema!({
            "description": "An IP address, or a network in CIDR notation.",
            "type": "string",
            "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$",
            "examples": ["10.0.0.7", "10.0.0.0/8", "fd00::/8"],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address.to_canonical())));
        }
        text.parse::<IpNet>().map(|network| Self(network.trunc())).map_err(|_| {
            "is not an IP address or network: write one such as 10.0.0.7, 10.0.0.0/8 or fd00::/8".to_owned()
        })
    }

    fn write(target: &Self) -> Value {
        Value::String(target.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_and_names_with_a_port_are_listened_on() {
        for (text, host, port) in [
            ("0.0.0.0:8080", "0.0.0.0", 8080),
            ("localhost:0", "localhost", 0),
            ("[::]:65535", "[::]", 65535),
            ("[::1]:80", "[::1]", 80),
            ("my-host.internal_zone:80", "my-host.internal_zone", 80),
        ] {
            let address = ListenAddress::read(&json!(text)).unwrap();
            assert_eq!((address.host(), address.port(), address.as_str()), (host, port, text));
        }
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused_with_its_reason() {
        for (value, reason) in [
            (json!("8080"), "has no port"),
            (json!(8080), "is a number, not text"),
            (json!("localhost"), "has no port"),
            (json!("localhost:"), "has no port"),
            (json!("localhost:http"), "has no port"),
            (json!("localhost:+80"), "has no port"),
            (json!("localhost:-1"), "has no port"),
            (json!("localhost:65536"), "has a port beyond"),
            (json!("localhost:99999999999999999999"), "has a port beyond"),
            (json!(":8080"), "has no valid host"),
            (json!("::1:8080"), "has no valid host"),
            (json!("[::1:8080"), "has no valid host"),
            (json!("[1.2.3.4]:8080"), "has no valid host"),
            (json!("1.2.3:8080"), "has no valid host"),
            (json!("256.0.0.1:8080"), "has no valid host"),
            (json!("http://localhost:8080"), "has no valid host"),
            (json!("a b:80"), "has no valid host"),
            (json!("-a:80"), "has no valid host"),
            (json!("a..b:80"), "has no valid host"),
        ] {
            let error = ListenAddress::read(&value).unwrap_err();
            assert!(error.starts_with(reason), "{value}: {error}");
        }
    }

    #[test]
    fn a_range_knows_its_members_in_either_clothes() {
        let range = |text: &str| AddressRange::read(&json!(text)).unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(range("10.0.0.0/8").contains(address("10.255.0.1")));
        assert!(range("10.0.0.0/8").contains(address("::ffff:10.0.0.1")));
        assert!(range("::ffff:10.0.0.1").contains(address("10.0.0.1")));
        assert!(!range("10.0.0.0/8").contains(address("11.0.0.1")));
        assert!(!range("10.0.0.7").contains(address("10.0.0.8")));
        assert!(range("fd00::/8").contains(address("fd12::1")));
        assert!(range("0.0.0.0/0").contains(address("1.2.3.4")));
        assert!(!range("0.0.0.0/0").contains(address("::1")));
        assert_eq!(range("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(range("10.0.0.7").to_string(), "10.0.0.7");
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for value in
            [json!("10.0.0.0/33"), json!("10.0.0.0/-1"), json!("localhost"), json!(""), json!("10.0.0"), json!(10)]
        {
            assert!(AddressRange::read(&value).is_err(), "{value}");
        }
    }
}
