//! Looks at what a member's value begins with, before it is parsed.
//!
//! The parser resolves the escapes of every text that it is asked for. Most of a body is text that nobody here wants to
//! read, and a name that stands in the body as it is tells where its value begins.

/// A name, with where its value begins and the first byte of it, where that is known.
pub(super) struct Peeked<T> {
    pub name: T,
    pub first: Option<u8>,
    pub at: Option<usize>,
}

impl<T> Peeked<T> {
    /// A member of `text` that is spelled `name` there.
    #[inline]
    pub fn within(text: &str, name: &str, meaning: T) -> Self {
        let at = value_of(text, name);
        Self { name: meaning, first: at.and_then(|at| text.as_bytes().get(at).copied()), at }
    }

    /// Its value is not looked at beforehand.
    #[inline]
    pub const fn unseen(meaning: T) -> Self {
        Self { name: meaning, first: None, at: None }
    }

    /// Whether the value is a string.
    pub fn is_text(&self) -> bool {
        self.first == Some(b'"')
    }
}

/// Where the value begins of a member of `text` whose name is `name`, a part of it.
#[inline]
fn value_of(text: &str, name: &str) -> Option<usize> {
    let after = (name.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?.checked_add(name.len())?;
    let rest = text.as_bytes().get(after..)?.strip_prefix(b"\"")?.trim_ascii_start();
    let value = rest.strip_prefix(b":")?.trim_ascii_start();
    (!value.is_empty()).then(|| text.len() - value.len())
}

#[cfg(test)]
mod tests {
    use super::Peeked;

    #[test]
    fn the_value_is_found_behind_its_name_and_nowhere_else() {
        let first_byte = |text, name| Peeked::within(text, name, ()).first;
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
