//! SSH file transfer (draft-ietf-secsh-filexfer-02) through libssh2; the crate `ssh2` is named in this folder alone.
//!
//! - [`host_key`] decides whether the server is the one we know, before `auth` sends any credential.
//! - `link` drives the connection without blocking, `transfer` moves bytes, `exec` and `extended` ask what SFTP cannot.
//! - `offers` and `greeting` find out for people why a server and this program do not come together.
//! - `lanes` writes one file over several channels and connections, each a `lane` that speaks in `packets` of its own.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ssh2::{ErrorCode, FileStat, OpenFlags, OpenType, RenameFlags, Sftp};

use self::errors::{ERROR_FILE, FX_FAILURE, Right, Wire};
use self::flusher::Flusher;
use self::lanes::{Closing, Lines, Trouble};
use self::link::Link;
use super::feed::Feed;
use super::learnt::Learnt;
use super::limits::{Listing, MAX_NAME_BYTES};
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::SftpSettings;
use crate::digest::Digest;
use crate::interrupt::Interrupt;
use crate::text;
use crate::text::Text;

mod auth;
mod connect;
mod directory;
mod errors;
mod exec;
mod extended;
mod flusher;
mod greeting;
pub mod host_key;
mod known_hosts;
mod lane;
mod lanes;
mod link;
mod offers;
mod packets;
mod transfer;
mod watchdog;

/// A directory on an SFTP server.
pub struct SftpDestination {
    // Before the link: what is dropped first may still speak to the server.
    sftp: Sftp,
    link: Link,
    directory: String,
    location: String,
    /// For further connections.
    settings: SftpSettings,
    timeouts: Timeouts,
    learnt: Learnt,
    is_openssh: bool,
    /// The server is not asked for its free space.
    hides_space: bool,
    /// The last file that was written went over one channel, from its beginning to its end.
    wrote_straight: bool,
    /// Whether the account has a shell with `sha256sum`; found out when first asked.
    shell: Option<bool>,
    /// Whether the server tells its free space; found out when first asked.
    tells_space: Option<bool>,
    /// A file that is there, as far as is known.
    some_file: Option<String>,
}

impl SftpDestination {
    /// Connects, checks the host key, logs in, and makes sure that the directory is there, all its parents included.
    ///
    /// # Errors
    /// `Untrusted` before any credential was sent, `Auth`, `Unreachable`, `PermissionDenied`.
    pub(super) fn open(
        settings: &SftpSettings,
        timeouts: Timeouts,
        interrupt: &Interrupt,
        learnt: &Learnt,
    ) -> Result<Self, DestinationError> {
        let link = host_key::connect_to_trusted(&settings.server(), timeouts.connect, interrupt)?;
        auth::log_in(&link, settings)?;
        link.set_limit(timeouts.stall);
        let location = settings.location();
        let sftp = link.run(|| link.session.sftp()).map_err(|wire| no_sftp(wire, settings, timeouts, interrupt))?;
        let banner = link.session.banner().unwrap_or_default();
        let is_openssh = banner.starts_with("SSH-2.0-OpenSSH");
        // Seen of 2022.83: of two channels that asked for free space one after the other, the second was not answered.
        let hides_space = banner.contains("dropbear");
        let directory = directory::ensure(&link, &sftp, &settings.path, &location)?;
        Ok(SftpDestination {
            sftp,
            link,
            directory,
            location,
            settings: settings.clone(),
            timeouts,
            learnt: learnt.clone(),
            is_openssh,
            hides_space,
            wrote_straight: true,
            shell: (!settings.server_checksum || learnt.avoids_commands()).then_some(false),
            tells_space: None,
            some_file: None,
        })
    }

    fn path_of(&self, name: &str) -> Result<String, DestinationError> {
        check_name(name)?;
        Ok(format!("{}/{name}", self.directory.trim_end_matches('/')))
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("failed to {verb} `{name}` at `{}`", self.location)
    }

    fn look_at(&self, path: &str) -> Result<Option<FileStat>, Wire> {
        match self.link.run(|| self.sftp.lstat(Path::new(path))) {
            Ok(found) => Ok(Some(found)),
            Err(wire) if wire.is_missing() => Ok(None),
            Err(wire) => Err(wire),
        }
    }

    /// Saves a channel and a process at the server; `None` if there is no such file or it does not tell.
    fn free_space_at_some_file(&self) -> Option<u64> {
        let path = self.some_file.as_deref()?;
        let mut file = self.link.run(|| self.sftp.open(Path::new(path))).ok()?;
        let told = self.link.run(|| file.statvfs()).ok();
        self.link.run(|| file.close()).ok()?;
        told.map(|told| told.f_bavail.saturating_mul(told.f_frsize))
    }

    /// Whether the account has a shell that can compute SHA-256: it is asked for that of nothing.
    fn has_shell(&mut self) -> Result<bool, Wire> {
        if let Some(known) = self.shell {
            return Ok(known);
        }
        let answer = self.command("sha256sum", exec::PROBE_LIMIT)?;
        let able = answer.is_some_and(|answer| exec::digest_of(&answer, "-").is_some());
        tracing::debug!("`{}`: {}", self.location, if able { "has a shell" } else { "has no shell" });
        self.shell = Some(able);
        Ok(able)
    }

    /// Runs a command; a connection that is lost over it is remembered, as some servers hang up on whoever asks for one.
    fn command(&self, command: &str, limit: Duration) -> Result<Option<String>, Wire> {
        exec::run(&self.link, command, limit).inspect_err(|wire| {
            if wire.kind() == ErrorKind::Unreachable {
                self.learnt.lost_over_a_command(self.shell.is_none());
            }
        })
    }

    /// Whether a file of so many bytes is written over several channels. Only OpenSSH is known to bear that: other servers mix up
    /// the packets of two channels, take writes in order only, or show a file when its handle is closed.
    fn spreads(&self, bytes: u64) -> Option<Lines<'_>> {
        if !self.is_openssh || self.learnt.writes_plainly() {
            return None;
        }
        Lines::worth(bytes, &self.settings, self.timeouts, self.link.interrupt())
    }

    fn write(
        &self,
        name: &str,
        source: &mut dyn Source,
        offset: u64,
        writing: &mut Writing,
    ) -> Result<(), DestinationError> {
        let what = || self.what("write", name);
        let path = self.path_of(name)?;
        let len_bytes = source.len_bytes();
        let mut feed = Feed::start(source, offset)?;
        // Whoever was cut off before may still be writing.
        writing.certain = Some(offset);
        let flags = match offset {
            0 => OpenFlags::WRITE | OpenFlags::TRUNCATE,
            _ => OpenFlags::WRITE,
        };
        let mut file = self
            .link
            .run(|| self.sftp.open_mode(Path::new(&path), flags, 0o640, OpenType::File))
            .map_err(|wire| wire.during(what()))?;
        if offset > 0 {
            let held_bytes = self.link.run(|| file.stat()).map_err(|wire| wire.during(what()))?.size;
            if held_bytes != Some(offset) {
                let held = held_bytes.map_or("an unknown number of".to_owned(), |held| held.to_string());
                // Of several channels that were cut, the server may go on for a moment with what it had received.
                let late =
                    self.is_openssh && lanes::are_worth(len_bytes) && held_bytes.is_some_and(|held| held > offset);
                let kind = if late { ErrorKind::Unreachable } else { ErrorKind::Other };
                return Err(DestinationError::new(kind, what())
                    .caused_by(format!("it was to go on at byte {offset}, the file has {held} bytes")));
            }
        }
        let lines = self.spreads(feed.left());
        let mut flusher = Flusher::new(&self.link, &mut file, self.is_openssh, offset);
        let closing = match lines {
            Some(lines) => self.write_over(&lines, &mut flusher, &path, &mut feed, offset, writing, &what)?,
            None => None,
        };
        if closing.is_none() {
            writing.certain = None;
            transfer::send(&self.link, flusher.file, &mut feed, offset, &what)?;
        }
        feed.finish()?;
        writing.certain = None;
        flusher.flush().map_err(|wire| wire.during(what()))?;
        if let Some(closing) = closing {
            closing.finish();
        }
        self.link.run(|| file.close()).map_err(|wire| wire.during(what()))?;
        let held = self.look_at(&path).map_err(|wire| wire.without(Right::Look, what()))?.and_then(|found| found.size);
        if held != Some(len_bytes) {
            let held = held.map_or("no known size".to_owned(), |held| format!("{held} bytes"));
            return Err(DestinationError::new(ErrorKind::Other, what())
                .caused_by(format!("it has {held} instead of {len_bytes} bytes")));
        }
        Ok(())
    }

    /// Writes over several channels; `None` if the server gives none. What a failure leaves is a beginning of the file without
    /// holes, if the first connection still lives.
    #[expect(clippy::too_many_arguments, reason = "what one write is about, and nothing that belongs together")]
    fn write_over<'a>(
        &'a self,
        lines: &Lines<'_>,
        flusher: &mut Flusher<'_>,
        path: &'a str,
        feed: &mut Feed<'_>,
        offset: u64,
        writing: &mut Writing,
        what: &dyn Fn() -> String,
    ) -> Result<Option<Closing<'a>>, DestinationError> {
        let len_bytes = offset + feed.left();
        let mut reached = offset;
        let sent = lanes::send(&self.link, lines, path, flusher, feed, offset, &mut reached);
        writing.certain = Some(reached);
        writing.over_several = !matches!(sent, Err(Trouble::NoChannel));
        let error = match sent {
            Ok(closing) => return Ok(Some(closing)),
            Err(Trouble::NoChannel) => return Ok(None),
            Err(Trouble::Wire(wire)) if wire.sftp_status() == Some(FX_FAILURE) => {
                transfer::explain(&self.link, flusher.file, wire, len_bytes - reached, what())
            }
            Err(trouble) => trouble.during(what()),
        };
        match self.link.run(|| flusher.file.setstat(of_size(reached))) {
            Ok(()) => {}
            // Whoever tries again over a new connection is told by the error.
            Err(wire) if matches!(wire.kind(), ErrorKind::Unreachable | ErrorKind::Local) => {
                tracing::debug!("`{path}` was left with gaps behind its first {reached} bytes: {wire}");
            }
            Err(wire) => {
                tracing::debug!("`{path}` cannot be cut to its first {reached} bytes, so it is removed: {wire}");
                let _ = self.link.run(|| self.sftp.unlink(Path::new(path)));
                writing.certain = Some(0);
            }
        }
        Err(error)
    }
}

impl Destination for SftpDestination {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn explore(&mut self) -> Capabilities {
        // Both are remembered.
        if self.has_shell().is_err() {
            self.shell = Some(false);
        }
        if self.tells_space.is_none() {
            self.tells_space = Some(self.free_space().is_ok_and(|told| told.is_some()));
        }
        self.capabilities()
    }

    fn capabilities(&mut self) -> Capabilities {
        let shell = self.shell.unwrap_or(false);
        Capabilities {
            // OpenSSH links and unlinks (sftp-server.c, process_rename); others may overwrite.
            move_refuses_to_clobber: self.is_openssh,
            move_in_one_step: !self.is_openssh,
            checksum_by_server: shell,
            resume: true,
            free_space: self.tells_space.unwrap_or(false),
            server_clock: shell,
            atomic_put: false,
        }
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        let what = || format!("failed to list `{}`", self.location);
        let mut directory = self
            .link
            .run(|| self.sftp.opendir(Path::new(&self.directory)))
            .map_err(|wire| wire.without(Right::List, what()))?;
        let mut listing = Listing::new();
        let (mut left_out, mut first) = (0_usize, None);
        loop {
            self.link.interrupt().check().map_err(|stop| Wire::Interrupted(stop).during(what()))?;
            let (path, mut found) = match self.link.run(|| directory.readdir()) {
                Ok(next) => next,
                Err(Wire::Ssh(end)) if end.code() == ErrorCode::Session(ERROR_FILE) => break,
                Err(wire) => return Err(wire.without(Right::List, what())),
            };
            let name = path.to_string_lossy().into_owned();
            if name == "." || name == ".." {
                listing.leave_out(name.as_bytes())?;
                continue;
            }
            if first.as_ref() == Some(&name) {
                let why = "the server lists the same names again and again";
                return Err(DestinationError::new(ErrorKind::Other, what()).caused_by(why));
            }
            first.get_or_insert_with(|| name.clone());
            // What is no name of a file here cannot be asked for either: it neither fails the rest nor counts.
            if name.len() > MAX_NAME_BYTES || check_name(&name).is_err() {
                if left_out == 0 {
                    let shown = text::quote(&name, text::MAX_NAME_CHARS);
                    tracing::warn!("`{}` lists `{shown}`, which is not a file name, and is left out", self.location);
                }
                left_out += 1;
                listing.leave_out(name.as_bytes())?;
                continue;
            }
            if found.perm.is_none() || found.size.is_none() {
                // Some servers list names only.
                match self.path_of(&name).map(|path| self.look_at(&path))? {
                    Ok(Some(looked)) => found = looked,
                    Ok(None) => {
                        listing.leave_out(name.as_bytes())?;
                        continue;
                    }
                    Err(wire) => return Err(wire.without(Right::Look, what())),
                }
            }
            listing.push(entry_of(name, &found))?;
        }
        if left_out > 1 {
            tracing::warn!("`{}` lists {left_out} names that are not file names", self.location);
        }
        self.link.run(|| directory.close()).map_err(|wire| wire.during(what()))?;
        drop(directory);
        let entries = listing.finish();
        self.some_file = match entries.iter().find(|entry| entry.is_file) {
            Some(file) => Some(self.path_of(&file.name)?),
            None => None,
        };
        Ok(entries)
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        let path = self.path_of(name)?;
        let found = self.look_at(&path).map_err(|wire| wire.without(Right::Look, self.what("look at", name)))?;
        Ok(found.map(|found| entry_of(name.to_owned(), &found)))
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let mut writing = Writing::default();
        let mut written = self.write(name, source, offset, &mut writing);
        if writing.over_several
            && let Err(error) = &written
            && error.kind != ErrorKind::Local
        {
            self.learnt.write_plainly();
            // Final, and not for want of space: perhaps for the several channels.
            if offset == 0 && error.resume_refused() {
                tracing::warn!("`{name}` could not be written over several channels, trying one: {error}");
                writing = Writing::default();
                written = self.write(name, source, 0, &mut writing);
            }
        }
        self.wrote_straight = offset == 0 && !writing.over_several;
        written.map_err(|error| match writing.certain {
            Some(bytes) => error.keeping(bytes),
            None => error,
        })
    }

    fn wrote_straight(&self) -> bool {
        self.wrote_straight
    }

    fn write_plainly(&mut self) {
        self.learnt.write_plainly();
    }

    fn probe_bytes(&mut self) -> u64 {
        self.spreads(lanes::LEAST_BYTES).map_or(0, |_| lanes::LEAST_BYTES)
    }

    fn unsettled_bytes(&self) -> u64 {
        if self.is_openssh { lanes::SPAN_BYTES } else { 0 }
    }

    fn keep_beginning(&mut self, name: &str, bytes: u64) -> Result<u64, DestinationError> {
        let path = self.path_of(name)?;
        // Some servers empty a file that they are to shorten (paramiko's opens it by `w+`).
        if !self.is_openssh {
            return Ok(0);
        }
        match self.link.run(|| self.sftp.setstat(Path::new(&path), of_size(bytes))) {
            Ok(()) => Ok(bytes),
            Err(wire) if wire.kind() == ErrorKind::Unreachable => Err(wire.during(self.what("shorten", name))),
            Err(_) => Ok(0),
        }
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        let what = || self.what("read", name);
        let path = self.path_of(name)?;
        let mut file =
            self.link.run(|| self.sftp.open(Path::new(&path))).map_err(|wire| wire.without(Right::Read, what()))?;
        transfer::receive(&self.link, &mut file, offset, sink, &what)?;
        self.link.run(|| file.close()).map_err(|wire| wire.during(what()))
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        let what = || format!("failed to rename `{from}` to `{to}` at `{}`", self.location);
        let (source, target) = (self.path_of(from)?, self.path_of(to)?);
        let taken =
            || DestinationError::new(ErrorKind::AlreadyExists, what()).caused_by(format!("`{to}` exists already"));
        let look = |path: &str| self.look_at(path).map_err(|wire| wire.without(Right::Look, what()));
        // OpenSSH refuses by itself; the others are looked at first.
        if !self.is_openssh && look(&target)?.is_some() {
            return Err(taken());
        }
        // Without flags: the plain request of version 3, which must fail if the target exists.
        let renamed =
            self.link.run(|| self.sftp.rename(Path::new(&source), Path::new(&target), Some(RenameFlags::empty())));
        match renamed {
            Ok(()) => {
                self.some_file = Some(target);
                Ok(())
            }
            Err(wire) if wire.sftp_status() == Some(FX_FAILURE) => {
                match (look(&source)?, look(&target)?) {
                    (Some(_), Some(_)) => Err(taken()),
                    (None, _) => Err(DestinationError::new(ErrorKind::NotFound, what())
                        .caused_by(format!("`{from}` does not exist"))),
                    (Some(_), None) => Err(wire.without(Right::Rename, what())),
                }
            }
            Err(wire) => Err(wire.without(Right::Rename, what())),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        let path = self.path_of(name)?;
        self.some_file.take_if(|file| *file == path);
        if !self.is_openssh {
            // Some servers take this request for empty directories as well (rclone).
            match self.look_at(&path).map_err(|wire| wire.without(Right::Look, self.what("delete", name)))? {
                None => return Ok(()),
                Some(found) if found.is_dir() => {
                    return Err(DestinationError::new(ErrorKind::Other, self.what("delete", name))
                        .caused_by(format!("`{name}` is a directory")));
                }
                Some(_) => {}
            }
        }
        match self.link.run(|| self.sftp.unlink(Path::new(&path))) {
            Err(wire) if !wire.is_missing() => Err(wire.without(Right::Delete, self.what("delete", name))),
            _ => Ok(()),
        }
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        let what = format!("failed to compute the checksum of `{name}` at `{}`", self.location);
        let path = self.path_of(name)?;
        let Some(found) = self.look_at(&path).map_err(|wire| wire.during(what.clone()))? else {
            return Err(DestinationError::new(ErrorKind::NotFound, what).caused_by(format!("`{name}` does not exist")));
        };
        if !self.has_shell().map_err(|wire| unanswered(wire, what.clone()))? {
            return Ok(None);
        }
        let command = format!("sha256sum -- {}", exec::quoted(&path));
        let answer =
            self.command(&command, exec::checksum_limit(found.size.unwrap_or(0))).map_err(|wire| wire.during(what))?;
        let digest = answer.and_then(|answer| exec::digest_of(&answer, &path));
        if digest.is_none() {
            // The shell does not see what SFTP sees (another root, as a rule): no need to ask again.
            tracing::debug!("`{}`: the shell gave no checksum of `{name}`", self.location);
            self.shell = Some(false);
        }
        Ok(digest)
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        if self.hides_space {
            return Ok(None);
        }
        let asked = match self.free_space_at_some_file() {
            None => extended::free_space(&self.link, &self.directory),
            told => Ok(told),
        };
        let told = asked.map_err(|wire| wire.during(format!("failed to ask for free space at `{}`", self.location)))?;
        self.tells_space = Some(told.is_some());
        Ok(told)
    }

    fn server_time(&mut self) -> Result<Option<DateTime<Utc>>, DestinationError> {
        let what = format!("failed to ask for the time at `{}`", self.location);
        if !self.has_shell().map_err(|wire| wire.during(what.clone()))? {
            return Ok(None);
        }
        let answer = self.command("date +%s", exec::PROBE_LIMIT).map_err(|wire| wire.during(what))?;
        let seconds = answer.and_then(|answer| answer.trim().parse().ok());
        Ok(seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)))
    }
}

/// How a file was written, as far as it matters afterwards.
#[derive(Default)]
struct Writing {
    /// If the file may have gaps, the number of bytes from the beginning that are there without one.
    certain: Option<u64>,
    over_several: bool,
}

/// What shortens a file, and changes nothing else.
fn of_size(bytes: u64) -> FileStat {
    FileStat { size: Some(bytes), uid: None, gid: None, perm: None, atime: None, mtime: None }
}

/// Why there is no SFTP after a login that was accepted: what the server says instead is asked for over another connection.
fn no_sftp(wire: Wire, settings: &SftpSettings, timeouts: Timeouts, interrupt: &Interrupt) -> DestinationError {
    if let Wire::Ssh(_) = wire
        && let Ok(link) = lanes::connect_further(settings, timeouts, interrupt)
        && let Some(said) = greeting::said_instead(&link)
    {
        return greeting::refusal(&said, &settings.username);
    }
    let answered = matches!(wire, Wire::Ssh(_));
    let error = wire.during(format!("the server does not offer SFTP to `{}`", settings.username));
    match answered {
        true => error.with_hint(no_sftp_hint()),
        false => error,
    }
}

/// A command over which the connection was lost.
fn unanswered(wire: Wire, what: String) -> DestinationError {
    let is_lost = matches!(wire, Wire::Gone | Wire::Ssh(_)) && wire.kind() == ErrorKind::Unreachable;
    let error = wire.during(what);
    match is_lost {
        true => error.with_hint(text!(
            "the server hung up when it was asked for a command; if it does so every night, set `server_checksum = false`: archives are then read back"
                / "le serveur a raccroché quand une commande lui a été demandée ; s'il le fait chaque nuit, indiquez `server_checksum = false` : les archives sont alors relues"
        )),
        false => error,
    }
}

fn no_sftp_hint() -> Text {
    text!(
        "allow SFTP for this account on the server (`Subsystem sftp internal-sftp` in `sshd_config`); the directory of a chroot, and all above it, must belong to root and be writable by nobody else"
            / "autorisez SFTP pour ce compte sur le serveur (`Subsystem sftp internal-sftp` dans `sshd_config`) ; le répertoire d'un chroot, et tous ceux au-dessus, doivent appartenir à root et n'être modifiables par personne d'autre"
    )
}

fn entry_of(name: String, found: &FileStat) -> Entry {
    let modified = found.mtime.and_then(|seconds| DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0));
    Entry { name, size: found.size.unwrap_or(0), modified, is_file: found.is_file() }
}
