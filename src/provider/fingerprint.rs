//! What a provider is called among nodes: those that mean the same account at the same place call it the same.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config;

/// So much of the hash of the key goes in, in bytes: it tells whether the key was changed, and is too little to find it out
/// by, however it was chosen.
const OF_KEY: usize = 2;

/// See the module. It tells nothing of the provider's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(Arc<str>);

impl Fingerprint {
    /// Of what [`config::Provider::is_same_upstream`] looks at, and of the name.
    #[must_use]
    pub fn of(provider: &config::Provider) -> Self {
        let mut sha = Sha256::new();
        let mut part = |bytes: &[u8]| {
            sha.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
            sha.update(bytes);
        };
        part(provider.name.as_bytes());
        part(provider.base_url.as_str().as_bytes());
        part(&Sha256::digest(provider.api_key.expose())[..OF_KEY]);
        provider.dialects.iter().for_each(|dialect| part(dialect.as_str().as_bytes()));
        let hash = sha.finalize();
        Self(hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn of(provider: &str) -> Fingerprint {
        Fingerprint::of(&serde_json::from_str(provider).unwrap())
    }

    #[test]
    fn whatever_makes_it_another_upstream_changes_it_and_nothing_else_does() {
        let url = r#""base_url": "https://a.example""#;
        let same = of(&format!(r#"{{"name": "a", "dialects": ["gemini"], "api_key": "k", {url}}}"#));
        assert_eq!(
            same,
            of(&format!(r#"{{"name": "a", "dialects": ["gemini"], "api_key": "k", {url}, "weight": 7}}"#))
        );
        for other in [
            format!(r#"{{"name": "b", "dialects": ["gemini"], "api_key": "k", {url}}}"#),
            format!(r#"{{"name": "a", "dialects": ["anthropic"], "api_key": "k", {url}}}"#),
            format!(r#"{{"name": "a", "dialects": ["gemini"], "api_key": "l", {url}}}"#),
            format!(r#"{{"name": "a", "dialects": ["gemini"], {url}}}"#),
            r#"{"name": "a", "dialects": ["gemini"], "api_key": "k", "base_url": "https://b.example"}"#.to_owned(),
        ] {
            assert_ne!(same, of(&other), "{other}");
        }
    }
}
