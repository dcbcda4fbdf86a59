//! Pieces of a body that go on as one.

use bytes::{Bytes, BytesMut};

/// Pieces in order. One alone is not copied.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    first: Bytes,
    joined: Option<BytesMut>,
}

impl Pieces {
    /// Adds the next piece.
    pub fn push(&mut self, piece: Bytes) {
        match &mut self.joined {
            Some(joined) => joined.extend_from_slice(&piece),
            None if self.first.is_empty() => self.first = piece,
            None if piece.is_empty() => {}
            None => {
                let mut joined = BytesMut::with_capacity(2 * (self.first.len() + piece.len()));
                joined.extend_from_slice(&self.first);
                joined.extend_from_slice(&piece);
                self.joined = Some(joined);
            }
        }
    }

    /// How many bytes they are.
    pub fn len(&self) -> usize {
        self.joined.as_ref().map_or(self.first.len(), BytesMut::len)
    }

    /// All of them.
    pub fn into_bytes(self) -> Bytes {
        self.joined.map_or(self.first, BytesMut::freeze)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_in_order_and_one_alone_is_not_copied() {
        let mut pieces = Pieces::default();
        let only = Bytes::from(b"data: ".to_vec());
        for piece in [Bytes::new(), only.clone(), Bytes::new()] {
            pieces.push(piece);
        }
        assert_eq!(pieces.len(), 6);
        assert_eq!(Pieces { first: only.clone(), joined: None }.into_bytes().as_ptr(), only.as_ptr());
        pieces.push(Bytes::from_static(b"{}"));
        pieces.push(Bytes::from_static(b"\n\n"));
        assert_eq!(pieces.len(), 10);
        assert_eq!(pieces.into_bytes(), "data: {}\n\n");
    }
}
