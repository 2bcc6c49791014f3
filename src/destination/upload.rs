//! One upload over several attempts: what an earlier attempt left is gone on with once it was compared, else removed.
//!
//! The size of a file alone says nothing of its content: a server may have filled it with zeros, or may still be writing.

use std::io::{self, Read, SeekFrom};

use sha2::{Digest as _, Sha256};

use super::retry::PROGRESS_BYTES;
use super::{Destination, DestinationError, ErrorKind, FileSource, Source};
use crate::digest::Digest;

/// The state of it between two attempts.
pub(super) struct Upload<'a> {
    name: &'a str,
    source: &'a mut dyn Source,
    /// What the caller vouches for.
    offset: u64,
    /// A file of that name holds our bytes or none.
    ours: bool,
    /// Where the last attempt began.
    reached: u64,
    /// The bytes from the beginning that were found to be the source's.
    compared: u64,
    /// What the last attempt may have left beyond this has holes.
    certain: Option<u64>,
    /// The server did not let an upload go on.
    pub(super) resume_refused: bool,
    /// Nothing else could have written to the file: it was new when the last attempt began, at its beginning.
    pub(super) is_straight: bool,
}

impl<'a> Upload<'a> {
    pub(super) fn new(name: &'a str, source: &'a mut dyn Source, offset: u64, resume_refused: bool) -> Self {
        Upload {
            name,
            source,
            offset,
            ours: offset > 0,
            reached: offset,
            compared: offset,
            certain: None,
            resume_refused,
            is_straight: false,
        }
    }

    /// One attempt. `failures` is how often it failed in a row, taken back when something has moved.
    pub(super) fn attempt(
        &mut self,
        destination: &mut dyn Destination,
        failures: &mut u32,
    ) -> Result<(), DestinationError> {
        let start = self.start(destination, failures)?;
        match self.put(destination, start) {
            Err(error) if start > 0 && error.resume_refused() => {
                self.resume_refused = true;
                if start == self.offset {
                    // Whoever asked for it knows what else to do.
                    return Err(error);
                }
                tracing::warn!("`{}` could not be gone on with, all of it is sent again: {error}", self.name);
                self.fresh(destination)?;
                self.put(destination, 0)
            }
            put => put,
        }
    }

    fn put(&mut self, destination: &mut dyn Destination, start: u64) -> Result<(), DestinationError> {
        self.reached = start;
        self.compared = self.compared.min(start);
        let put = destination.put(self.name, self.source, start);
        self.is_straight &= put.is_ok() && start == 0 && destination.wrote_straight();
        self.certain = put.as_ref().err().and_then(DestinationError::certain_bytes);
        put
    }

    /// Where to begin.
    fn start(&mut self, destination: &mut dyn Destination, failures: &mut u32) -> Result<u64, DestinationError> {
        if !destination.capabilities().resume {
            self.is_straight = *failures == 0;
            return Ok(0);
        }
        if !self.ours || self.resume_refused {
            // What an older file holds must not be taken for the beginning of this one after a failure; and whoever may still
            // be writing to it does so elsewhere.
            return self.fresh(destination);
        }
        if *failures == 0 {
            return Ok(self.offset);
        }
        let Some(entry) = destination.stat(self.name)?.filter(|entry| entry.is_file) else {
            return self.fresh(destination);
        };
        let held = match self.certain {
            Some(bytes) if bytes < entry.size => destination.keep_beginning(self.name, bytes)?,
            _ => entry.size,
        };
        if held >= self.reached + PROGRESS_BYTES {
            *failures = 0;
        }
        let is_possible = (self.reached..=self.source.len_bytes()).contains(&held) && held > 0;
        if !is_possible {
            return self.fresh(destination);
        }
        let compared = self.compared;
        let holds = match self.holds_beginning(destination, held) {
            // One that may be written and not be read.
            Err(error) if error.resume_refused() => false,
            holds => holds?,
        };
        if self.compared >= compared + PROGRESS_BYTES {
            *failures = 0;
        }
        if !holds {
            tracing::warn!("what arrived of `{}` is not what was sent, all of it is sent again", self.name);
            return self.fresh(destination);
        }
        Ok(held)
    }

    /// Begins at the beginning, of a new file if the account may delete.
    fn fresh(&mut self, destination: &mut dyn Destination) -> Result<u64, DestinationError> {
        self.is_straight = true;
        match destination.remove(self.name) {
            Ok(()) => {}
            Err(error) if matches!(error.kind, ErrorKind::PermissionDenied | ErrorKind::Other) => {
                match destination.stat(self.name)? {
                    // What is not there needs no removing.
                    None => {}
                    Some(entry) if entry.is_file => {
                        tracing::debug!("`{}` cannot be removed, so it is overwritten: {error}", self.name);
                        self.is_straight = false;
                    }
                    Some(_) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
        self.ours = true;
        self.compared = 0;
        Ok(0)
    }

    /// Whether the file holds the source's first `held` bytes: by the server's checksum, else by reading back what has not been
    /// compared before. How far that came is kept, for the connection may break over it.
    fn holds_beginning(&mut self, destination: &mut dyn Destination, held: u64) -> Result<bool, DestinationError> {
        if self.compared < held
            && let Some(found) = destination.checksum(self.name)?
            && found == self.digest_of_beginning(held)?
        {
            self.compared = held;
        }
        if self.compared >= held {
            return Ok(true);
        }
        self.source.seek(SeekFrom::Start(self.compared)).map_err(unreadable)?;
        let (source, compared) = (&mut *self.source, &mut self.compared);
        let (mut differs, mut has_grown, mut expected) = (false, false, Vec::new());
        let got = destination.get(self.name, *compared, &mut |bytes| {
            let wanted = bytes.len().min(usize::try_from(held - *compared).unwrap_or(usize::MAX));
            expected.resize(wanted, 0);
            source.read_exact(&mut expected)?;
            differs = expected != bytes[..wanted];
            has_grown = wanted < bytes.len();
            if differs || has_grown {
                return Err(io::Error::other("enough was read"));
            }
            *compared += wanted as u64;
            Ok(())
        });
        if differs {
            return Ok(false);
        }
        if has_grown {
            // Whoever was cut off before is still writing: the upload itself will notice.
            self.compared = held;
            return Ok(true);
        }
        got.map(|()| self.compared == held)
    }

    fn digest_of_beginning(&mut self, bytes: u64) -> Result<Digest, DestinationError> {
        // Not through the source where there is a file: nothing is sent, so no limit of bandwidth applies.
        let file = self.source.local_path().map(FileSource::open).transpose().map_err(unreadable)?;
        let digest = match file {
            Some(file) => digest_of(file.take(bytes)),
            None => self.source.seek(SeekFrom::Start(0)).and_then(|_| digest_of((&mut *self.source).take(bytes))),
        };
        digest.map_err(unreadable)
    }
}

fn digest_of(mut reader: impl Read) -> io::Result<Digest> {
    let (mut hasher, mut block) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match reader.read(&mut block) {
            Ok(0) => return Ok(Digest(hasher.finalize().into())),
            Ok(count) => hasher.update(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn unreadable(error: io::Error) -> DestinationError {
    DestinationError::new(ErrorKind::Local, "failed to read what is to be sent").caused_by(error)
}
