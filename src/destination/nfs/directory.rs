//! The directory below the export: found, or made with all its parents; and what is in it.

use nfs3_client::nfs3_types::nfs3::{Nfs3Option, READDIRPLUS3args, cookieverf3, ftype3, nfs_fh3, nfsstat3};

use super::entry_of;
use super::errors::{Who, Wire};
use super::session::Session;
use crate::config::settings::NfsSettings;
use crate::destination::limits::Listing;
use crate::destination::{DestinationError, Entry, ErrorKind};
use crate::text;

/// The mode of directories that are made: archives hold a whole database.
const MODE: u32 = 0o750;
/// One page of a listing.
const PAGE_BYTES: u32 = 64 << 10;
/// How often a listing that the server lost track of is begun again.
const LIST_ATTEMPTS: u32 = 3;

/// Makes sure that the directory exists.
pub(super) fn ensure(
    session: &mut Session,
    settings: &NfsSettings,
    location: &str,
) -> Result<nfs_fh3, DestinationError> {
    let what = || format!("failed to open the directory `{location}`");
    let who = session.who;
    let mut here = session.root.clone();
    let mut path = settings.export.trim_end_matches('/').to_owned();
    for name in settings.path.split('/').filter(|name| !name.is_empty()) {
        path = format!("{path}/{name}");
        let looking = |wire: Wire| wire.during(format!("{}: failed to look at `{path}`", what()), who);
        let found = match session.look_up(&here, name).map_err(looking)? {
            Some(found) => found,
            None => {
                match session.make_directory(&here, name, MODE) {
                    Ok(()) => tracing::info!("created the directory `{path}` at `{location}`"),
                    // Another job may have been faster.
                    Err(wire) if wire.is(nfsstat3::NFS3ERR_EXIST) => {}
                    Err(wire) => return Err(uncreatable(wire, &path, what(), who)),
                }
                let made = session.look_up(&here, name).map_err(looking)?;
                made.ok_or_else(|| {
                    DestinationError::new(ErrorKind::Other, what())
                        .caused_by(format!("`{path}` was made, yet it is not there"))
                })?
            }
        };
        match found.attributes.type_ {
            ftype3::NF3DIR => here = found.handle,
            ftype3::NF3LNK => {
                return Err(DestinationError::new(ErrorKind::Other, what())
                    .caused_by(format!("`{path}` is a link, which only the server can follow"))
                    .with_hint(text!(
                        "write the directory that it leads to in `path` (below `export`)"
                            / "écrivez dans `path` le répertoire vers lequel il mène (sous `export`)"
                    )));
            }
            _ => {
                return Err(
                    DestinationError::new(ErrorKind::Other, what()).caused_by(format!("`{path}` is no directory"))
                );
            }
        }
    }
    Ok(here)
}

fn uncreatable(wire: Wire, path: &str, what: String, who: Who) -> DestinationError {
    let error = wire.during(format!("{what}: `{path}` is missing and could not be created"), who);
    let Who { uid, gid } = who;
    match error.kind {
        ErrorKind::PermissionDenied => error.with_hint(text!(
            "create `{path}` on the server and give it to `uid` {uid} and `gid` {gid}, or correct `path`, `uid` or `gid`"
                / "créez `{path}` sur le serveur et donnez-le à `uid` {uid} et `gid` {gid}, ou corrigez `path`, `uid` ou `gid`"
        )),
        _ => error,
    }
}

/// Everything in the directory.
pub(super) fn list(session: &mut Session, directory: &nfs_fh3, what: &str) -> Result<Vec<Entry>, DestinationError> {
    let who = session.who;
    for _ in 1..LIST_ATTEMPTS {
        match pages(session, directory) {
            // The directory changed so much that the server no longer knows where it was (RFC 1813 §3.3.17).
            Err(wire) if wire.is(nfsstat3::NFS3ERR_BAD_COOKIE) || wire.is(nfsstat3::NFS3ERR_NOT_SYNC) => {}
            result => return result.map_err(|wire| wire.during(what, who)),
        }
    }
    pages(session, directory).map_err(|wire| wire.during(what, who))
}

fn pages(session: &mut Session, directory: &nfs_fh3) -> Result<Vec<Entry>, Wire> {
    let mut listing = Listing::new();
    let (mut cookie, mut cookieverf) = (0, cookieverf3::default());
    loop {
        let arguments =
            READDIRPLUS3args { dir: directory.clone(), cookie, cookieverf, dircount: PAGE_BYTES, maxcount: PAGE_BYTES };
        let page = session.page(&arguments)?;
        cookieverf = page.cookieverf;
        for found in page.reply.entries.into_inner() {
            session.patience.check().map_err(|stop| Wire::Rpc(stop.into()))?;
            cookie = found.cookie;
            let raw = found.name.as_ref();
            if raw == b"." || raw == b".." {
                listing.leave_out(raw).map_err(Wire::Endless)?;
                continue;
            }
            let name = String::from_utf8_lossy(raw).into_owned();
            let attributes = match (found.name_attributes, found.name_handle) {
                (Nfs3Option::Some(attributes), _) => attributes,
                (Nfs3Option::None, Nfs3Option::Some(handle)) => session.attributes(&handle)?,
                // Some servers list names only. It may have gone since.
                (Nfs3Option::None, Nfs3Option::None) => match session.look_up(directory, &name)? {
                    Some(looked) => looked.attributes,
                    None => {
                        listing.leave_out(raw).map_err(Wire::Endless)?;
                        continue;
                    }
                },
            };
            listing.push(entry_of(name, &attributes)).map_err(Wire::Endless)?;
        }
        if page.reply.eof {
            return Ok(listing.finish());
        }
        if cookie == arguments.cookie {
            // Nothing new, nor the end: the listing would be incomplete, or never end.
            return Err(Wire::Status(nfsstat3::NFS3ERR_BAD_COOKIE));
        }
    }
}
