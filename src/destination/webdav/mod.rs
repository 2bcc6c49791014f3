//! WebDAV (RFC 4918): a collection on a web server.
//!
//! - [`session`](self::session) makes requests in somebody's name, with what `auth` knows of challenges.
//! - `multistatus` reads what the server tells of its files, `listing` makes entries of it, `answers` knows what refusals mean,
//!   `directory` makes what is missing.
//!
//! An upload cannot go on where it was cut: a PUT of a part (`Content-Range`) is taken for the whole by some servers
//! (RFC 9110 §14.5).
//!
//! Checksums are those of what is read back. `OC-Checksum` would not do: Nextcloud stores what the client says and shows it
//! again, and ownCloud computes SHA-1, MD5 and Adler-32 only.

use std::cell::Cell;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderName, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, StatusCode};
use url::Url;

use self::listing::{Lister, entry_of};
use self::multistatus::decoded;
use self::session::{Depth, Session};
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::WebdavSettings;
use crate::digest::Digest;
use crate::interrupt::Interrupt;

mod answers;
mod auth;
mod directory;
mod listing;
mod multistatus;
mod session;
#[cfg(test)]
mod tests;

/// What need not be encoded in a path: the unreserved characters (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The first pause between two looks for a file whose upload a gateway gave up; each further one is twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// A collection on a WebDAV server.
pub struct WebdavDestination {
    session: Session,
    /// Ends in `/`.
    url: Url,
    location: String,
    tells_space: bool,
    tells_time: bool,
    stall: Duration,
    /// A server behind a gateway that ends TLS does not know its own address: it is told the path alone.
    destination_is_path: Cell<bool>,
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
            tells_space: found.resource.is_some_and(|looked| looked.available.is_some()),
            tells_time: found.server_time.is_some(),
            stall: timeouts.stall,
            destination_is_path: Cell::new(false),
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
        match self.session.propfind(&url, what)? {
            Ok(found) => match found.resource {
                Some(looked) if directory::is_missing(&looked) => Ok(None),
                Some(looked) => Ok(Some(entry_of(name.to_owned(), &looked))),
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

    /// Whether a file of `len_bytes` that was not there `before` is there now, although its upload was not answered. After a
    /// gateway gave it up, the server may still be at it.
    fn has_arrived(
        &self,
        name: &str,
        len_bytes: u64,
        before: Option<&Entry>,
        by_gateway: bool,
        what: &dyn Fn() -> String,
    ) -> Result<bool, DestinationError> {
        let longest = if by_gateway { self.stall } else { Duration::ZERO };
        self.comes_true(longest, what, &|| {
            let found = self.look_at(name, what)?;
            let is_whole = found.as_ref().is_some_and(|entry| entry.is_file && entry.size == len_bytes);
            Ok(is_whole && found.as_ref() != before)
        })
    }

    /// Looks until something has come true, for so long; an error of a look says less than what went wrong before it.
    fn comes_true(
        &self,
        longest: Duration,
        what: &dyn Fn() -> String,
        look: &dyn Fn() -> Result<bool, DestinationError>,
    ) -> Result<bool, DestinationError> {
        let began = Instant::now();
        let mut pause = FIRST_LOOK;
        loop {
            match look() {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) if error.kind == ErrorKind::Local => return Err(error),
                Err(_) => return Ok(false),
            }
            if began.elapsed() + pause > longest {
                return Ok(false);
            }
            self.session.pause(pause, what)?;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    /// `destination` is the new place: a URL, or its path alone. Both names are known to be free or taken.
    fn send_move(
        &self,
        from: &Url,
        destination: &str,
        what: &dyn Fn() -> String,
    ) -> Result<super::http::Answer<'_>, DestinationError> {
        let unusable = |error: reqwest::header::InvalidHeaderValue| {
            DestinationError::new(ErrorKind::Other, what()).caused_by(error)
        };
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
        let own = decoded(self.url.path());
        let mut lister = Lister::new(&own, &what);
        match self.session.propfind_each(&self.url, Depth::One, &what, &mut |resource| lister.take(resource))? {
            Ok(_) => lister.finish(),
            Err(mut answer) => Err(answers::refused(&mut answer, &self.url, what())),
        }
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
        let len_bytes = source.len_bytes();
        // So that it can be told afterwards whose the file is; and a challenge that has become stale is renewed before the
        // archive is on its way, not after.
        let before = self.look_at(name, &what)?;
        let (error, by_gateway) = match self.session.upload(&url, source, &what) {
            Ok(mut answer) if answer.status().is_success() => {
                answer.beginning();
                (None, false)
            }
            Ok(mut answer) => {
                let by_gateway = answers::is_from_a_gateway(answer.status());
                (Some(answers::refused(&mut answer, &url, what())), by_gateway)
            }
            Err(error) => (Some(error), false),
        };
        if let Some(error) = error {
            // Sent again, it would end in the same way: a gateway that waits for a minute does so each time.
            let may_be_there = error.is_transient() && self.session.sent_all();
            if !may_be_there || !self.has_arrived(name, len_bytes, before.as_ref(), by_gateway, &what)? {
                return Err(error);
            }
            tracing::info!("the upload of `{name}` was not answered, yet the file is there with all its bytes");
            return Ok(());
        }
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
            StatusCode::NOT_FOUND if self.look_at(name, &what)?.is_some_and(|entry| entry.is_file) => {
                return Err(answers::listed_but_not_found(what()));
            }
            _ => return Err(answers::refused(&mut answer, &url, what())),
        };
        // Where the answer does not announce its end, what the server tells of the file does.
        let most_bytes = match answer.announced_bytes() {
            Some(bytes) => bytes,
            None => self.look_at(name, &what)?.map_or(0, |entry| entry.size),
        };
        let mut rest = |bytes: &[u8]| {
            let pass = bytes.len().min(usize::try_from(skipped).unwrap_or(usize::MAX));
            skipped -= pass as u64;
            match bytes.len() == pass {
                true => Ok(()),
                false => sink(&bytes[pass..]),
            }
        };
        answer.read_at_most(most_bytes, &mut rest, &what)
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        let location = self.location.clone();
        let what = || format!("failed to rename `{from}` to `{to}` at `{location}`");
        let (source, target) = (self.url_of(from)?, self.url_of(to)?);
        let taken =
            || DestinationError::new(ErrorKind::AlreadyExists, what()).caused_by(format!("`{to}` exists already"));
        let missing =
            || DestinationError::new(ErrorKind::NotFound, what()).caused_by(format!("`{from}` does not exist"));
        // A server that does not know `Overwrite` would replace the file.
        if self.look_at(to, &what)?.is_some() {
            return Err(taken());
        }
        let whole = if self.destination_is_path.get() { target.path() } else { target.as_str() };
        let mut answer = self.send_move(&source, whole, &what)?;
        // What servers say to an address that they do not take for their own: mod_dav, nginx, Sabre.
        let is_foreign = matches!(answer.status().as_u16(), 400 | 403 | 502);
        if is_foreign && !self.destination_is_path.get() {
            let error = answers::refused(&mut answer, &source, what());
            drop(answer);
            // From a gateway it may as well mean that the answer was lost: then both names tell.
            match self.look_at(from, &what)? {
                None if error.is_transient() => return Err(error),
                None => return Err(missing()),
                Some(_) if self.look_at(to, &what)?.is_some() => return Err(error),
                Some(_) => {}
            }
            answer = self.send_move(&source, target.path(), &what)?;
            self.destination_is_path.set(answer.status().is_success());
        }
        match answer.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => {
                answer.beginning();
                Ok(())
            }
            StatusCode::PRECONDITION_FAILED => Err(taken()),
            StatusCode::NOT_FOUND => Err(missing()),
            status => {
                let error = answers::refused(&mut answer, &source, what());
                drop(answer);
                // The server may still be moving it, and would answer `423` to another attempt (rclone/rclone#7109).
                let has_moved = || Ok(self.look_at(from, &what)?.is_none() && self.look_at(to, &what)?.is_some());
                match answers::is_from_a_gateway(status) && self.comes_true(self.stall, &what, &has_moved)? {
                    true => Ok(()),
                    false => Err(error),
                }
            }
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
        match self.session.propfind(&self.url, &what)? {
            Ok(found) => Ok(found.resource.and_then(|looked| looked.available)),
            Err(mut answer) => Err(answers::refused(&mut answer, &self.url, what())),
        }
    }

    fn server_time(&mut self) -> Result<Option<DateTime<Utc>>, DestinationError> {
        let what = || format!("failed to ask for the time of `{}`", self.location);
        match self.session.propfind(&self.url, &what)? {
            Ok(found) => Ok(found.server_time),
            Err(mut answer) => Err(answers::refused(&mut answer, &self.url, what())),
        }
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
