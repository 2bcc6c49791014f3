//! SFTP servers that are not OpenSSH's: ProFTPD, rclone, Dropbear, paramiko's and asyncssh's. One account with a password each.
//!
//! ```ignore
//! let server = SftpServer::start(Software::Rclone);           // needs: Software::Rclone.needs()
//! config.push_str(&server.keys());                            // a `[[destination]]` table's keys
//! ```

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::accounts;
use super::harness::{Need, find_program, repository, run, unpacked_server};
use super::python::python;
use super::ssh_keys::{self, KeyType};
use super::sshd::{descendants, free_port, send};
use super::wait;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    /// `mod_sftp`, which gathers the packets of all channels of a connection in one buffer.
    Proftpd,
    /// The same with its defaults for files that exist: nothing is written to them.
    ProftpdWithoutOverwriting,
    /// Writes to its directory as they come.
    Rclone,
    /// Writes into a cache first: what it does not like it leaves out without a word.
    RcloneCached,
    /// With OpenSSH's `sftp-server` behind it.
    Dropbear,
    /// Empties files that are to be shortened.
    Paramiko,
    /// The same, and ends the connection of whoever asks for a command.
    ParamikoWithoutExec,
    /// The same, and lets nothing be deleted.
    ParamikoWithoutRemove,
    Asyncssh,
}

impl Software {
    /// What it needs of this machine.
    pub const fn needs(self) -> &'static [Need] {
        match self {
            Self::Proftpd | Self::ProftpdWithoutOverwriting => &[Need::Unpacked("proftpd"), Need::SshdAccounts],
            Self::Rclone | Self::RcloneCached => &[Need::Program("rclone", "rclone"), Need::Sshd],
            Self::Dropbear => &[Need::Program("dropbear", "dropbear-bin"), Need::SshdAccounts],
            Self::Paramiko | Self::ParamikoWithoutExec | Self::ParamikoWithoutRemove => {
                &[Need::Python("paramiko"), Need::Sshd]
            }
            Self::Asyncssh => &[Need::Python("asyncssh"), Need::Sshd],
        }
    }

    /// Whether it serves an account of this machine.
    fn has_accounts(self) -> bool {
        matches!(self, Self::Proftpd | Self::ProftpdWithoutOverwriting | Self::Dropbear)
    }
}

/// A running server; stopped, with all its sessions, when dropped.
pub struct SftpServer {
    software: Software,
    directory: TempDir,
    port: u16,
    child: Option<Child>,
    password: String,
}

impl SftpServer {
    /// Starts it and waits until it greets.
    pub fn start(software: Software) -> Self {
        let mut temp = tempfile::Builder::new();
        temp.prefix("sftp-").permissions(Permissions::from_mode(0o755));
        let (directory, password) = if software.has_accounts() {
            let accounts = accounts::ensure();
            (temp.tempdir_in(accounts::base()), accounts.password)
        } else {
            (temp.tempdir(), "sftp pässword".to_owned())
        };
        let mut server =
            SftpServer { software, directory: directory.expect("a temp directory"), port: 0, child: None, password };
        ssh_keys::generate(&server.path("host_key"), KeyType::Ed25519, "");
        for path in [server.path("root"), server.data()] {
            fs::create_dir(&path).expect("own directory");
            if software.has_accounts() {
                accounts::give_to(&path, accounts::SHELL);
            }
        }
        server.restart();
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who logs in.
    pub fn username(&self) -> &'static str {
        if self.software.has_accounts() { accounts::SHELL } else { "archive" }
    }

    /// Its password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// `SHA256:…` of the host key.
    pub fn fingerprint(&self) -> String {
        ssh_keys::fingerprint(&self.path("host_key"))
    }

    /// The directory as the client names it.
    pub fn remote(&self) -> String {
        match self.software {
            Software::Dropbear | Software::Proftpd | Software::ProftpdWithoutOverwriting => {
                self.data().display().to_string()
            }
            _ => "/data".to_owned(),
        }
    }

    /// The same directory on this disk.
    pub fn data(&self) -> PathBuf {
        self.path("root/data")
    }

    /// Who must own what lies there, if not the user of the tests.
    pub fn owner(&self) -> Option<String> {
        self.software.has_accounts().then(|| accounts::SHELL.to_owned())
    }

    /// The keys of a `[[destination]]`, reached by this port.
    pub fn keys(&self, port: u16) -> String {
        format!(
            "type = \"sftp\"\nhost = \"127.0.0.1\"\nport = {port}\nusername = \"{}\"\npassword = \"{}\"\nhost_key = \"{}\"\npath = \"{}\"\n",
            self.username(),
            self.password,
            self.fingerprint(),
            self.remote()
        )
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
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

    /// Stops everything in its tracks; connections stay and nothing answers.
    pub fn freeze(&self) {
        let Some(child) = &self.child else { return };
        for id in descendants(child.id()).into_iter().chain([child.id()]) {
            send(id, Signal::STOP);
        }
    }

    /// Starts it again on the same port, with the same key and files (Python's servers: on another port).
    pub fn restart(&mut self) {
        self.stop();
        // A port that was free a moment ago may be gone: then with another one.
        for _ in 0..5 {
            let port = if self.port == 0 { free_port() } else { self.port };
            let _none_yet = fs::remove_file(self.path("port"));
            let log = fs::OpenOptions::new().append(true).create(true).open(self.path("log")).expect("own directory");
            let mut child = self
                .command(port)
                // Our end of its standard input tells Python's when we are gone, even if we are killed.
                .stdin(Stdio::piped())
                .stdout(log.try_clone().expect("own file"))
                .stderr(log)
                .spawn()
                .expect("the server starts");
            let serving = wait::some("the SFTP server to listen or to end", || {
                if child.try_wait().expect("ours").is_some() {
                    return Some(None);
                }
                let port = match fs::read_to_string(self.path("port")) {
                    Ok(told) => told.parse().ok()?,
                    Err(_) if self.is_python() => return None,
                    Err(_) => port,
                };
                TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(Some(port))
            });
            if let Some(port) = serving {
                (self.port, self.child) = (port, Some(child));
                return;
            }
        }
        panic!("{:?} does not start:\n{}", self.software, self.log());
    }

    fn is_python(&self) -> bool {
        matches!(
            self.software,
            Software::Paramiko | Software::ParamikoWithoutExec | Software::ParamikoWithoutRemove | Software::Asyncssh
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, port: u16) -> Command {
        match self.software {
            Software::Proftpd => self.proftpd(port, "AllowOverwrite on\nAllowStoreRestart on\n"),
            Software::ProftpdWithoutOverwriting => self.proftpd(port, ""),
            Software::Rclone => self.rclone(port, &[]),
            Software::RcloneCached => self.rclone(port, &["--vfs-cache-mode", "writes", "--vfs-write-back", "0s"]),
            Software::Dropbear => self.dropbear(port),
            Software::Paramiko => self.python("paramiko", &[]),
            Software::ParamikoWithoutExec => self.python("paramiko", &["hangs-up-on-exec"]),
            Software::ParamikoWithoutRemove => self.python("paramiko", &["no-remove"]),
            Software::Asyncssh => self.python("asyncssh", &[]),
        }
    }

    fn proftpd(&self, port: u16, more: &str) -> Command {
        let program = unpacked_server("proftpd").expect("the case names it");
        let modules = program.ancestors().nth(3).expect("usr/sbin").join("usr/lib/proftpd");
        let at = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "ServerType standalone\nModulePath {}\nLoadModule mod_sftp.c\nDefaultAddress 127.0.0.1\nPort {port}\nUseReverseDNS off\n\
             User root\nGroup root\nPidFile {}\nScoreboardFile {}\nDelayTable none\nWtmpLog off\nRequireValidShell off\n\
             AuthOrder mod_auth_unix.c\nSystemLog {}\nSFTPEngine on\nSFTPHostKey {}\n{more}",
            modules.display(),
            at("pid"),
            at("scoreboard"),
            at("system.log"),
            at("host_key"),
        );
        fs::write(self.path("proftpd.conf"), config).expect("own directory");
        let mut command = Command::new(program);
        command.args(["-n", "-q", "-c"]).arg(self.path("proftpd.conf"));
        command
    }

    fn rclone(&self, port: u16, more: &[&str]) -> Command {
        let mut command = Command::new("rclone");
        command
            .args(["serve", "sftp", "--config", "/dev/null", "--user", self.username(), "--pass", &self.password])
            .args(["--addr", &format!("127.0.0.1:{port}"), "--key"])
            .arg(self.path("host_key"))
            .arg("--cache-dir")
            .arg(self.path("cache"))
            .args(more)
            .arg(self.path("root"));
        command
    }

    fn dropbear(&self, port: u16) -> Command {
        let key = self.path("dropbear_key");
        if !key.exists() {
            let convert = find_program("dropbearconvert").expect("in the same package");
            run(Command::new(convert).args(["openssh", "dropbear"]).arg(self.path("host_key")).arg(&key));
        }
        let mut command = Command::new(find_program("dropbear").expect("the case names it"));
        command.args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-P"]).arg(self.path("pid")).arg("-r").arg(key);
        command
    }

    fn python(&self, software: &str, quirks: &[&str]) -> Command {
        let mut command = Command::new(python().expect("the case names it"));
        command
            .arg(script())
            .arg(software)
            .arg(self.directory.path())
            .args([self.username(), &self.password])
            .args(quirks);
        command
    }
}

fn script() -> PathBuf {
    Path::new(repository()).join("tests/support/sftp_server.py")
}

impl Drop for SftpServer {
    fn drop(&mut self) {
        self.stop();
    }
}
