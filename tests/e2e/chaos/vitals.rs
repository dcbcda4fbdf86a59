//! What a process holds of the system.

use std::fmt;
use std::path::PathBuf;

/// A moment of it.
#[derive(Clone, Copy)]
pub struct Vitals {
    /// Open files and connections.
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
        let files = std::fs::read_dir(folder.join("fd")).unwrap().count();
        Self { files, threads: number("Threads"), resident: number("VmRSS") }
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} open files, {} threads, {:.1} MiB", self.files, self.threads, self.resident as f64 / 1024.0)
    }
}
