//! Where a zip's directory is: found from the record at the zip's end (APPNOTE 4.3.14 to 4.3.16), and proven by the first
//! header that stands there.
//!
//! The record counts offsets from where its writer began to count. Whatever was put in front of the zip later shifts them all,
//! which shows: the directory ends where the record begins.

use std::io::{self, Read, Seek, SeekFrom};

use super::error::{NotAZipReason, ZipError};
use super::headers::{CENTRAL, u16_at, u32_at, u64_at};
use super::window_reader::WindowReader;

/// Where the end record must begin: 22 bytes and a comment of 65,535 at most (APPNOTE 4.3.16).
const END_RECORD_MAX: u64 = 22 + 0xffff;
const END: &[u8; 4] = b"PK\x05\x06";
const ZIP64_END: &[u8; 4] = b"PK\x06\x06";
const ZIP64_LOCATOR: &[u8; 4] = b"PK\x06\x07";

/// A directory, all in bytes from the start of the file.
#[derive(Debug)]
pub(super) struct Directory {
    /// Where its first header begins.
    pub start: u64,
    /// Where its last header ends.
    pub end: u64,
    /// How many entries it is said to have.
    pub count: u64,
    /// The count is exact; without zip64 it is one modulo 65,536.
    pub is_zip64: bool,
    /// What stands before the zip, to be added to its offsets.
    pub before: u64,
    /// What stands behind the zip.
    pub after: u64,
}

/// An end record's fields, the zip64 one's in place of those that it stands for.
struct Record {
    /// Where the directory has to end: where this record begins, or the zip64 one.
    at: u64,
    count: u64,
    size: u64,
    offset: u64,
    is_zip64: bool,
    is_split: bool,
}

/// Finds the directory: the last end record that leads to one. A comment may hold what looks like an end record, so one that
/// says "empty" counts only if no other leads anywhere.
///
/// # Errors
/// `NotAZip`, `Io`.
pub(super) fn find_directory<R: Read + Seek + ?Sized>(reader: &mut WindowReader<'_, R>) -> Result<Directory, ZipError> {
    let len = reader.len();
    let tail_start = len.saturating_sub(END_RECORD_MAX);
    let mut tail = Vec::new();
    reader.seek(SeekFrom::Start(tail_start))?;
    reader.take(END_RECORD_MAX).read_to_end(&mut tail)?;

    let mut empty = None;
    let mut refused = None;
    for at in memchr::memmem::rfind_iter(&tail, END) {
        let Some(fixed) = tail.get(at..at + 22) else { continue };
        let end = tail_start + at as u64 + 22 + u64::from(u16_at(fixed, 20));
        if end > len {
            continue;
        }
        let record = read_record(reader, fixed, tail_start + at as u64)?;
        match directory_of(reader, &record)? {
            Ok(directory) if record.size > 0 => return Ok(Directory { after: len - end, ..directory }),
            Ok(directory) => empty = empty.or(Some(Directory { after: len - end, ..directory })),
            Err(detail) => refused = refused.or(Some(detail)),
        }
    }
    match (empty, refused) {
        (_, Some(detail)) => Err(ZipError::NotAZip(NotAZipReason::Directory { detail })),
        (Some(directory), None) => Ok(directory),
        (None, None) => Err(no_end_record(reader)?),
    }
}

fn read_record(reader: &mut (impl Read + Seek), fixed: &[u8], at: u64) -> io::Result<Record> {
    let disks = (u16_at(fixed, 4), u16_at(fixed, 6));
    let mut record = Record {
        at,
        count: u64::from(u16_at(fixed, 10)),
        size: u64::from(u32_at(fixed, 12)),
        offset: u64::from(u32_at(fixed, 16)),
        is_zip64: false,
        // 0xffff: see the zip64 record.
        is_split: ![(0, 0), (0xffff, 0xffff)].contains(&disks),
    };
    let Some((at, long)) = zip64_record(reader, at)? else { return Ok(record) };
    record.at = at;
    record.is_zip64 = true;
    record.count = u64_at(&long, 32);
    if record.size == u64::from(u32::MAX) {
        record.size = u64_at(&long, 40);
    }
    if record.offset == u64::from(u32::MAX) {
        record.offset = u64_at(&long, 48);
    }
    Ok(record)
}

/// The zip64 end record, and where it is: right before its locator, else where the locator says.
fn zip64_record(reader: &mut (impl Read + Seek), end: u64) -> io::Result<Option<(u64, [u8; 56])>> {
    let Some(locator_at) = end.checked_sub(20) else { return Ok(None) };
    let mut locator = [0; 20];
    reader.seek(SeekFrom::Start(locator_at))?;
    reader.read_exact(&mut locator)?;
    if !locator.starts_with(ZIP64_LOCATOR) {
        return Ok(None);
    }
    for at in [locator_at.checked_sub(56), Some(u64_at(&locator, 8))].into_iter().flatten() {
        let mut long = [0; 56];
        if at.checked_add(56).is_none_or(|end| end > locator_at) {
            continue;
        }
        reader.seek(SeekFrom::Start(at))?;
        reader.read_exact(&mut long)?;
        if long.starts_with(ZIP64_END) {
            return Ok(Some((at, long)));
        }
    }
    Ok(None)
}

/// The directory that a record leads to, or why it leads nowhere.
fn directory_of(reader: &mut (impl Read + Seek), record: &Record) -> io::Result<Result<Directory, String>> {
    if record.is_split {
        return Ok(Err("it is one part of a zip that was split over several files".to_owned()));
    }
    let Some(start) = record.at.checked_sub(record.size) else {
        let missing = record.size - record.at;
        return Ok(Err(format!("it is said to have {missing} bytes more than stand before its end")));
    };
    let directory = |start: u64, before: u64| Directory {
        start,
        end: start + record.size,
        count: record.count,
        is_zip64: record.is_zip64,
        before,
        after: 0,
    };
    if record.size == 0 {
        return Ok(Ok(directory(start, 0)));
    }
    if begins_with(reader, start, CENTRAL)? {
        // Without zip64 an offset beyond 4 GiB is one modulo 2^32: then nothing stands before the zip.
        let wraps = !record.is_zip64 && start > record.offset && (start - record.offset).is_multiple_of(1 << 32);
        return Ok(match start.checked_sub(record.offset) {
            Some(before) => Ok(directory(start, if wraps { 0 } else { before })),
            None => {
                let missing = record.offset - start;
                Err(format!("{missing} bytes of the zip are missing before it"))
            }
        });
    }
    // Something stands between the directory and its end record.
    let fits = record.offset.checked_add(record.size).is_some_and(|end| end <= record.at);
    if fits && begins_with(reader, record.offset, CENTRAL)? {
        return Ok(Ok(directory(record.offset, 0)));
    }
    Ok(Err("there is no entry where it has to begin".to_owned()))
}

fn begins_with(reader: &mut (impl Read + Seek), at: u64, signature: &[u8; 4]) -> io::Result<bool> {
    let mut found = [0; 4];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut found)?;
    Ok(found == *signature)
}

/// Looks at the beginning of what has no end record.
fn no_end_record<R: Read + Seek + ?Sized>(reader: &mut WindowReader<'_, R>) -> io::Result<ZipError> {
    let len = reader.len();
    let mut head = Vec::new();
    reader.seek(SeekFrom::Start(0))?;
    reader.take(512).read_to_end(&mut head)?;
    Ok(ZipError::NotAZip(if head.starts_with(b"PK") {
        NotAZipReason::NoEndRecord { size_bytes: len }
    } else if let Some(starts_with) = as_text(&head) {
        NotAZipReason::Text { starts_with }
    } else {
        NotAZipReason::OtherFormat { starts_with: hex::encode(&head[..head.len().min(8)]) }
    }))
}

/// The first words, if these bytes are text.
fn as_text(bytes: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // The cut may have gone through a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let words = crate::text::masked(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    Some(words.chars().take(60).collect())
}
