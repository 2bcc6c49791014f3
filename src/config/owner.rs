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

/// Whether the group of a file or directory is a *user private group*, where nobody but its user is: ours, and the file ours as
/// well. Where every user has one, the umask is 002 (Debian, Ubuntu, Fedora), and write access for the group lets in none. As
/// OpenSSH of Debian has it. Never root's, for other accounts of a system may be in group 0.
pub(crate) fn is_in_private_group(found: &Metadata, user: u32, group: u32) -> bool {
    user != 0 && [found.uid(), found.gid(), group] == [user; 3]
}

/// How to run archive as the owner of a file that is not ours.
pub(crate) fn run_as(found: &Metadata) -> Text {
    let (owner, group) = (found.uid(), found.gid());
    text!(
        "run archive as that user (in a container: `--user {owner}:{group}`, in a Compose file `user: \"{owner}:{group}\"`)"
            / "exécutez archive sous cet utilisateur (dans un conteneur\u{a0}: `--user {owner}:{group}`, dans un fichier Compose `user: \"{owner}:{group}\"`)"
    )
}

/// What is wrong with the owner or the rights of `path`, for a process of `user` and `group`: neither root's nor ours, or with
/// one of the rights `forbidden` (bits of the mode).
///
/// In a directory with the sticky bit, such as `/tmp` or a Kubernetes volume, nobody can replace the files of others.
pub(super) fn fault(path: &Path, found: &Metadata, user: u32, group: u32, forbidden: u32) -> Option<Fault> {
    let (owner, mode) = (found.uid(), found.mode());
    let path = path.display();
    if owner != 0 && owner != user {
        let message = format!("`{path}` belongs to another user (uid {owner}), who could change it");
        let run_as = run_as(found);
        let help = Text::new(
            format!("run `chown {user} {path}`, or {}", run_as.en),
            format!("lancez `chown {user} {path}`, ou {}", run_as.fr),
        );
        return Some(Fault { message, help });
    }
    let forbidden = if is_in_private_group(found, user, group) { forbidden & !0o020 } else { forbidden };
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
            let found = fault(path, &fs::metadata(path).unwrap(), me, me + 1, forbidden);
            assert_eq!(found.is_some(), is_fault, "{mode:o} {found:?}");
            assert!(found.is_none_or(|fault| fault.help.en.contains("chmod go-w")));
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_a_fault_unless_it_is_roots() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = file.as_file().metadata().unwrap();
        let other = fault(file.path(), &found, found.uid() + 1, found.uid() + 1, 0o022);
        // As root, the file is root's, and so it may be.
        assert_eq!(other.is_some(), found.uid() != 0);
        assert_eq!(fault(Path::new("/"), &fs::metadata("/").unwrap(), 1000, 1000, 0o022), None);
    }
}
