//! The one place with `unsafe`: zlib's `inflate` with `Z_BLOCK`, which stops at every block's end and says how many bits
//! of the last byte were not used.
//!
//! The safe interface of `zlib-rs` 0.6 can stop there too (`InflateFlush::Block`) but keeps `data_type`, where the bits are
//! told, to itself; so this goes through the C-shaped interface of the same library. Nothing else belongs here.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};

use libz_rs_sys::{
    Z_BLOCK, Z_BUF_ERROR, Z_MEM_ERROR, Z_OK, Z_STREAM_END, inflate, inflateEnd, inflateInit2_, z_stream, zlibVersion,
};

use super::InflateError;

/// Raw DEFLATE (no zlib or gzip header) with the largest window.
const RAW_WINDOW_BITS: c_int = -15;

/// `data_type` after a call with `Z_BLOCK`, as documented in zlib.h for `inflate`.
const UNUSED_BITS: c_int = 63;
const LAST_BLOCK: c_int = 64;
const AT_BLOCK_END: c_int = 128;

/// What one step did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub consumed: usize,
    pub produced: usize,
    /// Set when this step ended exactly at the end of a block.
    pub block_end: Option<BlockEnd>,
}

impl Step {
    /// Neither input nor output moved: the caller has to bring more of one of them.
    pub(super) fn stalled(&self) -> bool {
        self.consumed == 0 && self.produced == 0
    }
}

/// The end of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockEnd {
    /// Bits pulled from the input but lying behind the block.
    pub unused_bits: u8,
    /// The block had BFINAL set.
    pub was_last: bool,
}

/// Owner of a zlib inflate state.
pub(super) struct BlockInflate {
    /// Boxed, so that its address never changes: C zlib's state points back at it.
    stream: Box<z_stream>,
}

impl BlockInflate {
    pub(super) fn new() -> Result<Self, InflateError> {
        let mut stream = Box::new(z_stream::default());
        // SAFETY: `stream` is a valid, exclusively borrowed z_stream whose allocator fields are `None` (the library's own
        // allocator is used); the version string is the library's and the size is that of its own struct.
        let code =
            unsafe { inflateInit2_(&raw mut *stream, RAW_WINDOW_BITS, zlibVersion(), size_of::<z_stream>() as c_int) };
        // Anything but "no memory" would be a wrong constant above; without a state there is nothing to go on with either.
        if code == Z_OK { Ok(Self { stream }) } else { Err(InflateError::OutOfMemory) }
    }

    /// Inflates until the input or the room is used up or a block ends, whichever is first.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, InflateError> {
        // zlib counts in `unsigned int`; what does not fit is left for the next step.
        let available_in = u32::try_from(input.len()).unwrap_or(u32::MAX);
        let available_out = u32::try_from(output.len()).unwrap_or(u32::MAX);
        self.stream.next_in = input.as_ptr();
        self.stream.avail_in = available_in;
        self.stream.next_out = output.as_mut_ptr();
        self.stream.avail_out = available_out;
        // SAFETY: `stream` was initialised by `new` and is exclusively borrowed. `next_in`/`avail_in` and
        // `next_out`/`avail_out` describe (prefixes of) two live slices that do not overlap, as one is borrowed mutably;
        // both pointers are non-null even for empty slices. They are only used during this call: every call sets them anew.
        let code = unsafe { inflate(&raw mut *self.stream, Z_BLOCK) };
        let step = Step {
            consumed: (available_in - self.stream.avail_in) as usize,
            produced: (available_out - self.stream.avail_out) as usize,
            block_end: None,
        };
        match code {
            // Z_BUF_ERROR: no progress was possible; not fatal.
            Z_OK | Z_BUF_ERROR => {
                let state = self.stream.data_type;
                let block_end = (state & AT_BLOCK_END != 0).then_some(BlockEnd {
                    unused_bits: (state & UNUSED_BITS) as u8,
                    was_last: state & LAST_BLOCK != 0,
                });
                Ok(Step { block_end, ..step })
            }
            // Never reached: the stop at the last block's end comes first, and the caller does not step on after it. Here the
            // unused bits would already be gone, so it must not pass for an end.
            Z_STREAM_END => Err(InflateError::Corrupt(None)),
            Z_MEM_ERROR => Err(InflateError::OutOfMemory),
            _ => Err(InflateError::Corrupt(self.reason())),
        }
    }

    fn reason(&self) -> Option<&'static str> {
        if self.stream.msg.is_null() {
            return None;
        }
        // SAFETY: when not null, zlib's `msg` points to one of the library's own NUL-terminated string constants, which live as
        // long as the program.
        let text: &'static CStr = unsafe { CStr::from_ptr(self.stream.msg) };
        text.to_str().ok()
    }
}

impl Drop for BlockInflate {
    fn drop(&mut self) {
        // SAFETY: `stream` was initialised by `new` and is not used again.
        unsafe { inflateEnd(&raw mut *self.stream) };
    }
}
