//! A directory of this machine: a mounted share, as a rule.
//!
//! An unmounted share is the danger here: its mount point is an empty directory on the root disk. `require_mount` and `marker`
//! make that an error, looked at again before every write. A share whose server is away is the other: calls of the file system
//! then do not come back.
//!
//! - `directory` makes the calls, `mover` gives files their names, `worker` is the thread that all of it happens on.

use std::sync::mpsc::{channel, sync_channel};

use self::worker::Worker;
use super::feed::Feed;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::LocalSettings;
use crate::digest::Digest;
use crate::interrupt::Interrupt;

mod directory;
mod mover;
mod worker;

/// Read and written in pieces of this size.
const BLOCK_BYTES: usize = 256 << 10;
/// How many of them are under way.
const BLOCKS: usize = 8;

/// A directory as a destination.
pub struct LocalDestination {
    worker: Worker,
    location: String,
    capabilities: Capabilities,
}

impl LocalDestination {
    /// Opens the directory; it is created if missing, unless a marker says that it must be there already.
    ///
    /// # Errors
    /// `NotFound` when the share seems not to be mounted, `Unreachable` when it does not answer; otherwise as the operating
    /// system says.
    pub fn open(settings: &LocalSettings, timeouts: Timeouts, interrupt: &Interrupt) -> Result<Self, DestinationError> {
        let worker = Worker::start(settings, timeouts.stall, interrupt)?;
        let location = settings.path.display().to_string();
        let capabilities = worker.ask(&format!("failed to open the directory `{location}`"), |directory| {
            directory.open()?;
            Ok(directory.capabilities())
        })?;
        Ok(LocalDestination { worker, location, capabilities })
    }

    fn what(&self, verb: &str, name: &str) -> Result<String, DestinationError> {
        check_name(name)?;
        Ok(format!("failed to {verb} `{name}` in `{}`", self.location))
    }
}

impl Destination for LocalDestination {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn explore(&mut self) -> Capabilities {
        let what = format!("failed to try what `{}` can do", self.location);
        if let Ok(found) = self.worker.ask(&what, |directory| Ok(directory.explore())) {
            self.capabilities = found;
        }
        self.capabilities
    }

    fn capabilities(&mut self) -> Capabilities {
        self.capabilities
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        self.worker.ask(&format!("failed to list `{}`", self.location), |directory| directory.list())
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        let (what, name) = (self.what("look at", name)?, name.to_owned());
        self.worker.ask(&what, move |directory| directory.stat(&name))
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let (what, name) = (self.what("write", name)?, name.to_owned());
        let len_bytes = source.len_bytes();
        let mut feed = Feed::start(source, offset)?;
        let (filled, to_write) = sync_channel(BLOCKS);
        let (used, blocks) = channel();
        (0..BLOCKS).try_for_each(|_| used.send(Vec::new())).unwrap_or_default();
        let answer = self.worker.begin(move |directory| directory.write(&name, (offset, len_bytes), to_write, used));
        let mut send = || {
            // No more of them: the thread has failed, and its answer says why.
            while let Some(mut block) = self.worker.receive(&what, &blocks)? {
                self.worker.check_interrupt(&what)?;
                block.resize(BLOCK_BYTES, 0);
                let count = feed.read(&mut block)?;
                block.truncate(count);
                if count == 0 {
                    feed.finish()?;
                }
                if filled.send(block).is_err() || count == 0 {
                    break;
                }
            }
            Ok(())
        };
        let sent = send();
        drop(filled);
        // Waited for in any case: what is there afterwards stays as it is.
        let written = self.worker.answer(&what, &answer);
        sent.and(written)
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        let (what, name) = (self.what("read", name)?, name.to_owned());
        let (filled, read) = sync_channel(BLOCKS);
        let (used, blocks) = channel();
        (0..BLOCKS).try_for_each(|_| used.send(vec![0; BLOCK_BYTES])).unwrap_or_default();
        let answer = self.worker.begin(move |directory| directory.read(&name, offset, filled, blocks));
        while let Some(mut block) = self.worker.receive(&what, &read)? {
            self.worker.check_interrupt(&what)?;
            sink(&block).map_err(|error| DestinationError::new(ErrorKind::Local, what.as_str()).caused_by(error))?;
            block.resize(BLOCK_BYTES, 0);
            let _at_the_end = used.send(block);
        }
        self.worker.answer(&what, &answer)
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        check_name(to)?;
        let (what, from, to) = (self.what("rename", from)?, from.to_owned(), to.to_owned());
        self.worker.ask(&what, move |directory| directory.move_new(&from, &to))
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        let (what, name) = (self.what("delete", name)?, name.to_owned());
        self.worker.ask(&what, move |directory| directory.remove(&name))
    }

    /// Only this program could compute it: the file is read back.
    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        match self.stat(name)? {
            Some(_) => Ok(None),
            None => {
                Err(DestinationError::new(ErrorKind::NotFound, self.what("look at", name)?)
                    .caused_by("it does not exist"))
            }
        }
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        let what = format!("failed to ask for free space in `{}`", self.location);
        self.worker.ask(&what, |directory| directory.free_space()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::mover::Mover;
    use super::*;

    fn settings(path: PathBuf) -> LocalSettings {
        LocalSettings { path, require_mount: false, marker: None }
    }

    fn connect(settings: &LocalSettings) -> Result<LocalDestination, DestinationError> {
        let timeouts = Timeouts { connect: Duration::from_secs(15), stall: Duration::from_secs(60) };
        LocalDestination::open(settings, timeouts, &Interrupt::default())
    }

    fn open(directory: &tempfile::TempDir) -> LocalDestination {
        connect(&settings(directory.path().to_owned())).unwrap()
    }

    #[test]
    fn a_file_goes_in_and_comes_out_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let mut local = connect(&settings(directory.path().join("a/b c/é"))).unwrap();
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
        assert_eq!(local.checksum("20261120.tgz").unwrap(), None, "only this program could compute it");
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
            let set = move |directory: &mut directory::Directory| {
                directory.mover = mover;
                Ok(())
            };
            local.worker.ask("", set).unwrap();
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
        assert!(local.worker.ask("", |directory| Ok(directory.mover.is_some())).unwrap());
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
        assert_eq!(connect(&marked).err().unwrap().kind, ErrorKind::NotFound);
        assert!(!path.exists(), "an unmounted share must not be created");
        fs::create_dir(&path).unwrap();
        fs::write(path.join(".archive-target"), b"").unwrap();
        let mut local = connect(&marked).unwrap();
        fs::remove_file(path.join(".archive-target")).unwrap();
        assert_eq!(local.put("x", &mut Cursor::new(b"x"), 0).unwrap_err().kind, ErrorKind::NotFound);
        assert!(!path.join("x").exists());
    }

    #[test]
    fn a_directory_on_the_root_file_system_is_no_mount() {
        let path = PathBuf::from("/archive-test-that-is-not-there/x");
        let settings = LocalSettings { require_mount: true, ..settings(path) };
        let error = connect(&settings).err().unwrap();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.to_string().contains("not on a mounted file system"), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_created_says_which_part_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), b"").unwrap();
        let error = connect(&settings(directory.path().join("file/deeper"))).err().unwrap();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("file` is no directory"), "{error}: {cause}");
    }

    /// A FIFO in the place of the file: who opens it to read waits for a writer, as long as that takes.
    #[test]
    fn a_call_that_does_not_come_back_is_given_up_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("x");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let timeouts = Timeouts { connect: Duration::from_secs(15), stall: Duration::from_millis(300) };
        let settings = settings(directory.path().to_owned());
        let mut local = LocalDestination::open(&settings, timeouts, &Interrupt::default()).unwrap();
        let error = local.get("x", 0, &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        let told = std::error::Error::source(&error).unwrap().to_string();
        assert!(told.contains("no byte moved for 0.3 s") && told.contains("does not answer"), "{told}");
        // Nothing is asked of it any more: another connection is needed.
        let begun = Instant::now();
        assert_eq!(local.list().unwrap_err().kind, ErrorKind::Unreachable);
        assert!(begun.elapsed() < Duration::from_millis(300));
        assert_eq!(open(&directory).list().unwrap().len(), 1);
        drop(fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    }

    #[test]
    fn a_signal_and_the_time_limit_end_a_call_that_does_not_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("x");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let timeouts = Timeouts { connect: Duration::from_secs(15), stall: Duration::from_secs(600) };
        let settings = settings(directory.path().to_owned());
        let stopped = Interrupt::default();
        stopped.stop();
        for interrupt in [stopped, Interrupt::default().with_time_limit(Duration::ZERO)] {
            let mut local = LocalDestination::open(&settings, timeouts, &interrupt).unwrap();
            assert_eq!(local.list().unwrap().len(), 1, "what comes back at once may still be asked, to tidy up");
            let begun = Instant::now();
            assert_eq!(local.get("x", 0, &mut |_| Ok(())).unwrap_err().kind, ErrorKind::Local);
            assert!(begun.elapsed() < Duration::from_secs(60));
        }
        drop(fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    }

    /// As the thread that was left behind finds it when its call comes back at last.
    #[test]
    fn what_was_given_up_changes_nothing_any_more() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("x"), b"of the retry").unwrap();
        let local = open(&directory);
        let (go, wait) = channel::<()>();
        let removed = local.worker.begin(move |directory| {
            let _dropped = wait.recv();
            directory.remove("x")
        });
        drop(local);
        drop(go);
        assert!(removed.recv().unwrap().is_err());
        assert_eq!(fs::read(directory.path().join("x")).unwrap(), b"of the retry");
    }
}
