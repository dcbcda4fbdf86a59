//! URLs: of providers, which must not carry credentials, and of stores, which may and are then shown masked.

use std::fmt;
use std::sync::Arc;

use schemars::{Schema, json_schema};
use serde_json::Value;
use url::Url;

use super::secret::MASK;
use super::{Notation, derive_from_notation, text};

/// Parameters of a URL whose value is a credential.
const SECRET_PARAMETERS: [&str; 4] = ["password", "pass", "sslpassword", "token"];

/// The notation of a provider's base URL.
pub struct BaseUrlNotation;

derive_from_notation!(schema: BaseUrlNotation);

impl Notation for BaseUrlNotation {
    type Target = Url;

    const NAME: &'static str = "BaseUrl";

    // Somebody may have put a credential into it, which is then what is wrong with it.
    const SECRET: bool = true;

    fn definition() -> Schema {
        json_schema!({
            "description": "An http or https URL with a host and possibly a path.",
            "type": "string",
            "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+(/[^?#]*)?$",
            "examples": ["https://api.anthropic.com", "http://127.0.0.1:11434"],
        })
    }

    fn read(value: &Value) -> Result<Url, String> {
        let text = text(value)?;
        let lower = text.to_ascii_lowercase();
        if !lower.starts_with("http://") && !lower.starts_with("https://") {
            return Err("is not an http or https URL: write one such as https://api.example.com".to_owned());
        }
        let url = Url::parse(text).map_err(|error| format!("is not a valid URL: {error}"))?;
        if !url.has_host() {
            return Err("has no host: write one such as https://api.example.com".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return Err("has a user or password in it: put the credential into api_key".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or fragment: a base URL ends with its path".to_owned());
        }
        Ok(url)
    }

    fn write(target: &Url) -> Value {
        Value::from(target.as_str())
    }
}

/// A URL that may carry a password, with which it is never shown.
macro_rules! store_url {
    ($name:ident, $what:literal, $schemes:expr, $examples:expr) => {
        #[doc = concat!("The URL of ", $what, ". It may carry a password and is shown without.")]
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A URL that is known to be one.
            pub(crate) fn known(text: &str) -> Self {
                Self(text.into())
            }

            /// The URL with its password, for the one place that connects.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&masked(&self.0))
            }
        }

        derive_from_notation!(all: $name);

        impl Notation for $name {
            type Target = Self;

            const NAME: &'static str = stringify!($name);

            const SECRET: bool = true;

            fn definition() -> Schema {
                json_schema!({
                    "description": concat!("The URL of ", $what, "."),
                    "type": "string",
                    "pattern": format!("^({}):", $schemes.join("|").replace('+', "\\+")),
                    "examples": $examples,
                })
            }

            fn read(value: &Value) -> Result<Self, String> {
                read_store_url(text(value)?, &$schemes, &$examples).map(|()| Self::known(text(value).unwrap_or_default()))
            }

            fn write(target: &Self) -> Value {
                Value::String(target.to_string())
            }
        }
    };
}

store_url!(
    DatabaseUrl,
    "a database",
    ["sqlite", "postgres", "postgresql"],
    ["sqlite://data/tollgate.db", "postgres://tollgate:${DATABASE_PASSWORD}@db/tollgate"]
);

store_url!(
    RedisUrl,
    "a Redis server or cluster",
    ["redis", "rediss", "redis+cluster", "rediss+cluster"],
    ["redis://127.0.0.1:6379", "redis+cluster://cache:6379"]
);

fn read_store_url(text: &str, schemes: &[&str], examples: &[&str]) -> Result<(), String> {
    let known = text.split_once(':').is_some_and(|(scheme, _)| schemes.contains(&scheme));
    if !known {
        return Err(format!("is not a URL that is supported: write one such as {}", examples.join(" or ")));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("has a space or a line break in it".to_owned());
    }
    // SQLite's are file names; the others are URLs with a host.
    if text.starts_with("sqlite:") {
        let file = text.trim_start_matches("sqlite:").trim_start_matches("//");
        return if file.is_empty() { Err("names no file: write sqlite://data/tollgate.db".to_owned()) } else { Ok(()) };
    }
    let url = Url::parse(text).map_err(|error| {
        format!("is not a valid URL: {error} (a password with special characters must be percent-encoded)")
    })?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("has no host: write one such as {}", examples.join(" or ")));
    }
    Ok(())
}

/// The URL without what is secret in it.
fn masked(text: &str) -> String {
    if text.starts_with("sqlite:") {
        return text.to_owned();
    }
    let Ok(mut url) = Url::parse(text) else {
        return MASK.to_owned();
    };
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    if url.query_pairs().any(|(name, _)| is_secret(&name)) {
        let pairs: Vec<_> = url
            .query_pairs()
            .map(|(name, value)| if is_secret(&name) { (name, MASK.into()) } else { (name, value) })
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.into()
}

fn is_secret(parameter: &str) -> bool {
    SECRET_PARAMETERS.iter().any(|secret| secret.eq_ignore_ascii_case(parameter))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_base_url_has_a_host_and_perhaps_a_path() {
        for text in [
            "https://api.anthropic.com",
            "http://127.0.0.1:11434/",
            "https://eu.example.com/openai/v2",
            "HTTPS://[::1]:8",
        ] {
            assert!(BaseUrlNotation::read(&json!(text)).is_ok(), "{text}");
        }
        for (text, reason) in [
            ("", "is not an http"),
            ("api.anthropic.com", "is not an http"),
            ("ftp://example.com", "is not an http"),
            ("file:///etc/passwd", "is not an http"),
            ("https:example.com", "is not an http"),
            ("https://", "is not a valid URL"),
            ("https://exa mple.com", "is not a valid URL"),
            ("https://example.com:99999", "is not a valid URL"),
            ("https://user:canary@example.com", "has a user or password"),
            ("https://canary@example.com", "has a user or password"),
            ("https://:@example.com", "has a user or password"),
            ("https://example.com/?key=canary", "has a query"),
            ("https://example.com/#a", "has a query"),
        ] {
            let error = BaseUrlNotation::read(&json!(text)).unwrap_err();
            assert!(error.starts_with(reason) && !error.contains("canary"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        let url = DatabaseUrl::read(&json!("postgres://me:canary@db:5432/x?sslmode=require&Password=canary")).unwrap();
        let shown = format!("{url} {url:?} {}", serde_json::to_string(&url).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("postgres://me:***@db:5432/x?sslmode=require"), "{shown}");
        assert!(url.expose().contains("me:canary@"));

        let url = RedisUrl::read(&json!("redis://:canary@cache:6379/1")).unwrap();
        assert_eq!(url.to_string(), "redis://:***@cache:6379/1");
    }

    #[test]
    fn a_url_without_secrets_is_shown_as_it_is() {
        for text in ["sqlite://data/tollgate.db", "sqlite::memory:", "postgres://db/x", "redis+cluster://a:1"] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused_without_showing_it() {
        for text in [
            "",
            "canary",
            "mysql://me:canary@db/x",
            "postgres://",
            "postgres://me:can#ary@db:x/",
            "sqlite://",
            "postgres://a b",
        ] {
            let error = DatabaseUrl::read(&json!(text)).unwrap_err();
            assert!(!error.contains("canary") && !error.contains("can#ary"), "{error}");
        }
        assert!(RedisUrl::read(&json!("http://cache:6379")).is_err());
        assert!(RedisUrl::read(&json!("rediss+cluster://cache:6379")).is_ok());
    }
}
