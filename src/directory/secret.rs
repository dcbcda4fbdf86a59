//! The secrets that clients send: how they are made, recognised and kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};

const KEY_PREFIX: &str = "tg-";
const ADMIN_PREFIX: &str = "tgadm-";

/// 256 bits in base64url without padding.
const BODY_CHARS: usize = 43;

/// How much of the body is kept, to recognise a secret by. 220 unknown bits remain.
const SHOWN_CHARS: usize = 6;

/// A secret that was just made. It is shown once, and never stored.
pub struct Secret {
    text: String,
    prefix_chars: usize,
}

impl Secret {
    /// A key for the gateway: `tg-` and 43 characters.
    #[must_use]
    pub fn for_key() -> Self {
        Self::new(KEY_PREFIX)
    }

    /// A token for the administration: `tgadm-` and 43 characters.
    #[must_use]
    pub fn for_admin() -> Self {
        Self::new(ADMIN_PREFIX)
    }

    /// The secret itself, to show it to the one who asked for it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What is stored in its place.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.text)
    }

    /// The first characters, to recognise it by.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.text[..self.prefix_chars]
    }

    fn new(prefix: &str) -> Self {
        let bytes: [u8; 32] = rand::rng().random();
        let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
        Self { text, prefix_chars: prefix.len() + SHOWN_CHARS }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}...)", self.prefix())
    }
}

/// Whether this could be a key at all; what could not is refused without asking the database.
#[must_use]
pub fn is_key_shaped(text: &str) -> bool {
    text.strip_prefix(KEY_PREFIX).is_some_and(|body| {
        body.len() == BODY_CHARS && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// SHA-256 of a secret. A fast hash is right here: 256 random bits cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Of any text that was sent as a credential.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// From the form in the database.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// Spreads hashes over shards.
    pub(super) fn shard(&self, shards: usize) -> usize {
        usize::from(self.0[0]) % shards
    }
}

/// The form in the database: 64 lower-case hexadecimal digits.
impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHash({:02x}{:02x}...)", self.0[0], self.0[1])
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_key_is_tg_and_43_characters_and_never_the_same() {
        let (one, two) = (Secret::for_key(), Secret::for_key());
        assert_eq!(one.expose().len(), 46);
        assert!(is_key_shaped(one.expose()));
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.prefix(), &one.expose()[..9]);
        assert!(!is_key_shaped(Secret::for_admin().expose()), "an admin token is not a key");
    }

    #[test]
    fn debug_output_does_not_tell_the_secret() {
        let secret = Secret::for_key();
        assert!(!format!("{secret:?}").contains(&secret.expose()[9..]));
        assert!(!format!("{:?}", secret.hash()).contains(&secret.hash().to_string()[8..]));
    }

    #[test]
    fn a_hash_is_the_sha256_in_lower_case_hex() {
        let hash = SecretHash::of("abc");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(SecretHash::from_hex(&hash.to_string()).unwrap(), hash);
    }

    #[test]
    fn what_is_not_a_hash_is_not_taken_for_one() {
        let hash = SecretHash::of("abc").to_string();
        for text in ["", "00", &hash[1..], &hash.to_uppercase(), &format!("{hash}0"), &hash.replace('b', "g")] {
            assert_eq!(SecretHash::from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_shaped_like_a_key_is_not_one() {
        let body = "a".repeat(43);
        assert!(is_key_shaped(&format!("tg-{body}")));
        for text in [
            String::new(),
            "tg-".to_owned(),
            body.clone(),
            format!("TG-{body}"),
            format!("tg-{body}a"),
            format!("tg-{}", &body[1..]),
            format!("tg-{} ", &body[1..]),
            format!("tg-{}+", &body[1..]),
            format!("tg-{}\0", &body[1..]),
            // 43 bytes, but not 43 characters of the alphabet.
            format!("tg-{}é", &body[2..]),
            "x".repeat(10 << 20),
        ] {
            assert!(!is_key_shaped(&text), "{}", &text.chars().take(60).collect::<String>());
        }
    }
}
