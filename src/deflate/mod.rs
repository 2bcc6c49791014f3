//! Inflates a raw DEFLATE stream (RFC 1951) and tells where its last block begins and where it ends, to the bit.
//!
//! Those two positions are all that [`crate::tgz::splice`] needs to make a zip entry's stream part of a gzip member
//! without recompressing it. They cannot be found by looking: blocks are not aligned and carry no length, so the
//! only way to them is to decode. As verification decodes the whole entry anyway, they come for free.
//!
//! This module knows nothing of zip, gzip or tar, and does no I/O.

mod block_inflate;
mod horizon;

use std::fmt;

use block_inflate::BlockInflate;
pub use horizon::{Ended, Horizon, Reached, Reaching};

/// Where a raw DEFLATE stream can be cut open, learnt while it was inflated.
///
/// Bits are counted from the stream's first byte, least significant bit first (RFC 1951 §3.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMap {
    /// Position of the last block's header; its first bit is BFINAL.
    pub last_block_bit: u64,
    /// Position right after the stream's last bit; in the middle of a byte, as a rule.
    pub end_bit: u64,
    /// CRC-32 of the [`stream_bytes`](Self::stream_bytes) bytes that were inflated, so that whoever reads them a second time can
    /// tell that they are still the same.
    pub stream_crc32: u32,
}

impl BlockMap {
    /// The stream's length in bytes, a started last byte included.
    pub fn stream_bytes(&self) -> u64 {
        self.end_bit.div_ceil(8)
    }
}

/// What one call of [`Inflater::inflate`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the input. May be zero although there was some, if the output is full.
    pub consumed: usize,
    /// Bytes written to the output. May be zero although there was input: a block may yield nothing.
    pub produced: usize,
    /// The last block has ended. Input that was not consumed is not part of the stream.
    pub finished: bool,
}

/// Why a stream could not be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// The bytes are not DEFLATE; the text is zlib's own reason (`invalid distance too far back`), if it gave one.
    Corrupt(Option<&'static str>),
    /// There was no memory for the decoder's state (about 48 KB).
    OutOfMemory,
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(Some(reason)) => write!(f, "the DEFLATE data is damaged: {reason}"),
            Self::Corrupt(None) => f.write_str("the DEFLATE data is damaged"),
            Self::OutOfMemory => f.write_str("no memory left to inflate"),
        }
    }
}

impl std::error::Error for InflateError {}

/// A raw inflater that keeps track of blocks. Fed piece by piece; memory is constant.
pub struct Inflater {
    stream: BlockInflate,
    consumed: u64,
    last_block_bit: u64,
    end_bit: Option<u64>,
    crc: crc32fast::Hasher,
}

impl Inflater {
    /// An inflater at the start of a stream.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new() -> Result<Self, InflateError> {
        Ok(Self {
            stream: BlockInflate::new()?,
            consumed: 0,
            // The first block begins with the stream; a later one replaces this when its predecessor ends.
            last_block_bit: 0,
            end_bit: None,
            crc: crc32fast::Hasher::new(),
        })
    }

    /// Inflates from `input` into `output` until either is used up or the stream ends.
    ///
    /// After [`Progress::finished`] further calls do nothing. When both `consumed` and `produced` are zero, the stream
    /// needs more input (or more room).
    ///
    /// # Errors
    /// `Corrupt`. The inflater must not be used any further.
    pub fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, InflateError> {
        let mut progress = Progress { consumed: 0, produced: 0, finished: self.end_bit.is_some() };
        while !progress.finished {
            let step = self.stream.step(&input[progress.consumed..], &mut output[progress.produced..])?;
            progress.consumed += step.consumed;
            progress.produced += step.produced;
            self.consumed += step.consumed as u64;
            if let Some(block_end) = step.block_end {
                // The decoder pulls whole bytes: what it has not used of them lies behind the block's end.
                let bit = self.consumed * 8 - u64::from(block_end.unused_bits);
                if block_end.was_last {
                    self.end_bit = Some(bit);
                    progress.finished = true;
                } else {
                    self.last_block_bit = bit;
                }
            } else if step.stalled() || progress.produced == output.len() {
                break;
            }
        }
        self.crc.update(&input[..progress.consumed]);
        Ok(progress)
    }

    /// Where the block begins that is being inflated, in bits.
    pub fn block_begins(&self) -> u64 {
        self.last_block_bit
    }

    /// The positions, once the stream has ended; `None` before.
    pub fn block_map(&self) -> Option<BlockMap> {
        let end_bit = self.end_bit?;
        // Whole bytes behind the end would be garbage that the checksum has seen: never observed, as the decoder
        // gives whole bytes back at a block's end, and refused rather than trusted.
        (end_bit.div_ceil(8) == self.consumed).then(|| BlockMap {
            last_block_bit: self.last_block_bit,
            end_bit,
            stream_crc32: self.crc.clone().finalize(),
        })
    }
}

#[cfg(test)]
mod tests;
