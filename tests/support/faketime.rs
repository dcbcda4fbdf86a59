//! Programs whose wall clock is wrong, by libfaketime. Clocks that nobody sets are left alone.

/// The variables of a program whose wall clock is ahead by so many milliseconds, or behind.
pub fn ahead_by(ms: i64) -> Vec<(String, String)> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let library = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    let library = library.expect("no libfaketime; run `make test`, which installs it");
    let sign = if ms < 0 { '-' } else { '+' };
    let variables = [
        // Memory comes from the C library: what Redis has instead asks for the time before there is one.
        ("LD_PRELOAD", format!("{}:libc.so.6", library.display())),
        ("FAKETIME", format!("{sign}{}.{:03}s", ms.abs() / 1_000, ms.abs() % 1_000)),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}
