//! WebDAV over TLS: Apache's `mod_dav` (Basic and Digest), nginx with `dav-ext` (Basic) and others, each with its own
//! configuration, port and directories. The files lie on this disk: tests look at them. Only the first two have every directory
//! of [`Webdav::url`]; the others have `data`.
//!
//! ```ignore
//! let server = Webdav::builder(Software::Apache).start();     // Need::Apache
//! let url = server.url(Login::Digest, "data");                // https://127.0.0.1:PORT/digest/data/
//! std::fs::read_dir(server.path("data"))?;                    // the same directory here
//! server.ca_file();                                           // `ca_file` of the configuration
//! ```

use std::fs::{self, DirBuilder};
use std::net::TcpStream;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::accounts;
use super::harness::{is_root, run};
use super::sshd::{descendants, free_port, send};
use super::tls::{Authority, Leaf};
use super::wait;

mod configs;

/// The account at the server.
pub const USER: &str = "archive";
/// Its password.
pub const PASSWORD: &str = "the webdav password 7c1e";
/// Of [`PASSWORD`], by `openssl passwd -apr1`.
const BASIC_LINE: &str = "archive:$apr1$archives$JuWFSbRa1XC2rtys8C4OS/\n";
/// The MD5 of `archive:archives:` and [`PASSWORD`].
const DIGEST_LINE: &str = "archive:archives:70fcbba4d40594eac7b6be3691709c0b\n";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    Apache,
    /// Knows no Digest.
    Nginx,
    /// The same behind a proxy that ends TLS: it is spoken to by `http`, about addresses that begin with `https`.
    NginxBehindTls,
    /// `mod_webdav`; Basic, over plain HTTP.
    Lighttpd,
    /// In Python; Digest.
    Wsgidav,
    /// `rclone serve webdav`; Basic.
    Rclone,
}

/// How the account proves who it is: each has its own path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    Basic,
    Digest,
}

/// Which certificate the server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// For `127.0.0.1` alone: `localhost` is a wrong name.
    Good,
    Expired,
}

/// How the server will be.
#[derive(Debug, Clone)]
pub struct Builder {
    software: Software,
    certificate: Certificate,
    small_disk_bytes: Option<u64>,
    largest_body_bytes: u64,
}

/// A running server; stopped when dropped.
pub struct Webdav {
    settings: Builder,
    directory: TempDir,
    port: u16,
    child: Option<Child>,
    mounts: Vec<PathBuf>,
}

/// Why nginx has no PROPFIND here.
pub fn nginx_module_missing() -> Option<String> {
    let missing = || "nginx lacks PROPFIND (package `libnginx-mod-http-dav-ext`)".to_owned();
    (!Path::new(configs::DAV_EXT).exists()).then(missing)
}

impl Builder {
    /// Shows this certificate.
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = certificate;
        self
    }

    /// Puts a file system of this size at `small`. Needs [`Need::Tmpfs`](super::harness::Need::Tmpfs).
    pub fn small_disk(mut self, bytes: u64) -> Self {
        self.small_disk_bytes = Some(bytes);
        self
    }

    /// Refuses longer requests with 413.
    pub fn largest_body(mut self, bytes: u64) -> Self {
        self.largest_body_bytes = bytes;
        self
    }

    /// Starts the server and waits until it listens.
    pub fn start(self) -> Webdav {
        let mut temp = tempfile::Builder::new();
        temp.prefix("webdav-").permissions(fs::Permissions::from_mode(0o755));
        let directory = if is_root() {
            // Neither server runs as root.
            let _made = accounts::ensure();
            temp.tempdir_in(accounts::base())
        } else {
            temp.tempdir()
        };
        let directory = directory.expect("a temp directory");
        let mut server = Webdav { settings: self, directory, port: 0, child: None, mounts: Vec::new() };
        server.make_directories();
        server.make_files();
        server.start();
        server
    }
}

impl Webdav {
    /// A good certificate, no limits: change what differs.
    pub fn builder(software: Software) -> Builder {
        Builder { software, certificate: Certificate::Good, small_disk_bytes: None, largest_body_bytes: 0 }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a directory: `data` is empty and writable, `read-only` must not be written to, `small` is the disk of
    /// [`Builder::small_disk`], `forbidden` denies everything, `moved` redirects to `data`.
    pub fn url(&self, login: Login, directory: &str) -> String {
        let scheme = if self.settings.software == Software::Lighttpd { "http" } else { "https" };
        format!("{scheme}://127.0.0.1:{}/{}/{directory}/", self.port, room(login))
    }

    /// Where files are served without WebDAV.
    pub fn plain_url(&self) -> String {
        format!("https://127.0.0.1:{}/plain/", self.port)
    }

    /// The same directory on this disk.
    pub fn path(&self, directory: &str) -> PathBuf {
        self.directory.path().join("files").join(directory)
    }

    /// The authority of the certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// An authority that has signed nothing here.
    pub fn other_ca_file(&self) -> PathBuf {
        self.directory.path().join("other-ca.pem")
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Stops the server; the port refuses from now on.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let workers = descendants(child.id());
        // First in good order: Apache would leave shared memory behind. A frozen one has to wake up for that.
        for signal in [Signal::TERM, Signal::CONT] {
            workers.iter().chain([&child.id()]).for_each(|&id| send(id, signal));
        }
        let ended = wait::some_within(Duration::from_secs(5), || child.try_wait().expect("ours"));
        if ended.is_none() {
            workers.iter().chain([&child.id()]).for_each(|&id| send(id, Signal::KILL));
            let _already_waited = child.wait();
        }
    }

    /// Starts it again after [`stop`](Self::stop), on the same port with the same files.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Stops everything in its tracks: connections stay and nothing answers. `false` lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let Some(child) = &self.child else { return };
        for id in descendants(child.id()).into_iter().chain([child.id()]) {
            send(id, if frozen { Signal::STOP } else { Signal::CONT });
            // Of many threads some may still be answering.
            wait::until("the server to stand still", || !frozen || stands_still(id));
        }
    }

    fn make_directories(&mut self) {
        for name in ["files/data", "files/read-only", "files/small", "files/forbidden", "files/plain", "run"] {
            let path = self.directory.path().join(name);
            DirBuilder::new().recursive(true).mode(0o755).create(&path).expect("own directory");
            if let (Some(bytes), "files/small") = (self.settings.small_disk_bytes, name) {
                run(Command::new("mount")
                    .args(["-t", "tmpfs", "-o"])
                    .arg(format!("size={bytes}"))
                    .arg("tmpfs")
                    .arg(&path));
                self.mounts.push(path.clone());
            }
            if is_root() {
                accounts::give_to(&path, accounts::SHELL);
            }
        }
    }

    fn make_files(&self) {
        let authority = Authority::new("archive test CA");
        let leaf: Leaf = match self.settings.certificate {
            Certificate::Good => authority.leaf(&["127.0.0.1"], 2100),
            Certificate::Expired => authority.expired(),
        };
        let directory = self.directory.path();
        leaf.write_to(directory);
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).expect("own directory");
        write("ca.pem", authority.pem());
        write("other-ca.pem", Authority::new("another CA").pem());
        write("basic", BASIC_LINE);
        write("digest", DIGEST_LINE);
    }

    fn start(&mut self) {
        // A port that was free a moment ago may be gone: then with another one.
        for _ in 0..5 {
            let port = if self.port == 0 { free_port() } else { self.port };
            let (program, config, arguments) = self.recipe(port);
            fs::write(self.directory.path().join("config.json"), config).expect("own directory");
            let log = fs::File::create(self.directory.path().join("output")).expect("own directory");
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file"))
                .stderr(log)
                .spawn()
                .expect("it starts");
            let listens = wait::some("the server to listen or to end", || {
                if child.try_wait().expect("ours").is_some() {
                    return Some(false);
                }
                TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
            });
            if listens {
                (self.port, self.child) = (port, Some(child));
                return;
            }
        }
        let output = fs::read_to_string(self.directory.path().join("output")).unwrap_or_default();
        panic!("{:?} does not start:\n{output}{}", self.settings.software, self.log());
    }
}

impl Drop for Webdav {
    fn drop(&mut self) {
        self.stop();
        for path in &self.mounts {
            let _gone = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

/// Whether every thread of a process is stopped.
fn stands_still(id: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok()).all(|stat| {
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
        matches!(state, Some("T" | "Z"))
    })
}

fn room(login: Login) -> &'static str {
    match login {
        Login::Basic => "basic",
        Login::Digest => "digest",
    }
}
