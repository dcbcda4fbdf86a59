//! How the program is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Gateway;
use crate::servers::process::Process;
use crate::support::small_disk::SmallDisk;

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tollgate");

/// The token that every gateway of the tests is started with.
pub const ADMIN_TOKEN: &str = "an-admin-token-of-more-than-32-characters";

/// Runs the program in a folder that has its configuration.
pub(super) fn launch(folder: &Path, demo: bool, disk: Option<&SmallDisk>, environment: &[(String, String)]) -> Process {
    let program = if disk.is_some() { "nsenter" } else { BINARY };
    Process::start(program, None, &folder.join("log"), |command| {
        if let Some(disk) = disk {
            disk.enter(command);
            command.arg(BINARY);
        }
        command.args(["serve", "-c"]).arg(folder.join("tollgate.yaml")).current_dir(folder);
        if demo {
            command.arg("--demo");
        }
        for name in ["RUST_LOG", "ENABLE_MODEL_RATE_LIMIT", "MODEL_RATE_LIMIT_FAIL_OPEN", "SSL_CERT_FILE"] {
            command.env_remove(name);
        }
        command.env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN).envs(environment.iter().cloned());
    })
}

/// Runs a second gateway on the same configuration, which waits for the sockets of the first.
pub fn upgrade(gateway: &Gateway) -> Process {
    Process::start(BINARY, None, &gateway.folder().join("log of the successor"), |command| {
        command.args(["serve", "--upgrade", "-c"]).arg(gateway.folder().join("tollgate.yaml"));
        command.current_dir(gateway.folder()).env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN).env_remove("RUST_LOG");
    })
}

/// Runs the program to its end.
pub fn run(arguments: &[&str], environment: &[(&str, &str)], folder: &Path) -> std::process::Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).envs(environment.iter().copied()).current_dir(folder).stdin(Stdio::null());
    command.env_remove("RUST_LOG").output().unwrap()
}

/// Sets a value by its path; an array is indexed by a number.
pub fn set(config: &mut Value, path: &str, value: Value) {
    let mut at = config;
    for name in path.split('.') {
        at = match name.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[name],
        };
    }
    *at = value;
}

/// Writes the configuration, as JSON: that is YAML too.
pub(super) fn write_config(folder: &Path, config: &Value) -> PathBuf {
    let file = folder.join("tollgate.yaml");
    std::fs::write(&file, serde_json::to_string_pretty(config).unwrap()).unwrap();
    file
}
