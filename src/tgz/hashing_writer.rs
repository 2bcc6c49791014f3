//! Learns an archive's checksum while it is written, so that publishing it needs no second read.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

/// Passes everything on to another writer, counting and hashing what that writer took.
pub struct HashingWriter<W> {
    inner: W,
    sha256: Sha256,
    size_bytes: u64,
}

/// What went through a [`HashingWriter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// Their number.
    pub size_bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Starts with nothing written. `inner` should be a file, not a `BufWriter`: this module writes in large pieces.
    pub fn new(inner: W) -> Self {
        Self { inner, sha256: Sha256::new(), size_bytes: 0 }
    }

    /// The inner writer, to be flushed and synced by whoever owns it, and what went into it.
    pub fn finish(self) -> (W, Written) {
        let written = Written { sha256: self.sha256.finalize().into(), size_bytes: self.size_bytes };
        (self.inner, written)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.sha256.update(&bytes[..taken]);
        self.size_bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    /// Takes at most three bytes at a time.
    struct Miser(Vec<u8>);

    impl Write for Miser {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(3);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_what_was_taken_is_hashed() {
        let mut writer = HashingWriter::new(Miser(Vec::new()));
        writer.write_all(b"abcdefgh").unwrap();
        let (inner, written) = writer.finish();
        assert_eq!(inner.0, b"abcdefgh");
        assert_eq!(written.size_bytes, 8);
        assert_eq!(hex::encode(written.sha256), "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab");
    }
}
