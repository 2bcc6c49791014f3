//! Retries around any destination: what can pass is tried again on a new connection, what cannot is not.
//!
//! Only [`ErrorKind::Unreachable`] is retried, up to `retries` times in a row, after 1 s, 2 s, 4 s … 60 s, each with jitter so
//! that many jobs do not knock at the same moment; later if the server said when (`Retry-After`). A transfer goes on from where it was; one that moves forward between two
//! failures may fail more often, for a flaky line must not lose a long upload that it could finish.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::clock::{Clock, SystemClock, pause};
use super::upload::Upload;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source};
use crate::digest::Digest;
use crate::error::Hinted as _;
use crate::interrupt::Interrupt;
use crate::text;
use crate::text::Language;
use crate::units::show_duration;

/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What a transfer must have moved for its earlier failures to be forgotten.
pub(super) const PROGRESS_BYTES: u64 = 1 << 20;

type Connector = dyn FnMut() -> Result<Box<dyn Destination>, DestinationError> + Send;

/// Wraps the way to a destination so that connections may break.
pub struct Retrying {
    connector: Box<Connector>,
    inner: Option<Box<dyn Destination>>,
    location: String,
    unsettled_bytes: u64,
    retries: u32,
    interrupt: Interrupt,
    clock: Arc<dyn Clock>,
    /// The last file that was written, and its bytes.
    written: Option<(String, u64)>,
    /// See [`Destination::wrote_straight`].
    wrote_straight: bool,
    /// The server has refused to let an upload go on: it is not asked again.
    resume_refused: bool,
}

impl Retrying {
    /// Connects, with up to `retries` further attempts; `connector` is called again whenever the connection is lost.
    ///
    /// # Errors
    /// The connector's last one; `Local` when a signal ended the waiting.
    pub fn connect<C>(connector: C, retries: u32, interrupt: &Interrupt) -> Result<Self, DestinationError>
    where
        C: FnMut() -> Result<Box<dyn Destination>, DestinationError> + Send + 'static,
    {
        Self::connect_by(Arc::new(SystemClock::new()), Box::new(connector), retries, interrupt)
    }

    fn connect_by(
        clock: Arc<dyn Clock>,
        connector: Box<Connector>,
        retries: u32,
        interrupt: &Interrupt,
    ) -> Result<Self, DestinationError> {
        let mut retrying = Retrying {
            connector,
            inner: None,
            location: String::new(),
            unsettled_bytes: 0,
            retries,
            interrupt: interrupt.clone(),
            clock,
            written: None,
            wrote_straight: true,
            resume_refused: false,
        };
        (retrying.location, retrying.unsettled_bytes) = retrying
            .attempt("connecting", |destination, _| Ok((destination.location(), destination.unsettled_bytes())))?;
        Ok(retrying)
    }

    /// Runs `operation` until it succeeds, fails for good or has used up its retries. It is told how often it failed in a
    /// row, and may take that back when it sees that something moved.
    fn attempt<T>(
        &mut self,
        what: &str,
        mut operation: impl FnMut(&mut dyn Destination, &mut u32) -> Result<T, DestinationError>,
    ) -> Result<T, DestinationError> {
        let mut failures = 0;
        loop {
            let result = match &mut self.inner {
                Some(inner) => operation(inner.as_mut(), &mut failures),
                None => (self.connector)().and_then(|inner| {
                    let inner = self.inner.insert(inner);
                    operation(inner.as_mut(), &mut failures)
                }),
            };
            let error = match result {
                // Anything else that a server says at that moment is its own reason.
                Err(error)
                    if matches!(error.kind, ErrorKind::Local | ErrorKind::Unreachable)
                        && self.interrupt.is_out_of_time() =>
                {
                    return Err(self.out_of_time(error));
                }
                Err(error) if error.is_transient() => error,
                final_result => return final_result,
            };
            self.inner = None;
            if failures >= self.retries {
                return Err(exhausted(error, failures));
            }
            failures += 1;
            let wait = wait_before(failures, fastrand::f64()).max(error.retry_after().unwrap_or_default());
            tracing::warn!(
                "{what} failed, trying again in {:.1} s (attempt {} of {}): {}",
                wait.as_secs_f64(),
                failures + 1,
                self.retries + 1,
                chain(&error)
            );
            if let Err(stop) = pause(&*self.clock, wait, &self.interrupt) {
                return Err(match self.interrupt.is_out_of_time() {
                    true => self.out_of_time(error),
                    false => DestinationError::new(ErrorKind::Local, format!("{what} was given up")).caused_by(stop),
                });
            }
        }
    }

    /// `time_limit` is over, whatever it was that this ended: neither this machine's fault nor a signal.
    fn out_of_time(&self, error: DestinationError) -> DestinationError {
        let limit = self.interrupt.time_limit().unwrap_or_default();
        let message = format!("the time limit of {} for this destination is over", show_duration(limit, Language::En));
        let ended = DestinationError::new(ErrorKind::OutOfTime, message);
        let ended = match error.kind {
            // What was being done; below it stands that it was stopped, as if by a signal.
            ErrorKind::Local => ended.caused_by(error.to_string()),
            _ => ended.caused_by(error),
        };
        ended.with_hint(text!(
            "the server or the line is too slow, or stands still; what was sent is resumed next night where the server allows it; if so much has to go there, raise `time_limit` under this `[[destination]]`"
                / "le serveur ou la ligne est trop lent, ou ne répond plus ; ce qui est déjà envoyé sera repris la nuit prochaine si le serveur le permet ; s'il y a vraiment autant à envoyer, augmentez `time_limit` dans cette `[[destination]]`"
        ))
    }
}

/// The wait before retry number `failure` (from 1), with `chance` in 0..1: between half and the whole of the doubled time.
fn wait_before(failure: u32, chance: f64) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(1 << (failure - 1).min(16)).min(LONGEST_WAIT);
    whole.mul_f64(0.5 + chance / 2.0)
}

fn exhausted(error: DestinationError, failures: u32) -> DestinationError {
    if failures == 0 {
        return error;
    }
    let hint = error.hint();
    let outer = DestinationError::new(error.kind, format!("gave up after {} attempts", failures + 1)).caused_by(error);
    match hint {
        Some(hint) => outer.with_hint(hint),
        None => outer,
    }
}

fn chain(error: &DestinationError) -> String {
    let mut text = error.to_string();
    let mut layer: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(cause) = layer {
        text = format!("{text}: {cause}");
        layer = cause.source();
    }
    text
}

impl Destination for Retrying {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn capabilities(&mut self) -> Capabilities {
        let asked = self.attempt("asking what the server can do", |destination, _| Ok(destination.capabilities()));
        // Nothing is promised by a server that cannot be reached; the next operation will say why.
        let able = asked.unwrap_or(Capabilities::NONE);
        Capabilities { resume: able.resume && !self.resume_refused, ..able }
    }

    fn explore(&mut self) -> Capabilities {
        let asked = self.attempt("asking what the server can do", |destination, _| Ok(destination.explore()));
        asked.unwrap_or(Capabilities::NONE)
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        self.attempt("listing", |destination, _| destination.list())
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        self.attempt(&format!("looking for `{name}`"), |destination, _| destination.stat(name))
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        if offset > 0 && self.resume_refused {
            let message = format!("the server does not let the upload of `{name}` go on at byte {offset}");
            return Err(DestinationError::new(ErrorKind::Other, message).refusing_resume());
        }
        let len_bytes = source.len_bytes();
        let mut upload = Upload::new(name, source, offset, self.resume_refused);
        let put =
            self.attempt(&format!("uploading `{name}`"), |destination, failures| upload.attempt(destination, failures));
        self.wrote_straight = upload.is_straight;
        self.resume_refused |= upload.resume_refused;
        self.written = put.is_ok().then(|| (name.to_owned(), len_bytes));
        put
    }

    fn wrote_straight(&self) -> bool {
        self.wrote_straight
    }

    fn write_plainly(&mut self) {
        // A server that cannot be reached is told by the next operation.
        let _ = self.attempt("going on", |destination, _| {
            destination.write_plainly();
            Ok(())
        });
    }

    fn probe_bytes(&mut self) -> u64 {
        self.attempt("asking how archives are written", |destination, _| Ok(destination.probe_bytes())).unwrap_or(0)
    }

    fn keep_beginning(&mut self, name: &str, bytes: u64) -> Result<u64, DestinationError> {
        self.attempt(&format!("shortening `{name}`"), |destination, _| destination.keep_beginning(name, bytes))
    }

    fn unsettled_bytes(&self) -> u64 {
        self.unsettled_bytes
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        let mut reached = offset;
        self.attempt(&format!("reading `{name}`"), |destination, failures| {
            let begun_at = reached;
            let result = destination.get(name, reached, &mut |bytes| {
                sink(bytes)?;
                reached += bytes.len() as u64;
                Ok(())
            });
            if reached >= begun_at + PROGRESS_BYTES {
                *failures = 0;
            }
            result
        })
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        // The size that `from` had when the first request went out; until then `to` cannot be of our making. Of what has just
        // been written it is known.
        let mut moving = self.written.take().filter(|(name, _)| name == from).map(|(_, bytes)| bytes);
        let mut known = moving.is_some();
        self.attempt(&format!("renaming `{from}` to `{to}`"), |destination, _| {
            if std::mem::take(&mut known) {
                return destination.move_new(from, to);
            }
            let before = destination.stat(from)?;
            if let (Some(size), None) = (moving, &before)
                && destination.stat(to)?.is_some_and(|entry| entry.size == size)
            {
                return Ok(());
            }
            moving = before.map(|entry| entry.size);
            destination.move_new(from, to)
        })
    }

    fn put_new(&mut self, name: &str, source: &mut dyn Source) -> Result<(), DestinationError> {
        let mut tried = false;
        let mut reached = 0;
        self.attempt(&format!("uploading `{name}`"), |destination, failures| {
            // An attempt whose answer was lost may have succeeded; whether this is our file, only its content tells.
            if tried && destination.stat(name)?.is_some() {
                let message = format!("`{name}` is there since an attempt whose answer was lost");
                return Err(DestinationError::new(ErrorKind::AlreadyExists, message));
            }
            tried = true;
            let put = destination.put_new(name, source);
            let kept = put.as_ref().err().and_then(DestinationError::certain_bytes).unwrap_or_default();
            if kept >= reached + PROGRESS_BYTES {
                (reached, *failures) = (kept, 0);
            }
            put
        })
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        self.attempt(&format!("deleting `{name}`"), |destination, _| destination.remove(name))
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        self.attempt(&format!("computing the checksum of `{name}`"), |destination, _| destination.checksum(name))
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        self.attempt("asking for free space", |destination, _| destination.free_space())
    }

    fn server_time(&mut self) -> Result<Option<DateTime<Utc>>, DestinationError> {
        self.attempt("asking for the server's time", |destination, _| destination.server_time())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::destination::clock::fake::FakeClock;
    use crate::destination::memory::{Fault, MemoryServer, Operation};

    fn try_connect(server: &MemoryServer, retries: u32) -> (Result<Retrying, DestinationError>, Arc<FakeClock>) {
        let (clock, handle) = (Arc::new(FakeClock::default()), server.clone());
        let connector = move || Ok(Box::new(handle.connect()?) as Box<dyn Destination>);
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        (Retrying::connect_by(shared, Box::new(connector), retries, &Interrupt::default()), clock)
    }

    fn retrying(server: &MemoryServer, retries: u32) -> Retrying {
        try_connect(server, retries).0.unwrap()
    }

    fn unreachable(at: Operation) -> Fault {
        Fault::new(at, ErrorKind::Unreachable)
    }

    #[test]
    fn waits_double_up_to_a_minute_with_jitter_below() {
        let longest: Vec<u64> = (1..=8).map(|n| wait_before(n, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait_before(3, 0.0), Duration::from_secs(2));
    }

    #[test]
    fn connecting_is_retried_and_gives_up_after_the_last_retry() {
        let server = MemoryServer::new();
        (0..2).for_each(|_| server.script(unreachable(Operation::Connect)));
        let (connected, clock) = try_connect(&server, 2);
        assert!(connected.is_ok());
        assert!(clock.now() >= Duration::from_millis(1500));
        (0..3).for_each(|_| server.script(unreachable(Operation::Connect)));
        let error = try_connect(&server, 2).0.err().unwrap();
        assert_eq!((error.kind, error.to_string()), (ErrorKind::Unreachable, "gave up after 3 attempts".to_owned()));
    }

    #[test]
    fn what_cannot_pass_is_not_retried() {
        for kind in [ErrorKind::Auth, ErrorKind::Untrusted, ErrorKind::NoSpace, ErrorKind::PermissionDenied] {
            let server = MemoryServer::new();
            server.script(Fault::new(Operation::Connect, kind));
            assert_eq!(try_connect(&server, 4).0.err().unwrap().kind, kind);
            assert_eq!(server.count(Operation::Connect), 1);
        }
        let server = MemoryServer::new();
        let mut retrying = retrying(&server, 4);
        server.script(Fault::new(Operation::Put, ErrorKind::NoSpace));
        assert_eq!(retrying.put("x", &mut Cursor::new(b"x"), 0).unwrap_err().kind, ErrorKind::NoSpace);
        assert_eq!(server.count(Operation::Put), 1);
    }

    #[test]
    fn a_server_that_says_when_to_come_back_is_given_that_time() {
        let (server, clock) = (MemoryServer::new(), Arc::new(FakeClock::default()));
        let mut failures = 0;
        let connector = move || {
            failures += 1;
            match failures {
                1 => {
                    let busy = DestinationError::new(ErrorKind::Unreachable, "busy");
                    Err(busy.retrying_after(Some(Duration::from_secs(90))))
                }
                _ => Ok(Box::new(server.connect()?) as Box<dyn Destination>),
            }
        };
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        assert!(Retrying::connect_by(shared, Box::new(connector), 1, &Interrupt::default()).is_ok());
        assert!((90..92).contains(&clock.now().as_secs()), "{:?}", clock.now());
    }

    #[test]
    fn a_signal_ends_the_waiting() {
        let server = MemoryServer::new();
        server.script(unreachable(Operation::Connect));
        let stopped = Interrupt::default();
        stopped.stop();
        let connector = move || Ok(Box::new(server.connect()?) as Box<dyn Destination>);
        let error = Retrying::connect(connector, 4, &stopped).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Local);
    }

    #[test]
    fn an_upload_goes_on_from_where_it_was_cut() {
        let server = MemoryServer::new();
        let content: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
        let mut retrying = retrying(&server, 2);
        server.script(unreachable(Operation::Put).after_bytes(30_000));
        server.script(unreachable(Operation::Put).after_bytes(30_001));
        retrying.put("x", &mut Cursor::new(&content), 0).unwrap();
        assert_eq!(server.read("x").unwrap(), content);
        assert_eq!((server.count(Operation::Put), server.count(Operation::Connect)), (3, 3));
    }

    #[test]
    fn an_upload_that_never_began_does_not_go_on_with_an_older_file() {
        let server = MemoryServer::new();
        server.write("x", b"older");
        let mut retrying = retrying(&server, 2);
        server.script(unreachable(Operation::Put));
        retrying.put("x", &mut Cursor::new(b"tonight's"), 0).unwrap();
        assert_eq!(server.read("x").unwrap(), b"tonight's");
    }

    /// Like [`retrying`], and whatever `damage` does happens between two connections.
    fn damaged(server: &MemoryServer, damage: impl Fn(&MemoryServer) + Send + 'static) -> Retrying {
        let (handle, mut connections) = (server.clone(), 0);
        let connector = move || {
            if connections > 0 {
                damage(&handle);
            }
            connections += 1;
            Ok(Box::new(handle.connect()?) as Box<dyn Destination>)
        };
        let clock = Arc::new(FakeClock::default());
        Retrying::connect_by(clock, Box::new(connector), 3, &Interrupt::default()).unwrap()
    }

    #[test]
    fn what_arrived_before_a_cut_is_compared_before_going_on() {
        let content: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
        for checksum_by_server in [true, false] {
            let server = MemoryServer::new();
            let capabilities = server.connect().unwrap().capabilities();
            server.set_capabilities(Capabilities { checksum_by_server, ..capabilities });
            let mut retrying = damaged(&server, |server| {
                let mut held = server.read("x").unwrap();
                held[17] ^= 1;
                server.write("x", &held);
            });
            server.script(unreachable(Operation::Put).after_bytes(30_000));
            retrying.put("x", &mut Cursor::new(&content), 0).unwrap();
            assert!(server.read("x").unwrap() == content, "the damage was kept");
            assert_eq!(server.put_offsets(), [0, 0]);
            assert!(retrying.wrote_straight());

            // Unharmed, it is gone on with, each byte compared once.
            server.script(unreachable(Operation::Put).after_bytes(30_000));
            let mut retrying = damaged(&server, |_| {});
            retrying.put("x", &mut Cursor::new(&content), 0).unwrap();
            assert_eq!(server.put_offsets()[2..], [0, 30_000]);
            assert!(!retrying.wrote_straight());
        }
    }

    #[test]
    fn a_resume_that_is_refused_starts_again_and_is_not_tried_again() {
        let content: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
        for kind in [ErrorKind::PermissionDenied, ErrorKind::Other] {
            let server = MemoryServer::new();
            let mut retrying = retrying(&server, 2);
            server.script(unreachable(Operation::Put).after_bytes(30_000));
            server.script(Fault::new(Operation::Put, kind));
            retrying.put("x", &mut Cursor::new(&content), 0).unwrap();
            assert_eq!(server.read("x").unwrap(), content);
            assert!(!retrying.capabilities().resume);
            server.script(unreachable(Operation::Put).after_bytes(30_000));
            retrying.put("x", &mut Cursor::new(&content), 0).unwrap();
            assert_eq!(server.put_offsets(), [0; 4]);
            assert!(retrying.put("x", &mut Cursor::new(&content), 5).unwrap_err().resume_refused());
        }
    }

    #[test]
    fn an_account_that_may_not_delete_uploads() {
        let server = MemoryServer::new();
        let mut retrying = retrying(&server, 0);
        server.script(Fault::new(Operation::Remove, ErrorKind::PermissionDenied));
        retrying.put("x", &mut Cursor::new(b"tonight's"), 0).unwrap();
        assert!(retrying.wrote_straight());
        server.script(Fault::new(Operation::Remove, ErrorKind::PermissionDenied));
        retrying.put("x", &mut Cursor::new(b"tomorrow's"), 0).unwrap();
        assert_eq!(server.read("x").unwrap(), b"tomorrow's");
        assert!(!retrying.wrote_straight(), "an older file was overwritten");
    }

    #[test]
    fn an_upload_that_moves_forward_may_fail_more_often_than_the_retries() {
        let server = MemoryServer::new();
        let mut retrying = retrying(&server, 1);
        (0..3).for_each(|_| server.script(unreachable(Operation::Put).after_bytes(2 << 20)));
        let content = vec![3; 7 << 20];
        retrying.put("x", &mut Cursor::new(&content), 0).unwrap();
        assert_eq!(server.read("x").unwrap().len(), content.len());
    }

    #[test]
    fn without_resume_an_upload_starts_again() {
        let server = MemoryServer::new();
        let mut retrying = retrying(&server, 2);
        let mut capabilities = retrying.capabilities();
        capabilities.resume = false;
        server.set_capabilities(capabilities);
        server.script(unreachable(Operation::Put).after_bytes(5));
        retrying.put("x", &mut Cursor::new(b"0123456789"), 0).unwrap();
        assert_eq!(server.read("x").unwrap(), b"0123456789");
    }

    #[test]
    fn a_download_goes_on_without_repeating_a_byte() {
        let server = MemoryServer::new();
        let content: Vec<u8> = (0..100_000u32).map(|i| (i / 3) as u8).collect();
        server.write("x", &content);
        let mut retrying = retrying(&server, 2);
        server.script(unreachable(Operation::Get).after_bytes(10));
        server.script(unreachable(Operation::Get).after_bytes(70_000));
        let mut got = Vec::new();
        retrying
            .get("x", 5, &mut |bytes| {
                got.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        assert_eq!(got, content[5..]);
    }

    #[test]
    fn a_move_whose_answer_was_lost_is_not_repeated() {
        let server = MemoryServer::new();
        server.write("x.part", b"content");
        let mut retrying = retrying(&server, 2);
        server.script(unreachable(Operation::MoveNew).done_all_the_same());
        retrying.move_new("x.part", "x").unwrap();
        assert_eq!(server.names(), ["x"]);
        assert_eq!(server.count(Operation::MoveNew), 1);
    }

    #[test]
    fn a_move_on_to_a_name_that_was_taken_before_is_no_success() {
        let server = MemoryServer::new();
        server.write("x", b"another");
        let mut retrying = retrying(&server, 2);
        server.script(unreachable(Operation::Stat));
        assert_eq!(retrying.move_new("x.part", "x").unwrap_err().kind, ErrorKind::AlreadyExists);
        server.write("x.part", b"content");
        server.script(unreachable(Operation::MoveNew));
        assert_eq!(retrying.move_new("x.part", "x").unwrap_err().kind, ErrorKind::AlreadyExists);
        assert_eq!(server.names(), ["x", "x.part"]);
    }
}
