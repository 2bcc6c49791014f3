//! Finds the one entry that is wanted in the directory at a zip's end.
//!
//! Goes through `zip`'s `ZipIterable` instead of `ZipArchive`: it holds one entry at a time, so that a million of them cost no memory, and
//! it shows entries of the same name, of which `ZipArchive` keeps one without a word.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use zip::CompressionMethod;
use zip::read::{Config, OwnedZipFileEntry};
use zip::result::ZipError as LibraryError;
use zip::unstable::read::ZipIterable;

use super::error::{NotAZipReason, ZipError};
use super::headers::{CentralHeader, read_central, read_local};
use super::window_reader::WindowReader;

/// More than these a zip with one dump in it does not have; to search them would take minutes.
const ENTRIES_MAX: usize = 1_000_000;
const DIRECTORY_MAX: u64 = 256 * 1024 * 1024;
/// Entries named in a message.
const PRESENT_MAX: usize = 20;
/// Entries whose names are compared for a suggestion.
const COMPARED_MAX: u64 = 10_000;
/// Where the end record must begin: 22 bytes and a comment of 65,535 at most (APPNOTE 4.3.16).
const END_RECORD_MAX: u64 = 22 + 0xffff;

/// How an entry is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    None,
    /// PKWARE's old one, which tells a wrong password by one byte only.
    ZipCrypto,
    /// WinZip's. AE-2 leaves the CRC-32 out, as its own authentication code does more.
    Aes {
        /// False for AE-2.
        has_crc: bool,
    },
}

/// An entry, where it is, and what the zip's directory says about it.
#[derive(Debug, Clone)]
pub struct EntryLocation {
    /// Decoded name. Relative and without `..`.
    pub name: String,
    /// Length of its data in the zip, in bytes.
    pub compressed_size: u64,
    /// Length of its content in bytes, as declared; true only once it was read.
    pub declared_size: u64,
    /// CRC-32 of its content, as declared. Zero if encrypted as AE-2.
    pub crc32: u32,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// Where its data begins, in bytes from the start of the zip.
    pub data_start: u64,
    /// Modification time in seconds since 1970: the extended timestamp if there is one, else the DOS date and time taken as
    /// UTC; 1980-01-01 if neither makes sense.
    pub mtime_unix: u64,
    pub(super) method: CompressionMethod,
    pub(super) entry: Arc<OwnedZipFileEntry>,
}

impl EntryLocation {
    /// The compression method's name, as in `Deflated`.
    pub fn method_name(&self) -> String {
        self.method.to_string()
    }

    /// The data is a raw DEFLATE stream, as it is.
    pub fn is_plain_deflate(&self) -> bool {
        self.method == CompressionMethod::Deflated && self.encryption == Encryption::None
    }
}

/// Finds the one entry named `wanted`. Reads the directory and the entry's own header, nothing else.
///
/// A name matches by its bytes or as decoded: UTF-8 with or without the flag that says so, Info-ZIP's Unicode path, else code page 437.
///
/// # Errors
/// `NotAZip`, `DirectoryTooLarge`, `Missing`, `Twice`, `NotAFile`, `UnsafeName`, `HeadersDisagree`, `UnsupportedMethod`, `Truncated`, `Io`.
pub fn find_entry<R: Read + Seek + ?Sized>(reader: &mut R, wanted: &str) -> Result<EntryLocation, ZipError> {
    let mut window = WindowReader::new(reader)?;
    let len = window.len();
    if len == 0 {
        return Err(ZipError::NotAZip(NotAZipReason::Empty));
    }
    let mut zip = match ZipIterable::try_new(&mut window, Config::default()) {
        Ok(zip) => zip,
        Err(error) => return Err(why_not_a_zip(&mut window, error)),
    };
    if zip.len() > ENTRIES_MAX {
        return Err(ZipError::DirectoryTooLarge {
            found: format!("{} entries", zip.len()),
            limit: format!("{ENTRIES_MAX}"),
        });
    }
    let found = search(&mut zip, wanted)?;
    let entry = found.as_ref();
    let name = entry.name().map_err(directory_damaged)?.into_owned();
    check_kind_and_name(&found, &name)?;

    let central = read_central(&mut window, entry.central_header_start())?;
    let local = match read_local(&mut window, entry.header_start()) {
        Ok(local) => local,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(ZipError::Truncated { entry: name });
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(ZipError::NotAZip(NotAZipReason::Directory {
                detail: format!("`{}` is not where it says", name.escape_debug()),
            }));
        }
        Err(error) => return Err(error.into()),
    };
    let disagree = |what| Err(ZipError::HeadersDisagree { entry: name.clone(), what });
    if local.identity.name != central.identity.name {
        return disagree("name");
    }
    if local.identity.method != central.identity.method {
        return disagree("method");
    }
    if local.identity.is_encrypted() != central.identity.is_encrypted() {
        return disagree("encryption");
    }
    let method = entry.compression();
    let encryption = encryption(&central);
    if central.identity.is_strongly_encrypted() {
        return Err(ZipError::UnsupportedMethod { entry: name, method: "strong encryption".to_owned() });
    }
    if !is_supported(method) {
        return Err(ZipError::UnsupportedMethod { entry: name, method: method_label(method, central.identity.method) });
    }
    let compressed_size = entry.compressed_size();
    if local.data_start.checked_add(compressed_size).is_none_or(|end| end > len) {
        return Err(ZipError::Truncated { entry: name });
    }
    Ok(EntryLocation {
        compressed_size,
        declared_size: entry.size(),
        crc32: entry.crc32(),
        encryption,
        data_start: local.data_start,
        mtime_unix: central.mtime_unix,
        method,
        name,
        entry: Arc::new(found),
    })
}

/// One pass over the whole directory.
fn search<R: Read + Seek>(zip: &mut ZipIterable<R>, wanted: &str) -> Result<OwnedZipFileEntry, ZipError> {
    let mut found = None;
    let (mut count, mut total) = (0u64, 0u64);
    let mut present = Vec::new();
    let mut closest: Option<(f64, String)> = None;
    let mut first_start = None;
    for entry in zip.files().map_err(directory_damaged)? {
        let entry = entry.map_err(directory_damaged)?;
        let start = *first_start.get_or_insert(entry.central_header_start());
        if entry.central_header_start() - start > DIRECTORY_MAX {
            return Err(ZipError::DirectoryTooLarge {
                found: format!("a directory of over {DIRECTORY_MAX} bytes"),
                limit: format!("{DIRECTORY_MAX}"),
            });
        }
        let name = entry.name().map_err(directory_damaged)?;
        if present.len() < PRESENT_MAX {
            present.push((name.clone().into_owned(), entry.size()));
        }
        total += 1;
        if name == wanted || entry.name_raw() == wanted.as_bytes() {
            count += 1;
            drop(name);
            found = Some(entry.into());
        } else if found.is_none() && total <= COMPARED_MAX && !entry.is_dir() {
            let likeness = likeness(&name, wanted);
            if likeness > closest.as_ref().map_or(0.75, |(best, _)| *best) {
                closest = Some((likeness, name.into_owned()));
            }
        }
    }
    match found {
        Some(entry) if count == 1 => Ok(entry),
        Some(_) => Err(ZipError::Twice { entry: wanted.to_owned(), count }),
        None => Err(ZipError::Missing {
            wanted: wanted.to_owned(),
            not_shown: total - present.len() as u64,
            present,
            closest: closest.map(|(_, name)| name),
        }),
    }
}

/// How likely one was meant by the other, up to 1. The same file in another directory, or in other letter case, comes first.
fn likeness(name: &str, wanted: &str) -> f64 {
    let base = |path: &str| path.rsplit(['/', '\\']).next().unwrap_or(path).to_lowercase();
    if base(name) == base(wanted) {
        return 1.0;
    }
    strsim::jaro_winkler(name, wanted)
}

fn check_kind_and_name(entry: &OwnedZipFileEntry, name: &str) -> Result<(), ZipError> {
    let kind = if entry.is_dir() {
        "directory"
    } else if entry.is_symlink() {
        "symbolic link"
    } else if is_unsafe(name) {
        return Err(ZipError::UnsafeName { entry: name.to_owned() });
    } else {
        return Ok(());
    };
    Err(ZipError::NotAFile { entry: name.to_owned(), kind })
}

/// Dangerous as a name in the tar, on whatever system that is unpacked: hence `\` and `C:` too.
fn is_unsafe(name: &str) -> bool {
    let has_drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    name.is_empty()
        || has_drive
        || name.starts_with(['/', '\\'])
        || name.contains('\0')
        || name.split(['/', '\\']).any(|part| part == "..")
}

fn encryption(central: &CentralHeader) -> Encryption {
    match (central.identity.is_encrypted(), central.identity.method) {
        (false, _) => Encryption::None,
        // 99 stands for "AES, the method is in the extra field".
        (true, 99) => Encryption::Aes { has_crc: !central.is_ae2 },
        (true, _) => Encryption::ZipCrypto,
    }
}

/// Not the library's `SUPPORTED_COMPRESSION_METHODS`: that list forgets LZMA.
fn is_supported(method: CompressionMethod) -> bool {
    use CompressionMethod as M;
    matches!(method, M::Stored | M::Deflated | M::Deflate64 | M::Bzip2 | M::Zstd | M::Lzma | M::Xz)
}

fn method_label(method: CompressionMethod, number: u16) -> String {
    match number {
        1 => "shrink".to_owned(),
        2..=5 => "reduce".to_owned(),
        6 => "implode".to_owned(),
        98 => "PPMd".to_owned(),
        99 => method.to_string(),
        other => format!("number {other}"),
    }
}

fn directory_damaged(error: LibraryError) -> ZipError {
    match error {
        LibraryError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => ZipError::Io(error),
        LibraryError::InvalidArchive(detail) => {
            ZipError::NotAZip(NotAZipReason::Directory { detail: detail.into_owned() })
        }
        other => ZipError::NotAZip(NotAZipReason::Directory { detail: other.to_string() }),
    }
}

/// Looks at both ends of what the library did not take for a zip.
fn why_not_a_zip<R: Read + Seek + ?Sized>(reader: &mut WindowReader<'_, R>, error: LibraryError) -> ZipError {
    let len = reader.len();
    let look = |reader: &mut WindowReader<'_, R>| -> io::Result<(Vec<u8>, bool)> {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        reader.seek(SeekFrom::Start(0))?;
        reader.take(512).read_to_end(&mut head)?;
        reader.seek(SeekFrom::Start(len.saturating_sub(END_RECORD_MAX)))?;
        reader.take(END_RECORD_MAX).read_to_end(&mut tail)?;
        Ok((head, memchr::memmem::find(&tail, b"PK\x05\x06").is_some()))
    };
    let (head, has_end_record) = match look(reader) {
        Ok(seen) => seen,
        Err(error) => return error.into(),
    };
    if has_end_record {
        return directory_damaged(error);
    }
    if let LibraryError::Io(error) = error
        && error.kind() != io::ErrorKind::UnexpectedEof
    {
        return error.into();
    }
    ZipError::NotAZip(if head.starts_with(b"PK") {
        NotAZipReason::NoEndRecord { size_bytes: len }
    } else if let Some(starts_with) = as_text(&head) {
        NotAZipReason::Text { starts_with }
    } else {
        NotAZipReason::OtherFormat { starts_with: hex::encode(&head[..head.len().min(8)]) }
    })
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
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(words.chars().take(60).collect())
}
