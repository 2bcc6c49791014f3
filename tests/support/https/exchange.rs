//! One request and its answer, proper or not: what a [`Behaviour`] does is decided here.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::wire::{base64, head, http_date, satisfiable, wait_until_delivered};
use super::{Access, Behaviour, Content, Request, Resource, Shared, lock};

/// A client that is being served.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// How the body of an answer goes out.
struct Answer<'a> {
    status: u16,
    headers: Vec<(String, String)>,
    content: &'a Content,
    first: u64,
    len: u64,
    /// What `Content-Length` says; `None`: no such header.
    announced: Option<u64>,
}

/// One request that is being answered.
pub struct Exchange<'a> {
    pub wire: &'a mut Box<dyn Wire>,
    pub tcp: &'a Arc<TcpStream>,
    pub shared: &'a Shared,
    pub index: usize,
    pub request: &'a Request,
}

impl Exchange<'_> {
    /// Answers; `false` when the connection must not be used again.
    pub fn respond(&mut self, path: &str, resource: &Resource, behaviour: Behaviour) -> io::Result<bool> {
        match behaviour {
            Behaviour::Status(status, headers, body) => {
                let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                return self.fixed(status, &headers, &body).map(|()| true);
            }
            Behaviour::RetryAfter(when) => return self.fixed(503, &[("Retry-After", &when)], b"").map(|()| true),
            Behaviour::RedirectTo(target) => return self.fixed(302, &[("Location", &target)], b"").map(|()| true),
            Behaviour::RedirectLoop => return self.fixed(302, &[("Location", path)], b"").map(|()| true),
            Behaviour::HtmlLogin => {
                let page =
                    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form></form></body></html>\n";
                return self.fixed(200, &[("Content-Type", "text/html; charset=utf-8")], page).map(|()| true);
            }
            Behaviour::Silent => return self.wait_for_the_client_to_go(),
            Behaviour::ContentEncodingGzip(body) => {
                return self.fixed(200, &[("Content-Encoding", "gzip")], &body).map(|()| true);
            }
            _ => {}
        }
        if let Some(challenge) = self.refused(&resource.access) {
            return self.fixed(401, &[("WWW-Authenticate", &challenge)], b"unauthorized\n").map(|()| true);
        }
        let (etag, modified) = (resource.content.etag(), http_date(resource.modified));
        let validators = behaviour != Behaviour::NoValidators;
        if validators && self.not_modified(&etag, &modified) {
            return self.fixed(304, &[("ETag", &etag), ("Last-Modified", &modified)], b"").map(|()| true);
        }
        let total = resource.content.len();
        let mut answer = Answer {
            status: 200,
            headers: vec![("Content-Type".into(), "application/zip".into()), ("Accept-Ranges".into(), "bytes".into())],
            content: &resource.content,
            first: 0,
            len: total,
            announced: Some(total),
        };
        if validators {
            answer.headers.extend([("ETag".into(), etag.clone()), ("Last-Modified".into(), modified.clone())]);
        }
        if behaviour != Behaviour::IgnoreRange
            && let Some(range) = self.range(&etag, &modified)
        {
            let Some((first, end)) = satisfiable(range, total) else {
                return self.fixed(416, &[("Content-Range", &format!("bytes */{total}"))], b"").map(|()| true);
            };
            let said = if let Behaviour::WrongContentRange(other) = behaviour { other } else { first };
            let content_range = format!("bytes {said}-{}/{total}", said + (end - first) - 1);
            answer.headers.push(("Content-Range".into(), content_range));
            (answer.status, answer.first, answer.len, answer.announced) = (206, first, end - first, Some(end - first));
        }
        self.misbehave(path, answer, behaviour)
    }

    fn misbehave(&mut self, path: &str, mut answer: Answer<'_>, behaviour: Behaviour) -> io::Result<bool> {
        let all = answer.len;
        match behaviour {
            Behaviour::ResetAfter(count) => {
                self.send(&answer, count.min(all), usize::MAX, None)?;
                self.cut(true)
            }
            Behaviour::CloseAfter(count) => {
                self.send(&answer, count.min(all), usize::MAX, None)?;
                self.cut(false)
            }
            Behaviour::ResetThenChanged(count, changed) => {
                self.send(&answer, count.min(all), usize::MAX, None)?;
                if let Some(resource) = lock(&self.shared.paths).get_mut(path) {
                    resource.content = changed;
                    resource.modified += Duration::from_secs(1);
                    resource.script = VecDeque::new();
                }
                self.cut(true)
            }
            Behaviour::StallAfter(count) => {
                self.send(&answer, count.min(all), usize::MAX, None)?;
                self.wait_for_the_client_to_go()
            }
            Behaviour::SlowDrip(piece, pause) => self.send(&answer, all, piece, Some(pause)).map(|()| true),
            Behaviour::AnnounceMore(more) => {
                answer.announced = Some(all + more);
                self.send(&answer, all, usize::MAX, None).map(|()| false)
            }
            Behaviour::AnnounceLess(fewer) => {
                answer.announced = Some(all.saturating_sub(fewer));
                self.send(&answer, all, usize::MAX, None).map(|()| false)
            }
            Behaviour::UntilClose => {
                answer.announced = None;
                answer.headers.push(("Connection".into(), "close".into()));
                self.send(&answer, all, usize::MAX, None).map(|()| false)
            }
            Behaviour::Chunked => {
                answer.announced = None;
                answer.headers.push(("Transfer-Encoding".into(), "chunked".into()));
                self.send(&answer, all, usize::MAX, None).map(|()| true)
            }
            _ => self.send(&answer, all, usize::MAX, None).map(|()| true),
        }
    }

    /// Sends the head and the first `count` bytes of the body.
    fn send(&mut self, answer: &Answer<'_>, count: u64, piece: usize, pause: Option<Duration>) -> io::Result<()> {
        let mut head = head(answer.status, &answer.headers);
        if let Some(announced) = answer.announced {
            head.push_str(&format!("Content-Length: {announced}\r\n"));
        }
        head.push_str("\r\n");
        self.note(answer.status, 0);
        self.wire.write_all(head.as_bytes())?;
        self.wire.flush()?;
        if self.request.method == "HEAD" {
            return Ok(());
        }
        let chunked = answer.headers.iter().any(|(name, _)| name == "Transfer-Encoding");
        let mut buffer = vec![0; piece.min(64 * 1024)];
        let mut sent = 0;
        while sent < count {
            let want = buffer.len().min((count - sent) as usize);
            let got = answer.content.read_at(answer.first + sent, &mut buffer[..want])?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if chunked {
                self.wire.write_all(format!("{got:x}\r\n").as_bytes())?;
            }
            self.wire.write_all(&buffer[..got])?;
            if chunked {
                self.wire.write_all(b"\r\n")?;
            }
            self.wire.flush()?;
            sent += got as u64;
            self.note(answer.status, got as u64);
            if let Some(pause) = pause {
                thread::sleep(pause);
            }
        }
        if chunked {
            self.wire.write_all(b"0\r\n\r\n")?;
        }
        self.wire.flush()
    }

    /// A whole answer of its own.
    pub fn fixed(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        let headers: Vec<(String, String)> =
            headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut bytes = head(status, &headers).into_bytes();
        if status != 304 {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        if self.request.method != "HEAD" {
            bytes.extend_from_slice(body);
            self.note(status, body.len() as u64);
        }
        self.note(status, 0);
        self.wire.write_all(&bytes)?;
        self.wire.flush()
    }

    /// Ends the TCP connection once the client's kernel has everything that was sent; a reset would discard the rest.
    fn cut(&mut self, reset: bool) -> io::Result<bool> {
        wait_until_delivered(self.tcp);
        if reset {
            // With a linger of zero, closing the last handle sends RST instead of FIN; `open` must not hold another.
            socket2::SockRef::from(self.tcp.as_ref()).set_linger(Some(Duration::ZERO))?;
        } else {
            self.tcp.shutdown(std::net::Shutdown::Write)?;
        }
        Ok(false)
    }

    fn wait_for_the_client_to_go(&mut self) -> io::Result<bool> {
        let mut rest = [0; 1024];
        while self.wire.read(&mut rest)? > 0 {}
        Ok(false)
    }

    fn note(&self, status: u16, more: u64) {
        if let Some(request) = lock(&self.shared.requests).get_mut(self.index) {
            request.status = status;
            request.body_bytes_sent += more;
        }
    }

    /// The challenge to send if the request may not read this.
    fn refused(&self, access: &Access) -> Option<String> {
        let sent = self.request.header("authorization");
        let (allowed, challenge) = match access {
            Access::Anyone => (true, ""),
            Access::Basic(user, password) => {
                let expected = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
                (sent == Some(&*expected), "Basic realm=\"exports\"")
            }
            Access::Bearer(token) => (sent == Some(&*format!("Bearer {token}")), "Bearer"),
            Access::Header(name, value) => (self.request.header(name) == Some(value), "ApiKey"),
        };
        (!allowed).then(|| challenge.to_owned())
    }

    /// RFC 9110 §13.1: `If-None-Match` decides alone when it is there.
    fn not_modified(&self, etag: &str, modified: &str) -> bool {
        match self.request.header("if-none-match") {
            Some(known) => known.split(',').any(|tag| matches!(tag.trim(), tag if tag == etag || tag == "*")),
            None => self.request.header("if-modified-since") == Some(modified),
        }
    }

    /// The range asked for, if `If-Range` (RFC 9110 §13.1.5) lets it count.
    fn range(&self, etag: &str, modified: &str) -> Option<&str> {
        let unchanged = self.request.header("if-range").is_none_or(|known| known == etag || known == modified);
        self.request.header("range").filter(|_| unchanged)
    }
}
