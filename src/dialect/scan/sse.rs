//! The framing of server-sent events, as the HTML standard has it: lines end in CRLF, LF or CR, an event ends with an
//! empty line, several `data` lines are one text. Nothing is kept but where we are.

/// Longest field name that matters (`event`).
const MAX_NAME: usize = 5;

/// Where the parts of events go.
pub(in super::super) trait Events {
    /// A piece of an event's data. Lines are joined by a newline.
    fn data(&mut self, part: &[u8]);
    /// A piece of an event's name.
    fn name(&mut self, part: &[u8]);
    /// The event has ended.
    fn end(&mut self);
}

/// Where in a stream of events we are.
#[derive(Debug, Default)]
pub(in super::super) struct Framing {
    line: Line,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
    /// The event has had a `data` line.
    has_data: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// At its first byte.
    #[default]
    Start,
    /// In the field's name.
    Field { name: [u8; MAX_NAME], len: usize },
    /// In the value, after the colon and before a space that does not belong to it.
    Space(Value),
    /// In the value.
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Data,
    Name,
    Ignored,
}

impl Framing {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8], events: &mut impl Events) {
        let mut rest = Some(bytes);
        while let Some(bytes) = rest {
            rest = self.feed_event(bytes, events);
        }
    }

    /// Takes bytes up to and including the end of the event that is in progress; gives back what follows it, if it
    /// has ended.
    pub fn feed_event<'b>(&mut self, bytes: &'b [u8], events: &mut impl Events) -> Option<&'b [u8]> {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let ends = self.line == Line::Start && matches!(first, b'\n' | b'\r');
            rest = match self.line {
                Line::Start => self.start(rest, events),
                Line::Field { name, len } => self.field(rest, name, len, events),
                Line::Space(value) => {
                    self.line = Line::Value(value);
                    if first == b' ' { &rest[1..] } else { rest }
                }
                Line::Value(value) => self.value(rest, value, events),
            };
            if ends {
                return Some(rest);
            }
        }
        None
    }

    /// Whether an LF that comes next belongs to what has been read.
    pub const fn expects_lf(&self) -> bool {
        self.after_cr
    }

    fn start<'b>(&mut self, bytes: &'b [u8], events: &mut impl Events) -> &'b [u8] {
        if let Some(rest) = bytes.strip_prefix(b"data:") {
            self.begin_value(Value::Data, events);
            return rest;
        }
        match bytes[0] {
            b'\n' | b'\r' => {
                self.has_data = false;
                events.end();
                self.end_of_line(bytes)
            }
            _ => {
                self.line = Line::Field { name: [0; MAX_NAME], len: 0 };
                bytes
            }
        }
    }

    fn field<'b>(
        &mut self,
        bytes: &'b [u8],
        mut name: [u8; MAX_NAME],
        mut len: usize,
        events: &mut impl Events,
    ) -> &'b [u8] {
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b':' => {
                    let value = match name.get(..len) {
                        Some(b"data") => Value::Data,
                        Some(b"event") => Value::Name,
                        _ => Value::Ignored,
                    };
                    self.begin_value(value, events);
                    return &bytes[at + 1..];
                }
                // A field without a colon has an empty value, which nobody needs.
                b'\n' | b'\r' => return self.end_of_line(&bytes[at..]),
                _ => {
                    // A byte order mark may precede the very first field.
                    if let Some(slot) = name.get_mut(len) {
                        *slot = byte;
                    }
                    len = len.saturating_add(1);
                    if len == 3 && name[..3] == [0xEF, 0xBB, 0xBF] {
                        self.line = Line::Start;
                        return &bytes[at + 1..];
                    }
                }
            }
        }
        self.line = Line::Field { name, len };
        &[]
    }

    fn begin_value(&mut self, value: Value, events: &mut impl Events) {
        if value == Value::Data && std::mem::replace(&mut self.has_data, true) {
            events.data(b"\n");
        }
        self.line = Line::Space(value);
    }

    fn value<'b>(&mut self, bytes: &'b [u8], value: Value, events: &mut impl Events) -> &'b [u8] {
        let end = memchr::memchr2(b'\n', b'\r', bytes);
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        match value {
            Value::Data if !part.is_empty() => events.data(part),
            Value::Name if !part.is_empty() => events.name(part),
            _ => {}
        }
        if end.is_some() { self.end_of_line(rest) } else { rest }
    }

    /// Passes over the line's end, which `bytes` begins with.
    fn end_of_line<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        self.line = Line::Start;
        match bytes {
            [b'\r', b'\n', rest @ ..] => rest,
            [first, rest @ ..] => {
                self.after_cr = *first == b'\r' && rest.is_empty();
                rest
            }
            [] => bytes,
        }
    }
}
