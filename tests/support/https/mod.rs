//! An HTTP(S) server of our own that serves files properly, and misbehaves where a script says so.
//!
//! Properly: `ETag`, `Last-Modified`, `If-None-Match`, `If-Modified-Since`, `Range` with `If-Range`, `HEAD`, Basic and
//! bearer authentication, persistent connections. Each path may have a script of [`Behaviour`]s: one is used per
//! request, the last one stays. Every request is recorded with what was sent for it.
//! Needs only std, rustls and socket2, and nothing else of the tests, so that the demo can use it too.
//!
//! ```ignore
//! let server = HttpsServer::start(Some(ca.good().server_config()));       // `None`: plain HTTP
//! server.put("/boutique.zip", zip_bytes);
//! server.script("/boutique.zip", [Behaviour::ResetAfter(1000), Behaviour::Serve]);
//! let url = server.url("/boutique.zip");                                  // https://localhost:PORT/boutique.zip
//! assert_eq!(server.requests()[1].header("range"), Some("bytes=1000-"));
//! ```

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

mod content;
mod exchange;
pub mod wire;

pub use content::Content;
use exchange::{Exchange, Wire};
use wire::ArcStream;

/// What a path does with one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Behaviour {
    /// Serves the content as it should be.
    Serve,
    /// This answer, whatever was asked.
    Status(u16, Vec<(String, String)>, Vec<u8>),
    /// 503 with `Retry-After`: seconds, or an HTTP date.
    RetryAfter(String),
    /// 302 to this URL or path.
    RedirectTo(String),
    /// 302 to itself.
    RedirectLoop,
    /// 200 with a log-in page, as expired sessions give it.
    HtmlLogin,
    /// The right head, then so many bytes of the body, then a TCP reset.
    ResetAfter(u64),
    /// The same with an orderly end of the TCP connection, without the end of TLS.
    CloseAfter(u64),
    /// Resets after so many bytes; from then on the path has this other content.
    ResetThenChanged(u64, Content),
    /// 200 with everything, though a range was asked.
    IgnoreRange,
    /// So many bytes of the body, then silence until the client goes away.
    StallAfter(u64),
    /// Takes the request and never answers.
    Silent,
    /// The body in pieces of so many bytes, with this pause after each.
    SlowDrip(usize, Duration),
    /// Announces so many bytes more than it sends, and ends in good order.
    AnnounceMore(u64),
    /// Announces so many bytes fewer than it sends.
    AnnounceLess(u64),
    /// `Transfer-Encoding: chunked`, no length.
    Chunked,
    /// No length at all: the body ends with the connection (HTTP/1.0 style).
    UntilClose,
    /// 206 whose `Content-Range` names this other first byte than was asked.
    WrongContentRange(u64),
    /// Claims `Content-Encoding: gzip`, with this body.
    ContentEncodingGzip(Vec<u8>),
    /// Serves without `ETag` and `Last-Modified`.
    NoValidators,
}

/// Who may read a path.
#[derive(Debug, Clone, PartialEq)]
pub enum Access {
    Anyone,
    /// User name and password.
    Basic(String, String),
    Bearer(String),
    /// A header of this (lower case) name with this value.
    Header(String, String),
}

/// One request as it came, and how many bytes of body were sent for it.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The status that was answered; 0 while there is none.
    pub status: u16,
    /// Counted while the body is being sent.
    pub body_bytes_sent: u64,
}

/// The server; stops when dropped.
pub struct HttpsServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    tls: Mutex<Option<Arc<ServerConfig>>>,
    paths: Mutex<HashMap<String, Resource>>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicU64,
    open: Mutex<Vec<Arc<TcpStream>>>,
    stopping: AtomicBool,
}

#[derive(Clone)]
struct Resource {
    content: Content,
    modified: SystemTime,
    access: Access,
    script: VecDeque<Behaviour>,
}

impl HttpsServer {
    /// Starts on a free port of 127.0.0.1; `None` for TLS means plain HTTP.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("the listener is bound");
        let shared = Arc::new(Shared {
            tls: Mutex::new(tls),
            paths: Mutex::default(),
            requests: Mutex::default(),
            connections: AtomicU64::new(0),
            open: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let for_acceptor = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept_all(&listener, &for_acceptor));
        Self { shared, address, acceptor: Some(acceptor) }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a path, under the name `localhost`.
    pub fn url(&self, path: &str) -> String {
        self.url_through(self.port(), path)
    }

    /// The same through another port, that of a proxy.
    pub fn url_through(&self, port: u16, path: &str) -> String {
        let scheme = if lock(&self.shared.tls).is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{port}{path}")
    }

    /// Gives `path` this content from the next request on; its script and access stay. Modified: a second later than
    /// what it replaces, so that validators of one second's resolution see the change.
    pub fn put(&self, path: &str, content: impl Into<Content>) {
        let content = content.into();
        let mut paths = lock(&self.shared.paths);
        match paths.get_mut(path) {
            Some(resource) => {
                resource.content = content;
                resource.modified += Duration::from_secs(1);
            }
            None => {
                let modified = SystemTime::now() - Duration::from_secs(3600);
                let resource = Resource { content, modified, access: Access::Anyone, script: VecDeque::new() };
                paths.insert(path.to_owned(), resource);
            }
        }
    }

    /// Sets when `path` was last modified.
    pub fn set_modified(&self, path: &str, modified: SystemTime) {
        self.with(path, |resource| resource.modified = modified);
    }

    /// From now on 404.
    pub fn remove(&self, path: &str) {
        lock(&self.shared.paths).remove(path);
    }

    /// Sets who may read `path`.
    pub fn protect(&self, path: &str, access: Access) {
        self.with(path, |resource| resource.access = access);
    }

    /// Sets what `path` does with the next requests: one each, the last one stays.
    pub fn script(&self, path: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.with(path, |resource| resource.script = behaviours.into_iter().collect());
    }

    /// Shows another certificate on new connections.
    pub fn set_tls(&self, tls: Arc<ServerConfig>) {
        *lock(&self.shared.tls) = Some(tls);
    }

    /// Every request so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        lock(&self.shared.requests).clear();
    }

    /// How many bytes of bodies were sent so far.
    pub fn body_bytes_sent(&self) -> u64 {
        lock(&self.shared.requests).iter().map(|request| request.body_bytes_sent).sum()
    }

    /// How many connections came so far, those included that failed in TLS.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    fn with(&self, path: &str, change: impl FnOnce(&mut Resource)) {
        let mut paths = lock(&self.shared.paths);
        let empty = || Resource {
            content: Content::Bytes(Arc::default()),
            modified: SystemTime::now() - Duration::from_secs(3600),
            access: Access::Anyone,
            script: VecDeque::new(),
        };
        change(paths.entry(path.to_owned()).or_insert_with(empty));
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _wakes_the_acceptor = TcpStream::connect(self.address);
        for stream in lock(&self.shared.open).drain(..) {
            let _already_closed = stream.shutdown(std::net::Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _panicked = acceptor.join();
        }
    }
}

impl Request {
    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let _only_slower = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        lock(&shared.open).push(Arc::clone(&stream));
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let tls = lock(&shared.tls).clone();
            let for_wire = ArcStream(Arc::clone(&stream));
            let wire: Option<Box<dyn Wire>> = match tls {
                None => Some(Box::new(for_wire)),
                Some(config) => ServerConnection::new(config)
                    .ok()
                    .map(|connection| Box::new(StreamOwned::new(connection, for_wire)) as Box<dyn Wire>),
            };
            if let Some(wire) = wire {
                // An error here is the client going away, or the script's own cut.
                let _gone = serve(BufReader::new(wire), &stream, &shared);
            }
            lock(&shared.open).retain(|other| !Arc::ptr_eq(other, &stream));
        });
    }
}

/// Serves one connection, request by request.
fn serve(mut wire: BufReader<Box<dyn Wire>>, tcp: &Arc<TcpStream>, shared: &Shared) -> io::Result<()> {
    while let Some(request) = read_request(&mut wire)? {
        let index = {
            let mut requests = lock(&shared.requests);
            requests.push(request.clone());
            requests.len() - 1
        };
        let path = request.path.split('?').next().unwrap_or_default().to_owned();
        let (resource, behaviour) = {
            let mut paths = lock(&shared.paths);
            match paths.get_mut(&path) {
                None => (None, Behaviour::Serve),
                Some(resource) => {
                    let next = match resource.script.len() {
                        0 => Behaviour::Serve,
                        1 => resource.script[0].clone(),
                        _ => resource.script.pop_front().unwrap_or(Behaviour::Serve),
                    };
                    (Some(resource.clone()), next)
                }
            }
        };
        let mut exchange = Exchange { wire: wire.get_mut(), tcp, shared, index, request: &request };
        let Some(resource) = resource else {
            exchange.fixed(404, &[("Content-Type", "text/plain")], b"not found\n")?;
            continue;
        };
        if !exchange.respond(&path, &resource, behaviour)? {
            return Ok(());
        }
        if request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(wire: &mut BufReader<Box<dyn Wire>>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if wire.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or("/").to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some(Request { method, path, headers, status: 0, body_bytes_sent: 0 }))
}

/// A panic in one connection must not hide behind a poisoned lock in the next.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
