//! Reads one entry of a zip, and trusts nothing that the zip says about itself.
//!
//! [`find_entry`] reads the directory at the zip's end and finds the one entry that is wanted; [`read_entry`] reads it to its last byte
//! in one pass that checks size and CRC-32 and, where the entry is plain DEFLATE, learns what [`crate::tgz::splice`] needs.
//! Works on anything that can read and seek: a spooled file, or a reader over HTTP ranges.
//!
//! Directory and headers are read here; plain DEFLATE by [`crate::deflate`], LZMA and xz by `lzma-rust2`, every other method and
//! all encryption by the crate `zip`. Memory is constant, whatever the number of entries or their size, but for the window that
//! zstd, LZMA and xz ask for: up to 128 MiB.
//! This module writes nothing and does not know what the entry means.

mod decode;
mod directory;
mod end_record;
mod error;
mod headers;
mod names;
mod read;
mod sinks;
mod window_reader;

pub use directory::{Encryption, EntryLocation, find_entry};
pub use error::{NotAZipReason, ZipError};
pub use read::{EntryRead, read_entry, read_entry_threaded};

#[cfg(test)]
mod test_zip;
#[cfg(test)]
mod tests_directory;
#[cfg(test)]
mod tests_odd;
#[cfg(test)]
mod tests_read;
