//! A disk of a few bytes that only the gateway under test sees.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::SOON;
use crate::servers::process::{Process, is_root};

/// Mounts `$2` with `$1` bytes and runs the rest. The kernel forgets to end a program with its parent when it gives the
/// program a name space of users, so it is told again.
const SCRIPT: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec setpriv --pdeathsig KILL "$@""#;

/// What is written at once to a disk that fills up.
const PIECE: [u8; 512] = [b'.'; 512];

/// A mounted disk, for programs that enter its name space.
pub struct SmallDisk {
    /// Keeps the name space.
    holder: Process,
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many bytes at a folder that is there.
    pub fn mount(folder: &Path, bytes: u64) -> Self {
        let log = folder.with_extension("mount");
        let mut holder = Process::start("unshare", None, &log, |command| {
            unshare(command, folder, bytes).args(["sh", "-c", "echo mounted && exec sleep infinity"]);
        });
        holder.wait_until(SOON, |process| process.output().contains("mounted"));
        Self { holder, folder: folder.to_owned() }
    }

    /// Why there are no small disks here; none: there are.
    pub fn why_not() -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        match unshare(&mut command, folder.path(), 65_536).arg("true").output() {
            Err(error) => Some(format!("unshare: {error}")),
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Makes `nsenter` run what follows where the disk is seen.
    pub fn enter(&self, nsenter: &mut Command) {
        nsenter.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if !is_root() {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        nsenter.args(["setpriv", "--pdeathsig", "KILL"]);
    }

    /// Where this process sees it.
    pub fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.strip_prefix("/").unwrap())
    }

    /// Fills it to the last byte; the file that does.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        let mut written = 0;
        loop {
            match file.write(&PIECE) {
                Ok(length) => written += length,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                    assert!(written > 0, "the disk was full before");
                    return path;
                }
            }
        }
    }
}

fn unshare<'a>(command: &'a mut Command, folder: &Path, bytes: u64) -> &'a mut Command {
    if !is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", SCRIPT, "sh", &bytes.to_string()]).arg(folder)
}
