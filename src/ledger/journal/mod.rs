//! What must not be forgotten when the process dies: which requests are on their way, and the records that are not in
//! the database yet.
//!
//! A file per life of a process, made of places of equal size. An admitted request takes a place and keeps it: its
//! opening is written before anything goes to a provider, its record over the same place before the answer's last byte
//! goes out, and the place is used again once the record is in the database. So there is nothing to trim or to compact;
//! the file stays as small as what is on its way, and a record always finds room, because its request had it. Each
//! write goes to the operating system at once, which outlives the process; every few milliseconds all of them are
//! forced to disk, which outlives the power.

mod disk;
mod format;
mod home;
mod place;
mod stored;
#[cfg(test)]
mod tests;

pub use disk::Disk;
pub use format::{Found, OpenRequest};
pub use home::{DeadJournal, JournalHome};
pub use place::{Journal, JournalError, Place};
