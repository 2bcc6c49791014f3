//! One SSH connection, driven without blocking, so that a stall and a signal are both noticed.
//!
//! libssh2's own timeout counts from the beginning of a call, whatever moves meanwhile: 4 MiB over a slow line would run into
//! it. Here the clock starts again whenever enough has moved ([`StallTimer`]).

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, ErrorCode, Session};

use super::errors::{ERROR_EAGAIN, ERROR_SFTP_PROTOCOL, Wire, status_from_words};
use super::watchdog::Watchdog;
use crate::destination::limits::{MOVING_BYTES, StallTimer};
use crate::interrupt::Interrupt;

/// The longest sleep between two looks at the interrupt.
const SLICE: Duration = Duration::from_millis(250);
/// Once a signal has come, an answer is waited for this long: enough to tidy up on a server that is well.
const GRACE: Duration = Duration::from_secs(3);
/// How long the library may block when it closes things on its own.
const CLOSE_TIMEOUT_MS: u32 = 3000;

/// A session and the socket below it.
pub(super) struct Link {
    pub(super) session: Session,
    socket: TcpStream,
    limit: Cell<Duration>,
    gone: Cell<bool>,
    /// Which lane, or the flusher, has a packet half sent.
    half_sent_by: Cell<Option<u32>>,
    /// When one of its lanes last moved.
    moved_at: Cell<Instant>,
    interrupt: Interrupt,
    watchdog: Watchdog,
}

/// How long a request has waited for its answer, and for what.
pub(super) struct Idle {
    timer: StallTimer,
    moved_at: Option<Instant>,
    interrupted_at: Option<Instant>,
}

impl Link {
    /// A session over `socket`, before the handshake; nothing may stand still for longer than `limit`.
    pub(super) fn new(socket: TcpStream, limit: Duration, interrupt: &Interrupt) -> io::Result<Self> {
        let mut session = Session::new()?;
        session.set_tcp_stream(socket.try_clone()?);
        session.set_blocking(false);
        session.set_timeout(CLOSE_TIMEOUT_MS);
        session.set_keepalive(true, 20);
        Ok(Link {
            watchdog: Watchdog::start(&socket, limit)?,
            session,
            socket,
            limit: Cell::new(limit),
            gone: Cell::new(false),
            half_sent_by: Cell::new(None),
            moved_at: Cell::new(Instant::now()),
            interrupt: interrupt.clone(),
        })
    }

    pub(super) fn moved_at(&self) -> Instant {
        self.moved_at.get()
    }

    pub(super) fn has_moved(&self) {
        self.moved_at.set(Instant::now());
    }

    /// The lane (or the flusher) that alone may use the connection, as only it can complete the packet that it has begun.
    pub(super) fn half_sent_by(&self) -> Option<u32> {
        self.half_sent_by.get()
    }

    pub(super) fn set_half_sent_by(&self, lane: Option<u32>) {
        self.half_sent_by.set(lane);
    }

    pub(super) fn set_limit(&self, limit: Duration) {
        self.limit.set(limit);
    }

    /// Whether the connection was given up.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Begins to wait for an answer.
    pub(super) fn idle(&self) -> Idle {
        Idle { timer: StallTimer::new(self.limit.get()), moved_at: None, interrupted_at: None }
    }

    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Calls `operation` until it no longer asks to be called again.
    pub(super) fn run<T>(&self, mut operation: impl FnMut() -> Result<T, ssh2::Error>) -> Result<T, Wire> {
        let mut idle = self.idle();
        loop {
            match self.try_run(&mut operation)? {
                Some(value) => return Ok(value),
                None => self.wait(&mut idle)?,
            }
        }
    }

    /// Calls `operation` once; `Ok(None)` means that it asks to be called again.
    pub(super) fn try_run<T>(&self, operation: impl FnOnce() -> Result<T, ssh2::Error>) -> Result<Option<T>, Wire> {
        if self.gone.get() {
            return Err(Wire::Gone);
        }
        match self.watchdog.during(operation) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code() == ErrorCode::Session(ERROR_EAGAIN) => Ok(None),
            Err(error) => Err(self.judged(error.into())),
        }
    }

    /// The same for reading and writing, whose errors have lost their codes.
    pub(super) fn try_io<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> Result<Option<T>, Wire> {
        if self.gone.get() {
            return Err(Wire::Gone);
        }
        match self.watchdog.during(operation) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(self.judged(self.native(&error).into())),
        }
    }

    /// Reading and writing, waited for.
    pub(super) fn io<T>(&self, mut operation: impl FnMut() -> io::Result<T>) -> Result<T, Wire> {
        let mut idle = self.idle();
        loop {
            match self.try_io(&mut operation)? {
                Some(value) => return Ok(value),
                None => self.wait(&mut idle)?,
            }
        }
    }

    /// Waits until the socket can do what libssh2 waits for.
    pub(super) fn wait(&self, idle: &mut Idle) -> Result<(), Wire> {
        loop {
            let ready = self.ready(SLICE)?;
            if ready.contains(PollFlags::OUT) {
                // The system says so once a good part of its buffer is free.
                idle.moved(MOVING_BYTES);
            }
            if ready.contains(PollFlags::IN) {
                // What libssh2 has not taken yet: all that came since it last said that it must be called again.
                idle.moved(rustix::io::ioctl_fionread(&self.socket).unwrap_or(0));
            }
            if let Err(stop) = self.interrupt.check()
                && idle.interrupted_at.get_or_insert_with(Instant::now).elapsed() >= GRACE
            {
                self.hang_up();
                return Err(Wire::Interrupted(stop));
            }
            if idle.timer.is_stalled() {
                self.hang_up();
                let limit = self.limit.get();
                // A burst and then silence is silence.
                let trickles = idle.moved_at.is_some_and(|at| at.elapsed() < limit.mul_f64(0.75));
                return Err(if trickles { Wire::Trickles(limit) } else { Wire::Stalled(limit) });
            }
            if !ready.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits for at most `slice`; tells whether something can move.
    pub(super) fn wait_a_slice(&self, slice: Duration) -> Result<bool, Wire> {
        Ok(!self.ready(slice)?.is_empty())
    }

    /// Waits for at most `slice`; tells what can move.
    fn ready(&self, slice: Duration) -> Result<PollFlags, Wire> {
        let (flags, slice) = match self.session.block_directions() {
            BlockDirections::Inbound => (PollFlags::IN, slice),
            BlockDirections::Outbound => (PollFlags::OUT, slice),
            BlockDirections::Both => (PollFlags::IN | PollFlags::OUT, slice),
            // It waits for nothing that it could name: look again soon.
            BlockDirections::None => (PollFlags::IN, slice.min(Duration::from_millis(10))),
        };
        let timeout = Timespec { tv_sec: slice.as_secs() as i64, tv_nsec: slice.subsec_nanos().into() };
        let mut sockets = [PollFd::new(&self.socket, flags)];
        match poll(&mut sockets, Some(&timeout)) {
            Ok(_) => Ok(sockets[0].revents()),
            Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
            Err(_) => {
                self.hang_up();
                Err(Wire::Gone)
            }
        }
    }

    /// Ends the connection without ceremony, so that whatever is dropped later does not wait for a server that is silent.
    pub(super) fn hang_up(&self) {
        self.gone.set(true);
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn judged(&self, wire: Wire) -> Wire {
        let wire = if self.watchdog.has_hung_up() { Wire::Floods } else { wire };
        if wire.kind() == crate::destination::ErrorKind::Unreachable {
            self.hang_up();
        }
        wire
    }

    fn native(&self, error: &io::Error) -> ssh2::Error {
        let last = ssh2::Error::last_session_error(&self.session);
        match last {
            Some(last) if last.code() != ErrorCode::Session(ERROR_SFTP_PROTOCOL) => last,
            _ => status_from_words(&error.to_string())
                .or(last)
                .unwrap_or_else(|| ssh2::Error::new(ErrorCode::Session(-1), "the connection failed")),
        }
    }
}

impl Idle {
    fn moved(&mut self, bytes: u64) {
        if bytes > 0 {
            self.moved_at = Some(Instant::now());
        }
        self.timer.moved(bytes);
    }
}

/// Waits for at most `slice` until one of these links can do what is waited for.
pub(super) fn wait_for_any(waiting: &[(&Link, PollFlags)], slice: Duration) -> Result<(), Wire> {
    let timeout = Timespec { tv_sec: slice.as_secs() as i64, tv_nsec: slice.subsec_nanos().into() };
    let mut sockets: Vec<_> = waiting.iter().map(|(link, flags)| PollFd::new(&link.socket, *flags)).collect();
    match poll(&mut sockets, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(_) => Err(Wire::Gone),
    }
}
