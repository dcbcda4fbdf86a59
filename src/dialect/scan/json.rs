//! An incremental JSON reader that follows a [`Node`] tree and skips everything else.
//!
//! It is lenient (commas are not checked, what is skipped is only balanced): the provider's answer goes to the client
//! as it is, and all that matters here is to find the numbers in it. It keeps a stack as deep as the tree, and at most
//! [`MAX_CAPTURE`] bytes of a value that comes in pieces.

mod skip;
mod text;

pub(in super::super) use text::find_special;

use super::Scalar;
use super::tree::{Leaf, Node};
use skip::Skipper;
use text::Text;

/// The longest scalar or name that is handed over; longer ones are as if they were absent.
const MAX_CAPTURE: usize = 512;

/// Where the reader's findings go.
pub(in super::super) trait Sink<F> {
    /// An object or array begins at a marked node.
    fn open(&mut self, field: F);
    /// An object with members that matter ends at a marked node.
    fn close(&mut self, field: F);
    /// A scalar that the tree takes.
    fn scalar(&mut self, field: F, value: Scalar<'_>);
    /// Bytes of generated text.
    fn text(&mut self, bytes: usize);
    /// A whole document has been read.
    fn document(&mut self);
}

/// The reader.
#[derive(Debug)]
pub(in super::super) struct Scanner<F: 'static> {
    root: &'static Node<F>,
    stack: Vec<Frame<F>>,
    state: State,
    /// Node of the value that comes next; none when nobody wants it.
    next: Option<&'static Node<F>>,
    text: Text,
    /// What the string or bare word in progress is for.
    purpose: Purpose<F>,
    skipper: Skipper,
}

#[derive(Clone, Copy, Debug)]
struct Frame<F: 'static> {
    node: &'static Node<F>,
    is_array: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value is expected.
    Value,
    /// In an object: a name, a comma or the end.
    Member,
    /// Between a name and its value.
    Colon,
    /// In an array: a value, a comma or the end.
    Items,
    /// In a string.
    Text,
    /// In a number or literal.
    Bare,
    /// In a container that nobody wants.
    Skip,
    /// Not JSON; nothing more is read until the next document.
    Broken,
}

#[derive(Clone, Copy, Debug)]
enum Purpose<F> {
    Name,
    Take(F),
    Count,
    Skip,
}

impl<F: Copy> Scanner<F> {
    /// A reader at the start of a document.
    pub fn new(root: &'static Node<F>) -> Self {
        Self {
            root,
            stack: Vec::new(),
            state: State::Value,
            next: Some(root),
            text: Text::default(),
            purpose: Purpose::Skip,
            skipper: Skipper::default(),
        }
    }

    /// Forgets an unfinished document; the next byte begins a new one.
    pub fn reset(&mut self) {
        if self.state == State::Value && self.stack.is_empty() {
            return;
        }
        self.stack.clear();
        self.state = State::Value;
        self.next = Some(self.root);
        self.text.clear();
    }

    /// Reads the next bytes. Documents may follow each other.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink<F>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Value => self.value(rest, sink),
                State::Member => self.member(rest, sink),
                State::Colon => self.colon(rest, sink),
                State::Items => self.items(rest, sink),
                State::Text => self.string(rest, sink),
                State::Bare => self.bare(rest, sink),
                State::Skip => self.skip(rest, sink),
                State::Broken => return,
            };
        }
    }

    fn value<'b>(&mut self, bytes: &'b [u8], sink: &mut impl Sink<F>) -> &'b [u8] {
        let Some((&first, rest)) = trim_space(bytes).split_first() else {
            return &[];
        };
        match first {
            b'"' => {
                self.purpose = match self.next.map(|node| node.leaf) {
                    Some(Leaf::Take(field)) => Purpose::Take(field),
                    Some(Leaf::Count) => Purpose::Count,
                    Some(Leaf::Skip) | None => Purpose::Skip,
                };
                self.begin_string();
                self.string(rest, sink)
            }
            b'{' => {
                self.open_object(sink);
                rest
            }
            b'[' => {
                match self.next {
                    Some(node) if node.items.is_some() => {
                        if let Some(field) = node.mark {
                            sink.open(field);
                        }
                        self.stack.push(Frame { node, is_array: true });
                        self.next = node.items;
                        self.state = State::Items;
                    }
                    _ => self.skip_container(sink),
                }
                rest
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' => {
                self.purpose = match self.next.map(|node| node.leaf) {
                    Some(Leaf::Take(field)) => Purpose::Take(field),
                    _ => Purpose::Skip,
                };
                self.text.clear();
                self.state = State::Bare;
                self.bare(trim_space(bytes), sink)
            }
            _ => {
                self.state = State::Broken;
                &[]
            }
        }
    }

    fn open_object(&mut self, sink: &mut impl Sink<F>) {
        if let Some(node) = self.next {
            if let Some(field) = node.mark {
                sink.open(field);
            }
            if !node.members.is_empty() {
                self.stack.push(Frame { node, is_array: false });
                self.state = State::Member;
                return;
            }
        }
        self.skip_container(sink);
    }

    fn skip_container(&mut self, sink: &mut impl Sink<F>) {
        let counts = self.next.is_some_and(|node| matches!(node.leaf, Leaf::Count));
        self.skipper.begin(counts);
        if counts {
            sink.text(1);
        }
        self.state = State::Skip;
    }

    fn member<'b>(&mut self, bytes: &'b [u8], sink: &mut impl Sink<F>) -> &'b [u8] {
        let Some((&first, rest)) = trim_separators(bytes).split_first() else {
            return &[];
        };
        match first {
            b'"' => {
                self.purpose = Purpose::Name;
                self.begin_string();
                // What follows is nearly always here already: straight on is faster than through the states.
                let rest = self.string(rest, sink);
                return if self.state == State::Colon { self.colon(rest, sink) } else { rest };
            }
            b'}' => self.close_container(sink),
            _ => self.state = State::Broken,
        }
        rest
    }

    fn colon<'b>(&mut self, bytes: &'b [u8], sink: &mut impl Sink<F>) -> &'b [u8] {
        let Some((&first, rest)) = trim_space(bytes).split_first() else {
            return &[];
        };
        if first != b':' {
            self.state = State::Broken;
            return &[];
        }
        self.state = State::Value;
        self.value(rest, sink)
    }

    fn items<'b>(&mut self, bytes: &'b [u8], sink: &mut impl Sink<F>) -> &'b [u8] {
        let rest = trim_separators(bytes);
        match rest.split_first() {
            None => &[],
            Some((b']', after)) => {
                self.close_container(sink);
                after
            }
            Some(_) => self.value(rest, sink),
        }
    }

    fn close_container(&mut self, sink: &mut impl Sink<F>) {
        if let Some(Frame { node, is_array: false }) = self.stack.pop()
            && let Some(field) = node.mark
        {
            sink.close(field);
        }
        self.value_done(sink);
    }

    fn value_done(&mut self, sink: &mut impl Sink<F>) {
        match self.stack.last() {
            Some(frame) if frame.is_array => {
                self.next = frame.node.items;
                self.state = State::Items;
            }
            Some(_) => self.state = State::Member,
            None => {
                self.next = Some(self.root);
                self.state = State::Value;
                sink.document();
            }
        }
    }

    fn begin_string(&mut self) {
        self.text.clear();
        self.state = State::Text;
    }

    fn string<'b>(&mut self, bytes: &'b [u8], sink: &mut impl Sink<F>) -> &'b [u8] {
        let rest = match self.purpose {
            Purpose::Count => {
                let (bytes, rest) = self.text.count(bytes);
                sink.text(bytes);
                rest
            }
            Purpose::Skip => self.text.skip(bytes),
            Purpose::Name | Purpose::Take(_) => {
                let (whole, rest) = self.text.capture(bytes);
                if rest.is_some() {
                    self.captured(whole, sink);
                    return rest.unwrap_or_default();
                }
                rest
            }
        };
        let Some(rest) = rest else {
            return &[];
        };
        self.value_done(sink);
        rest
    }

    /// A name or wanted string has ended. `whole` is its text when it came in one piece without escapes.
    fn captured(&mut self, whole: Option<&[u8]>, sink: &mut impl Sink<F>) {
        match self.purpose {
            Purpose::Name => {
                let node = self.stack.last().map(|frame| frame.node);
                let name = self.text.finish(whole);
                self.next = node.and_then(|node| node.member(&name?));
                self.state = State::Colon;
            }
            Purpose::Take(field) => {
                let text = self.text.finish(whole);
                if let Some(text) = text.as_deref().and_then(|text| std::str::from_utf8(text).ok()) {
                    sink.scalar(field, Scalar::Text(text));
                }
                self.value_done(sink);
            }
            Purpose::Count | Purpose::Skip => self.value_done(sink),
        }
    }

    fn bare<'b>(&mut self, bytes: &'b [u8], sink: &mut impl Sink<F>) -> &'b [u8] {
        let end = bytes.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n'));
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        let wanted = if let Purpose::Take(field) = self.purpose { Some(field) } else { None };
        if wanted.is_some() && (end.is_none() || !self.text.is_empty()) {
            self.text.append(part);
        }
        if end.is_none() {
            return &[];
        }
        if let Some(field) = wanted {
            let word = if self.text.is_empty() { Some(part) } else { self.text.raw() };
            if let Some(word) = word.filter(|word| word.len() <= MAX_CAPTURE) {
                sink.scalar(field, Scalar::Bare(word));
            }
        }
        self.value_done(sink);
        rest
    }

    fn skip<'b>(&mut self, bytes: &'b [u8], sink: &mut impl Sink<F>) -> &'b [u8] {
        let rest = self.skipper.feed(bytes);
        if self.skipper.counts {
            sink.text(bytes.len() - rest.map_or(0, <[u8]>::len));
        }
        let Some(rest) = rest else {
            return &[];
        };
        self.value_done(sink);
        rest
    }
}

/// `bytes` without white space at its start.
#[inline]
fn trim_space(bytes: &[u8]) -> &[u8] {
    match bytes.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {
        Some(start) => &bytes[start..],
        None => &[],
    }
}

/// `bytes` without white space and commas at its start.
#[inline]
fn trim_separators(bytes: &[u8]) -> &[u8] {
    match bytes.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\n' | b'\r' | b'\t')) {
        Some(start) => &bytes[start..],
        None => &[],
    }
}
