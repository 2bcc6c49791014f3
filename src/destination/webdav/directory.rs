//! The collection behind `url`: found, or made with all its parents.

use reqwest::{Method, StatusCode};
use url::Url;

use super::answers;
use super::multistatus::{Resource, decoded};
use super::session::{Found, Session};
use crate::destination::{DestinationError, ErrorKind};
use crate::http::shown;
use crate::text;

/// Makes sure that the collection is there; what a look at it brought.
pub(super) fn ensure(session: &Session, url: &Url) -> Result<Found, DestinationError> {
    let location = shown(url);
    let what = || format!("failed to open the directory `{location}`");
    // From the deepest upwards: those above need not be readable by this account.
    let mut missing = Vec::new();
    let (mut strange, mut stands) = (None, false);
    for ancestor in ancestors(url) {
        match session.propfind(&ancestor, &what)? {
            Ok(found) => {
                let looked = found.resource.as_ref();
                if looked.is_none_or(|looked| !is_missing(looked) && !looked.is_collection) {
                    return Err(no_directory(&ancestor, what()));
                }
                if !looked.is_some_and(is_missing) {
                    if missing.is_empty() {
                        return Ok(found);
                    }
                    stands = true;
                    break;
                }
            }
            Err(answer) if answer.status() == StatusCode::NOT_FOUND => {}
            // What some servers say to a path below a file.
            Err(mut answer) if matches!(answer.status(), StatusCode::BAD_REQUEST | StatusCode::CONFLICT) => {
                strange = strange.or(Some(answers::refused(&mut answer, &ancestor, what())));
            }
            // Above the part of the server that speaks WebDAV, or that this account may see.
            Err(_) if !missing.is_empty() && strange.is_none() => break,
            Err(mut answer) => return Err(answers::refused(&mut answer, &ancestor, what())),
        }
        missing.push(ancestor);
    }
    if let (Some(error), false) = (strange, stands) {
        return Err(error);
    }
    for ancestor in missing.iter().rev() {
        make(session, ancestor, &what)?;
    }
    match session.propfind(url, &what)? {
        Ok(found) if found.resource.as_ref().is_some_and(|looked| looked.is_collection) => Ok(found),
        Ok(_) => Err(no_directory(url, what())),
        Err(mut answer) => Err(answers::refused(&mut answer, url, what())),
    }
}

fn make(session: &Session, url: &Url, what: &dyn Fn() -> String) -> Result<(), DestinationError> {
    let place = decoded(url.path());
    let what = || format!("{}: `{place}` is missing and could not be created", what());
    let method = Method::from_bytes(b"MKCOL")
        .map_err(|error| DestinationError::new(ErrorKind::Other, what()).caused_by(error))?;
    let mut answer = session.ask(&method, url, &[], None, &what)?;
    match answer.status() {
        status if status.is_success() => {
            answer.beginning();
            tracing::info!("created the directory `{}`", shown(url));
            Ok(())
        }
        // Another job may have been faster; or there is a file, which the next look tells.
        StatusCode::METHOD_NOT_ALLOWED if exists(session, url, &what)? => Ok(()),
        StatusCode::CONFLICT if exists(session, url, &what)? => Ok(()),
        _ => {
            let error = answers::refused(&mut answer, url, what());
            drop(answer);
            if !error.is_transient() && is_file(session, url, &what)? {
                return Err(no_directory(url, what()));
            }
            match error.is_transient() {
                true => Err(error),
                false => Err(error.with_hint(text!(
                    "create `{place}` on the server and give it to this account, or correct the path in `url`"
                        / "créez `{place}` sur le serveur et donnez-le à ce compte, ou corrigez le chemin dans `url`"
                ))),
            }
        }
    }
}

/// Whether a file bears the name, without the `/` of a directory.
fn is_file(session: &Session, url: &Url, what: &dyn Fn() -> String) -> Result<bool, DestinationError> {
    let mut url = url.clone();
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    match session.propfind(&url, what)? {
        Ok(found) => Ok(found.resource.as_ref().is_some_and(|looked| !is_missing(looked) && !looked.is_collection)),
        Err(_) => Ok(false),
    }
}

fn exists(session: &Session, url: &Url, what: &dyn Fn() -> String) -> Result<bool, DestinationError> {
    match session.propfind(url, what)? {
        Ok(found) => Ok(found.resource.as_ref().is_some_and(|looked| !is_missing(looked))),
        Err(_) => Ok(false),
    }
}

/// Some servers say it inside an answer that is a success.
pub(super) fn is_missing(resource: &Resource) -> bool {
    matches!(resource.status, Some(404 | 410))
}

fn no_directory(url: &Url, what: String) -> DestinationError {
    let place = decoded(url.path());
    DestinationError::new(ErrorKind::Other, what)
        .caused_by(format!("`{place}` is no directory"))
        .with_hint(answers::no_webdav_hint())
}

/// The collection and all above it, deepest first; each ends in `/`.
fn ancestors(url: &Url) -> Vec<Url> {
    let path = url.path();
    let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at + 1).collect();
    ends.reverse();
    ends.into_iter()
        .map(|end| {
            let mut ancestor = url.clone();
            ancestor.set_path(&path[..end]);
            ancestor
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_is_named_once_and_ends_in_a_slash() {
        let paths =
            |url| ancestors(&Url::parse(url).unwrap()).iter().map(|url| url.path().to_owned()).collect::<Vec<_>>();
        assert_eq!(paths("https://h/dav/a%20b/c/"), ["/dav/a%20b/c/", "/dav/a%20b/", "/dav/", "/"]);
        assert_eq!(paths("https://h/"), ["/"]);
    }
}
