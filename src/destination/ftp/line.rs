//! The bytes of either connection, in TLS or not, below the crate: no wait is longer than it may be.
//!
//! The crate reads and writes for as long as the socket lets it, and an operating system counts its timeout from the last byte.
//! So a wait is cut into slices here: less than [`MOVING_BYTES`] within the limit is a standstill, and a signal or the time limit
//! of the destination is heard in the middle of an answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use suppaftp::{FtpError, FtpResult, TlsStream};

use crate::destination::limits::MOVING_BYTES;
use crate::interrupt::Interrupt;

/// The longest sleep between two looks at the interrupt.
pub(super) const SLICE: Duration = Duration::from_millis(100);
/// Once a signal has come, an answer is waited for this long: enough to tidy up on a server that is well.
pub(super) const GRACE: Duration = Duration::from_secs(3);
/// After an upload the server is given so long to close its side, and may say so many bytes.
const CLOSING: Duration = Duration::from_secs(1);
const CLOSING_BYTES: usize = 64 << 10;
/// Of what a server answered, so much is kept.
const HEARD_BYTES: usize = 1 << 10;

/// How long the connections of a session may stand still. Only waiting counts: what the program itself needs between two
/// pieces (a disk, a bandwidth limit) is not the server's fault.
#[derive(Debug)]
pub(super) struct Pace {
    interrupt: Interrupt,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: Duration,
    waited: Duration,
    moved: u64,
    /// When it was first seen, within this exchange, that a signal had come or the time limit was over.
    stopped_at: Option<Instant>,
    /// What came over the control connection, as the crate drops the words of what succeeded.
    heard: Vec<u8>,
}

impl Pace {
    pub(super) fn new(limit: Duration, interrupt: &Interrupt) -> Arc<Self> {
        let state = Mutex::new(State { limit, waited: Duration::ZERO, moved: 0, stopped_at: None, heard: Vec::new() });
        Arc::new(Pace { interrupt: interrupt.clone(), state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn limit(&self) -> Duration {
        self.state().limit
    }

    pub(super) fn set_limit(&self, limit: Duration) {
        self.state().limit = limit;
    }

    /// Begins to count again, for another exchange.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        (state.waited, state.moved, state.stopped_at) = (Duration::ZERO, 0, None);
        state.heard.clear();
    }

    /// What the server has answered since then, as far as it is kept.
    pub(super) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.state().heard).into_owned()
    }

    fn hear(&self, bytes: &[u8]) {
        let mut state = self.state();
        let room = HEARD_BYTES - state.heard.len();
        state.heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Repeats a step on a socket whose own timeout is [`SLICE`], until bytes have moved or the wait is too long.
    fn wait(&self, mut step: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            let begun = Instant::now();
            let result = match step() {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                result => Some(result?),
            };
            self.count(begun.elapsed(), result.unwrap_or(0) as u64)?;
            if let Some(count) = result {
                return Ok(count);
            }
        }
    }

    fn count(&self, waited: Duration, moved: u64) -> io::Result<()> {
        let mut state = self.state();
        state.waited += waited;
        state.moved += moved;
        if state.moved >= MOVING_BYTES {
            (state.waited, state.moved) = (Duration::ZERO, 0);
        } else if state.waited >= state.limit {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Also where bytes move: TLS reads on while nothing comes that it could hand on, session tickets for example.
        if let Err(stop) = self.interrupt.check() {
            let since = *state.stopped_at.get_or_insert_with(Instant::now);
            if state.waited >= GRACE || since.elapsed() >= GRACE {
                return Err(stop);
            }
        }
        Ok(())
    }
}

/// A socket at its pace.
#[derive(Debug)]
pub(super) struct Line {
    socket: TcpStream,
    pace: Arc<Pace>,
}

impl Line {
    /// Its timeouts must be those of [`super::sockets::limit`].
    pub(super) fn new(socket: TcpStream, pace: &Arc<Pace>) -> Self {
        Line { socket, pace: Arc::clone(pace) }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pace.wait(|| self.socket.read(buffer))
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pace.wait(|| self.socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Commands and answers: it has no end in the middle of an answer.
    Control,
    /// The bytes of a file or a listing.
    Data,
}

/// A connection as the crate uses it. To the crate every one is "secure": what is not encrypted passes through here as well.
#[derive(Debug)]
pub(super) struct Channel {
    bytes: Bytes,
    purpose: Purpose,
    written: bool,
    handed_on: bool,
}

#[derive(Debug)]
enum Bytes {
    Plain(Line),
    Tls(Box<StreamOwned<ClientConnection, Line>>),
}

impl Channel {
    pub(super) fn plain(line: Line, purpose: Purpose) -> Self {
        Channel { bytes: Bytes::Plain(line), purpose, written: false, handed_on: false }
    }

    pub(super) fn tls(connection: ClientConnection, line: Line, purpose: Purpose) -> Self {
        let bytes = Bytes::Tls(Box::new(StreamOwned::new(connection, line)));
        Channel { bytes, purpose, written: false, handed_on: false }
    }

    fn line(&self) -> &Line {
        match &self.bytes {
            Bytes::Plain(line) => line,
            Bytes::Tls(stream) => &stream.sock,
        }
    }

    /// Waits until the server has closed its side: what it says last (TLS tickets) would otherwise meet a closed socket, whose
    /// reset can overtake the end of what was sent. Then nothing more is received, so that nothing can go on for ever.
    fn close_gently(&self) {
        let mut socket = &self.line().socket;
        let begun = Instant::now();
        let (mut buffer, mut received) = ([0; 4096], 0);
        let mut is_open = socket.shutdown(Shutdown::Write).is_ok();
        while is_open && begun.elapsed() < CLOSING && received < CLOSING_BYTES {
            match socket.read(&mut buffer) {
                Ok(count) => (is_open, received) = (count > 0, received + count),
                Err(error) => is_open = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        }
        let _may_be_closed = socket.shutdown(Shutdown::Both);
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.bytes {
            Bytes::Plain(line) => line.read(buffer)?,
            Bytes::Tls(stream) => stream.read(buffer)?,
        };
        if count == 0 && !buffer.is_empty() && self.purpose == Purpose::Control {
            // The crate would take what came of a line for the line, and half a number for a number.
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        if self.purpose == Purpose::Control {
            self.line().pace.hear(&buffer[..count]);
        }
        Ok(count)
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written = true;
        match &mut self.bytes {
            Bytes::Plain(line) => line.write(bytes),
            Bytes::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.bytes {
            Bytes::Plain(line) => line.flush(),
            Bytes::Tls(stream) => stream.flush(),
        }
    }
}

impl TlsStream for Channel {
    type InnerStream = Self;

    fn tcp_stream(mut self) -> FtpResult<TcpStream> {
        self.handed_on = true;
        self.get_ref().try_clone().map_err(FtpError::ConnectionError)
    }

    fn get_ref(&self) -> &TcpStream {
        &self.line().socket
    }

    fn mut_ref(&mut self) -> &mut Self {
        self
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.handed_on {
            return;
        }
        if let Bytes::Tls(stream) = &mut self.bytes {
            // Also makes the handshake, where nothing was sent.
            let _may_be_gone = stream.flush();
            stream.conn.send_close_notify();
            let _may_be_gone = stream.conn.write_tls(&mut stream.sock);
        }
        if self.purpose == Purpose::Data && self.written {
            self.close_gently();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::super::sockets::limit;
    use super::*;
    use crate::exit_code::ExitCode;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        limit(&ours).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    fn channel(pace: &Arc<Pace>, purpose: Purpose) -> (Channel, TcpStream) {
        let (ours, theirs) = connected();
        (Channel::plain(Line::new(ours, pace), purpose), theirs)
    }

    #[test]
    fn an_answer_that_was_cut_is_none_and_a_file_may_end() {
        let pace = Pace::new(Duration::from_secs(20), &Interrupt::default());
        for (purpose, ends) in [(Purpose::Control, false), (Purpose::Data, true)] {
            let (mut ours, mut theirs) = channel(&pace, purpose);
            theirs.write_all(b"213 12").unwrap();
            drop(theirs);
            ours.read_exact(&mut [0; 6]).unwrap();
            assert_eq!(ours.read(&mut [0; 6]).is_ok(), ends);
        }
    }

    #[test]
    fn a_trickle_is_a_standstill() {
        let pace = Pace::new(Duration::from_millis(400), &Interrupt::default());
        let (mut ours, mut theirs) = channel(&pace, Purpose::Data);
        let drip = thread::spawn(move || {
            while theirs.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let error = ours.read_exact(&mut [0; 4000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(ours);
        drip.join().unwrap();
    }

    #[test]
    fn only_waiting_counts() {
        let pace = Pace::new(Duration::from_millis(300), &Interrupt::default());
        let (mut ours, mut theirs) = channel(&pace, Purpose::Data);
        theirs.write_all(&[7; 3]).unwrap();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(200));
            assert_eq!(ours.read(&mut [0]).unwrap(), 1);
        }
    }

    #[test]
    fn a_signal_ends_the_wait_for_an_answer() {
        let interrupt = Interrupt::default();
        let pace = Pace::new(Duration::from_secs(600), &interrupt);
        let (mut ours, _theirs) = channel(&pace, Purpose::Control);
        interrupt.pretend(ExitCode::Terminated);
        let begun = Instant::now();
        assert!(interrupt.check().is_err() && ours.read(&mut [0]).is_err());
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_signal_ends_what_always_moves() {
        let interrupt = Interrupt::default();
        let pace = Pace::new(Duration::from_secs(600), &interrupt);
        let (mut ours, mut theirs) = channel(&pace, Purpose::Data);
        let flood = thread::spawn(move || while theirs.write_all(&[7; 65_536]).is_ok() {});
        interrupt.pretend(ExitCode::Terminated);
        let begun = Instant::now();
        // As TLS reads for as long as nothing comes that it could hand on.
        while ours.read(&mut [0; 16_384]).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
        assert!(begun.elapsed() >= GRACE);
        drop(ours);
        flood.join().unwrap();
    }

    #[test]
    fn a_server_that_goes_on_after_an_upload_is_not_read_to_its_end() {
        let pace = Pace::new(Duration::from_secs(20), &Interrupt::default());
        let (mut ours, mut theirs) = channel(&pace, Purpose::Data);
        let flood = thread::spawn(move || while theirs.write_all(&[0; 65_536]).is_ok() {});
        ours.write_all(b"x").unwrap();
        // What the crate keeps, and reads to its end.
        let mut kept = ours.get_ref().try_clone().unwrap();
        drop(ours);
        let mut left = Vec::new();
        let _reset = kept.read_to_end(&mut left);
        flood.join().unwrap();
    }
}
