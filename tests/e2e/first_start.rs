//! The first start on an empty database, where nobody has a token yet.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::servers::process::Process;
use crate::support::gateway::BINARY;
use crate::support::ports::Port;
use crate::support::provider::entry;
use crate::support::{Admin, SOON, client, eventually};

/// A configuration in a folder, and the ports that it names.
fn configure(folder: &Path) -> (PathBuf, [Port; 3]) {
    let ports = [Port::take(), Port::take(), Port::take()];
    let config = json!({
        "server": {"listen": ports[0].address(), "admin": ports[1].address(), "metrics": ports[2].address()},
        "database": {"url": format!("sqlite://{}", folder.join("tollgate.db").display())},
        "node": {"data_dir": folder.join("data")},
        "providers": [entry("upstream", &["openai_chat"], "http://127.0.0.1:9")],
    });
    let file = folder.join("tollgate.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    (file, ports)
}

/// Starts without an admin token in the environment and waits until it is ready.
async fn start(folder: &Path, file: &Path, admin: &str) -> Process {
    let mut process = Process::start(BINARY, None, &folder.join("log"), |command| {
        command.args(["serve", "-c"]).arg(file).current_dir(folder);
        command.env_remove("TOLLGATE_ADMIN_TOKEN").env_remove("RUST_LOG");
    });
    let ready = format!("{admin}/readyz");
    eventually("the gateway is ready", async || {
        assert!(process.exit_status().is_none(), "it has ended:\n{}", process.output());
        client().get(&ready).send().await.is_ok_and(|answer| answer.status() == 200).then_some(())
    })
    .await;
    process
}

/// The admin tokens in a text.
fn tokens(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    words.filter(|word| word.starts_with("tgadm-")).map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_token_is_printed_once_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let (file, ports) = configure(folder.path());
    let base = format!("http://{}", ports[1].address());
    let mut first = start(folder.path(), &file, &base).await;
    let printed = tokens(&first.output());
    let [token] = printed.as_slice() else { panic!("one token, not {}:\n{}", printed.len(), first.output()) };
    let admin = Admin::new(&base, token);
    admin.caller(json!({"name": "ada"}), json!({})).await;
    first.signal("TERM");
    assert_eq!(first.wait(SOON).code(), Some(0));

    let second = start(folder.path(), &file, &base).await;
    assert_eq!(tokens(&second.output()), [""; 0], "not a second time:\n{}", second.output());
    assert_eq!(admin.get("/users").await["items"][0]["name"], "ada", "the first one goes on working");
    for name in std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&name).unwrap();
        let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "{} holds the token in clear", name.display());
    }
}

#[test]
fn an_admin_token_that_is_too_short_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _ports) = configure(folder.path());
    for token in ["hunter2", &"x".repeat(31)] {
        let mut process = Process::start(BINARY, None, &folder.path().join("log"), |command| {
            command.args(["serve", "-c"]).arg(&file).current_dir(folder.path()).env("TOLLGATE_ADMIN_TOKEN", token);
        });
        let code = process.wait(SOON).code();
        let text = process.output();
        assert_eq!(code, Some(1), "{token:?}: {text}");
        assert!(text.contains("TOLLGATE_ADMIN_TOKEN") && text.contains("32"), "it says what is wrong: {text}");
        assert!(!text.contains(token), "it does not repeat it: {text}");
        assert!(!folder.path().join("tollgate.db").exists(), "nothing was done before");
    }
}
