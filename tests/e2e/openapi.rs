//! What the OpenAPI document says is what the API does: schemathesis makes requests of it, good ones and bad ones, and
//! holds each answer against it.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::servers::postgres::Postgres;
use crate::support::gateway::{ADMIN_TOKEN, Setup};
use crate::support::provider::entry;
use crate::support::{Gateway, program};

/// What every answer is asked.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,\
                      use_after_free,ensure_resource_availability,ignored_auth";
/// Fewer than the requests that a run makes, and far more than it makes when it cannot read the document.
const LEAST: u64 = 2000;

fn setup() -> Setup {
    Setup::new([entry("upstream", &["openai_chat"], "http://127.0.0.1:9")])
}

/// Runs schemathesis against a node to its end.
async fn holds(gateway: Gateway) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = gateway.folder().join("schemathesis");
    std::fs::create_dir(&home).unwrap();
    for file in ["schemathesis.toml", "hooks.py"] {
        std::fs::copy(root.join("tests/schemathesis").join(file), home.join(file)).unwrap();
    }
    let mut command = Command::new(root.join(".venv/bin/python"));
    command.args(["-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "--checks", CHECKS]);
    command.args(["--phases", "examples,coverage,fuzzing,stateful"]);
    command.arg(format!("{}/api/v1/openapi.json", gateway.admin().base())).current_dir(&home);
    command.env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN).env("TOLLGATE_KEY", gateway.key());
    command.env("COLUMNS", "120");
    let (stdout, stderr) = program::run(command).await;
    let said = stdout + &stderr;
    let made = said.lines().filter_map(|line| line.trim().split_once(" generated")?.0.parse::<u64>().ok()).next();
    assert!(made.is_some_and(|made| made >= LEAST), "it has hardly asked anything: {made:?}\n{said}");
    let log = gateway.log();
    assert!(!log.contains(" ERROR ") && !log.contains("panicked"), "the node has nothing to complain about:\n{log}");
    // It has not taken its own credential away, nor been locked out.
    assert_eq!(gateway.admin().get("/admin-tokens?limit=1").await["pageInfo"]["limit"], json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_its_document_says_on_sqlite() {
    holds(setup().start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_its_document_says_on_postgresql() {
    let postgres = Postgres::start();
    holds(setup().set("database.url", postgres.url("postgres")).start().await).await;
}
