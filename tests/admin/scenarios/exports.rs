//! Exports: as long as they are, they hold little memory, and a connection to the database only while they read.

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use futures::StreamExt;
use serde_json::Value;

use crate::app::{App, TOKEN};
use crate::support::crowd;

const ROWS: u64 = 5_000;

async fn export(app: &App, accept: &str) -> Response {
    let request = Request::get("/api/v1/usage").header("authorization", format!("Bearer {TOKEN}"));
    app.open(request.header("accept", accept).body(Body::empty()).unwrap()).await
}

pub async fn readers_that_stall_hold_no_connection_to_the_database(app: App) {
    crowd::fill(&app.db, ROWS).await;
    let mut bodies = Vec::new();
    // Many more than there are connections.
    for accept in ["text/csv", "application/x-ndjson"].into_iter().cycle().take(30) {
        let mut body = export(&app, accept).await.into_body().into_data_stream();
        let mut taken = body.next().await.unwrap().unwrap().to_vec();
        if accept == "text/csv" {
            // The first piece is the names of the columns.
            taken.extend(body.next().await.unwrap().unwrap());
        }
        bodies.push((accept, body, taken));
    }
    app.get("/users?limit=1").await.ok(200);
    app.user("a writer waits for nobody").await;
    for (accept, mut body, mut taken) in bodies {
        while let Some(piece) = body.next().await {
            taken.extend(piece.unwrap());
        }
        let text = String::from_utf8(taken).unwrap();
        let expected = usize::try_from(ROWS).unwrap() + usize::from(accept == "text/csv");
        assert_eq!(text.lines().count(), expected, "{accept}");
    }
}

pub async fn rows_are_read_when_they_are_wanted_and_no_longer_when_the_reader_has_left(app: App) {
    crowd::fill(&app.db, ROWS).await;
    app.record();
    let sent = || {
        let sent = app.recorded();
        app.record();
        sent.iter().filter(|statement| statement.sql.contains("usage_ledger")).count()
    };
    let mut body = export(&app, "application/x-ndjson").await.into_body().into_data_stream();
    let mut read = Vec::new();
    for _ in 0..3 {
        let piece = body.next().await.unwrap().unwrap();
        read.extend(piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
        assert_eq!(sent(), 1, "one query for each piece");
    }
    assert!(read.len() < usize::try_from(ROWS).unwrap() / 2, "a piece is a small part: {} rows in three", read.len());
    drop(body);
    app.get("/providers").await.ok(200);
    app.get("/settings").await.ok(200);
    assert_eq!(sent(), 0, "nobody reads on");
    let page = app.get("/usage?limit=3").await.ok(200);
    for (line, item) in read.iter().zip(page["items"].as_array().unwrap()) {
        assert_eq!(&serde_json::from_slice::<Value>(line).unwrap(), item);
    }
}
