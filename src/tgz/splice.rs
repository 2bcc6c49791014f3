//! Makes a DEFLATE stream from a zip the body of a `.tgz` without recompressing it.
//!
//! ```text
//! gzip header │ stored block │ the entry's blocks, verbatim     │ stored block, final   │ gzip trailer
//!             │ tar header   │ … BFINAL of the last one cleared │ padding, two zero     │ CRC-32 of the
//!             │ (at a byte)  │ (ends anywhere in a byte)        │ blocks (3 bits, then  │ three parts,
//!             │              │                                  │ filled to a byte)     │ length
//! ```
//!
//! Works because DEFLATE blocks may follow each other at any bit, a back reference only counts bytes *back* (never
//! from the start of the stream), and CRC-32s of parts can be combined. The idea is that of Mark Adler's `gzjoin`.

use std::io::{self, Read, Write};

use super::{TarMember, TgzWritten, gzip};
use crate::deflate::BlockMap;

/// Read and written at once.
const CHUNK: usize = 256 * 1024;

/// Writes `member` as one `.tgz` whose content is the DEFLATE stream in `entry_compressed`.
///
/// `map` and `content_crc32` must come from inflating that same stream, and `member.size_bytes` be what it inflated to; the stream's own
/// checksum in `map` proves that it has not changed since. Reads exactly [`BlockMap::stream_bytes`] bytes: anything behind
/// the stream stays where it is. Writes in large pieces, so `out` needs no buffer, and does not flush.
///
/// # Errors
/// `UnexpectedEof` if the stream is shorter than the map says, `InvalidData` if it is not the one that was mapped; `InvalidInput` for a bad
/// member name; whatever reading and writing may give. What was written until then is no archive.
pub fn splice(
    out: &mut dyn Write,
    member: &TarMember,
    entry_compressed: &mut dyn Read,
    map: &BlockMap,
    content_crc32: u32,
) -> io::Result<TgzWritten> {
    let (head, tail) = (member.head()?, member.tail());
    debug_assert!(tail.len() <= gzip::STORED_MAX);

    out.write_all(&gzip::HEADER)?;
    let mut tgz_bytes = gzip::HEADER.len() as u64;
    tgz_bytes += gzip::write_stored(out, &head)?;

    let open_end = copy_without_end(out, entry_compressed, map)?;
    tgz_bytes += map.end_bit / 8;

    // BFINAL 1 and BTYPE 00 follow the stream's last bit; up to two of these three bits may fall into another byte.
    let used_bits = map.end_bit % 8;
    let joint = u16::from(open_end) | 1 << used_bits;
    let joint_bytes = (used_bits as usize + 3).div_ceil(8);

    let mut crc = crc32fast::Hasher::new();
    crc.update(&head);
    crc.combine(&crc32fast::Hasher::new_with_initial_len(content_crc32, member.size_bytes));
    crc.update(&tail);
    let tar_crc32 = crc.finalize();
    let tar_bytes = head.len() as u64 + member.size_bytes + tail.len() as u64;

    let mut end = Vec::with_capacity(joint_bytes + 4 + tail.len() + 8);
    end.extend_from_slice(&joint.to_le_bytes()[..joint_bytes]);
    end.extend_from_slice(&gzip::stored_length(tail.len() as u16));
    end.extend_from_slice(&tail);
    end.extend_from_slice(&gzip::trailer(tar_crc32, tar_bytes));
    out.write_all(&end)?;
    tgz_bytes += end.len() as u64;
    Ok(TgzWritten { tgz_bytes, tar_bytes, tar_crc32 })
}

/// Copies the stream with BFINAL of its last block cleared, up to its last *whole* byte. Returns the bits of the byte that it
/// has only started, zero above them.
fn copy_without_end(out: &mut dyn Write, stream: &mut dyn Read, map: &BlockMap) -> io::Result<u8> {
    let total = map.stream_bytes();
    let (final_byte, final_bit) = (map.last_block_bit / 8, 1u8 << (map.last_block_bit % 8));
    let mut crc = crc32fast::Hasher::new();
    let mut was_final = false;
    let mut open_end = 0;
    let mut buffer = vec![0; CHUNK];
    let mut position = 0;
    while position < total {
        let wanted = CHUNK.min(usize::try_from(total - position).unwrap_or(CHUNK));
        let chunk = &mut buffer[..wanted];
        stream.read_exact(chunk)?;
        crc.update(chunk);
        if let Some(index) = final_byte.checked_sub(position)
            && index < wanted as u64
        {
            let byte = &mut chunk[index as usize];
            was_final = *byte & final_bit != 0;
            *byte &= !final_bit;
        }
        position += wanted as u64;
        let mut whole = wanted;
        if position == total && !map.end_bit.is_multiple_of(8) {
            whole -= 1;
            open_end = chunk[whole] & ((1 << (map.end_bit % 8)) - 1);
        }
        out.write_all(&chunk[..whole])?;
    }
    if !was_final || crc.finalize() != map.stream_crc32 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the compressed data is not what it was when it was verified",
        ));
    }
    Ok(open_end)
}
