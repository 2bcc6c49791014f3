//! A file that rsync is just receiving, handed on as it grows: what was handed on makes room again.
//!
//! rsync writes into files only. Told `--inplace` it does so from beginning to end; so the end need not be waited for, a reading
//! that was given up ends the transfer, and a file of any size takes little of this machine's disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use super::BUFFER_BYTES;
use crate::destination::Sink;
use crate::interrupt::Interrupt;

/// How much is handed on before its room is given back.
const FREED_BYTES: u64 = 8 << 20;

/// The file; it is gone once this is dropped.
pub(super) struct Received {
    path: PathBuf,
    file: File,
    /// Where reading is, bytes from the beginning.
    position: u64,
    freed: u64,
    buffer: Vec<u8>,
}

impl Received {
    /// Makes the file, empty; what is before `offset` will not be handed on.
    pub(super) fn create(path: PathBuf, offset: u64) -> io::Result<Self> {
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Received { path, file, position: offset, freed: 0, buffer: vec![0; BUFFER_BYTES] })
    }

    /// How much has come, bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Hands on what has come since.
    pub(super) fn hand_on(&mut self, interrupt: &Interrupt, sink: &mut Sink<'_>) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.position))?;
        loop {
            let count = self.file.read(&mut self.buffer)?;
            if count == 0 {
                return Ok(());
            }
            interrupt.check()?;
            sink(&self.buffer[..count])?;
            self.position += count as u64;
            if self.position >= self.freed + FREED_BYTES {
                // Not every file system can; then it takes the room that it takes.
                let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let _ = fallocate(&self.file, hole, self.freed, self.position - self.freed);
                self.freed = self.position;
            }
        }
    }

    /// Hands on the rest, once rsync has ended; without `--inplace` that is all of it, in another file.
    pub(super) fn finish(mut self, interrupt: &Interrupt, sink: &mut Sink<'_>) -> io::Result<()> {
        let last = open_plain(&self.path)?;
        if last.metadata()?.ino() != self.file.metadata()?.ino() {
            self.file = last;
        }
        self.hand_on(interrupt, sink)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn open_plain(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_was_handed_on_takes_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let mut received = Received::create(path.clone(), 5).unwrap();
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        let mut seen = 0;
        for _ in 0..20 {
            writer.write_all(&[7; 1 << 20]).unwrap();
            received
                .hand_on(&Interrupt::default(), &mut |bytes| {
                    seen += bytes.len();
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!((seen, received.len().unwrap()), ((20 << 20) - 5, 20 << 20));
        assert!(received.file.metadata().unwrap().blocks() * 512 < 10 << 20);
        drop(received);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_was_put_in_its_place_is_handed_on_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let received = Received::create(path.clone(), 1).unwrap();
        fs::write(directory.path().join("y"), b"0123").unwrap();
        fs::rename(directory.path().join("y"), &path).unwrap();
        let mut seen = Vec::new();
        received
            .finish(&Interrupt::default(), &mut |bytes| {
                seen.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, b"123");
    }
}
