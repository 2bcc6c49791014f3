//! Requests with credentials: a challenge is answered, and the request made again.

use std::cell::RefCell;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use url::Url;

use super::super::http::{Answer, Http, Keys, Settings};
use super::answers;
use super::auth::{Credentials, Verdict};
use super::multistatus::{self, Resource, Unread};
use crate::config::settings::{WebdavLogin, WebdavSettings};
use crate::destination::limits::MAX_LISTING_BYTES;
use crate::destination::{DestinationError, ErrorKind, Source, Timeouts};
use crate::http::authority;
use crate::interrupt::Interrupt;

/// A challenge, its renewal, and one more.
const MOST_ATTEMPTS: u32 = 3;
/// What is told of one resource is shorter, bytes.
const MOST_RESOURCE_BYTES: u64 = 1 << 20;

/// How deep a PROPFIND looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// The resource itself.
    Zero,
    /// With what lies in it.
    One,
}

/// A server that we talk to in somebody's name.
pub(super) struct Session {
    http: Http,
    login: WebdavLogin,
    credentials: RefCell<Credentials>,
    place: String,
}

impl Session {
    pub(super) fn new(
        settings: &WebdavSettings,
        timeouts: Timeouts,
        interrupt: &Interrupt,
    ) -> Result<Self, DestinationError> {
        let keys = Keys { address: "url", ca_file: "ca_file" };
        let base = Settings { base: &settings.url, keys, ca_file: settings.ca_file.as_deref(), timeouts };
        Ok(Session {
            http: Http::new(&base, interrupt)?,
            login: settings.login.clone(),
            credentials: RefCell::new(Credentials::new(&settings.login, settings.url.scheme() == "https")),
            place: authority(&settings.url),
        })
    }

    /// A request without a body, or with a short one in XML; any answer but a 401.
    pub(super) fn ask(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        xml: Option<&'static str>,
        what: &dyn Fn() -> String,
    ) -> Result<Answer<'_>, DestinationError> {
        self.authorized(method, url, what, &mut |request| {
            let mut request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            if let Some(xml) = xml {
                request = request.header(CONTENT_TYPE, "application/xml; charset=utf-8").body(xml);
            }
            self.http.call(request, what)
        })
    }

    /// Sends all of `source` with a PUT; any answer but a 401.
    pub(super) fn upload(
        &self,
        url: &Url,
        source: &mut dyn Source,
        what: &dyn Fn() -> String,
    ) -> Result<Answer<'_>, DestinationError> {
        let len_bytes = source.len_bytes();
        self.authorized(&Method::PUT, url, what, &mut |request| {
            let request = request.header(CONTENT_TYPE, "application/octet-stream");
            self.http.upload(request, source, 0, len_bytes, what)
        })
    }

    /// Whether the last upload had handed over everything when it failed.
    pub(super) fn sent_all(&self) -> bool {
        self.http.sent_all()
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// `Local`: a signal, or the time limit.
    pub(super) fn pause(&self, duration: Duration, what: &dyn Fn() -> String) -> Result<(), DestinationError> {
        self.http.pause(duration, what)
    }

    /// The properties of a resource; `Err` with the answer if it tells none.
    pub(super) fn propfind(
        &self,
        url: &Url,
        what: &dyn Fn() -> String,
    ) -> Result<Result<Found, Answer<'_>>, DestinationError> {
        let mut first = None;
        let each = &mut |resource| {
            first.get_or_insert(resource);
            Ok(())
        };
        let found = self.propfind_each(url, Depth::Zero, what, each)?;
        Ok(found.map(|server_time| Found { resource: first, server_time }))
    }

    /// Gives `each` the properties of a resource and, with [`Depth::One`], of all that lies in it; the server's clock, or `Err`
    /// with the answer if it tells none.
    pub(super) fn propfind_each(
        &self,
        url: &Url,
        depth: Depth,
        what: &dyn Fn() -> String,
        each: &mut dyn FnMut(Resource) -> Result<(), DestinationError>,
    ) -> Result<Result<Option<DateTime<Utc>>, Answer<'_>>, DestinationError> {
        let method = Method::from_bytes(b"PROPFIND")
            .map_err(|error| DestinationError::new(ErrorKind::Other, what()).caused_by(error))?;
        let (depth, most_bytes) = match depth {
            Depth::Zero => (HeaderValue::from_static("0"), MOST_RESOURCE_BYTES),
            Depth::One => (HeaderValue::from_static("1"), MAX_LISTING_BYTES),
        };
        let mut answer = self.ask(&method, url, &[(HeaderName::from_static("depth"), depth)], Some(PROPFIND), what)?;
        if answer.status() != StatusCode::MULTI_STATUS {
            return Ok(Err(answer));
        }
        let server_time = crate::http::server_date(answer.headers());
        let mut stream = answer.stream(most_bytes);
        let read = multistatus::read(&mut stream, each);
        if let Some(error) = stream.failure(what) {
            return Err(error);
        }
        match read {
            Ok(()) => Ok(Ok(server_time)),
            Err(Unread::Refused(error)) => Err(error),
            Err(Unread::Malformed(why)) => Err(DestinationError::new(ErrorKind::Other, what())
                .caused_by(format!("the server's answer cannot be read: {why}"))
                .with_hint(answers::no_webdav_hint())),
        }
    }

    /// Sends until the answer is no 401, or there is nothing more to say to it.
    fn authorized<'a>(
        &'a self,
        method: &Method,
        url: &Url,
        what: &dyn Fn() -> String,
        send: &mut dyn FnMut(RequestBuilder) -> Result<Answer<'a>, DestinationError>,
    ) -> Result<Answer<'a>, DestinationError> {
        let unauthorized = |schemes: Option<&str>| answers::unauthorized(&self.login, schemes, &self.place, what());
        for _ in 0..MOST_ATTEMPTS {
            let mut request = self.http.request(method.clone(), url);
            if let Some(header) = self.credentials.borrow_mut().header(method, url) {
                request = request.header(AUTHORIZATION, header);
            }
            let mut answer = send(request)?;
            tracing::debug!("{method} {}: {}", crate::http::shown(url), answer.status());
            let mut credentials = self.credentials.borrow_mut();
            if answer.status() != StatusCode::UNAUTHORIZED {
                credentials.accepted();
                return Ok(answer);
            }
            // Read to its end, the connection serves on.
            answer.beginning();
            match credentials.challenged(answer.headers()) {
                Verdict::Again => {}
                Verdict::Refused => return Err(unauthorized(None)),
                Verdict::Unencrypted => return Err(answers::unencrypted(&self.place, what())),
                Verdict::Other(schemes) => return Err(unauthorized(Some(&schemes))),
            }
        }
        Err(unauthorized(None))
    }
}

/// What a PROPFIND found.
pub(super) struct Found {
    pub resource: Option<Resource>,
    /// The server's clock.
    pub server_time: Option<DateTime<Utc>>,
}

/// Asks for no more than is needed: a listing of ten thousand files is five megabytes long even so.
const PROPFIND: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
    <D:propfind xmlns:D=\"DAV:\"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/>\
    <D:quota-available-bytes/></D:prop></D:propfind>";
