//! `vsftpd`, ProFTPD or pure-ftpd with its own configuration, port, passive ports and directories: explicit TLS, implicit TLS,
//! or unencrypted.
//!
//! The account is `archtest`, which sees the server's directory as `/`. TLS sessions must be resumed by data connections
//! (`require_ssl_reuse`, ProFTPD's default). The files lie on this disk: tests look at them.
//!
//! ```ignore
//! let server = Ftpd::start(VSFTPD, Mode::Explicit, None);     // Need::Vsftpd
//! let proxy = server.proxy();                                 // data connections pass through it, too
//! fs::write(dir.join("ca.pem"), server.ca().pem())?;
//! ```

use std::fs::{self, DirBuilder};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::accounts;
use super::harness::{find_program, run, unpacked_server};
use super::proxy::Proxy;
use super::sshd::{descendants, free_port, send};
use super::tls::{Authority, Leaf};
use super::wait;

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Explicit,
    Implicit,
    Plain,
}

/// Which server, and lines for its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Vsftpd(&'static str),
    /// In Debian's form: it refuses to overwrite and to go on with a file.
    ProFtpd(&'static str),
    /// Explicit TLS, with a user of its own (`puredb`); so many files in a listing, in place of 10000.
    PureFtpd(u32),
}

/// As it comes.
pub const VSFTPD: Program = Program::Vsftpd("");

/// How many data connections may be opened at the same time.
const PASSIVE_PORTS: u16 = 16;

/// How many proxies a server may have: each has an address of its own, which the certificate must name.
const PROXIES: u8 = 40;

/// A running server; stopped, with all its sessions, when dropped.
pub struct Ftpd {
    program: Program,
    mode: Mode,
    directory: TempDir,
    ca: Authority,
    port: u16,
    passive: Vec<u16>,
    child: Option<Child>,
    password: String,
    mount: Option<PathBuf>,
    /// The addresses for proxies that are not used yet.
    left: Mutex<Vec<Ipv4Addr>>,
}

impl Ftpd {
    /// Starts a server with a good certificate; `small` has so many bytes.
    pub fn start(program: Program, mode: Mode, small_bytes: Option<u64>) -> Self {
        Self::start_with(program, mode, small_bytes, |ca, names| ca.leaf(names, 2100))
    }

    /// The same with another certificate; the function is given the names that a good one has.
    pub fn start_with(
        program: Program,
        mode: Mode,
        small_bytes: Option<u64>,
        leaf: fn(&Authority, &[&str]) -> Leaf,
    ) -> Self {
        let ca = Authority::new("archive test CA");
        let block = [fastrand::u8(1..=254), fastrand::u8(..)];
        let addresses: Vec<Ipv4Addr> = (1..=PROXIES).map(|last| Ipv4Addr::new(127, block[0], block[1], last)).collect();
        let names: Vec<String> = ["localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .into_iter()
            .chain(addresses.iter().map(Ipv4Addr::to_string))
            .collect();
        let leaf = leaf(&ca, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let password = accounts::ensure().password;
        let mut temp = tempfile::Builder::new();
        temp.prefix("ftpd-").permissions(fs::Permissions::from_mode(0o755));
        let directory = temp.tempdir_in(accounts::base()).expect("a temp directory");
        fs::write(directory.path().join("ca.pem"), ca.pem()).expect("own directory");
        leaf.write_to(directory.path());
        if matches!(program, Program::PureFtpd(_)) {
            add_to_puredb(directory.path(), &password);
        }
        let mut server = Ftpd {
            program,
            mode,
            directory,
            ca,
            port: 0,
            passive: Vec::new(),
            child: None,
            password,
            mount: None,
            left: Mutex::new(addresses),
        };
        server.make_directories(small_bytes);
        server.run();
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The ports of data connections.
    pub fn passive_ports(&self) -> &[u16] {
        &self.passive
    }

    /// Who logs in.
    pub fn username(&self) -> &'static str {
        accounts::SHELL
    }

    /// Its password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Whoever signed the certificate.
    pub fn ca(&self) -> &Authority {
        &self.ca
    }

    /// Its certificate as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// `data`, `read-only` or `small` as it lies on this disk; the client sees it as `/data` and so on.
    pub fn local(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }

    /// A proxy through which data connections pass as well.
    pub fn proxy(&self) -> Proxy {
        loop {
            let address = self.left.lock().unwrap().pop().expect("so many proxies are enough for a case");
            // The address may be another server's.
            if let Ok(proxy) = Proxy::start_at(address, self.port, &self.passive) {
                return proxy;
            }
        }
    }

    /// What the server has logged so far, every command and answer.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
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
        self.run();
    }

    /// Stops listener and sessions in their tracks: connections stay and nothing answers.
    pub fn freeze(&self) {
        let Some(child) = &self.child else { return };
        for id in descendants(child.id()).into_iter().chain([child.id()]) {
            send(id, Signal::STOP);
        }
    }

    fn make_directories(&mut self, small_bytes: Option<u64>) {
        for name in ["data", "read-only", "small"] {
            let path = self.local(name);
            DirBuilder::new().recursive(true).mode(0o755).create(&path).expect("own directory");
            if let (Some(bytes), "small") = (small_bytes, name) {
                run(Command::new("mount")
                    .args(["-t", "tmpfs", "-o"])
                    .arg(format!("size={bytes}"))
                    .arg("tmpfs")
                    .arg(&path));
                self.mount = Some(path.clone());
            }
            if name == "read-only" {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).expect("own directory");
            } else {
                accounts::give_to(&path, self.username());
            }
        }
    }

    fn run(&mut self) {
        // The unprivileged half of each session of vsftpd is locked in there.
        DirBuilder::new().recursive(true).mode(0o755).create("/var/run/vsftpd/empty").expect("root may");
        // A port that was free a moment ago may be gone: then with another one.
        for _ in 0..5 {
            let port = if self.port == 0 { free_port() } else { self.port };
            if self.passive.is_empty() {
                self.passive = free_ports(PASSIVE_PORTS);
            }
            let mut child = self
                .command(port)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the server starts");
            let answers = wait::some("the server to answer or to end", || {
                if child.try_wait().expect("ours").is_some() {
                    return Some(false);
                }
                answers(port, self.mode).then_some(true)
            });
            if answers {
                (self.port, self.child) = (port, Some(child));
                return;
            }
        }
        panic!("{:?} does not start:\n{}", self.program, self.log());
    }

    fn command(&self, port: u16) -> Command {
        let config = self.directory.path().join("config");
        let unpacked = |name| unpacked_server(name).expect("the case names Need::Unpacked");
        match self.program {
            Program::Vsftpd(lines) => {
                fs::write(&config, format!("{}{lines}", self.for_vsftpd(port))).expect("own directory");
                let mut command = Command::new(find_program("vsftpd").expect("the case names Need::Vsftpd"));
                command.arg(&config);
                command
            }
            Program::ProFtpd(lines) => {
                let program = unpacked("proftpd");
                let modules = program.with_file_name("../lib/proftpd");
                let text = format!("ModulePath {}\n{}{lines}", modules.display(), self.for_proftpd(port));
                fs::write(&config, text).expect("own directory");
                let mut command = Command::new(program);
                command.arg("-n").arg("-c").arg(&config);
                command
            }
            Program::PureFtpd(listed) => {
                let at = |name: &str| self.directory.path().join(name).display().to_string();
                let (first, last) = (self.passive[0], self.passive[self.passive.len() - 1]);
                let mut command = Command::new(unpacked("pure-ftpd"));
                command.args(["-S", &format!("127.0.0.1,{port}"), "-p", &format!("{first}:{last}")]);
                // Chroot for all, no anonymous, no names of hosts; the umask; a listing of so many files, eight levels deep.
                command.args(["-A", "-E", "-H", "-u", "1", "-U", "137:027"]);
                command.args(["-L", &format!("{listed}:8"), "-l", &format!("puredb:{}", at("users.pdb"))]);
                if self.mode == Mode::Explicit {
                    command.args(["-Y", "2", "-2", &at("both.pem")]);
                }
                command
            }
        }
    }

    fn for_vsftpd(&self, port: u16) -> String {
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let (first, last) = (self.passive[0], self.passive[self.passive.len() - 1]);
        let mut text = format!(
            "listen=YES\nbackground=NO\nlisten_address=127.0.0.1\nlisten_port={port}\nanonymous_enable=NO\nlocal_enable=YES\n\
             write_enable=YES\nchroot_local_user=YES\nallow_writeable_chroot=YES\nlocal_root={}\npam_service_name=vsftpd\n\
             secure_chroot_dir=/var/run/vsftpd/empty\npasv_min_port={first}\npasv_max_port={last}\nconnect_from_port_20=NO\n\
             seccomp_sandbox=NO\nlocal_umask=027\nxferlog_enable=YES\nlog_ftp_protocol=YES\nvsftpd_log_file={}\n",
            at("root"),
            at("log"),
        );
        if self.mode != Mode::Plain {
            text.push_str(&format!(
                "ssl_enable=YES\nforce_local_data_ssl=YES\nforce_local_logins_ssl=YES\nssl_tlsv1=YES\nssl_ciphers=HIGH\n\
                 require_ssl_reuse=YES\nrsa_cert_file={}\nrsa_private_key_file={}\n",
                at("cert.pem"),
                at("key.pem"),
            ));
        }
        if self.mode == Mode::Implicit {
            text.push_str("implicit_ssl=YES\n");
        }
        text
    }

    fn for_proftpd(&self, port: u16) -> String {
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let (first, last) = (self.passive[0], self.passive[self.passive.len() - 1]);
        let mut text = format!(
            "LoadModule mod_tls.c\nServerType standalone\nDefaultServer on\nDefaultAddress 127.0.0.1\nSocketBindTight on\n\
             UseIPv6 off\nUseReverseDNS off\nPort {port}\nPassivePorts {first} {last}\nUser nobody\nGroup nogroup\n\
             PidFile {pid}\nScoreboardFile {board}\nDelayEngine off\nSystemLog {log}\nExtendedLog {log} ALL\nTransferLog none\n\
             WtmpLog off\nAuthOrder mod_auth_unix.c\nDefaultRoot {root}\nRequireValidShell off\nUmask 027\n",
            pid = at("pid"),
            board = at("scoreboard"),
            log = at("log"),
            root = at("root"),
        );
        if self.mode != Mode::Plain {
            // Its key is on a curve.
            text.push_str(&format!(
                "TLSEngine on\nTLSRequired on\nTLSLog {}\nTLSECCertificateFile {}\nTLSECCertificateKeyFile {}\n",
                at("log"),
                at("cert.pem"),
                at("key.pem"),
            ));
        }
        if self.mode == Mode::Implicit {
            text.push_str("TLSOptions UseImplicitSSL\n");
        }
        text
    }
}

impl Drop for Ftpd {
    fn drop(&mut self) {
        self.stop();
        if let Some(path) = &self.mount {
            // Lazily: a session that is just ending may still have its directory there.
            let _gone = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

/// pure-ftpd has users of its own, and wants certificate and key in one file.
fn add_to_puredb(directory: &Path, password: &str) {
    let at = |name: &str| directory.join(name);
    let both = [fs::read(at("cert.pem")), fs::read(at("key.pem"))].map(|read| read.expect("just written")).concat();
    fs::write(at("both.pem"), both).expect("own directory");
    fs::set_permissions(at("both.pem"), fs::Permissions::from_mode(0o600)).expect("own file");
    // Its own hash takes a second for each log-in.
    let hash = run(Command::new("openssl").args(["passwd", "-6", password]));
    let [uid, gid] = ["-u", "-g"].map(|which| accounts::id(which, accounts::SHELL));
    let user = format!("{}:{}:{uid}:{gid}::{}/./::::::::::::\n", accounts::SHELL, hash.trim(), at("root").display());
    fs::write(at("users"), user).expect("own directory");
    let program = unpacked_server("pure-ftpd").expect("the case names Need::Unpacked").with_file_name("../bin/pure-pw");
    run(Command::new(program).arg("mkdb").arg(at("users.pdb")).arg("-f").arg(at("users")));
}

/// With implicit TLS the server waits for the client to speak first: that it is listening has to be enough.
fn answers(port: u16, mode: Mode) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut greeting = [0; 4];
    mode == Mode::Implicit
        || (stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
            && stream.read_exact(&mut greeting).is_ok()
            && greeting.starts_with(b"220"))
}

/// Ports side by side, all free now, below those that the system gives to clients.
fn free_ports(count: u16) -> Vec<u16> {
    wait::some("free ports side by side", || {
        let first = fastrand::u16(10_000..32_000);
        let ports: Vec<u16> = (first..first + count).collect();
        ports.iter().all(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).then_some(ports)
    })
}

/// Whether PAM knows what to do.
pub fn pam_is_configured() -> bool {
    Path::new("/etc/pam.d/vsftpd").exists()
}
