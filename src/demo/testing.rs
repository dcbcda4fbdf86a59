//! Asking the pretend providers without a socket.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{Request, header::CONTENT_TYPE},
};
use serde_json::Value;
use tower::ServiceExt;

use super::router;

/// A whole answer, streamed or not.
pub(super) struct Answer {
    pub status: u16,
    pub content_type: String,
    pub text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("the answer is JSON")
    }

    /// The data of its server-sent events, each with the name of the event, which may be empty.
    pub(super) fn events(&self) -> Vec<(String, String)> {
        assert!(self.content_type.starts_with("text/event-stream"), "{}", self.content_type);
        let text = self.text.replace("\r\n", "\n");
        let (last, events) = {
            let mut parts: Vec<&str> = text.split("\n\n").collect();
            (parts.pop().unwrap(), parts)
        };
        assert_eq!(last, "", "the last event is complete");
        events
            .into_iter()
            .map(|event| {
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
                (field("event: "), field("data: "))
            })
            .collect()
    }
}

/// Posts `body` to the pretend providers.
pub(super) async fn post(path: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json").body(body.into()).unwrap();
    send(request).await
}

pub(super) async fn send(request: Request<Body>) -> Answer {
    let response = router(Duration::ZERO).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let content_type =
        response.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, content_type, text: String::from_utf8(bytes.to_vec()).unwrap() }
}
