#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Root,
    Inner,
    A,
    B,
    List,
}

const INNER: Node<Field> = object(&[("b", take(Field::B)), ("inner", array(&take_b()))]).marked(Field::Inner);

const fn take_b() -> Node<Field> {
    take(Field::B)
}

static ROOT: Node<Field> =
    object(&[("a", take(Field::A)), ("text", count()), ("inner", INNER), ("list", array(&INNER).marked(Field::List))])
        .marked(Field::Root);

/// Everything that the scanner tells, in words.
#[derive(Default)]
struct Log {
    events: Vec<String>,
    text: usize,
}

impl Sink<Field> for Log {
    fn open(&mut self, field: Field) {
        self.events.push(format!("+{field:?}"));
    }

    fn close(&mut self, field: Field) {
        self.events.push(format!("-{field:?}"));
    }

    fn scalar(&mut self, field: Field, value: Scalar<'_>) {
        let value = match value {
            Scalar::Text(text) => format!("{text:?}"),
            Scalar::Bare(word) => String::from_utf8_lossy(word).into_owned(),
        };
        self.events.push(format!("{field:?}={value}"));
    }

    fn text(&mut self, bytes: usize) {
        self.text += bytes;
    }

    fn document(&mut self) {
        self.events.push(".".into());
    }
}

fn scan(document: &str, cuts: &[usize]) -> (String, usize) {
    let mut scanner = Scanner::new(&ROOT);
    let mut log = Log::default();
    let mut from = 0;
    for &cut in cuts.iter().chain([&document.len()]) {
        scanner.feed(&document.as_bytes()[from..cut], &mut log);
        from = cut;
    }
    (log.events.join(" "), log.text)
}

/// Scans in one piece and at every cut, which must not differ.
fn told(document: &str) -> (String, usize) {
    let whole = scan(document, &[]);
    for cut in 0..=document.len() {
        assert_eq!(scan(document, &[cut]), whole, "{document} at {cut}");
    }
    let every: Vec<usize> = (0..document.len()).collect();
    assert_eq!(scan(document, &every), whole, "{document} byte by byte");
    whole
}

#[test]
fn only_what_the_tree_names_is_told() {
    let (events, _) =
        told(r#" {"x":{"a":1,"y":[{"a":2}]},"a":3,"inner":{"a":4,"b":"five","c":"]}"},"inner ":{"b":6}} "#);
    assert_eq!(events, "+Root A=3 +Inner B=\"five\" -Inner -Root .");
}

#[test]
fn elements_of_arrays_are_told_and_other_types_are_skipped() {
    let (events, _) =
        told(r#"{"list":[{"b":true},7,null,"x",[{"b":1}],{"b":-1.5e3},{}],"inner":[{"b":9}],"a":[1],"a":{"b":2}}"#);
    assert_eq!(events, "+Root +List +Inner B=true -Inner +Inner B=-1.5e3 -Inner +Inner -Inner -Root .");
    assert_eq!(told(r#"{"inner":{"inner":["p","q",3]}}"#).0, "+Root +Inner B=\"p\" B=\"q\" B=3 -Inner -Root .");
}

#[test]
fn documents_may_follow_each_other() {
    assert_eq!(told("{\"a\":1}\n{\"a\":2}{\"a\":3}").0, "+Root A=1 -Root . +Root A=2 -Root . +Root A=3 -Root .");
    assert_eq!(told("1 \"x\" [[]] {}").0, ". . . +Root -Root .");
}

#[test]
fn names_and_values_are_unescaped() {
    assert_eq!(told(r#"{"\u0061":"\"\\\u00e4\ud83d\ude00\n"}"#).0, "+Root A=\"\\\"\\\\ä😀\\n\" -Root .");
    assert_eq!(told(r#"{"a\\":"x","a":"\uD83D"}"#).0, "+Root -Root .", "half a surrogate pair is no text");
}

#[test]
fn text_is_counted_as_it_reads() {
    assert_eq!(told(r#"{"text":"plain"}"#).1, 5);
    assert_eq!(told(r#"{"text":"\"\\\n\u0041\u00e4\u4f60\ud83d\ude00"}"#).1, 3 + 1 + 2 + 3 + 4);
    assert_eq!(told(r#"{"text":{"b":["}"]}}"#).1, 11, "an object in the place of text is counted as written");
    assert_eq!(told(r#"{"text":7}"#).1, 0);
    assert_eq!(told(r#"{"other":"plain","inner":{"text":"x"}}"#).1, 0);
}

#[test]
fn what_is_not_json_ends_the_document_and_a_reset_begins_another() {
    assert_eq!(told(r#"{"a" 1,"a":2}"#).0, "+Root");
    assert_eq!(told(r#"{"a":1,a:2}"#).0, "+Root A=1");
    assert_eq!(told("}").0, "");
    let mut scanner = Scanner::new(&ROOT);
    let mut log = Log::default();
    for part in ["{\"a\":\"unfinished", "{\"list\":[{\"x\":[", "{\"a\":12", "{\"a\":!", "{\"a\":1}"] {
        scanner.reset();
        scanner.feed(part.as_bytes(), &mut log);
    }
    assert_eq!(log.events.join(" "), "+Root +Root +List +Inner +Root +Root +Root A=1 -Root .");
}

#[test]
fn long_names_and_values_are_absent() {
    let long = "n".repeat(513);
    let fits = "n".repeat(512);
    let digits = "1".repeat(513);
    assert_eq!(told(&format!("{{\"{long}\":1,\"a\":\"{long}\",\"a\":{digits}}}")).0, "+Root -Root .");
    assert_eq!(told(&format!("{{\"a\":\"{fits}\"}}")).0, format!("+Root A=\"{fits}\" -Root ."));
}

#[test]
fn counts_are_read_leniently() {
    for (value, expected) in [
        (Scalar::Bare(b"0"), Some(0)),
        (Scalar::Bare(b"-7"), Some(0)),
        (Scalar::Bare(b"-9999999999999999999999"), Some(0)),
        (Scalar::Bare(b"12.9"), Some(12)),
        (Scalar::Bare(b"1e3"), Some(1000)),
        (Scalar::Text(" 12 "), Some(12)),
        (Scalar::Bare(b"1073741824"), Some(1 << 30)),
        (Scalar::Bare(b"1073741825"), None),
        (Scalar::Bare(b"18446744073709551615"), None),
        (Scalar::Bare(b"1e400"), None),
        (Scalar::Bare(b"null"), None),
        (Scalar::Bare(b"true"), None),
        (Scalar::Text("NaN"), None),
        (Scalar::Text("inf"), None),
        (Scalar::Text(""), None),
    ] {
        assert_eq!(value.count(), expected, "{value:?}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("a|b|text|inner|list|.{0,3}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_read_to_its_end_and_its_text_counted(
        value in any_json(), pretty in any::<bool>(), mut cuts in prop::collection::vec(0_usize..2000, 0..8),
    ) {
        let document = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() } + " ";
        cuts.retain(|cut| *cut < document.len());
        cuts.sort_unstable();
        let (events, text) = scan(&document, &cuts);
        prop_assert!(events.ends_with('.') && events.matches('.').count() >= 1, "{}", document);
        if let Some(Value::String(expected)) = value.get("text") {
            prop_assert_eq!(text, expected.len());
        }
        prop_assert_eq!((events, text), scan(&document, &[]));
    }
}
