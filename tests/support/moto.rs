//! A second S3 server: `moto`, in Python (`target/test-venv`). It keeps objects in memory and looks at no signature.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tempfile::TempDir;

use super::python::python;
use super::sshd::free_port;
use super::wait;

/// The one bucket.
pub const BUCKET: &str = "archives";

/// A running server; stopped when dropped.
pub struct Moto {
    port: u16,
    child: Child,
    _directory: TempDir,
}

impl Moto {
    /// Starts the server with an empty bucket.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temp directory");
        let port = free_port();
        let log = fs::File::create(directory.path().join("log")).expect("own directory");
        let mut child = Command::new(python().expect("the case names its need"))
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Python starts");
        wait::until("moto to listen", || {
            assert!(child.try_wait().expect("ours").is_none(), "moto ended");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let moto = Moto { port, child, _directory: directory };
        let (status, _) = moto.ask("PUT", &format!("/{BUCKET}"), b"");
        assert_eq!(status, 200, "the bucket");
        moto
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// An object, if it is there.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        let (status, body) = self.ask("GET", &format!("/{BUCKET}/{}", encoded(key)), b"");
        (status == 200).then_some(body)
    }

    /// Makes an object, or replaces it.
    pub fn put(&self, key: &str, content: &[u8]) {
        let (status, _) = self.ask("PUT", &format!("/{BUCKET}/{}", encoded(key)), content);
        assert_eq!(status, 200, "`{key}`");
    }

    /// What follows `prefix` in the keys of all objects (a thousand at most), up to the next `/`; sorted, each once.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let query = format!("list-type=2&encoding-type=url&prefix={}", encoded(prefix));
        let (status, body) = self.ask("GET", &format!("/{BUCKET}?{query}"), b"");
        assert_eq!(status, 200, "the listing");
        let listing = String::from_utf8(body).expect("XML in UTF-8");
        let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        let keys = keys.map(|(key, _)| percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned());
        let names = keys.filter_map(|key| key.strip_prefix(prefix)?.split('/').next().map(str::to_owned));
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Uploads in parts that were begun, and neither finished nor aborted.
    pub fn unfinished(&self) -> usize {
        let (status, body) = self.ask("GET", &format!("/{BUCKET}?uploads"), b"");
        assert_eq!(status, 200, "the uploads");
        String::from_utf8_lossy(&body).matches("<UploadId>").count()
    }

    fn ask(&self, method: &str, path: &str, content: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let scope = "AWS4-HMAC-SHA256 Credential=x/20261120/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {scope}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            content.len()
        );
        stream.write_all(request.as_bytes()).and_then(|()| stream.write_all(content)).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer.split_off(end + 4))
    }
}

/// A key as it stands in a URL.
fn encoded(key: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');
    utf8_percent_encode(key, KEPT).to_string()
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
