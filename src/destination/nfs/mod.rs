//! NFS version 3 (RFC 1813) from user space, for machines that cannot mount; the crate `nfs3_client` is named in this folder
//! alone.
//!
//! Nobody proves anything here: the server believes the user number that it is told (AUTH_SYS), and nothing is encrypted.
//!
//! - `session` finds and mounts the export, and has the requests as plain functions; `directory` makes and lists.
//! - `socket` is the connection below the client: stalls, signals, limits; `lengths` looks over what comes. `transfer` moves bytes.

use chrono::{DateTime, Utc};
use nfs3_client::nfs3_types::nfs3::{FSF3_LINK, fattr3, ftype3, nfs_fh3, nfsstat3};

use self::errors::Wire;
use self::session::{Found, Session};
use self::transfer::{BLOCK_BYTES, Transfer};
use super::feed::Feed;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::NfsSettings;
use crate::digest::Digest;
use crate::interrupt::Interrupt;

mod directory;
mod errors;
mod lengths;
mod session;
mod socket;
mod transfer;

/// The mode of files: archives hold a whole database.
const FILE_MODE: u32 = 0o640;
/// The smallest block worth a request, whatever a server says that it prefers.
const MIN_BLOCK_BYTES: u32 = 4096;

/// A directory below an export of an NFS server.
pub struct NfsDestination {
    session: Session,
    directory: nfs_fh3,
    location: String,
    /// Whether this file system knows hard links, by which a file gets its name without clobbering.
    links: bool,
}

impl NfsDestination {
    /// Mounts the export, and makes sure that the directory is there, all its parents included.
    ///
    /// # Errors
    /// `NotFound` and `PermissionDenied` of the export or the directory, `Auth` where AUTH_SYS is not enough, `Unreachable`.
    pub fn open(settings: &NfsSettings, timeouts: Timeouts, interrupt: &Interrupt) -> Result<Self, DestinationError> {
        let location = settings.location();
        let mut session = Session::mount(settings, timeouts, interrupt)?;
        let directory = directory::ensure(&mut session, settings, &location)?;
        let links = session.info.properties & FSF3_LINK != 0;
        Ok(NfsDestination { session, directory, location, links })
    }

    fn failed(&self, wire: Wire, what: String) -> DestinationError {
        wire.during(what, self.session.who)
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("failed to {verb} `{name}` at `{}`", self.location)
    }

    fn look_at(&mut self, name: &str, verb: &str) -> Result<Option<Found>, DestinationError> {
        check_name(name)?;
        let found = self.session.look_up(&self.directory, name);
        found.map_err(|wire| self.failed(wire, self.what(verb, name)))
    }

    fn must_be_there(&mut self, name: &str, verb: &str) -> Result<Found, DestinationError> {
        let found = self.look_at(name, verb)?;
        found.ok_or_else(|| {
            DestinationError::new(ErrorKind::NotFound, self.what(verb, name))
                .caused_by(format!("`{name}` does not exist"))
        })
    }

    /// The file to write to: a new one, or one that ends at `offset`.
    fn open_for_writing(&mut self, name: &str, offset: u64) -> Result<nfs_fh3, DestinationError> {
        let found = self.look_at(name, "write")?;
        let other = |what: String, why: String| Err(DestinationError::new(ErrorKind::Other, what).caused_by(why));
        if found.as_ref().is_some_and(|found| found.attributes.type_ == ftype3::NF3DIR) {
            return other(self.what("write", name), format!("`{name}` is a directory"));
        }
        if offset > 0 {
            return match found {
                Some(found) if found.attributes.type_ == ftype3::NF3REG && found.attributes.size == offset => {
                    Ok(found.handle)
                }
                found => {
                    let held = found.map_or(0, |found| found.attributes.size);
                    let why = format!("it was to go on at byte {offset}, the file has {held} bytes");
                    other(self.what("write", name), why)
                }
            };
        }
        // Made anew and exclusively: whatever has the name may be a link to somewhere else.
        let made = match found {
            Some(_) => self.session.remove(&self.directory, name),
            None => Ok(()),
        }
        .and_then(|()| self.session.create(&self.directory, name, FILE_MODE));
        made.map_err(|wire| self.failed(wire, self.what("write", name)))
    }

    /// Gives a second name, which fails if it is taken, and removes the first.
    fn move_by_link(&mut self, file: &Found, from: &str, to: &str) -> Result<Moved, Wire> {
        match self.session.link(&file.handle, &self.directory, to) {
            Ok(()) => {}
            Err(wire) if is_unsupported(&wire) => return Ok(Moved::CannotLink),
            Err(wire) if wire.is(nfsstat3::NFS3ERR_EXIST) => {
                // Perhaps by ourselves, if the answer to an earlier attempt was lost.
                let there = self.session.look_up(&self.directory, to)?;
                if !there.is_some_and(|there| is_same(&there.attributes, &file.attributes)) {
                    return Ok(Moved::Taken);
                }
            }
            Err(wire) => return Err(wire),
        }
        match self.session.remove(&self.directory, from) {
            Err(wire) if !wire.is(nfsstat3::NFS3ERR_NOENT) => Err(wire),
            _ => Ok(Moved::Done),
        }
    }

    /// Looks first: a rename replaces whatever has the name.
    fn move_by_rename(&mut self, from: &str, to: &str) -> Result<Moved, Wire> {
        if self.session.look_up(&self.directory, to)?.is_some() {
            return Ok(Moved::Taken);
        }
        self.session.rename(&self.directory, from, to).map(|()| Moved::Done)
    }
}

enum Moved {
    Done,
    Taken,
    CannotLink,
}

impl Destination for NfsDestination {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn capabilities(&mut self) -> Capabilities {
        Capabilities {
            move_refuses_to_clobber: self.links,
            move_in_one_step: !self.links,
            checksum_by_server: false,
            resume: true,
            free_space: true,
            server_clock: false,
            atomic_put: false,
        }
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        directory::list(&mut self.session, &self.directory, &format!("failed to list `{}`", self.location))
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        let found = self.look_at(name, "look at")?;
        Ok(found.map(|found| entry_of(name.to_owned(), &found.attributes)))
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        check_name(name)?;
        let len_bytes = source.len_bytes();
        // Before anything is touched there: can it begin at that offset?
        Feed::start(source, offset).map(drop)?;
        let file = self.open_for_writing(name, offset)?;
        let what = format!("failed to write `{name}` at `{}`", self.location);
        let info = &self.session.info;
        let mut transfer = Transfer {
            block_bytes: block_bytes(info.wtpref, info.wtmax),
            client: &mut self.session.client,
            file: &file,
            patience: &self.session.patience,
            who: self.session.who,
            what: &|| what.clone(),
        };
        self.session.runtime.block_on(transfer.send(source, offset))?;
        let held = self.session.attributes(&file).map_err(|wire| self.failed(wire, what.clone()))?.size;
        if held != len_bytes {
            let why = format!("it has {held} bytes instead of {len_bytes} bytes");
            return Err(DestinationError::new(ErrorKind::Other, what).caused_by(why));
        }
        Ok(())
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        let found = self.must_be_there(name, "read")?;
        let what = self.what("read", name);
        let info = &self.session.info;
        let mut transfer = Transfer {
            block_bytes: block_bytes(info.rtpref, info.rtmax),
            client: &mut self.session.client,
            file: &found.handle,
            patience: &self.session.patience,
            who: self.session.who,
            what: &|| what.clone(),
        };
        self.session.runtime.block_on(transfer.receive(&found.attributes, offset, sink))
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        check_name(to)?;
        check_name(from)?;
        let what = format!("failed to rename `{from}` to `{to}` at `{}`", self.location);
        let found = self.session.look_up(&self.directory, from);
        let Some(file) = found.map_err(|wire| self.failed(wire, what.clone()))? else {
            return Err(DestinationError::new(ErrorKind::NotFound, what).caused_by(format!("`{from}` does not exist")));
        };
        let mut moved = match self.links {
            true => self.move_by_link(&file, from, to),
            false => Ok(Moved::CannotLink),
        };
        if matches!(moved, Ok(Moved::CannotLink)) {
            self.links = false;
            moved = self.move_by_rename(from, to);
        }
        match moved {
            Ok(Moved::Taken) => {
                Err(DestinationError::new(ErrorKind::AlreadyExists, what).caused_by(format!("`{to}` exists already")))
            }
            Ok(_) => Ok(()),
            Err(wire) => Err(self.failed(wire, what)),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        check_name(name)?;
        match self.session.remove(&self.directory, name) {
            Err(wire) if !wire.is(nfsstat3::NFS3ERR_NOENT) => Err(self.failed(wire, self.what("delete", name))),
            _ => Ok(()),
        }
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        // The protocol has none; that the file is there is asked all the same.
        self.must_be_there(name, "compute the checksum of").map(|_| None)
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        let told = self.session.free_space(&self.directory);
        told.map(Some).map_err(|wire| self.failed(wire, format!("failed to ask for free space at `{}`", self.location)))
    }
}

/// What a server prefers, within what it can and what we want to hold in memory.
fn block_bytes(preferred: u32, most: u32) -> u32 {
    let most = if most == 0 { BLOCK_BYTES } else { most };
    let wanted = if preferred == 0 { most } else { preferred };
    wanted.min(most).clamp(MIN_BLOCK_BYTES, BLOCK_BYTES)
}

/// What a server answers that cannot link; `PERM` and `ACCES` may also mean a missing right, which the rename then meets again.
fn is_unsupported(wire: &Wire) -> bool {
    use nfs3_client::RpcError;
    match wire {
        Wire::Status(status) => matches!(
            status,
            nfsstat3::NFS3ERR_NOTSUPP
                | nfsstat3::NFS3ERR_PERM
                | nfsstat3::NFS3ERR_ACCES
                | nfsstat3::NFS3ERR_MLINK
                | nfsstat3::NFS3ERR_INVAL
                | nfsstat3::NFS3ERR_BADTYPE
        ),
        Wire::Rpc(error) => matches!(error, RpcError::ProcUnavail),
        Wire::Endless(_) => false,
    }
}

fn is_same(one: &fattr3, other: &fattr3) -> bool {
    (one.fsid, one.fileid) == (other.fsid, other.fileid)
}

fn entry_of(name: String, found: &fattr3) -> Entry {
    let modified: Option<DateTime<Utc>> = DateTime::from_timestamp(found.mtime.seconds.into(), found.mtime.nseconds);
    Entry { name, size: found.size, modified, is_file: found.type_ == ftype3::NF3REG }
}
