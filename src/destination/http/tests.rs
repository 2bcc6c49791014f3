use std::io::{Cursor, Read, Seek, SeekFrom, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;
use crate::error::Hinted as _;
use crate::exit_code::ExitCode;
use crate::http::responder::{Responder, reply};

const KEYS: Keys = Keys { address: "url", ca_file: "ca_file" };

fn http(url: &Url, interrupt: &Interrupt) -> Http {
    let stall = Duration::from_millis(600);
    let timeouts = Timeouts { connect: stall, stall };
    Http::new(&Settings { base: url, keys: KEYS, ca_file: None, timeouts }, interrupt).unwrap()
}

fn what() -> String {
    "failed to try".to_owned()
}

/// A source that says it is longer or shorter than it is.
struct Liar(Cursor<Vec<u8>>, u64);

impl Read for Liar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for Liar {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Source for Liar {
    fn len_bytes(&self) -> u64 {
        self.1
    }
}

/// Takes one request with its body, answers 201 once all of it is there, and gives back the head and the body.
fn taker() -> (Url, JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut held = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = stream.read(&mut buffer).unwrap_or_else(|error| {
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "the connection was left open");
                0
            });
            held.extend_from_slice(&buffer[..count]);
            let head = held.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            if let Some(head_len) = head {
                let head = String::from_utf8(held[..head_len].to_vec()).unwrap().to_lowercase();
                let wanted = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
                let complete = held.len() - head_len == wanted.parse::<usize>().unwrap();
                if complete {
                    stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").unwrap();
                }
                if complete || count == 0 {
                    return (head, held[head_len..].to_vec());
                }
            }
            assert!(count > 0, "no request came");
        }
    });
    (url, thread)
}

#[test]
fn a_part_of_a_source_is_sent_with_its_exact_length() {
    let content: Vec<u8> = (0..1_000_000u32).map(|i| (i / 3) as u8).collect();
    for (offset, len) in [(0, 1_000_000), (200_000, 300_001), (700_000, 300_000), (5, 0)] {
        let (url, thread) = taker();
        let http = http(&url, &Interrupt::default());
        let request = http.request(Method::PUT, &url);
        let mut answer = http.upload(request, &mut Cursor::new(&content), offset, len, &what).unwrap();
        assert_eq!((answer.status().as_u16(), answer.text(10, &what).unwrap().as_str()), (201, "ok"));
        let (head, body) = thread.join().unwrap();
        assert!(head.contains(&format!("content-length: {len}\r\n")) && !head.contains("chunked"), "{head}");
        assert!(body == content[offset as usize..(offset + len) as usize]);
    }
}

#[test]
fn a_source_that_lies_about_its_length_never_completes_a_request() {
    for (said, words) in [(200_001, "ended after 200000 of 200001"), (199_999, "longer than the 199999")] {
        let (url, thread) = taker();
        let http = http(&url, &Interrupt::default());
        let mut source = Liar(Cursor::new(vec![7; 200_000]), said);
        let error = http.upload(http.request(Method::PUT, &url), &mut source, 0, said, &what).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Local);
        assert!(error.to_string().contains(words), "{error}");
        // The server sees the end at once, not when the connection is next used: it may hold a temporary file till then.
        assert!((thread.join().unwrap().1.len() as u64) < said);
        drop(http);
    }
}

#[test]
fn an_answer_before_the_end_of_the_body_ends_the_sending() {
    let body = vec![0; 64 << 20];
    let server = Responder::start(vec![
        reply("507 Insufficient Storage", &["Content-Length: 4"], b"full").then_silence(),
        reply("201 Created", &["Content-Length: 0"], b"").then_silence(),
    ]);
    let url = server.url("/x");
    let http = http(&url, &Interrupt::default());
    let mut answer = http.upload(http.request(Method::PUT, &url), &mut Cursor::new(&body), 0, 64 << 20, &what).unwrap();
    assert_eq!((answer.status().as_u16(), answer.beginning().as_str()), (507, "full"));
    drop(answer);
    // A success is none.
    let error =
        http.upload(http.request(Method::PUT, &url), &mut Cursor::new(&body), 0, 64 << 20, &what).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Other);
}

#[test]
fn silence_ends_every_phase() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/x?signature=secret", listener.local_addr().unwrap())).unwrap();
    let http = http(&url, &Interrupt::default());
    let no_answer = http.call(http.request(Method::GET, &url), &what).err().unwrap();
    let body = vec![0; 64 << 20];
    let no_taker =
        http.upload(http.request(Method::PUT, &url), &mut Cursor::new(&body), 0, 64 << 20, &what).err().unwrap();
    let server = Responder::start(vec![reply("200 OK", &["Content-Length: 9"], b"half").then_silence()]);
    let mut answer = http.call(http.request(Method::GET, &server.url("/x")), &what).unwrap();
    let half = answer.read(&mut |_| Ok(()), &what).unwrap_err();
    for error in [no_answer, no_taker, half] {
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!((error.kind, cause.as_str()), (ErrorKind::Unreachable, "no byte moved for 0.6 s"));
        assert!(error.hint().unwrap().en.contains("`stall_timeout`"));
    }
}

#[test]
fn a_body_that_breaks_off_is_no_success() {
    let server = Responder::start(vec![reply("200 OK", &["Content-Length: 9"], b"half")]);
    let url = server.url("/x");
    let http = http(&url, &Interrupt::default());
    let mut held = Vec::new();
    let mut answer = http.call(http.request(Method::GET, &url), &what).unwrap();
    let mut sink = |bytes: &[u8]| {
        held.extend_from_slice(bytes);
        Ok(())
    };
    assert_eq!(answer.read(&mut sink, &what).unwrap_err().kind, ErrorKind::Unreachable);
    assert_eq!(held, b"half");
}

#[test]
fn headers_without_end_and_an_answer_in_another_coding_are_no_danger() {
    let lines: Vec<String> = (0..100_000).map(|number| format!("X-{number}: {}", "x".repeat(100))).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let zeros = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let server = Responder::start(vec![
        reply("200 OK", &lines, b""),
        reply("200 OK", &["Content-Length: 10", "Content-Encoding: gzip"], &zeros),
    ]);
    let url = server.url("/x");
    let http = http(&url, &Interrupt::default());
    let error = http.call(http.request(Method::GET, &url), &what).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    // As it came: nothing is unpacked.
    let mut held = Vec::new();
    let mut sink = |bytes: &[u8]| {
        held.extend_from_slice(bytes);
        Ok(())
    };
    http.call(http.request(Method::GET, &url), &what).unwrap().read(&mut sink, &what).unwrap();
    assert_eq!(held, zeros);
}

#[test]
fn an_answer_that_trickles_stands_still_unless_it_may() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    let server = std::thread::spawn(move || {
        // Each byte long before the limit of 0.6 s, all of them after it: the first answer is given up long before its end.
        for (bytes, pause) in [(1000, 60), (40, 20)] {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").unwrap();
            for _ in 0..bytes {
                std::thread::sleep(Duration::from_millis(pause));
                if stream.write_all(b" ").is_err() {
                    break;
                }
            }
        }
    });
    let http = http(&url, &Interrupt::default());
    let mut answer = http.call(http.request(Method::GET, &url), &what).unwrap();
    let error = answer.read(&mut |_| Ok(()), &what).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no byte moved for 0.6 s");
    drop(answer);
    let mut answer = http.call(http.request(Method::GET, &url), &what).unwrap();
    #[cfg(feature = "s3")]
    {
        answer.may_trickle(Duration::from_secs(20));
        assert_eq!(answer.text(40, &what).unwrap().len(), 40);
    }
    drop(answer);
    server.join().unwrap();
}

#[test]
fn a_signal_ends_a_call() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    let interrupt = Interrupt::default();
    let http = http(&url, &interrupt);
    interrupt.pretend(ExitCode::Interrupted);
    let error = http.call(http.request(Method::GET, &url), &what).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Local);
}

#[test]
fn a_closed_port_and_an_unknown_host_are_unreachable_and_name_the_setting() {
    // Bound but not listening: taken, so that no other test can listen there, and closed.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    held.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = held.local_addr().unwrap().as_socket().unwrap().port();
    let closed = Url::parse(&format!("http://127.0.0.1:{port}/x?signature=secret")).unwrap();
    let unknown = Url::parse("http://no-such-host.invalid/x").unwrap();
    for (url, summary) in [(closed, "Connection refused"), (unknown, "")] {
        let http = http(&url, &Interrupt::default());
        let error = http.call(http.request(Method::GET, &url), &what).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.summary().contains(summary), "{}", error.summary());
        assert!(error.hint().unwrap().en.contains("`url`"));
        assert!(!format!("{error:?}").contains("secret"));
    }
}

#[test]
fn a_connection_that_the_server_closed_while_idle_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    let (closed, seen) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            // As if the connection could be used again; then nobody uses it for a while.
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let http = http(&url, &Interrupt::default());
    for _ in 0..3 {
        http.call(http.request(Method::GET, &url), &what).unwrap();
        seen.recv().unwrap();
    }
    server.join().unwrap();
}

#[test]
fn a_port_without_tls_is_no_matter_of_trust_and_not_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("https://{}/x", listener.local_addr().unwrap())).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let http = http(&url, &Interrupt::default());
    let error = http.call(http.request(Method::GET, &url), &what).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Other);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("something that is not TLS"), "{cause}");
    assert!(error.hint().unwrap().en.contains("check the port in `url`"));
    server.join().unwrap();
}
