//! Where content goes while it is read: straight to a function, or to one on another thread.
//!
//! Both hand out their own memory to be filled, so that a byte is written once, by the decoder, and never copied.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Size of the pieces that are handed on: fits the second-level cache together with what works on it.
const CHUNK: usize = 256 * 1024;
/// Buffers in circulation between two threads: enough that neither waits for the other's every hiccup.
const CHUNKS: usize = 4;

/// Memory to be filled, and to be handed on when full.
pub(super) trait Sink {
    /// Room for at least one byte.
    fn room(&mut self) -> io::Result<&mut [u8]>;
    /// The first `count` bytes of the room have been filled.
    fn filled(&mut self, count: usize) -> io::Result<()>;
    /// Hands on what is left.
    fn finish(&mut self) -> io::Result<()>;
}

struct Chunk {
    bytes: Box<[u8]>,
    len: usize,
}

impl Chunk {
    fn new() -> Self {
        Self { bytes: vec![0; CHUNK].into_boxed_slice(), len: 0 }
    }
}

/// Calls a function with every piece, on this thread.
pub(super) struct Direct<'a> {
    chunk: Chunk,
    receiver: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl<'a> Direct<'a> {
    pub(super) fn new(receiver: &'a mut dyn FnMut(&[u8]) -> io::Result<()>) -> Self {
        Self { chunk: Chunk::new(), receiver }
    }
}

impl Sink for Direct<'_> {
    fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.chunk.len == CHUNK {
            self.finish()?;
        }
        Ok(&mut self.chunk.bytes[self.chunk.len..])
    }

    fn filled(&mut self, count: usize) -> io::Result<()> {
        self.chunk.len += count;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.chunk.len > 0 {
            (self.receiver)(&self.chunk.bytes[..self.chunk.len])?;
            self.chunk.len = 0;
        }
        Ok(())
    }
}

/// Hands full buffers to another thread and gets empty ones back. Memory is `CHUNKS` × `CHUNK`.
pub(super) struct Handover {
    current: Option<Chunk>,
    full: SyncSender<Chunk>,
    empty: Receiver<Chunk>,
}

/// The other end.
pub(super) struct Takeover {
    full: Receiver<Chunk>,
    empty: SyncSender<Chunk>,
}

pub(super) fn handover() -> (Handover, Takeover) {
    let (full_in, full_out) = sync_channel(CHUNKS);
    let (empty_in, empty_out) = sync_channel(CHUNKS);
    for _ in 0..CHUNKS {
        // Cannot fail: the channel has room for all of them and its other end is right here.
        let _ = empty_in.send(Chunk::new());
    }
    (Handover { current: None, full: full_in, empty: empty_out }, Takeover { full: full_out, empty: empty_in })
}

/// The receiving thread has ended; its own error is the one to show.
fn receiver_gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the receiver has stopped")
}

impl Sink for Handover {
    fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.current.as_ref().is_some_and(|chunk| chunk.len == CHUNK) {
            self.finish()?;
        }
        let chunk = match self.current.take() {
            Some(chunk) => chunk,
            None => self.empty.recv().map_err(|_| receiver_gone())?,
        };
        let chunk = self.current.insert(chunk);
        Ok(&mut chunk.bytes[chunk.len..])
    }

    fn filled(&mut self, count: usize) -> io::Result<()> {
        if let Some(chunk) = &mut self.current {
            chunk.len += count;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.current.take() {
            Some(chunk) if chunk.len > 0 => self.full.send(chunk).map_err(|_| receiver_gone()),
            _ => Ok(()),
        }
    }
}

impl Takeover {
    /// Calls `receiver` with every piece until the other end is dropped or `receiver` fails.
    pub(super) fn run(self, mut receiver: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while let Ok(mut chunk) = self.full.recv() {
            receiver(&chunk.bytes[..chunk.len])?;
            chunk.len = 0;
            // The other end is gone once it has sent its last piece.
            let _ = self.empty.send(chunk);
        }
        Ok(())
    }
}
