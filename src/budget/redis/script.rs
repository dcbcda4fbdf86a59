//! The scripts, and how they are called: by their hash, which Redis remembers.

use std::sync::LazyLock;

use redis::Cmd;

use super::wire::Arguments;

/// A script on one key.
pub struct Script {
    text: &'static str,
    hash: String,
}

macro_rules! script {
    ($(#[$doc:meta])* $name:ident, $($file:literal),+) => {
        $(#[$doc])*
        pub static $name: LazyLock<Script> = LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));
    };
}

script!(
    /// Takes a statement.
    EXCHANGE, "account.lua", "exchange.lua"
);
script!(
    /// Takes what the ledger says.
    SEED, "account.lua", "seed.lua"
);
script!(
    /// A node is gone.
    CLOSE, "account.lua", "close.lua"
);
script!(
    /// The ledger says something else.
    ANEW, "account.lua", "anew.lua"
);
script!(
    /// What is counted.
    AUDIT, "account.lua", "audit.lua"
);
script!(
    /// Marks a budget that is not there.
    GAP, "gap.lua"
);
script!(
    /// Since when a partition was not flushed.
    PARTITION, "partition.lua"
);

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// By its hash.
    pub fn call(&self, key: &str, arguments: &Arguments) -> Cmd {
        command("EVALSHA", &self.hash, key, arguments)
    }

    /// Whole, as it is sent where it is not known.
    pub fn whole(&self, key: &str, arguments: &Arguments) -> Cmd {
        command("EVAL", self.text, key, arguments)
    }
}

fn command(name: &str, script: &str, key: &str, arguments: &Arguments) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(1).arg(key);
    for argument in arguments.list() {
        command.arg(&argument[..]);
    }
    command
}
