//! Zips as they come, good and bad: a small writer whose every field can lie, and some made by the usual programs.
//!
//! ```ignore
//! let good = zips::good("boutique.sql", &dump);
//! let lying = Zip::new().entry(Entry::deflated("boutique.sql", &dump).crc(0)).build();
//! let cut = &good[..good.len() * 3 / 10];
//! zips::write_large(&path, "boutique.sql", &mut Dump::new(1).size(1 << 30).reader());
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Read, Write};
use std::path::Path;
use std::process::Command;

use flate2::{Compress, Compression, FlushCompress, Status};
use zip::unstable::write::FileOptionsExt;
use zip::write::{FileOptions, SimpleFileOptions};
use zip::{AesMode, CompressionMethod, ZipWriter};

use super::harness::{find_program, run};

/// Sizes and checksum come after the data, as from producers that write to a pipe.
const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// The name is UTF-8; without it, it is CP437.
const FLAG_UTF8: u16 = 1 << 11;
const DEFLATED: u16 = 8;

/// A zip in the making.
#[derive(Debug, Clone, Default)]
pub struct Zip {
    entries: Vec<Entry>,
    zip64: bool,
    headless: bool,
    comment: Vec<u8>,
}

/// One entry, with what its headers say about it.
#[derive(Debug, Clone)]
pub struct Entry {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    data: Vec<u8>,
    crc: u32,
    size: u64,
    compressed_size: u64,
    /// DOS time and date.
    modified: (u16, u16),
    signed_descriptor: bool,
}

impl Entry {
    /// Compressed with DEFLATE, modified on 2026-11-20 at 01:00.
    pub fn deflated(name: &str, content: &[u8]) -> Self {
        Self::raw(name, content, DEFLATED, deflate(content))
    }

    /// Not compressed.
    pub fn stored(name: &str, content: &[u8]) -> Self {
        Self::raw(name, content, 0, content.to_vec())
    }

    /// With compressed bytes and a method (APPNOTE 4.4.5) of the caller's own.
    pub fn raw(name: &str, content: &[u8], method: u16, data: Vec<u8>) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            flags: if name.is_ascii() { 0 } else { FLAG_UTF8 },
            method,
            crc: crc32fast::hash(content),
            size: content.len() as u64,
            compressed_size: data.len() as u64,
            data,
            modified: (1 << 11, (46 << 9) | (11 << 5) | 20),
            signed_descriptor: true,
        }
    }

    /// A name in CP437, or in anything else that is not UTF-8.
    pub fn name_bytes(mut self, name: &[u8]) -> Self {
        (self.name, self.flags) = (name.to_vec(), self.flags & !FLAG_UTF8);
        self
    }

    /// Says this checksum.
    pub fn crc(self, crc: u32) -> Self {
        Self { crc, ..self }
    }

    /// Says this uncompressed size.
    pub fn size(self, size: u64) -> Self {
        Self { size, ..self }
    }

    /// Says this compressed size. The data stay as they are.
    pub fn compressed_size(self, compressed_size: u64) -> Self {
        Self { compressed_size, ..self }
    }

    /// Claims to be encrypted (by ZipCrypto), though it is not.
    pub fn claims_encryption(mut self) -> Self {
        self.flags |= 1;
        self
    }

    /// Sizes and checksum in a data descriptor after the data, with its optional signature or without.
    pub fn descriptor(mut self, signed: bool) -> Self {
        self.flags |= FLAG_DESCRIPTOR;
        self.signed_descriptor = signed;
        self
    }

    /// Modified on this day of November 2026.
    pub fn modified_on(mut self, day: u16) -> Self {
        self.modified.1 = (46 << 9) | (11 << 5) | day;
        self
    }

    fn local(&self, zip64: bool) -> Vec<u8> {
        let after = self.flags & FLAG_DESCRIPTOR != 0;
        let (crc, size, compressed) = if after { (0, 0, 0) } else { (self.crc, self.size, self.compressed_size) };
        let mut bytes = b"PK\x03\x04".to_vec();
        self.common(&mut bytes, zip64, crc, size, compressed);
        put16(&mut bytes, if zip64 { 20 } else { 0 });
        bytes.extend_from_slice(&self.name);
        if zip64 {
            put16s(&mut bytes, &[1, 16]);
            put64s(&mut bytes, &[size, compressed]);
        }
        bytes.extend_from_slice(&self.data);
        if after {
            if self.signed_descriptor {
                bytes.extend_from_slice(b"PK\x07\x08");
            }
            put32(&mut bytes, self.crc);
            for value in [self.compressed_size, self.size] {
                if zip64 { put64s(&mut bytes, &[value]) } else { put32(&mut bytes, value as u32) }
            }
        }
        bytes
    }

    fn central(&self, offset: u64, zip64: bool) -> Vec<u8> {
        let mut bytes = b"PK\x01\x02".to_vec();
        // Made on Unix, so that the mode below counts.
        put16(&mut bytes, (3 << 8) | 45);
        self.common(&mut bytes, zip64, self.crc, self.size, self.compressed_size);
        put16s(&mut bytes, &[if zip64 { 28 } else { 0 }, 0, 0, 0]);
        put32(&mut bytes, 0o100_644 << 16);
        put32(&mut bytes, if zip64 { u32::MAX } else { offset as u32 });
        bytes.extend_from_slice(&self.name);
        if zip64 {
            put16s(&mut bytes, &[1, 24]);
            put64s(&mut bytes, &[self.size, self.compressed_size, offset]);
        }
        bytes
    }

    /// From "version needed" to the length of the name: the same in both headers.
    fn common(&self, bytes: &mut Vec<u8>, zip64: bool, crc: u32, size: u64, compressed: u64) {
        let needed = if zip64 { 45 } else { 20 };
        put16s(bytes, &[needed, self.flags, self.method, self.modified.0, self.modified.1]);
        put32(bytes, crc);
        put32(bytes, if zip64 { u32::MAX } else { compressed as u32 });
        put32(bytes, if zip64 { u32::MAX } else { size as u32 });
        put16(bytes, self.name.len() as u16);
    }
}

impl Zip {
    /// No entries yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry; nothing is said about names that are there already.
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Zip64 everywhere, though nothing here is large.
    pub fn zip64(self) -> Self {
        Self { zip64: true, ..self }
    }

    /// Without the directory at its end, as when the producer died.
    pub fn without_central_directory(self) -> Self {
        Self { headless: true, ..self }
    }

    /// With a comment after everything.
    pub fn comment(self, comment: &[u8]) -> Self {
        Self { comment: comment.to_vec(), ..self }
    }

    /// The bytes.
    pub fn build(&self) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            directory.extend(entry.central(bytes.len() as u64, self.zip64));
            bytes.extend(entry.local(self.zip64));
        }
        if self.headless {
            return bytes;
        }
        let (start, size, count) = (bytes.len() as u64, directory.len() as u64, self.entries.len() as u64);
        bytes.append(&mut directory);
        if self.zip64 {
            let record = bytes.len() as u64;
            bytes.extend_from_slice(b"PK\x06\x06");
            put64s(&mut bytes, &[44]);
            put16s(&mut bytes, &[(3 << 8) | 45, 45]);
            bytes.extend_from_slice(&[0; 8]);
            put64s(&mut bytes, &[count, count, size, start]);
            bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
            put64s(&mut bytes, &[record]);
            put32(&mut bytes, 1);
        }
        bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        let count = if self.zip64 { u16::MAX } else { count as u16 };
        put16s(&mut bytes, &[count, count]);
        put32(&mut bytes, if self.zip64 { u32::MAX } else { size as u32 });
        put32(&mut bytes, if self.zip64 { u32::MAX } else { start as u32 });
        put16(&mut bytes, self.comment.len() as u16);
        bytes.extend_from_slice(&self.comment);
        bytes
    }
}

/// One deflated entry: what a source serves on a good night.
pub fn good(name: &str, content: &[u8]) -> Vec<u8> {
    Zip::new().entry(Entry::deflated(name, content)).build()
}

/// Two entries of the same name with different contents.
pub fn twice(name: &str, content: &[u8]) -> Vec<u8> {
    Zip::new().entry(Entry::deflated(name, content)).entry(Entry::deflated(name, b"-- another\n")).build()
}

/// A right zip whose entry does not have the checksum it says.
pub fn wrong_crc(name: &str, content: &[u8]) -> Vec<u8> {
    Zip::new().entry(Entry::deflated(name, content).crc(!crc32fast::hash(content))).build()
}

/// Says that it holds `declared` bytes, and inflates to so many MiB of zeros; about 1 KB of zip for each.
pub fn bomb(name: &str, declared: u64, mebibytes: usize) -> Vec<u8> {
    let piece = zeros(FlushCompress::Full);
    let mut data = piece.repeat(mebibytes.saturating_sub(1));
    data.extend(zeros(FlushCompress::Finish));
    Zip::new().entry(Entry::raw(name, &[], DEFLATED, data).size(declared)).build()
}

/// Encrypted with the old, weak method that every program reads.
pub fn zip_crypto(name: &str, content: &[u8], password: &str) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    by_crate(name, content, options.with_deprecated_encryption(password.as_bytes()).expect("a password"))
}

/// Encrypted with AES-256 (AE-2).
pub fn aes(name: &str, content: &[u8], password: &str) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    by_crate(name, content, options.with_aes_encryption(AesMode::Aes256, password))
}

/// Compressed with a method that the `zip` crate writes: bzip2, zstd, xz.
pub fn with_method(name: &str, content: &[u8], method: CompressionMethod) -> Vec<u8> {
    by_crate(name, content, SimpleFileOptions::default().compression_method(method))
}

/// Compressed by 7-Zip with a method of its names: `Deflate64`, `LZMA`, `PPMd`, `BZip2`. Needs `7z` (`p7zip-full`).
pub fn by_seven_zip(name: &str, content: &[u8], method: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temp directory");
    fs::write(directory.path().join(name), content).expect("own directory");
    let seven_zip = find_program("7z").expect("the case names 7z");
    run(Command::new(seven_zip)
        .args(["a", "-tzip", "-bd", &format!("-mm={method}"), "made.zip", name])
        .current_dir(directory.path()));
    fs::read(directory.path().join("made.zip")).expect("7z made it")
}

/// Writes a zip of any size to disk from a stream; deflated at level 6, zip64 if it has to be.
pub fn write_large(path: &Path, name: &str, content: &mut dyn Read) {
    let file = BufWriter::new(File::create(path).expect("own directory"));
    let mut zip = ZipWriter::new(file);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
    zip.start_file(name, options).expect("space");
    io::copy(content, &mut zip).expect("space");
    zip.finish().and_then(|mut file| Ok(file.flush()?)).expect("space");
}

/// A raw DEFLATE stream of this content.
pub fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

/// One MiB of zeros, as the middle (full flush: ends on a byte, refers to nothing before it) or the end of a stream.
fn zeros(flush: FlushCompress) -> Vec<u8> {
    let mut compress = Compress::new(Compression::new(9), false);
    let mut data = Vec::with_capacity(16 * 1024);
    let status = compress.compress_vec(&vec![0; 1 << 20], &mut data, flush).expect("right parameters");
    assert!(status == Status::StreamEnd || compress.total_in() == 1 << 20, "the output fits");
    data
}

fn by_crate(name: &str, content: &[u8], options: FileOptions<'_, '_, ()>) -> Vec<u8> {
    let mut cursor = Cursor::new(Vec::new());
    let mut zip = ZipWriter::new(&mut cursor);
    zip.start_file(name, options).expect("in memory");
    zip.write_all(content).expect("in memory");
    zip.finish().expect("in memory");
    cursor.into_inner()
}

fn put16(bytes: &mut Vec<u8>, value: u16) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put16s(bytes: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|&value| put16(bytes, value));
}

fn put32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put64s(bytes: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
}
