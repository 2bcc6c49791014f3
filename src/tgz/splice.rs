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
use crate::deflate::{BlockMap, Ended, Horizon, Reached};

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
    let (mut writer, head) = begin(out, member)?;
    writer.copy_to_end(entry_compressed, map)?;
    writer.finish(member, &head, map, content_crc32)
}

/// The same while somebody else inflates that stream: follows as far behind as it takes not to write the last block's header
/// before it is known to be the last. `member.size_bytes` is what the stream is said to inflate to.
///
/// Returns `None` when the inflating came to nothing; what was written until then is no archive.
///
/// # Errors
/// As [`splice`].
pub fn splice_behind(
    out: &mut dyn Write,
    member: &TarMember,
    entry_compressed: &mut dyn Read,
    horizon: &Horizon,
) -> io::Result<Option<TgzWritten>> {
    let (mut writer, head) = begin(out, member)?;
    loop {
        match horizon.wait_for(writer.position + CHUNK as u64) {
            Reached::Clear => writer.copy_chunk(entry_compressed)?,
            Reached::End(Ended::Whole { map, content_crc32 }) => {
                writer.copy_to_end(entry_compressed, &map)?;
                return writer.finish(member, &head, &map, content_crc32).map(Some);
            }
            Reached::End(Ended::Useless) => return Ok(None),
        }
    }
}

/// Writes everything that comes before the entry's own blocks.
fn begin<'a>(out: &'a mut dyn Write, member: &TarMember) -> io::Result<(Splicer<'a>, Vec<u8>)> {
    let head = member.head()?;
    out.write_all(&gzip::HEADER)?;
    let head_bytes = gzip::HEADER.len() as u64 + gzip::write_stored(out, &head)?;
    let splicer = Splicer {
        out,
        head_bytes,
        position: 0,
        crc: crc32fast::Hasher::new(),
        was_final: false,
        open_end: 0,
        buffer: vec![0; CHUNK],
    };
    Ok((splicer, head))
}

/// In the middle of the entry's blocks.
struct Splicer<'a> {
    out: &'a mut dyn Write,
    /// Written before the first block.
    head_bytes: u64,
    /// Bytes of the stream that have been read.
    position: u64,
    /// Of these, as they were read.
    crc: crc32fast::Hasher,
    /// The bit that was cleared was set.
    was_final: bool,
    /// The bits of the byte that the stream has only started, zero above them.
    open_end: u8,
    buffer: Vec<u8>,
}

impl Splicer<'_> {
    /// Copies a chunk that does not reach the last block.
    fn copy_chunk(&mut self, stream: &mut dyn Read) -> io::Result<()> {
        stream.read_exact(&mut self.buffer)?;
        self.crc.update(&self.buffer);
        self.position += CHUNK as u64;
        self.out.write_all(&self.buffer)
    }

    /// Copies the rest of the stream with BFINAL of its last block cleared, up to its last *whole* byte.
    fn copy_to_end(&mut self, stream: &mut dyn Read, map: &BlockMap) -> io::Result<()> {
        let total = map.stream_bytes();
        let (final_byte, final_bit) = (map.last_block_bit / 8, 1u8 << (map.last_block_bit % 8));
        while self.position < total {
            let wanted = CHUNK.min(usize::try_from(total - self.position).unwrap_or(CHUNK));
            let chunk = &mut self.buffer[..wanted];
            stream.read_exact(chunk)?;
            self.crc.update(chunk);
            if let Some(index) = final_byte.checked_sub(self.position)
                && index < wanted as u64
            {
                let byte = &mut chunk[index as usize];
                self.was_final = *byte & final_bit != 0;
                *byte &= !final_bit;
            }
            self.position += wanted as u64;
            let mut whole = wanted;
            if self.position == total && !map.end_bit.is_multiple_of(8) {
                whole -= 1;
                self.open_end = chunk[whole] & ((1 << (map.end_bit % 8)) - 1);
            }
            self.out.write_all(&chunk[..whole])?;
        }
        if !self.was_final || self.crc.clone().finalize() != map.stream_crc32 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the compressed data is not what it was when it was verified",
            ));
        }
        Ok(())
    }

    /// Writes everything that comes behind the entry's own blocks.
    fn finish(self, member: &TarMember, head: &[u8], map: &BlockMap, content_crc32: u32) -> io::Result<TgzWritten> {
        let tail = member.tail();
        debug_assert!(tail.len() <= gzip::STORED_MAX);
        // BFINAL 1 and BTYPE 00 follow the stream's last bit; up to two of these three bits may fall into another byte.
        let used_bits = map.end_bit % 8;
        let joint = u16::from(self.open_end) | 1 << used_bits;
        let joint_bytes = (used_bits as usize + 3).div_ceil(8);

        let mut crc = crc32fast::Hasher::new();
        crc.update(head);
        crc.combine(&crc32fast::Hasher::new_with_initial_len(content_crc32, member.size_bytes));
        crc.update(&tail);
        let tar_crc32 = crc.finalize();
        let tar_bytes = head.len() as u64 + member.size_bytes + tail.len() as u64;

        let mut end = Vec::with_capacity(joint_bytes + 4 + tail.len() + 8);
        end.extend_from_slice(&joint.to_le_bytes()[..joint_bytes]);
        end.extend_from_slice(&gzip::stored_length(tail.len() as u16));
        end.extend_from_slice(&tail);
        end.extend_from_slice(&gzip::trailer(tar_crc32, tar_bytes));
        self.out.write_all(&end)?;
        let tgz_bytes = self.head_bytes + map.end_bit / 8 + end.len() as u64;
        Ok(TgzWritten { tgz_bytes, tar_bytes, tar_crc32 })
    }
}
