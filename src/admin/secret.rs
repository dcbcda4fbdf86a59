//! Secrets: made from 256 random bits, kept only as their SHA-256.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// Characters of a secret that are kept in clear, to recognise it by: the `tg-` and 48 of the 256 bits.
const PREFIX: usize = 11;

/// A new secret. Its `Debug` shows nothing.
pub struct Secret(String);

impl Secret {
    /// `tg-` and 43 base64url characters.
    #[must_use]
    pub fn generate() -> Self {
        let bits: [u8; 32] = rand::random();
        Self(format!("tg-{}", URL_SAFE_NO_PAD.encode(bits)))
    }

    /// What is kept.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// The first characters.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.get(..PREFIX).unwrap_or_default()
    }

    /// The secret itself, for the one answer that shows it.
    #[must_use]
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The SHA-256 of something.
#[derive(Clone, Debug)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of a secret.
    #[must_use]
    pub fn of(text: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Of several parts; where one ends and the next begins counts.
    #[must_use]
    pub fn of_parts(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// In lower-case hex, as in the database.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            for half in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
            }
            hex
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Secret};

    #[test]
    fn a_secret_is_tg_and_43_base64url_characters() {
        let secret = Secret::generate();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        let prefix = secret.prefix().to_owned();
        let text = secret.reveal();
        assert!(text.starts_with(&prefix) && prefix.len() == 11);
        let bits = text.strip_prefix("tg-").unwrap_or_default();
        assert_eq!(bits.len(), 43);
        assert!(bits.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
        assert_ne!(text, Secret::generate().reveal());
    }

    #[test]
    fn a_digest_is_lower_case_hex_of_sha_256() {
        assert_eq!(Digest::of("abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(Digest::of("abc").is(&Digest::of("abc")));
        assert!(!Digest::of("abc").is(&Digest::of("abd")));
        assert!(!Digest::of_parts(&["ab", "c"]).is(&Digest::of_parts(&["a", "bc"])));
    }
}
