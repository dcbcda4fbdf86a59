//! The page of the API in a real browser: what its reader fills in is sent, shown as it came, and the command line beside
//! it does the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::gateway::{ADMIN_TOKEN, Setup};
use crate::support::provider::entry;
use crate::support::{Gateway, program};

/// Runs the browser's program to its end; what it reported, by step.
async fn browse(gateway: &Gateway) -> BTreeMap<String, Value> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/api_docs.mjs");
    let mut command = Command::new("node");
    command.arg(program).env("DOCS_URL", format!("{}/api/v1/docs", gateway.admin().base()));
    command.env("ADMIN_TOKEN", ADMIN_TOKEN).current_dir(gateway.folder());
    program::reports(command, "step").await
}

/// What the command line that the page shows prints.
async fn in_a_shell(gateway: &Gateway, report: &Value) -> Value {
    let line = report["curl"].as_str().unwrap();
    assert!(!line.contains(ADMIN_TOKEN), "arguments are seen by everybody on the machine: {line}");
    let mut command = Command::new("bash");
    command.args(["-c", line]).env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN).current_dir(gateway.folder());
    let (said, _) = program::run(command).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {line}\n{said}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_api_sends_what_its_reader_fills_in_and_shows_what_came() {
    let gateway = Setup::new([entry("upstream", &["openai_chat"], "http://127.0.0.1:9")]).start().await;
    let reports = browse(&gateway).await;
    let report = |step: &str| reports.get(step).unwrap_or_else(|| panic!("no {step} in {reports:#?}"));
    let status = |step: &str| report(step)["status"].as_str().unwrap().to_owned();
    let body = |step: &str| serde_json::from_str::<Value>(report(step)["body"].as_str().unwrap()).unwrap();

    let document: Value = gateway.admin().get("/openapi.json").await;
    let operations: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    let find = report("find");
    assert_eq!((find["all"].as_u64(), find["again"].as_u64()), (Some(operations as u64), Some(operations as u64)));
    assert!((1..5).contains(&find["found"].as_u64().unwrap()), "{find}");

    for (step, begins) in [
        ("no token", "401 "),
        ("sample", "400 "),
        ("create", "201 "),
        ("list", "200 "),
        ("not given", "It was not answered: id must be given"),
        ("read", "200 "),
        ("export", "200 "),
        ("delete", "204 "),
        ("gone", "404 "),
    ] {
        assert!(status(step).starts_with(begins), "{step}: {}", report(step));
    }
    // What was begun with has only what must be given, and that is empty.
    assert_eq!(body("sample")["invalidParams"][0]["path"], "name");
    let created = body("create");
    let name = created["name"].as_str().unwrap();
    assert!(name.starts_with("<img src=x onerror=") && name.ends_with('`'), "{created}");
    assert_eq!(report("create")["images"], 0, "it is text");
    assert_eq!(report("create")["title"], "Tollgate API");
    assert_eq!(body("list")["items"][0]["id"], created["id"]);
    assert_eq!(body("read")["name"], name);
    let first_line = report("export")["body"].as_str().unwrap().lines().next().unwrap().to_owned();
    assert!(first_line.starts_with("requestId,attempt,"), "{first_line}");

    // The same from a shell: hostile names are arguments there, and nothing else. The user is gone; his name is free.
    let again = in_a_shell(&gateway, report("create")).await;
    assert_eq!((&again["name"], &again["enabled"]), (&json!(name), &json!(true)));
    assert!(!gateway.folder().join("taken").exists(), "nothing of it is carried out");
    assert_eq!(in_a_shell(&gateway, report("list")).await["items"][0]["id"], again["id"]);
    assert_eq!(in_a_shell(&gateway, report("gone")).await["code"], "not_found");

    let end = report("end");
    assert_eq!((&end["trouble"], &end["elsewhere"]), (&json!([]), &json!([])), "{end}");
    assert_eq!((&end["token"], end["kept"].as_str()), (&json!(""), Some("[{},{},\"\"]")), "{end}");
}
