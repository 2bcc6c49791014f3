//! Where archives live. The trait [`Destination`] is the contract; each protocol is one file (or folder) beside this one.
//!
//! A protocol knows its own settings and this module, never the pipeline, the report or retention. Retrying, dry runs and
//! bandwidth limits wrap any destination and are known to none.
//!
//! - [`connect`] is the way in: the protocol, inside its wrappers.
//! - Protocols: `ftp`, [`local`], `nfs`, `rsync`, `s3`, [`sftp`], `smb`, `webdav`; [`memory`] is the plainest honest one, for tests.
//! - Wrappers: [`retry`], [`throttle`], [`dry_run`].

use std::fmt;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use self::learnt::Learnt;
use crate::config::settings::{DestinationSettings, Protocol};
use crate::digest::Digest;
use crate::error::Hinted;
use crate::interrupt::Interrupt;
use crate::text::Text;

mod clock;
#[cfg(any(feature = "ftp", feature = "sftp", feature = "smb"))]
mod dial;
pub mod dry_run;
mod feed;
#[cfg(feature = "ftp")]
pub mod ftp;
#[cfg(any(feature = "s3", feature = "webdav"))]
mod http;
mod learnt;
pub mod limits;
pub mod local;
pub mod memory;
#[cfg(feature = "nfs")]
pub mod nfs;
pub mod retry;
#[cfg(feature = "rsync")]
pub mod rsync;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "sftp")]
pub mod sftp;
#[cfg(feature = "smb")]
pub mod smb;
pub mod throttle;
mod upload;
#[cfg(feature = "webdav")]
pub mod webdav;

pub use feed::FileSource;
pub use limits::get_exactly;

/// Connects to a destination and makes sure that its directory is there; what can pass is retried, and the bandwidth limit
/// applies.
///
/// # Errors
/// Any kind. `Auth` and `Untrusted` come at once, `Unreachable` after the last retry, `OutOfTime` once `time_limit` is over.
pub fn connect(
    settings: &DestinationSettings,
    interrupt: &Interrupt,
) -> Result<Box<dyn Destination>, DestinationError> {
    let interrupt = interrupt.with_time_limit(settings.time_limit);
    let opener = {
        let (settings, interrupt, learnt) = (settings.clone(), interrupt.clone(), Learnt::default());
        move || open(&settings, &interrupt, &learnt)
    };
    let retrying = retry::Retrying::connect(opener, settings.retries, &interrupt)?;
    Ok(match settings.bandwidth_limit {
        // A program that moves the bytes itself is told the limit: it would only be slowed twice here.
        Some(_) if settings.protocol.limits_bandwidth() => Box::new(retrying),
        Some(bytes_per_second) => Box::new(throttle::Throttled::new(retrying, bytes_per_second, &interrupt)),
        None => Box::new(retrying),
    })
}

/// Where a destination is, for people, without connecting: what [`Destination::location`] would say. Never holds a secret.
pub fn location(settings: &DestinationSettings) -> String {
    settings.protocol.location()
}

/// One attempt at connecting, without any wrapper: the line where a protocol is registered.
#[allow(unused_variables, reason = "where no protocol learns of its server")]
fn open(
    settings: &DestinationSettings,
    interrupt: &Interrupt,
    learnt: &Learnt,
) -> Result<Box<dyn Destination>, DestinationError> {
    let timeouts = Timeouts { connect: settings.connect_timeout, stall: settings.stall_timeout };
    Ok(match &settings.protocol {
        Protocol::Local(local) => Box::new(local::LocalDestination::open(local, timeouts, interrupt)?),
        #[cfg(feature = "ftp")]
        Protocol::Ftp(ftp) => Box::new(ftp::FtpDestination::open(ftp, timeouts, interrupt)?),
        #[cfg(feature = "nfs")]
        Protocol::Nfs(nfs) => Box::new(nfs::NfsDestination::open(nfs, timeouts, interrupt)?),
        #[cfg(feature = "rsync")]
        Protocol::Rsync(rsync) => {
            Box::new(rsync::RsyncDestination::open(rsync, settings.bandwidth_limit, timeouts, interrupt)?)
        }
        #[cfg(feature = "s3")]
        Protocol::S3(s3) => Box::new(s3::S3Destination::open(s3, timeouts, interrupt)?),
        #[cfg(feature = "sftp")]
        Protocol::Sftp(sftp) => Box::new(sftp::SftpDestination::open(sftp, timeouts, interrupt, learnt)?),
        #[cfg(feature = "smb")]
        Protocol::Smb(smb) => Box::new(smb::SmbDestination::open(smb, timeouts, interrupt)?),
        #[cfg(feature = "webdav")]
        Protocol::Webdav(webdav) => Box::new(webdav::WebdavDestination::open(webdav, timeouts, interrupt)?),
        #[allow(unreachable_patterns, reason = "with every feature none is left")]
        missing => {
            let message = format!("this program was built without the protocol of `{}`", missing.location());
            return Err(DestinationError::new(ErrorKind::Other, message));
        }
    })
}

/// How long a protocol may wait.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the connection, and for each answer until the server has introduced itself.
    pub connect: Duration,
    /// For any byte to move, in every later phase.
    pub stall: Duration,
}

/// Refuses what is no bare file name, before it becomes a path.
fn check_name(name: &str) -> Result<(), DestinationError> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(DestinationError::new(ErrorKind::Other, format!("`{name}` is not a file name")));
    }
    Ok(())
}

/// What a protocol and this server can do; shown by `archive check`, used by the publish protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// [`Destination::move_new`] cannot overwrite, even in a race; otherwise it looks first.
    pub move_refuses_to_clobber: bool,
    /// [`Destination::move_new`] is one step: there is no moment with both names or neither.
    pub move_in_one_step: bool,
    /// [`Destination::checksum`] answers without sending the file back.
    pub checksum_by_server: bool,
    /// [`Destination::put`] can go on from an offset.
    pub resume: bool,
    /// [`Destination::free_space`] answers.
    pub free_space: bool,
    /// [`Destination::server_time`] answers.
    pub server_clock: bool,
    /// [`Destination::put_new`] is there, and [`Destination::move_new`] is not: a file shows under its name once all of it is
    /// there. `move_refuses_to_clobber` then speaks of `put_new`.
    pub atomic_put: bool,
}

impl Capabilities {
    /// What a server can do of which nothing is known.
    pub const NONE: Capabilities = Capabilities {
        move_refuses_to_clobber: false,
        move_in_one_step: false,
        checksum_by_server: false,
        resume: false,
        free_space: false,
        server_clock: false,
        atomic_put: false,
    };
}

/// A file in a destination's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bare name, without any directory.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When the server says it was written; whole seconds on most servers.
    pub modified: Option<DateTime<Utc>>,
    /// A plain file; directories, links and devices are listed so that a name is known to be taken, and are never touched.
    pub is_file: bool,
}

/// What is sent: it can rewind for a second attempt and knows its length.
///
/// Reading may fail with [`crate::interrupt::Interrupted`] inside; a protocol passes that on as [`ErrorKind::Local`].
pub trait Source: Read + Seek {
    /// Bytes from the beginning to the end.
    fn len_bytes(&self) -> u64;

    /// The file on this machine that holds exactly these bytes, for a protocol that hands files to another program.
    fn local_path(&self) -> Option<&Path> {
        None
    }

    /// Told by such a protocol how many bytes have been sent so far.
    ///
    /// # Errors
    /// As reading: an interruption, which then ends the transfer.
    fn sent_by_path(&mut self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }
}

/// Receives a file's bytes in order; an error from it ends the transfer and comes back as [`ErrorKind::Local`].
pub type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// A connected destination: one directory on one server.
///
/// Names are bare file names of that directory. Every operation either did what it says or tells why not; a listing is
/// complete or an error. After [`ErrorKind::Unreachable`] the connection must be considered gone; the retry wrapper opens
/// another.
///
/// A server is trusted with neither our time nor our memory:
/// - Less than [`limits::MOVING_BYTES`] within [`Timeouts::stall`] is a standstill, in every operation ([`limits::StallTimer`]).
/// - Every loop asks the [`Interrupt`]: a signal and the time limit of the destination end it.
/// - A listing has a cap ([`limits::Listing`]); a page of it that brings nothing new is an error.
/// - [`get`](Destination::get) ends as soon as its sink fails, whatever the server goes on sending ([`get_exactly`] relies on it).
/// - No length that a server announces is allocated before its bytes have come.
pub trait Destination: Send {
    /// Where this is, for people: `sftp://archive@nas:22/srv/archives`. Never holds a secret.
    fn location(&self) -> String;

    /// What this server can do, as far as it is known without asking: a run must not wait for what it does not use.
    fn capabilities(&mut self) -> Capabilities;

    /// The same after everything that is not known was asked or tried.
    fn explore(&mut self) -> Capabilities {
        self.capabilities()
    }

    /// Everything in the directory, in no particular order; an error if the listing might be incomplete.
    ///
    /// # Errors
    /// Any kind.
    fn list(&mut self) -> Result<Vec<Entry>, DestinationError>;

    /// One file, or `None` if the name is free.
    ///
    /// # Errors
    /// Any kind but [`ErrorKind::NotFound`].
    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError>;

    /// Writes `source` from `offset` to its end into `name`, creating it, flushed with every error checked.
    ///
    /// With `offset` 0 an older file of that name is replaced; otherwise the file must hold exactly the `offset` first bytes
    /// and [`Capabilities::resume`] must be true. The bytes of the file afterwards must be `source.len_bytes()`, else this
    /// fails; a source that ends before or goes on after its length is a failure too.
    ///
    /// On error what was written may remain under `name`: callers use a name that does not count, see [`crate::publish`].
    /// What remains is a beginning of `source`, unless the error's [`certain_bytes`](DestinationError::certain_bytes) say
    /// that only a part of it is.
    ///
    /// # Errors
    /// `Auth`, `PermissionDenied` and `NoSpace` are permanent; `Unreachable` is worth a retry. With an `offset` that the server
    /// does not accept, [`DestinationError::resume_refused`] is true.
    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError>;

    /// Whether the last [`put`](Destination::put) that succeeded wrote the file from its beginning to its end, in order: only then does
    /// its size tell anything about its content.
    fn wrote_straight(&self) -> bool {
        true
    }

    /// Writes in the plainest way from now on, and over further connections too: a copy turned out not to be what was sent.
    fn write_plainly(&mut self) {}

    /// The bytes that a test file must have to be written in the way of an archive; 0 if any will do.
    fn probe_bytes(&mut self) -> u64 {
        0
    }

    /// Shortens `name` to its first `bytes` bytes after a [`put`](Destination::put) whose error said that only these are certain;
    /// tells how many a further `put` may go on from, 0 where files cannot be shortened.
    ///
    /// # Errors
    /// Any kind.
    fn keep_beginning(&mut self, name: &str, bytes: u64) -> Result<u64, DestinationError> {
        let _ = (name, bytes);
        Ok(0)
    }

    /// How near to its end a file may have gaps whose [`put`](Destination::put) was cut without a word, by the end of this very
    /// process for one: bytes.
    fn unsettled_bytes(&self) -> u64 {
        0
    }

    /// Reads `name` from `offset` to its end into `sink`.
    ///
    /// # Errors
    /// `NotFound`, or any other kind.
    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError>;

    /// Gives `from` the name `to`, which must be free.
    ///
    /// # Errors
    /// `AlreadyExists` if `to` is taken (both files are as they were); `NotFound` if `from` is missing.
    /// After `Unreachable` either may have happened: look at both names.
    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError>;

    /// Writes all of `source` to `name`, which must be free: the name shows the whole file or nothing, whatever happens.
    /// Only where [`Capabilities::atomic_put`] says so.
    ///
    /// # Errors
    /// `AlreadyExists` if `name` is taken (that file is as it was), else as [`put`](Destination::put).
    /// After `Unreachable` it may have happened: look at the name. Its [`certain_bytes`](DestinationError::certain_bytes) are what
    /// the next attempt need not send again.
    fn put_new(&mut self, name: &str, source: &mut dyn Source) -> Result<(), DestinationError> {
        let _ = source;
        Err(DestinationError::new(
            ErrorKind::Other,
            format!("`{name}` cannot be put in one step here: it takes a move"),
        ))
    }

    /// Deletes a file; a missing one is fine.
    ///
    /// # Errors
    /// Any kind but `NotFound`.
    fn remove(&mut self, name: &str) -> Result<(), DestinationError>;

    /// SHA-256 of a file as computed by the server, or `None` where it cannot.
    ///
    /// # Errors
    /// `NotFound`, or any other kind; not being able to compute is no error.
    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError>;

    /// Bytes that this account may still write, or `None` where the server does not tell.
    ///
    /// # Errors
    /// Any kind; not being told is no error.
    fn free_space(&mut self) -> Result<Option<u64>, DestinationError>;

    /// The server's clock, or `None` where it does not tell.
    ///
    /// # Errors
    /// Any kind; not being told is no error.
    fn server_time(&mut self) -> Result<Option<DateTime<Utc>>, DestinationError> {
        Ok(None)
    }
}

/// Why an operation failed, as far as code must decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such file or directory.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The account may not do that.
    PermissionDenied,
    /// The server does not believe who we are.
    Auth,
    /// The server is not the one we know: host key or certificate.
    Untrusted,
    /// The server's disk or quota is full, or there is no room on this machine for what has to come here first.
    NoSpace,
    /// No connection, or it broke, or nothing moved for too long: worth a retry.
    Unreachable,
    /// The destination's `time_limit` is over. Never retried.
    OutOfTime,
    /// Our side failed: reading the source, or the sink; also an interruption. Never retried.
    Local,
    /// Anything else; never retried.
    Other,
}

/// A failed operation of a destination: what was being done, why it failed, what to do.
#[derive(Debug)]
pub struct DestinationError {
    /// For decisions.
    pub kind: ErrorKind,
    message: String,
    /// Boxed, so that results stay small.
    hint: Option<Box<Text>>,
    certain_bytes: Option<u64>,
    refuses_resume: bool,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl DestinationError {
    /// An error that says what was being done to what, and why it failed.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        DestinationError {
            kind,
            message: message.into(),
            hint: None,
            certain_bytes: None,
            refuses_resume: false,
            retry_after: None,
            source: None,
        }
    }

    /// The same with the error that was its cause.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same with a hint.
    pub fn with_hint(mut self, hint: Text) -> Self {
        self.hint = Some(Box::new(hint));
        self
    }

    /// The same, of a [`Destination::put`] that may have left holes: only so many bytes from the beginning are certain.
    pub fn keeping(mut self, bytes: u64) -> Self {
        self.certain_bytes = Some(bytes);
        self
    }

    /// How much of what a failed [`Destination::put`] left is a beginning of what was sent; `None`: all of it.
    pub fn certain_bytes(&self) -> Option<u64> {
        self.certain_bytes
    }

    /// The same, of a [`Destination::put`] that the server does not let go on from its offset, where the kind does not tell (an FTP
    /// server that answers `451` to REST).
    pub fn refusing_resume(mut self) -> Self {
        self.refuses_resume = true;
        self
    }

    /// Of a failed [`Destination::put`] from an offset above 0: whether beginning again may succeed. Any failure counts that
    /// is final and is about this file, as servers have many words for it.
    pub fn resume_refused(&self) -> bool {
        let about_the_file = matches!(
            self.kind,
            ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::PermissionDenied | ErrorKind::Other
        );
        self.refuses_resume || about_the_file
    }

    /// The same, of a server that asked to be left alone for so long.
    #[allow(dead_code, reason = "not every set of protocols is told")]
    pub(crate) fn retrying_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// How long the server asked to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// A few words for the subject of a mail: of a network error its root, `Connection refused`, else the error's own.
    pub fn summary(&self) -> String {
        let mut root: &dyn std::error::Error = self;
        while let (ErrorKind::Unreachable, Some(source)) = (self.kind, root.source()) {
            root = source;
        }
        let text = root.to_string();
        // Where several addresses were tried, the root begins with the one it is about.
        let text = text.rsplit_once("`: ").map_or(text.as_str(), |(_, why)| why);
        text.split(" (os error").next().unwrap_or(text).to_owned()
    }

    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        self.kind == ErrorKind::Unreachable
    }
}

impl fmt::Display for DestinationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DestinationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl Hinted for DestinationError {
    fn hint(&self) -> Option<Text> {
        self.hint.as_deref().cloned()
    }
}
