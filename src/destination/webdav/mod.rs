//! WebDAV (RFC 4918): a collection on a web server.
//!
//! - [`session`](self::session) makes requests in somebody's name, with what `auth` knows of challenges.
//! - `multistatus` reads what the server tells of its files, `answers` what its refusals mean, `directory` makes what is missing.
//!
//! An upload cannot go on where it was cut: a PUT of a part (`Content-Range`) is taken for the whole by some servers
//! (RFC 9110 §14.5).
//!
//! Checksums are those of what is read back. `OC-Checksum` would not do: Nextcloud stores what the client says and shows it
//! again, and ownCloud computes SHA-1, MD5 and Adler-32 only.

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderName, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, StatusCode};
use url::Url;

use self::multistatus::{Resource, decoded};
use self::session::{Depth, Session};
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::WebdavSettings;
use crate::digest::Digest;
use crate::interrupt::Interrupt;

mod answers;
mod auth;
mod directory;
mod multistatus;
mod session;
#[cfg(test)]
mod tests;

/// What need not be encoded in a path: the unreserved characters (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A collection on a WebDAV server.
pub struct WebdavDestination {
    session: Session,
    /// Ends in `/`.
    url: Url,
    location: String,
    tells_space: bool,
    tells_time: bool,
    /// A server behind a gateway that ends TLS does not know its own address: it is told the path alone.
    destination_is_path: bool,
}

impl WebdavDestination {
    /// Logs in, and makes sure that the collection is there, all its parents included.
    ///
    /// # Errors
    /// `Untrusted` before any credential was sent, `Auth`, `Unreachable`, `PermissionDenied`, `Other` if no WebDAV is there.
    pub fn open(
        settings: &WebdavSettings,
        timeouts: Timeouts,
        interrupt: &Interrupt,
    ) -> Result<Self, DestinationError> {
        let session = Session::new(settings, timeouts, interrupt)?;
        let found = directory::ensure(&session, &settings.url)?;
        Ok(WebdavDestination {
            session,
            url: settings.url.clone(),
            location: settings.location(),
            tells_space: found.resources.first().is_some_and(|looked| looked.available.is_some()),
            tells_time: found.server_time.is_some(),
            destination_is_path: false,
        })
    }

    fn url_of(&self, name: &str) -> Result<Url, DestinationError> {
        check_name(name)?;
        let mut url = self.url.clone();
        url.set_path(&format!("{}{}", self.url.path(), utf8_percent_encode(name, ENCODED)));
        Ok(url)
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("failed to {verb} `{name}` at `{}`", self.location)
    }

    fn look_at(&self, name: &str, what: &dyn Fn() -> String) -> Result<Option<Entry>, DestinationError> {
        let url = self.url_of(name)?;
        match self.session.propfind(&url, Depth::Zero, what)? {
            Ok(found) => match found.resources.first() {
                Some(looked) if directory::is_missing(looked) => Ok(None),
                Some(looked) => Ok(Some(entry_of(name.to_owned(), looked))),
                None => Err(DestinationError::new(ErrorKind::Other, what()).caused_by("the server's answer is empty")),
            },
            Err(answer) if answer.status() == StatusCode::NOT_FOUND => Ok(None),
            // Where a directory is asked for without its `/`.
            Err(answer) if leads_to(answer.headers().get(LOCATION), &url, &format!("{}/", url.path())) => {
                Ok(Some(Entry { name: name.to_owned(), size: 0, modified: None, is_file: false }))
            }
            Err(mut answer) => Err(answers::refused(&mut answer, &url, what())),
        }
    }

    /// `location` is where the name is expected; both names are known to be free or taken.
    fn send_move(
        &self,
        from: &Url,
        to: &Url,
        what: &dyn Fn() -> String,
    ) -> Result<super::http::Answer<'_>, DestinationError> {
        let unusable = |error: reqwest::header::InvalidHeaderValue| {
            DestinationError::new(ErrorKind::Other, what()).caused_by(error)
        };
        let destination = if self.destination_is_path { to.path() } else { to.as_str() };
        let headers = [
            (HeaderName::from_static("destination"), HeaderValue::from_str(destination).map_err(unusable)?),
            (HeaderName::from_static("overwrite"), HeaderValue::from_static("F")),
        ];
        let method = Method::from_bytes(b"MOVE")
            .map_err(|error| DestinationError::new(ErrorKind::Other, what()).caused_by(error))?;
        self.session.ask(&method, from, &headers, None, what)
    }
}

impl Destination for WebdavDestination {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn capabilities(&mut self) -> Capabilities {
        Capabilities {
            // The server must refuse (RFC 4918 §10.6), but mod_dav, nginx and Sabre look first and rename then.
            move_refuses_to_clobber: false,
            // RFC 4918 §9.9
            move_in_one_step: true,
            checksum_by_server: false,
            resume: false,
            free_space: self.tells_space,
            server_clock: self.tells_time,
            atomic_put: false,
        }
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        let what = || format!("failed to list `{}`", self.location);
        let found = match self.session.propfind(&self.url, Depth::One, &what)? {
            Ok(found) => found,
            Err(mut answer) => return Err(answers::refused(&mut answer, &self.url, what())),
        };
        entries_in(&decoded(self.url.path()), &found.resources)
            .map_err(|why| DestinationError::new(ErrorKind::Other, what()).caused_by(why))
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        self.look_at(name, &|| self.what("look at", name))
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let what = || self.what("write", name);
        let url = self.url_of(name)?;
        if offset > 0 {
            return Err(DestinationError::new(ErrorKind::Other, what())
                .caused_by("over WebDAV an upload cannot go on where another ended"));
        }
        if self.session.is_digest() {
            // A challenge that has become stale is renewed before the archive is on its way, not after.
            self.look_at(name, &what)?;
        }
        let mut answer = self.session.upload(&url, source, &what)?;
        if !answer.status().is_success() {
            return Err(answers::refused(&mut answer, &url, what()));
        }
        answer.beginning();
        let len_bytes = source.len_bytes();
        match self.look_at(name, &what)? {
            Some(entry) if entry.is_file && entry.size == len_bytes => Ok(()),
            found => {
                let held = found.map_or("is not there".to_owned(), |entry| format!("has {} bytes", entry.size));
                Err(DestinationError::new(ErrorKind::Other, what())
                    .caused_by(format!("the server took {len_bytes} bytes, yet the file {held}")))
            }
        }
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        let what = || self.what("read", name);
        let url = self.url_of(name)?;
        let mut headers = vec![(ACCEPT_ENCODING, HeaderValue::from_static("identity"))];
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"));
            headers.push((
                RANGE,
                range.map_err(|error| DestinationError::new(ErrorKind::Other, what()).caused_by(error))?,
            ));
        }
        let mut answer = self.session.ask(&Method::GET, &url, &headers, None, &what)?;
        // What must still be passed over: all before the offset, if the server sends the whole file.
        let mut skipped = match answer.status() {
            StatusCode::OK => offset,
            StatusCode::PARTIAL_CONTENT if first_of_range(answer.headers().get(CONTENT_RANGE)) == Some(offset) => 0,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                // There is nothing from the end on; elsewhere that is no answer.
                answer.beginning();
                return match self.look_at(name, &what)? {
                    Some(entry) if entry.is_file && entry.size <= offset => Ok(()),
                    _ => Err(answers::refused(&mut answer, &url, what())),
                };
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(DestinationError::new(ErrorKind::Other, what())
                    .caused_by(format!("the server sent another part than from byte {offset}")));
            }
            _ => return Err(answers::refused(&mut answer, &url, what())),
        };
        let mut rest = |bytes: &[u8]| {
            let pass = bytes.len().min(usize::try_from(skipped).unwrap_or(usize::MAX));
            skipped -= pass as u64;
            match bytes.len() == pass {
                true => Ok(()),
                false => sink(&bytes[pass..]),
            }
        };
        answer.read(&mut rest, &what)
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        let location = self.location.clone();
        let what = || format!("failed to rename `{from}` to `{to}` at `{location}`");
        let (source, target) = (self.url_of(from)?, self.url_of(to)?);
        let taken =
            || DestinationError::new(ErrorKind::AlreadyExists, what()).caused_by(format!("`{to}` exists already"));
        // A server that does not know `Overwrite` would replace the file.
        if self.look_at(to, &what)?.is_some() {
            return Err(taken());
        }
        let mut answer = self.send_move(&source, &target, &what)?;
        if answer.status() == StatusCode::BAD_GATEWAY && !self.destination_is_path {
            let error = answers::refused(&mut answer, &source, what());
            drop(answer);
            // From a gateway it may as well mean that the answer was lost: then both names tell.
            if self.look_at(from, &what)?.is_none() || self.look_at(to, &what)?.is_some() {
                return Err(error);
            }
            self.destination_is_path = true;
            answer = self.send_move(&source, &target, &what)?;
        }
        match answer.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => {
                answer.beginning();
                Ok(())
            }
            StatusCode::PRECONDITION_FAILED => Err(taken()),
            StatusCode::NOT_FOUND => {
                Err(DestinationError::new(ErrorKind::NotFound, what()).caused_by(format!("`{from}` does not exist")))
            }
            _ => Err(answers::refused(&mut answer, &source, what())),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        let what = || self.what("delete", name);
        let url = self.url_of(name)?;
        // A directory would go with all that is in it (RFC 4918 §9.6.1).
        match self.look_at(name, &what)? {
            None => return Ok(()),
            Some(entry) if !entry.is_file => {
                return Err(DestinationError::new(ErrorKind::Other, what()).caused_by("it is no file"));
            }
            Some(_) => {}
        }
        let mut answer = self.session.ask(&Method::DELETE, &url, &[], None, &what)?;
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => {}
            status if status.is_success() && status != StatusCode::MULTI_STATUS => {}
            _ => return Err(answers::refused(&mut answer, &url, what())),
        }
        answer.beginning();
        Ok(())
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        let what = || format!("failed to compute the checksum of `{name}` at `{}`", self.location);
        match self.look_at(name, &what)? {
            Some(_) => Ok(None),
            None => {
                Err(DestinationError::new(ErrorKind::NotFound, what()).caused_by(format!("`{name}` does not exist")))
            }
        }
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        let what = || format!("failed to ask for the free space of `{}`", self.location);
        match self.session.propfind(&self.url, Depth::Zero, &what)? {
            Ok(found) => Ok(found.resources.first().and_then(|looked| looked.available)),
            Err(mut answer) => Err(answers::refused(&mut answer, &self.url, what())),
        }
    }

    fn server_time(&mut self) -> Result<Option<DateTime<Utc>>, DestinationError> {
        let what = || format!("failed to ask for the time of `{}`", self.location);
        match self.session.propfind(&self.url, Depth::Zero, &what)? {
            Ok(found) => Ok(found.server_time),
            Err(mut answer) => Err(answers::refused(&mut answer, &self.url, what())),
        }
    }
}

/// What lies in the collection `own`, of an answer that holds the collection itself too.
fn entries_in(own: &str, resources: &[Resource]) -> Result<Vec<Entry>, String> {
    if !resources.iter().any(|resource| resource.path == own) {
        let other = resources.first().map_or("nothing".to_owned(), |resource| format!("`{}`", resource.path));
        return Err(format!("the server was asked for `{own}` and tells of {other}: does a gateway change the paths?"));
    }
    let prefix = format!("{}/", own.trim_end_matches('/'));
    let mut entries = Vec::new();
    for resource in resources.iter().filter(|resource| resource.path != own) {
        let name = match resource.path.strip_prefix(&prefix) {
            Some(name) if !name.is_empty() => name,
            _ => return Err(format!("the server lists `{}`, which is not in `{own}`", resource.path)),
        };
        match resource.status {
            Some(status) if directory::is_missing(resource) => {
                tracing::debug!("`{name}` was listed with the status {status}: it has just gone");
            }
            Some(status) if status >= 300 => {
                return Err(format!("the listing is not complete: `{name}` has the status {status}"));
            }
            _ => entries.push(entry_of(name.to_owned(), resource)),
        }
    }
    Ok(entries)
}

/// What has no length is nothing that was uploaded.
fn entry_of(name: String, resource: &Resource) -> Entry {
    Entry {
        name,
        size: resource.size.filter(|_| !resource.is_collection).unwrap_or(0),
        modified: resource.modified,
        is_file: !resource.is_collection && resource.size.is_some(),
    }
}

/// Whether a redirect's target is `path` on the same server.
fn leads_to(target: Option<&HeaderValue>, from: &Url, path: &str) -> bool {
    let target = target.and_then(|target| from.join(target.to_str().ok()?).ok());
    target.is_some_and(|target| {
        target.host_str() == from.host_str() && decoded(target.path()) == decoded(path) && target.path().ends_with('/')
    })
}

/// The first byte of `Content-Range: bytes first-last/total` (RFC 9110 §14.4).
fn first_of_range(range: Option<&HeaderValue>) -> Option<u64> {
    range?.to_str().ok()?.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}
