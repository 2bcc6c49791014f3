//! A plain HTTP server for tests: it plays a script, one answer per connection, and remembers what was asked.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use url::Url;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    /// Afterwards nothing moves any more, instead of the connection being closed.
    hold: bool,
    /// The last so many bytes come one by one, with this pause before each.
    drip: (usize, Duration),
}

/// `status` (`200 OK`), header lines, and the body as it is; no header is added but `Connection: close`.
pub(crate) fn reply(status: &str, headers: &[&str], body: &[u8]) -> Reply {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    Reply { bytes: [head.as_bytes(), b"\r\n", body].concat(), hold: false, drip: (0, Duration::ZERO) }
}

/// A 200 with its length and an `ETag`.
pub(crate) fn whole(etag: &str, body: &[u8]) -> Reply {
    reply("200 OK", &[&format!("Content-Length: {}", body.len()), &format!("ETag: {etag}")], body)
}

/// A 206 of `body` from `first` to `last`.
pub(crate) fn part(etag: &str, body: &[u8], first: usize, last: usize) -> Reply {
    let headers = [
        format!("Content-Length: {}", last - first + 1),
        format!("Content-Range: bytes {first}-{last}/{}", body.len()),
        format!("ETag: {etag}"),
    ];
    reply("206 Partial Content", &headers.each_ref().map(String::as_str), &body[first..=last])
}

impl Reply {
    /// Ends `bytes` before the end.
    pub(crate) fn short_by(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - bytes);
        self
    }

    /// Puts other bytes in the place of these, which occur once.
    pub(crate) fn replace(&mut self, from: &[u8], to: &[u8]) {
        let at = memchr::memmem::find(&self.bytes, from).unwrap();
        self.bytes.splice(at..at + from.len(), to.iter().copied());
    }

    /// Leaves the connection open, and silent.
    pub(crate) fn then_silence(mut self) -> Self {
        self.hold = true;
        self
    }

    /// Sends the last `bytes` one by one, with a pause before each.
    pub(crate) fn drip(mut self, bytes: usize, pause: Duration) -> Self {
        self.drip = (bytes, pause);
        self
    }

    fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let (at_once, dripped) = self.bytes.split_at(self.bytes.len() - self.drip.0);
        stream.write_all(at_once)?;
        dripped.iter().try_for_each(|byte| {
            std::thread::sleep(self.drip.1);
            stream.write_all(&[*byte])
        })
    }
}

/// The server; it stops when it is dropped.
pub(crate) struct Responder {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Starts a server that gives these answers in this order, then only `599`.
    pub(crate) fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, end) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            let mut script = script.into_iter();
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let Some(request) = read_head(&mut stream) else { continue };
                log.lock().unwrap().push(request);
                let reply = script.next().unwrap_or_else(|| reply("599 Script Ended", &[], b""));
                let _ = reply.send(&mut stream);
                if reply.hold {
                    held.push(stream);
                }
            }
        });
        Responder { address, asked, stop, thread: Some(thread) }
    }

    /// A URL on this server.
    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    /// The requests so far, head only, in lower case.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).to_ascii_lowercase())
}
