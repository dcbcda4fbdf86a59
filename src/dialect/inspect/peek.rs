//! Looks at what a member's value begins with, before it is parsed.
//!
//! The parser resolves the escapes of every text that it is asked for. Most of a body is text that nobody here wants to
//! read, and a name that stands in the body as it is tells where its value begins.

/// A name, with the first byte of its value where that is known.
pub(super) struct Peeked<T> {
    pub name: T,
    pub first: Option<u8>,
}

impl<T> Peeked<T> {
    /// Whether the value is a string.
    pub fn is_text(&self) -> bool {
        self.first == Some(b'"')
    }
}

/// The first byte of the value of a member of `text` whose name is `name`, a part of it.
#[inline]
pub(super) fn first_byte(text: &str, name: &str) -> Option<u8> {
    let after = (name.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?.checked_add(name.len())?;
    let rest = text.as_bytes().get(after..)?.strip_prefix(b"\"")?.trim_ascii_start();
    rest.strip_prefix(b":")?.trim_ascii_start().first().copied()
}

#[cfg(test)]
mod tests {
    use super::first_byte;

    #[test]
    fn the_value_is_found_behind_its_name_and_nowhere_else() {
        for (text, first) in [
            (r#"{"name":"x"}"#, Some(b'"')),
            ("{\"name\" \n:\t [1]}", Some(b'[')),
            (r#"{"name""#, None),
            (r#"{"name":"#, None),
            (r#"["name"]"#, None),
        ] {
            assert_eq!(first_byte(text, &text[2..6]), first, "{text}");
        }
        assert_eq!(first_byte(r#"{"name":1}"#, "elsewhere"), None);
    }
}
