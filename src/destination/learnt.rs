//! What was learnt about a server over one connection and must hold over the next: a connection that broke because of what was
//! asked of it would otherwise break again, for the same reason, until the retries are used up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Losing the connection so often over commands means that the server does not bear them.
const MOST_LOST: u32 = 2;

/// One server's lessons; clones share them.
#[derive(Clone, Debug, Default)]
#[allow(dead_code, reason = "not every set of protocols has something to learn")]
pub(super) struct Learnt(Arc<Lessons>);

#[derive(Debug, Default)]
struct Lessons {
    writes_plainly: AtomicBool,
    lost_over_commands: AtomicU32,
}

#[allow(dead_code, reason = "not every set of protocols has something to learn")]
impl Learnt {
    /// Whether files are written in the plainest way only.
    pub(super) fn writes_plainly(&self) -> bool {
        self.0.writes_plainly.load(Ordering::Relaxed)
    }

    /// From now on they are.
    pub(super) fn write_plainly(&self) {
        self.0.writes_plainly.store(true, Ordering::Relaxed);
    }

    /// Whether the server has hung up too often on commands for another one.
    pub(super) fn avoids_commands(&self) -> bool {
        self.0.lost_over_commands.load(Ordering::Relaxed) >= MOST_LOST
    }

    /// The connection was lost over a command; `first` if none has ever been answered, which says enough.
    pub(super) fn lost_over_a_command(&self, first: bool) {
        self.0.lost_over_commands.fetch_add(if first { MOST_LOST } else { 1 }, Ordering::Relaxed);
    }
}
