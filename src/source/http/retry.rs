//! Decides whether to try again, and when.

use std::time::Duration;

use super::super::SourceError;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// After the first failure; doubled after each further one.
    pub first: Duration,
    /// Never longer.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after `failures` (from 1) in a row; `chance`, from 0 to 1, spreads clients that failed together over the upper
    /// half of it.
    fn wait(self, failures: u32, chance: f64) -> Duration {
        let whole = self.first.saturating_mul(1 << (failures - 1).min(16)).min(self.longest);
        whole.mul_f64(0.5 + chance / 2.0)
    }
}

/// The attempts of one download.
#[derive(Debug)]
pub(super) struct Attempts {
    /// `retries`: further attempts after one that failed.
    allowed: u32,
    /// In a row, without progress in between.
    failures: u32,
    /// The most bytes that any attempt brought.
    most: u64,
    /// All attempts, the one that is going on included.
    pub made: u32,
}

impl Attempts {
    pub(super) fn new(allowed: u32, resumed_from: u64) -> Self {
        Attempts { allowed, failures: 0, most: resumed_from, made: 1 }
    }

    /// An attempt failed when `received` bytes of `total` were there: how long to wait before the next one, if there is one.
    ///
    /// Attempts that got further are free, or a line that is cut every few minutes could never bring a large file. "Further"
    /// is beyond every earlier attempt, and by a piece worth the name: a server that gives a byte each time, or restarts and
    /// cuts for ever, must come to an end.
    pub(super) fn failed(
        &mut self,
        error: &SourceError,
        received: u64,
        total: Option<u64>,
        backoff: Backoff,
    ) -> Option<Duration> {
        let piece = total.map_or(1 << 20, |total| (total / 100).clamp(1, 1 << 20));
        if received >= self.most.saturating_add(piece) {
            self.most = received;
            self.failures = 0;
        }
        self.failures += 1;
        if !error.is_transient() || self.failures > self.allowed {
            return None;
        }
        self.made += 1;
        Some(error.wanted_wait().unwrap_or_else(|| backoff.wait(self.failures, fastrand::f64())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::SourceErrorKind;
    use super::*;
    use crate::text::Text;

    fn error(kind: SourceErrorKind) -> SourceError {
        SourceError::new(kind, Text::new("", ""), "")
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_never_falls_below_half() {
        let backoff = Backoff::default();
        let waits: Vec<u64> = [1, 2, 3, 6, 7, 40].map(|n| backoff.wait(n, 1.0).as_secs()).to_vec();
        assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
        assert_eq!(backoff.wait(3, 0.0), Duration::from_secs(2));
    }

    #[test]
    fn retries_end_and_what_cannot_pass_is_not_retried() {
        let mut attempts = Attempts::new(2, 0);
        let cut = error(SourceErrorKind::Cut);
        assert!(attempts.failed(&cut, 0, None, Backoff::default()).is_some());
        assert!(attempts.failed(&cut, 0, None, Backoff::default()).is_some());
        assert!(attempts.failed(&cut, 0, None, Backoff::default()).is_none());
        assert_eq!(attempts.made, 3);
        let refused = error(SourceErrorKind::Unauthorized);
        assert!(Attempts::new(2, 0).failed(&refused, 0, None, Backoff::default()).is_none());
    }

    #[test]
    fn only_real_progress_gives_new_attempts() {
        let cut = error(SourceErrorKind::Cut);
        let mut attempts = Attempts::new(1, 0);
        for received in [1000, 2000, 3000, 9000] {
            assert!(attempts.failed(&cut, received, Some(100_000), Backoff::default()).is_some());
        }
        assert!(attempts.failed(&cut, 9001, Some(100_000), Backoff::default()).is_none(), "a byte is no progress");
        let mut attempts = Attempts::new(1, 0);
        assert!(attempts.failed(&cut, 50_000, Some(100_000), Backoff::default()).is_some());
        assert!(attempts.failed(&cut, 40_000, Some(100_000), Backoff::default()).is_none(), "nor is a shorter restart");
    }

    #[test]
    fn the_server_may_say_how_long_to_wait() {
        let busy = error(SourceErrorKind::ServerError).retry_after(Some(Duration::from_secs(300)));
        assert_eq!(Attempts::new(1, 0).failed(&busy, 0, None, Backoff::default()), Some(Duration::from_secs(300)));
    }
}
