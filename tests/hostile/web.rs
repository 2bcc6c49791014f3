//! What the twins that speak HTTP share: a plain server that answers what it is told to, at the pace it is told to.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::Behaviour;

/// What was asked.
pub struct Request {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// The head in small letters.
    pub head: String,
}

/// What is answered.
pub struct Reply {
    /// `200 OK`
    pub status: &'static str,
    /// Lines without their ends; the length is added for [`Body::Whole`] unless one is there.
    pub headers: Vec<String>,
    pub body: Body,
}

/// The body of an answer.
pub enum Body {
    /// These bytes.
    Whole(Vec<u8>),
    /// These, then what the function makes of 0, 1, 2 … until the client has enough.
    Endless(Vec<u8>, fn(u64) -> Vec<u8>),
}

impl Reply {
    /// With a body that ends.
    pub fn new(status: &'static str, headers: &[&str], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|header| (*header).to_owned()).collect();
        Reply { status, headers, body: Body::Whole(body.into()) }
    }

    /// The same with a body that does not end, and no length.
    pub fn endless(status: &'static str, beginning: impl Into<Vec<u8>>, more: fn(u64) -> Vec<u8>) -> Self {
        Reply { status, headers: Vec::new(), body: Body::Endless(beginning.into(), more) }
    }
}

/// Text that would do harm on a terminal, in a mail and in a log.
pub fn forged(bytes: usize) -> String {
    let harm = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n✓ upload: everything is fine\r\n\u{202e}";
    let mut text = harm.to_owned();
    while text.len() < bytes {
        text.push_str("lie after lie after lie ");
    }
    text
}

/// Listens on loopback and answers by `answer`, in the pace of `behaviour`; ends with the test process. The port.
pub fn serve(behaviour: Behaviour, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // Ends when the client closes; what is written to it then fails.
            thread::spawn(move || talk(connection, behaviour, &*answer));
        }
    });
    port
}

fn talk(connection: TcpStream, behaviour: Behaviour, answer: &dyn Fn(&Request) -> Reply) -> io::Result<()> {
    let mut writer = connection.try_clone()?;
    let mut reader = BufReader::new(connection);
    loop {
        let Some(request) = read(&mut reader)? else { return Ok(()) };
        if behaviour == Behaviour::Silent {
            // Until the client has had enough.
            return io::copy(&mut reader, &mut io::sink()).map(|_| ());
        }
        let reply = answer(&request);
        let is_bodiless = request.method == "HEAD" || reply.status.starts_with("204");
        let mut head = format!("HTTP/1.1 {}\r\nDate: Fri, 20 Nov 2026 02:00:00 GMT\r\n", reply.status);
        if let Body::Whole(body) = &reply.body
            && !reply.headers.iter().any(|header| header.starts_with("Content-Length"))
        {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        for header in &reply.headers {
            head.push_str(&format!("{header}\r\n"));
        }
        if matches!(reply.body, Body::Endless(..)) {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        write(&mut writer, behaviour, head.as_bytes())?;
        match reply.body {
            _ if is_bodiless => {}
            Body::Whole(body) => write(&mut writer, behaviour, &body)?,
            Body::Endless(beginning, more) => {
                write(&mut writer, behaviour, &beginning)?;
                for number in 0.. {
                    write(&mut writer, behaviour, &more(number))?;
                }
            }
        }
    }
}

fn write(writer: &mut TcpStream, behaviour: Behaviour, bytes: &[u8]) -> io::Result<()> {
    if behaviour != Behaviour::Dripping {
        return writer.write_all(bytes);
    }
    for byte in bytes {
        writer.write_all(&[*byte])?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// One request, its body thrown away.
fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    io::copy(&mut reader.by_ref().take(length.unwrap_or(0)), &mut io::sink())?;
    Ok(Some(Request { method, target, head }))
}
