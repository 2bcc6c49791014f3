//! A Windows share: SMB 3 (MS-SMB2), signed and encrypted, by the crate `smb`, which is named in this folder alone.
//!
//! - `socket` is the TCP connection below the library, `link` drives it and logs in, `errors` reads the server's answers.
//! - `directory` finds and makes directories, `transfer` moves bytes.
//!
//! Every handle is closed before an operation is over: one that stays open keeps a deleted name taken (`DELETE_PENDING`).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use smb::resource::SetLen as _;
use smb::{
    CreateDisposition, CreateOptions, File, FileAccessMask, FileAttributeTagInformation, FileAttributes,
    FileCreateArgs, FileDispositionInformation, FileEndOfFileInformation, FileFsFullSizeInformation,
    FileNetworkOpenInformation, FileRenameInformation, ReparseTag, Resource, ResourceHandle,
};

use self::errors::{DELETE_PENDING, Wire};
use self::link::Link;
use super::feed::Feed;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::SmbSettings;
use crate::digest::Digest;
use crate::interrupt::Interrupt;

mod directory;
mod errors;
mod link;
mod socket;
mod transfer;

/// A directory on a Windows share.
pub struct SmbDestination {
    link: Link,
    /// From the share's root, with backslashes; empty for the root itself.
    directory: String,
    location: String,
    /// What was cut last, and to how many bytes.
    shortened: Option<(String, u64)>,
    /// For another connection.
    settings: SmbSettings,
    timeouts: Timeouts,
}

impl SmbDestination {
    /// Connects, logs in, opens the share, and makes sure that the directory is there, all its parents included.
    ///
    /// # Errors
    /// `Auth`, `Unreachable`, `PermissionDenied`; `Other` where there is no such share or no encryption.
    pub fn open(settings: &SmbSettings, timeouts: Timeouts, interrupt: &Interrupt) -> Result<Self, DestinationError> {
        let link = Link::connect(settings, timeouts, interrupt)?;
        let location = settings.location();
        let directory = directory::ensure(&link, &settings.path, &location)?;
        let settings = settings.clone();
        Ok(SmbDestination { link, directory, location, shortened: None, settings, timeouts })
    }

    fn path_of(&self, name: &str) -> Result<String, DestinationError> {
        check_name(name)?;
        match SmbSettings::unusable_name(name) {
            Some(why) => Err(DestinationError::new(ErrorKind::Other, why)),
            None if self.directory.is_empty() => Ok(name.to_owned()),
            None => Ok(format!("{}\\{name}", self.directory)),
        }
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("failed to {verb} `{name}` at `{}`", self.location)
    }

    /// Opens something that exists, asks it something, and closes it whatever the answer.
    fn ask_of<T>(
        &self,
        path: &str,
        access: FileAccessMask,
        options: CreateOptions,
        question: impl AsyncFnOnce(&ResourceHandle) -> smb::Result<T>,
    ) -> Result<T, Wire> {
        let args = FileCreateArgs {
            disposition: CreateDisposition::Open,
            attributes: FileAttributes::new(),
            options,
            desired_access: access,
        };
        self.link.ask(async |tree| {
            let resource = tree.create(path, &args).await?;
            let handle = handle_of(&resource);
            let answer = question(handle).await;
            let closed = handle.close().await;
            answer.and_then(|answer| closed.map(|()| answer))
        })
    }

    /// What a name stands for, and whether that is a link.
    fn look_at(&self, path: &str) -> Result<Option<(FileNetworkOpenInformation, bool)>, Wire> {
        // A link is what it is, not what it leads to.
        let options = CreateOptions::new().with_open_reparse_point(true);
        let access = FileAccessMask::new().with_file_read_attributes(true);
        let looked = self.ask_of(path, access, options, async |handle| {
            let found: FileNetworkOpenInformation = handle.query_info().await?;
            let is_link = found.file_attributes.reparse_point()
                && match handle.query_info::<FileAttributeTagInformation>().await {
                    Ok(told) => is_link(told.reparse_tag),
                    // A tag that the library does not know.
                    Err(_) => true,
                };
            Ok((found, is_link))
        });
        match looked {
            Ok(found) => Ok(Some(found)),
            Err(wire) if wire.is_missing() => Ok(None),
            Err(wire) => Err(wire),
        }
    }

    fn open_file(&self, path: &str, disposition: CreateDisposition, access: FileAccessMask) -> Result<Arc<File>, Wire> {
        let args = FileCreateArgs {
            disposition,
            attributes: FileAttributes::new(),
            options: CreateOptions::new().with_non_directory_file(true).with_sequential_only(true),
            desired_access: access,
        };
        let resource = self.link.ask(async |tree| tree.create(path, &args).await)?;
        match resource {
            Resource::File(file) => Ok(Arc::new(file)),
            _ => Err(Wire::Library("it is no file".to_owned())),
        }
    }

    /// `certain` is kept at the number of bytes from the beginning that are there without a gap.
    fn write(
        &self,
        name: &str,
        source: &mut dyn Source,
        offset: u64,
        certain: &mut u64,
    ) -> Result<(), DestinationError> {
        let what = || self.what("write", name);
        let path = self.path_of(name)?;
        let len_bytes = source.len_bytes();
        let mut feed = Feed::start(source, offset)?;
        let disposition = if offset == 0 { CreateDisposition::OpenIf } else { CreateDisposition::Open };
        let access = FileAccessMask::new()
            .with_file_read_attributes(true)
            .with_file_write_data(true)
            .with_file_append_data(true)
            .with_synchronize(true);
        let file = self.open_file(&path, disposition, access).map_err(|wire| wire.during(what()))?;
        let written = self.write_to(&file, name, &mut feed, offset, certain, &what);
        let written = written.and_then(|()| feed.finish());
        if let Err(error) = written {
            self.tidy_up(&file, *certain);
            return Err(error);
        }
        self.link.wait(file.flush()).map_err(|wire| wire.during(self.what("flush", name)))?;
        self.link.wait(file.close()).map_err(|wire| wire.during(what()))?;
        let held = self.look_at(&path).map_err(|wire| wire.during(what()))?.map(|(found, _)| found.end_of_file);
        if held != Some(len_bytes) {
            let held = held.map_or("no known size".to_owned(), |held| format!("{held} bytes"));
            return Err(DestinationError::new(ErrorKind::Other, what())
                .caused_by(format!("it has {held} instead of {len_bytes} bytes")));
        }
        Ok(())
    }

    fn write_to(
        &self,
        file: &Arc<File>,
        name: &str,
        feed: &mut Feed<'_>,
        offset: u64,
        certain: &mut u64,
        what: &dyn Fn() -> String,
    ) -> Result<(), DestinationError> {
        let held: FileNetworkOpenInformation = self.link.wait(file.query_info()).map_err(|wire| wire.during(what()))?;
        let held = held.end_of_file;
        // After a cut, the server may go on for a moment with what it had received.
        let late = held > offset && self.shortened.as_ref().is_some_and(|(cut, bytes)| cut == name && *bytes == offset);
        if held != offset {
            if offset > 0 && !late {
                *certain = held;
                return Err(DestinationError::new(ErrorKind::Other, what())
                    .caused_by(format!("it was to go on at byte {offset}, the file has {held} bytes")));
            }
            self.link.wait(file.set_len(offset)).map_err(|wire| wire.during(what()))?;
        }
        transfer::send(&self.link, file, feed, offset, certain, what)
    }

    fn read(&self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        let _context = self.link.context();
        let what = || self.what("read", name);
        let path = self.path_of(name)?;
        let access = FileAccessMask::new().with_file_read_data(true).with_file_read_attributes(true);
        let file = self.open_file(&path, CreateDisposition::Open, access).map_err(|wire| wire.during(what()))?;
        let received = transfer::receive(&self.link, &file, offset, sink, &what);
        let closed = self.link.wait(file.close()).map_err(|wire| wire.during(what()));
        received.and(closed)
    }

    /// Whatever comes next is not to end for want of credits.
    fn prepare(&mut self) -> Result<(), DestinationError> {
        if self.link.is_worn() { self.connect_anew() } else { Ok(()) }
    }

    /// For a transfer that was going well until the library lost count of its credits.
    fn connect_anew(&mut self) -> Result<(), DestinationError> {
        tracing::debug!("`{}`: going on over another connection", self.location);
        self.link = Link::connect(&self.settings, self.timeouts, self.link.interrupt())?;
        Ok(())
    }

    /// Leaves a beginning of the file without gaps, if the connection still lives, and closes it.
    fn tidy_up(&self, file: &Arc<File>, certain: u64) {
        let cut = self.link.wait(async {
            let cut = file.set_info(FileEndOfFileInformation { end_of_file: certain }).await;
            file.close().await.and(cut)
        });
        if let Err(wire) = cut {
            tracing::debug!("what was written could not be cut to its first {certain} bytes: {wire}");
        }
    }
}

impl Destination for SmbDestination {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn capabilities(&mut self) -> Capabilities {
        let _context = self.link.context();
        Capabilities {
            // MS-FSCC 2.4.42.2: without `ReplaceIfExists` the server itself refuses.
            move_refuses_to_clobber: true,
            move_in_one_step: true,
            checksum_by_server: false,
            resume: true,
            free_space: matches!(self.free_bytes(), Ok(Some(_))),
            server_clock: self.link.server_time().is_some(),
            atomic_put: false,
        }
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        self.prepare()?;
        let _context = self.link.context();
        directory::list(&self.link, &self.directory)
            .map_err(|wire| wire.during(format!("failed to list `{}`", self.location)))
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        self.prepare()?;
        let _context = self.link.context();
        let path = self.path_of(name)?;
        let found = self.look_at(&path).map_err(|wire| wire.during(self.what("look at", name)))?;
        Ok(found.map(|(found, is_link)| {
            let written = found.last_write_time.since_epoch();
            entry_of(name.to_owned(), found.end_of_file, &found.file_attributes, is_link, written)
        }))
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        self.prepare()?;
        let mut certain = offset;
        loop {
            let begun = certain;
            let written = {
                let _context = self.link.context();
                self.write(name, source, begun, &mut certain)
            };
            match written {
                Err(_) if certain > begun && self.link.is_starved() => {
                    self.connect_anew().map_err(|error| error.keeping(certain))?;
                }
                result => return result.map_err(|error| error.keeping(certain)),
            }
        }
    }

    fn keep_beginning(&mut self, name: &str, bytes: u64) -> Result<u64, DestinationError> {
        self.prepare()?;
        let _context = self.link.context();
        let path = self.path_of(name)?;
        let access = FileAccessMask::new().with_file_write_data(true);
        let options = CreateOptions::new().with_non_directory_file(true);
        let end = FileEndOfFileInformation { end_of_file: bytes };
        match self.ask_of(&path, access, options, async |handle| handle.set_info(end).await) {
            Ok(()) => {
                self.shortened = Some((name.to_owned(), bytes));
                Ok(bytes)
            }
            Err(wire) if wire.kind() == ErrorKind::Unreachable => Err(wire.during(self.what("shorten", name))),
            Err(_) => Ok(0),
        }
    }

    fn unsettled_bytes(&self) -> u64 {
        transfer::UNDERWAY_BYTES
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        self.prepare()?;
        let mut reached = offset;
        loop {
            let begun = reached;
            let received = self.read(name, begun, &mut |bytes| {
                reached += bytes.len() as u64;
                sink(bytes)
            });
            match received {
                Err(_) if reached > begun && self.link.is_starved() => self.connect_anew()?,
                result => return result,
            }
        }
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        self.prepare()?;
        let _context = self.link.context();
        let what = || format!("failed to rename `{from}` to `{to}` at `{}`", self.location);
        let (source, target) = (self.path_of(from)?, self.path_of(to)?);
        let access = FileAccessMask::new().with_delete(true).with_file_read_attributes(true).with_synchronize(true);
        let options = CreateOptions::new().with_non_directory_file(true).with_open_reparse_point(true);
        let rename = FileRenameInformation {
            replace_if_exists: false.into(),
            root_directory: 0,
            file_name: target.as_str().into(),
        };
        let taken = |why: String| DestinationError::new(ErrorKind::AlreadyExists, what()).caused_by(why);
        match self.ask_of(&source, access, options, async |handle| handle.set_info(rename).await) {
            Err(wire) if wire.kind() == ErrorKind::AlreadyExists => Err(taken(format!("`{to}` exists already"))),
            result => result.map_err(|wire| wire.during(what())),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        self.prepare()?;
        let _context = self.link.context();
        let path = self.path_of(name)?;
        let access = FileAccessMask::new().with_delete(true);
        let options = CreateOptions::new().with_non_directory_file(true).with_open_reparse_point(true);
        let deletion = FileDispositionInformation::default();
        match self.ask_of(&path, access, options, async |handle| handle.set_info(deletion).await) {
            // Whoever asked first had the same wish.
            Err(wire) if wire.is_missing() || wire.status() == Some(DELETE_PENDING) => Ok(()),
            result => result.map_err(|wire| wire.during(self.what("delete", name))),
        }
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        // The protocol has none; a missing file is told all the same.
        match self.stat(name)? {
            Some(_) => Ok(None),
            None => {
                let what = format!("failed to compute the checksum of `{name}` at `{}`", self.location);
                Err(DestinationError::new(ErrorKind::NotFound, what).caused_by(format!("`{name}` does not exist")))
            }
        }
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        self.prepare()?;
        let _context = self.link.context();
        self.free_bytes()
            .map_err(|wire| wire.during(format!("failed to ask for the free space at `{}`", self.location)))
    }

    fn server_time(&mut self) -> Result<Option<DateTime<Utc>>, DestinationError> {
        Ok(self.link.server_time())
    }
}

impl SmbDestination {
    /// What this account may still write, its quota included.
    fn free_bytes(&self) -> Result<Option<u64>, Wire> {
        let access = FileAccessMask::new().with_file_read_attributes(true);
        let options = CreateOptions::new().with_directory_file(true);
        let asked = self.ask_of(&self.directory, access, options, async |handle| {
            handle.query_fs_info::<FileFsFullSizeInformation>().await
        });
        match asked {
            Ok(size) => {
                let unit = u64::from(size.sectors_per_allocation_unit) * u64::from(size.bytes_per_sector);
                Ok(Some(size.caller_available_allocation_units.saturating_mul(unit)))
            }
            // Not being told is no error.
            Err(wire) if matches!(wire.kind(), ErrorKind::Unreachable | ErrorKind::Local) => Err(wire),
            Err(_) => Ok(None),
        }
    }
}

fn handle_of(resource: &Resource) -> &ResourceHandle {
    match resource {
        Resource::File(file) => file.handle(),
        Resource::Directory(directory) => directory.handle(),
        Resource::Pipe(pipe) => pipe.handle(),
    }
}

/// Directories and links are listed and never touched.
fn entry_of(name: String, size: u64, attributes: &FileAttributes, is_link: bool, since_1601: Duration) -> Entry {
    let is_file = !attributes.directory() && !is_link;
    Entry { name, size, modified: socket::date_time(since_1601), is_file }
}

/// Whether a reparse point stands for another name (bit 0x20000000, MS-FSCC 2.1.2.1); others, a file that Windows has deduplicated
/// for one, are files like any.
fn is_link(tag: ReparseTag) -> bool {
    const NAME_SURROGATE: u32 = 0x2000_0000;
    tag as u32 & NAME_SURROGATE != 0
}
