//! Rows for tests.

use std::sync::Arc;

use entity::{keys, users};

use super::principal::{Principal, UserRecord};

pub(super) fn user_row(id: i64) -> users::Model {
    users::Model { id, name: format!("user {id}"), enabled: true, version: 1, ..users::Model::default() }
}

pub(super) fn key_row(user_id: i64, id: i64) -> keys::Model {
    keys::Model {
        id,
        user_id,
        name: format!("key {id}"),
        prefix: "tg-abcdef".to_owned(),
        enabled: true,
        version: 1,
        ..keys::Model::default()
    }
}

pub(super) fn principal(user: i64, key: i64) -> Principal {
    principal_of(key_row(user, key), user_row(user))
}

pub(super) fn principal_of(key: keys::Model, user: users::Model) -> Principal {
    Principal::new(key, Arc::new(UserRecord::new(user)))
}
