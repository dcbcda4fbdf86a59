#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::HashSet;

use super::*;

fn body(shape: Shape, error: &GatewayError) -> Value {
    serde_json::from_slice(&error_body(shape, error, "0198-req")).unwrap()
}

fn budget_refusal() -> GatewayError {
    GatewayError::new(ErrorCode::BudgetExceeded, "The daily budget of this key is spent.")
        .with_retry_after(60)
        .with_details(
            json!({"axis": "key", "limitUsd": 100.5, "resetsAt": null, "source": {"type": "key", "id": 7}, "ok": true}),
        )
}

#[test]
fn an_anthropic_error_has_type_code_details_and_request_id() {
    assert_eq!(
        body(Shape::Anthropic, &budget_refusal()),
        json!({
            "type": "error",
            "error": {
                "type": "billing_error",
                "message": "The daily budget of this key is spent.",
                "code": "budget_exceeded",
                "details": {"axis": "key", "limitUsd": 100.5, "resetsAt": null, "source": {"type": "key", "id": 7}, "ok": true},
            },
            "request_id": "0198-req",
        })
    );
}

#[test]
fn an_openai_error_has_a_param_that_is_null() {
    let error = GatewayError::new(ErrorCode::InvalidRequest, "no \"model\"");
    assert_eq!(
        body(Shape::Openai, &error),
        json!({"error": {
            "message": "no \"model\"", "type": "invalid_request_error", "param": null, "code": "invalid_request", "details": null,
        }})
    );
}

#[test]
fn a_gemini_error_has_metadata_of_strings_only() {
    assert_eq!(
        body(Shape::Gemini, &budget_refusal()),
        json!({"error": {
            "code": 402,
            "message": "The daily budget of this key is spent.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "budget_exceeded",
                "domain": "tollgate",
                "metadata": {"axis": "key", "limitUsd": "100.5", "source": "{\"id\":7,\"type\":\"key\"}", "ok": "true"},
            }],
        }})
    );
}

#[test]
fn types_follow_the_table_of_the_contract() {
    let table = [
        (400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
        (401, "authentication_error", "invalid_request_error", "UNAUTHENTICATED"),
        (402, "billing_error", "insufficient_quota", "RESOURCE_EXHAUSTED"),
        (403, "permission_error", "invalid_request_error", "PERMISSION_DENIED"),
        (404, "not_found_error", "invalid_request_error", "NOT_FOUND"),
        (413, "request_too_large", "invalid_request_error", "INVALID_ARGUMENT"),
        (429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (500, "api_error", "server_error", "INTERNAL"),
        (503, "overloaded_error", "server_error", "UNAVAILABLE"),
    ];
    for (status, anthropic, openai, gemini) in table {
        assert_eq!((anthropic_type(status), openai_type(status), gemini_status(status)), (anthropic, openai, gemini));
        assert!(ErrorCode::ALL.iter().any(|code| code.status() == status), "{status} has a code");
    }
}

#[test]
fn every_code_has_a_name_of_its_own() {
    let names: HashSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), ErrorCode::ALL.len());
    assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
}
