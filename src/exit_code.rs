//! The exit codes, one enum and one mapping; `docs/exit-codes.md` shows the same table to users.

use serde::Serialize;

use crate::step::Step;

/// What the process returns. Any code that is not listed is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitCode {
    /// Published, or unchanged under `skip` or `warn`.
    Success,
    /// A bug, or anything that is not listed here.
    Other,
    /// Usage, configuration, or a clock that cannot be right.
    Config,
    /// The download failed.
    Download,
    /// The zip, the entry or the dump cannot be trusted.
    Verify,
    /// The archive could not be built, or the local disk failed.
    Pack,
    /// A destination could not be reached or did not verify; the archive is in the outbox.
    Upload,
    /// The purge failed; tonight's archive is safe.
    Purge,
    /// The report could not be sent; tonight's archive is safe.
    Report,
    /// The dump is unchanged, under `on_unchanged = "fail"`.
    Unchanged,
    /// Another run holds the lock.
    Locked,
    /// Stopped by Ctrl-C (SIGINT).
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl ExitCode {
    /// The number the process ends with.
    pub fn code(self) -> u8 {
        match self {
            ExitCode::Success => 0,
            ExitCode::Other => 1,
            ExitCode::Config => 2,
            ExitCode::Download => 3,
            ExitCode::Verify => 4,
            ExitCode::Pack => 5,
            ExitCode::Upload => 6,
            ExitCode::Purge => 7,
            ExitCode::Report => 8,
            ExitCode::Unchanged => 9,
            ExitCode::Locked => 10,
            ExitCode::Interrupted => 130,
            ExitCode::Terminated => 143,
        }
    }

    /// The code of a failure in `step`, when nothing more precise is known.
    pub fn of_step(step: Step) -> ExitCode {
        match step {
            Step::Start => ExitCode::Config,
            Step::Download => ExitCode::Download,
            Step::Verify => ExitCode::Verify,
            Step::Compare | Step::Upload => ExitCode::Upload,
            Step::Pack => ExitCode::Pack,
            Step::Purge => ExitCode::Purge,
            Step::Report => ExitCode::Report,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.code())
    }
}

impl Serialize for ExitCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}
