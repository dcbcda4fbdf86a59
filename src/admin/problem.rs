//! The one error of the REST API: a problem document (RFC 9457) with a stable code.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sea_orm::DbErr;
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong, as programs see it; each has one status and one title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: the request cannot be read at all.
    InvalidRequest,
    /// 400: the request was read, but fields or parameters of it are wrong; `invalidParams` names them.
    ValidationFailed,
    /// 401: no credential, or one that is not known.
    Unauthorized,
    /// 403: the credential is known, but may not do this.
    Forbidden,
    /// 404: there is no such resource.
    NotFound,
    /// 405: the resource has no such method; `Allow` names those that it has.
    MethodNotAllowed,
    /// 408: the body did not come in time.
    RequestTimeout,
    /// 409: another object stands in the way.
    Conflict,
    /// 409: a model is in another model group, which `conflictsWith` names.
    ModelInOtherGroup,
    /// 412: the object has changed since it was read.
    VersionMismatch,
    /// 413: the body is too large.
    TooLarge,
    /// 415: the body is of a type that is not read here.
    UnsupportedMediaType,
    /// 422: the Idempotency-Key was used for another request.
    IdempotencyKeyReused,
    /// 429: this address has presented too many wrong credentials.
    TooManyAuthFailures,
    /// 500: a fault of the gateway.
    Internal,
    /// 503: the database cannot be reached now.
    Unavailable,
}

impl Code {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request", "Invalid request"),
            Self::ValidationFailed => (StatusCode::BAD_REQUEST, "validation_failed", "Validation failed"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "Not found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout", "Request timeout"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Conflict"),
            Self::ModelInOtherGroup => (StatusCode::CONFLICT, "model_in_other_group", "Model in another group"),
            Self::VersionMismatch => (StatusCode::PRECONDITION_FAILED, "version_mismatch", "Version mismatch"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type")
            }
            Self::IdempotencyKeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "Idempotency key reused")
            }
            Self::TooManyAuthFailures => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_auth_failures", "Too many authentication failures")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable"),
        }
    }

    /// The HTTP status that goes with the code.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.parts().1
    }
}

/// One field or parameter that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct InvalidParam {
    /// Where: the field's path in the body (`allowedModels[3]`), or the parameter's name.
    pub path: String,
    /// What: `unknown`, `missing`, `invalid_type`, `invalid`, `too_long`, `out_of_range`.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl InvalidParam {
    /// One wrong field or parameter.
    #[must_use]
    pub fn new(path: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { path: path.into(), code, message: message.into() }
    }
}

/// An answer that says no. Handlers return it as their error; [`Problem::render`] writes it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Problem {
    code: Code,
    detail: String,
    invalid_params: Vec<InvalidParam>,
    conflicts_with: Option<Box<Other>>,
    retry_after: Option<u128>,
}

/// The object that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConflictingObject)]
pub struct Other {
    /// What it is, as in the audit log: `user`, `user_group`, `model_group`, `admin_token`; or `model`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its id; null: a model has none.
    #[schema(required)]
    pub id: Option<i64>,
    /// Its name.
    pub name: String,
}

/// The document on the wire.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// `urn:tollgate:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The code in words.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened this time, and what to do about it.
    detail: String,
    /// The path that was asked for.
    instance: String,
    code: Code,
    /// Every wrong field or parameter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    invalid_params: Vec<InvalidParam>,
    /// The object that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    conflicts_with: Option<Other>,
}

impl Problem {
    /// A problem with a sentence about this occurrence.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), invalid_params: Vec::new(), conflicts_with: None, retry_after: None }
    }

    /// Fields or parameters are wrong.
    #[must_use]
    pub fn validation(invalid_params: Vec<InvalidParam>) -> Self {
        let detail = match invalid_params.as_slice() {
            [one] => format!("{}: {}", one.path, one.message),
            many => format!("{} fields or parameters are wrong; invalidParams names them.", many.len()),
        };
        Self { code: Code::ValidationFailed, detail, invalid_params, conflicts_with: None, retry_after: None }
    }

    /// One field or parameter is wrong.
    #[must_use]
    pub fn invalid(path: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::validation(vec![InvalidParam::new(path, code, message)])
    }

    /// There is no such object.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    /// A fault of ours. What it was goes to the log, not to the client.
    #[must_use]
    pub fn internal(what: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %what, "the REST API failed");
        Self::new(Code::Internal, "The gateway failed to answer; its log says why.")
    }

    /// Names the object that stands in the way.
    #[must_use]
    pub fn conflicts_with(mut self, other: Other) -> Self {
        self.conflicts_with = Some(Box::new(other));
        self
    }

    /// Tells the client when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u128) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Writes the document into the answer that carries it. `instance` is the path that was asked for.
    #[must_use]
    pub fn render(self, instance: &str, mut response: Response) -> Response {
        let (status, code, title) = self.code.parts();
        let document = ProblemDocument {
            kind: format!("urn:tollgate:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: self.detail,
            instance: instance.to_owned(),
            code: self.code,
            invalid_params: self.invalid_params,
            conflicts_with: self.conflicts_with.map(|other| *other),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.remove(header::CONTENT_LENGTH);
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        *response.body_mut() = Body::from(serde_json::to_vec(&document).unwrap_or_default());
        response
    }
}

/// The body is written later, by [`Problem::render`], where the path of the request is known.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A database that cannot be reached is not a fault of the request and may pass; everything else is ours.
impl From<DbErr> for Problem {
    fn from(error: DbErr) -> Self {
        if crate::store::is_away(&error) {
            tracing::warn!(error = %error, "the database is away");
            return Self::new(Code::Unavailable, "The database cannot be reached now; try again.").retry_after(1);
        }
        Self::internal(&error)
    }
}
