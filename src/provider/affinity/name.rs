//! What a conversation is called among nodes.

use std::fmt;
use std::hash::Hasher as _;

use rand::RngCore as _;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::dialect::{Dialect, Identity};

/// What belongs together ends with a byte that is in none of it.
const END: [u8; 1] = [0xFF];

/// A keyed hash: nobody who does not know the secret can make two conversations meet in one, and a name tells nothing of
/// what it was made from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThreadName(u128);

/// What names are made with. All nodes of a Redis have the same.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret([u8; 16]);

/// Whose conversation it is, and with whom. Each has its own: a cache is of one model, and nobody shall find out by its
/// pace that another key has said the same.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The key's id.
    pub key: i64,
    /// The wire format.
    pub dialect: Dialect,
    /// The model, as the client names it.
    pub model: &'a str,
}

impl Secret {
    pub fn new() -> Self {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// As nodes tell it to each other.
    pub fn to_text(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// None: it is not one.
    pub fn from_text(text: &str) -> Option<Self> {
        parse(text).map(|number| Self(number.to_be_bytes()))
    }
}

impl ThreadName {
    /// None: it is not one.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        parse(text).map(Self)
    }
}

impl fmt::Display for ThreadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ThreadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn parse(text: &str) -> Option<u128> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

/// None: nothing tells the conversation from others.
pub(super) fn name(secret: &Secret, asker: Asker<'_>, identity: Identity<'_>, body: &[u8]) -> Option<ThreadName> {
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    hasher.write(&asker.key.to_le_bytes());
    for part in [asker.dialect.as_str(), asker.model] {
        hasher.write(part.as_bytes());
        hasher.write(&END);
    }
    match identity {
        Identity::Named(name) => {
            hasher.write(b"named");
            hasher.write(name.as_bytes());
        }
        Identity::Opening(opening, person) => {
            hasher.write(b"opening");
            hasher.write(person.unwrap_or_default().as_bytes());
            hasher.write(&END);
            let says = opening.hear(body, |piece| hasher.write(piece));
            if !says && person.is_none() {
                return None;
            }
        }
    }
    Some(ThreadName(hasher.finish128().into()))
}
