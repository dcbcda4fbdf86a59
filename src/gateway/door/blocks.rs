//! Finds in what an HTTP/2 client sends where the heads of its requests (header blocks, RFC 9113, 4.3) begin and end.

/// What an HTTP/2 client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length, type, flags and stream.
const FRAME_HEAD: usize = 9;
/// Where the type is in it.
const TYPE: usize = 3;
/// Where the flags are.
const FLAGS: usize = 4;

/// The type of a frame that begins a block.
const HEADERS: u8 = 0x1;
/// The flag of the frame that ends it.
const END_HEADERS: u8 = 0x4;

/// Follows a connection's bytes. What breaks the rules is left to the one who speaks the protocol.
pub(super) struct Blocks {
    /// The head of the frame that is being read, or of the last one.
    frame: [u8; FRAME_HEAD],
    /// How much of it has come.
    seen: usize,
    /// How much of the frame's payload, at first of the preface, is still to come.
    rest: usize,
    open: bool,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { frame: [0; FRAME_HEAD], seen: 0, rest: PREFACE.len(), open: false }
    }
}

impl Blocks {
    /// Whether a block has begun and not ended.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Takes note of the next bytes. Returns whether a block has begun in them that does not end in them.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> bool {
        let mut began = false;
        while !bytes.is_empty() {
            if self.rest > 0 {
                let length = self.rest.min(bytes.len());
                self.rest -= length;
                bytes = &bytes[length..];
            } else {
                let (head, after) = bytes.split_at(bytes.len().min(FRAME_HEAD - self.seen));
                self.frame[self.seen..self.seen + head.len()].copy_from_slice(head);
                self.seen += head.len();
                bytes = after;
                if !self.open && self.seen > TYPE && self.frame[TYPE] == HEADERS {
                    (self.open, began) = (true, true);
                }
                if self.seen < FRAME_HEAD {
                    break;
                }
                let [a, b, c, ..] = self.frame;
                (self.seen, self.rest) = (0, usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
            }
            if self.rest == 0 && self.frame[FLAGS] & END_HEADERS != 0 {
                // The flag means something else on other frames, which cannot come while a block is open.
                (self.open, began) = (false, false);
            }
        }
        began
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTINUATION: u8 = 0x9;
    const DATA: u8 = 0x0;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn after_preface() -> Blocks {
        let mut blocks = Blocks::default();
        assert!(!blocks.see(PREFACE));
        blocks
    }

    #[test]
    fn a_block_is_open_from_its_type_to_its_last_byte_however_the_bytes_are_cut() {
        let bytes = [frame(HEADERS, 0x1, b"ab"), frame(CONTINUATION, 0, b""), frame(CONTINUATION, END_HEADERS, b"cd")];
        let bytes = bytes.concat();
        for size in 1..=bytes.len() {
            let mut blocks = after_preface();
            let (mut seen, mut began) = (0, 0);
            for piece in bytes.chunks(size) {
                began += usize::from(blocks.see(piece));
                seen += piece.len();
                assert_eq!(blocks.is_open(), (TYPE + 1..bytes.len()).contains(&seen), "{seen} by {size}");
            }
            assert_eq!(began, usize::from(size < bytes.len()), "it begins once, if not seen whole: by {size}");
        }
    }

    #[test]
    fn whole_blocks_and_other_frames_leave_nothing_open() {
        let mut blocks = after_preface();
        let data = frame(DATA, 0x1, &[HEADERS; 100]);
        let whole = [frame(HEADERS, 0x5, b"ab"), data.clone(), frame(HEADERS, END_HEADERS, b""), data].concat();
        assert!(!blocks.see(&whole));
        assert!(!blocks.is_open());
        // The preface itself looks like no frame.
        assert!(!Blocks::default().see(&[PREFACE, &whole[..]].concat()));
    }

    #[test]
    fn a_block_after_another_in_one_piece_begins_anew() {
        let mut blocks = after_preface();
        assert!(blocks.see(&frame(HEADERS, 0, b"first")));
        assert!(!blocks.see(&frame(CONTINUATION, 0, b"more of it")), "it has begun before");
        let next = [frame(CONTINUATION, END_HEADERS, b""), frame(HEADERS, 0, b"second")].concat();
        assert!(blocks.see(&next));
        assert!(blocks.is_open());
    }
}
