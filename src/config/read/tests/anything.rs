//! Whatever stands in whatever place.

use std::path::Path as FilePath;

use serde_json::{Value, json};

use super::{ALL_DEFAULTS, read};
use crate::config::error::{Path, Segment};
use crate::config::parse;

/// Every place in the value with a setting or a group in it.
fn places(value: &Value, path: &Path, found: &mut Vec<Path>) {
    found.push(path.clone());
    match value {
        Value::Object(group) => group.iter().for_each(|(key, value)| places(value, &path.key(key), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| places(value, &path.index(index), found))
        }
        _ => {}
    }
}

#[test]
fn whatever_stands_in_whatever_place_is_taken_or_explained() {
    let env = |name: &str| (name == "X").then(|| "x\u{0}".to_owned());
    let mut whole = read(ALL_DEFAULTS).unwrap().masked();
    whole["redis"] = json!({"url": "redis://a", "timeout": "1s"});
    whole["server"]["trusted_proxies"] = json!(["::1"]);
    whole["server"]["tls"] = json!({"cert": "a", "key": "b"});
    whole["budgets"]["model_group_lease"] = json!({"fraction": 1, "min": 1, "life": "1s"});
    whole["providers"][0]["models"] = json!(["a"]);
    whole["providers"][0]["redirects"] = json!({"a": "b"});
    whole["providers"][0]["limits"] = json!({"5h": {"usd": 1, "reset": "rolling"}, "daily": {"usd": 1, "at": "00:00"}});
    let mut found = Vec::new();
    places(&whole, &Path::default(), &mut found);
    assert!(found.len() > 90, "{}", found.len());

    let values = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(4_294_967_296_u64),
        json!(""),
        json!("\u{0}\n"),
        json!("${X}"),
        json!("x".repeat(3_000)),
        json!([null]),
        json!({"": {"": []}}),
    ];
    for place in &found {
        for value in &values {
            let mut changed = whole.clone();
            let target = place.segments().iter().fold(&mut changed, |value, segment| match segment {
                Segment::Key(key) => &mut value[key],
                Segment::Index(index) => &mut value[index],
            });
            *target = value.clone();
            if let Err(errors) = parse(&changed.to_string(), FilePath::new(""), &env) {
                for error in errors {
                    assert!(!error.message.contains("this is a bug"), "{place} = {value}: {error}");
                    assert!(error.to_string().len() < 500, "{place}: {error}");
                    assert!(!error.message.contains('\u{0}'), "{place} = {value}: {error:?}");
                }
            }
        }
    }
}
