//! What every protocol does with a source: begin at an offset, read exactly as many bytes as it said, notice when it lies.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::{DestinationError, ErrorKind, Source};

/// A file of this machine as a source; its length is taken when it is opened.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len_bytes: u64,
}

impl FileSource {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len_bytes = file.metadata()?.len();
        Ok(FileSource { file, len_bytes })
    }
}

impl Read for FileSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for FileSource {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Source for FileSource {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

impl<T: AsRef<[u8]>> Source for io::Cursor<T> {
    fn len_bytes(&self) -> u64 {
        self.get_ref().as_ref().len() as u64
    }
}

/// A source being read once, from an offset to its announced end.
pub(super) struct Feed<'a> {
    source: &'a mut dyn Source,
    len_bytes: u64,
    left: u64,
}

impl<'a> Feed<'a> {
    /// Puts the source at `offset`.
    pub(super) fn start(source: &'a mut dyn Source, offset: u64) -> Result<Self, DestinationError> {
        let len_bytes = source.len_bytes();
        let Some(left) = len_bytes.checked_sub(offset) else {
            return Err(DestinationError::new(
                ErrorKind::Local,
                format!("cannot go on from byte {offset} of a file of {len_bytes} bytes"),
            ));
        };
        source.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        Ok(Feed { source, len_bytes, left })
    }

    /// Bytes not read yet.
    #[allow(dead_code, reason = "not every set of protocols asks")]
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Fills some of `buffer`; 0 only once everything announced was read (or the buffer is empty).
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DestinationError> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        match read_some(self.source, &mut buffer[..want])? {
            0 => Err(DestinationError::new(
                ErrorKind::Local,
                format!("what is sent ended after {} of {} bytes", self.len_bytes - self.left, self.len_bytes),
            )),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }

    /// Checks that nothing follows the announced end.
    pub(super) fn finish(&mut self) -> Result<(), DestinationError> {
        match read_some(self.source, &mut [0])? {
            0 => Ok(()),
            _ => Err(DestinationError::new(
                ErrorKind::Local,
                format!("what is sent is longer than the {} bytes it announced", self.len_bytes),
            )),
        }
    }
}

fn read_some(source: &mut dyn Source, buffer: &mut [u8]) -> Result<usize, DestinationError> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(unreadable),
        }
    }
}

fn unreadable(error: io::Error) -> DestinationError {
    DestinationError::new(ErrorKind::Local, "failed to read what is to be sent").caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    struct Liar {
        bytes: Cursor<Vec<u8>>,
        said: u64,
    }

    impl Read for Liar {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.bytes.read(buffer)
        }
    }

    impl Seek for Liar {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.bytes.seek(to)
        }
    }

    impl Source for Liar {
        fn len_bytes(&self) -> u64 {
            self.said
        }
    }

    fn drain(source: &mut dyn Source, offset: u64) -> Result<usize, DestinationError> {
        let mut feed = Feed::start(source, offset)?;
        let mut total = 0;
        loop {
            match feed.read(&mut [0; 4])? {
                0 => break,
                count => total += count,
            }
        }
        feed.finish()?;
        Ok(total)
    }

    #[test]
    fn a_feed_gives_what_lies_between_the_offset_and_the_end() {
        assert_eq!(drain(&mut Cursor::new(b"0123456789"), 3).unwrap(), 7);
        assert_eq!(drain(&mut Cursor::new(b"0123456789"), 10).unwrap(), 0);
        assert_eq!(drain(&mut Cursor::new(b"0123456789"), 11).unwrap_err().kind, ErrorKind::Local);
    }

    #[test]
    fn a_source_that_is_shorter_or_longer_than_it_said_is_our_own_failure() {
        for (said, words) in [(11, "ended after 10 of 11"), (9, "longer than the 9")] {
            let error = drain(&mut Liar { bytes: Cursor::new(b"0123456789".to_vec()), said }, 0).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Local);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
