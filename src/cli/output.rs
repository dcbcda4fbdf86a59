//! What commands say, and how they end.

use std::io::Write;

use tollgate::store::StoreError;

/// Why a command failed, and the exit code that says so to scripts.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    /// What is not somebody's way to call the command, nor something that cannot be reached.
    pub fn new(message: impl std::fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// The command was called wrongly.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// What the command needs cannot be reached.
    pub fn unreachable(message: impl std::fmt::Display) -> Self {
        Self { code: 3, message: message.to_string() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { code: if error.is_unreachable() { 3 } else { 1 }, message: error.to_string() }
    }
}

/// Prints a command's result. A reader that has seen enough (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}
