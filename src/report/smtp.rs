//! One SMTP session (RFC 5321): connect, greet, TLS, log in, and then commands with their replies.
//!
//! Written here because `lettre`'s own connection answers a STARTTLS with whatever had been buffered before TLS began,
//! reads lines without a limit, lets a server drip for ever, and neither falls back to HELO nor tells which mechanisms were
//! offered. `lettre` still composes the mails.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::ServerName;

use crate::config::settings::{SmtpSecurity, SmtpSettings};
use crate::text::{MAX_LINE_CHARS, quote};

/// The longest line of a reply, bytes; RFC 5321 §4.5.3.1.5 asks for 512.
const LONGEST_LINE: usize = 4096;
/// The most lines of one reply.
const MOST_LINES: usize = 100;
/// How long a server may take for its verdict on a whole mail, content filters included (RFC 5321 §4.5.3.2.6). To leave
/// earlier means that the mail arrives twice.
const VERDICT: Duration = Duration::from_secs(600);
/// How long a server may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why a session went no further.
#[derive(Debug)]
pub(super) enum SmtpError {
    /// The network, or TLS within it.
    Io(io::Error),
    /// A refusal.
    Refused(Reply),
    /// What came is no reply.
    NotSmtp(String),
    /// More than the reply to STARTTLS came before TLS: what would be taken for answers inside TLS is not from the server.
    Injected,
    /// There is no STARTTLS, which is required.
    NoStarttls,
    /// Neither PLAIN nor LOGIN among these mechanisms.
    NoMechanism(Vec<String>),
}

impl From<io::Error> for SmtpError {
    fn from(error: io::Error) -> Self {
        SmtpError::Io(error)
    }
}

/// A reply: its code, and its text on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// `550 5.1.1 no such user`, short and harmless.
    pub(super) fn shown(&self) -> String {
        quote(&format!("{} {}", self.code, self.lines.join(" ")), MAX_LINE_CHARS)
    }

    /// Refused for the mail's size (RFC 1870 §6; RFC 3463 §3.4 and §3.3).
    pub(super) fn is_about_size(&self) -> bool {
        let enhanced = |code: &str| self.lines.iter().any(|line| line.starts_with(code));
        (self.code == 552 && !enhanced("5.2.2")) || (self.code >= 500 && (enhanced("5.3.4") || enhanced("5.2.3")))
    }
}

/// A socket whose every wait ends: after `timeout` without a byte, and at `by` however many bytes came.
struct Timed {
    socket: TcpStream,
    timeout: Duration,
    /// When the wait began.
    since: Instant,
    by: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.timeout.min(self.by.saturating_duration_since(Instant::now())) {
            Duration::ZERO => Err(no_answer(self.since)),
            left => Ok(Some(left)),
        }
    }

    /// The error of the socket; a timeout shows as EAGAIN on Linux.
    fn told(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::WouldBlock { no_answer(self.since) } else { error }
    }
}

/// How long it really was: what ended the wait may have been the limit of the answer or that of the mail.
fn no_answer(since: Instant) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {:.1} s", since.elapsed().as_secs_f64()))
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer).map_err(|error| self.told(error))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes).map_err(|error| self.told(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Stream {
    fn timed(&mut self) -> &mut Timed {
        match self {
            Stream::Plain(timed) => timed,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }

    fn io(&mut self) -> &mut dyn ReadWrite {
        match self {
            Stream::Plain(timed) => timed,
            Stream::Tls(tls) => tls.as_mut(),
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// A session with a server that has greeted us.
pub(super) struct Session {
    stream: Stream,
    /// Bytes that came and belong to no reply yet.
    pending: Vec<u8>,
    /// The lines of the reply to EHLO, without the first; empty after HELO.
    offers: Vec<String>,
    hello: String,
    /// For each answer.
    timeout: Duration,
    /// For the session as a whole.
    by: Instant,
}

impl Session {
    /// Connects, speaks TLS as demanded, and logs in. Nothing of it takes longer than until `by`.
    pub(super) fn open(
        settings: &SmtpSettings,
        tls: Option<Arc<ClientConfig>>,
        by: Instant,
    ) -> Result<Self, SmtpError> {
        let socket = connect(&settings.host, settings.port, settings.timeout, by)?;
        let hello =
            settings.helo.clone().unwrap_or_else(|| super::helo::name(socket.local_addr().ok().map(|at| at.ip())));
        let timed = Timed { socket, timeout: settings.timeout, since: Instant::now(), by };
        let mut session = Session {
            stream: Stream::Plain(timed),
            pending: Vec::new(),
            offers: Vec::new(),
            hello,
            timeout: settings.timeout,
            by,
        };
        match (settings.security, tls) {
            (SmtpSecurity::Tls, Some(tls)) => {
                session = session.encrypt(&settings.host, tls)?;
                session.greet()?;
            }
            (SmtpSecurity::Starttls, Some(tls)) => {
                session.greet()?;
                if !session.offers_word("STARTTLS") {
                    return Err(SmtpError::NoStarttls);
                }
                session.command("STARTTLS")?;
                session = session.encrypt(&settings.host, tls)?;
                session.hello()?;
            }
            _ => session.greet()?,
        }
        if let Some((username, password)) = &settings.credentials {
            session.log_in(username, password.expose())?;
        }
        Ok(session)
    }

    /// TLS from here on; nothing that came before counts as said inside it (RFC 3207 §6).
    fn encrypt(self, host: &str, config: Arc<ClientConfig>) -> Result<Self, SmtpError> {
        if !self.pending.is_empty() {
            return Err(SmtpError::Injected);
        }
        let Stream::Plain(mut timed) = self.stream else { return Ok(self) };
        timed.since = Instant::now();
        timed.by = self.by.min(timed.since + self.timeout);
        let other = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| other(&error))?;
        let mut connection = ClientConnection::new(config, name).map_err(|error| other(&error))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut timed)?;
        }
        Ok(Session { stream: Stream::Tls(Box::new(StreamOwned::new(connection, timed))), offers: Vec::new(), ..self })
    }

    fn greet(&mut self) -> Result<(), SmtpError> {
        self.answer_within(self.timeout);
        let greeting = self.reply()?;
        expect(greeting, |code| code == 220)?;
        self.hello()
    }

    /// EHLO, and HELO to a server that knows no other (RFC 5321 §3.2, §4.1.4).
    fn hello(&mut self) -> Result<(), SmtpError> {
        match self.command(&format!("EHLO {}", self.hello)) {
            Ok(reply) => {
                self.offers = reply.lines.into_iter().skip(1).collect();
                Ok(())
            }
            Err(SmtpError::Refused(reply)) if reply.code >= 500 => {
                self.offers.clear();
                self.command(&format!("HELO {}", self.hello)).map(drop)
            }
            Err(error) => Err(error),
        }
    }

    /// The words after a keyword of the reply to EHLO; `AUTH=PLAIN` is how old servers write it.
    pub(super) fn offered(&self, keyword: &str) -> Option<Vec<String>> {
        let mut found: Option<Vec<String>> = None;
        for line in &self.offers {
            let mut words = line.split([' ', '=']).map(str::to_ascii_uppercase);
            if words.next().as_deref() == Some(keyword) {
                found.get_or_insert_default().extend(words.filter(|word| !word.is_empty()));
            }
        }
        found
    }

    pub(super) fn offers_word(&self, keyword: &str) -> bool {
        self.offered(keyword).is_some()
    }

    /// Whether what is said is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    fn log_in(&mut self, username: &str, password: &str) -> Result<(), SmtpError> {
        let offered = self.offered("AUTH").unwrap_or_default();
        let offers = |mechanism: &str| offered.iter().any(|word| word == mechanism);
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let (first, further) = if offers("PLAIN") {
            let message = encoded(&format!("\0{username}\0{password}"));
            // A server that overlooks the initial response asks for it (RFC 4954 §4).
            (format!("AUTH PLAIN {message}"), vec![message])
        } else if offers("LOGIN") {
            ("AUTH LOGIN".to_owned(), vec![encoded(username), encoded(password)])
        } else {
            return Err(SmtpError::NoMechanism(offered));
        };
        let mut reply = self.say(&first)?;
        for message in further {
            if reply.code == 334 {
                reply = self.say(&message)?;
            }
        }
        expect(reply, |code| code == 235).map(drop)
    }

    /// Says a line and gives the reply, if it is one of the 2xx kind.
    pub(super) fn command(&mut self, line: &str) -> Result<Reply, SmtpError> {
        expect(self.say(line)?, is_success)
    }

    /// Says DATA and gives the reply, if it asks for the message.
    pub(super) fn data(&mut self) -> Result<Reply, SmtpError> {
        expect(self.say("DATA")?, |code| code == 354)
    }

    fn say(&mut self, line: &str) -> Result<Reply, SmtpError> {
        self.answer_within(self.timeout);
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// The message after DATA, with dots doubled at the start of a line (RFC 5321 §4.5.2), and its end.
    pub(super) fn message(&mut self, bytes: &[u8]) -> Result<Reply, SmtpError> {
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 64 + 8);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend_from_slice(line);
        }
        if !out.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        let timed = self.stream.timed();
        (timed.since, timed.by) = (Instant::now(), self.by);
        let written = self.write(&out);
        let answer = match &written {
            Ok(()) => self.verdict(),
            Err(_) => {
                self.answer_within(self.timeout);
                self.reply()
            }
        };
        match (written, answer.and_then(|reply| expect(reply, is_success))) {
            // A server that has had enough says so and hangs up while we are still writing.
            (Err(_), Err(SmtpError::Refused(reply))) => Err(SmtpError::Refused(reply)),
            (Err(error), _) => Err(error.into()),
            (Ok(()), answer) => answer,
        }
    }

    /// The reply to a whole mail: its first byte may take long, the others as long as any answer.
    fn verdict(&mut self) -> Result<Reply, SmtpError> {
        if self.pending.is_empty() {
            let timed = self.stream.timed();
            timed.since = Instant::now();
            (timed.timeout, timed.by) = (VERDICT, timed.since + VERDICT);
            self.fill()?;
        }
        let timed = self.stream.timed();
        timed.since = Instant::now();
        (timed.timeout, timed.by) = (self.timeout, timed.since + self.timeout);
        self.reply()
    }

    /// Says good-bye; what the server makes of it does not matter any more.
    pub(super) fn quit(mut self) {
        self.answer_within(FAREWELL);
        if self.write(b"QUIT\r\n").is_ok() {
            let _ = self.reply();
        }
    }

    fn answer_within(&mut self, time: Duration) {
        let by = self.by;
        let timed = self.stream.timed();
        timed.since = Instant::now();
        timed.by = by.min(timed.since + time);
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.io();
        stream.write_all(bytes)?;
        stream.flush()
    }

    fn reply(&mut self) -> Result<Reply, SmtpError> {
        let mut reply = Reply { code: 0, lines: Vec::new() };
        loop {
            let line = self.line()?;
            let (code, rest) = line.split_at_checked(3).unwrap_or((&line, ""));
            let number = code.parse().ok().filter(|number| (200..600).contains(number) && !code.starts_with('+'));
            let last = match (number, rest.chars().next()) {
                (Some(number), None | Some(' ' | '-')) if reply.lines.is_empty() || number == reply.code => {
                    reply.code = number;
                    !rest.starts_with('-')
                }
                _ => return Err(SmtpError::NotSmtp(quote(&line, MAX_LINE_CHARS))),
            };
            reply.lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if last {
                return Ok(reply);
            }
            if reply.lines.len() >= MOST_LINES {
                return Err(SmtpError::NotSmtp(format!("a reply of more than {MOST_LINES} lines")));
            }
        }
    }

    fn line(&mut self) -> Result<String, SmtpError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.pending) {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            if self.pending.len() > LONGEST_LINE {
                return Err(SmtpError::NotSmtp(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; LONGEST_LINE];
        match self.stream.io().read(&mut buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")),
            count => {
                self.pending.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

fn is_success(code: u16) -> bool {
    (200..300).contains(&code)
}

/// The reply, if its code is what is wanted here; a success of another kind is a confused server, not a refusal.
fn expect(reply: Reply, wanted: impl Fn(u16) -> bool) -> Result<Reply, SmtpError> {
    match reply.code {
        code if wanted(code) => Ok(reply),
        400.. => Err(SmtpError::Refused(reply)),
        _ => Err(SmtpError::NotSmtp(reply.shown())),
    }
}

/// The first address of `host` that takes the connection.
fn connect(host: &str, port: u16, timeout: Duration, by: Instant) -> io::Result<TcpStream> {
    let since = Instant::now();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "failed to lookup address information: no address");
    for address in (host, port).to_socket_addrs()? {
        let left = timeout.min(by.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(no_answer(since));
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => failed = no_answer(since),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The system's authorities, and those of `ca_file`.
///
/// # Errors
/// What is wrong with `ca_file`.
pub(super) fn tls_config(ca_file: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        for certificate in crate::http::certificates(path, "mail.ca_file")? {
            roots
                .add(certificate)
                .with_context(|| format!("`{}` holds a certificate that cannot be used", path.display()))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
#[path = "smtp_tests.rs"]
mod tests;
