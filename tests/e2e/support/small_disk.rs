//! A disk of a few bytes that only the gateway under test sees, and that ends with it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Gateway;
use super::gateway::{BINARY, serve};
use crate::servers::process::{Process, is_root};

/// Mounts `$2` with `$1` bytes and runs the rest. The kernel forgets to end the program with its parent when the
/// program is given a name space of users, so it is told again.
const SCRIPT: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec setpriv --pdeathsig KILL "$@""#;

/// What a file takes at most of a disk that is full.
const PIECE: [u8; 512] = [b'.'; 512];

/// The options that give a program mounts of its own.
fn options() -> &'static [&'static str] {
    if is_root() { &["--mount"] } else { &["--map-root-user", "--mount"] }
}

/// Why there are no small disks here; none: there are.
pub fn why_not() -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(options()).args(["sh", "-c", SCRIPT, "sh", "65536"]).arg(folder.path()).arg("true");
    match command.output() {
        Err(error) => Some(format!("unshare: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

pub(super) fn launch(config: &Value, folder: &Path, bytes: u64) -> Process {
    let data_dir = config["node"]["data_dir"].as_str().unwrap();
    std::fs::create_dir_all(data_dir).unwrap();
    Process::start("unshare", None, &folder.join("log"), |command| {
        command.args(options()).args(["sh", "-c", SCRIPT, "sh", &bytes.to_string(), data_dir, BINARY]);
        serve(command, folder);
    })
}

impl Gateway {
    /// Fills its disk to the last byte; the file that does.
    pub fn fill_disk(&self) -> PathBuf {
        let path = self.data_dir().join("filler");
        let mut file = File::create(&path).unwrap();
        let mut written = 0;
        loop {
            match file.write(&PIECE) {
                Ok(length) => written += length,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
                    assert!(written > 0, "the disk was full before");
                    return path;
                }
            }
        }
    }
}
