//! A throw-away PostgreSQL, reached by a Unix socket in its own folder (so no port can be taken by somebody else).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Process, is_root};

const START_LIMIT: Duration = Duration::from_secs(60);
const ACCOUNT: &str = "postgres";
const FOLDERS: [&str; 3] = ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin"];

/// A running server with one superuser, `postgres`, that needs no password.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    folder: TempDir,
}

impl Postgres {
    /// Creates a cluster and starts it.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-pg-").tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg(ACCOUNT).arg(folder.path()), "chown");
        }
        run(Command::new("cp").arg("-a").arg(template()).arg(folder.path().join("data")), "cp");
        let mut postgres = Self { process: None, folder };
        postgres.restart();
        postgres
    }

    /// The URL of a database in it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.folder.path().display())
    }

    /// Ends it at once, as a crash would; the data stays.
    pub fn stop(&mut self) {
        self.process = None;
        // Its children notice within moments, but may outlive it: a new server refuses to start until they are gone.
    }

    /// Starts it again on the same data, at the same URL.
    pub fn restart(&mut self) {
        self.stop();
        let user = is_root().then_some(ACCOUNT);
        let path = self.folder.path();
        let socket = path.join(".s.PGSQL.5432");
        let log = path.join("log");
        let mut attempts = 0;
        loop {
            let mut process = Process::start(&program("postgres"), user, &log, |command| {
                command.arg("-D").arg(path.join("data")).arg("-k").arg(path);
                for setting in ["listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=60"] {
                    command.args(["-c", setting]);
                }
            });
            process.wait_until(START_LIMIT, |process| answers(&socket) || still_in_use(&process.output()));
            if answers(&socket) {
                self.process = Some(process);
                return;
            }
            attempts += 1;
            assert!(attempts < 100, "the old server does not go away:\n{}", process.output());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops it in the middle of what it does, without closing a connection.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        let process = self.process.as_ref().expect("the server is stopped");
        process.signal(name);
        let parent = process.id().to_string();
        // One process per connection: they have to be stopped too. There may be none.
        let _ = Command::new("pkill").args(["--signal", name, "--parent", &parent]).status();
    }
}

/// A cluster to be copied. Creating one takes seconds, so it is kept for the next test and the next run.
fn template() -> PathBuf {
    let version = Command::new(program("postgres")).arg("--version").output();
    let version = version.unwrap_or_else(|error| panic!("no PostgreSQL: {error}; run `make test`, which installs it"));
    let version: String = String::from_utf8_lossy(&version.stdout).chars().filter(char::is_ascii_digit).collect();
    let user = if is_root() { "root" } else { "user" };
    let template = std::env::temp_dir().join(format!("tollgate-pg-template-{user}-{version}"));
    if template.exists() {
        return template;
    }
    let folder = tempfile::Builder::new().prefix("tollgate-pg-").tempdir().unwrap();
    if is_root() {
        run(Command::new("chown").arg(ACCOUNT).arg(folder.path()), "chown");
    }
    let made = folder.path().join("data");
    run(
        as_account("initdb")
            .arg("--pgdata")
            .arg(&made)
            // A small log and no fsync: the cluster lives for seconds, and the machine is shared.
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"])
            .arg("--wal-segsize=1"),
        "initdb",
    );
    // Another test may have been faster: then this one is thrown away.
    if let Err(error) = fs::rename(&made, &template) {
        assert!(template.exists(), "cannot keep {}: {error}", template.display());
    }
    template
}

fn still_in_use(output: &str) -> bool {
    output.contains("is still in use") || output.contains("lock file \"postmaster.pid\" already exists")
}

/// Whether it is past its start-up.
fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    // Length, protocol 3.0, parameters.
    let mut message = [&[0, 0, 0, 0, 0, 3, 0, 0], b"user\0postgres\0database\0none\0\0".as_slice()].concat();
    message[3] = u8::try_from(message.len()).unwrap();
    let mut answer = Vec::new();
    // There is no such database: to say so it must be up. Before, it says that it is starting.
    stream.write_all(&message).is_ok()
        && stream.read_to_end(&mut answer).is_ok()
        && String::from_utf8_lossy(&answer).contains("3D000")
}

fn as_account(name: &str) -> Command {
    let program = program(name);
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={ACCOUNT}"), &format!("--regid={ACCOUNT}"), "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn program(name: &str) -> String {
    let found = FOLDERS.iter().map(|folder| PathBuf::from(folder).join(name)).find(|path| path.exists());
    found.map_or_else(|| name.to_owned(), |path| path.display().to_string())
}

fn run(command: &mut Command, what: &str) {
    // The account may not be allowed into the folder that the test runs in.
    let output = command
        .current_dir("/")
        .output()
        .unwrap_or_else(|error| panic!("cannot start {what}: {error}; run `make test`, which installs PostgreSQL"));
    assert!(
        output.status.success(),
        "{what} failed; run `make test`, which installs PostgreSQL:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Removes what a killed test left behind; `TempDir` does it for the others.
impl Drop for Postgres {
    fn drop(&mut self) {
        self.process = None;
        let _ = fs::remove_dir_all(self.folder.path());
    }
}
