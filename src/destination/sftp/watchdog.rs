//! Ends a connection on which one call of the library does not come back.
//!
//! A call of libssh2 that must not block takes packets, or lines before the server's banner, for as long as there are any: a server
//! that sends without end keeps it there. Nothing on the calling thread could notice, so another thread looks at the clock.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// How often the clock is looked at.
const SLICE: Duration = Duration::from_millis(250);
/// More than any call needs that does not wait, a key exchange on a weak machine included.
const LONGEST_CALL: Duration = Duration::from_secs(10);

/// Watches the calls on one connection until it is dropped.
pub(super) struct Watchdog(Arc<Watched>);

struct Watched {
    began: Instant,
    /// When the present call began, in milliseconds since `began` and at least 1; 0 between two calls.
    calling_since: AtomicU64,
    has_hung_up: AtomicBool,
}

impl Watchdog {
    /// No call may be longer than `limit`, nor than [`LONGEST_CALL`].
    pub(super) fn start(socket: &TcpStream, limit: Duration) -> io::Result<Self> {
        let watched = Arc::new(Watched {
            began: Instant::now(),
            calling_since: AtomicU64::new(0),
            has_hung_up: AtomicBool::new(false),
        });
        let (socket, limit) = (socket.try_clone()?, limit.min(LONGEST_CALL));
        let weak = Arc::downgrade(&watched);
        thread::Builder::new().name("sftp watchdog".to_owned()).spawn(move || watch(&weak, &socket, limit))?;
        Ok(Watchdog(watched))
    }

    /// Makes a call.
    pub(super) fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        let now = self.0.began.elapsed().as_millis() as u64;
        self.0.calling_since.store(now.max(1), Ordering::Relaxed);
        let told = call();
        self.0.calling_since.store(0, Ordering::Relaxed);
        told
    }

    /// Whether it has ended the connection.
    pub(super) fn has_hung_up(&self) -> bool {
        self.0.has_hung_up.load(Ordering::Relaxed)
    }
}

fn watch(watched: &Weak<Watched>, socket: &TcpStream, limit: Duration) {
    loop {
        thread::sleep(SLICE);
        let Some(watched) = watched.upgrade() else { return };
        let since = watched.calling_since.load(Ordering::Relaxed);
        let calling = watched.began.elapsed().saturating_sub(Duration::from_millis(since));
        if since > 0 && calling >= limit {
            watched.has_hung_up.store(true, Ordering::Relaxed);
            let _ = socket.shutdown(Shutdown::Both);
            return;
        }
    }
}
