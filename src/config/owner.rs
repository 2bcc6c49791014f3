//! Whose files a config and its secrets are: what another user may change is as good as that user's own config.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::text;
use crate::text::Text;

/// Why a file or directory is not to be relied on, and the command that mends it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: Text,
}

/// What is wrong with the owner or the rights of `path`, for a process of `user`: neither root's nor ours, or with one of the
/// rights `forbidden` (bits of the mode).
///
/// In a directory with the sticky bit, such as `/tmp` or a Kubernetes volume, nobody can replace the files of others.
pub(super) fn fault(path: &Path, found: &Metadata, user: u32, forbidden: u32) -> Option<Fault> {
    let (owner, mode) = (found.uid(), found.mode());
    let path = path.display();
    if owner != 0 && owner != user {
        let message = format!("`{path}` belongs to another user (uid {owner}), who could change it");
        let help = text!(
            "run `chown {user} {path}`, or run archive as that user"
                / "lancez `chown {user} {path}`, ou exécutez archive sous cet utilisateur"
        );
        return Some(Fault { message, help });
    }
    let is_sticky = found.is_dir() && mode & 0o1000 != 0;
    if mode & forbidden == 0 || is_sticky {
        return None;
    }
    let who = if mode & forbidden & 0o002 != 0 { "every user" } else { "its group" };
    let message = format!("{who} can write to `{path}` (mode {:04o})", mode & 0o7777);
    Some(Fault { message, help: text!("run `chmod go-w {path}`" / "lancez `chmod go-w {path}`") })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_others_may_change_is_a_fault_and_a_sticky_directory_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let me = fs::metadata(path).unwrap().uid();
        for (mode, forbidden, is_fault) in [
            (0o755, 0o022, false),
            (0o775, 0o022, true),
            (0o775, 0o002, false),
            (0o777, 0o002, true),
            (0o1777, 0o022, false),
        ] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            let found = fault(path, &fs::metadata(path).unwrap(), me, forbidden);
            assert_eq!(found.is_some(), is_fault, "{mode:o} {found:?}");
            assert!(found.is_none_or(|fault| fault.help.en.contains("chmod go-w")));
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_a_fault_unless_it_is_roots() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = file.as_file().metadata().unwrap();
        let other = fault(file.path(), &found, found.uid() + 1, 0o022);
        // As root, the file is root's, and so it may be.
        assert_eq!(other.is_some(), found.uid() != 0);
        assert_eq!(fault(Path::new("/"), &fs::metadata("/").unwrap(), 1000, 0o022), None);
    }
}
