//! The directory on the server: entered, or made with all its parents.

use super::errors::{Wire, denied};
use super::path_of;
use super::session::Session;
use crate::destination::{DestinationError, ErrorKind};
use crate::text;

/// Enters the directory. One that exists cannot be told from one that cannot be made: both are a 550, so each is tried by
/// entering it.
pub(super) fn enter(session: &mut Session, path: &str, location: &str) -> Result<(), DestinationError> {
    let what = || format!("failed to open the directory `{location}`");
    let path = from_start(path);
    if path.is_empty() || goes_to(session, &path_of(path)).map_err(|wire| wire.during(what()))?.is_ok() {
        return Ok(());
    }
    let mut reached = String::new();
    if path.starts_with('/') {
        reached.push('/');
        goes_to(session, "/")
            .and_then(|gone| gone.map_err(Wire::Refused))
            .map_err(|wire| wire.during(format!("{}: failed to enter `/`", what())))?;
    }
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        reached.push_str(part);
        step(session, part, &reached, &what)?;
        reached.push('/');
    }
    Ok(())
}

fn step(session: &mut Session, part: &str, reached: &str, what: &dyn Fn() -> String) -> Result<(), DestinationError> {
    let argument = path_of(part);
    let go = |session: &mut Session| goes_to(session, &argument).map_err(|wire| wire.during(what()));
    if go(session)?.is_ok() {
        return Ok(());
    }
    let made = match session.ask(|ftp| ftp.mkdir(&argument)) {
        Ok(()) => {
            tracing::info!("created the directory `{reached}`");
            Ok(())
        }
        Err(Wire::Refused(reply)) => Err(reply),
        Err(wire) => return Err(wire.during(what())),
    };
    // Another job may have been faster.
    let Err(refusal) = go(session)? else { return Ok(()) };
    let exists = made.as_ref().is_err_and(|reply| reply.kind() == ErrorKind::AlreadyExists);
    let is_file = session.size(&argument).map_err(|wire| wire.during(what()))?.is_some();
    if is_file || (exists && refusal.kind() != ErrorKind::PermissionDenied) {
        return Err(DestinationError::new(ErrorKind::Other, what()).caused_by(format!("`{reached}` is no directory")));
    }
    Err(match made {
        Ok(()) => denied(format!("{}: `{reached}` was created but cannot be entered", what()), refusal),
        Err(reply) => {
            denied(format!("{}: `{reached}` is missing and could not be created", what()), reply).with_hint(text!(
                "create `{reached}` on the server and give it to this account, or correct `path`; most servers show an account its own directory as `/`"
                    / "créez `{reached}` sur le serveur et donnez-le à ce compte, ou corrigez `path` ; la plupart des serveurs montrent à un compte son propre répertoire comme `/`"
            ))
        }
    })
}

/// Tries to enter a directory; the inner error is a refusal.
fn goes_to(session: &mut Session, path: &str) -> Result<Result<(), super::Reply>, Wire> {
    match session.ask(|ftp| ftp.cwd(path)) {
        Ok(()) => Ok(Ok(())),
        Err(Wire::Refused(reply)) if reply.code >= 500 => Ok(Err(reply)),
        Err(wire) => Err(wire),
    }
}

/// A path relative to where the account begins: `~` is not always known.
fn from_start(path: &str) -> &str {
    match path {
        "~" => "",
        _ => path.strip_prefix("~/").unwrap_or(path),
    }
}
