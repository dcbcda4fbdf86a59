//! Rows of refusals.

use entity::refusals::Model;

/// One that says nothing but that there was a request, and no limit that it met.
pub fn bare(id: i64, request_id: String) -> Model {
    Model {
        id,
        request_id,
        created_at: id,
        user_id: 1,
        key_id: 1,
        model: None,
        dialect: None,
        status: 404,
        code: "not_found".to_owned(),
        message: String::new(),
        axis: None,
        scope: None,
        window: None,
        limit_nanos: None,
        used_nanos: None,
        reserved_nanos: None,
        requested_nanos: None,
        repeated: 0,
        details: None,
        excluded: "[]".to_owned(),
        excluded_more: 0,
        attempts: "[]".to_owned(),
    }
}
