//! By the program `rsync`, over SSH or to a module of an rsync daemon.
//!
//! Every operation is one call, and so one connection. rsync cannot rename, but shows a file under its name only once all of it
//! is there. Names never stand on a command line, where some characters mean something: they are told by `--files-from`.
//!
//! - `program` runs a program, `access` prepares the files that it reads, `host_key` finds the keys behind fingerprints.
//! - `received` hands on what rsync receives, `listing` understands what rsync lists, `errors` what it complains about.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use self::access::{Access, whole_seconds};
use self::errors::{Circumstances, Verdict, Way, verdict};
use self::program::{Done, Progress};
use self::received::Received;
use super::feed::Feed;
use super::limits::StallTimer;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::{HostKey, RsyncSettings, RsyncWay};
use crate::digest::Digest;
use crate::interrupt::Interrupt;
use crate::text;
use crate::text::MAX_LINE_CHARS;

mod access;
mod errors;
mod host_key;
mod listing;
mod program;
mod received;

/// The rights of new files, as far as the server's umask allows: archives hold a whole database.
const FILE_RIGHTS: &str = "--chmod=F640";
/// Where the server keeps what an interrupted upload has brought, below the directory; rsync removes it when it is used up.
const PARTIAL_DIRECTORY: &str = ".archive-partial";
const BUFFER_BYTES: usize = 1 << 20;
const SLOW_DISK_BYTES_PER_SECOND: u64 = 20 << 20;
/// Has everything that is used here: `--info`, `--ignore-missing-args`, `--delete-missing-args`.
const OLDEST: (u32, u32, u32) = (3, 1, 0);
/// From here on rsync protects its arguments from the server's shell; before it has to be told.
const PROTECTS: (u32, u32, u32) = (3, 2, 4);
/// Knows `--stderr`.
const TELLS_COMPLAINTS: (u32, u32, u32) = (3, 2, 3);

/// A directory that rsync reaches.
pub struct RsyncDestination {
    access: Access,
    settings: RsyncSettings,
    location: String,
    timeouts: Timeouts,
    bandwidth_limit: Option<u64>,
    protects_arguments: bool,
    /// Over SSH, the other rsync writes its complaints to a pipe that may close before they are through; newer ones can be told
    /// to send them with everything else.
    tells_complaints: bool,
    interrupt: Interrupt,
}

impl RsyncDestination {
    /// Finds the program, and makes sure that the directory is there, all its parents included.
    ///
    /// # Errors
    /// `Other` without the program, `Untrusted`, `Auth`, `Unreachable`, `PermissionDenied`.
    pub fn open(
        settings: &RsyncSettings,
        bandwidth_limit: Option<u64>,
        timeouts: Timeouts,
        interrupt: &Interrupt,
    ) -> Result<Self, DestinationError> {
        let version = installed_version(interrupt)?;
        let mut rsync = RsyncDestination {
            access: Access::prepare(settings, timeouts, interrupt)?,
            settings: settings.clone(),
            location: settings.location(),
            timeouts,
            bandwidth_limit,
            protects_arguments: version >= PROTECTS,
            tells_complaints: version >= TELLS_COMPLAINTS && matches!(settings.way, RsyncWay::Ssh { .. }),
            interrupt: interrupt.clone(),
        };
        let mut opened = rsync.ensure_directory();
        if rsync.tells_complaints && opened.as_ref().is_err_and(is_unknown_option) {
            rsync.tells_complaints = false;
            opened = rsync.ensure_directory();
        }
        opened.map(|()| rsync)
    }

    fn over_ssh(&self) -> bool {
        matches!(self.settings.way, RsyncWay::Ssh { .. })
    }

    /// A path on the server as rsync is told it; relative ones begin at the account's home.
    fn remote(&self, path: &str) -> String {
        let path = if self.over_ssh() && path.is_empty() { "." } else { path };
        format!("{}{path}", self.access.prefix)
    }

    /// The directory, with the slash that means what is in it.
    fn directory(&self) -> String {
        let path = self.settings.path.trim_end_matches('/');
        match (path, self.over_ssh()) {
            ("", false) => self.remote(""),
            _ => format!("{}/", self.remote(path)),
        }
    }

    fn command(&self) -> Command {
        let mut command = program::command("rsync");
        command.current_dir(self.access.path("empty"));
        command.args(["--no-human-readable", "--8-bit-output", "--no-motd"]);
        command.arg(format!("--timeout={}", whole_seconds(self.timeouts.stall)));
        if !self.protects_arguments {
            command.arg("--protect-args");
        }
        if self.tells_complaints {
            command.arg("--stderr=client");
        }
        if let Some(bytes) = self.bandwidth_limit {
            command.arg(format!("--bwlimit={}", (bytes / 1024).max(1)));
        }
        command.args(&self.access.options);
        command
    }

    /// A command that is about one name.
    fn command_about(&self, name: &str) -> Result<Command, DestinationError> {
        check_name(name)?;
        self.command_about_path(name).map_err(ours)
    }

    /// A command that is about one path below what it names.
    fn command_about_path(&self, name: &str) -> io::Result<Command> {
        let list = self.access.path("names");
        fs::write(&list, format!("{name}\0"))?;
        let mut command = self.command();
        // By itself it would mean to keep paths, and to list directories.
        command.args(["--from0", "--no-relative"]).arg(format!("--files-from={}", list.display()));
        Ok(command)
    }

    fn run(&self, command: Command, way: Way, progress: &mut Progress<'_>) -> Result<Done, Failure> {
        let done = program::run(command, &self.interrupt, progress).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::Theirs(errors::stalled(self.timeouts.stall)),
            _ => Failure::Ours(error),
        })?;
        match done.code {
            Some(0) => Ok(done),
            _ => {
                let circumstances = Circumstances { way, over_ssh: self.over_ssh(), timeouts: self.timeouts };
                Err(Failure::Theirs(verdict(&done, circumstances)))
            }
        }
    }

    /// A call that is over soon.
    fn ask(&self, command: Command, way: Way) -> Result<Done, Failure> {
        let limit = self.timeouts.connect + self.timeouts.stall;
        let mut watch = Watch::new(limit, self.timeouts.stall);
        self.run(command, way, &mut |seen| watch.look(seen.printed))
    }

    /// As the error of an operation; what an unknown host showed is asked, for whoever has to confirm it.
    fn failed(&self, verdict: Failure, what: String) -> DestinationError {
        let mut verdict = match verdict {
            Failure::Ours(error) => return DestinationError::new(ErrorKind::Local, what).caused_by(error),
            Failure::Theirs(verdict) => verdict,
            Failure::NoFile => return DestinationError::new(ErrorKind::Other, what).caused_by("it is no file"),
        };
        if let (ErrorKind::Untrusted, RsyncWay::Ssh { host_key: HostKey::KnownHosts(_), .. }) =
            (verdict.kind, &self.settings.way)
        {
            let shown = host_key::shown_by(&self.settings, self.timeouts, &self.interrupt);
            let shown: Vec<String> = shown.iter().map(|one| format!("`{one}`")).collect();
            verdict.why = format!("{}; the server shows {}", verdict.why, shown.join(", "));
        }
        verdict.during(what)
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("failed to {verb} `{name}` at `{}`", self.location)
    }

    /// What a path on the server stands for.
    fn look_at_path(&self, path: &str) -> Result<Option<Entry>, Failure> {
        let mut command = self.command();
        command.arg("--list-only").arg("--dirs").arg(self.remote(path.trim_end_matches('/')));
        match self.ask(command, Way::Here) {
            Ok(done) => Ok(listing::entries(&done.output).ok().and_then(|found| found.into_iter().next())),
            Err(Failure::Theirs(verdict)) if verdict.is_missing() => Ok(None),
            Err(verdict) => Err(verdict),
        }
    }

    fn ensure_directory(&self) -> Result<(), DestinationError> {
        let path = self.settings.path.trim_end_matches('/');
        let what = || format!("failed to open the directory `{}`", self.location);
        if path.is_empty() {
            // The module itself, or `/`: it only has to answer.
            let mut command = self.command();
            command.arg("--list-only").arg(self.directory());
            return self.ask(command, Way::Here).map(drop).map_err(|why| self.failed(why, what()));
        }
        // From the deepest upwards: those above need not be readable by this account.
        let mut ancestor = path;
        loop {
            match self.look_at_path(ancestor).map_err(|why| self.failed(why, what()))? {
                Some(found) if found.is_file => {
                    let why = format!("`{ancestor}` is no directory");
                    return Err(DestinationError::new(ErrorKind::Other, what()).caused_by(why));
                }
                Some(_) if ancestor == path => return Ok(()),
                Some(_) => break,
                None => match ancestor.rsplit_once('/') {
                    Some((above, _)) if !above.is_empty() => ancestor = above.trim_end_matches('/'),
                    _ => break,
                },
            }
        }
        let mut command = self.command();
        command.args(["--dirs", "--mkpath"]).arg(self.access.path("empty/")).arg(self.directory());
        match self.ask(command, Way::There) {
            Ok(_) => {
                tracing::info!("created the directory `{path}` at `{}`", self.location);
                Ok(())
            }
            Err(why) => {
                let error = self.failed(why, format!("{}: `{path}` is missing and could not be created", what()));
                Err(match error.is_transient() || error.kind == ErrorKind::Local {
                    true => error,
                    false => error.with_hint(text!(
                        "create `{path}` on the server and give it to this account, or correct `path`"
                            / "créez `{path}` sur le serveur et donnez-le à ce compte, ou corrigez `path`"
                    )),
                })
            }
        }
    }

    /// Removes what an interrupted upload has left: on a disk that is full, it would be in everybody's way.
    fn drop_partial(&self, name: &str) {
        // The directory goes only if nothing else is in it.
        let partials = format!("{}{PARTIAL_DIRECTORY}/", self.directory());
        for (name, directory) in [(name, partials), (PARTIAL_DIRECTORY, self.directory())] {
            if let Err(why) = self.remove_from(name, &directory) {
                tracing::debug!(
                    "`{name}` stays in `{}`: {}",
                    self.location,
                    self.failed(why, "not removed".to_owned())
                );
            }
        }
    }

    /// Removes a file, or an empty directory: a name that is told and is not in our empty directory is removed there.
    fn remove_from(&self, name: &str, directory: &str) -> Result<(), Failure> {
        let mut command = self.command_about(name).map_err(|error| Failure::Ours(io::Error::other(error)))?;
        command.arg("--delete-missing-args").arg(self.access.path("empty/")).arg(directory);
        self.ask(command, Way::There).map(drop)
    }

    /// Has rsync write a file into ours, and hands it on as it grows.
    fn receive(&self, name: &str, offset: u64, sink: &mut Sink<'_>, option: &str) -> Result<(), Failure> {
        // rsync 3.5.0 as a daemon without chroot does not find files that are named below a directory of the module.
        let (listed, from) = match (self.over_ssh(), self.settings.path.as_str()) {
            (false, path) if !path.is_empty() => (format!("{path}/{name}"), self.remote("")),
            _ => (name.to_owned(), self.directory()),
        };
        let mut command = self.command_about_path(&listed)?;
        command.args(["--ignore-times", "--no-dirs", "--out-format=%i", option]);
        command.arg(from).arg(self.access.path("received/"));
        let mut received = Received::create(self.access.path("received").join(name), offset)?;
        let mut watch = Watch::new(self.timeouts.stall, self.timeouts.stall);
        let done = self.run(command, Way::Here, &mut |seen| {
            watch.look(received.len()? + seen.printed)?;
            received.hand_on(&self.interrupt, sink)
        })?;
        // One line for the file: `>f.sT......`.
        if !printed_line(&done.output, b">f") {
            return Err(Failure::NoFile);
        }
        Ok(received.finish(&self.interrupt, sink)?)
    }

    /// Sends all of `source`; tells whether rsync did so or left alone what has the name.
    fn send(&self, name: &str, source: &mut dyn Source, options: &[&str]) -> Result<bool, DestinationError> {
        let what = || self.what("write", name);
        let mut command = self.command_about(name)?;
        let len_bytes = source.len_bytes();
        let staged = self.access.path("send").join(name);
        let _ = fs::remove_file(&staged);
        match source.local_path() {
            Some(path) => symlink(path.canonicalize().map_err(ours)?, &staged).map_err(ours)?,
            None => write_out(source, &staged)?,
        }
        check_length(&staged, len_bytes)?;
        // Same size and time would mean the same file to rsync; a link in our directory means what it leads to.
        command.args(["--ignore-times", "--copy-links", "--out-format=%i", "--info=progress2", FILE_RIGHTS]);
        command
            .arg(format!("--partial-dir={PARTIAL_DIRECTORY}"))
            .args(options)
            .arg(self.access.path("send/"))
            .arg(self.directory());
        let is_own_file = source.local_path().is_some();
        // If a part is there already, the server reads it first.
        let reading = Duration::from_secs(len_bytes / SLOW_DISK_BYTES_PER_SECOND);
        let mut watch = Watch::new(self.timeouts.stall + reading, self.timeouts.stall);
        let done = self.run(command, Way::There, &mut |seen| {
            watch.look(seen.moved)?;
            match is_own_file {
                true => source.sent_by_path(seen.moved.min(len_bytes)),
                false => Ok(()),
            }
        });
        let done = done.map_err(|why| {
            let error = self.failed(why, what());
            if error.kind == ErrorKind::NoSpace {
                self.drop_partial(name);
            }
            error
        })?;
        check_length(&staged, len_bytes)?;
        let _ = fs::remove_file(&staged);
        // One line for each file that was sent: `<f+++++++++`.
        Ok(printed_line(&done.output, b"<f"))
    }
}

/// Why a call failed: on our side, or by what rsync said.
enum Failure {
    Ours(io::Error),
    Theirs(Verdict),
    /// Nothing failed, and nothing came.
    NoFile,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Ours(error)
    }
}

/// Ends a call that does not go on. rsync's own limit does not see it all: while one end waits for its disk, or one direction
/// of the line is dead, the other still sends signs of life.
struct Watch {
    moved: u64,
    timer: StallTimer,
    stall: Duration,
}

impl Watch {
    /// The first byte may take longer, where the server has to read something before.
    fn new(first: Duration, stall: Duration) -> Self {
        Watch { moved: 0, timer: StallTimer::new(first), stall }
    }

    /// Told how many bytes have moved so far.
    fn look(&mut self, moved: u64) -> io::Result<()> {
        if self.moved == 0 && moved > 0 {
            self.timer = StallTimer::new(self.stall);
        }
        self.timer.moved(moved.saturating_sub(self.moved));
        self.moved = moved;
        match self.timer.is_stalled() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }
}

impl Destination for RsyncDestination {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn capabilities(&mut self) -> Capabilities {
        Capabilities { atomic_put: true, ..Capabilities::NONE }
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        let what = || format!("failed to list `{}`", self.location);
        let mut command = self.command();
        command.arg("--list-only").arg(self.directory());
        let done = self.ask(command, Way::Here).map_err(|why| self.failed(why, what()))?;
        let entries = listing::entries(&done.output)
            .map_err(|why| DestinationError::new(ErrorKind::Other, what()).caused_by(why))?;
        Ok(entries.into_iter().filter(|entry| entry.name != ".").collect())
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        let what = || self.what("look at", name);
        let mut command = self.command_about(name)?;
        command.args(["--list-only", "--ignore-missing-args", "--dirs"]).arg(self.directory()).arg(".");
        let done = self.ask(command, Way::Here).map_err(|why| self.failed(why, what()))?;
        let entries = listing::entries(&done.output)
            .map_err(|why| DestinationError::new(ErrorKind::Other, what()).caused_by(why))?;
        Ok(entries.into_iter().find(|entry| entry.name == name))
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let what = self.what("write", name);
        if offset > 0 {
            let why = "rsync goes on with an upload by its own means only";
            return Err(DestinationError::new(ErrorKind::Other, what).caused_by(why));
        }
        // An empty directory would have to make way for the file.
        if self.stat(name)?.is_some_and(|entry| !entry.is_file) {
            return Err(DestinationError::new(ErrorKind::Other, what).caused_by(format!("`{name}` is no file")));
        }
        match self.send(name, source, &[])? {
            true => Ok(()),
            false => Err(DestinationError::new(ErrorKind::Other, what).caused_by("rsync sent nothing")),
        }
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        check_name(name)?;
        let received = match self.receive(name, offset, sink, "--inplace") {
            // Then it is read once all of it is here, if there is room for it.
            Err(Failure::Theirs(verdict)) if verdict.why.contains("refuse --inplace") => {
                let size = self.stat(name)?.map_or(0, |entry| entry.size);
                self.access.free_bytes().map_err(Failure::from).and_then(|free| {
                    let room = free / 10 * 9;
                    match size > room {
                        true => Err(Failure::Theirs(errors::no_room_here(size, room))),
                        // It may have grown since.
                        false => self.receive(name, offset, sink, &format!("--max-size={room}")),
                    }
                })
            }
            received => received,
        };
        received.map_err(|why| self.failed(why, self.what("read", name)))
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        let what = format!("failed to rename `{from}` to `{to}` at `{}`", self.location);
        Err(DestinationError::new(ErrorKind::Other, what).caused_by("rsync cannot rename"))
    }

    fn put_new(&mut self, name: &str, source: &mut dyn Source) -> Result<(), DestinationError> {
        match self.send(name, source, &["--ignore-existing"])? {
            true => Ok(()),
            false => Err(DestinationError::new(ErrorKind::AlreadyExists, self.what("write", name))
                .caused_by(format!("`{name}` exists already"))),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        let what = self.what("delete", name);
        match self.stat(name)? {
            None => return Ok(()),
            Some(entry) if entry.is_file => {}
            // rsync would remove an empty directory, too.
            Some(_) => {
                return Err(DestinationError::new(ErrorKind::Other, what).caused_by(format!("`{name}` is no file")));
            }
        }
        self.remove_from(name, &self.directory()).map_err(|why| self.failed(why, what.clone()))?;
        // A daemon that refuses one of its options leaves the file, and all seems well.
        match self.stat(name)? {
            None => Ok(()),
            Some(_) => Err(DestinationError::new(ErrorKind::PermissionDenied, what)
                .caused_by(format!("rsync reports no error, and `{name}` is still there"))
                .with_hint(errors::refused_hint())),
        }
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        // It compares checksums, and tells none.
        match self.stat(name)? {
            Some(_) => Ok(None),
            None => Err(DestinationError::new(ErrorKind::NotFound, self.what("compute the checksum of", name))
                .caused_by(format!("`{name}` does not exist"))),
        }
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        Ok(None)
    }
}

/// Whether the rsync there is too old for `--stderr=client`, which it is told as `--no-msgs2stderr`.
fn is_unknown_option(error: &DestinationError) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.to_string().contains("msgs2stderr"))
}

/// The version of the program: `rsync  version 3.2.7  protocol version 31`.
fn installed_version(interrupt: &Interrupt) -> Result<(u32, u32, u32), DestinationError> {
    let mut command = program::command("rsync");
    command.arg("--version");
    let done = program::run(command, interrupt, &mut |_| Ok(())).map_err(|error| {
        DestinationError::new(ErrorKind::Other, "the program `rsync` cannot be run").caused_by(error).with_hint(text!(
            "install `rsync` on this machine (it must be in `PATH`), or use `type = \"sftp\"`, which needs no program"
                / "installez `rsync` sur cette machine (il doit être dans `PATH`), ou utilisez `type = \"sftp\"`, qui ne demande aucun programme"
        ))
    })?;
    let said = text::quote(String::from_utf8_lossy(&done.output).lines().next().unwrap_or_default(), MAX_LINE_CHARS);
    match version_in(&said) {
        Some(version) if version >= OLDEST => Ok(version),
        _ => Err(DestinationError::new(ErrorKind::Other, format!("`{said}` cannot be used")).with_hint(text!(
            "install rsync 3.1.0 or later on this machine" / "installez rsync 3.1.0 ou plus récent sur cette machine"
        ))),
    }
}

/// Whether a line of what `--out-format=%i` prints begins so: `<f` of a file that was sent, `>f` of one that was received.
fn printed_line(output: &[u8], begin: &[u8]) -> bool {
    output.split(|byte| matches!(byte, b'\r' | b'\n')).any(|line| line.starts_with(begin))
}

fn version_in(line: &str) -> Option<(u32, u32, u32)> {
    let rest = line.strip_prefix("rsync")?.trim_start().strip_prefix("version")?.trim_start();
    let mut parts = rest.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// Writes a source that is no file of this machine into one.
fn write_out(source: &mut dyn Source, path: &Path) -> Result<(), DestinationError> {
    let mut feed = Feed::start(source, 0)?;
    let mut file = File::create_new(path).map_err(ours)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match feed.read(&mut buffer)? {
            0 => return feed.finish(),
            count => file.write_all(&buffer[..count]).map_err(ours)?,
        }
    }
}

/// Nobody but us writes to it; so it is what was said, before and after.
fn check_length(path: &Path, len_bytes: u64) -> Result<(), DestinationError> {
    match fs::metadata(path).map_err(ours)?.len() {
        held if held == len_bytes => Ok(()),
        held => Err(ours(io::Error::other(format!("it has {held} bytes, {len_bytes} were announced")))),
    }
}

fn ours(error: io::Error) -> DestinationError {
    DestinationError::new(ErrorKind::Local, "failed to prepare what is to be sent").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_and_another_program_is_none() {
        assert_eq!(version_in("rsync  version 3.2.7  protocol version 31"), Some((3, 2, 7)));
        assert_eq!(version_in("rsync  version 3.4.0pre1  protocol version 31"), Some((3, 4, 0)));
        assert_eq!(version_in("openrsync: protocol version 29"), None);
        assert!((3, 2, 3) < PROTECTS && (3, 10, 0) > PROTECTS);
    }
}
