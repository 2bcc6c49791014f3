//! FTP (RFC 959) over TLS (RFC 4217) or unencrypted, through `suppaftp`; the crate is named in this folder alone.
//!
//! - `connect` opens and protects the control connection; `tls` says whom to trust, `sockets` how long to wait.
//! - `line` is the stream below the crate, which knows no stall, signal or time limit.
//! - `session` logs in and speaks from then on; each transfer has a second connection.
//! - `listing` reads directories, `errors` the server's refusals.
//!
//! The directory is entered once, and every file is then called by its bare name.

use std::collections::HashSet;
use std::io;

use chrono::Utc;
use rustls::RootCertStore;

use self::errors::{Reply, Wire, denied};
use self::listing::{Form, Reader};
use self::session::{Session, Transfer};
use self::tls::Version;
use super::feed::Feed;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::FtpSettings;
use crate::digest::Digest;
use crate::interrupt::Interrupt;

mod connect;
mod directory;
mod errors;
mod line;
mod listing;
mod session;
mod sockets;
#[cfg(test)]
mod tests;
mod tls;

/// Read and written in pieces of this size.
const PIECE: usize = 256 * 1024;

/// A directory on an FTP server.
pub struct FtpDestination {
    settings: FtpSettings,
    timeouts: Timeouts,
    roots: RootCertStore,
    version: Version,
    interrupt: Interrupt,
    location: String,
    /// Opened again before an upload that this one could not carry.
    session: Session,
    /// The server was asked to go on with a part, and refused.
    refuses_to_resume: bool,
}

impl FtpDestination {
    /// Connects, checks the certificate, logs in, and makes sure that the directory is there, all its parents included.
    ///
    /// # Errors
    /// `Untrusted` before any credential was sent, `Auth`, `Unreachable`, `PermissionDenied`.
    pub fn open(settings: &FtpSettings, timeouts: Timeouts, interrupt: &Interrupt) -> Result<Self, DestinationError> {
        let roots = tls::authorities(settings.ca_file.as_deref())?;
        let mut version = Version::Tls12;
        let session = enter(settings, timeouts, interrupt, &roots, &mut version)?;
        Ok(FtpDestination {
            location: settings.location(),
            settings: settings.clone(),
            timeouts,
            roots,
            version,
            interrupt: interrupt.clone(),
            session,
            refuses_to_resume: false,
        })
    }

    /// A session that can still be used: one that was given up is replaced.
    fn revive(&mut self) -> Result<(), DestinationError> {
        if self.session.is_gone() {
            self.session = enter(&self.settings, self.timeouts, &self.interrupt, &self.roots, &mut self.version)?;
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
            match self.session.ask(|ftp| ftp.mlst(Some(&path))) {
                Ok(line) => {
                    if let Some(entry) = listing::of_mlst(&line, name) {
                        return Ok(Some(entry));
                    }
                }
                Err(Wire::Refused(reply)) if reply.says_missing() => return Ok(None),
                // It may also mean that this command is not allowed: the listing knows.
                Err(Wire::Refused(reply)) if reply.code != 421 => {}
                Err(wire) => return Err(wire),
            }
        }
        if let Some(found) = self.read_listing()?.into_iter().find(|entry| entry.name == name) {
            return Ok(Some(found));
        }
        let Some(size) = self.session.size(&path)? else { return Ok(None) };
        let modified = self.session.modified(&path)?;
        Ok(Some(Entry { name: name.to_owned(), size, modified, is_file: true }))
    }

    fn read_listing(&mut self) -> Result<Vec<Entry>, Wire> {
        if self.session.offers("MLST") {
            match self.listed_by("MLSD", Form::Facts) {
                Err(Wire::Refused(reply)) if reply.code != 421 => {}
                listed => return listed.map(|listed| listed.entries),
            }
        }
        // Not every server knows the option; one that takes it for a name lists nothing, and not itself either.
        let hidden = match self.listed_by("LIST -a", Form::ForPeople) {
            Ok(listed) if listed.shows_hidden => return Ok(listed.entries),
            Ok(listed) => listed.entries,
            Err(Wire::Refused(reply)) if reply.code != 421 => Vec::new(),
            Err(wire) => return Err(wire),
        };
        let mut entries = self.listed_by("LIST", Form::ForPeople)?.entries;
        let known: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let more: Vec<Entry> = hidden.into_iter().filter(|entry| !known.contains(entry.name.as_str())).collect();
        entries.extend(more);
        Ok(entries)
    }

    fn listed_by(&mut self, command: &str, form: Form) -> Result<listing::Listed, Wire> {
        let mut transfer = self.session.transfer(command, 0)?;
        let mut reader = Reader::new(form, Utc::now());
        let mut buffer = vec![0; PIECE];
        loop {
            if let Err(stop) = self.interrupt.check() {
                transfer.give_up();
                return Err(Wire::Interrupted(stop));
            }
            match transfer.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if let Err(why) = reader.read(&buffer[..count]) {
                        transfer.give_up();
                        return Err(Wire::Unlisted(why));
                    }
                }
                Err(error) => return Err(transfer.failed(error)),
            }
        }
        transfer.finish()?;
        let heard = self.session.heard();
        if heard.contains("truncated") {
            return Err(Wire::Unlisted(listing::truncated(&heard)));
        }
        reader.finish().map_err(Wire::Unlisted)
    }

    /// Bytes of a file, by `SIZE`, else as it is listed.
    fn size_of(&mut self, name: &str) -> Result<Option<u64>, Wire> {
        match self.session.size(&path_of(name))? {
            Some(size) => Ok(Some(size)),
            None => Ok(self.look_at(name)?.map(|entry| entry.size)),
        }
    }

    /// Sends the source from `offset` to its end. A server that does not go on with a part, or does not overwrite, is made a place
    /// for the whole: otherwise the same part would be refused every night.
    fn send(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let refused = match self.send_from(name, source, offset)? {
            Sent::Whole => return Ok(()),
            Sent::Refused(reply) => reply,
        };
        let what = self.what("write", name);
        if offset > 0 {
            tracing::info!("{what} from byte {offset} on: the server answered `{}`; starting again", refused.words);
            self.refuses_to_resume = true;
        }
        if let Err(wire) = self.session.ask(|ftp| ftp.rm(path_of(name)))
            && wire.is_the_end()
        {
            return Err(wire.during(what));
        }
        match self.send_from(name, source, 0)? {
            Sent::Whole => Ok(()),
            Sent::Refused(reply) => Err(Wire::Refused(reply).during_write(what)),
        }
    }

    fn send_from(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<Sent, DestinationError> {
        let what = self.what("write", name);
        let mut feed = Feed::start(source, offset)?;
        if self.session.is_spent() {
            self.session.hang_up();
        }
        self.revive()?;
        self.session.uploads += 1;
        let mut transfer = match self.session.transfer(&format!("STOR {}", path_of(name)), offset) {
            Ok(transfer) => transfer,
            Err(Wire::Refused(reply)) if reply.refuses_to_go_on() => return Ok(Sent::Refused(reply)),
            Err(wire) => return Err(wire.during_write(what)),
        };
        let mut buffer = vec![0; PIECE];
        loop {
            if let Err(stop) = self.interrupt.check() {
                transfer.give_up();
                return Err(Wire::Interrupted(stop).during(what));
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
        transfer.finish().map_err(|wire| wire.during_write(what))?;
        Ok(Sent::Whole)
    }

    fn missing(&self, what: String, name: &str) -> DestinationError {
        DestinationError::new(ErrorKind::NotFound, what).caused_by(format!("`{name}` does not exist"))
    }
}

/// A session in its directory.
fn enter(
    settings: &FtpSettings,
    timeouts: Timeouts,
    interrupt: &Interrupt,
    roots: &RootCertStore,
    version: &mut Version,
) -> Result<Session, DestinationError> {
    let mut session = Session::open(settings, timeouts, interrupt, roots, version)?;
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
            resume: self.session.restarts() && !self.refuses_to_resume,
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
        Feed::start(source, offset).map(drop)?;
        self.revive()?;
        if offset > 0 {
            let held_bytes = self.size_of(name).map_err(|wire| wire.during(what.clone()))?;
            if held_bytes != Some(offset) {
                let held = held_bytes.map_or("no".to_owned(), |held| held.to_string());
                return Err(DestinationError::new(ErrorKind::Other, what)
                    .caused_by(format!("it was to go on at byte {offset}, the file has {held} bytes")));
            }
        }
        self.send(name, source, offset)?;
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
        let size = self.session.size(&path).map_err(|wire| wire.during(what.clone()))?;
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
        match receive(&mut transfer, offset, size, sink, &self.interrupt) {
            Ok(reached) => {
                transfer.finish().map_err(|wire| wire.during(what.clone()))?;
                match size {
                    Some(size) if reached < size => Err(DestinationError::new(ErrorKind::Unreachable, what)
                        .caused_by(format!("it ended after {reached} of {size} bytes"))),
                    _ => Ok(()),
                }
            }
            Err(Trouble::Wire(error)) => Err(transfer.failed(error).during(what)),
            Err(Trouble::Longer) => {
                transfer.give_up();
                let why = format!("it goes on after the {} bytes that it has", size.unwrap_or_default());
                Err(DestinationError::new(ErrorKind::Other, what).caused_by(why))
            }
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

/// What became of an upload.
enum Sent {
    Whole,
    /// Before a byte moved.
    Refused(Reply),
}

/// Why a download ended before its end.
enum Trouble {
    Wire(io::Error),
    Here(io::Error),
    /// It goes on after the size that the server gave.
    Longer,
}

/// Hands on what comes; where in the file it ended.
fn receive(
    transfer: &mut Transfer<'_>,
    offset: u64,
    size: Option<u64>,
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
                if size.is_some_and(|size| reached > size) {
                    return Err(Trouble::Longer);
                }
                sink(&buffer[..count]).map_err(Trouble::Here)?;
            }
            Err(error) => return Err(Trouble::Wire(error)),
        }
    }
}
