//! Finds the one entry that is wanted in the directory at a zip's end.
//!
//! The directory is read here, not by the crate `zip`: that one keeps one of two entries of the same name without a word, and
//! stops at a count that many writers let wrap at 65,536. One header is held at a time, so that a million of them cost no memory.
//! What other readers take from a zip that contradicts itself in a harmless way is taken here, too; size and CRC-32 are the
//! proof, and come when the entry is read.

use std::io::{self, Read, Seek};
use std::sync::Arc;

use super::end_record::{Directory, find_directory};
use super::error::{NotAZipReason, ZipError};
use super::headers::{CentralHeader, LocalHeader, plain_local, read_central, read_local};
use super::names::{self, Match, Wanted};
use super::window_reader::WindowReader;

/// More than these a zip with one dump in it does not have; to search them would take minutes.
const ENTRIES_MAX: u64 = 1_000_000;
const DIRECTORY_MAX: u64 = 256 * 1024 * 1024;
/// Entries named in a message.
const PRESENT_MAX: usize = 20;
/// Entries whose names are compared for a suggestion.
const COMPARED_MAX: u64 = 10_000;
/// DEFLATE makes nothing smaller than by this factor (RFC 1951: 258 bytes for two bits, in a block of its own).
const DEFLATE_RATIO_MAX: u64 = 1032;

/// Compression methods (APPNOTE 4.4.5) that are read.
pub(super) mod method {
    pub const STORED: u16 = 0;
    pub const DEFLATED: u16 = 8;
    pub const DEFLATE64: u16 = 9;
    pub const BZIP2: u16 = 12;
    pub const LZMA: u16 = 14;
    pub const ZSTD: u16 = 93;
    pub const XZ: u16 = 95;
}

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
    /// Compression method (APPNOTE 4.4.5), that inside an encryption included.
    pub(super) method: u16,
    /// A local header for [`method`](Self::method) or another, for decoders that want one.
    pub(super) header: Header,
    /// How much more the data may turn out to have, in bytes, where its length is one modulo 2^32.
    pub(super) spare: u64,
}

/// What makes a local header.
#[derive(Debug, Clone)]
pub(super) struct Header(Arc<CentralHeader>);

impl Header {
    /// A header that says that the data has this method.
    pub(super) fn with_method(&self, method: u16) -> Vec<u8> {
        plain_local(&self.0, method)
    }
}

impl EntryLocation {
    /// The compression method's name, as in `Deflated`.
    pub fn method_name(&self) -> String {
        match self.method {
            method::STORED => "Stored".to_owned(),
            method::DEFLATED => "Deflated".to_owned(),
            method::DEFLATE64 => "Deflate64".to_owned(),
            method::BZIP2 => "Bzip2".to_owned(),
            method::LZMA => "Lzma".to_owned(),
            method::ZSTD => "Zstd".to_owned(),
            method::XZ => "Xz".to_owned(),
            1 => "shrink".to_owned(),
            2..=5 => "reduce".to_owned(),
            6 => "implode".to_owned(),
            98 => "PPMd".to_owned(),
            other => format!("number {other}"),
        }
    }

    fn is_supported(&self) -> bool {
        use method::{BZIP2, DEFLATE64, DEFLATED, LZMA, STORED, XZ, ZSTD};
        [STORED, DEFLATED, DEFLATE64, BZIP2, ZSTD, LZMA, XZ].contains(&self.method)
    }

    /// The data is a raw DEFLATE stream, as it is.
    pub fn is_plain_deflate(&self) -> bool {
        self.method == method::DEFLATED && self.encryption == Encryption::None
    }

    /// Whether the content may have 4 GiB more than declared, or a multiple: some writers count modulo 2^32 (Archive Utility of
    /// macOS, programs without zip64). Only if there is enough data for that, or a small bomb would be let grow.
    pub(super) fn may_wrap(&self) -> bool {
        let data = self.compressed_size.saturating_add(self.spare);
        !self.header.0.has_long_sizes
            && self.is_plain_deflate()
            && data.saturating_mul(DEFLATE_RATIO_MAX) >= self.declared_size.saturating_add(1 << 32)
    }
}

/// Finds the one entry named `wanted`. Reads the directory and the entry's own header, nothing else.
///
/// A name matches by its bytes or as decoded: Info-ZIP's Unicode path, UTF-8 with or without the flag that says so, else code page
/// 437; composed and decomposed accents are the same, and a leading `/` is left out. The better match counts. The name in the
/// entry's own header is not looked at: many writers encode it otherwise.
///
/// # Errors
/// `NotAZip`, `DirectoryTooLarge`, `Missing`, `Twice`, `NotAFile`, `UnsafeName`, `HeadersDisagree`, `UnsupportedMethod`, `Truncated`, `Io`.
pub fn find_entry<R: Read + Seek + ?Sized>(reader: &mut R, wanted: &str) -> Result<EntryLocation, ZipError> {
    let mut window = WindowReader::new(reader)?;
    let len = window.len();
    if len == 0 {
        return Err(ZipError::NotAZip(NotAZipReason::Empty));
    }
    let directory = find_directory(&mut window)?;
    if directory.before + directory.after > 0 {
        let Directory { before, after, .. } = directory;
        tracing::warn!("{before} bytes stand before the zip and {after} behind it; they are left out");
    }
    let central = search(&mut window, &directory, wanted)?;
    let decoded = names::decode(&central.identity.name).into_owned();
    check_kind_and_name(&central, &decoded)?;
    let name = names::relative(&decoded).to_owned();
    let local = find_local(&mut window, &directory, &central, &name)?;
    if let Some(what) = central.identity.differs_from(&local.identity) {
        return Err(ZipError::HeadersDisagree { entry: name, what });
    }
    if local.identity.name != central.raw_name {
        tracing::debug!("`{}` has another name in its own header", names::shown(&name));
    }
    let unsupported = |entry: &str, method: String| ZipError::UnsupportedMethod { entry: entry.to_owned(), method };
    if central.identity.is_strongly_encrypted() {
        return Err(unsupported(&name, "strong encryption".to_owned()));
    }
    // 99 stands for "AES, the method is in the extra field".
    let (encryption, method) = match (central.identity.is_encrypted(), central.identity.method, central.aes) {
        (false, method, _) => (Encryption::None, method),
        (true, 99, Some(aes)) => (Encryption::Aes { has_crc: aes.version != 2 }, aes.method),
        (true, method, _) => (Encryption::ZipCrypto, method),
    };
    if local.data_start.checked_add(central.compressed_size).is_none_or(|end| end > len) {
        return Err(ZipError::Truncated { entry: name });
    }
    let space = directory.start.saturating_sub(local.data_start);
    let location = EntryLocation {
        compressed_size: central.compressed_size,
        declared_size: central.size,
        crc32: central.crc32,
        encryption,
        data_start: local.data_start,
        mtime_unix: central.mtime_unix,
        method,
        spare: if central.has_long_sizes { 0 } else { space.saturating_sub(central.compressed_size) },
        name,
        header: Header(Arc::new(central)),
    };
    match location.is_supported() {
        true => Ok(location),
        false => Err(unsupported(&location.name, location.method_name())),
    }
}

/// One pass over the whole directory.
fn search<R: Read + Seek + ?Sized>(
    reader: &mut WindowReader<'_, R>,
    directory: &Directory,
    wanted: &str,
) -> Result<CentralHeader, ZipError> {
    let too_large = |found: String, limit: u64| Err(ZipError::DirectoryTooLarge { found, limit: limit.to_string() });
    if directory.is_zip64 && directory.count > ENTRIES_MAX {
        return too_large(format!("{} entries", directory.count), ENTRIES_MAX);
    }
    if directory.end - directory.start > DIRECTORY_MAX {
        return too_large(format!("a directory of over {DIRECTORY_MAX} bytes"), DIRECTORY_MAX);
    }
    let comparer = Wanted::new(wanted);
    let mut found: Option<(Match, CentralHeader)> = None;
    let (mut count, mut total) = (0u64, 0u64);
    let mut present = Vec::new();
    let mut closest: Option<(f64, String)> = None;
    let mut at = directory.start;
    while at < directory.end {
        let Some(central) = read_central(reader, at).map_err(ended)? else { break };
        at = central.end;
        total += 1;
        if total > ENTRIES_MAX {
            return too_large(format!("over {ENTRIES_MAX} entries"), ENTRIES_MAX);
        }
        let name = names::decode(&central.identity.name);
        if present.len() < PRESENT_MAX {
            present.push((name.clone().into_owned(), central.size));
        }
        if let Some(quality) = comparer.matches(&name, &central.raw_name) {
            match &found {
                Some((best, _)) if *best < quality => {}
                Some((best, _)) if *best == quality => count += 1,
                _ => {
                    count = 1;
                    drop(name);
                    found = Some((quality, central));
                }
            }
        } else if found.is_none() && total <= COMPARED_MAX && !name.ends_with('/') {
            let likeness = names::likeness(&name, wanted);
            if likeness > closest.as_ref().map_or(0.75, |(best, _)| *best) {
                closest = Some((likeness, name.into_owned()));
            }
        }
    }
    let counted = if directory.is_zip64 { total } else { total % 0x1_0000 };
    if at > directory.end || counted != directory.count {
        let detail = format!("it is said to have {} entries, and has {total}", directory.count);
        return Err(ZipError::NotAZip(NotAZipReason::Directory { detail }));
    }
    match found {
        Some((_, entry)) if count == 1 => Ok(entry),
        Some(_) => Err(ZipError::Twice { entry: wanted.to_owned(), count }),
        None => Err(ZipError::Missing {
            wanted: wanted.to_owned(),
            not_shown: total - present.len() as u64,
            present,
            closest: closest.map(|(_, name)| name),
        }),
    }
}

/// The entry's own header: where the directory says, behind what stands before the zip, or, beyond 4 GiB and without zip64, where
/// it says modulo 2^32.
fn find_local<R: Read + Seek + ?Sized>(
    reader: &mut WindowReader<'_, R>,
    directory: &Directory,
    central: &CentralHeader,
    name: &str,
) -> Result<LocalHeader, ZipError> {
    let from = central.offset.saturating_add(directory.before);
    let wrapped = (0..).map(|n: u64| from.saturating_add(n << 32)).take_while(|at| *at < directory.start);
    let wrapped = wrapped.take(if directory.is_zip64 { 1 } else { 1 << 12 });
    let mut first = None;
    for at in wrapped.chain([central.offset]) {
        if let Some(local) = read_local(reader, at)? {
            if local.identity.name == central.raw_name {
                return Ok(local);
            }
            first = first.or(Some(local));
        }
    }
    first.ok_or_else(|| {
        let detail = format!("`{}` is not where it says", names::shown(name));
        ZipError::NotAZip(NotAZipReason::Directory { detail })
    })
}

fn check_kind_and_name(central: &CentralHeader, name: &str) -> Result<(), ZipError> {
    let kind = if name.ends_with('/') {
        "directory"
    } else if central.is_link {
        "symbolic link"
    } else if names::is_unsafe(names::relative(name)) {
        return Err(ZipError::UnsafeName { entry: name.to_owned() });
    } else {
        return Ok(());
    };
    Err(ZipError::NotAFile { entry: name.to_owned(), kind })
}

/// A directory that ends in the middle of a header is a damaged one.
fn ended(error: io::Error) -> ZipError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            ZipError::NotAZip(NotAZipReason::Directory { detail: "it ends in the middle of an entry".to_owned() })
        }
        _ => ZipError::Io(error),
    }
}
