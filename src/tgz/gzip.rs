//! The bytes around a DEFLATE stream: gzip's header and trailer (RFC 1952), and DEFLATE's stored blocks (RFC 1951 §3.2.4).

use std::io::{self, Write};

/// Deflate, no optional fields, no time, no hint about the level, unknown operating system: nothing that could differ between two
/// machines.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The most one stored block can hold.
pub(super) const STORED_MAX: usize = 0xffff;

/// CRC-32 of the content, and its length modulo 2³² as RFC 1952 wants it.
pub(super) fn trailer(crc32: u32, content_bytes: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&crc32.to_le_bytes());
    bytes[4..].copy_from_slice(&((content_bytes & 0xffff_ffff) as u32).to_le_bytes());
    bytes
}

/// LEN and NLEN of a stored block of `len` bytes.
pub(super) fn stored_length(len: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (len.to_le_bytes(), (!len).to_le_bytes());
    [a, b, c, d]
}

/// Writes `bytes` as stored blocks, none of them final; the stream must be at a byte and stays there. Returns the bytes written.
pub(super) fn write_stored(out: &mut dyn Write, bytes: &[u8]) -> io::Result<u64> {
    let mut written = 0;
    for chunk in bytes.chunks(STORED_MAX) {
        // BFINAL 0, BTYPE 00, five bits of filling.
        out.write_all(&[0])?;
        out.write_all(&stored_length(chunk.len() as u16))?;
        out.write_all(chunk)?;
        written += 5 + chunk.len() as u64;
    }
    Ok(written)
}
