//! Samba's `smbd` with one share and everything of its own under one directory. Runs as root, so that it can become the account
//! `archtest`, whose rights on the disk then count.
//!
//! ```ignore
//! let samba = Samba::builder().start();
//! // \\127.0.0.1\files\data, by `samba.port()`, as `archtest` with `samba.password()`
//! samba.freeze(true);        // nothing answers any more
//! ```

use std::fs::{self, DirBuilder};
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::accounts;
use super::harness::{find_program, repository, run};
use super::sshd::{descendants, free_port, send};
use super::wait;

/// The share; below it lie `data` (writable), `read-only` and `small`.
pub const SHARE: &str = "files";
/// A share that only somebody else may open.
pub const CLOSED_SHARE: &str = "closed";

const PASSWORD: &str = "the-samba-secret";

/// How the server is set up.
pub struct Builder {
    encryption: bool,
    small_disk_bytes: Option<u64>,
    slow_disk: bool,
    more: String,
}

/// A running server; it ends when it is dropped.
pub struct Samba {
    directory: TempDir,
    settings: Builder,
    port: u16,
    child: Option<Child>,
    small_is_mounted: bool,
}

impl Builder {
    /// Signs, and cannot encrypt.
    pub fn without_encryption(mut self) -> Self {
        self.encryption = false;
        self
    }

    /// Gives `small` a file system of so many bytes. Needs the right to mount.
    pub fn small_disk(mut self, bytes: u64) -> Self {
        self.small_disk_bytes = Some(bytes);
        self
    }

    /// Reads and writes take some milliseconds, so that the server announces most answers before it gives them; and it lets
    /// little be on its way. Needs `cc`.
    pub fn slow_disk(mut self) -> Self {
        self.slow_disk = true;
        self.more("smb2 max credits = 256\n")
    }

    /// Further lines for `[global]`.
    pub fn more(mut self, lines: &str) -> Self {
        self.more.push_str(lines);
        self
    }

    /// Starts it. Needs `Need::Samba`.
    pub fn start(self) -> Samba {
        accounts::ensure();
        let directory = tempfile::Builder::new().prefix("smb").tempdir_in(accounts::base()).expect("root may");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("own directory");
        let mut samba = Samba { directory, settings: self, port: 0, child: None, small_is_mounted: false };
        samba.make_directories();
        samba.start();
        samba
    }
}

impl Samba {
    /// With encryption required.
    pub fn builder() -> Builder {
        Builder { encryption: true, small_disk_bytes: None, slow_disk: false, more: String::new() }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// A directory of the share on this machine's disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("files").join(name)
    }

    /// Stops everything in its tracks: connections stay and nothing answers. `false` lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let Some(child) = &self.child else { return };
        for id in descendants(child.id()).into_iter().chain([child.id()]) {
            send(id, if frozen { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Stops the server and ends all its sessions; the port refuses from now on.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let sessions = descendants(child.id());
        let _already_gone = child.kill();
        let _already_waited = child.wait();
        for id in sessions {
            send(id, Signal::KILL);
        }
    }

    /// Starts it again after [`stop`](Self::stop), on the same port with the same files.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn make_directories(&mut self) {
        for name in ["private", "lock", "state", "cache", "pid", "ncalrpc"] {
            let mode = if name == "private" { 0o700 } else { 0o755 };
            DirBuilder::new().mode(mode).create(self.directory.path().join(name)).expect("own directory");
        }
        for name in ["data", "read-only", "small"] {
            let path = self.path(name);
            DirBuilder::new().recursive(true).mode(0o755).create(&path).expect("own directory");
            if let (Some(bytes), "small") = (self.settings.small_disk_bytes, name) {
                let size = format!("size={bytes}");
                run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path));
                self.small_is_mounted = true;
            }
            if name != "read-only" {
                accounts::give_to(&path, accounts::SHELL);
            }
        }
    }

    fn start(&mut self) {
        // A port that was free a moment ago may be gone: then with another one.
        for _ in 0..5 {
            let port = if self.port == 0 { free_port() } else { self.port };
            let config = self.directory.path().join("smb.conf");
            fs::write(&config, self.config(port)).expect("own directory");
            self.add_account();
            let mut smbd = Command::new(find_program("smbd").expect("the case names Need::Samba"));
            if self.settings.slow_disk {
                smbd.env("LD_PRELOAD", self.slow_disk());
            }
            let mut child = smbd
                .args(["--foreground", "--no-process-group", "--debug-stdout", "-s"])
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(fs::File::create(self.directory.path().join("log")).expect("own directory"))
                .stderr(Stdio::null())
                .spawn()
                .expect("smbd starts");
            let listens = wait::some("smbd to listen or to end", || {
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
        panic!("smbd does not start:\n{}", fs::read_to_string(self.directory.path().join("log")).unwrap_or_default());
    }

    fn slow_disk(&self) -> PathBuf {
        let library = self.directory.path().join("slow_disk.so");
        let source = repository().join("tests/support/slow_disk.c");
        run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl"));
        library
    }

    fn add_account(&self) {
        if self.directory.path().join("private/passdb.tdb").exists() {
            return;
        }
        let mut pdbedit = Command::new(find_program("pdbedit").expect("the case names Need::Samba"))
            .args(["--create", "--password-from-stdin", "--user", accounts::SHELL, "-s"])
            .arg(self.directory.path().join("smb.conf"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pdbedit starts");
        write!(pdbedit.stdin.take().expect("piped"), "{PASSWORD}\n{PASSWORD}\n").expect("pdbedit reads");
        assert!(pdbedit.wait().expect("ours").success(), "pdbedit failed");
    }

    fn config(&self, port: u16) -> String {
        let base = self.directory.path().display();
        let encryption = if self.settings.encryption { "required" } else { "off" };
        let more = &self.settings.more;
        let account = accounts::SHELL;
        let signing = "server signing = mandatory";
        format!(
            "[global]\nserver role = standalone server\nsmb ports = {port}\ninterfaces = lo\nbind interfaces only = yes\n\
             disable netbios = yes\nload printers = no\nserver min protocol = SMB3\nserver smb encrypt = {encryption}\n{signing}\n\
             private dir = {base}/private\nlock directory = {base}/lock\nstate directory = {base}/state\n\
             cache directory = {base}/cache\npid directory = {base}/pid\nncalrpc dir = {base}/ncalrpc\n\
             log file = {base}/log.%m\nlog level = 0\n{more}\n\
             [{SHARE}]\npath = {base}/files\nread only = no\n\
             [{CLOSED_SHARE}]\npath = {base}/files\ninvalid users = {account}\n"
        )
    }
}

impl Drop for Samba {
    fn drop(&mut self) {
        self.stop();
        if self.small_is_mounted {
            let _gone = Command::new("umount").arg("-l").arg(self.path("small")).status();
        }
    }
}
