//! SFTP: a server in Python for what comes after the login, and raw sockets for what comes before.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use tempfile::TempDir;

use crate::job::Job;
use crate::support::harness::{Need, Suite, repository};
use crate::support::python::python;
use crate::support::ssh_keys::{self, KeyType};
use crate::support::wait;
use crate::{Behaviour, Hostile, MEMORY_LIMIT_BYTES, Twin};

/// After the login.
pub const TWIN: Twin = Twin {
    name: "sftp",
    needs: &[Need::Python("asyncssh"), Need::Sshd],
    behaviours: &[
        Behaviour::EndlessFile,
        Behaviour::EndlessListing,
        Behaviour::RepeatingListing,
        Behaviour::LyingLengths,
        Behaviour::Forging,
    ],
    start: |behaviour| Box::new(Server::start(&format!("{behaviour:?}"))),
};

/// Before the server has introduced itself: lines without end, a byte a second, nothing.
pub const GREETING: Twin = Twin {
    name: "sftp-greeting",
    needs: &[],
    behaviours: &[Behaviour::EndlessListing, Behaviour::Forging, Behaviour::Dripping, Behaviour::Silent],
    start: |behaviour| Box::new(Greeting::start(behaviour)),
};

/// What no night needs.
pub fn cases(suite: &mut Suite) {
    suite.case("sftp::a_listing_without_end_of_what_is_left_out_is_given_up", TWIN.needs, || {
        let server = Server::start("EndlessNonsense");
        let mut job = Job::new();
        job.destinations = format!("{}retries = 0\ntime_limit = \"90s\"\n", server.destination());
        let listed = job.command(&["list", "--config", "archive.toml"]).run();
        ensure!(listed.peak_memory_bytes < MEMORY_LIMIT_BYTES, "it took {} bytes", listed.peak_memory_bytes);
        ensure!(format!("{listed}").contains("64 MiB"), "{listed}");
        Ok(())
    });
}

struct Server {
    directory: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    fn start(behaviour: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temp directory");
        let at = |name: &str| directory.path().join(name);
        ssh_keys::generate(&at("host_key"), KeyType::Ed25519, "");
        let log = fs::File::create(at("log")).expect("own directory");
        // Our end of its standard input tells it when we are gone, even if we are killed.
        let mut child = Command::new(python().expect("the case names it"))
            .arg(repository().join("tests/support/sftp_twin.py"))
            .arg(behaviour)
            .arg(directory.path())
            .args(["archive", "secret"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Python starts");
        let port = wait::some("the twin's port", || {
            let ended = child.try_wait().expect("ours").is_some();
            assert!(!ended, "{}", fs::read_to_string(at("log")).unwrap_or_default());
            fs::read_to_string(at("port")).ok()?.parse().ok()
        });
        Server { directory, port, child }
    }
}

impl Hostile for Server {
    fn destination(&self) -> String {
        let host_key = ssh_keys::fingerprint(&self.directory.path().join("host_key"));
        destination(self.port, &host_key)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

struct Greeting {
    port: u16,
}

impl Greeting {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        // Ends with the test process: it waits for connections until then.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                thread::spawn(move || greet(connection, behaviour));
            }
        });
        Greeting { port }
    }
}

/// Until the other side has had enough.
fn greet(mut connection: TcpStream, behaviour: Behaviour) {
    let text: &[u8] = match behaviour {
        Behaviour::EndlessListing => &b"hello\r\n".repeat(1000),
        Behaviour::Forging => &"\x1b[2J\r\n✓ nas published\x07\r\n".repeat(1000).into_bytes(),
        _ => b"x",
    };
    while behaviour == Behaviour::Silent || connection.write_all(text).is_ok() {
        if matches!(behaviour, Behaviour::Dripping | Behaviour::Silent) {
            thread::sleep(Duration::from_secs(1));
        }
    }
}

impl Hostile for Greeting {
    fn destination(&self) -> String {
        destination(self.port, &format!("SHA256:{}", "A".repeat(43)))
    }
}

fn destination(port: u16, host_key: &str) -> String {
    format!(
        "[[destination]]\nname = \"hostile\"\ntype = \"sftp\"\nhost = \"127.0.0.1\"\nport = {port}\nusername = \"archive\"\n\
         password = \"secret\"\nhost_key = \"{host_key}\"\npath = \"/data\"\n"
    )
}
