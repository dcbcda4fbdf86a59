//! What a node says, in columns for a terminal.

use comfy_table::{ContentArrangement, Table, presets};

/// What a list shows of free text; all of it is in `show`.
const SHORT: usize = 60;

/// A table with a head.
pub fn of_rows(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = empty();
    table.set_header(head);
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|cell| clean(&cell)).collect::<Vec<_>>()));
    text(&mut table)
}

/// Names on the left, values on the right.
pub fn of_fields(fields: Vec<(&str, String)>) -> String {
    let mut table = empty();
    table.add_rows(fields.into_iter().map(|(name, value)| vec![name.to_owned(), clean(&value)]));
    text(&mut table)
}

fn empty() -> Table {
    let mut table = Table::new();
    // As wide as it needs to be: what is cut off is gone from a pipe, too.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn text(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn unseen(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON as it may reach a terminal: what [`clean`] replaces is escaped. It can only stand in strings, but for white space.
pub fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.push(c),
            c if unseen(c) => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown
}

/// Text as it may reach a terminal: what moves the cursor, changes colours or turns the direction of writing is replaced.
pub fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if unseen(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The beginning of free text.
pub fn short(text: &str) -> String {
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What may be absent.
pub fn or_none(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// A number that may be absent.
pub fn number_or_none(number: Option<i64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Yes or no.
pub fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// An instant of the API, without its milliseconds. It can be pasted where a time is asked for.
pub fn time(text: &str) -> String {
    let text = text.replacen('T', " ", 1);
    match text.split_once('.') {
        Some((seconds, rest)) => format!("{seconds}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => text,
    }
}

/// An instant that may be absent.
pub fn time_or_none(text: Option<&str>) -> String {
    or_none(text.map(time).as_deref())
}

/// Some of many, or a word when there is none.
pub fn listed(items: &[String], when_none: &str) -> String {
    if items.is_empty() { when_none.to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_node_says_moves_the_cursor() {
        assert_eq!(clean("a\u{1b}[31mb\u{7}\u{9b}1mc"), "a\u{fffd}[31mb\u{fffd}\u{fffd}1mc");
        assert_eq!(clean("two\r\nlines\tof \u{202e}txet"), "two  lines of \u{fffd}txet");
        let fields = of_fields(vec![("name", "\u{1b}]0;title\u{7}".to_owned())]);
        assert!(!fields.contains('\u{1b}') && !fields.contains('\u{7}'), "{fields:?}");
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let rows = vec![
            vec!["1".to_owned(), "日本".to_owned(), "x".to_owned()],
            vec!["10".to_owned(), "a".to_owned(), "y".to_owned()],
        ];
        assert_eq!(of_rows(&["ID", "NAME", "Z"], rows), "ID  NAME  Z\n1   日本  x\n10  a     y");
    }

    #[test]
    fn times_are_told_to_the_second() {
        assert_eq!(time("2026-01-31T12:00:00.123Z"), "2026-01-31 12:00:00Z");
        assert_eq!(time("2026-01-31T12:00:00Z"), "2026-01-31 12:00:00Z");
        assert!(time("2026-01-31T12:00:00.123Z").parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(short(&"é".repeat(60)), "é".repeat(60));
        assert_eq!(short(&"é".repeat(61)), format!("{}…", "é".repeat(60)));
    }
}
