//! Skips an object or array of which nothing is wanted.

use super::text::Text;

/// How far into the skipped container we are.
#[derive(Debug, Default)]
pub(super) struct Skipper {
    depth: usize,
    in_string: bool,
    text: Text,
    /// Whether its bytes count as generated text.
    pub counts: bool,
}

impl Skipper {
    /// A container has just opened.
    pub fn begin(&mut self, counts: bool) {
        self.depth = 1;
        self.in_string = false;
        self.text.clear();
        self.counts = counts;
    }

    /// Takes bytes; gives back what follows the container when it has ended.
    pub fn feed<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let mut rest = bytes;
        loop {
            if self.in_string {
                rest = self.text.skip(rest)?;
                self.in_string = false;
            }
            let at = rest.iter().position(|byte| STRUCTURAL[usize::from(*byte)])?;
            match rest[at] {
                b'"' => {
                    self.text.clear();
                    self.in_string = true;
                }
                b'{' | b'[' => self.depth += 1,
                _ => self.depth -= 1,
            }
            rest = &rest[at + 1..];
            if self.depth == 0 {
                return Some(rest);
            }
        }
    }
}

/// The bytes that matter between values. A table is faster than five comparisons in long arrays of numbers.
static STRUCTURAL: [bool; 256] = {
    let mut table = [false; 256];
    table[b'"' as usize] = true;
    table[b'{' as usize] = true;
    table[b'}' as usize] = true;
    table[b'[' as usize] = true;
    table[b']' as usize] = true;
    table
};
