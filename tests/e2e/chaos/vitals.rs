//! What a process holds of the system.

use std::fmt;
use std::path::PathBuf;

/// A moment of it.
#[derive(Clone, Copy)]
pub struct Vitals {
    /// Connections, and sockets that listen.
    pub sockets: usize,
    /// Everything else that is open.
    pub files: usize,
    pub threads: usize,
    /// Memory in RAM, KiB.
    pub resident: usize,
}

impl Vitals {
    pub fn of(process: u32) -> Self {
        let folder = PathBuf::from(format!("/proc/{process}"));
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let open = std::fs::read_dir(folder.join("fd")).unwrap();
        // Some are gone before they are looked at.
        let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let (sockets, files): (Vec<_>, Vec<_>) =
            targets.partition(|target| target.to_string_lossy().starts_with("socket:"));
        let (sockets, files) = (sockets.len(), files.len());
        Self { sockets, files, threads: number("Threads"), resident: number("VmRSS") }
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sockets, files, threads, resident } = self;
        write!(f, "{sockets} sockets, {files} files, {threads} threads, {:.1} MiB", *resident as f64 / 1024.0)
    }
}
