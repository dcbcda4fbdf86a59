//! How a conversation begins: what does not change while it grows, and is what a prompt cache can hold of it.
//!
//! Heard is the text alone, without the JSON around it: clients write the same message in different ways as it moves
//! back in the conversation (as a text or as a list of parts, with the mark of the cache or without). Only so much of
//! each part is heard: conversations that agree in all of it share a prompt cache too.

use memchr::memchr2;

/// Bytes of text that are heard of the instructions, of the tools, and of each turn up to the first of the user.
const HEARD: [usize; 3] = [4 * 1024, 2 * 1024, 4 * 1024];

/// How far a body is followed.
const FOLLOWED: usize = 256 * 1024;

/// How many turns of instructions may come before the first of the user.
const INSTRUCTIONS: usize = 16;

/// Members of which nothing is heard: they say nothing to the model, or change from request to request.
const SILENT: [&[u8]; 6] = [b"cache_control", b"id", b"role", b"signature", b"status", b"type"];

/// Roles of turns that instruct. The conversation begins after them.
const INSTRUCTING: [&[u8]; 2] = [b"\"system\"", b"\"developer\""];

/// Never part of UTF-8: what is heard cannot be cut in two different ways.
const END_OF_TEXT: [u8; 1] = [0xFF];
const END_OF_PART: [u8; 1] = [0xFE];

/// A part of a body that a conversation begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What comes before everything.
    Instructions,
    /// Tools, which come before the conversation too.
    Tools,
    /// Its turns.
    Turns,
}

/// Where the parts stand in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    parts: [Option<usize>; 3],
}

impl Opening {
    /// A part's value begins at this byte of the body.
    pub(in super::super) fn note(&mut self, part: Part, at: Option<usize>) {
        self.parts[part as usize] = at;
    }

    /// Lets `hear` have what the conversation in this body begins with. Returns whether it says anything.
    pub fn hear(&self, body: &[u8], mut hear: impl FnMut(&[u8])) -> bool {
        let mut says = false;
        for part in [Part::Instructions, Part::Tools] {
            if let Some(mut walk) = self.walk(part, body, &mut hear) {
                walk.value(true);
            }
            hear(&END_OF_PART);
        }
        if let Some(mut walk) = self.walk(Part::Turns, body, &mut hear) {
            walk.turns();
            says = walk.has_heard;
        }
        says
    }

    /// Whether there are turns after the first of the user.
    pub(super) fn is_followed(&self, body: &[u8]) -> bool {
        self.walk(Part::Turns, body, |_: &[u8]| {}).is_some_and(|mut walk| walk.turns())
    }

    fn walk<'a, H: FnMut(&[u8])>(&self, part: Part, body: &'a [u8], hear: H) -> Option<Walk<'a, H>> {
        let rest = body.get(self.parts[part as usize]?..)?;
        let rest = &rest[..rest.len().min(FOLLOWED)];
        let to_the_end = part == Part::Turns;
        Some(Walk { rest, left: HEARD[part as usize], to_the_end, hear, instructs: false, has_heard: false })
    }
}

/// Goes through JSON that has been validated. Where something returns none, enough was heard.
struct Walk<'a, H> {
    rest: &'a [u8],
    /// Bytes of text that are still to be heard.
    left: usize,
    /// Whether it goes on when all of that was heard.
    to_the_end: bool,
    hear: H,
    /// Whether the turn at hand does.
    instructs: bool,
    has_heard: bool,
}

impl<'a, H: FnMut(&[u8])> Walk<'a, H> {
    /// Hears turns up to the first that does not instruct; returns whether there are more, or may be.
    fn turns(&mut self) -> bool {
        self.skip_space();
        let Some(rest) = self.rest.strip_prefix(b"[") else {
            self.value(true);
            return false;
        };
        self.rest = rest;
        for _ in 0..=INSTRUCTIONS {
            self.skip_space();
            if self.rest.first() == Some(&b']') {
                return false;
            }
            (self.instructs, self.left) = (false, HEARD[Part::Turns as usize]);
            if self.turn().is_none() {
                return true;
            }
            self.skip_space();
            match self.rest.strip_prefix(b",") {
                Some(_) if !self.instructs => return true,
                Some(rest) => self.rest = rest,
                None => return false,
            }
        }
        true
    }

    fn turn(&mut self) -> Option<()> {
        match self.rest.strip_prefix(b"{") {
            Some(rest) => {
                self.rest = rest;
                self.members(true, true)
            }
            None => self.value(true),
        }
    }

    fn value(&mut self, heard: bool) -> Option<()> {
        self.skip_space();
        match self.rest.first()? {
            b'"' => {
                let text = self.text();
                if heard { self.say(text) } else { Some(()) }
            }
            b'{' => {
                self.rest = &self.rest[1..];
                self.members(heard, false)
            }
            b'[' => {
                self.rest = &self.rest[1..];
                self.items(heard)
            }
            _ => {
                let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                let end = self.rest.iter().position(is_end)?;
                self.rest = &self.rest[end..];
                Some(())
            }
        }
    }

    fn members(&mut self, heard: bool, is_turn: bool) -> Option<()> {
        loop {
            self.skip_separators();
            match self.rest.first()? {
                b'"' => {
                    let name = self.text();
                    self.skip_space();
                    self.rest = self.rest.strip_prefix(b":")?.trim_ascii_start();
                    if is_turn && name == b"role" {
                        self.instructs = INSTRUCTING.iter().any(|role| self.rest.starts_with(role));
                    }
                    self.value(heard && !SILENT.contains(&name))?;
                }
                b'}' => {
                    self.rest = &self.rest[1..];
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn items(&mut self, heard: bool) -> Option<()> {
        loop {
            self.skip_separators();
            if self.rest.first()? == &b']' {
                self.rest = &self.rest[1..];
                return Some(());
            }
            self.value(heard)?;
        }
    }

    /// Passes over the text that begins here; its bytes as they are written.
    fn text(&mut self) -> &'a [u8] {
        let text = self.rest.get(1..).unwrap_or_default();
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            at += found;
            if text[at] == b'"' {
                self.rest = &self.rest[at + 2..];
                return &text[..at];
            }
            at += 2;
        }
        self.rest = &[];
        text
    }

    fn say(&mut self, text: &[u8]) -> Option<()> {
        let text = &text[..text.len().min(self.left)];
        if !text.is_empty() {
            (self.hear)(text);
            (self.hear)(&END_OF_TEXT);
            self.has_heard = true;
            self.left -= text.len();
        }
        (self.left > 0 || self.to_the_end).then_some(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn skip_separators(&mut self) {
        self.skip_space();
        if let Some(rest) = self.rest.strip_prefix(b",") {
            self.rest = rest.trim_ascii_start();
        }
    }
}
