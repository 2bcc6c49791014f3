//! The register of test cases, on `libtest-mimic`, so that a case whose server is missing is *seen* to be missing.
//!
//! A case names what it needs. Where that is not available (a program that is not installed, root where root is needed)
//! the case shows as *ignored*, by name and with the reason; with `ARCHIVE_TEST_REQUIRE=all`, which `tests/run.sh` sets,
//! it is a failure instead that names the package. Arguments are those of any test binary (`-- --exact name`, `--list`).
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     let mut suite = Suite::new();
//!     suite.case("upload_survives_a_cut", &[Need::Sshd, Need::program("tar")], || {
//!         let server = Sshd::builder().start();
//!         anyhow::ensure!(server.root().is_dir(), "no root");
//!         Ok(())
//!     });
//!     suite.run()
//! }
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Something that a case needs from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// OpenSSH `sshd` that runs as the user of the tests: log-in by key.
    Sshd,
    /// OpenSSH `sshd` with the two accounts (`archtest`, `archchroot`): root, passwords, chroot.
    SshdAccounts,
    /// Keyboard-interactive log-in: as above, and PAM.
    SshdPam,
    /// Samba's `smbd` with an account of its own: root.
    Samba,
    /// `ssh-agent` and `ssh-add`.
    SshAgent,
    /// The FTP server without root: Python with `pyftpdlib`, from the same place as the SMTP server's.
    PyFtpd,
    /// `vsftpd` with an account: root, passwords, chroot.
    Vsftpd,
    /// A small file system to fill: root, and the right to mount.
    Tmpfs,
    /// Mounts in user space (sshfs, `rclone mount`): root, and `/dev/fuse`.
    Fuse,
    /// The SMTP server: Python with `aiosmtpd`, which `tests/run.sh` puts into `target/test-venv`.
    Smtp,
    /// Apache's `mod_dav`; to root also the account that it runs as.
    Apache,
    /// nginx with PROPFIND.
    Nginx,
    /// The library that sets the date of a program.
    Faketime,
    /// Not running as root: permissions of files count.
    NotRoot,
    /// Running as root.
    Root,
    /// nfs-ganesha with its exports of plain directories, and a portmapper: root, and the right to mount.
    Ganesha,
    /// A Python module of `target/test-venv`, which `tests/run.sh` makes.
    Python(&'static str),
    /// A server of `target/test-servers`, where `tests/run.sh` unpacks what Debian does not install side by side; see
    /// [`unpacked_server`]. Root, as each of them serves accounts.
    Unpacked(&'static str),
    /// Any program on the `PATH` (or in `/usr/sbin`), and the Debian package that has it.
    Program(&'static str, &'static str),
}

impl Need {
    /// A program whose package has its name.
    pub const fn program(name: &'static str) -> Self {
        Self::Program(name, name)
    }

    /// Why this is not available here, and what would help; `None` when it is.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Sshd => program("sshd", "openssh-server").or_else(|| program("ssh-keygen", "openssh-client")),
            Self::SshdAccounts => Self::Sshd
                .missing()
                .or_else(|| Self::Root.missing())
                .or_else(|| program("useradd", "passwd"))
                .or_else(|| program("chpasswd", "passwd")),
            Self::SshdPam => Self::SshdAccounts.missing().or_else(|| {
                let configured = Path::new("/etc/pam.d/sshd").exists();
                (!configured).then(|| "`/etc/pam.d/sshd` is missing (package `openssh-server`)".to_owned())
            }),
            Self::Samba => program("smbd", "samba")
                .or_else(|| program("pdbedit", "samba-common-bin"))
                .or_else(|| Self::Root.missing())
                .or_else(|| program("useradd", "passwd"))
                .or_else(|| program("chpasswd", "passwd")),
            Self::SshAgent => program("ssh-agent", "openssh-client"),
            Self::PyFtpd => {
                super::python::module_missing("pyftpdlib").or_else(|| super::python::module_missing("OpenSSL"))
            }
            Self::Vsftpd => program("vsftpd", "vsftpd")
                .or_else(|| Self::Root.missing())
                .or_else(|| program("useradd", "passwd"))
                .or_else(|| program("chpasswd", "passwd"))
                .or_else(|| {
                    let configured = super::ftpd::pam_is_configured();
                    (!configured).then(|| "`/etc/pam.d/vsftpd` is missing (package `vsftpd`)".to_owned())
                }),
            Self::Tmpfs => Self::Root.missing().or_else(cannot_mount),
            Self::Fuse => Self::Root.missing().or_else(|| program("fusermount3", "fuse3")).or_else(|| {
                let opened = fs::File::options().read(true).write(true).open("/dev/fuse");
                opened.err().map(|error| format!("`/dev/fuse`: {error}"))
            }),
            Self::Smtp => super::python::module_missing("aiosmtpd"),
            Self::Apache => {
                program("apache2", "apache2").or_else(|| is_root().then(|| program("useradd", "passwd")).flatten())
            }
            Self::Nginx => program("nginx", "nginx")
                .or_else(|| is_root().then(|| program("useradd", "passwd")).flatten())
                .or_else(super::webdav::nginx_module_missing),
            Self::Faketime => super::binary::faketime_library()
                .is_none()
                .then(|| "`libfaketime.so.1` is missing (package `faketime`)".to_owned()),
            Self::NotRoot => is_root().then(|| "running as root".to_owned()),
            Self::Root => (!is_root()).then(|| "not running as root".to_owned()),
            Self::Ganesha => Self::Tmpfs
                .missing()
                .or_else(|| program("ganesha.nfsd", "nfs-ganesha"))
                .or_else(|| program("rpcbind", "rpcbind"))
                .or_else(|| program("unshare", "util-linux"))
                .or_else(|| {
                    let found = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
                    let mut libraries = found.map(|entry| entry.path().join("ganesha/libfsalvfs.so"));
                    let missing = || "nfs-ganesha cannot export directories (package `nfs-ganesha-vfs`)".to_owned();
                    (!libraries.any(|library| library.exists())).then(missing)
                }),
            Self::Python(module) => super::python::module_missing(module),
            Self::Unpacked(name) => Self::Root.missing().or_else(|| {
                let missing = || format!("`{name}` is missing (`tests/run.sh` unpacks it into `target/test-servers`)");
                unpacked_server(name).is_none().then(missing)
            }),
            Self::Program(name, package) => program(name, package),
        }
    }
}

/// The cases of one test binary.
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
}

impl Suite {
    /// An empty suite.
    pub fn new() -> Self {
        // Both TLS sides of a test binary use the provider that the program uses.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        Self::default()
    }

    /// Adds a case; a panic or an error fails it, with the whole chain of causes.
    pub fn case(
        &mut self,
        name: impl Into<String>,
        needs: &[Need],
        run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) {
        let needs = needs.to_vec();
        self.trials.push(Trial::ignorable_test(name, move || {
            let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
            if !missing.is_empty() {
                let reason = missing.join("; ");
                if everything_required() {
                    return Err(Failed::from(format!("required by ARCHIVE_TEST_REQUIRE, but: {reason}")));
                }
                return Ok(Completion::ignored_with(reason));
            }
            run().map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:?}")))
        }));
    }

    /// Runs what the command line asks for. A suite without cases fails: it would prove nothing.
    pub fn run(self) -> ExitCode {
        assert!(!self.trials.is_empty(), "this test binary has no cases");
        libtest_mimic::run(&Arguments::from_args(), self.trials).exit_code()
    }
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program's full path; `sbin` directories count, which a plain user's `PATH` lacks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// A server of `target/test-servers`, by its name in `usr/sbin`.
pub fn unpacked_server(name: &str) -> Option<PathBuf> {
    let servers = std::env::var_os("ARCHIVE_TEST_SERVERS")
        .map_or_else(|| repository().join("target/test-servers"), PathBuf::from);
    Some(servers.join("usr/sbin").join(name)).filter(|path| path.is_file())
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a helper program to its end and returns its output; panics with all of it when it fails.
pub fn run(command: &mut Command) -> String {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

fn everything_required() -> bool {
    std::env::var_os("ARCHIVE_TEST_REQUIRE").is_some_and(|value| value == "all")
}

fn program(name: &str, package: &str) -> Option<String> {
    find_program(name).is_none().then(|| format!("`{name}` is missing (package `{package}`)"))
}

/// Containers often have a root that may not mount: tried once, for real.
fn cannot_mount() -> Option<String> {
    static CANNOT: OnceLock<Option<String>> = OnceLock::new();
    CANNOT
        .get_or_init(|| {
            if let Some(missing) = program("mount", "mount") {
                return Some(missing);
            }
            let directory = tempfile::tempdir().ok()?;
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
                .arg(directory.path())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
            if mounted {
                run(Command::new("umount").arg(directory.path()));
                None
            } else {
                Some("root may not mount a tmpfs here (CAP_SYS_ADMIN)".to_owned())
            }
        })
        .clone()
}
