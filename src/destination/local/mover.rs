//! Giving a file a new name without clobbering, as well as the file system can.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::directory::kind_of;
use crate::destination::ErrorKind;

/// How this file system gives a file a new name without clobbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mover {
    /// `renameat2(RENAME_NOREPLACE)`: in one step.
    NoReplace,
    /// `link` and `unlink`: for a moment there are both names.
    Link,
    /// Looks first, then renames: CIFS and some FUSE mounts have neither of the others.
    Look,
}

impl Mover {
    /// Finds out, with two empty files, how a file can be moved here without clobbering.
    pub(super) fn probe(directory: &Path) -> io::Result<Mover> {
        let unique = format!("{}.{:08x}", std::process::id(), fastrand::u32(..));
        let (from, to) = (directory.join(format!(".probe-a.{unique}")), directory.join(format!(".probe-b.{unique}")));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&from)?;
        let mover = [Mover::NoReplace, Mover::Link]
            .into_iter()
            .find(|mover| mover.apply(&from, &to).is_ok())
            .unwrap_or(Mover::Look);
        let _ = fs::remove_file(&from);
        let _ = fs::remove_file(&to);
        Ok(mover)
    }

    /// Moves a file on to a free name.
    pub(super) fn apply(self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Mover::NoReplace => Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?),
            Mover::Link => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            Mover::Look => match fs::symlink_metadata(to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
                Err(error) => Err(error),
            },
        }
    }
}

/// Whether the next way may be tried after this error: `link` on file systems that do not know it fails with `EPERM` (link(2)),
/// `EIO` (an `rclone mount`), `ENOTSUP`, `ENOSYS` and others. Where it does mean something else, the next way, which looks first,
/// meets it again.
pub(super) fn may_be_unsupported(error: &io::Error) -> bool {
    // Said of a right that is missing by `EACCES`; `EPERM` has the same `ErrorKind`.
    let is_forbidden = Errno::from_io_error(error) == Some(Errno::ACCESS);
    let is_final = matches!(
        kind_of(error),
        ErrorKind::AlreadyExists | ErrorKind::NotFound | ErrorKind::NoSpace | ErrorKind::Unreachable
    );
    !is_forbidden && !is_final && error.kind() != io::ErrorKind::ReadOnlyFilesystem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_way_is_tried_unless_the_error_is_about_the_names_the_room_or_the_rights() {
        for errno in [Errno::IO, Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::MLINK, Errno::XDEV] {
            assert!(may_be_unsupported(&errno.into()), "{errno}");
        }
        for errno in
            [Errno::EXIST, Errno::NOENT, Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::ROFS, Errno::TIMEDOUT]
        {
            assert!(!may_be_unsupported(&errno.into()), "{errno}");
        }
    }
}
