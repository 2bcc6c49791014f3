//! rsync as a daemon, with one module that wants a password. Anyone may run it; as root, files belong to [`UID`].
//!
//! ```ignore
//! let server = Rsyncd::start();                                // Need::program("rsync")
//! let config = format!("type = \"rsync\"\nhost = \"127.0.0.1\"\nport = {}\nmodule = \"{MODULE}\"", server.port());
//! std::fs::write(server.path("data").join("x"), b"x");         // what `path = "data"` means
//! ```

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::harness::{find_program, is_root, run};
use super::sshd::{descendants, free_port, send};
use super::wait;
use rustix::process::Signal;

/// The module.
pub const MODULE: &str = "archives";
/// Who may use it.
pub const USER: &str = "archive";
pub const PASSWORD: &str = "the daemon's password";
/// Whose files they are, if the daemon may choose.
pub const UID: u32 = 54322;

/// A running daemon; stopped when dropped.
pub struct Rsyncd {
    directory: TempDir,
    port: u16,
    child: Option<Child>,
    mounted: Vec<PathBuf>,
    /// `refuse options`
    refused: &'static str,
}

impl Rsyncd {
    /// With the directories `data` (empty and writable) and `read-only`.
    pub fn start() -> Self {
        Self::refusing("")
    }

    /// The same that takes none of these options (`refuse options` of rsyncd.conf(5)).
    pub fn refusing(refused: &'static str) -> Self {
        let temp = tempfile::Builder::new().prefix("rsyncd-").permissions(Permissions::from_mode(0o755)).tempdir();
        let mut server =
            Rsyncd { directory: temp.expect("a temp directory"), port: 0, child: None, mounted: Vec::new(), refused };
        fs::create_dir(server.root()).expect("own directory");
        for name in ["data", "read-only", "small"] {
            fs::create_dir(server.path(name)).expect("own directory");
            give(&server.path(name));
        }
        if is_root() {
            chown(server.path("read-only"), Some(0), Some(0)).expect("root may");
        }
        fs::set_permissions(server.path("read-only"), Permissions::from_mode(0o555)).expect("own directory");
        let secrets = server.directory.path().join("secrets");
        fs::write(&secrets, format!("{USER}:{PASSWORD}\n")).expect("own directory");
        fs::set_permissions(&secrets, Permissions::from_mode(0o600)).expect("own file");
        server.restart();
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A directory below the module's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Puts a file system of a megabyte in the place of `small`. Needs [`Need::Tmpfs`](super::harness::Need::Tmpfs).
    pub fn mount_small(&mut self) {
        let path = self.path("small");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path));
        give(&path);
        self.mounted.push(path);
    }

    /// Stops it; the port refuses from now on.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let all = descendants(child.id());
        let _already_gone = child.kill();
        let _already_waited = child.wait();
        for id in all {
            send(id, Signal::KILL);
        }
    }

    /// Starts it again, on the same port.
    pub fn restart(&mut self) {
        self.stop();
        // A port that was free a moment ago may be gone: then with another one.
        for _ in 0..5 {
            let port = if self.port == 0 { free_port() } else { self.port };
            let config = self.directory.path().join("rsyncd.conf");
            fs::write(&config, self.config(port)).expect("own directory");
            let mut child = Command::new(find_program("rsync").expect("the case names Need::program(\"rsync\")"))
                .args(["--daemon", "--no-detach"])
                .arg(format!("--config={}", config.display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("rsync starts");
            let ready = wait::some("rsyncd to answer or to end", || {
                if child.try_wait().expect("ours").is_some() {
                    return Some(false);
                }
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
            });
            if ready {
                (self.port, self.child) = (port, Some(child));
                return;
            }
        }
        panic!("rsyncd does not start:\n{}", fs::read_to_string(self.directory.path().join("log")).unwrap_or_default());
    }

    /// Stops everything in its tracks; connections stay and nothing answers.
    pub fn freeze(&self) {
        let Some(child) = &self.child else { return };
        for id in descendants(child.id()).into_iter().chain([child.id()]) {
            send(id, Signal::STOP);
        }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    fn config(&self, port: u16) -> String {
        let at = self.directory.path().display();
        let user = if is_root() { format!("uid = {UID}\ngid = {UID}\n") } else { String::new() };
        format!(
            "port = {port}\naddress = 127.0.0.1\nuse chroot = no\nmunge symlinks = no\nlog file = {at}/log\n\
             lock file = {at}/lock\n{user}[{MODULE}]\npath = {at}/files\nread only = no\nauth users = {USER}\n\
             secrets file = {at}/secrets\nrefuse options = {}\n",
            self.refused
        )
    }
}

/// Gives a file or directory to the user of the daemon.
pub fn give(path: &Path) {
    if is_root() {
        chown(path, Some(UID), Some(UID)).expect("root may");
    }
}

impl Drop for Rsyncd {
    fn drop(&mut self) {
        self.stop();
        for path in &self.mounted {
            let _gone = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}
