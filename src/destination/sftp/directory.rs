//! The directory on the server: found, or made with all its parents, and its absolute name learnt.

use std::path::Path;

use ssh2::Sftp;

use super::errors::{FX_FAILURE, Wire};
use super::link::Link;
use crate::destination::limits::MAX_NAME_BYTES;
use crate::destination::{DestinationError, ErrorKind};
use crate::text;

/// The mode of directories that are made: archives hold a whole database.
const MODE: i32 = 0o750;

/// Makes sure that the directory exists; its absolute name as the server sees it.
pub(super) fn ensure(link: &Link, sftp: &Sftp, path: &str, location: &str) -> Result<String, DestinationError> {
    let path = from_home(path);
    let what = || format!("failed to open the directory `{location}`");
    let ancestors = ancestors(path);
    // From the deepest upwards: those above need not be readable by this account.
    let mut missing = Vec::new();
    for ancestor in ancestors.iter().rev() {
        match link.run(|| sftp.stat(Path::new(ancestor))) {
            Ok(found) if found.is_dir() || found.perm.is_none() => break,
            Ok(_) => {
                return Err(
                    DestinationError::new(ErrorKind::Other, what()).caused_by(format!("`{ancestor}` is no directory"))
                );
            }
            // ProFTPD has no other word than `failure` for what lies below a file.
            Err(wire) if wire.is_missing() || wire.sftp_status() == Some(FX_FAILURE) => missing.push(*ancestor),
            Err(wire) => return Err(wire.during(format!("{}: failed to look at `{ancestor}`", what()))),
        }
    }
    for ancestor in missing.iter().rev() {
        match link.run(|| sftp.mkdir(Path::new(ancestor), MODE)) {
            Ok(()) => tracing::info!("created the directory `{ancestor}` at `{location}`"),
            // Another job may have been faster.
            Err(wire) if wire.kind() != ErrorKind::Unreachable && exists(link, sftp, ancestor) => {}
            Err(wire) => return Err(uncreatable(wire, ancestor, what())),
        }
    }
    let real = link.run(|| sftp.realpath(Path::new(path))).map_err(|wire| wire.during(what()))?;
    let real = real.to_string_lossy();
    // What is no usable path is left out of logs and further requests: the one that was configured does as well.
    let usable = real.len() <= MAX_NAME_BYTES && !real.is_empty() && !real.contains(text::is_unsafe);
    Ok(if usable { real.into_owned() } else { path.to_owned() })
}

fn uncreatable(wire: Wire, ancestor: &str, what: String) -> DestinationError {
    let error = wire.during(format!("{what}: `{ancestor}` is missing and could not be created"));
    match error.is_transient() {
        true => error,
        false => error.with_hint(text!(
            "create `{ancestor}` on the server and give it to this account, or correct `path`; behind a chroot, paths begin at its root"
                / "créez `{ancestor}` sur le serveur et donnez-le à ce compte, ou corrigez `path` ; dans un chroot, les chemins partent de sa racine"
        )),
    }
}

fn exists(link: &Link, sftp: &Sftp, path: &str) -> bool {
    link.run(|| sftp.stat(Path::new(path))).is_ok_and(|found| found.is_dir())
}

/// A path relative to the account's home, as SFTP has it: `~` means nothing to the protocol.
fn from_home(path: &str) -> &str {
    match path {
        "" | "~" | "~/" => ".",
        _ => path.strip_prefix("~/").unwrap_or(path),
    }
}

/// The path and all above it, topmost first.
fn ancestors(path: &str) -> Vec<&str> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let mut list: Vec<&str> = ends.map(|end| &path[..end]).filter(|part| !part.is_empty()).collect();
    list.retain(|part| !part.ends_with('/'));
    if list.is_empty() {
        list.push(path);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_is_named_once() {
        assert_eq!(ancestors("/srv/archives/boutique"), ["/srv", "/srv/archives", "/srv/archives/boutique"]);
        assert_eq!(ancestors("/srv//x/"), ["/srv", "/srv//x"]);
        assert_eq!(ancestors("archives"), ["archives"]);
        assert_eq!(ancestors("/"), ["/"]);
        assert_eq!(ancestors("."), ["."]);
    }

    #[test]
    fn the_home_directory_has_its_usual_names() {
        assert_eq!(["", "~", "~/a", "a", "/a"].map(from_home), [".", ".", "a", "a", "/a"]);
    }
}
