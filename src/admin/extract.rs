//! What handlers take from a request: ids in the path, query parameters, bodies, preconditions.

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::AdminState;
use super::limits;
use super::params::MAX_ID;
pub use super::params::Params;
use super::problem::{Code, InvalidParam, Problem};
use crate::json;

/// The largest body of an ordinary request.
pub const MAX_BODY: usize = 1024 * 1024;

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query()))
    }
}

/// The id in the path.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        id("id", &text).map(Self)
    }
}

/// Reads an id.
///
/// # Errors
/// It is not one.
pub fn id(name: &str, text: &str) -> Result<i64, Problem> {
    let id = text.parse().ok().filter(|id| (1..=MAX_ID).contains(id) && !text.starts_with('+'));
    id.ok_or_else(|| Problem::invalid(name, "invalid", format!("must be an integer from 1 to {MAX_ID}")))
}

/// The ids of an object and of a user in the path.
#[derive(Clone, Copy, Debug)]
pub struct IdAndId(pub i64, pub i64);

impl<S: Send + Sync> FromRequestParts<S> for IdAndId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (first, second) = path::<(String, String), S>(parts, state).await?;
        Ok(Self(id("id", &first)?, id("userId", &second)?))
    }
}

/// The id of an object in the path, and a name below it, decoded.
#[derive(Debug)]
pub struct IdAndName(pub i64, pub String);

impl<S: Send + Sync> FromRequestParts<S> for IdAndName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (first, name) = path::<(String, String), S>(parts, state).await?;
        Ok(Self(id("id", &first)?, name))
    }
}

/// Two names in the path, decoded.
#[derive(Debug)]
pub struct TwoNames(pub String, pub String);

impl<S: Send + Sync> FromRequestParts<S> for TwoNames {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (first, second) = path::<(String, String), S>(parts, state).await?;
        Ok(Self(first, second))
    }
}

/// The one name in the path, decoded.
#[derive(Debug)]
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path::<String, S>(parts, state).await.map(Self)
    }
}

async fn path<T: DeserializeOwned + Send, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<T, Problem> {
    match Path::<T>::from_request_parts(parts, state).await {
        Ok(Path(found)) => Ok(found),
        Err(PathRejection::FailedToDeserializePathParams(_)) => {
            Err(Problem::new(Code::InvalidRequest, "The path is not valid UTF-8 once its %-escapes are decoded."))
        }
        Err(other) => Err(Problem::internal(&other)),
    }
}

/// A body of at most `MAX` bytes, not looked at yet.
#[derive(Debug)]
pub struct Payload<const MAX: usize = MAX_BODY> {
    /// The type that the client names, in lower case and without parameters.
    pub media_type: Option<String>,
    /// The bytes.
    pub bytes: Bytes,
}

impl<const MAX: usize> FromRequest<AdminState> for Payload<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, Problem> {
        let too_large = || Problem::new(Code::TooLarge, format!("A body here has at most {MAX} bytes."));
        let announced = number(request.headers(), &header::CONTENT_LENGTH);
        if announced.is_some_and(|length| length > MAX as u64) {
            return Err(too_large());
        }
        let media_type = media_type(request.headers());
        let body = axum::body::to_bytes(request.into_body(), MAX);
        match tokio::time::timeout(state.body_timeout, body).await {
            Ok(Ok(bytes)) => Ok(Self { media_type, bytes }),
            Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
            Ok(Err(_)) => Err(Problem::new(Code::InvalidRequest, "The body broke off.")),
            Err(_) => Err(Problem::new(Code::RequestTimeout, "The body did not come within server.timeouts.body.")),
        }
    }
}

impl<const MAX: usize> Payload<MAX> {
    /// The JSON in the body.
    ///
    /// # Errors
    /// Another type than `types`, or not JSON.
    pub fn json(&self, types: &[&str]) -> Result<Value, Problem> {
        self.require(types)?;
        json::read(&self.bytes)
            .map_err(|error| Problem::new(Code::InvalidRequest, format!("The body is not JSON: {error}.")))
    }

    /// The object in a JSON body.
    ///
    /// # Errors
    /// Another type, not JSON, or a field that is wrong.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        object(self.json(&["application/json"])?)
    }

    /// The patch in a body: a JSON object.
    ///
    /// # Errors
    /// Another type, not JSON, or not an object.
    pub fn patch(&self) -> Result<Value, Problem> {
        let patch = self.json(&["application/merge-patch+json", "application/json"])?;
        if patch.is_object() { Ok(patch) } else { Err(Problem::invalid("", "invalid_type", "must be a JSON object")) }
    }

    /// Nothing: verbs without arguments take an empty body or an empty object.
    ///
    /// # Errors
    /// There is something in the body.
    pub fn nothing(&self) -> Result<(), Problem> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        if self.bytes.is_empty() { Ok(()) } else { self.object::<Nothing>().map(|_| ()) }
    }

    /// The body is of one of these types.
    ///
    /// # Errors
    /// It is of another one, or does not say which.
    pub fn require(&self, types: &[&str]) -> Result<(), Problem> {
        match &self.media_type {
            Some(found) if types.contains(&found.as_str()) => Ok(()),
            _ => {
                Err(Problem::new(Code::UnsupportedMediaType, format!("Send a Content-Type of {}.", types.join(" or "))))
            }
        }
    }
}

/// Reads an object out of JSON and says where it is wrong.
///
/// # Errors
/// The path of the field that is wrong, and why.
fn object<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    // To serde an array is a struct too, with its fields in their order.
    if !value.is_object() {
        return Err(Problem::invalid("", "invalid_type", "must be a JSON object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let path = if path == "." { String::new() } else { path };
        if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
            let path = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
            return Problem::invalid(path, "missing", "must be given");
        }
        if message.starts_with("unknown field") {
            return Problem::invalid(path, "unknown", "there is no such field");
        }
        Problem::invalid(path, "invalid_type", message)
    })
}

/// What a JSON Merge Patch makes of the fields of an object.
///
/// # Errors
/// The path of the field that is wrong, and why.
pub fn patched<T: Serialize + DeserializeOwned>(fields: &T, patch: Value) -> Result<T, Problem> {
    let mut fields = serde_json::to_value(fields).map_err(|error| Problem::internal(&error))?;
    limits::forget_beginning(&mut fields, &patch);
    merge_patch(&mut fields, patch);
    object(fields)
}

/// Changes `target` by a JSON Merge Patch (RFC 7396), with one difference that the reader of the result makes up for:
/// `null` is written instead of removing the field, so that a name that does not exist and a field that cannot be
/// without a value are still seen and refused.
fn merge_patch(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                merge_patch(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch,
    }
}

/// `If-Match`: the versions of which one must be the current one.
#[derive(Clone, Debug)]
pub enum IfMatch {
    /// It was not sent.
    Absent,
    /// `*`: whichever version it has, it must exist.
    Any,
    /// The version must be one of these.
    Versions(Vec<i64>),
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut versions = Vec::new();
        for value in parts.headers.get_all(header::IF_MATCH) {
            let text = value.to_str().unwrap_or("?");
            if text.trim() == "*" {
                return Ok(Self::Any);
            }
            for part in text.split(',').map(str::trim) {
                // A weak tag never matches here (RFC 9110, 13.1.1): it is read and left out.
                let weak = part.starts_with("W/");
                let tag = part.trim_start_matches("W/");
                let tag = tag.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(tag);
                match tag.parse() {
                    Ok(version) if !weak => versions.push(version),
                    Ok(_) => {}
                    Err(_) => {
                        let message = "must be the version of the object in quotation marks, such as \"3\"";
                        return Err(Problem::validation(vec![InvalidParam::new("If-Match", "invalid", message)]));
                    }
                }
            }
        }
        Ok(if parts.headers.contains_key(header::IF_MATCH) { Self::Versions(versions) } else { Self::Absent })
    }
}

impl IfMatch {
    /// Compares with the current version.
    ///
    /// # Errors
    /// It is not among those that the client has seen.
    pub fn check(&self, version: i64) -> Result<(), Problem> {
        match self {
            Self::Versions(versions) if !versions.contains(&version) => Err(Problem::new(
                Code::VersionMismatch,
                format!("The object is at version {version} now; read it again and repeat the change."),
            )),
            _ => Ok(()),
        }
    }

    /// The same for a write that also creates: `*` matches nothing where there is nothing (RFC 9110, 13.1.1).
    ///
    /// # Errors
    /// The version is not among those that the client has seen, or there is none and there must be one.
    pub fn check_put(&self, version: i64, exists: bool) -> Result<(), Problem> {
        if matches!(self, Self::Any) && !exists {
            let detail = "There is nothing to replace; leave If-Match out to create it.";
            return Err(Problem::new(Code::VersionMismatch, detail));
        }
        self.check(version)
    }
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn number(headers: &HeaderMap, name: &header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}
