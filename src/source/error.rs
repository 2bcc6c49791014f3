//! Why a source could not be had: a closed kind for decisions, a message, a short cause for a mail's subject, and a hint.

use std::fmt;
use std::io;
use std::time::Duration;

use super::hints;
use crate::error::Hinted;
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupted;
use crate::text::{Language, Text};
use crate::units::show_duration;

/// Why a download failed, as far as code must decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// The name of the host has no address, or the name server does not answer.
    HostNotFound,
    /// Nobody listens on that port.
    Refused,
    /// No way to the host, or no usable answer from it.
    Unreachable,
    /// Too little moved for too long.
    Stalled,
    /// `time_limit` is over.
    TimeLimit,
    /// The connection ended before everything had arrived.
    Cut,
    /// The server's certificate is not to be trusted.
    Certificate,
    /// TLS failed for another reason, our own certificate included.
    Tls,
    /// The proxy failed.
    Proxy,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 410.
    Gone,
    /// 429.
    Throttled,
    /// 408, 500, 502, 503, 504: statuses that may pass.
    ServerError,
    /// 202: the server has taken the request and has no answer yet.
    NotReady,
    /// Any other status.
    UnexpectedStatus,
    /// A loop of redirects, too many, or one that must not be followed.
    Redirect,
    /// A web page where the zip should be.
    Html,
    /// Something else where the zip should be.
    NotZip,
    /// The server compressed the zip once more, although asked not to.
    Encoded,
    /// Larger than `max_download`.
    TooLarge,
    /// The zip has no end.
    Truncated,
    /// The zip ends before the file does.
    Trailing,
    /// More bytes than announced.
    WrongLength,
    /// The server does not give parts of the file.
    NoRanges,
    /// The file changed between two reads of its parts.
    Changed,
    /// Our own disk failed or is full.
    LocalDisk,
    /// Somebody asked us to stop.
    Interrupted,
    /// The request could not even be made.
    Other,
}

impl SourceErrorKind {
    /// Whether the same request may succeed a little later.
    fn may_pass(self) -> bool {
        use SourceErrorKind::{
            Cut, HostNotFound, NotReady, Proxy, Refused, ServerError, Stalled, Throttled, Unreachable,
        };
        matches!(
            self,
            HostNotFound | Refused | Unreachable | Stalled | Cut | Proxy | Throttled | ServerError | NotReady
        )
    }
}

/// A source that could not be had: why, and what to do. Neither message nor cause holds a secret.
#[derive(Debug)]
pub struct SourceError {
    /// For decisions.
    pub kind: SourceErrorKind,
    /// How many attempts were made.
    pub attempts: u32,
    transient: bool,
    /// Boxed, so that results stay small where nothing failed.
    details: Box<Details>,
}

#[derive(Debug)]
struct Details {
    summary: Text,
    message: String,
    hint: Option<Text>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    retry_after: Option<Duration>,
}

impl SourceError {
    /// An error with the hint of its kind.
    pub(super) fn new(kind: SourceErrorKind, summary: Text, message: impl Into<String>) -> Self {
        let details =
            Details { summary, message: message.into(), hint: hints::of(kind), source: None, retry_after: None };
        SourceError { kind, attempts: 1, transient: kind.may_pass(), details: Box::new(details) }
    }

    /// Our own disk failed while `message` was being done.
    pub(super) fn local(message: impl Into<String>, error: io::Error) -> Self {
        let summary = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Text::new("local disk full", "disque local plein")
            }
            _ => Text::new("local disk error", "erreur du disque local"),
        };
        SourceError::new(SourceErrorKind::LocalDisk, summary, message).caused_by(error)
    }

    /// Somebody asked us to stop.
    pub(super) fn interrupted() -> Self {
        SourceError::new(
            SourceErrorKind::Interrupted,
            Text::new("interrupted", "interrompu"),
            "the download was interrupted",
        )
        .caused_by(Interrupted)
    }

    /// The download from `host` took longer than `limit`.
    pub(super) fn too_long(host: &str, limit: Duration) -> Self {
        SourceError::new(
            SourceErrorKind::TimeLimit,
            Text::new("time limit reached", "durée maximale atteinte"),
            format!(
                "the download from `{host}` was not over within `source.time_limit`, {}",
                show_duration(limit, Language::En)
            ),
        )
    }

    /// The same with the error that was its cause.
    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.details.source = Some(source.into());
        self
    }

    /// The same with another hint than its kind's.
    pub(super) fn with_hint(mut self, hint: Text) -> Self {
        self.details.hint = Some(hint);
        self
    }

    /// The same, worth a retry or not.
    pub(super) fn transient(mut self, transient: bool) -> Self {
        self.transient = transient;
        self
    }

    /// The same with the time the server wants us to wait.
    pub(super) fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.details.retry_after = wait;
        self
    }

    /// The same after so many attempts.
    pub(super) fn after(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// What the server wants us to wait, if it said so.
    pub(super) fn wanted_wait(&self) -> Option<Duration> {
        self.details.retry_after
    }

    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// The short cause, as the subject of a mail has it: `404 Not Found`, `host not found`.
    pub fn summary(&self) -> &Text {
        &self.details.summary
    }

    /// What the process ends with if this ends the run; after an interruption [`crate::interrupt::Interrupt::exit_code`]
    /// knows better.
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            SourceErrorKind::LocalDisk => ExitCode::Pack,
            SourceErrorKind::Interrupted => ExitCode::Interrupted,
            _ => ExitCode::Download,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details.message)?;
        match self.attempts {
            0 | 1 => Ok(()),
            attempts => write!(f, " (after {attempts} attempts)"),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.details.source.as_deref().map(|source| source as _)
    }
}

impl Hinted for SourceError {
    fn hint(&self) -> Option<Text> {
        self.details.hint.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_local_disk_has_its_own_exit_code_and_is_not_retried() {
        let error = SourceError::local("failed to write `x`", io::ErrorKind::StorageFull.into());
        assert_eq!(error.exit_code(), ExitCode::Pack);
        assert_eq!(error.summary().en, "local disk full");
        assert!(!error.is_transient());
    }

    #[test]
    fn the_number_of_attempts_is_told_when_it_says_something() {
        let error = |n| SourceError::new(SourceErrorKind::Refused, Text::new("", ""), "refused").after(n).to_string();
        assert_eq!(error(1), "refused");
        assert_eq!(error(5), "refused (after 5 attempts)");
    }
}
