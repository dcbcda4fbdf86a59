//! Characters that a name cannot have because nobody sees them, and names that look alike.

use unicode_general_category::GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
use unicode_general_category::get_general_category;

/// The characters that nobody sees among the first 65 536, for the schema: there is no way to write the others that
/// every reader of schemas understands.
const UNSEEN: &str = concat!(
    r"\u0000-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f",
    r"\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb",
);
/// Persian and emoji are written with these; alone they are nothing.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];
/// Other white space, and joiners.
const SPACE: &str = r"\u200c\u200d\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000";

/// Whether nobody sees this character: two names would look alike, or one would read as something else.
pub fn is_unseen(c: char) -> bool {
    !JOINERS.contains(&c) && matches!(get_general_category(c), Control | Format | LineSeparator | ParagraphSeparator)
}

/// Whether there is anything to be seen.
pub fn is_blank(name: &str) -> bool {
    name.chars().all(|c| c.is_whitespace() || JOINERS.contains(&c))
}

/// No such character anywhere, and something to be seen.
pub fn pattern() -> String {
    format!("^[^{UNSEEN}]*[^{UNSEEN}{SPACE}][^{UNSEEN}]*$")
}

/// Whether two names differ in no more than their white space and in large and small letters.
pub fn look_alike(one: &str, other: &str) -> bool {
    folded(one) == folded(other)
}

fn folded(name: &str) -> String {
    let name = name.replace(JOINERS, "");
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::{is_blank, is_unseen, look_alike, pattern};

    #[test]
    fn the_schema_says_what_is_refused() {
        let schema = jsonschema::validator_for(&json!({"type": "string", "pattern": pattern()})).unwrap();
        for c in '\u{0}'..='\u{ffff}' {
            assert_eq!(schema.is_valid(&json!(format!("a{c}b"))), !is_unseen(c), "{c:?} within a name");
            let alone = !is_unseen(c) && !is_blank(&c.to_string());
            assert_eq!(schema.is_valid(&json!(c.to_string())), alone, "{c:?} alone");
        }
        for c in ['\u{e0041}', '\u{1d173}', '\u{110bd}'] {
            assert!(is_unseen(c), "{c:?}");
        }
        assert!(!is_unseen('😀') && !is_unseen('é') && !is_unseen('名'));
        assert!(!"👩\u{200d}🚀 می\u{200c}خواهم".chars().any(is_unseen) && is_blank(" \u{200d}"));
    }

    #[test]
    fn names_that_differ_in_spaces_and_case_look_alike() {
        for name in
            ["command line", "Command line", "command\u{a0}line", " COMMAND \u{3000} LINE\t", "comm\u{200d}and line"]
        {
            assert!(look_alike(name, "command line"), "{name:?}");
        }
        assert!(!look_alike("commandline", "command line") && !look_alike("command lines", "command line"));
    }
}
