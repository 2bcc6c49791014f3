//! Time as the wrappers see it, so that their tests need none.
//!
//! Only waiting and elapsed time live here; dates do not.

use std::io;
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;

/// The longest sleep between two looks at the interrupt.
const SLICE: Duration = Duration::from_millis(100);

/// A clock that only goes forward.
pub(super) trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// Lets `duration` pass.
    fn sleep(&self, duration: Duration);
}

/// The machine's clock.
pub(super) struct SystemClock(Instant);

impl SystemClock {
    pub(super) fn new() -> Self {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Waits for `duration`, or until a signal comes.
pub(super) fn pause(clock: &dyn Clock, duration: Duration, interrupt: &Interrupt) -> io::Result<()> {
    let end = clock.now() + duration;
    loop {
        interrupt.check()?;
        let left = end.saturating_sub(clock.now());
        if left.is_zero() {
            return Ok(());
        }
        clock.sleep(left.min(SLICE));
    }
}

#[cfg(test)]
pub(super) mod fake {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::Clock;

    /// A clock on which sleeping takes no time.
    #[derive(Default)]
    pub(in crate::destination) struct FakeClock(Mutex<Duration>);

    impl Clock for FakeClock {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn sleep(&self, duration: Duration) {
            *self.0.lock().unwrap() += duration;
        }
    }
}
