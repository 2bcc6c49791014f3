//! What the destinations that speak HTTP share. One [`Http`] per connection of a destination; its calls are synchronous, and
//! each is one attempt, without redirects or retries.
//!
//! ```text
//! let http = Http::new(&Settings { base: &url, keys: Keys { address: "url", ca_file: "ca_file" }, ca_file, timeouts }, interrupt)?;
//! let mut answer = http.call(http.request(Method::HEAD, &url), &what)?;      // no body, or one in memory (`.body(…)`)
//! let mut answer = http.upload(http.request(Method::PUT, &url), source, offset, len, &what)?;   // `Content-Length: len`
//! answer.status(), answer.headers()
//! answer.read(&mut |bytes| …, &what)?      // to a sink, piece by piece
//! answer.text(most_bytes, &what)?          // all of it, for short answers in XML
//! answer.stream(most_bytes)                // as it comes, for a parser
//! answer.beginning()                       // what can be had of it, for the words of an error; call it before the next request
//! ```
//!
//! `what` says what is being done, for errors: ``failed to write `x` at `https://…` ``. Any status is an answer: what it
//! means is the protocol's business. No answer is an error with its final kind and a hint that names the settings of
//! [`Keys`]: `Unreachable` for a host that is not found, a refused or cut connection and a stall; `Untrusted` for a
//! certificate; `Local` for a source, a sink or a signal that ended it; `Other` where TLS cannot be agreed on.
//!
//! Every wait ends with the stall timeout once nothing moved for so long, in either direction; an answer that trickles stands
//! still, too ([`StallTimer`]). A signal and the time limit end it soon.
//! URLs are shown without their query: a signature in it is safe.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Sender;
use url::Url;

use super::feed::Feed;
use super::limits::StallTimer;
use super::{DestinationError, ErrorKind, Sink, Source, Timeouts};
use crate::http::{Ended, authority, bounded, client_builder, root_cause};
use crate::interrupt::Interrupt;

mod body;
mod errors;
#[cfg(feature = "webdav")]
mod stream;
#[cfg(test)]
mod tests;

use self::errors::Stop;
#[cfg(feature = "webdav")]
pub(super) use self::stream::Stream;

/// Read from a source in one piece, at most: small enough that a slow line is seen to move.
const PIECE_BYTES: usize = 64 << 10;
/// A firewall may have forgotten a connection that was idle for longer, without a word to either side.
const MOST_IDLE: Duration = Duration::from_secs(30);
/// How much of an answer is read for its words.
const WORDS_BYTES: usize = 16 << 10;

/// A sink that takes longer than this for a piece has waited for something of ours, a bandwidth limit for one.
const OWN_WAIT: Duration = Duration::from_millis(100);

/// The settings that hints name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// Which says where the server is.
    pub address: &'static str,
    /// Which adds an authority.
    pub ca_file: &'static str,
}

/// What a connection is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    /// Any URL of the server, for messages.
    pub base: &'a Url,
    /// For hints.
    pub keys: Keys,
    /// Authorities to trust beside the system's.
    pub ca_file: Option<&'a Path>,
    /// Of every call.
    pub timeouts: Timeouts,
}

/// The way to one server. Not to be used from inside an async runtime.
pub(super) struct Http {
    client: Client,
    base: Url,
    keys: Keys,
    timeouts: Timeouts,
    interrupt: Interrupt,
    /// Of the last upload.
    sent_all: Cell<bool>,
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
}

/// What a server answered.
pub(super) struct Answer<'a> {
    http: &'a Http,
    response: Response,
    stall: StallTimer,
    /// Until when any byte is enough to go on.
    may_trickle: Option<Instant>,
    /// Of a body that was not wanted to its end: without it, the client would give up the connection before the answer is read.
    _unsent: Option<Sender<io::Result<Bytes>>>,
}

impl Http {
    /// Prepares the connections; nothing is sent yet.
    ///
    /// # Errors
    /// `Other` for a `ca_file` that cannot be used, or if there is no authority at all.
    pub fn new(settings: &Settings<'_>, interrupt: &Interrupt) -> Result<Self, DestinationError> {
        let mut builder = client_builder(settings.timeouts.connect).pool_idle_timeout(MOST_IDLE);
        if let Some(file) = settings.ca_file {
            let certificates = crate::http::authorities(file, settings.keys.ca_file)
                .map_err(|error| errors::bad_authorities(error, settings.keys.ca_file))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| {
            DestinationError::new(ErrorKind::Other, format!("failed to prepare TLS for `{}`", authority(settings.base)))
                .caused_by(root_cause(&error.without_url()))
                .with_hint(errors::no_authorities_hint(settings.keys.ca_file))
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            DestinationError::new(ErrorKind::Local, "failed to start the runtime of the network").caused_by(error)
        })?;
        Ok(Http {
            client,
            base: settings.base.clone(),
            keys: settings.keys,
            timeouts: settings.timeouts,
            interrupt: interrupt.clone(),
            sent_all: Cell::new(false),
            runtime: Some(runtime),
        })
    }

    /// A request to be filled.
    pub fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        self.client.request(method, url.clone())
    }

    /// Sends a request without a body, or with one in memory.
    ///
    /// # Errors
    /// Why there was no answer.
    pub fn call(&self, request: RequestBuilder, what: &dyn Fn() -> String) -> Result<Answer<'_>, DestinationError> {
        self.attend_to_connections();
        let request = request.send();
        let sent = self.block_on(async { self.bounded(self.first_limit(), request).await?.map_err(Stop::Failed) });
        self.answer(sent, None, what)
    }

    /// Sends `len` bytes of `source` from `offset`. If these reach its end, the last of them leave only after the source was
    /// seen to end there.
    ///
    /// A server that answers before it has everything ends the sending: the answer comes back, and is no success.
    ///
    /// # Errors
    /// Why there was no answer; `Local` if the source failed, was shorter or longer than it said.
    pub fn upload(
        &self,
        request: RequestBuilder,
        source: &mut dyn Source,
        offset: u64,
        len: u64,
        what: &dyn Fn() -> String,
    ) -> Result<Answer<'_>, DestinationError> {
        self.sent_all.set(false);
        let mut feed = Feed::start(source, offset)?;
        let Some(beyond) = feed.left().checked_sub(len) else {
            let message = format!("cannot send {len} bytes from byte {offset}: {} are left", feed.left());
            return Err(DestinationError::new(ErrorKind::Local, message));
        };
        let request = request.header(CONTENT_LENGTH, HeaderValue::from(len));
        if len == 0 {
            if beyond == 0 {
                feed.finish()?;
            }
            return self.call(request, what);
        }
        self.attend_to_connections();
        let (body, sender) = body::new(len);
        let request = request.body(reqwest::Body::wrap(body)).send();
        let sent = self.block_on(self.feed(request, &sender, &mut feed, beyond));
        self.answer(sent, Some(sender), what)
    }

    /// Whether the last [`upload`](Http::upload) had handed over everything when it failed: then the file may be there.
    #[cfg(feature = "webdav")]
    pub fn sent_all(&self) -> bool {
        self.sent_all.get()
    }

    /// Lets time pass between two calls.
    ///
    /// # Errors
    /// `Local`: a signal, or the time limit.
    #[cfg(feature = "webdav")]
    pub fn pause(&self, duration: Duration, what: &dyn Fn() -> String) -> Result<(), DestinationError> {
        let waited = self.block_on(bounded(&self.interrupt, duration, std::future::pending::<()>()));
        match waited {
            Err(Ended::Interrupted) => Err(self.during(Stop::Interrupted, what)),
            _ => Ok(()),
        }
    }

    /// Between two calls nobody looks at the connections. Before a call: servers close those that are idle for a few seconds,
    /// and the next request would go out on a dead one. After one that was given up: its connection would stay open, and the
    /// server would keep what it has of the request.
    fn attend_to_connections(&self) {
        self.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }

    /// Moves what `feed` has, but the last `beyond` bytes, into the request's body until there is an answer.
    async fn feed(
        &self,
        request: impl Future<Output = reqwest::Result<Response>>,
        sender: &Sender<io::Result<Bytes>>,
        feed: &mut Feed<'_>,
        beyond: u64,
    ) -> Result<Response, Stop> {
        let mut request = pin!(request);
        let mut limit = self.first_limit();
        while feed.left() > beyond {
            let mut room = pin!(sender.reserve());
            let next = poll_fn(|context| match request.as_mut().poll(context) {
                Poll::Ready(answered) => Poll::Ready(Err(answered)),
                Poll::Pending => room.as_mut().poll(context).map(Ok),
            });
            match self.bounded(limit, next).await? {
                Ok(Ok(room)) => room.send(Ok(self.piece(feed, beyond)?)),
                // The client gave up the body: its answer, or the reason why there is none, comes next.
                Ok(Err(_)) => break,
                Err(answered) => {
                    let response = answered.map_err(Stop::Failed)?;
                    return match response.status().is_success() {
                        true => Err(Stop::Early(response.status())),
                        false => Ok(response),
                    };
                }
            }
            limit = self.timeouts.stall;
        }
        let complete = feed.left() == beyond;
        self.sent_all.set(complete);
        let response = self.bounded(self.timeouts.stall, request).await?.map_err(Stop::Failed)?;
        match response.status().is_success() && !complete {
            true => Err(Stop::Early(response.status())),
            false => Ok(response),
        }
    }

    fn piece(&self, feed: &mut Feed<'_>, beyond: u64) -> Result<Bytes, Stop> {
        let most = usize::try_from(feed.left() - beyond).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let mut piece = vec![0; most];
        let mut held = 0;
        while held < most {
            held += feed.read(&mut piece[held..]).map_err(Stop::Source)?;
        }
        if feed.left() == 0 {
            feed.finish().map_err(Stop::Source)?;
        }
        Ok(piece.into())
    }

    fn answer(
        &self,
        sent: Result<Response, Stop>,
        unsent: Option<Sender<io::Result<Bytes>>>,
        what: &dyn Fn() -> String,
    ) -> Result<Answer<'_>, DestinationError> {
        match sent {
            Ok(response) => {
                let stall = StallTimer::new(self.timeouts.stall);
                Ok(Answer { http: self, response, stall, may_trickle: None, _unsent: unsent })
            }
            Err(stop) => {
                drop(unsent);
                self.attend_to_connections();
                Err(self.during(stop, what))
            }
        }
    }

    /// Connecting has its own limit inside the client; the sum bounds both, whichever is slow.
    fn first_limit(&self) -> Duration {
        self.timeouts.connect + self.timeouts.stall
    }

    #[expect(clippy::expect_used, reason = "the runtime is taken in drop only")]
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("the runtime is taken in drop only").block_on(future)
    }

    async fn bounded<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, Stop> {
        bounded(&self.interrupt, limit, future).await.map_err(|ended| match ended {
            Ended::Stalled => Stop::Stalled,
            Ended::Interrupted => Stop::Interrupted,
        })
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // Not a plain drop: that waits for the name resolution, which the C library may hold up for half a minute.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<'a> Answer<'a> {
    /// Whatever it is.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// As they came.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// For so long the body may come byte by byte: it has no more to say than that the server is still at work.
    #[cfg(feature = "s3")]
    pub fn may_trickle(&mut self, longest: Duration) {
        self.may_trickle = Instant::now().checked_add(longest);
    }

    /// The body, piece by piece.
    ///
    /// # Errors
    /// `Unreachable` if it stops before its announced end, `Local` if the sink fails.
    pub fn read(&mut self, sink: &mut Sink<'_>, what: &dyn Fn() -> String) -> Result<(), DestinationError> {
        loop {
            let piece = self.piece().map_err(|stop| self.http.during(stop, what))?;
            let Some(piece) = piece else { return Ok(()) };
            let began = Instant::now();
            sink(&piece).map_err(|error| DestinationError::new(ErrorKind::Local, what()).caused_by(error))?;
            if began.elapsed() > OWN_WAIT {
                self.stall.restart();
            }
        }
    }

    /// The same of a body that has no more than `most_bytes`.
    ///
    /// # Errors
    /// As [`read`](Answer::read); `Other` if it goes on.
    pub fn read_at_most(
        &mut self,
        most_bytes: u64,
        sink: &mut Sink<'_>,
        what: &dyn Fn() -> String,
    ) -> Result<(), DestinationError> {
        let mut left = Some(most_bytes);
        let result = self.read(
            &mut |bytes| {
                left = left.and_then(|left| left.checked_sub(bytes.len() as u64));
                left.map_or_else(|| Err(io::Error::other("it does not end")), |_| sink(bytes))
            },
            what,
        );
        match left {
            Some(_) => result,
            None => Err(DestinationError::new(ErrorKind::Other, what())
                .caused_by(format!("the server sends more than the {most_bytes} bytes that it tells of"))),
        }
    }

    /// Bytes of the body, if they were announced; the client lets no more pass.
    pub fn announced_bytes(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`read`](Answer::read); `Other` if it is longer than `most_bytes`, or no UTF-8.
    #[cfg(any(feature = "s3", test))]
    pub fn text(&mut self, most_bytes: usize, what: &dyn Fn() -> String) -> Result<String, DestinationError> {
        let refused = |why: String| DestinationError::new(ErrorKind::Other, what()).caused_by(why);
        let mut held = Vec::new();
        while let Some(piece) = self.piece().map_err(|stop| self.http.during(stop, what))? {
            held.extend_from_slice(&piece);
            if held.len() > most_bytes {
                return Err(refused(format!("the answer is longer than {most_bytes} bytes")));
            }
        }
        String::from_utf8(held).map_err(|_| refused("the answer is no UTF-8".to_owned()))
    }

    /// The body as it comes, for a parser; reading more than `most_bytes` fails.
    #[cfg(feature = "webdav")]
    pub fn stream(&mut self, most_bytes: u64) -> Stream<'_, 'a> {
        Stream::new(self, most_bytes)
    }

    /// What can be had of the body's beginning; for words, and to leave the connection free for the next request.
    pub fn beginning(&mut self) -> String {
        let mut held = Vec::new();
        while held.len() < WORDS_BYTES
            && let Ok(Some(piece)) = self.piece()
        {
            held.extend_from_slice(&piece);
        }
        held.truncate(WORDS_BYTES);
        String::from_utf8_lossy(&held).into_owned()
    }

    fn piece(&mut self) -> Result<Option<Bytes>, Stop> {
        let (http, response) = (self.http, &mut self.response);
        let left = match self.may_trickle {
            Some(end) => http.timeouts.stall.min(end.saturating_duration_since(Instant::now())),
            None => self.stall.left(),
        };
        let piece = http.block_on(async { http.bounded(left, response.chunk()).await?.map_err(Stop::Cut) })?;
        self.stall.moved(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        Ok(piece)
    }
}
