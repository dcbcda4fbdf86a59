//! A child process that never outlives its test, however the test ends.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(10);

/// A running program. It is killed when this is dropped, and by the kernel when the test program dies.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output in the file `log`. `setup` adds arguments and environment.
    pub fn start(program: &str, user: Option<&str>, log: &Path, setup: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = user {
            command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
        }
        command.arg(program);
        setup(&mut command);
        let output = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let child = spawn(command).unwrap_or_else(|error| {
            panic!("cannot start {program} (by setpriv): {error}; run `make test`, which installs what the tests need")
        });
        Self { child, name: program.to_owned(), log: log.to_owned() }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready` holds; fails the test if the process ends first or `limit` passes.
    pub fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        loop {
            // Before `ready`, which may want to see the last words of a process that has ended.
            let ended = self.exit_status();
            if ready(self) {
                return;
            }
            if let Some(status) = ended {
                panic!("{} ended with {status}; run `make test`, which installs it:\n{}", self.name, self.output());
            }
            assert!(start.elapsed() < limit, "{} is not ready after {limit:?}:\n{}", self.name, self.output());
            std::thread::sleep(POLL);
        }
    }

    /// Whether it has ended, and how.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end; fails the test if `limit` passes.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            assert!(start.elapsed() < limit, "{} has not ended after {limit:?}:\n{}", self.name, self.output());
            std::thread::sleep(POLL);
        }
    }

    /// Sends a signal by its name: `TERM`, `HUP`, `STOP`, ...
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().unwrap();
        assert!(status.success(), "cannot send {name} to {}", self.name);
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // It may have ended by itself: both calls then have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether this test runs as root, which PostgreSQL refuses to.
pub fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

/// The kernel's "die with your parent" means the *thread* that started the child. So one thread starts them all, and
/// lives as long as the program.
fn spawn(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (sender, answer) = mpsc::channel();
    spawner.send((command, sender)).unwrap();
    answer.recv().unwrap()
}
