//! `serve --demo`: the first minute of a newcomer.

use std::process::Command;

use serde_json::Value;

use crate::support::gateway::Setup;
use crate::support::{Gateway, eventually};

/// The commands that were printed, without anything before `curl`.
fn commands(gateway: &Gateway) -> Vec<String> {
    gateway.log().lines().filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
}

/// Pastes a command into a shell.
async fn paste(command: &str) -> (String, i32) {
    let script = command.to_owned();
    let output = tokio::task::spawn_blocking(move || Command::new("sh").arg("-c").arg(script).output().unwrap());
    let output = output.await.unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_commands_work_when_they_are_pasted() {
    let mut gateway = Setup::new([]).demo().spawn();
    gateway.ready().await;
    // They were printed before /readyz answered.
    let commands = commands(&gateway);
    assert!(commands.len() >= 5, "questions, lists, usage: {commands:#?}");
    for (index, command) in commands.iter().enumerate() {
        let (output, code) = paste(&format!("{command} -sS --fail-with-body --max-time 60")).await;
        assert_eq!(code, 0, "{command}\n{output}");
        if index == 0 {
            assert!(command.contains("/v1/chat/completions"), "the first is a chat request: {command}");
            let words = output.contains("choices");
            assert!(words, "{output}");
        }
    }
    // Those that ask a model something.
    let asked = commands.iter().filter(|command| command.contains(" -d ")).count();
    assert!(asked >= 3, "{commands:#?}");
    let rows = eventually("the ledger has them", async || {
        Some(gateway.admin().usage().await).filter(|rows| rows.len() == asked)
    })
    .await;
    for row in rows {
        assert_eq!((&row["outcome"], &row["estimated"]), (&Value::from("completed"), &Value::from(false)), "{row}");
        assert!(row["costUsd"].as_f64().unwrap() > 0.0, "even a pretend answer has its price: {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_may_be_started_again_on_its_own_database() {
    let mut gateway = Setup::new([]).demo().spawn();
    gateway.ready().await;
    let (folder, first) = (gateway.folder().to_owned(), commands(&gateway));
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let url = format!("sqlite://{}", folder.join("tollgate.db").display());
    let mut again = Setup::new([]).set("database.url", url).demo().spawn();
    again.ready().await;
    let second = commands(&again);
    assert_eq!(first.len(), second.len());
    let (output, code) = paste(&format!("{} -sS --fail-with-body --max-time 60", second[0])).await;
    assert_eq!(code, 0, "{output}");
}
