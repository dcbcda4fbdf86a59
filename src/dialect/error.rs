//! What a client is told when we refuse or fail, in the words of its own dialect.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Shape;
use crate::money::Usd;

/// Every reason for which the gateway itself answers with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// No credential, an unknown one, or several that differ.
    InvalidApiKey,
    /// The key is switched off.
    KeyDisabled,
    /// The key's time is over.
    KeyExpired,
    /// The user is switched off.
    UserDisabled,
    /// The user's time is over.
    UserExpired,
    /// Guessing keys.
    TooManyAuthFailures,
    /// Not JSON, no model.
    InvalidRequest,
    /// No such path or model.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The client did not send its request in time.
    RequestTimeout,
    /// The body is compressed in a way that we do not read.
    UnsupportedEncoding,
    /// A bug of ours.
    InternalError,
    /// The body is larger than allowed.
    RequestTooLarge,
    /// User, key or provider groups do not allow the model.
    ModelNotAllowed,
    /// The model has no price and may not be free.
    ModelNotPriced,
    /// Nothing bounds what the request may cost.
    EstimateUnbounded,
    /// A cost window cannot pay.
    BudgetExceeded,
    /// Requests per minute, or concurrency.
    RateLimitExceeded,
    /// Nobody can say whether a budget could pay.
    BudgetUnavailable,
    /// No provider fits, or all failed without an answer to pass on.
    NoProviderAvailable,
}

impl ErrorCode {
    /// All codes, in the order of the documentation.
    pub const ALL: [Self; 20] = [
        Self::InvalidApiKey,
        Self::KeyDisabled,
        Self::KeyExpired,
        Self::UserDisabled,
        Self::UserExpired,
        Self::TooManyAuthFailures,
        Self::InvalidRequest,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::UnsupportedEncoding,
        Self::InternalError,
        Self::RequestTooLarge,
        Self::ModelNotAllowed,
        Self::ModelNotPriced,
        Self::EstimateUnbounded,
        Self::BudgetExceeded,
        Self::RateLimitExceeded,
        Self::BudgetUnavailable,
        Self::NoProviderAvailable,
    ];

    /// The code as clients, metrics and the refusals table know it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidApiKey => "invalid_api_key",
            Self::KeyDisabled => "key_disabled",
            Self::KeyExpired => "key_expired",
            Self::UserDisabled => "user_disabled",
            Self::UserExpired => "user_expired",
            Self::TooManyAuthFailures => "too_many_auth_failures",
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::InternalError => "internal_error",
            Self::RequestTooLarge => "request_too_large",
            Self::ModelNotAllowed => "model_not_allowed",
            Self::ModelNotPriced => "model_not_priced",
            Self::EstimateUnbounded => "estimate_unbounded",
            Self::BudgetExceeded => "budget_exceeded",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::BudgetUnavailable => "budget_unavailable",
            Self::NoProviderAvailable => "no_provider_available",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidApiKey | Self::KeyDisabled | Self::KeyExpired | Self::UserDisabled | Self::UserExpired => 401,
            Self::TooManyAuthFailures | Self::RateLimitExceeded => 429,
            Self::InvalidRequest | Self::ModelNotPriced | Self::EstimateUnbounded => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::UnsupportedEncoding => 415,
            Self::InternalError => 500,
            Self::RequestTooLarge => 413,
            Self::ModelNotAllowed => 403,
            Self::BudgetExceeded => 402,
            Self::BudgetUnavailable | Self::NoProviderAvailable => 503,
        }
    }
}

/// An answer of the gateway that is an error.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayError {
    /// Why.
    pub code: ErrorCode,
    /// An English sentence: what was wrong and what to do.
    pub message: String,
    /// Seconds for the `retry-after` header.
    pub retry_after: Option<u64>,
    /// An object with what a program can use.
    pub details: Option<Value>,
    /// For the `x-ratelimit-*` headers.
    pub limit: Option<Box<LimitHeaders>>,
    /// Of the budget that refused.
    pub amounts: Option<Box<Amounts>>,
}

/// The amounts of a budget that refused, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// Its cap now.
    pub limit: Usd,
    /// What was charged to it.
    pub used: Usd,
    /// What other requests have set aside.
    pub reserved: Usd,
    /// What this request needs.
    pub requested: Usd,
}

/// What the `x-ratelimit-*` headers say about the limit that refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitHeaders {
    /// How much there is: requests, or US dollars.
    pub limit: String,
    /// How much of it is left.
    pub remaining: String,
    /// When there is more, Unix seconds; none when nobody knows.
    pub reset: Option<i64>,
}

impl GatewayError {
    /// An error with nothing but a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None, details: None, limit: None, amounts: None }
    }

    /// Adds the seconds after which trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds what is left of the limit that refused.
    #[must_use]
    pub fn with_limit(mut self, limit: LimitHeaders) -> Self {
        self.limit = Some(Box::new(limit));
        self
    }

    /// Adds the amounts of the budget that refused.
    #[must_use]
    pub fn with_amounts(mut self, amounts: Amounts) -> Self {
        self.amounts = Some(Box::new(amounts));
        self
    }

    /// Adds what a program can use.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}

/// The body of an error answer, as the official SDKs of that shape parse it.
#[must_use]
pub fn error_body(shape: Shape, error: &GatewayError, request_id: &str) -> Bytes {
    let status = error.code.status();
    let code = error.code.as_str();
    let message = &error.message;
    let details = &error.details;
    let body = match shape {
        Shape::Anthropic => json!({
            "type": "error",
            "error": {"type": anthropic_type(status), "message": message, "code": code, "details": details},
            "request_id": request_id,
        }),
        Shape::Openai => json!({
            "error": {"message": message, "type": openai_type(status), "param": null, "code": code, "details": details},
        }),
        Shape::Gemini => json!({
            "error": {
                "code": status,
                "message": message,
                "status": gemini_status(status),
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": code,
                    "domain": "tollgate",
                    "metadata": metadata(details.as_ref()),
                }],
            },
        }),
    };
    Bytes::from(body.to_string())
}

const fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

const fn openai_type(status: u16) -> &'static str {
    match status {
        402 => "insufficient_quota",
        429 => "rate_limit_error",
        500..=599 => "server_error",
        _ => "invalid_request_error",
    }
}

const fn gemini_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 | 429 => "RESOURCE_EXHAUSTED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        405 => "UNIMPLEMENTED",
        408 => "DEADLINE_EXCEEDED",
        500 => "INTERNAL",
        501..=599 => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    }
}

/// `ErrorInfo.metadata` is a map of strings to strings; what is null is left out.
fn metadata(details: Option<&Value>) -> Map<String, Value> {
    let Some(Value::Object(details)) = details else {
        return Map::new();
    };
    details
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), Value::String(text))
        })
        .collect()
}

#[cfg(test)]
mod tests;
