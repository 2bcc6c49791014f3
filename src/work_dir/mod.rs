//! The work dir: what one run leaves for the next. State, lock, history, spool and outbox, each in a file of its own here.
//!
//! Everything is written so that a power cut at any instant leaves the old or the new content, never a mixture. Directories
//! are 0700 and files 0600, for a dump is nobody else's business.

pub mod history;
pub mod lock;
pub mod outbox;
pub mod state;

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::config::owner::{is_in_private_group, run_as};

/// The paths inside a job's work dir.
#[derive(Clone, Debug)]
pub struct WorkDir {
    root: PathBuf,
}

impl WorkDir {
    /// Makes the directory and its rooms if they are missing, and proves that they can be written.
    ///
    /// # Errors
    /// What could not be made or written, and why.
    pub fn prepare(root: &Path) -> io::Result<Self> {
        let work_dir = WorkDir { root: root.to_owned() };
        for dir in [root.to_owned(), work_dir.spool(), work_dir.outbox()] {
            make_private_dir(&dir).map_err(|error| in_path(error, "create", &dir))?;
            must_be_ours(&dir)?;
        }
        // Without a name, or with one of its own: several runs may start at the same moment.
        tempfile::tempfile_in(root).map_err(|error| in_path(error, "write in", root))?;
        Ok(work_dir)
    }

    /// The same paths without touching the disk.
    pub fn at(root: &Path) -> Self {
        WorkDir { root: root.to_owned() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `state.json`
    pub fn state_file(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// `history.jsonl`
    pub fn history_file(&self) -> PathBuf {
        self.root.join("history.jsonl")
    }

    /// `lock`
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// `spool/`: the zip that is being fetched.
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// `outbox/`: archives that are verified but not published everywhere yet.
    pub fn outbox(&self) -> PathBuf {
        self.root.join("outbox")
    }

    /// Removes what a dead run left in the spool, but for a download that may be resumed.
    ///
    /// # Errors
    /// When the spool cannot be read or a file not removed.
    pub fn sweep_spool(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.spool())? {
            let entry = entry?;
            let resumable = entry.file_name().to_string_lossy().starts_with("source.zip");
            if !resumable && entry.file_type()?.is_file() {
                fs::remove_file(entry.path()).map_err(|error| in_path(error, "remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Bytes that may still be written here by us.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn free_space(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn in_path(error: io::Error, doing: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {doing} `{}`: {error}", path.display()))
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Refuses a directory of another user, or one that others can write in: they could put links under the names that we are
/// about to write, and what we read back from it would be theirs.
fn must_be_ours(dir: &Path) -> io::Result<()> {
    let found = fs::metadata(dir).map_err(|error| in_path(error, "look at", dir))?;
    must_belong_to(dir, &found, rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn must_belong_to(dir: &Path, found: &Metadata, us: u32, group: u32) -> io::Result<()> {
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let shown = dir.display();
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if owner != us {
        return refused(format!(
            "`{shown}` belongs to another user (uid {owner}): {}, or `chown -R {us} {shown}`",
            run_as(found)
        ));
    }
    let forbidden = if is_in_private_group(found, us, group) { 0o002 } else { 0o022 };
    if mode & forbidden != 0 {
        return refused(format!("others can write in `{shown}` (mode {mode:04o}): run `chmod go-w {shown}`"));
    }
    Ok(())
}

/// Opens no link and waits for no pipe.
pub(crate) fn no_follow() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

/// Creates or empties a file that only we can read.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(no_follow()).open(path)
}

/// Replaces a file's content in one step: after a power cut it holds the old content or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = create_private(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Makes a rename, creation or deletion in the file's directory last.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_rooms_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        let work_dir = WorkDir::prepare(&root).unwrap();
        for path in [&root, &work_dir.outbox(), &work_dir.spool()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        replace(&work_dir.state_file(), b"{}").unwrap();
        assert_eq!(fs::metadata(work_dir.state_file()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn several_may_prepare_it_at_the_same_moment() {
        let dir = tempfile::tempdir().unwrap();
        let prepare = || (0..200).try_for_each(|_| WorkDir::prepare(dir.path()).map(drop));
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(prepare)).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_work_dir_that_others_can_write_in_is_refused_with_the_command_to_type() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("work");
        WorkDir::prepare(&root).unwrap();
        for (place, mode) in [(root.clone(), 0o777), (root.clone(), 0o772), (root.join("spool"), 0o1777)] {
            fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
            let error = WorkDir::prepare(&root).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains(&format!("chmod go-w {}", place.display())), "{error}");
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        }
        WorkDir::prepare(&root).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&root, Some(1234), None).unwrap();
            let error = WorkDir::prepare(&root).unwrap_err().to_string();
            assert!(error.contains("uid 1234") && error.contains("chown -R 0"), "{error}");
            assert!(error.contains("`--user 1234:"), "{error}");
        }
    }

    #[test]
    fn write_access_for_the_group_is_refused_unless_the_group_is_that_of_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let (root, is_root) = (dir.path(), rustix::process::geteuid().is_root());
        if is_root {
            std::os::unix::fs::chown(root, Some(1234), Some(1234)).unwrap();
        }
        fs::set_permissions(root, fs::Permissions::from_mode(0o775)).unwrap();
        let found = fs::metadata(root).unwrap();
        let user = found.uid();
        must_belong_to(root, &found, user, user + 1).unwrap_err();
        must_belong_to(root, &found, user, 0).unwrap_err();
        if found.gid() == user {
            must_belong_to(root, &found, user, user).unwrap();
        }
        fs::set_permissions(root, fs::Permissions::from_mode(0o777)).unwrap();
        must_belong_to(root, &fs::metadata(root).unwrap(), user, user).unwrap_err();
        if is_root {
            // Other accounts may be in root's group.
            std::os::unix::fs::chown(root, Some(0), Some(0)).unwrap();
            fs::set_permissions(root, fs::Permissions::from_mode(0o775)).unwrap();
            must_belong_to(root, &fs::metadata(root).unwrap(), 0, 0).unwrap_err();
        }
    }

    #[test]
    fn no_file_of_the_work_dir_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "whole").unwrap();
        let work_dir = WorkDir::prepare(&dir.path().join("work")).unwrap();
        let mut temporary = work_dir.state_file().into_os_string();
        temporary.push(".new");
        for name in [PathBuf::from(temporary), work_dir.history_file(), work_dir.lock_file(), work_dir.root().join("x")]
        {
            std::os::unix::fs::symlink(&victim, name).unwrap();
        }
        let started = chrono::Utc::now().fixed_offset();
        let holder = lock::Holder { run_id: "x".into(), pid: 1, started, step: crate::step::Step::Start };
        assert!(replace(&work_dir.state_file(), b"{}").is_err());
        assert!(create_private(&work_dir.root().join("x")).is_err());
        assert!(lock::Lock::acquire(&work_dir.lock_file(), holder).is_err());
        assert!(history::append_line(&work_dir.history_file(), b"{}".to_vec()).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "whole");
    }

    #[test]
    fn a_work_dir_that_cannot_be_made_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = WorkDir::prepare(&file.join("work")).unwrap_err().to_string();
        assert!(error.contains("file/work"), "{error}");
    }
}
