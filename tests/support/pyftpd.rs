//! An FTP server without root that differs from `vsftpd` wherever it can (pyftpdlib, in `target/test-venv`): TLS 1.3 only,
//! MLSD, no EPSV, an address in the answer to PASV that nobody can reach.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::harness::repository;
use super::python::python;
use super::tls::Authority;
use super::wait;

/// Who logs in.
pub const USERNAME: &str = "archive";
/// Its password.
pub const PASSWORD: &str = "ftp pässword";

/// A running server; stopped when dropped.
pub struct PyFtpd {
    directory: TempDir,
    port: u16,
    child: Child,
}

impl PyFtpd {
    /// Starts the server and waits for its port.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temp directory");
        let at = |name: &str| directory.path().join(name);
        let ca = Authority::new("archive test CA");
        fs::write(at("ca.pem"), ca.pem()).expect("own directory");
        ca.good().write_to(directory.path());
        fs::create_dir_all(at("root/data")).expect("own directory");
        let log = fs::File::create(at("log")).expect("own directory");
        // Our end of its standard input tells it when we are gone, even if we are killed.
        let mut child = Command::new(python().expect("the case names Need::PyFtpd"))
            .arg(repository().join("tests/support/ftp_server.py"))
            .arg(directory.path())
            .args([USERNAME, PASSWORD])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Python starts");
        let port = wait::some("the FTP server's port", || {
            let ended = child.try_wait().expect("ours").is_some();
            assert!(!ended, "{}", fs::read_to_string(at("log")).unwrap_or_default());
            fs::read_to_string(at("port")).ok()?.parse().ok()
        });
        PyFtpd { directory, port, child }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// What the client sees as `/data`.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("root/data")
    }
}

impl Drop for PyFtpd {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
