//! Ctrl-C and SIGTERM as a question that long loops ask.
//!
//! A signal sets a flag; whoever moves bytes asks [`Interrupt::check`] between two of them, so that every clean-up on the
//! way out still happens. A second signal ends the process at once, for whoever cannot wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exit_code::ExitCode;

/// A handle on the question "must this stop?"; clones ask the same one. A handle made by [`Interrupt::with_time_limit`] also
/// ends at a moment of its own.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
    limit: Option<TimeLimit>,
}

/// A moment at which work has to end, and the limit that set it.
#[derive(Clone, Copy, Debug)]
struct TimeLimit {
    end: Instant,
    limit: Duration,
}

/// The error that [`Interrupt::check`] gives once `time_limit` is over, inside an [`io::Error`].
#[derive(Clone, Copy, Debug)]
pub struct TimeLimitReached(
    /// The whole limit.
    pub Duration,
);

impl std::fmt::Display for TimeLimitReached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the time limit of {} is over", crate::units::show_duration(self.0, crate::text::Language::En))
    }
}

impl std::error::Error for TimeLimitReached {}

/// Whether an error, or one of its causes, is [`TimeLimitReached`].
pub fn is_time_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut layer = Some(error);
    while let Some(cause) = layer {
        // An `io::Error` shows the source of what it holds, not what it holds.
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if cause.is::<TimeLimitReached>() || inner.is_some_and(|inner| is_time_limit(inner)) {
            return true;
        }
        layer = cause.source();
    }
    false
}

/// The error that [`Interrupt::check`] gives after a signal, inside an [`io::Error`]; also what a protocol says that was stopped.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by a signal")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// Starts to listen for SIGINT, SIGTERM and SIGHUP. One that is ignored stays ignored: by that `nohup`, and shells for what
    /// they put into the background, say that it is not meant for this process (POSIX.1-2024, XCU 2.12).
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Interrupt::default();
        // A terminal that was closed ends a run as orderly as a SIGTERM.
        let signals =
            [(SIGINT, ExitCode::Interrupted), (SIGTERM, ExitCode::Terminated), (SIGHUP, ExitCode::Terminated)];
        let ignored = ignored();
        for (signal, code) in signals.into_iter().filter(|(signal, _)| ignored & 1 << (signal - 1) == 0) {
            let again = Arc::new(AtomicBool::new(false));
            // Order matters: the shutdown looks at `again` before the next handler sets it.
            signal_hook::flag::register_conditional_shutdown(signal, i32::from(code.code()), Arc::clone(&again))?;
            signal_hook::flag::register(signal, again)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.signal), usize::from(code.code()))?;
        }
        Ok(interrupt)
    }

    /// The same question with an end of its own: [`check`](Interrupt::check) fails with [`TimeLimitReached`] once `limit` is over.
    /// Where a limit applies already, the earlier end counts.
    pub fn with_time_limit(&self, limit: Duration) -> Interrupt {
        let own = Instant::now().checked_add(limit).map(|end| TimeLimit { end, limit });
        let limit = match (self.limit, own) {
            (Some(outer), Some(own)) if outer.end <= own.end => Some(outer),
            (outer, own) => own.or(outer),
        };
        Interrupt { signal: Arc::clone(&self.signal), limit }
    }

    /// The time until the limit of [`with_time_limit`](Interrupt::with_time_limit), for code that has to give a wait its length; `None` without a limit.
    pub fn time_left(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.end.saturating_duration_since(Instant::now()))
    }

    /// The time limit as a whole, if there is one.
    pub fn time_limit(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.limit)
    }

    /// Whether the time limit is over, and no signal came before.
    pub fn is_out_of_time(&self) -> bool {
        self.exit_code().is_none() && self.time_left() == Some(Duration::ZERO)
    }

    /// Does what SIGTERM does, for whoever has another reason to stop.
    pub fn stop(&self) {
        self.signal.store(usize::from(ExitCode::Terminated.code()), Ordering::Relaxed);
    }

    /// The exit code of the signal that came, if one came.
    pub fn exit_code(&self) -> Option<ExitCode> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            143 => Some(ExitCode::Terminated),
            _ => Some(ExitCode::Interrupted),
        }
    }

    /// As if a signal had come, for tests: a real one would reach every test of the process.
    #[cfg(test)]
    pub(crate) fn pretend(&self, code: ExitCode) {
        self.signal.store(usize::from(code.code()), Ordering::Relaxed);
    }

    /// Fails once a signal has come or the time limit is over.
    ///
    /// # Errors
    /// An [`io::Error`] that holds [`Interrupted`] or [`TimeLimitReached`].
    pub fn check(&self) -> io::Result<()> {
        match (self.exit_code(), self.limit) {
            (Some(_), _) => Err(io::Error::other(Interrupted)),
            (None, Some(TimeLimit { end, limit })) if Instant::now() >= end => {
                Err(io::Error::other(TimeLimitReached(limit)))
            }
            (None, _) => Ok(()),
        }
    }
}

/// The signals that this process ignores, one bit each, the lowest for signal 1 (proc_pid_status(5)).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_ends_its_own_handle_and_no_other() {
        let interrupt = Interrupt::default();
        let limited = interrupt.with_time_limit(Duration::ZERO);
        let error = anyhow::Error::new(limited.check().unwrap_err()).context("reading");
        assert!(is_time_limit(error.as_ref()), "{error:#}");
        assert!(limited.with_time_limit(Duration::from_secs(60)).check().is_err(), "the earlier end counts");
        assert!(interrupt.check().is_ok() && interrupt.with_time_limit(Duration::MAX).check().is_ok());
        assert!(limited.exit_code().is_none(), "it is no signal");
    }
}
