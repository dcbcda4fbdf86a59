//! Takes the usage chunk out of a chat stream again, for a client that did not ask for it.

use bytes::Bytes;

use super::scan::{Events, Framing, Node, Scalar, Scanner, Sink, array, object};

/// The usage chunk is small; an event that is larger than this passes.
const MAX_HELD: usize = 16 * 1024;

/// Passes a chat stream on without the one event that has an empty list of choices and a usage. All else passes byte
/// for byte. A complete event is never held back, and an incomplete one only while it may still turn out to be the
/// usage chunk.
#[derive(Debug)]
pub struct UsageChunkFilter {
    framing: Framing,
    scanner: Scanner<Field>,
    seen: Seen,
    /// The beginning of the event in progress.
    held: Vec<u8>,
    /// Whether an event was taken out, if it ended with the last bytes: an LF that belongs to its end shares its fate.
    just_removed: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Choices,
    Choice,
    Usage,
    Error,
}

static ROOT: Node<Field> = object(&[
    ("choices", array(&CHOICE).marked(Field::Choices)),
    ("usage", object(&[]).marked(Field::Usage)),
    ("error", object(&[]).marked(Field::Error)),
]);

const CHOICE: Node<Field> = object(&[]).marked(Field::Choice);

/// What is known of the event in progress.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    choices: bool,
    usage: bool,
    /// It is something else.
    other: bool,
    /// Its data has begun.
    data: bool,
}

impl Seen {
    const fn is_usage_chunk(self) -> bool {
        self.choices && self.usage && !self.other
    }
}

impl Default for UsageChunkFilter {
    fn default() -> Self {
        Self {
            framing: Framing::default(),
            scanner: Scanner::new(&ROOT),
            seen: Seen::default(),
            held: Vec::new(),
            just_removed: None,
        }
    }
}

impl UsageChunkFilter {
    /// A filter at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream and gives back what may go on now; without a copy when nothing is held or
    /// taken out.
    #[must_use]
    pub fn push(&mut self, bytes: Bytes) -> Bytes {
        let mut out = Output::default();
        // Bytes from here on have not been decided on; those before have gone out or been dropped.
        let mut pending = 0;
        if let Some(removed) = self.just_removed.take()
            && self.framing.expects_lf()
            && bytes.first() == Some(&b'\n')
        {
            pending = 1;
            if !removed {
                out.push(bytes.slice(..pending));
            }
        }
        let mut event = pending;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let mut events = Event { scanner: &mut self.scanner, seen: &mut self.seen };
            let Some(after) = self.framing.feed_event(rest, &mut events) else {
                break;
            };
            let end = bytes.len() - after.len();
            let removed = self.seen.is_usage_chunk();
            if removed {
                out.push(bytes.slice(pending..event));
                self.held.clear();
                pending = end;
            } else {
                out.push(Bytes::from(std::mem::take(&mut self.held)));
            }
            if after.is_empty() {
                self.just_removed = Some(removed);
            }
            self.next_event();
            event = end;
            rest = after;
        }
        if self.seen.other || self.held.len() + (bytes.len() - event) > MAX_HELD {
            // It is not the usage chunk, so it need not end before it goes out.
            self.seen.other = true;
            out.push(Bytes::from(std::mem::take(&mut self.held)));
            event = bytes.len();
        }
        self.held.extend_from_slice(&bytes[event..]);
        out.push(if pending == 0 && event == bytes.len() { bytes } else { bytes.slice(pending..event) });
        out.into_bytes()
    }

    /// The stream has ended; gives back what was held, unless it is a usage chunk that lacks its empty line.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        if self.seen.is_usage_chunk() { Bytes::new() } else { Bytes::from(held) }
    }

    fn next_event(&mut self) {
        self.scanner.reset();
        self.seen = Seen::default();
    }
}

struct Event<'f> {
    scanner: &'f mut Scanner<Field>,
    seen: &'f mut Seen,
}

impl Events for Event<'_> {
    fn data(&mut self, part: &[u8]) {
        if !self.seen.data
            && let Some(first) = part.iter().find(|byte| !byte.is_ascii_whitespace())
        {
            self.seen.data = true;
            self.seen.other |= *first != b'{';
        }
        // Once it is something else, only its end matters.
        if !self.seen.other {
            self.scanner.feed(part, self.seen);
        }
    }

    fn name(&mut self, _part: &[u8]) {}

    fn end(&mut self) {}
}

impl Sink<Field> for Seen {
    fn open(&mut self, field: Field) {
        match field {
            Field::Choices => self.choices = true,
            Field::Usage => self.usage = true,
            Field::Choice | Field::Error => self.other = true,
        }
    }

    fn close(&mut self, _field: Field) {}

    fn scalar(&mut self, _field: Field, _value: Scalar<'_>) {}

    fn text(&mut self, _bytes: usize) {}

    fn document(&mut self) {}
}

/// Pieces that go out together; usually one, which is then not copied.
#[derive(Default)]
struct Output(Vec<Bytes>);

impl Output {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.0.push(piece);
        }
    }

    fn into_bytes(mut self) -> Bytes {
        match self.0.len() {
            0 => Bytes::new(),
            1 => self.0.remove(0),
            _ => Bytes::from(self.0.concat()),
        }
    }
}

#[cfg(test)]
mod tests;
