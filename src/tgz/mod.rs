//! Builds the archive: one gzip member (RFC 1952) that holds one tar with one file.
//!
//! One member and not several, although several are legal: some readers stop after the first (Rust's `GzDecoder`, Java's
//! commons-compress by default, older .NET). Two ways lead there: [`splice`] takes over what a zip has already
//! compressed, [`compress`] is for everything else. Both write the same tar, byte for byte, and both are deterministic: same
//! member, same content, same bytes, on any machine and any number of cores.
//!
//! Nothing here opens files, knows of zips, or decides about names: callers bring a writer and a [`TarMember`].

mod compress;
mod gzip;
mod hashing_writer;
mod member;
mod splice;

pub use compress::compress;
pub use hashing_writer::{HashingWriter, Written};
pub use member::TarMember;
pub use splice::{splice, splice_behind};

/// What was written, for logs and for checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TgzWritten {
    /// Length of the whole gzip file in bytes.
    pub tgz_bytes: u64,
    /// Length of the tar inside in bytes.
    pub tar_bytes: u64,
    /// CRC-32 of the tar inside, as in the gzip trailer.
    pub tar_crc32: u32,
}

#[cfg(test)]
mod tests;
