//! FTP (RFC 959) over TLS (RFC 4217) or in clear, through `suppaftp`; the crate is named in this folder alone.
//!
//! - `connect` opens and protects the control connection; `tls` says whom to trust, `sockets` how long to wait.
//! - `session` logs in and speaks from then on; each transfer has a second connection.
//! - `listing` reads directories, `errors` the server's refusals.
//!
//! The directory is entered once, and every file is then called by its bare name.

use std::io;

use chrono::Utc;
use rustls::RootCertStore;

use self::errors::{Reply, Wire, denied};
use self::session::{Session, Transfer};
use self::tls::Version;
use super::feed::Feed;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::FtpSettings;
use crate::digest::Digest;
use crate::interrupt::{Interrupt, Interrupted};

mod connect;
mod directory;
mod errors;
mod listing;
mod session;
mod sockets;
mod tls;

/// Read and written in pieces of this size.
const PIECE: usize = 256 * 1024;
/// Longer listings are refused: a hundred thousand entries are a tenth of it.
const MOST_LISTED: usize = 64 << 20;

/// A directory on an FTP server.
pub struct FtpDestination {
    settings: FtpSettings,
    timeouts: Timeouts,
    roots: RootCertStore,
    version: Version,
    interrupt: Interrupt,
    location: String,
    /// Opened anew before an upload that this one could not carry.
    session: Session,
}

impl FtpDestination {
    /// Connects, checks the certificate, logs in, and makes sure that the directory is there, all its parents included.
    ///
    /// # Errors
    /// `Untrusted` before any credential was sent, `Auth`, `Unreachable`, `PermissionDenied`.
    pub fn open(settings: &FtpSettings, timeouts: Timeouts, interrupt: &Interrupt) -> Result<Self, DestinationError> {
        let roots = tls::authorities(settings.ca_file.as_deref())?;
        let mut version = Version::Tls12;
        let session = enter(settings, timeouts, &roots, &mut version)?;
        Ok(FtpDestination {
            location: settings.location(),
            settings: settings.clone(),
            timeouts,
            roots,
            version,
            interrupt: interrupt.clone(),
            session,
        })
    }

    /// A session that can still be used: one that was given up is replaced.
    fn revive(&mut self) -> Result<(), DestinationError> {
        if self.session.is_gone() {
            self.session = enter(&self.settings, self.timeouts, &self.roots, &mut self.version)?;
        }
        Ok(())
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("failed to {verb} `{name}` at `{}`", self.location)
    }

    /// Looks at one file: by `MLST`, else among all. `SIZE` is asked last, for a name that the listing may have garbled.
    fn look_at(&mut self, name: &str) -> Result<Option<Entry>, Wire> {
        let path = path_of(name);
        if self.session.offers("MLST") {
            return match self.session.ask(|ftp| ftp.mlst(Some(&path))) {
                Ok(line) => Ok(listing::of_mlst(&line, name)),
                Err(Wire::Refused(reply)) if reply.code == 550 => Ok(None),
                Err(wire) => Err(wire),
            };
        }
        if let Some(found) = self.read_listing()?.into_iter().find(|entry| entry.name == name) {
            return Ok(Some(found));
        }
        match self.session.ask(|ftp| ftp.size(&path)) {
            Ok(size) => {
                let modified = self.session.ask(|ftp| ftp.mdtm(&path)).ok().map(|time| time.and_utc());
                Ok(Some(Entry { name: name.to_owned(), size: size as u64, modified, is_file: true }))
            }
            Err(Wire::Refused(_)) => Ok(None),
            Err(wire) => Err(wire),
        }
    }

    fn read_listing(&mut self) -> Result<Vec<Entry>, Wire> {
        let garbled = |line: String| Wire::Nonsense(format!("a line of the listing is not understood: `{line}`"));
        if self.session.offers("MLST") {
            match self.lines_of("MLSD") {
                Err(Wire::Refused(reply)) if reply.is_unknown_command() => {}
                bytes => return listing::of_mlsd(&bytes?).map_err(garbled),
            }
        }
        let now = Utc::now();
        // Not every server knows the option; one that takes it for a name lists nothing, and not itself either.
        let mut entries = match self.lines_of("LIST -a") {
            Ok(bytes) => {
                let listed = listing::of_list(&bytes, now).map_err(garbled)?;
                if listed.shows_hidden {
                    return Ok(listed.entries);
                }
                listed.entries
            }
            Err(Wire::Refused(_)) => Vec::new(),
            Err(wire) => return Err(wire),
        };
        for entry in listing::of_list(&self.lines_of("LIST")?, now).map_err(garbled)?.entries {
            if entries.iter().all(|known| known.name != entry.name) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn lines_of(&mut self, command: &str) -> Result<Vec<u8>, Wire> {
        let mut transfer = self.session.transfer(command, 0)?;
        let mut bytes = Vec::new();
        let mut buffer = vec![0; PIECE];
        loop {
            match transfer.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) if bytes.len() + count <= MOST_LISTED => bytes.extend_from_slice(&buffer[..count]),
                Ok(_) => {
                    transfer.give_up();
                    return Err(Wire::Nonsense(format!("the listing is longer than {MOST_LISTED} bytes")));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(transfer.failed(error)),
            }
        }
        transfer.finish()?;
        Ok(bytes)
    }

    /// Bytes of a file, by `SIZE`, else as it is listed.
    fn size_of(&mut self, name: &str) -> Result<Option<u64>, Wire> {
        let path = path_of(name);
        match self.session.ask(|ftp| ftp.size(&path)) {
            Ok(size) => Ok(Some(size as u64)),
            Err(Wire::Refused(_)) => Ok(self.look_at(name)?.map(|entry| entry.size)),
            Err(wire) => Err(wire),
        }
    }

    fn send(&mut self, name: &str, mut feed: Feed<'_>, offset: u64) -> Result<(), DestinationError> {
        let what = self.what("write", name);
        self.session.uploads += 1;
        let mut transfer = match self.session.transfer(&format!("STOR {}", path_of(name)), offset) {
            Ok(transfer) => transfer,
            Err(wire) => return Err(wire.during_write(what)),
        };
        let mut buffer = vec![0; PIECE];
        loop {
            if self.interrupt.check().is_err() {
                transfer.give_up();
                return Err(DestinationError::new(ErrorKind::Local, what).caused_by(Interrupted));
            }
            match feed.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if let Err(error) = transfer.write(&buffer[..count]) {
                        return Err(transfer.failed(error).during_write(what));
                    }
                }
                Err(error) => {
                    transfer.give_up();
                    return Err(error);
                }
            }
        }
        if let Err(error) = feed.finish() {
            transfer.give_up();
            return Err(error);
        }
        transfer.finish().map_err(|wire| wire.during_write(what))
    }

    fn missing(&self, what: String, name: &str) -> DestinationError {
        DestinationError::new(ErrorKind::NotFound, what).caused_by(format!("`{name}` does not exist"))
    }
}

/// A session in its directory.
fn enter(
    settings: &FtpSettings,
    timeouts: Timeouts,
    roots: &RootCertStore,
    version: &mut Version,
) -> Result<Session, DestinationError> {
    let mut session = Session::open(settings, timeouts, roots, version)?;
    directory::enter(&mut session, &settings.path, &settings.location())?;
    Ok(session)
}

/// A name as an argument: what a server might take for an option, a home directory or a blank too many is said to lie here.
fn path_of(name: &str) -> String {
    if name.starts_with(['-', '~', ' ']) { format!("./{name}") } else { name.to_owned() }
}

impl Destination for FtpDestination {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn capabilities(&mut self) -> Capabilities {
        Capabilities {
            // RNTO replaces what it finds, on every server that was tried.
            move_in_one_step: true,
            resume: self.session.restarts(),
            ..Capabilities::NONE
        }
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        self.revive()?;
        let what = format!("failed to list `{}`", self.location);
        self.read_listing().map_err(|wire| wire.during(what))
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        check_name(name)?;
        self.revive()?;
        let what = self.what("look at", name);
        self.look_at(name).map_err(|wire| wire.during(what))
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        check_name(name)?;
        let what = self.what("write", name);
        let len_bytes = source.len_bytes();
        let feed = Feed::start(source, offset)?;
        if self.session.is_spent() {
            self.session.hang_up();
        }
        self.revive()?;
        if offset > 0 {
            let held_bytes = self.size_of(name).map_err(|wire| wire.during(what.clone()))?;
            if held_bytes != Some(offset) {
                let held = held_bytes.map_or("no".to_owned(), |held| held.to_string());
                return Err(DestinationError::new(ErrorKind::Other, what)
                    .caused_by(format!("it was to go on at byte {offset}, the file has {held} bytes")));
            }
        }
        self.send(name, feed, offset)?;
        let held = self.size_of(name).map_err(|wire| wire.during(what.clone()))?;
        if held != Some(len_bytes) {
            let held = held.map_or("no known size".to_owned(), |held| format!("{held} bytes"));
            return Err(DestinationError::new(ErrorKind::Other, what)
                .caused_by(format!("it has {held} instead of {len_bytes} bytes")));
        }
        Ok(())
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        check_name(name)?;
        self.revive()?;
        let what = self.what("read", name);
        let path = path_of(name);
        let size = match self.session.ask(|ftp| ftp.size(&path)) {
            Ok(size) => Some(size as u64),
            Err(Wire::Refused(_)) => None,
            Err(wire) => return Err(wire.during(what)),
        };
        let mut transfer = match self.session.transfer(&format!("RETR {path}"), offset) {
            Ok(transfer) => transfer,
            Err(Wire::Refused(reply)) if reply.code == 550 => {
                return Err(match self.look_at(name).map_err(|wire| wire.during(what.clone()))? {
                    None => self.missing(what, name),
                    Some(_) => denied(what, reply),
                });
            }
            Err(wire) => return Err(wire.during(what)),
        };
        match receive(&mut transfer, offset, sink, &self.interrupt) {
            Ok(reached) => {
                transfer.finish().map_err(|wire| wire.during(what.clone()))?;
                match size {
                    Some(size) if reached < size => Err(DestinationError::new(ErrorKind::Unreachable, what)
                        .caused_by(format!("it ended after {reached} of {size} bytes"))),
                    _ => Ok(()),
                }
            }
            Err(Trouble::Wire(error)) => Err(transfer.failed(error).during(what)),
            Err(Trouble::Here(error)) => {
                transfer.give_up();
                Err(DestinationError::new(ErrorKind::Local, what).caused_by(error))
            }
        }
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        check_name(from)?;
        check_name(to)?;
        self.revive()?;
        let what = format!("failed to rename `{from}` to `{to}` at `{}`", self.location);
        let taken = |what: String| {
            DestinationError::new(ErrorKind::AlreadyExists, what).caused_by(format!("`{to}` exists already"))
        };
        if self.look_at(to).map_err(|wire| wire.during(what.clone()))?.is_some() {
            return Err(taken(what));
        }
        let (source, target) = (path_of(from), path_of(to));
        match self.session.ask(|ftp| ftp.rename(&source, &target)) {
            Ok(()) => Ok(()),
            Err(Wire::Refused(reply)) if reply.code >= 500 => {
                let mut look = |name| self.look_at(name).map_err(|wire| wire.during(what.clone()));
                match (look(from)?, look(to)?) {
                    (Some(_), Some(_)) => Err(taken(what)),
                    (None, _) => Err(self.missing(what, from)),
                    (Some(_), None) => Err(Wire::Refused(reply).during_write(what)),
                }
            }
            Err(wire) => Err(wire.during(what)),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        check_name(name)?;
        self.revive()?;
        let what = self.what("delete", name);
        let path = path_of(name);
        match self.session.ask(|ftp| ftp.rm(&path)) {
            Ok(()) => Ok(()),
            // Few servers say which it is: that there is nothing to delete, or that it must not be.
            Err(Wire::Refused(reply)) if reply.code >= 500 => match self.look_at(name) {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err(Wire::Refused(reply).during_write(what)),
                Err(wire) => Err(wire.during(what)),
            },
            Err(wire) => Err(wire.during(what)),
        }
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        check_name(name)?;
        self.revive()?;
        let what = format!("failed to compute the checksum of `{name}` at `{}`", self.location);
        match self.look_at(name).map_err(|wire| wire.during(what.clone()))? {
            Some(_) => Ok(None),
            None => Err(self.missing(what, name)),
        }
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        Ok(None)
    }
}

/// Why a download ended before its end.
enum Trouble {
    Wire(io::Error),
    Here(io::Error),
}

/// Hands on what comes; where in the file it ended.
fn receive(
    transfer: &mut Transfer<'_>,
    offset: u64,
    sink: &mut Sink<'_>,
    interrupt: &Interrupt,
) -> Result<u64, Trouble> {
    let mut buffer = vec![0; PIECE];
    let mut reached = offset;
    loop {
        interrupt.check().map_err(Trouble::Here)?;
        match transfer.read(&mut buffer) {
            Ok(0) => return Ok(reached),
            Ok(count) => {
                reached += count as u64;
                sink(&buffer[..count]).map_err(Trouble::Here)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Trouble::Wire(error)),
        }
    }
}
