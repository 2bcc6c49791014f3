//! Notices a connection that stands still; for the source, the destinations and mail alike.

use std::time::{Duration, Instant};

/// What has to move within `stall_timeout`, bytes: less is a standstill, unless less is left.
pub const MOVING_BYTES: u64 = 4096;

/// Notices that a line stands still: less than [`MOVING_BYTES`] within the limit. One for each request and answer.
#[derive(Clone, Copy, Debug)]
pub struct StallTimer {
    limit: Duration,
    began: Instant,
    moved: u64,
}

impl StallTimer {
    /// Begins to wait; `limit` is `stall_timeout`.
    pub fn new(limit: Duration) -> Self {
        StallTimer { limit, began: Instant::now(), moved: 0 }
    }

    /// Notes that so many bytes have moved, in either direction.
    pub fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= MOVING_BYTES {
            self.restart();
        }
    }

    /// Begins again: for the next request, or after a wait of our own.
    pub fn restart(&mut self) {
        *self = StallTimer::new(self.limit);
    }

    /// The time that may still pass until the line counts as standing still.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }

    /// Whether the line stands still.
    pub fn is_stalled(&self) -> bool {
        self.left().is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_a_standstill_and_4_kib_are_none() {
        let mut timer = StallTimer::new(Duration::from_secs(60));
        timer.began -= Duration::from_secs(59);
        timer.moved(MOVING_BYTES - 1);
        assert!(timer.left() < Duration::from_secs(2) && !timer.is_stalled());
        timer.moved(1);
        assert!(timer.left() > Duration::from_secs(50));
        timer.began -= Duration::from_secs(60);
        assert!(timer.is_stalled());
    }
}
