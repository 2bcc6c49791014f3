//! The TCP connection below SMB, by hand for three reasons.
//!
//! - The library sends the four bytes before a message on their own, without `TCP_NODELAY`: with the delayed acknowledgement of
//!   the other side each request then takes 40 ms, and reading back goes at 22 MB/s whatever the line can do.
//! - Only here it is seen when a byte moves, which is what the stall timeout is about.
//! - Once the connection broke, the library waits for answers that cannot come, and has lost the reason.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use smb::transport::{IoVec, SmbTransport, SmbTransportRead, SmbTransportWrite, TransportError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, TransportError>> + Send + 'a>>;

/// MS-SMB2 2.1: a zero byte and the length in 24 bits.
const FRAME_BYTES: usize = 4;
/// The longest message: a block of [`super::transfer::BLOCK`], or a page of a listing, and what goes with it.
const MAX_MESSAGE_BYTES: usize = 2 << 20;
/// So much room is made for a message at a time.
const PIECE_BYTES: usize = 256 << 10;
/// MS-SMB2 2.2.4: where the answer to NEGOTIATE, the first that a server sends, has its `SystemTime`.
const SYSTEM_TIME: std::ops::Range<usize> = 64 + 40..64 + 48;

/// What is known of a connection from outside of the library.
pub(super) struct Pulse {
    moved_at: Mutex<Instant>,
    moved_bytes: AtomicU64,
    broken: OnceLock<String>,
    clock: OnceLock<(DateTime<Utc>, Instant)>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Pulse {
    fn beat(&self, bytes: usize) {
        self.moved_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        *self.moved_at.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Instant::now();
    }

    /// When a byte last moved.
    pub(super) fn moved_at(&self) -> Instant {
        *self.moved_at.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many bytes have moved, in both directions.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.moved_bytes.load(Ordering::Relaxed)
    }

    /// Requests that were handed to the line.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Answers that came, those included which only say that another is to follow.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Why the connection is no more.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// Nothing more is to be expected of the connection.
    pub(super) fn give_up(&self, why: impl Into<String>) {
        let _first_reason_counts = self.broken.set(why.into());
    }

    /// The server's clock now, by what it said when it introduced itself.
    pub(super) fn server_time(&self) -> Option<DateTime<Utc>> {
        let (told, at) = self.clock.get()?;
        Some(*told + at.elapsed())
    }

    fn lost(&self, error: &io::Error) -> TransportError {
        self.give_up(error.to_string());
        TransportError::NotConnected
    }
}

/// One half of a connection, or both before it is split.
pub(super) struct Socket {
    reader: Option<OwnedReadHalf>,
    writer: Option<OwnedWriteHalf>,
    server: SocketAddr,
    pulse: Arc<Pulse>,
}

impl Socket {
    /// Takes over a connection; within the runtime.
    pub(super) fn new(stream: TcpStream) -> io::Result<(Self, Arc<Pulse>)> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let server = stream.peer_addr()?;
        let (reader, writer) = tokio::net::TcpStream::from_std(stream)?.into_split();
        let pulse = Arc::new(Pulse {
            moved_at: Mutex::new(Instant::now()),
            moved_bytes: AtomicU64::new(0),
            broken: OnceLock::new(),
            clock: OnceLock::new(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        });
        Ok((Socket { reader: Some(reader), writer: Some(writer), server, pulse: Arc::clone(&pulse) }, pulse))
    }

    async fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TransportError> {
        let reader = self.reader.as_mut().ok_or(TransportError::NotConnected)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match reader.read(&mut buffer[filled..]).await {
                Ok(0) => return Err(self.pulse.lost(&io::Error::other("the server closed the connection"))),
                Ok(count) => {
                    filled += count;
                    self.pulse.beat(count);
                }
                Err(error) => return Err(self.pulse.lost(&error)),
            }
        }
        Ok(())
    }

    async fn next_message(&mut self) -> Result<Vec<u8>, TransportError> {
        let mut frame = [0; FRAME_BYTES];
        self.fill(&mut frame).await?;
        if frame[0] != 0 {
            // Nothing that follows could be told apart.
            return Err(self.pulse.lost(&io::Error::other("what the server sends is no SMB")));
        }
        let length = u32::from_be_bytes(frame) as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(self
                .pulse
                .lost(&io::Error::other(format!("the server announced a message of {length} bytes"))));
        }
        // No room is made for what has not come: a length costs the server nothing.
        let mut message = Vec::new();
        while message.len() < length {
            let filled = message.len();
            message.resize(length.min(filled + PIECE_BYTES), 0);
            self.fill(&mut message[filled..]).await?;
        }
        self.pulse.received.fetch_add(1, Ordering::Relaxed);
        if let Some(told) = message.get(SYSTEM_TIME).and_then(|bytes| bytes.first_chunk())
            && self.pulse.clock.get().is_none()
            && let Some(time) = date_time(of_steps(u64::from_le_bytes(*told)))
        {
            let _only_the_first_message_has_it = self.pulse.clock.set((time, Instant::now()));
        }
        Ok(message)
    }

    async fn write(&mut self, pieces: &[&[u8]]) -> Result<(), TransportError> {
        let writer = self.writer.as_mut().ok_or(TransportError::NotConnected)?;
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match writer.write_vectored(left).await {
                Ok(0) => return Err(self.pulse.lost(&io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    IoSlice::advance_slices(&mut left, count);
                    self.pulse.beat(count);
                }
                Err(error) => return Err(self.pulse.lost(&error)),
            }
        }
        Ok(())
    }
}

/// Windows counts from 1601 (MS-DTYP 2.3.3); 0 says nothing.
pub(super) fn date_time(since_1601: Duration) -> Option<DateTime<Utc>> {
    const TO_1970: Duration = Duration::from_secs(11_644_473_600);
    let since_1970 = since_1601.checked_sub(TO_1970)?;
    DateTime::from_timestamp(i64::try_from(since_1970.as_secs()).ok()?, since_1970.subsec_nanos())
}

/// Steps of 100 ns.
fn of_steps(steps: u64) -> Duration {
    Duration::new(steps / 10_000_000, (steps % 10_000_000) as u32 * 100)
}

impl SmbTransport for Socket {
    fn connect<'a>(&'a mut self, _server_name: &'a str, _address: SocketAddr) -> Pending<'a, ()> {
        Box::pin(async { Err(TransportError::AlreadyConnected) })
    }

    fn default_port(&self) -> u16 {
        445
    }

    fn split(self: Box<Self>) -> Result<(Box<dyn SmbTransportRead>, Box<dyn SmbTransportWrite>), TransportError> {
        let (server, pulse) = (self.server, Arc::clone(&self.pulse));
        Ok((
            Box::new(Socket { reader: self.reader, writer: None, server, pulse }),
            Box::new(Socket { reader: None, writer: self.writer, server, pulse: self.pulse }),
        ))
    }

    fn remote_address(&self) -> Result<SocketAddr, TransportError> {
        Ok(self.server)
    }
}

impl SmbTransportWrite for Socket {
    fn send_raw<'a>(&'a mut self, bytes: &'a [u8]) -> Pending<'a, ()> {
        Box::pin(async move { self.write(&[bytes]).await })
    }

    fn send<'a>(&'a mut self, message: &'a IoVec) -> Pending<'a, ()> {
        Box::pin(async move {
            self.pulse.sent.fetch_add(1, Ordering::Relaxed);
            let frame = (message.total_size() as u32).to_be_bytes();
            let pieces: Vec<&[u8]> =
                std::iter::once(&frame[..]).chain(message.iter().map(|piece| &piece[..])).collect();
            self.write(&pieces).await
        })
    }
}

impl SmbTransportRead for Socket {
    fn receive_exact<'a>(&'a mut self, buffer: &'a mut [u8]) -> Pending<'a, ()> {
        Box::pin(self.fill(buffer))
    }

    fn receive<'a>(&'a mut self) -> Pending<'a, Vec<u8>> {
        Box::pin(self.next_message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_1601() {
        assert_eq!(date_time(of_steps(134_396_064_000_000_000)).unwrap().to_rfc3339(), "2026-11-20T00:00:00+00:00");
        assert_eq!(date_time(of_steps(0)), None);
        assert_eq!(date_time(of_steps(u64::MAX)).map(|time| time.timestamp()), Some(1_833_029_933_770));
    }
}
