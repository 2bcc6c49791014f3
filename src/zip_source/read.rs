//! Reads an entry to its last byte, once, and checks all that can be checked on the way.

use std::io::{self, Read, Seek, SeekFrom};
use std::panic;
use std::thread;

use super::decode::decode;
use super::directory::{Encryption, EntryLocation};
use super::error::ZipError;
use super::sinks::{Direct, Sink, handover};
use crate::deflate::{BlockMap, Ended, Horizon, InflateError, Inflater, Reaching};

/// Compressed bytes read at once.
const INPUT: usize = 256 * 1024;

/// An entry that was read to its end and is what the directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRead {
    /// Length of the content in bytes, counted.
    pub size_bytes: u64,
    /// CRC-32 of the content, computed.
    pub crc32: u32,
    /// Where the entry's DEFLATE stream can be cut open; `None` for other methods and for encrypted entries.
    pub splice: Option<BlockMap>,
    /// Bytes in the entry's data behind the end of its DEFLATE stream. Zero in a healthy zip; they are no part of the content
    /// and splicing leaves them out, but somebody may want to know.
    pub trailing_bytes: u64,
}

/// Reads the entry in one pass, calling `receiver` with pieces of up to 256 KiB in order.
///
/// Nothing that was received may be trusted before this returns `Ok`: only then have size and CRC-32 been checked. Stops at the first byte
/// over the declared size, and before the first if that is over `max_size`: so no entry costs more than `max_size`,
/// whatever it would inflate to. `password` is ignored if the entry is not encrypted.
///
/// # Errors
/// `TooLarge`, `Encrypted`, `WrongPassword`, `WrongSize`, `WrongCrc`, `Inflate`, `Decode`, `Truncated`, `Io`, and `Receiver` with the error
/// that `receiver` returned.
pub fn read_entry<R: Read + Seek + ?Sized>(
    reader: &mut R,
    location: &EntryLocation,
    password: Option<&[u8]>,
    max_size: u64,
    receiver: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<EntryRead, ZipError> {
    read_into(reader, location, password, max_size, &mut Direct::new(receiver), None)
}

/// The same with `receiver` on a thread of its own, so that hashing and inflating go on at the same time. Of a plain DEFLATE entry,
/// `horizon` learns how far its stream has been inflated and, once everything has been checked, where it can be cut open.
///
/// # Errors
/// As [`read_entry`]. If `receiver` panics, so does this.
pub fn read_entry_threaded<R: Read + Seek + ?Sized>(
    reader: &mut R,
    location: &EntryLocation,
    password: Option<&[u8]>,
    max_size: u64,
    receiver: impl FnMut(&[u8]) -> io::Result<()> + Send,
    horizon: Option<&Horizon>,
) -> Result<EntryRead, ZipError> {
    let reaching = horizon.map(Horizon::reaching);
    let read = thread::scope(|scope| {
        let (mut sink, takeover) = handover();
        let receiving = scope.spawn(move || takeover.run(receiver));
        let outcome = read_into(reader, location, password, max_size, &mut sink, reaching.as_ref());
        // Closes the channel, which ends the other thread.
        drop(sink);
        match receiving.join() {
            Ok(Ok(())) => outcome,
            Ok(Err(error)) => Err(ZipError::Receiver(error)),
            Err(payload) => panic::resume_unwind(payload),
        }
    })?;
    // What follows the horizon has written the declared size already.
    if let (Some(reaching), Some(map), true) = (reaching, &read.splice, read.size_bytes == location.declared_size) {
        reaching.end(Ended::Whole { map: map.clone(), content_crc32: read.crc32 });
    }
    Ok(read)
}

/// Counts and checks what comes out.
pub(super) struct Tally<'a> {
    pub location: &'a EntryLocation,
    crc: crc32fast::Hasher,
    size: u64,
    /// The most that may come: what is declared, and where that may be a size modulo 2^32, one of the sizes it stands for.
    expected: u64,
    max_size: u64,
}

impl Tally<'_> {
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), ZipError> {
        self.crc.update(bytes);
        self.size += bytes.len() as u64;
        while self.size > self.expected {
            if !self.location.may_wrap() {
                return Err(self.wrong_size(None));
            }
            self.expected = self.expected.saturating_add(1 << 32);
            if self.expected > self.max_size {
                return Err(too_large(self.location, self.expected, self.max_size));
            }
        }
        Ok(())
    }

    pub(super) fn wrong_size(&self, got: Option<u64>) -> ZipError {
        ZipError::WrongSize { entry: self.location.name.clone(), declared: self.location.declared_size, got }
    }

    /// Size and CRC-32, if they are what the directory says.
    fn check(self) -> Result<(u64, u32), ZipError> {
        let (location, got) = (self.location, self.crc.clone().finalize());
        let entry = || location.name.clone();
        let is_checked = location.encryption != Encryption::Aes { has_crc: false };
        let is_right = self.size == self.expected && (!is_checked || got == location.crc32);
        if is_right {
            return Ok((self.size, got));
        }
        // One wrong password in 256 passes the old encryption's own test and shows only here.
        if location.encryption == Encryption::ZipCrypto {
            return Err(ZipError::WrongPassword { entry: entry() });
        }
        if self.size != self.expected {
            return Err(self.wrong_size(Some(self.size)));
        }
        Err(ZipError::WrongCrc { entry: entry(), expected: location.crc32, got })
    }
}

fn read_into<R: Read + Seek + ?Sized>(
    reader: &mut R,
    location: &EntryLocation,
    password: Option<&[u8]>,
    max_size: u64,
    sink: &mut dyn Sink,
    reaching: Option<&Reaching<'_>>,
) -> Result<EntryRead, ZipError> {
    let expected = location.declared_size;
    if expected > max_size {
        return Err(too_large(location, expected, max_size));
    }
    let mut tally = Tally { location, crc: crc32fast::Hasher::new(), size: 0, expected, max_size };
    let (splice, trailing_bytes) = if location.is_plain_deflate() {
        inflate(reader, &mut tally, sink, reaching)?
    } else {
        decode(reader, password, &mut tally, sink)?;
        (None, 0)
    };
    sink.finish().map_err(ZipError::Receiver)?;
    let (size_bytes, crc32) = tally.check()?;
    Ok(EntryRead { size_bytes, crc32, splice, trailing_bytes })
}

fn too_large(location: &EntryLocation, declared: u64, limit: u64) -> ZipError {
    ZipError::TooLarge { entry: location.name.clone(), declared, limit }
}

/// The usual case. Returns the block positions and the number of bytes behind the stream.
fn inflate<R: Read + Seek + ?Sized>(
    reader: &mut R,
    tally: &mut Tally<'_>,
    sink: &mut dyn Sink,
    reaching: Option<&Reaching<'_>>,
) -> Result<(Option<BlockMap>, u64), ZipError> {
    let location = tally.location;
    let entry = || location.name.clone();
    let failed = |source: InflateError| ZipError::Inflate { entry: entry(), source };
    reader.seek(SeekFrom::Start(location.data_start))?;
    let mut inflater = Inflater::new().map_err(failed)?;
    let mut input = vec![0; INPUT];
    let mut unread = location.compressed_size;
    let mut spare = location.spare;
    loop {
        // A length modulo 2^32: the stream itself tells where it ends.
        if let (0, Some(rest)) = (unread, spare.checked_sub(1 << 32)) {
            (unread, spare) = (1 << 32, rest);
        }
        let wanted = INPUT.min(usize::try_from(unread).unwrap_or(INPUT));
        let got = match reader.read(&mut input[..wanted]) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if got == 0 {
            return Err(ZipError::Truncated { entry: entry() });
        }
        unread -= got as u64;
        let mut used = 0;
        loop {
            let room = sink.room().map_err(ZipError::Receiver)?;
            let progress = inflater.inflate(&input[used..got], room).map_err(failed)?;
            tally.add(&room[..progress.produced])?;
            let is_full = progress.produced == room.len();
            sink.filled(progress.produced).map_err(ZipError::Receiver)?;
            used += progress.consumed;
            if progress.finished {
                // Where the length is one modulo 2^32, what stands behind the stream is not known.
                let trailing = if spare == location.spare { unread + (got - used) as u64 } else { 0 };
                return Ok((inflater.block_map(), trailing));
            }
            // With the room full there may be more to come out, even if all input is taken.
            if !is_full {
                break;
            }
        }
        if let Some(reaching) = reaching {
            reaching.block_begins(inflater.block_begins());
        }
    }
}
