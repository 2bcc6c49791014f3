//! OpenSSH's `sshd` with its own configuration, keys, port and directories.
//!
//! With accounts (root): `archtest` has a shell, `archchroot` gets `internal-sftp` in a chroot; both have a password and
//! accept the keys. As the own user (anyone): one account, keys only. The files lie on this disk: tests look at them.
//!
//! ```ignore
//! let server = Sshd::builder().start();                       // Need::Sshd: own user, key
//! let server = Sshd::builder().accounts().start();            // Need::SshdAccounts
//! let at = server.place(Account::Chroot);                     // user, remote path, the same directory here
//! config.push_str(&format!("host_key = \"{}\"\n", server.fingerprint()));
//! server.change_host_key();                                   // the same port, another key
//! let small = Sshd::builder().accounts().small_disk(1 << 20).start().small(Account::Shell);
//! ```

use std::fs::{self, DirBuilder};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::accounts;
use super::harness::{find_program, is_root, run};
use super::ssh_keys::{self, KeyType};
use super::wait;

/// The passphrase of [`Sshd::encrypted_key`].
pub const PASSPHRASE: &str = "the key's passphrase";

/// Who logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The user of the tests.
    Own,
    /// `archtest`: shell, exec, SFTP.
    Shell,
    /// `archchroot`: SFTP only, and sees only its own directory.
    Chroot,
}

/// A directory on the server, as both sides see it.
#[derive(Debug, Clone)]
pub struct Place {
    pub user: String,
    /// As the client names it: absolute.
    pub remote: String,
    /// The same directory on this disk.
    pub local: PathBuf,
}

/// How the server will be.
#[derive(Debug, Clone)]
pub struct Builder {
    accounts: bool,
    password: bool,
    keys: bool,
    keyboard_interactive: bool,
    host_keys: Vec<KeyType>,
    denied_requests: Vec<String>,
    small_disk_bytes: Option<u64>,
    sftp: String,
    more: String,
}

/// A running server; stopped, with all its sessions, when dropped.
pub struct Sshd {
    settings: Builder,
    directory: TempDir,
    port: u16,
    child: Option<Child>,
    password: String,
    mounts: Vec<PathBuf>,
}

impl Builder {
    /// With the two accounts instead of the own user. Needs root.
    pub fn accounts(mut self) -> Self {
        (self.accounts, self.password) = (true, true);
        self
    }

    /// Accepts keys only.
    pub fn key_only(mut self) -> Self {
        self.password = false;
        self
    }

    /// Accepts passwords only.
    pub fn password_only(mut self) -> Self {
        self.keys = false;
        self
    }

    /// Asks for the password by keyboard-interactive (through PAM), and offers neither `password` nor keys.
    pub fn keyboard_interactive(mut self) -> Self {
        (self.password, self.keys, self.keyboard_interactive) = (false, false, true);
        self
    }

    /// The types of host key that it has, instead of ed25519 alone.
    pub fn host_keys(mut self, types: &[KeyType]) -> Self {
        self.host_keys = types.to_vec();
        self
    }

    /// SFTP requests that it refuses (`sftp-server -P`): `rename`, `posix-rename`, `hardlink`, `remove`, `statvfs` …
    pub fn deny(mut self, requests: &[&str]) -> Self {
        self.denied_requests = requests.iter().map(|&request| request.to_owned()).collect();
        self
    }

    /// The command behind the subsystem `sftp`, instead of `internal-sftp`.
    pub fn sftp(mut self, command: &str) -> Self {
        self.sftp = command.to_owned();
        self
    }

    /// Adds a file system of this size: see [`Sshd::small`]. Needs [`Need::Tmpfs`](super::harness::Need::Tmpfs).
    pub fn small_disk(mut self, bytes: u64) -> Self {
        self.small_disk_bytes = Some(bytes);
        self
    }

    /// More lines of `sshd_config`, before any `Match`.
    pub fn config(mut self, lines: &str) -> Self {
        self.more.push_str(lines);
        self.more.push('\n');
        self
    }

    /// Starts the server and waits until it greets.
    pub fn start(self) -> Sshd {
        let mut temp = tempfile::Builder::new();
        temp.prefix("sshd-").permissions(fs::Permissions::from_mode(0o755));
        let (directory, password) = if self.accounts {
            let accounts = accounts::ensure();
            (temp.tempdir_in(accounts::base()), accounts.password)
        } else {
            (temp.tempdir(), String::new())
        };
        let directory = directory.expect("a temp directory");
        let mut server = Sshd { settings: self, directory, port: 0, child: None, password, mounts: Vec::new() };
        server.make_directories();
        server.make_keys();
        server.make_host_keys();
        server.start();
        server
    }
}

impl Sshd {
    /// Own user, keys only, one ed25519 host key: change what differs.
    pub fn builder() -> Builder {
        Builder {
            accounts: false,
            password: false,
            keys: true,
            keyboard_interactive: false,
            host_keys: vec![KeyType::Ed25519],
            denied_requests: Vec::new(),
            small_disk_bytes: None,
            sftp: "internal-sftp".to_owned(),
            more: String::new(),
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of both accounts.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// An empty directory that the account may write to.
    pub fn place(&self, account: Account) -> Place {
        self.place_named(account, "data")
    }

    /// The small file system of [`Builder::small_disk`], writable.
    pub fn small(&self, account: Account) -> Place {
        self.place_named(account, "small")
    }

    /// A directory that exists and that the account must not write to (root, as own user, may all the same).
    pub fn read_only(&self, account: Account) -> Place {
        self.place_named(account, "read-only")
    }

    /// The user that logs in where only one does: own, or `archtest`; with its directory.
    pub fn main(&self) -> Place {
        self.place(if self.settings.accounts { Account::Shell } else { Account::Own })
    }

    /// A private key that is accepted, without passphrase (ed25519).
    pub fn key(&self) -> PathBuf {
        self.path("id_ed25519")
    }

    /// A private key that is accepted; its passphrase is [`PASSPHRASE`].
    pub fn encrypted_key(&self) -> PathBuf {
        self.path("id_encrypted")
    }

    /// A private key that is not accepted.
    pub fn stranger_key(&self) -> PathBuf {
        self.path("id_stranger")
    }

    /// Makes another key that is accepted.
    pub fn new_key(&self, name: &str, key_type: KeyType, passphrase: &str) -> PathBuf {
        let path = self.path(name);
        ssh_keys::generate(&path, key_type, passphrase);
        let list = self.path("authorized_keys");
        let mut text = fs::read_to_string(&list).unwrap_or_default();
        text.push_str(&format!("{}\n", ssh_keys::public(&path)));
        fs::write(&list, text).expect("own directory");
        path
    }

    /// `SHA256:…` of the first host key.
    pub fn fingerprint(&self) -> String {
        self.fingerprint_of(self.settings.host_keys[0])
    }

    /// `SHA256:…` of a host key of this type.
    pub fn fingerprint_of(&self, key_type: KeyType) -> String {
        ssh_keys::fingerprint(&self.host_key(key_type))
    }

    /// A line of a `known_hosts` file for a host key of this type.
    pub fn known_hosts_line(&self, key_type: KeyType) -> String {
        let public = ssh_keys::public(&self.host_key(key_type));
        let key = public.rsplit_once(" archive test").map_or(public.as_str(), |(key, _)| key);
        format!("[127.0.0.1]:{0},[localhost]:{0} {key}\n", self.port)
    }

    /// A `known_hosts` file with all host keys, as they are now.
    pub fn known_hosts(&self) -> PathBuf {
        let path = self.path("known_hosts");
        let lines: String = self.settings.host_keys.iter().map(|&key_type| self.known_hosts_line(key_type)).collect();
        fs::write(&path, lines).expect("own directory");
        path
    }

    /// What the server has logged so far (`LogLevel VERBOSE`).
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Stops the server and ends all its sessions; the port refuses from now on.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let sessions = descendants(child.id());
        // SIGKILL: a frozen server would not hear anything else.
        let _already_gone = child.kill();
        let _already_waited = child.wait();
        for id in sessions {
            send(id, Signal::KILL);
        }
    }

    /// Starts it again after [`stop`](Self::stop), on the same port with the same keys and files.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Same port, same files, other host keys.
    pub fn change_host_key(&mut self) {
        self.stop();
        self.make_host_keys();
        self.start();
    }

    /// Ends all sessions abruptly; the server stays.
    pub fn kill_sessions(&self) {
        for id in self.child.as_ref().map(|child| descendants(child.id())).unwrap_or_default() {
            send(id, Signal::KILL);
        }
    }

    /// Stops listener and sessions in their tracks: connections stay and nothing answers. `false` lets them go on.
    pub fn freeze(&self, frozen: bool) {
        let Some(child) = &self.child else { return };
        for id in descendants(child.id()).into_iter().chain([child.id()]) {
            send(id, if frozen { Signal::STOP } else { Signal::CONT });
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn host_key(&self, key_type: KeyType) -> PathBuf {
        self.path(&format!("host_{key_type:?}"))
    }

    fn place_named(&self, account: Account, name: &str) -> Place {
        assert_eq!(account != Account::Own, self.settings.accounts, "{account:?} needs another kind of server");
        let (user, directory) = match account {
            Account::Own => (own_user(), "files"),
            Account::Shell => (accounts::SHELL.to_owned(), "files"),
            Account::Chroot => (accounts::CHROOT.to_owned(), "chroot"),
        };
        let local = self.path(directory).join(name);
        let remote = if account == Account::Chroot { format!("/{name}") } else { local.display().to_string() };
        Place { user, remote, local }
    }

    fn make_directories(&mut self) {
        let parents: &[(&str, Account)] = if self.settings.accounts {
            &[("files", Account::Shell), ("chroot", Account::Chroot)]
        } else {
            &[("files", Account::Own)]
        };
        for &(parent, account) in parents {
            for name in ["data", "read-only", "small"] {
                let mode = if name == "read-only" { 0o555 } else { 0o755 };
                let path = self.path(parent).join(name);
                DirBuilder::new().recursive(true).mode(0o755).create(&path).expect("own directory");
                if let (Some(bytes), "small") = (self.settings.small_disk_bytes, name) {
                    run(Command::new("mount")
                        .args(["-t", "tmpfs", "-o"])
                        .arg(format!("size={bytes}"))
                        .arg("tmpfs")
                        .arg(&path));
                    self.mounts.push(path.clone());
                }
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("own directory");
                if name != "read-only" && account != Account::Own {
                    accounts::give_to(&path, &self.place(account).user);
                }
            }
        }
    }

    fn make_keys(&self) {
        self.new_key("id_ed25519", KeyType::Ed25519, "");
        self.new_key("id_encrypted", KeyType::Ed25519, PASSPHRASE);
        ssh_keys::generate(&self.stranger_key(), KeyType::Ed25519, "");
        fs::set_permissions(self.path("authorized_keys"), fs::Permissions::from_mode(0o644)).expect("own file");
    }

    fn make_host_keys(&self) {
        for &key_type in &self.settings.host_keys {
            ssh_keys::generate(&self.host_key(key_type), key_type, "");
        }
    }

    fn start(&mut self) {
        if is_root() {
            // sshd refuses to run as root without this directory, which the system's own service would make.
            DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd").expect("root may");
        }
        // A port that was free a moment ago may be gone: then with another one.
        for _ in 0..5 {
            let port = if self.port == 0 { free_port() } else { self.port };
            fs::write(self.path("config"), self.config(port)).expect("own directory");
            let mut child = Command::new(find_program("sshd").expect("the case names Need::Sshd"))
                .arg("-D")
                .arg("-f")
                .arg(self.path("config"))
                .arg("-E")
                .arg(self.path("log"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("sshd starts");
            let greets = wait::some("sshd to greet or to end", || {
                if child.try_wait().expect("ours").is_some() {
                    return Some(false);
                }
                greets(port).then_some(true)
            });
            if greets {
                (self.port, self.child) = (port, Some(child));
                return;
            }
        }
        panic!("sshd does not start:\n{}", self.log());
    }

    fn config(&self, port: u16) -> String {
        let settings = &self.settings;
        let yes = |value: bool| if value { "yes" } else { "no" };
        let mut text = format!("Port {port}\nListenAddress 127.0.0.1\nPidFile none\nStrictModes no\nUseDNS no\n");
        for &key_type in &settings.host_keys {
            text.push_str(&format!("HostKey {}\n", self.host_key(key_type).display()));
        }
        text.push_str(
            "LogLevel VERBOSE\nMaxStartups 200\nPrintMotd no\nPrintLastLog no\nPermitRootLogin prohibit-password\n",
        );
        text.push_str(&format!("AuthorizedKeysFile {}\n", self.path("authorized_keys").display()));
        text.push_str(&format!("PubkeyAuthentication {}\n", yes(settings.keys)));
        text.push_str(&format!("PasswordAuthentication {}\n", yes(settings.password)));
        text.push_str(&format!("KbdInteractiveAuthentication {0}\nUsePAM {0}\n", yes(settings.keyboard_interactive)));
        if penalises() {
            text.push_str("PerSourcePenalties no\n");
        }
        let denied = settings.denied_requests.join(",");
        let sftp = if denied.is_empty() { settings.sftp.clone() } else { format!("{} -P {denied}", settings.sftp) };
        text.push_str(&format!("Subsystem sftp {sftp}\n{}", settings.more));
        let users = if settings.accounts { format!("{} {}", accounts::SHELL, accounts::CHROOT) } else { own_user() };
        text.push_str(&format!("AllowUsers {users}\n"));
        if settings.accounts {
            let chroot = self.path("chroot");
            text.push_str(&format!("Match User {}\n  ChrootDirectory {}\n", accounts::CHROOT, chroot.display()));
            text.push_str(&format!("  ForceCommand {sftp}\n  AllowTcpForwarding no\n"));
        }
        text
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
        for path in &self.mounts {
            // Lazily: a session that is just ending may still have its directory there.
            let _gone = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

/// The name of the user that runs the tests.
pub fn own_user() -> String {
    run(Command::new("id").arg("-un")).trim().to_owned()
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    listener.local_addr().expect("bound").port()
}

fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut greeting = [0; 4];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && &greeting == b"SSH-"
}

/// OpenSSH 9.8 and later shut out addresses after failed log-ins, which tests make on purpose.
fn penalises() -> bool {
    let output = Command::new("ssh").arg("-V").output().expect("ssh is installed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = text.strip_prefix("OpenSSH_").and_then(|rest| rest.split(['p', ' ', ',']).next()).unwrap_or("0.0");
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0)) >= (9, 8)
}

/// All children of a process, and theirs.
pub(super) fn descendants(of: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|id| Some((id, parent(id)?)))
        .collect();
    let mut found = vec![of];
    let mut index = 0;
    while index < found.len() {
        let of = found[index];
        found.extend(parents.iter().filter(|&&(_, parent)| parent == of).map(|&(id, _)| id));
        index += 1;
    }
    found.remove(0);
    found
}

/// The fourth field of `/proc/ID/stat`; the second may hold spaces and brackets.
fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Sends a signal to a process that may be gone.
pub(super) fn send(id: u32, signal: Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _already_gone = kill_process(id, signal);
    }
}
