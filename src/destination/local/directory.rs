//! The calls of the file system, as they come: any of them may hang for as long as the server behind a mount is away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rustix::io::Errno;

use super::mover::{self, Mover};
use super::worker::Activity;
use crate::config::settings::LocalSettings;
use crate::destination::limits::{ENTRY_BYTES, Listing};
use crate::destination::{Capabilities, DestinationError, Entry, ErrorKind};
use crate::text;

/// How much is written before it is flushed, at most; on a slow line it is less, so that what moves is seen to move.
const MAX_UNFLUSHED_BYTES: u64 = 32 << 20;
const MIN_UNFLUSHED_BYTES: u64 = 256 << 10;
/// How long a flush should take.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// The directory.
pub(super) struct Directory {
    path: PathBuf,
    require_mount: bool,
    marker: Option<String>,
    pub(super) mover: Option<Mover>,
    activity: Arc<Activity>,
}

impl Directory {
    /// Makes no call yet.
    pub(super) fn new(settings: &LocalSettings, activity: Arc<Activity>) -> Self {
        Directory {
            path: settings.path.clone(),
            require_mount: settings.require_mount,
            marker: settings.marker.clone(),
            mover: None,
            activity,
        }
    }

    /// Makes sure that it is there; it is created if missing, unless a marker says that it must be there already.
    ///
    /// # Errors
    /// `NotFound` when the share seems not to be mounted; otherwise as the operating system says.
    pub(super) fn open(&self) -> Result<(), DestinationError> {
        self.check_mounted()?;
        self.create()
    }

    fn create(&self) -> Result<(), DestinationError> {
        let what = format!("failed to create the directory `{}`", self.path.display());
        let there = nearest_existing(&self.path);
        match fs::metadata(there) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(DestinationError::new(ErrorKind::Other, what)
                    .caused_by(format!("`{}` is no directory", there.display())));
            }
            Err(error) => return Err(failed(what, error)),
        }
        if there == self.path {
            return Ok(());
        }
        self.activity.check().map_err(|error| failed(what.clone(), error))?;
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.path).map_err(|error| {
            let missing = self.path.strip_prefix(there).unwrap_or(&self.path);
            failed(format!("{what}: `{}` is missing in `{}`", missing.display(), there.display()), error)
        })
    }

    /// Refuses a directory behind which the share is not mounted.
    fn check_mounted(&self) -> Result<(), DestinationError> {
        if self.require_mount {
            let there = nearest_existing(&self.path);
            let same = fs::metadata(there).and_then(|here| Ok(here.dev() == fs::metadata("/")?.dev()));
            if same.map_err(|error| failed(format!("failed to look at `{}`", there.display()), error))? {
                let path = self.path.display();
                return Err(DestinationError::new(
                    ErrorKind::NotFound,
                    format!("`{path}` is not on a mounted file system"),
                )
                .with_hint(text!(
                    "mount the share that belongs there (`findmnt --target {path}` shows what is mounted), or set `require_mount = false`"
                    / "montez le partage prévu à cet endroit (`findmnt --target {path}` montre ce qui est monté), ou mettez `require_mount = false`"
                )));
            }
        }
        if let Some(marker) = &self.marker {
            let path = self.path.join(marker);
            match fs::metadata(&path) {
                Ok(found) if found.is_file() => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(format!("failed to look for the marker `{}`", path.display()), error));
                }
                _ => {
                    let path = path.display();
                    return Err(DestinationError::new(ErrorKind::NotFound, format!("the marker `{path}` is missing"))
                        .with_hint(text!(
                            "mount the share; if it is the right one, create the marker once: `touch {path}`"
                                / "montez le partage ; si c'est le bon, créez le marqueur une fois : `touch {path}`"
                        )));
                }
            }
        }
        Ok(())
    }

    /// Makes what was done to the directory survive a power cut.
    fn sync(&self) -> io::Result<()> {
        flushed(File::open(&self.path)?.sync_all())
    }

    /// Writes what comes, from `offset` on, until an empty block; each block is given back.
    pub(super) fn write(
        &self,
        name: &str,
        (offset, len_bytes): (u64, u64),
        blocks: Receiver<Vec<u8>>,
        used: Sender<Vec<u8>>,
    ) -> Result<(), DestinationError> {
        self.check_mounted()?;
        let path = self.path.join(name);
        let failed = |error| failed(format!("failed to write `{}`", path.display()), error);
        let differs = |why| {
            DestinationError::new(ErrorKind::Other, format!("failed to write `{}`", path.display())).caused_by(why)
        };
        let mut options = OpenOptions::new();
        options.write(true).mode(0o640).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        self.activity.check().map_err(failed)?;
        if offset == 0 {
            // Created again and exclusively: whatever has the name may be a link to somewhere else.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => options.create_new(true),
            };
        }
        self.activity.check().map_err(failed)?;
        let mut file = options.open(&path).map_err(failed)?;
        if offset > 0 {
            let held = file.metadata().map_err(failed)?.len();
            if held != offset {
                return Err(differs(format!("it was to go on at byte {offset}, the file has {held}")));
            }
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        }
        let (mut unflushed, mut most_unflushed) = (0, MIN_UNFLUSHED_BYTES);
        loop {
            self.activity.check().map_err(failed)?;
            // Who sends them has given up.
            let Ok(block) = blocks.recv() else { return Err(differs("it was not sent to its end".to_owned())) };
            if block.is_empty() {
                break;
            }
            file.write_all(&block).map_err(failed)?;
            self.activity.moved(block.len() as u64);
            unflushed += block.len() as u64;
            let _given_up = used.send(block);
            // What the system has taken is not at the server yet. Without this, the flush at the end would take minutes, and a
            // server that is slow would look like one that is away.
            if unflushed >= most_unflushed {
                let begun = Instant::now();
                flushed(file.sync_data()).map_err(failed)?;
                self.activity.returned();
                let fits = if begun.elapsed() < FLUSH_TIME { most_unflushed * 2 } else { most_unflushed / 2 };
                (unflushed, most_unflushed) = (0, fits.clamp(MIN_UNFLUSHED_BYTES, MAX_UNFLUSHED_BYTES));
            }
        }
        flushed(file.sync_all()).map_err(failed)?;
        let written = file.metadata().map_err(failed)?.len();
        if written != len_bytes {
            return Err(differs(format!("it has {written} bytes instead of {len_bytes}")));
        }
        // So that a checksum reads what the disk or the share holds, and not what we remember.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        drop(file);
        self.sync().map_err(failed)
    }

    /// Sends what is there from `offset` on, in blocks that were given back.
    pub(super) fn read(
        &self,
        name: &str,
        offset: u64,
        filled: SyncSender<Vec<u8>>,
        blocks: Receiver<Vec<u8>>,
    ) -> Result<(), DestinationError> {
        let path = self.path.join(name);
        let failed = |error| failed(format!("failed to read `{}`", path.display()), error);
        let mut file = File::open(&path).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        // It ends when who asked for it has given up, too.
        for mut block in blocks {
            let count = loop {
                match file.read(&mut block) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result.map_err(failed)?,
                }
            };
            self.activity.moved(count as u64);
            block.truncate(count);
            if count == 0 || filled.send(block).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Finds out, with two empty files, how a file can be moved here without clobbering.
    pub(super) fn explore(&mut self) -> Capabilities {
        if self.mover.is_none() {
            self.mover = Mover::probe(&self.path).ok();
        }
        self.capabilities()
    }

    /// What is known without asking.
    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            move_refuses_to_clobber: self.mover != Some(Mover::Look),
            move_in_one_step: self.mover != Some(Mover::Link),
            checksum_by_server: false,
            resume: true,
            free_space: true,
            server_clock: false,
            atomic_put: false,
        }
    }

    pub(super) fn list(&self) -> Result<Vec<Entry>, DestinationError> {
        self.check_mounted()?;
        let failed = |error| failed(format!("failed to list `{}`", self.path.display()), error);
        let mut listing = Listing::new();
        for found in fs::read_dir(&self.path).map_err(failed)? {
            let found = found.map_err(failed)?;
            self.activity.check().map_err(failed)?;
            match found.metadata() {
                Ok(metadata) => {
                    let entry = entry_of(found.file_name().to_string_lossy().into_owned(), &metadata);
                    self.activity.moved((ENTRY_BYTES + entry.name.len()) as u64);
                    listing.push(entry)?;
                }
                // It was deleted since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    listing.leave_out(found.file_name().as_encoded_bytes())?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(listing.finish())
    }

    pub(super) fn stat(&self, name: &str) -> Result<Option<Entry>, DestinationError> {
        let path = self.path.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(Some(entry_of(name.to_owned(), &metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(format!("failed to look at `{}`", path.display()), error)),
        }
    }

    pub(super) fn move_new(&self, from: &str, to: &str) -> Result<(), DestinationError> {
        let (source, target) = (self.path.join(from), self.path.join(to));
        let movers = match self.mover {
            Some(mover) => vec![mover],
            None => vec![Mover::NoReplace, Mover::Link, Mover::Look],
        };
        let mut result = Ok(());
        for mover in movers {
            result = self.activity.check().and_then(|()| mover.apply(&source, &target));
            if !result.as_ref().is_err_and(mover::may_be_unsupported) {
                break;
            }
        }
        result
            .and_then(|()| self.sync())
            .map_err(|error| failed(format!("failed to rename `{from}` to `{to}` in `{}`", self.path.display()), error))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), DestinationError> {
        let path = self.path.join(name);
        match self.activity.check().and_then(|()| fs::remove_file(&path)) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| failed(format!("failed to delete `{}`", path.display()), error))
    }

    pub(super) fn free_space(&self) -> Result<u64, DestinationError> {
        let found = rustix::fs::statvfs(&self.path).map_err(|error| {
            failed(format!("failed to ask for free space in `{}`", self.path.display()), error.into())
        })?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// A flush, which some file systems (on the network, in user space) do not know: the comparison afterwards decides.
fn flushed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)) => {
            Ok(())
        }
        result => result,
    }
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| fs::symlink_metadata(ancestor).is_ok()).unwrap_or(Path::new("/"))
}

fn entry_of(name: String, metadata: &fs::Metadata) -> Entry {
    Entry {
        name,
        size: metadata.len(),
        modified: metadata.modified().ok().map(DateTime::<Utc>::from),
        is_file: metadata.is_file(),
    }
}

pub(super) fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        // What a mounted share answers while its server is away.
        io::ErrorKind::StaleNetworkFileHandle
        | io::ErrorKind::TimedOut
        | io::ErrorKind::NotConnected
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => ErrorKind::Unreachable,
        _ if Errno::from_io_error(error) == Some(Errno::HOSTDOWN) => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

pub(super) fn failed(what: String, error: io::Error) -> DestinationError {
    let kind = kind_of(&error);
    let failed = DestinationError::new(kind, what).caused_by(error);
    match kind {
        ErrorKind::NoSpace => failed.with_hint(text!(
            "make room on that disk, raise the quota, or keep fewer archives (`retention`)"
                / "libérez de la place sur ce disque, augmentez le quota, ou gardez moins d'archives (`retention`)"
        )),
        ErrorKind::PermissionDenied => failed.with_hint(text!(
            "give the account that runs this program the right to write there"
                / "donnez au compte qui exécute ce programme le droit d'écrire à cet endroit"
        )),
        _ => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_space() {
        // /dev/full answers every write with ENOSPC.
        let error = OpenOptions::new().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        assert_eq!(kind_of(&error), ErrorKind::NoSpace);
        assert_eq!(kind_of(&Errno::DQUOT.into()), ErrorKind::NoSpace);
        assert_eq!(kind_of(&Errno::STALE.into()), ErrorKind::Unreachable);
        assert_eq!(kind_of(&Errno::ROFS.into()), ErrorKind::PermissionDenied);
    }
}
