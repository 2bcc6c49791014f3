//! A prefix of an S3 bucket, at Amazon or at any server that speaks its protocol.
//!
//! There are no directories and no renaming: a key shows its whole object or nothing, so archives are put under their final
//! names at once ([`Destination::put_new`]). What is called directory here are the keys that begin with `prefix/` and hold no
//! further `/`.
//!
//! - `sign` makes requests into signed URLs, by the crate `rusty-s3`, which is named there alone; `xml` reads answers,
//!   `refusal` translates errors, `upload` sends objects, `parts` the large ones, `explore` finds out what the server keeps to.

use std::path::Path;

use chrono::{DateTime, Utc};
use reqwest::Method as HttpMethod;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, LAST_MODIFIED};
use rusty_s3::Method;

use self::refusal::Refusal;
use self::sign::{Request, Signer};
use super::http::{Answer, Http, Keys, Settings};
use super::limits::Listing;
use super::{Capabilities, Destination, DestinationError, Entry, ErrorKind, Sink, Source, Timeouts, check_name};
use crate::config::settings::S3Settings;
use crate::digest::Digest;
use crate::error::Hinted as _;
use crate::http::server_date;
use crate::interrupt::Interrupt;
use crate::text::{MAX_NAME_CHARS, quote};

mod explore;
mod parts;
mod refusal;
mod sign;
mod upload;
mod xml;

/// A page of a listing has at most 1,000 keys of at most 1 KB, each three times as long when it is percent-encoded.
const LONGEST_ANSWER: usize = 8 << 20;
/// Pages without an entry in a row: some come where many objects were deleted from a bucket with versions.
const MOST_EMPTY_PAGES: usize = 100;

/// A prefix of a bucket.
pub struct S3Destination {
    http: Http,
    signer: Signer,
    settings: S3Settings,
    timeouts: Timeouts,
    interrupt: Interrupt,
    location: String,
    /// Its answers have a date.
    tells_time: bool,
    /// Which of our headers the server understands, as far as is known.
    headers: upload::Headers,
    /// It refuses a name that is taken, as far as is known.
    keeps_conditions: bool,
}

impl S3Destination {
    /// Asks for a first page of the listing: whether the server is there, knows us, and has the bucket. A prefix needs no making.
    ///
    /// # Errors
    /// `Auth`, `Untrusted`, `Unreachable`, `PermissionDenied`; `NotFound` if there is no such bucket; `Other` for the wrong
    /// region.
    pub fn open(settings: &S3Settings, timeouts: Timeouts, interrupt: &Interrupt) -> Result<Self, DestinationError> {
        let location = settings.location();
        let signer = Signer::new(settings).map_err(|error| {
            DestinationError::new(ErrorKind::Other, format!("`{location}` cannot be asked for"))
                .caused_by(error)
                .with_hint(crate::text!(
                    "check `bucket` and `endpoint`, or set `path_style = true`"
                        / "vérifiez `bucket` et `endpoint`, ou renseignez `path_style = true`"
                ))
        })?;
        let http = connect(&signer, settings, timeouts, interrupt)?;
        let mut s3 = S3Destination {
            http,
            signer,
            settings: settings.clone(),
            timeouts,
            interrupt: interrupt.clone(),
            location,
            tells_time: false,
            headers: upload::Headers::default(),
            keeps_conditions: true,
        };
        let what = || format!("failed to reach `{}`", s3.location);
        let answer = match s3.ask(&s3.listing(&s3.directory(), None, 1), &what)? {
            Ok(answer) => answer,
            // The bucket was taken for an object, or its name for a part of the host's.
            Err(refusal) if refusal.code() == "NoSuchKey" => {
                return Err(refusal.during(what()).with_hint(crate::text!(
                    "check `endpoint` and `path_style`: the server does not see `bucket` where it stands in the request"
                        / "vérifiez `endpoint` et `path_style` : le serveur ne voit pas `bucket` à sa place dans la requête"
                )));
            }
            Err(refusal) => return Err(refusal.during(what())),
        };
        let tells_time = server_date(answer.headers()).is_some();
        page_of(answer, &what)?;
        s3.tells_time = tells_time;
        Ok(s3)
    }

    /// What the keys of this directory begin with.
    fn directory(&self) -> String {
        match self.settings.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    fn key_of(&self, name: &str) -> Result<String, DestinationError> {
        check_name(name)?;
        Ok(format!("{}{name}", self.directory()))
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("failed to {verb} `{name}` at `{}`", self.location)
    }

    /// Sends a request without a body; any answer that is no success is an error.
    fn asked(&self, request: &Request, what: &dyn Fn() -> String) -> Result<Answer<'_>, DestinationError> {
        self.ask(request, what)?.map_err(|refusal| refusal.during(what()))
    }

    /// The same; what the server refuses comes back as such.
    fn ask(
        &self,
        request: &Request,
        what: &dyn Fn() -> String,
    ) -> Result<Result<Answer<'_>, Refusal>, DestinationError> {
        let mut builder = prepared(&self.http, &self.signer, request);
        if matches!(request.method, Method::Post | Method::Put) {
            // Without a length some servers answer `411`.
            builder = builder.header(CONTENT_LENGTH, 0);
        }
        judged(self.http.call(builder, what)?)
    }

    fn listing(&self, prefix: &str, from: Option<&xml::Next>, most: u32) -> Request {
        let request = Request::bucket(Method::Get)
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("delimiter", "/")
            .query("prefix", prefix)
            .query("max-keys", most.to_string());
        match from {
            Some(xml::Next::Token(token)) => request.query("continuation-token", token),
            Some(xml::Next::After(key)) => request.query("start-after", key),
            None => request,
        }
    }

    /// Whether there are keys below `name/`: the name is a directory's then, as far as listings go.
    fn is_directory(&self, name: &str, what: &dyn Fn() -> String) -> Result<bool, DestinationError> {
        let below = format!("{}{name}/", self.directory());
        let page = page_of(self.asked(&self.listing(&below, None, 1), what)?, what)?;
        Ok(!page.objects.is_empty() || !page.prefixes.is_empty())
    }

    fn look_at(&self, name: &str, what: &dyn Fn() -> String) -> Result<Option<Entry>, DestinationError> {
        let key = self.key_of(name)?;
        match self.ask(&Request::object(Method::Head, key), what)? {
            Ok(answer) => Ok(Some(entry_of(name, answer.headers(), what)?)),
            Err(refusal) if refusal.kind() == ErrorKind::NotFound => Ok(None),
            Err(refusal) => Err(refusal.during(what())),
        }
    }
}

/// The client of one connection.
fn connect(
    signer: &Signer,
    settings: &S3Settings,
    timeouts: Timeouts,
    interrupt: &Interrupt,
) -> Result<Http, DestinationError> {
    let keys = Keys { address: "endpoint", ca_file: "ca_file" };
    let ca_file = settings.ca_file.as_deref().map(Path::new);
    Http::new(&Settings { base: signer.base_url(), keys, ca_file, timeouts }, interrupt)
}

/// A request of the client's, signed.
fn prepared(http: &Http, signer: &Signer, request: &Request) -> reqwest::RequestBuilder {
    let method = match request.method {
        Method::Head => HttpMethod::HEAD,
        Method::Get => HttpMethod::GET,
        Method::Post => HttpMethod::POST,
        Method::Put => HttpMethod::PUT,
        Method::Delete => HttpMethod::DELETE,
    };
    let builder = http.request(method, &signer.sign(request));
    request.headers().iter().fold(builder, |builder, (name, value)| builder.header(*name, value))
}

/// Tells success from refusal.
fn judged(mut answer: Answer<'_>) -> Result<Result<Answer<'_>, Refusal>, DestinationError> {
    if answer.status().is_success() {
        return Ok(Ok(answer));
    }
    let status = answer.status().as_u16();
    let region = answer.headers().get("x-amz-bucket-region").and_then(|region| region.to_str().ok()).map(str::to_owned);
    let retry_after = crate::http::retry_after(answer.headers());
    let body = answer.beginning();
    Ok(Err(Refusal { status, words: xml::error(&body), region, had_body: !body.trim().is_empty(), retry_after }))
}

fn page_of(mut answer: Answer<'_>, what: &dyn Fn() -> String) -> Result<xml::Page, DestinationError> {
    let body = answer.text(LONGEST_ANSWER, what)?;
    xml::page(&body).map_err(|why| {
        DestinationError::new(ErrorKind::Other, what())
            .caused_by(format!("the server's listing cannot be understood: {why}"))
            .with_hint(crate::text!(
                "check `endpoint`: does what answers there speak S3?"
                    / "vérifiez `endpoint` : ce qui y répond parle-t-il S3 ?"
            ))
    })
}

fn entry_of(name: &str, headers: &HeaderMap, what: &dyn Fn() -> String) -> Result<Entry, DestinationError> {
    let text = |header| headers.get(header).and_then(|value| value.to_str().ok());
    let size = text(CONTENT_LENGTH).and_then(|size| size.trim().parse().ok()).ok_or_else(|| {
        DestinationError::new(ErrorKind::Other, what()).caused_by("the server does not tell its size")
    })?;
    let modified = text(LAST_MODIFIED).and_then(|time| httpdate::parse_http_date(time.trim()).ok()).map(DateTime::from);
    Ok(Entry { name: name.to_owned(), size, modified, is_file: true })
}

fn directory_entry(name: &str) -> Entry {
    Entry { name: name.to_owned(), size: 0, modified: None, is_file: false }
}

impl Destination for S3Destination {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn capabilities(&mut self) -> Capabilities {
        Capabilities {
            move_refuses_to_clobber: self.headers.conditions && self.keeps_conditions,
            move_in_one_step: false,
            // A server knows the SHA-256 of an object that came in one piece, of others only that of each part.
            checksum_by_server: false,
            resume: false,
            free_space: false,
            server_clock: self.tells_time,
            atomic_put: true,
        }
    }

    fn explore(&mut self) -> Capabilities {
        if let Some(kept) = self.probe_conditions() {
            self.keeps_conditions = kept;
        }
        self.capabilities()
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        let what = || format!("failed to list `{}`", self.location);
        let directory = self.directory();
        let named = |key: &str| key.strip_prefix(&directory).map(str::to_owned);
        let refused = |why: String| DestinationError::new(ErrorKind::Other, what()).caused_by(why);
        let foreign = |key: &str| {
            let key = quote(key, MAX_NAME_CHARS);
            refused(format!("the server listed `{key}`, which is not below `{directory}`"))
        };
        let endless = |error: DestinationError| match error.hint() {
            Some(hint) => DestinationError::new(error.kind, what()).caused_by(error).with_hint(hint),
            None => error,
        };
        let mut listing = Listing::new();
        let mut from: Option<xml::Next> = None;
        let (mut first, mut empty_pages) = (None, 0);
        loop {
            let page = page_of(self.asked(&self.listing(&directory, from.as_ref(), 1000), &what)?, &what)?;
            listing.received(page.bytes).map_err(endless)?;
            // In the same order, so the first entry of a page that brings anything new is another one.
            let begins = page.objects.first().map(|object| &object.key).or(page.prefixes.first()).cloned();
            let repeats = begins.is_some() && begins == first || page.next.is_some() && page.next == from;
            empty_pages = if begins.is_none() { empty_pages + 1 } else { 0 };
            if repeats || empty_pages > MOST_EMPTY_PAGES {
                return Err(refused("the server gives the same page again and again".to_owned()));
            }
            first = begins.or(first);
            for object in page.objects {
                let name = named(&object.key).ok_or_else(|| foreign(&object.key))?;
                // Consoles make an empty object of this name so that the directory shows.
                if !name.is_empty() {
                    let entry = Entry { name, size: object.size, modified: object.modified, is_file: true };
                    listing.push(entry).map_err(endless)?;
                }
            }
            for prefix in page.prefixes {
                let name = named(&prefix).ok_or_else(|| foreign(&prefix))?;
                listing.push(directory_entry(name.trim_end_matches('/'))).map_err(endless)?;
            }
            match page.next {
                None => return Ok(listing.finish()),
                next => from = next,
            }
        }
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        let what = || self.what("look for", name);
        match self.look_at(name, &what)? {
            Some(entry) => Ok(Some(entry)),
            None => Ok(self.is_directory(name, &what)?.then(|| directory_entry(name))),
        }
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let key = self.key_of(name)?;
        let refused = |why: &str| DestinationError::new(ErrorKind::Other, self.what("write", name)).caused_by(why);
        if offset > 0 {
            return Err(refused("an object is put as a whole"));
        }
        if self.is_directory(name, &|| self.what("write", name))? {
            return Err(refused("it is a directory"));
        }
        self.upload(name, key, source, false)
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        let what = || self.what("read", name);
        let mut request = Request::object(Method::Get, self.key_of(name)?);
        if offset > 0 {
            request = request.header("range", format!("bytes={offset}-"));
        }
        let mut answer = match self.ask(&request, &what)? {
            // Nothing is left behind the end.
            Err(refusal) if refusal.status == 416 && offset > 0 => return Ok(()),
            answered => answered.map_err(|refusal| refusal.during(what()))?,
        };
        if offset > 0 && answer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(DestinationError::new(ErrorKind::Other, what())
                .caused_by(format!("asked for what follows byte {offset}, the server sent everything")));
        }
        // Where the answer does not announce its end, the object's size does.
        let most_bytes = match answer.announced_bytes() {
            Some(bytes) => bytes,
            None => self.look_at(name, &what)?.map_or(0, |entry| entry.size),
        };
        answer.read_at_most(most_bytes, sink, &what)
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        let message = format!("failed to rename `{from}` to `{to}` at `{}`", self.location);
        Err(DestinationError::new(ErrorKind::Other, message).caused_by("S3 cannot rename"))
    }

    fn put_new(&mut self, name: &str, source: &mut dyn Source) -> Result<(), DestinationError> {
        let key = self.key_of(name)?;
        // Looked at before anything is sent, and because a server that is too old for the condition may ignore it.
        if self.stat(name)?.is_some() {
            self.abort_leftovers(&upload::Upload { name, key, new: true });
            return Err(DestinationError::new(ErrorKind::AlreadyExists, self.what("write", name))
                .caused_by(format!("`{name}` exists already")));
        }
        self.upload(name, key, source, true)
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        let what = || self.what("delete", name);
        match self.ask(&Request::object(Method::Delete, self.key_of(name)?), &what)? {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.code() == "NoSuchKey" => Ok(()),
            Err(refusal) => Err(refusal.during(what())),
        }
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        let what = || self.what("look for", name);
        match self.look_at(name, &what)? {
            Some(_) => Ok(None),
            None => {
                Err(DestinationError::new(ErrorKind::NotFound, what()).caused_by(format!("`{name}` does not exist")))
            }
        }
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        let what = || format!("failed to ask for free space at `{}`", self.location);
        // There is no such question; whoever asks learns at least that the server is gone. A HEAD of the bucket may be denied
        // where listing this prefix is allowed.
        self.asked(&self.listing(&self.directory(), None, 1), &what).map(|_| None)
    }

    fn server_time(&mut self) -> Result<Option<DateTime<Utc>>, DestinationError> {
        let what = || format!("failed to ask for the time at `{}`", self.location);
        Ok(server_date(self.asked(&self.listing(&self.directory(), None, 1), &what)?.headers()))
    }
}
