//! What the body of an error answer says, in any dialect.
//!
//! Codes and types are taken at their word. Messages may repeat what the client wrote, so that a phrase anywhere in one
//! proves nothing where the client can be at fault: of a 400 only how its message begins is looked at.

use std::time::Duration;

use serde_json::Value;

use super::told::duration;
use crate::json;

/// What a provider says about its failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// What it is about.
    pub meaning: Meaning,
    /// It names the model that was sent: the failure is the model's, not the whole provider's.
    pub names_model: bool,
    /// When to come back.
    pub wait: Option<Duration>,
}

/// What an error is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Meaning {
    /// It does not say, or not in words that are known.
    #[default]
    Unknown,
    /// Money, credit or quota of the account is used up, or the account is suspended.
    Quota,
    /// Too much in a short time.
    RateLimit,
    /// This request alone is more than the account may send in a minute.
    TooLargeHere,
    /// The provider does not accept our credential.
    Credential,
    /// The provider does not have this model, or not for us.
    NoSuchModel,
    /// The request is at fault.
    Request,
    /// It has too much to do.
    Overloaded,
}

/// Codes, types, statuses and reasons that say it all.
const CODES: &[(&str, Meaning)] = &[
    ("insufficient_quota", Meaning::Quota),
    ("insufficient_balance", Meaning::Quota),
    ("insufficient_credits", Meaning::Quota),
    ("insufficient_user_quota", Meaning::Quota),
    ("exceeded_current_quota_error", Meaning::Quota),
    ("billing_error", Meaning::Quota),
    ("billing_hard_limit_reached", Meaning::Quota),
    ("billing_not_active", Meaning::Quota),
    ("payment_required", Meaning::Quota),
    ("billing_disabled", Meaning::Quota),
    ("consumer_suspended", Meaning::Quota),
    ("1113", Meaning::Quota),
    ("authentication_error", Meaning::Credential),
    ("invalid_api_key", Meaning::Credential),
    ("invalid_authentication_error", Meaning::Credential),
    ("account_deactivated", Meaning::Credential),
    ("unauthenticated", Meaning::Credential),
    ("api_key_invalid", Meaning::Credential),
    ("api_key_service_blocked", Meaning::Credential),
    ("api_key_ip_address_blocked", Meaning::Credential),
    ("access_token_expired", Meaning::Credential),
    ("consumer_invalid", Meaning::Credential),
    ("service_disabled", Meaning::Credential),
    ("model_not_found", Meaning::NoSuchModel),
    ("model_not_available", Meaning::NoSuchModel),
    ("deploymentnotfound", Meaning::NoSuchModel),
    ("rate_limit_error", Meaning::RateLimit),
    ("rate_limit_exceeded", Meaning::RateLimit),
    ("resource_exhausted", Meaning::RateLimit),
    ("overloaded_error", Meaning::Overloaded),
    ("server_overloaded", Meaning::Overloaded),
    ("slow_down", Meaning::Overloaded),
    ("unavailable", Meaning::Overloaded),
    ("context_length_exceeded", Meaning::Request),
    ("content_filter", Meaning::Request),
    ("content_policy_violation", Meaning::Request),
    ("invalid_prompt", Meaning::Request),
    ("invalid_request_error", Meaning::Request),
    ("invalid_argument", Meaning::Request),
    ("failed_precondition", Meaning::Request),
    ("request_too_large", Meaning::Request),
];

/// How messages begin whose codes say less than they do.
const BEGINNINGS: &[(&str, Meaning)] =
    &[("your credit balance is too low", Meaning::Quota), ("request too large for", Meaning::TooLargeHere)];

/// What messages say somewhere, where the client is not at fault.
const QUOTA_PHRASES: &[&str] = &[
    "credit balance is too low",
    "insufficient balance",
    "insufficient credit",
    "insufficient quota",
    "out of credits",
    "used all available credits",
    "spending limit",
    "quota has been exhausted",
];

impl Said {
    /// Reads the body of an answer with this status to a request that named `model`.
    #[must_use]
    pub fn read(status: u16, body: &[u8], model: &str) -> Self {
        let Ok(document) = json::read(body) else { return Self::default() };
        // Streams of Gemini are arrays.
        let document = document.as_array().and_then(|all| all.first()).unwrap_or(&document);
        let failed = document.get("response").unwrap_or(document);
        let error = failed.get("error").filter(|error| !error.is_null()).unwrap_or(failed);
        let details = error.get("details").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let message = error.as_str().or_else(|| text(error, "message")).unwrap_or_default();
        Self {
            meaning: meaning(status, error, details, message, model),
            names_model: names(message, model) || details.iter().any(|detail| limits_model(detail, model)),
            wait: details.iter().find_map(|detail| duration(text(detail, "retryDelay")?)),
        }
    }

    /// Reads the piece of an answer in which an error has come: an event of a stream, or a document. What was cut by the
    /// network says nothing.
    #[must_use]
    pub fn within(piece: &[u8], model: &str) -> Self {
        let lines = piece.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
        let of_stream = lines.rev().map(|data| Self::read(200, data, model));
        let said = of_stream.chain([Self::read(200, piece, model)]).find(|said| *said != Self::default());
        said.unwrap_or_default()
    }

    /// What does not say what it is about is what this status stands for.
    #[must_use]
    pub fn or_status(self, status: u16) -> Self {
        let stands_for = match status {
            401 => Meaning::Credential,
            402 => Meaning::Quota,
            429 => Meaning::RateLimit,
            400..=407 | 409..=428 | 430..=499 => Meaning::Request,
            _ => Meaning::Unknown,
        };
        let meaning = if self.meaning == Meaning::Unknown { stands_for } else { self.meaning };
        Self { meaning, ..self }
    }
}

fn meaning(status: u16, error: &Value, details: &[Value], message: &str, model: &str) -> Meaning {
    let lower = message.to_lowercase();
    let begins = BEGINNINGS.iter().find(|(words, _)| lower.starts_with(words)).map(|(_, meaning)| *meaning);
    if let Some(meaning) = begins {
        return meaning;
    }
    // The more exact ones first: a `type` is often as general as a status.
    let reasons = details.iter().filter_map(|detail| text(detail, "reason"));
    let codes = ["code", "type", "status"].iter().filter_map(|field| text(error, field));
    let number = error.get("code").and_then(Value::as_i64).map(|number| number.to_string());
    let said = reasons.chain(codes).chain(number.as_deref()).find_map(of_code);
    match said {
        Some(Meaning::Request | Meaning::RateLimit | Meaning::Overloaded) | None => {}
        Some(meaning) => return meaning,
    }
    let denies = status == 404 || (status == 400 && lower.contains("not a valid model"));
    if denies && names(message, model) {
        return Meaning::NoSuchModel;
    }
    if matches!(status, 401 | 403 | 429) && QUOTA_PHRASES.iter().any(|words| lower.contains(words)) {
        return Meaning::Quota;
    }
    said.unwrap_or_default()
}

fn of_code(code: &str) -> Option<Meaning> {
    CODES.iter().find(|(known, _)| code.eq_ignore_ascii_case(known)).map(|(_, meaning)| *meaning)
}

/// Gemini's `QuotaFailure` says which model a quota is of.
fn limits_model(detail: &Value, model: &str) -> bool {
    let violations = detail.get("violations").and_then(Value::as_array);
    violations.is_some_and(|all| {
        all.iter().any(|violation| {
            violation.get("quotaDimensions").and_then(|of| text(of, "model")).is_some_and(|named| named == model)
        })
    })
}

fn names(message: &str, model: &str) -> bool {
    !model.is_empty() && message.contains(model)
}

fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str()
}
