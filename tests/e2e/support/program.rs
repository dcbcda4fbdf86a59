//! Programs in other languages that use the gateway; `make test` installs what they need.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Runs a program to its end, which must be a good one; what it printed, and what it complained of.
pub async fn run(mut command: Command) -> (String, String) {
    // It talks to this machine only.
    command.env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    let program = command.get_program().to_string_lossy().into_owned();
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run `make test`, which installs it"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program}: run `make test`, which installs what is missing\n{stdout}\n{stderr}");
    (stdout, stderr)
}

/// What a program reports that prints a line of JSON for each thing that it does, by what it says it was.
pub async fn reports(command: Command, key: &str) -> BTreeMap<String, Value> {
    let (stdout, _) = run(command).await;
    let reports = stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a report"));
    reports.map(|report| (report[key].as_str().unwrap().to_owned(), report)).collect()
}
