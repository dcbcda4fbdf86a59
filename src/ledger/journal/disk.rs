//! Where a journal's bytes go.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What a journal needs of a file.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Writes all of it; the operating system has it when this returns.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `bytes`. What is beyond the end of the file is zero.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Forces everything that was written before to the disk itself.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn sync(&self) -> io::Result<()>;

    /// Gives up what is beyond `length`.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn shrink(&self, length: u64) -> io::Result<()>;
}

impl Disk for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match FileExt::read_at(self, bytes, offset) {
                Ok(0) => {
                    bytes.fill(0);
                    break;
                }
                Ok(read) => {
                    bytes = &mut bytes[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn shrink(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
