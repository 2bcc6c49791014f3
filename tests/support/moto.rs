//! A second S3 server: `moto`, in Python (`target/test-venv`). It keeps objects in memory and looks at no signature.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

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
        let (status, _) = moto.ask("PUT", &format!("/{BUCKET}"));
        assert_eq!(status, 200, "the bucket");
        moto
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// An object, if it is there.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        let (status, body) = self.ask("GET", &format!("/{BUCKET}/{key}"));
        (status == 200).then_some(body)
    }

    fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let scope = "AWS4-HMAC-SHA256 Credential=x/20261120/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {scope}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer.split_off(end + 4))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
