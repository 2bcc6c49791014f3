//! What is no SQL text: known by its first bytes.

use std::fmt;

/// What a dump that is not SQL text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it all, `Display` says the rest
pub enum BinaryKind {
    PgCustom,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
    SevenZip,
    Lz4,
    Zip,
    SqliteDatabase,
    Tar,
    Utf16,
    Xml,
    Unknown,
}

impl fmt::Display for BinaryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PgCustom => "pg_dump custom format",
            Self::Gzip => "gzip file",
            Self::Zstd => "zstd file",
            Self::Bzip2 => "bzip2 file",
            Self::Xz => "xz file",
            Self::SevenZip => "7z file",
            Self::Lz4 => "lz4 file",
            Self::Zip => "zip file",
            Self::SqliteDatabase => "SQLite database file",
            Self::Tar => "tar file",
            Self::Utf16 => "UTF-16 text",
            Self::Xml => "XML text",
            Self::Unknown => "binary file",
        })
    }
}

/// The kind of a file that begins so, if it is no text.
pub(super) fn binary_kind(head: &[u8]) -> Option<BinaryKind> {
    const MAGIC: [(&[u8], BinaryKind); 14] = [
        (b"PGDMP", BinaryKind::PgCustom),
        (b"\x1F\x8B", BinaryKind::Gzip),
        (b"\x28\xB5\x2F\xFD", BinaryKind::Zstd),
        (b"BZh", BinaryKind::Bzip2),
        (b"\xFD7zXZ\0", BinaryKind::Xz),
        (b"7z\xBC\xAF\x27\x1C", BinaryKind::SevenZip),
        (b"\x04\x22\x4D\x18", BinaryKind::Lz4),
        (b"PK\x03\x04", BinaryKind::Zip),
        (b"PK\x05\x06", BinaryKind::Zip),
        (b"SQLite format 3\0", BinaryKind::SqliteDatabase),
        (b"\xFF\xFE", BinaryKind::Utf16),
        (b"\xFE\xFF", BinaryKind::Utf16),
        (b"<?xml", BinaryKind::Xml),
        (b"\xEF\xBB\xBF<?xml", BinaryKind::Xml),
    ];
    let known = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| *kind);
    known
        .or_else(|| (head.get(257..262) == Some(b"ustar")).then_some(BinaryKind::Tar))
        .or_else(|| is_utf16_without_mark(head).then_some(BinaryKind::Utf16))
}

/// ASCII as UTF-16 has a zero in every second byte.
fn is_utf16_without_mark(head: &[u8]) -> bool {
    let Some(start) = head.get(..64) else { return false };
    [0, 1].into_iter().any(|zero| start.iter().enumerate().all(|(at, byte)| (*byte == 0) == (at % 2 == zero)))
}
