//! The processes of a run: where they run, what they used, and that they end with it.

use std::{
    ffi::OsStr,
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Linux counts CPU time for programs in hundredths of a second, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;
const POLL: Duration = Duration::from_millis(50);
const START_LIMIT: Duration = Duration::from_secs(30);
/// A round is much shorter: something hangs.
const PART_LIMIT: Duration = Duration::from_secs(300);
/// No CPU time in this long means that all work is done, that in the background too.
const QUIET: Duration = Duration::from_millis(300);
const QUIET_LIMIT: Duration = Duration::from_secs(20);

/// Which cores a process may use.
#[derive(Clone, Copy)]
pub enum Core {
    /// The first, for the proxy under test alone.
    Proxy,
    /// All others, for the parts that make and answer the load.
    Others,
}

/// A process that is killed when this is dropped.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `program` on its cores.
    pub fn start(core: Core, program: &Path, configure: impl FnOnce(&mut Command)) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = on(core, program);
        configure(&mut command);
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("{name} does not start"))?;
        Ok(Self { child, name })
    }

    /// Starts another part of this bench.
    pub fn part(core: Core, arguments: &[&str]) -> Result<Self> {
        Self::start(core, &std::env::current_exe()?, |command| {
            command.args(arguments);
        })
    }

    /// Waits until something accepts connections at `address`.
    pub async fn listens(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).await.is_err() {
            self.still_waits(deadline, &format!("listens at {address}"))?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Fails when the process has ended or `deadline` has passed, before it does what is awaited.
    pub fn still_waits(&mut self, deadline: Instant, what: &str) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended ({status}) before it {what}", self.name);
        }
        if Instant::now() > deadline {
            bail!("{} did not come so far that it {what}", self.name);
        }
        Ok(())
    }

    /// Seconds of CPU time so far, of all its threads.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).context("no name in stat")?;
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or_default()).sum();
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    /// CPU time, once the work in the background (the ledger's writer) has come to rest.
    pub async fn cpu_seconds_at_rest(&self) -> Result<f64> {
        let deadline = Instant::now() + QUIET_LIMIT;
        loop {
            let before = self.cpu_seconds()?;
            sleep(QUIET).await;
            let now = self.cpu_seconds()?;
            if now - before < 1.5 / TICKS_PER_SECOND || Instant::now() > deadline {
                return Ok(now);
            }
        }
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
            .with_context(|| format!("{} is gone", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs another part of this bench to its end and returns what it printed.
pub async fn output_of_part(arguments: &[&str]) -> Result<Vec<u8>> {
    let mut command: tokio::process::Command = on(Core::Others, &std::env::current_exe()?).into();
    let what = || arguments.first().copied().unwrap_or_default();
    let run = command.args(arguments).kill_on_drop(true).output();
    let output = timeout(PART_LIMIT, run).await.with_context(|| format!("{} does not end", what()))??;
    if !output.status.success() {
        bail!("{} failed: {}", what(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// An address on loopback that nothing listens on.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Lets this process and its children have many connections.
pub fn raise_open_files(wanted: u64) -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit of open files")?;
    let soft = line.split_whitespace().nth(3).unwrap_or_default();
    if soft == "unlimited" || soft.parse::<u64>()? >= wanted {
        return Ok(());
    }
    let pid = std::process::id().to_string();
    // Only the soft limit, which needs no privilege.
    let raised = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={wanted}:")]).status();
    if !raised.is_ok_and(|status| status.success()) {
        bail!("{wanted} open files are needed, {soft} are allowed: run `ulimit -n {wanted}` first");
    }
    Ok(())
}

fn on(core: Core, program: &Path) -> Command {
    let last = available_cores() - 1;
    let cores = match core {
        _ if last == 0 || !has_taskset() => None,
        Core::Proxy => Some("0".to_owned()),
        Core::Others => Some(format!("1-{last}")),
    };
    let Some(cores) = cores else {
        return Command::new(program);
    };
    // taskset becomes the program: the process id is the program's.
    let mut command = Command::new("taskset");
    command.args([OsStr::new("--cpu-list"), OsStr::new(&cores), program.as_os_str()]);
    command
}

/// How the parts share the machine, in words.
pub fn placement() -> String {
    match available_cores() {
        1 => "one core for all".to_owned(),
        n if has_taskset() => format!("proxy on core 0, the rest on cores 1 to {}", n - 1),
        n => format!("no taskset: everything on all {n} cores"),
    }
}

fn available_cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn has_taskset() -> bool {
    Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
