//! Ctrl-C and SIGTERM as a question that long loops ask.
//!
//! A signal sets a flag; whoever moves bytes asks [`Interrupt::check`] between two of them, so that every clean-up on the
//! way out still happens. A second signal ends the process at once, for whoever cannot wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exit_code::ExitCode;

/// A handle on the question "has somebody asked us to stop?"; clones ask the same one.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

/// The error that [`Interrupt::check`] gives, inside an [`io::Error`].
#[derive(Clone, Copy, Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by a signal")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// Starts to listen for SIGINT and SIGTERM.
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Interrupt::default();
        // A terminal that was closed ends a run as orderly as a SIGTERM.
        let signals =
            [(SIGINT, ExitCode::Interrupted), (SIGTERM, ExitCode::Terminated), (SIGHUP, ExitCode::Terminated)];
        for (signal, code) in signals {
            let again = Arc::new(AtomicBool::new(false));
            // Order matters: the shutdown looks at `again` before the next handler sets it.
            signal_hook::flag::register_conditional_shutdown(signal, i32::from(code.code()), Arc::clone(&again))?;
            signal_hook::flag::register(signal, again)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.signal), usize::from(code.code()))?;
        }
        Ok(interrupt)
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

    /// Fails once a signal has come.
    ///
    /// # Errors
    /// An [`io::Error`] that holds [`Interrupted`].
    pub fn check(&self) -> io::Result<()> {
        match self.exit_code() {
            None => Ok(()),
            Some(_) => Err(io::Error::other(Interrupted)),
        }
    }
}
