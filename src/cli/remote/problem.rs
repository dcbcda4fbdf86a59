//! What the API says when it refuses, for people.

use serde::Deserialize;

use super::super::output::Failure;
use super::table::clean;

/// A problem document (RFC 9457).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    title: String,
    detail: String,
    instance: String,
    code: String,
    #[serde(default)]
    invalid_params: Vec<InvalidParam>,
}

#[derive(Deserialize)]
struct InvalidParam {
    path: String,
    message: String,
}

/// The failure that a problem document describes; nothing when it is none.
pub fn failure(body: &str) -> Option<Failure> {
    let Problem { title, detail, instance, code, invalid_params } = serde_json::from_str(body).ok()?;
    let mut message = clean(&title);
    if invalid_params.is_empty() {
        message += &format!(": {}", clean(&detail));
    }
    // With fields the detail only counts or repeats them.
    for InvalidParam { path, message: why } in invalid_params {
        message += &format!("\n  {}: {}", clean(&path), clean(&why));
    }
    match code.as_str() {
        "not_found" => message += &format!(" ({})", clean(&instance)),
        "unauthorized" => {
            message += "\nIs TOLLGATE_ADMIN_TOKEN a token of this node, and TOLLGATE_URL its admin address?";
        }
        _ => {}
    }
    Some(Failure::new(message))
}
