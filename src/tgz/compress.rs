//! Compresses on all cores into one gzip member, as pigz does, for content that no zip has compressed for us.
//!
//! The tar is cut into pieces of a fixed size; each is deflated by itself, with the end of the one before as dictionary, and
//! ends with a sync flush, so that it ends at a byte and the next can be appended. The cuts depend on nothing but the
//! content, so the bytes do not depend on how many cores there are.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{TarMember, TgzWritten, gzip};

/// Large enough that the flush and the dictionary cost little (about 0.1 %), small enough that memory stays flat.
const PIECE: usize = 256 * 1024;
/// How far back DEFLATE can refer.
const DICTIONARY: usize = 32 * 1024;
/// A piece that cannot be compressed grows by its stored blocks' headers only: room that is never used up.
const PIECE_COMPRESSED_MAX: usize = PIECE + PIECE / 64 + 1024;
/// More would only take memory (about 1 MB each): one thread reads and writes for all.
const THREADS_MAX: usize = 24;

/// Writes `member` as one `.tgz`, compressing `content` at `level` (1 to 9) on all cores.
///
/// Memory is constant (about 1 MB per core). Writes in large pieces and does not flush.
///
/// # Errors
/// `UnexpectedEof` if `content` is shorter than `member.size_bytes`, `InvalidData` if it is longer; `InvalidInput` for a bad level or
/// member name; whatever reading and writing may give. What was written until then is no archive.
pub fn compress(out: &mut dyn Write, member: &TarMember, level: u32, content: &mut dyn Read) -> io::Result<TgzWritten> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    compress_on(threads.min(THREADS_MAX), out, member, level, content)
}

/// A piece on its way to a worker.
struct Job {
    /// The dictionary, then the piece.
    bytes: Vec<u8>,
    dictionary_len: usize,
    is_last: bool,
    reply: mpsc::SyncSender<io::Result<Deflated>>,
}

/// A piece on its way back.
struct Deflated {
    compressed: Vec<u8>,
    /// Of the uncompressed piece.
    crc: crc32fast::Hasher,
    /// To be used again.
    bytes: Vec<u8>,
}

pub(super) fn compress_on(
    threads: usize,
    out: &mut dyn Write,
    member: &TarMember,
    level: u32,
    content: &mut dyn Read,
) -> io::Result<TgzWritten> {
    if !(1..=9).contains(&level) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{level}` is no compression level: it must be from 1 to 9"),
        ));
    }
    let (head, tail) = (member.head()?, member.tail());
    let tar_bytes = head.len() as u64 + member.size_bytes + tail.len() as u64;
    let mut tar = head.as_slice().chain(Exactly { content, total: member.size_bytes, done: 0 }).chain(&tail[..]);

    out.write_all(&gzip::HEADER)?;
    let mut tgz_bytes = gzip::HEADER.len() as u64;
    let mut crc = crc32fast::Hasher::new();
    let (jobs, queue) = mpsc::channel::<Job>();
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&queue, level));
        }
        // Moved in here so that every way out closes the queue, which ends the workers.
        let jobs = jobs;
        let mut in_flight = VecDeque::new();
        let mut idle = Vec::new();
        let mut dictionary = Vec::new();
        let mut remaining = tar_bytes;
        while remaining > 0 || !in_flight.is_empty() {
            if remaining > 0 && in_flight.len() < threads + 2 {
                let piece_len = PIECE.min(usize::try_from(remaining).unwrap_or(PIECE));
                let mut bytes: Vec<u8> = idle.pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(&dictionary);
                let dictionary_len = bytes.len();
                bytes.resize(dictionary_len + piece_len, 0);
                tar.read_exact(&mut bytes[dictionary_len..])?;
                remaining -= piece_len as u64;
                dictionary.clear();
                dictionary.extend_from_slice(&bytes[bytes.len().saturating_sub(DICTIONARY)..]);
                let (reply, answer) = mpsc::sync_channel(1);
                let job = Job { bytes, dictionary_len, is_last: remaining == 0, reply };
                jobs.send(job).map_err(|_| worker_lost())?;
                in_flight.push_back(answer);
            } else if let Some(answer) = in_flight.pop_front() {
                let done: Deflated = answer.recv().map_err(|_| worker_lost())??;
                crc.combine(&done.crc);
                out.write_all(&done.compressed)?;
                tgz_bytes += done.compressed.len() as u64;
                idle.push(done.bytes);
            }
        }
        Ok::<(), io::Error>(())
    })?;
    let tar_crc32 = crc.finalize();
    let trailer = gzip::trailer(tar_crc32, tar_bytes);
    out.write_all(&trailer)?;
    tgz_bytes += trailer.len() as u64;
    Ok(TgzWritten { tgz_bytes, tar_bytes, tar_crc32 })
}

fn worker_lost() -> io::Error {
    io::Error::other("a compressing thread ended before its work was done")
}

/// A worker's life: takes pieces until the queue is closed.
fn work(queue: &Mutex<mpsc::Receiver<Job>>, level: u32) {
    loop {
        // The lock is held while waiting, which is what hands the next piece to exactly one worker.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { bytes, dictionary_len, is_last, reply }) = job else {
            return;
        };
        let answer = deflate_piece(bytes, dictionary_len, is_last, level);
        // Nobody listens any more if writing has failed.
        let _ = reply.send(answer);
    }
}

fn deflate_piece(bytes: Vec<u8>, dictionary_len: usize, is_last: bool, level: u32) -> io::Result<Deflated> {
    let (dictionary, piece) = bytes.split_at(dictionary_len);
    let mut crc = crc32fast::Hasher::new();
    crc.update(piece);
    // A new state for every piece: a reused one would be no faster by much, and a doubt about determinism.
    let mut deflate = Compress::new(Compression::new(level), false);
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut compressed = Vec::with_capacity(PIECE_COMPRESSED_MAX);
    loop {
        let used = deflate.total_in() as usize;
        let status = deflate.compress_vec(&piece[used..], &mut compressed, flush).map_err(io::Error::other)?;
        let has_room = compressed.len() < compressed.capacity();
        let is_done = if is_last {
            status == Status::StreamEnd
        } else {
            // A flush is complete when zlib leaves room unused (zlib.h, `deflate`).
            has_room && deflate.total_in() as usize == piece.len()
        };
        if is_done {
            break;
        }
        if !has_room {
            compressed.reserve(PIECE_COMPRESSED_MAX);
        }
    }
    Ok(Deflated { compressed, crc, bytes })
}

/// The content, neither less nor more of it than promised: the tar header has been written by then.
struct Exactly<'a> {
    content: &'a mut dyn Read,
    total: u64,
    done: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.done == self.total {
            return match self.content.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the content goes on after the {} bytes it should have", self.total),
                )),
            };
        }
        let wanted = buffer.len().min(usize::try_from(self.total - self.done).unwrap_or(usize::MAX));
        let got = self.content.read(&mut buffer[..wanted])?;
        if got == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the content ends after {} of {} bytes", self.done, self.total),
            ));
        }
        self.done += got as u64;
        Ok(got)
    }
}
