//! A directory of this machine: a mounted share, as a rule.
//!
//! An unmounted share is the danger here: its mount point is an empty directory on the root disk. `require_mount` and `marker`
//! make that an error, looked at again before every write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rustix::io::Errno;

use self::mover::{Mover, is_unsupported};
use super::feed::Feed;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, check_name};
use crate::config::settings::LocalSettings;
use crate::digest::Digest;
use crate::text;

mod mover;

/// Read and written in pieces of this size.
const BUFFER_BYTES: usize = 1 << 20;

/// A directory as a destination.
pub struct LocalDestination {
    directory: PathBuf,
    require_mount: bool,
    marker: Option<String>,
    mover: Option<Mover>,
}

impl LocalDestination {
    /// Opens the directory; it is created if missing, unless a marker says that it must be there already.
    ///
    /// # Errors
    /// `NotFound` when the share seems not to be mounted; otherwise as the operating system says.
    pub fn open(settings: &LocalSettings) -> Result<Self, DestinationError> {
        let local = LocalDestination {
            directory: settings.path.clone(),
            require_mount: settings.require_mount,
            marker: settings.marker.clone(),
            mover: None,
        };
        local.check_mounted()?;
        local.create()?;
        Ok(local)
    }

    fn create(&self) -> Result<(), DestinationError> {
        let what = format!("failed to create the directory `{}`", self.directory.display());
        let there = nearest_existing(&self.directory);
        match fs::metadata(there) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(DestinationError::new(ErrorKind::Other, what)
                    .caused_by(format!("`{}` is no directory", there.display())));
            }
            Err(error) => return Err(failed(what, error)),
        }
        if there == self.directory {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.directory).map_err(|error| {
            let missing = self.directory.strip_prefix(there).unwrap_or(&self.directory);
            failed(format!("{what}: `{}` is missing in `{}`", missing.display(), there.display()), error)
        })
    }

    /// Refuses a directory behind which the share is not mounted.
    fn check_mounted(&self) -> Result<(), DestinationError> {
        if self.require_mount {
            let there = nearest_existing(&self.directory);
            let same = fs::metadata(there).and_then(|here| Ok(here.dev() == fs::metadata("/")?.dev()));
            if same.map_err(|error| failed(format!("failed to look at `{}`", there.display()), error))? {
                let path = self.directory.display();
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
            let path = self.directory.join(marker);
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

    fn path_of(&self, name: &str) -> Result<PathBuf, DestinationError> {
        check_name(name)?;
        Ok(self.directory.join(name))
    }

    /// Makes what was done to the directory survive a power cut.
    fn sync_directory(&self) -> io::Result<()> {
        match File::open(&self.directory)?.sync_all() {
            // Network file systems need not know how to flush a directory.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput || is_unsupported(&error) => Ok(()),
            result => result,
        }
    }

    fn write(&self, path: &Path, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let what = || format!("failed to write `{}`", path.display());
        let len_bytes = source.len_bytes();
        let mut feed = Feed::start(source, offset)?;
        let mut options = OpenOptions::new();
        options.write(true).mode(0o640).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        if offset == 0 {
            // Made anew and exclusively: whatever has the name may be a link to somewhere else.
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(what(), error)),
                _ => options.create_new(true),
            };
        }
        let mut file = options.open(path).map_err(|error| failed(what(), error))?;
        if offset > 0 {
            let held = file.metadata().map_err(|error| failed(what(), error))?.len();
            if held != offset {
                return Err(DestinationError::new(ErrorKind::Other, what())
                    .caused_by(format!("it was to go on at byte {offset}, the file has {held}")));
            }
            file.seek(SeekFrom::Start(offset)).map_err(|error| failed(what(), error))?;
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = feed.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).map_err(|error| failed(what(), error))?;
        }
        feed.finish()?;
        let written = file.sync_all().and_then(|()| file.metadata()).map_err(|error| failed(what(), error))?.len();
        if written != len_bytes {
            return Err(DestinationError::new(ErrorKind::Other, what())
                .caused_by(format!("it has {written} bytes instead of {len_bytes}")));
        }
        // So that a checksum reads what the disk or the share holds, and not what we remember.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        drop(file);
        self.sync_directory().map_err(|error| failed(what(), error))
    }

    fn read(
        &self,
        path: &Path,
        offset: u64,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), DestinationError> {
        let what = || format!("failed to read `{}`", path.display());
        let mut file = File::open(path).map_err(|error| failed(what(), error))?;
        file.seek(SeekFrom::Start(offset)).map_err(|error| failed(what(), error))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => sink(&buffer[..count])
                    .map_err(|error| DestinationError::new(ErrorKind::Local, what()).caused_by(error))?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(what(), error)),
            }
        }
    }
}

impl Destination for LocalDestination {
    fn location(&self) -> String {
        self.directory.display().to_string()
    }

    fn explore(&mut self) -> Capabilities {
        if self.mover.is_none() {
            self.mover = Mover::probe(&self.directory).ok();
        }
        self.capabilities()
    }

    fn capabilities(&mut self) -> Capabilities {
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

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        self.check_mounted()?;
        let what = || format!("failed to list `{}`", self.directory.display());
        let mut entries = Vec::new();
        for found in fs::read_dir(&self.directory).map_err(|error| failed(what(), error))? {
            let found = found.map_err(|error| failed(what(), error))?;
            match found.metadata() {
                Ok(metadata) => entries.push(entry_of(found.file_name().to_string_lossy().into_owned(), &metadata)),
                // Somebody deleted it since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(what(), error)),
            }
        }
        Ok(entries)
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        let path = self.path_of(name)?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(Some(entry_of(name.to_owned(), &metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(format!("failed to look at `{}`", path.display()), error)),
        }
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let path = self.path_of(name)?;
        self.check_mounted()?;
        self.write(&path, source, offset)
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        self.read(&self.path_of(name)?, offset, sink)
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        let (source, target) = (self.path_of(from)?, self.path_of(to)?);
        let movers = match self.mover {
            Some(mover) => vec![mover],
            None => vec![Mover::NoReplace, Mover::Link, Mover::Look],
        };
        let mut result = Ok(());
        for mover in movers {
            result = mover.apply(&source, &target);
            if !result.as_ref().is_err_and(is_unsupported) {
                break;
            }
        }
        result
            .and_then(|()| self.sync_directory())
            .map_err(|error| failed(format!("failed to rename `{from}` to `{to}` in `{}`", self.location()), error))
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        let path = self.path_of(name)?;
        match fs::remove_file(&path) {
            Ok(()) => self.sync_directory(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| failed(format!("failed to delete `{}`", path.display()), error))
    }

    /// Nobody but us could compute it: it is read back.
    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        let path = self.path_of(name)?;
        match fs::metadata(&path) {
            Ok(_) => Ok(None),
            Err(error) => Err(failed(format!("failed to look at `{}`", path.display()), error)),
        }
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        let found = rustix::fs::statvfs(&self.directory)
            .map_err(|error| failed(format!("failed to ask for free space in `{}`", self.location()), error.into()))?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
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

fn kind_of(error: &io::Error) -> ErrorKind {
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

fn failed(what: String, error: io::Error) -> DestinationError {
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
    use std::io::Cursor;

    use super::*;

    fn settings(path: PathBuf) -> LocalSettings {
        LocalSettings { path, require_mount: false, marker: None }
    }

    fn open(directory: &tempfile::TempDir) -> LocalDestination {
        LocalDestination::open(&settings(directory.path().to_owned())).unwrap()
    }

    #[test]
    fn a_file_goes_in_and_comes_out_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let mut local = LocalDestination::open(&settings(directory.path().join("a/b c/é"))).unwrap();
        let content: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7) as u8).collect();
        local.put("20261120.tgz", &mut Cursor::new(&content), 0).unwrap();
        let mut back = Vec::new();
        local
            .get("20261120.tgz", 10, &mut |bytes| {
                back.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        assert_eq!(back, content[10..]);
        assert_eq!(local.checksum("20261120.tgz").unwrap(), None, "nobody but us could compute it");
        assert_eq!(local.list().unwrap(), [local.stat("20261120.tgz").unwrap().unwrap()]);
        local.remove("20261120.tgz").unwrap();
        local.remove("20261120.tgz").unwrap();
        assert_eq!(local.stat("20261120.tgz").unwrap(), None);
        assert_eq!(local.get("20261120.tgz", 0, &mut |_| Ok(())).unwrap_err().kind, ErrorKind::NotFound);
    }

    #[test]
    fn an_upload_goes_on_only_where_the_file_ends() {
        let directory = tempfile::tempdir().unwrap();
        let mut local = open(&directory);
        fs::write(directory.path().join("x"), b"01234").unwrap();
        assert_eq!(local.put("x", &mut Cursor::new(b"0123456789"), 4).unwrap_err().kind, ErrorKind::Other);
        local.put("x", &mut Cursor::new(b"0123456789"), 5).unwrap();
        assert_eq!(fs::read(directory.path().join("x")).unwrap(), b"0123456789");
        local.put("x", &mut Cursor::new(b"new"), 0).unwrap();
        assert_eq!(fs::read(directory.path().join("x")).unwrap(), b"new");
    }

    #[test]
    fn no_way_of_moving_clobbers() {
        let directory = tempfile::tempdir().unwrap();
        for mover in [None, Some(Mover::NoReplace), Some(Mover::Link), Some(Mover::Look)] {
            let mut local = open(&directory);
            local.mover = mover;
            fs::write(directory.path().join("a"), b"a").unwrap();
            fs::write(directory.path().join("b"), b"b").unwrap();
            assert_eq!(local.move_new("a", "b").unwrap_err().kind, ErrorKind::AlreadyExists, "{mover:?}");
            assert_eq!(local.move_new("none", "c").unwrap_err().kind, ErrorKind::NotFound, "{mover:?}");
            assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"a");
            assert_eq!(fs::read(directory.path().join("b")).unwrap(), b"b");
            local.move_new("a", "c").unwrap();
            assert_eq!(fs::read(directory.path().join("c")).unwrap(), b"a");
            assert!(!directory.path().join("a").exists());
            local.remove("c").unwrap();
        }
    }

    #[test]
    fn the_probe_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mut local = open(&directory);
        assert!(local.explore().move_refuses_to_clobber);
        assert!(local.mover.is_some());
        assert_eq!(local.list().unwrap(), []);
    }

    #[test]
    fn a_link_under_the_temporary_name_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), directory.path().join("x")).unwrap();
        open(&directory).put("x", &mut Cursor::new(b"content"), 0).unwrap();
        assert_eq!(fs::read(elsewhere.path()).unwrap(), b"");
        assert_eq!(fs::read(directory.path().join("x")).unwrap(), b"content");
    }

    #[test]
    fn without_its_marker_a_directory_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("share");
        let marked = LocalSettings { marker: Some(".archive-target".to_owned()), ..settings(path.clone()) };
        assert_eq!(LocalDestination::open(&marked).err().unwrap().kind, ErrorKind::NotFound);
        assert!(!path.exists(), "an unmounted share must not be created");
        fs::create_dir(&path).unwrap();
        fs::write(path.join(".archive-target"), b"").unwrap();
        let mut local = LocalDestination::open(&marked).unwrap();
        fs::remove_file(path.join(".archive-target")).unwrap();
        assert_eq!(local.put("x", &mut Cursor::new(b"x"), 0).unwrap_err().kind, ErrorKind::NotFound);
        assert!(!path.join("x").exists());
    }

    #[test]
    fn a_directory_on_the_root_file_system_is_no_mount() {
        let path = PathBuf::from("/archive-test-that-is-not-there/x");
        let settings = LocalSettings { require_mount: true, ..settings(path) };
        let error = LocalDestination::open(&settings).err().unwrap();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.to_string().contains("not on a mounted file system"), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_created_says_which_part_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), b"").unwrap();
        let error = LocalDestination::open(&settings(directory.path().join("file/deeper"))).err().unwrap();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("file` is no directory"), "{error}: {cause}");
    }

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
