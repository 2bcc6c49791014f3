//! Buffers the reading of a zip's directory, which is many small reads with a seek before each.
//!
//! `BufReader` throws its buffer away at every seek; over HTTP ranges that would be a request per entry.

use std::io::{self, Read, Seek, SeekFrom};

/// Windows begin at multiples of this, so that the search backwards for the end record stays in one of them.
const WINDOW: u64 = 64 * 1024;

/// A reader with one cached window. Seeking costs nothing until something outside of it is read.
pub(super) struct WindowReader<'a, R: ?Sized> {
    inner: &'a mut R,
    len: u64,
    position: u64,
    window_start: u64,
    window: Vec<u8>,
}

impl<'a, R: Read + Seek + ?Sized> WindowReader<'a, R> {
    /// At the start. Asks `inner` for its length.
    pub(super) fn new(inner: &'a mut R) -> io::Result<Self> {
        let len = inner.seek(SeekFrom::End(0))?;
        Ok(Self { inner, len, position: 0, window_start: 0, window: Vec::new() })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn cached(&self) -> &[u8] {
        self.position
            .checked_sub(self.window_start)
            .and_then(|offset| self.window.get(usize::try_from(offset).ok()?..))
            .unwrap_or(&[])
    }
}

impl<R: Read + Seek + ?Sized> Read for WindowReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cached().is_empty() && self.position < self.len {
            self.window_start = self.position / WINDOW * WINDOW;
            self.window.clear();
            self.inner.seek(SeekFrom::Start(self.window_start))?;
            (&mut *self.inner).take(WINDOW).read_to_end(&mut self.window)?;
        }
        let cached = self.cached();
        let taken = cached.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&cached[..taken]);
        self.position += taken as u64;
        Ok(taken)
    }
}

impl<R: Read + Seek + ?Sized> Seek for WindowReader<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {

    use std::io::Cursor;

    use super::*;

    #[test]
    fn reads_the_same_bytes_as_without_it_wherever_one_seeks() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let mut inner = Cursor::new(&bytes);
        let mut reader = WindowReader::new(&mut inner).unwrap();
        for start in [199_990u64, 0, 65_530, 131_072, 65_536, 199_999, 3] {
            assert_eq!(reader.seek(SeekFrom::Start(start)).unwrap(), start);
            let mut got = Vec::new();
            (&mut reader).take(100_000).read_to_end(&mut got).unwrap();
            let start = start as usize;
            assert!(got == bytes[start..bytes.len().min(start + 100_000)], "from {start}");
        }
        reader.seek(SeekFrom::Start(1 << 40)).unwrap();
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn small_reads_close_together_touch_the_source_once() {
        struct Counting(Cursor<Vec<u8>>, usize);
        impl Read for Counting {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let got = self.0.read(buffer)?;
                self.1 += usize::from(got > 0);
                Ok(got)
            }
        }
        impl Seek for Counting {
            fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
        let mut counting = Counting(Cursor::new(vec![7; 30_000]), 0);
        let mut reader = WindowReader::new(&mut counting).unwrap();
        for position in (0..29_000u64).rev().step_by(50) {
            reader.seek(SeekFrom::Start(position)).unwrap();
            reader.read_exact(&mut [0; 46]).unwrap();
        }
        assert!(counting.1 <= 16, "{} reads", counting.1);
    }
}
