use super::*;
use crate::directory::test_support::{key_row, principal_of, user_row};

fn json(names: &[&str]) -> Option<String> {
    Some(serde_json::Value::from(names.to_vec()).to_string())
}

fn with_models(user: Option<String>, key: Option<String>) -> Principal {
    let user = users::Model { allowed_models: user, ..user_row(1) };
    principal_of(keys::Model { allowed_models: key, ..key_row(1, 1) }, user)
}

fn with_groups(user: Option<String>, key: Option<String>) -> Principal {
    let user = users::Model { provider_groups: user, ..user_row(1) };
    principal_of(keys::Model { provider_groups: key, ..key_row(1, 1) }, user)
}

#[test]
fn user_and_key_must_both_allow_a_model() {
    let principal = with_models(json(&["claude-*", "gpt-5"]), json(&["*-sonnet*", "gpt-*"]));
    for (model, allowed) in [
        ("claude-sonnet-4-5", true),
        ("gpt-5", true),
        ("claude-opus", false),
        ("gpt-4", false),
        ("", false),
        ("Claude-sonnet-4-5", false),
    ] {
        assert_eq!(principal.allows_model(model), allowed, "{model}");
    }
    assert!(with_models(None, None).allows_model("anything/at:all"));
    assert!(with_models(None, json(&["vendor/*"])).allows_model("vendor/a/b"), "a star matches a slash");
}

#[test]
fn a_list_that_cannot_be_read_allows_nothing() {
    for broken in ["", "{}", "[1]", "[\"*\"", "[\"[\"]", "[]"] {
        assert!(!with_models(None, Some(broken.to_owned())).allows_model("m"), "{broken}");
        assert!(!with_groups(Some(broken.to_owned()), None).provider_groups().reach(&["default"]), "{broken}");
    }
    assert!(with_models(Some("null".to_owned()), None).allows_model("m"), "no list at all");
}

#[test]
fn provider_groups_of_user_and_key_intersect() {
    for (user, key, reached) in [
        (None, None, [true, true, true]),
        (json(&["a", "b"]), None, [true, true, false]),
        (None, json(&["b", "c"]), [false, true, true]),
        (json(&["a", "b"]), json(&["b", "c"]), [false, true, false]),
        (json(&["a"]), json(&["b"]), [false, false, false]),
    ] {
        let principal = with_groups(user.clone(), key.clone());
        let groups = principal.provider_groups();
        assert_eq!(["a", "b", "c"].map(|group| groups.reach(&[group])), reached, "{user:?} {key:?}");
    }
    let one_of_two = with_groups(json(&["b"]), None);
    assert!(one_of_two.provider_groups().reach(&["a", "b"]), "a provider may be in several groups");
    assert!(!one_of_two.provider_groups().reach::<&str>(&[]));
}

#[test]
fn the_refusal_names_the_keys_reason_first_and_expiry_is_to_the_millisecond() {
    let check = |key_on, key_end, user_on, user_end, now| {
        let user = users::Model { enabled: user_on, expires_at: user_end, ..user_row(1) };
        principal_of(keys::Model { enabled: key_on, expires_at: key_end, ..key_row(1, 1) }, user).check(now)
    };
    assert_eq!(check(true, None, true, None, i64::MAX), Ok(()));
    assert_eq!(check(true, Some(10), true, Some(10), 9), Ok(()));
    assert_eq!(check(true, Some(11), true, Some(10), 10), Err(Refusal::UserExpired));
    assert_eq!(check(true, Some(10), true, Some(10), 10), Err(Refusal::KeyExpired));
    assert_eq!(check(true, None, false, Some(10), 10), Err(Refusal::UserDisabled));
    assert_eq!(check(true, Some(10), false, None, 10), Err(Refusal::KeyExpired));
    assert_eq!(check(false, Some(10), false, Some(10), 10), Err(Refusal::KeyDisabled));
}

#[test]
fn a_negative_limit_admits_as_little_as_zero() {
    let user = users::Model { rpm: Some(-1), max_concurrent_requests: Some(i32::MIN), ..user_row(1) };
    let subject = principal_of(keys::Model { rpm: Some(3), ..key_row(1, 2) }, user).count_subject();
    assert_eq!(subject.user, CountLimits { rpm: Some(0), max_concurrent: Some(0), ..subject.user });
    assert_eq!(subject.key, CountLimits { rpm: Some(3), max_concurrent: None, ..subject.key });
    assert_eq!((subject.user_id, subject.key_id), (1, 2));
}

#[test]
fn every_change_that_matters_changes_the_fingerprint() {
    let before = fingerprint(&key_row(1, 1), &user_row(1));
    let key_changes: [fn(&mut keys::Model); 8] = [
        |row| row.enabled = false,
        |row| row.expires_at = Some(1),
        |row| row.rpm = Some(1),
        |row| row.max_concurrent_requests = Some(1),
        |row| row.allowed_models = Some("[]".to_owned()),
        |row| row.provider_groups = Some("[]".to_owned()),
        |row| row.name = "other".to_owned(),
        |row| row.user_id = 2,
    ];
    for change in key_changes {
        let mut row = key_row(1, 1);
        change(&mut row);
        assert_ne!(fingerprint(&row, &user_row(1)), before);
    }
    let user_changes: [fn(&mut users::Model); 7] = [
        |row| row.enabled = false,
        |row| row.expires_at = Some(1),
        |row| row.rpm = Some(1),
        |row| row.max_concurrent_requests = Some(1),
        |row| row.allowed_models = Some("[]".to_owned()),
        |row| row.provider_groups = Some("[]".to_owned()),
        |row| row.name = "other".to_owned(),
    ];
    for change in user_changes {
        let mut row = user_row(1);
        change(&mut row);
        assert_ne!(fingerprint(&key_row(1, 1), &row), before);
    }
}
