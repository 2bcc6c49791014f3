//! Sources that mean harm: what may a download cost, whatever the web server does?

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::job::Job;
use crate::{Peaks, bounded, is_plain};

/// What the web server does with every request, what the run's last words must hold, and how often it is tried.
struct Case {
    name: &'static str,
    answer: fn(&mut TcpStream) -> io::Result<()>,
    says: &'static str,
    retries: u32,
}

const ZIP_BEGINS: &[u8] = b"PK\x03\x04";

const CASES: &[Case] = &[
    Case {
        name: "a_body_that_never_ends",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            stream.write_all(ZIP_BEGINS)?;
            // As fast as the line allows, but for the disk of the test machine.
            for_ever(stream, &[0; 64 << 10], Duration::from_millis(10))
        },
        says: "within `source.time_limit`",
        retries: 0,
    },
    Case {
        name: "a_body_that_drips",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: \"1\"\r\n\r\n")?;
            stream.write_all(ZIP_BEGINS)?;
            for_ever(stream, b"x", Duration::from_millis(500))
        },
        says: "sent less than 4 KiB",
        retries: 0,
    },
    Case {
        name: "a_body_that_drips_at_every_attempt",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
            stream.write_all(ZIP_BEGINS)?;
            for_ever(stream, b"x", Duration::from_millis(500))
        },
        says: "within `source.time_limit`",
        retries: 100,
    },
    Case {
        name: "a_head_that_drips",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Header: ")?;
            for_ever(stream, b"x", Duration::from_millis(500))
        },
        says: "sent no answer",
        retries: 0,
    },
    Case {
        name: "a_head_of_many_lines",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            for_ever(stream, &b"X-Header: yes\r\n".repeat(1000), Duration::ZERO)
        },
        says: "no usable answer",
        retries: 0,
    },
    Case {
        name: "a_head_of_a_megabyte",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Header: ")?;
            stream.write_all(&vec![b'x'; 1 << 20])?;
            stream.write_all(b"\r\nContent-Length: 0\r\n\r\n")
        },
        says: "no usable answer",
        retries: 0,
    },
    Case {
        name: "news_of_progress_without_end",
        answer: |stream| for_ever(stream, &b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100), Duration::from_millis(1)),
        says: "sent no answer",
        retries: 0,
    },
    Case {
        name: "a_refusal_whose_body_never_ends",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n<title>no\x1b[2J\r\n\xe2\x9c\x93 all good</title>")?;
            for_ever(stream, &[b'x'; 64 << 10], Duration::ZERO)
        },
        says: "answered `403 Forbidden`",
        retries: 0,
    },
    Case {
        name: "a_page_that_drips",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n<html><title>\x1b[2Jlogin</title>")?;
            for_ever(stream, b"x", Duration::from_millis(500))
        },
        says: "sent a web page",
        retries: 0,
    },
    Case {
        name: "a_length_near_2_to_the_63",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n")?;
            for_ever(stream, ZIP_BEGINS, Duration::from_millis(500))
        },
        says: "larger than `max_download` allows",
        retries: 0,
    },
    Case {
        name: "a_length_that_no_number_holds",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n")?;
            for_ever(stream, ZIP_BEGINS, Duration::from_millis(500))
        },
        says: "no usable answer",
        retries: 0,
    },
    Case {
        name: "chunks_near_2_to_the_64",
        answer: |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n")?;
            stream.write_all(ZIP_BEGINS)?;
            for_ever(stream, b"x", Duration::from_millis(500))
        },
        says: "sent less than 4 KiB",
        retries: 0,
    },
    Case {
        name: "redirects_without_end",
        answer: |stream| {
            let next = fastrand::u64(..);
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: /{next}\r\nContent-Length: 0\r\n\r\n")
        },
        says: "redirects more than 5 times",
        retries: 0,
    },
];

pub fn cases(suite: &mut crate::Suite, peaks: &Peaks) {
    for case in CASES {
        let peaks = Peaks::clone(peaks);
        suite.case(format!("source::{}", case.name), &[], move || {
            let peak = night(case)?;
            crate::note(&peaks, format!("source::{}", case.name), peak);
            Ok(())
        });
    }
}

/// A run, and `check`; gives the larger peak of memory, bytes.
fn night(case: &Case) -> Result<u64> {
    let mut job = Job::new();
    job.url = Some(format!("http://127.0.0.1:{}/exports/boutique.zip", serve(case.answer)));
    job.trust_directory = true;
    job.source_keys = format!(
        "allow_http = true\nretries = {}\nconnect_timeout = \"2s\"\nstall_timeout = \"2s\"\ntime_limit = \"6s\"\n",
        case.retries
    );
    let night = job.run();
    bounded(&night).with_context(|| format!("`archive run`: {night}\n{}", job.log()))?;
    ensure!(night.code == 3, "{night}\n{}", job.log());
    ensure!(night.stderr.contains(case.says), "`{}` missing: {night}", case.says);
    ensure!(job.held().is_empty(), "{:?}", job.held());
    ensure!(is_plain(&job.log()), "a control character in the log:\n{:?}", job.log());
    let checked = job.command(&["check", "--config", "archive.toml"]).run();
    bounded(&checked).with_context(|| format!("`archive check`: {checked}"))?;
    Ok(night.peak_memory_bytes.max(checked.peak_memory_bytes))
}

/// Answers every request on every connection in this way; gives the port. Ends with the test process.
fn serve(answer: fn(&mut TcpStream) -> io::Result<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || -> io::Result<()> {
                let mut request = [0; 4096];
                // Requests of this program fit into one segment.
                while stream.read(&mut request)? > 0 {
                    answer(&mut stream)?;
                }
                Ok(())
            });
        }
    });
    port
}

/// Writes until the other side has gone away.
fn for_ever(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> io::Result<()> {
    loop {
        stream.write_all(bytes)?;
        thread::sleep(pause);
    }
}
