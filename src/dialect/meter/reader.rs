//! One answer's bytes on their way through framing and JSON to the reader of a dialect.

use super::super::scan::{Events, Framing, Node, Scalar, Scanner, Sink};
use super::Progress;

/// Longest name of an event that matters (`response.output_item.done`).
const MAX_EVENT_NAME: usize = 40;

/// A dialect's knowledge of its answers.
pub(in super::super) trait Reader: Default + Send + Sync + 'static {
    /// The places in a document that matter.
    type Field: Copy + Send + Sync + std::fmt::Debug + 'static;

    /// The text that ends a stream instead of an event with a name.
    const DONE: Option<&'static [u8]> = None;

    /// Where they are.
    fn root() -> &'static Node<Self::Field>;

    /// A marked object begins.
    fn open(&mut self, field: Self::Field, progress: &mut Progress);

    /// A marked object ends. `event` is the name of the event that it is in, empty if it has none.
    fn close(&mut self, field: Self::Field, event: &str, progress: &mut Progress);

    /// A scalar.
    fn scalar(&mut self, field: Self::Field, value: Scalar<'_>, progress: &mut Progress);
}

/// Takes the bytes of an answer.
pub(super) trait Body: Send + Sync {
    /// The next bytes.
    fn feed(&mut self, bytes: &[u8]);
    /// What is known.
    fn progress(&self) -> &Progress;
}

/// A body in which documents follow each other: a whole answer is one, JSON lines are many.
pub(super) struct Documents<R: Reader> {
    scanner: Scanner<R::Field>,
    findings: Findings<R>,
}

/// A stream of server-sent events.
pub(super) struct Stream<R: Reader> {
    framing: Framing,
    scanner: Scanner<R::Field>,
    findings: Findings<R>,
    /// How much of the closing text the event's data has matched; none when it is something else.
    done_matched: Option<usize>,
}

struct Findings<R> {
    reader: R,
    progress: Progress,
    event: EventName,
    /// Whether the end of a document is the end of the answer.
    closes: bool,
}

impl<R: Reader> Documents<R> {
    /// `whole`: there is only one document.
    pub fn new(whole: bool) -> Self {
        Self { scanner: Scanner::new(R::root()), findings: Findings::new(whole) }
    }
}

impl<R: Reader> Stream<R> {
    pub fn new() -> Self {
        Self {
            framing: Framing::default(),
            scanner: Scanner::new(R::root()),
            findings: Findings::new(false),
            done_matched: Some(0),
        }
    }
}

impl<R: Reader> Body for Documents<R> {
    fn feed(&mut self, bytes: &[u8]) {
        self.scanner.feed(bytes, &mut self.findings);
    }

    fn progress(&self) -> &Progress {
        &self.findings.progress
    }
}

impl<R: Reader> Body for Stream<R> {
    fn feed(&mut self, bytes: &[u8]) {
        let Self { framing, scanner, findings, done_matched } = self;
        framing.feed(bytes, &mut Event { scanner, findings, done_matched });
    }

    fn progress(&self) -> &Progress {
        &self.findings.progress
    }
}

impl<R: Reader> Findings<R> {
    fn new(closes: bool) -> Self {
        Self { reader: R::default(), progress: Progress::default(), event: EventName::default(), closes }
    }
}

impl<R> Findings<R> {
    /// An event that is named an error is one, whatever its data is.
    fn end_event(&mut self) {
        if self.progress.verdict().is_none() && self.event.as_str() == "error" {
            self.progress.error = true;
            self.progress.decide();
        }
    }
}

impl<R: Reader> Sink<R::Field> for Findings<R> {
    fn open(&mut self, field: R::Field) {
        self.reader.open(field, &mut self.progress);
    }

    fn close(&mut self, field: R::Field) {
        self.reader.close(field, self.event.as_str(), &mut self.progress);
    }

    fn scalar(&mut self, field: R::Field, value: Scalar<'_>) {
        self.reader.scalar(field, value, &mut self.progress);
    }

    fn text(&mut self, bytes: usize) {
        self.progress.content_bytes += bytes as u64;
    }

    fn document(&mut self) {
        self.progress.closed |= self.closes;
        self.progress.decide();
    }
}

struct Event<'s, R: Reader> {
    scanner: &'s mut Scanner<R::Field>,
    findings: &'s mut Findings<R>,
    done_matched: &'s mut Option<usize>,
}

impl<R: Reader> Event<'_, R> {
    /// Follows the closing text as it comes, so that its last byte is enough.
    fn match_done(&mut self, part: &[u8]) {
        let (Some(done), Some(mut matched)) = (R::DONE, *self.done_matched) else {
            return;
        };
        for &byte in part {
            if matched < done.len() && byte == done[matched] {
                matched += 1;
            } else if !byte.is_ascii_whitespace() || !(matched == 0 || matched == done.len()) {
                *self.done_matched = None;
                return;
            }
        }
        *self.done_matched = Some(matched);
        self.findings.progress.closed |= matched == done.len();
    }
}

impl<R: Reader> Events for Event<'_, R> {
    fn data(&mut self, part: &[u8]) {
        self.match_done(part);
        self.scanner.feed(part, self.findings);
    }

    fn name(&mut self, part: &[u8]) {
        self.findings.event.append(part);
    }

    fn end(&mut self) {
        self.findings.end_event();
        self.scanner.reset();
        self.findings.event.clear();
        *self.done_matched = Some(0);
    }
}

/// The name of the event in progress.
#[derive(Debug)]
struct EventName {
    bytes: [u8; MAX_EVENT_NAME],
    len: usize,
}

impl Default for EventName {
    fn default() -> Self {
        Self { bytes: [0; MAX_EVENT_NAME], len: 0 }
    }
}

impl EventName {
    fn append(&mut self, part: &[u8]) {
        for &byte in part {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }
}
