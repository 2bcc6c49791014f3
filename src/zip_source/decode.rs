//! Every method but plain DEFLATE, and all that is encrypted. The crate `zip` is given a local header of our own making before the
//! data: what stands in the zip's own one has been read, and may be wrong in ways that do not matter.

use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};

use lzma_rust2::{LzmaReader, XzReader, lzma2_get_memory_usage};
use zip::ZipReadOptions;
use zip::read::read_zipfile_from_stream_with_options;
use zip::result::ZipError as LibraryError;

use super::directory::{Encryption, EntryLocation, method};
use super::error::ZipError;
use super::read::Tally;
use super::sinks::Sink;

/// The largest window (dictionary) that is allocated, bytes. What makes zips chooses 64 MiB at most unless told otherwise; the
/// formats allow 4 GiB, whatever the content's size. It is also the limit of the zstd library.
pub(super) const WINDOW_MAX: u32 = 128 << 20;

/// Reads the entry's content to its end.
pub(super) fn decode<R: Read + Seek + ?Sized>(
    reader: &mut R,
    password: Option<&[u8]>,
    tally: &mut Tally<'_>,
    sink: &mut dyn Sink,
) -> Result<(), ZipError> {
    let location = tally.location;
    if location.encryption != Encryption::None && password.is_none() {
        return Err(ZipError::Encrypted { entry: location.name.clone() });
    }
    // LZMA and xz are decoded here: only so is their window known before it is allocated.
    let outer = if [method::LZMA, method::XZ].contains(&location.method) { method::STORED } else { location.method };
    reader.seek(SeekFrom::Start(location.data_start))?;
    let mut data = Cursor::new(location.header.with_method(outer)).chain(reader);
    // The tally checks the CRC, so that its error is ours.
    let mut options =
        ZipReadOptions::new().password(password).ignore_crc32(true).override_compressed_size(location.compressed_size);
    if outer != location.method {
        options = options.override_uncompressed_size(location.compressed_size);
    } else {
        options = options.override_uncompressed_size(location.declared_size);
    }
    let content = match read_zipfile_from_stream_with_options(&mut data, options) {
        Ok(Some(content)) => content,
        Ok(None) => return Err(invalid(location, "no header")),
        Err(LibraryError::InvalidPassword) => {
            return Err(ZipError::WrongPassword { entry: location.name.clone() });
        }
        Err(LibraryError::Io(error)) => return Err(decode_failed(location, error)),
        Err(other) => return Err(invalid(location, other)),
    };
    match location.method {
        method::XZ => {
            let limit = lzma2_get_memory_usage(WINDOW_MAX);
            let mut xz = XzReader::new_mem_limit(BufReader::new(content), false, limit);
            pass_on(&mut xz, tally, sink)?;
            drain(location, xz.inner_mut())
        }
        method::LZMA => {
            let mut content = BufReader::new(content);
            let (properties, window) = lzma_header(&mut content).map_err(|error| decode_failed(location, error))?;
            if u64::from(window).min(location.declared_size) > u64::from(WINDOW_MAX) {
                return Err(window_too_large(location, Some(u64::from(window))));
            }
            let mut lzma = LzmaReader::new_with_props(content, location.declared_size, properties, window, None)
                .map_err(|error| decode_failed(location, error))?;
            pass_on(&mut lzma, tally, sink)?;
            drain(location, lzma.inner_mut())
        }
        _ => pass_on(&mut { content }, tally, sink),
    }
}

/// Properties and window of an LZMA stream as it is in a zip (APPNOTE 5.8.8).
fn lzma_header(content: &mut impl Read) -> io::Result<(u8, u32)> {
    let mut header = [0; 9];
    content.read_exact(&mut header)?;
    if header[2..4] != [5, 0] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "LZMA properties of unknown length"));
    }
    Ok((header[4], u32::from_le_bytes([header[5], header[6], header[7], header[8]])))
}

fn pass_on(content: &mut dyn Read, tally: &mut Tally<'_>, sink: &mut dyn Sink) -> Result<(), ZipError> {
    let location = tally.location;
    let is_encrypted = location.encryption != Encryption::None;
    loop {
        let room = sink.room().map_err(ZipError::Receiver)?;
        let got = match content.read(room) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_window_too_large(&error) => return Err(window_too_large(location, None)),
            Err(error) if is_more_than_declared(&error) && !is_encrypted => {
                return Err(tally.wrong_size(None));
            }
            Err(error) => return Err(decode_failed(location, error)),
        };
        if got == 0 {
            return Ok(());
        }
        tally.add(&room[..got])?;
        sink.filled(got).map_err(ZipError::Receiver)?;
    }
}

/// The authentication code of AES stands behind the data, and is checked when that has been read to its last byte.
fn drain(location: &EntryLocation, content: &mut dyn Read) -> Result<(), ZipError> {
    if location.encryption != Encryption::None {
        io::copy(content, &mut io::sink()).map_err(|error| decode_failed(location, error))?;
    }
    Ok(())
}

fn window_too_large(location: &EntryLocation, window: Option<u64>) -> ZipError {
    let (entry, method) = (location.name.clone(), location.method_name());
    ZipError::WindowTooLarge { entry, method, window, limit: u64::from(WINDOW_MAX) }
}

/// `lzma-rust2` gives the kind, zstd these words only (its `ZSTD_error_frameParameter_windowTooLarge`).
fn is_window_too_large(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory || error.to_string().contains("requires too much memory")
}

/// The crate stops by itself at the first byte over the declared size, and says so in these words only. Should they change, the error
/// would still be one, of kind `Decode`.
fn is_more_than_declared(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData && error.to_string().contains("declared uncompressed size")
}

fn invalid(location: &EntryLocation, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ZipError {
    decode_failed(location, io::Error::new(io::ErrorKind::InvalidData, why))
}

/// The decoders' complaints about data come as I/O errors of these kinds; anything else comes from the reader below them.
fn decode_failed(location: &EntryLocation, source: io::Error) -> ZipError {
    use io::ErrorKind as Kind;
    let entry = location.name.clone();
    match source.kind() {
        Kind::InvalidData | Kind::InvalidInput | Kind::Other | Kind::UnexpectedEof
            if location.encryption != Encryption::None =>
        {
            ZipError::WrongPassword { entry }
        }
        Kind::UnexpectedEof => ZipError::Truncated { entry },
        Kind::InvalidData | Kind::InvalidInput | Kind::Other | Kind::Unsupported => ZipError::Decode { entry, source },
        _ => ZipError::Io(source),
    }
}
