//! A mail server that keeps what it gets: as much of SMTP (RFC 5321) as one client on loopback needs, no TLS, no log-in.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::mail::Mail;

/// The server. Stops when dropped.
pub struct MailSink {
    port: u16,
    messages: Messages,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

type Messages = Arc<Mutex<Vec<Vec<u8>>>>;

impl MailSink {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let messages = Messages::default();
        let stopping = Arc::new(AtomicBool::new(false));
        let (kept, stop) = (Arc::clone(&messages), Arc::clone(&stopping));
        let acceptor = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // One at a time is enough here; a client that goes away in the middle leaves no mail.
                let _ = receive(&client, &kept);
            }
        });
        Ok(MailSink { port, messages, stopping, acceptor: Some(acceptor) })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes the mails that came since this was last asked, in their order.
    pub fn take(&self) -> Vec<Mail> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.drain(..).map(|message| Mail::read(&message)).collect()
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it shall stop.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn receive(client: &TcpStream, messages: &Messages) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let say = |text: &str| -> io::Result<()> {
        let mut wire: &TcpStream = client;
        wire.write_all(format!("{text}\r\n").as_bytes())
    };
    say("220 localhost demo mail sink")?;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let verb = line.split([' ', ':']).next().unwrap_or_default().trim().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP" => say("250 ok")?,
            "DATA" => {
                say("354 end with a line that holds a dot")?;
                let message = message(&mut reader)?;
                messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                say("250 kept")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("502 not here")?,
        }
    }
}

/// Everything up to the line that holds a dot; a dot that was doubled at the start of a line is single again (§4.5.2).
fn message(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return Ok(message),
            Some(rest) => message.extend_from_slice(rest),
            None => message.extend_from_slice(&line),
        }
    }
}
