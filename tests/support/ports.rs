//! Ports that no other test takes, though every test is a process of its own.

use std::fs::File;
use std::net::TcpListener;

/// Below the range from which the system takes ports for outgoing connections.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// A port on loopback that is free, and locked for other tests until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Looks for one until one is found.
    pub fn take() -> Self {
        let locks = std::env::temp_dir().join("tollgate-test-ports");
        std::fs::create_dir_all(&locks).unwrap();
        loop {
            let number = rand::random_range(RANGE);
            let lock = File::create(locks.join(number.to_string())).unwrap();
            if lock.try_lock().is_ok() && TcpListener::bind(("0.0.0.0", number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The address to listen on.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}
