//! nfs-ganesha, a user-space NFS server, with its own exports and portmapper. Needs root: [`Need::Ganesha`](super::harness::Need).
//!
//! One server serves all cases of a test process, each in a directory of its own: it is up within a second, but eats memory. It
//! ends with the process, whatever way that ends, since `ganesha.sh` waits for the end of its standard input.
//!
//! Users are numbers here and prove nothing, so no account is needed.
//!
//! ```ignore
//! let at = ganesha::place();                       // Need::Ganesha
//! let path = at.path("data");                      // below `ganesha::EXPORT`, as the client names it
//! std::fs::write(at.local("data").join("x"), b"x"); // the same directory here
//! ```

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::harness::repository;
use super::sshd::free_port;
use super::wait;

/// Who owns the files: the client says that it is this user, and group.
pub const UID: u32 = 54321;

/// A server that runs until this process ends.
pub struct Ganesha {
    /// Of the NFS service on 127.0.0.1.
    pub port: u16,
    /// Of the MOUNT service.
    pub mount_port: u16,
    directory: PathBuf,
    /// A process that sees what the server sees.
    inside: u32,
    _child: Child,
}

/// Directories of one case; removed when dropped.
pub struct Place {
    name: String,
}

/// The server, started by the first question.
pub fn server() -> &'static Ganesha {
    static SERVER: OnceLock<Ganesha> = OnceLock::new();
    SERVER.get_or_init(Ganesha::start)
}

/// Directories for one case: `data` and `read-only` below the export, and one on the small file system.
pub fn place() -> Place {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let place = Place { name: COUNT.fetch_add(1, Ordering::SeqCst).to_string() };
    for (name, mode) in [("data", 0o750), ("read-only", 0o555)] {
        let path = place.local(name);
        fs::create_dir_all(&path).expect("own directory");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("own directory");
        if name == "data" {
            give(&path);
        }
    }
    fs::create_dir(place.small()).expect("own directory");
    give(&place.small());
    place
}

/// Gives a file or directory to the user that the client says it is.
pub fn give(path: &Path) {
    chown(path, Some(UID), Some(UID)).expect("root may");
}

impl Ganesha {
    /// A path as the server names it: `export` (writable), `small` (a megabyte) or `guarded` (from ports below 1024 only).
    pub fn export(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn start() -> Self {
        // A port that was free a moment ago may be gone: then with others.
        let attempts = (0..5).find_map(|_| Self::try_start().ok());
        attempts.expect("nfs-ganesha starts")
    }

    #[expect(clippy::zombie_processes, reason = "it lives as long as this process")]
    fn try_start() -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("ganesha-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temp directory")
            .keep();
        for name in ["export", "small", "guarded", "recovery"] {
            fs::create_dir(directory.join(name)).expect("own directory");
        }
        let (port, mount_port) = (free_port(), free_port());
        fs::write(directory.join("ganesha.conf"), config(&directory, port, mount_port)).expect("own directory");
        let child = Command::new("sh")
            .arg(repository().join("tests/support/ganesha.sh"))
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
        let ready = wait::some("nfs-ganesha to start or to fail", || {
            let log = log();
            match log.contains("NFS SERVER INITIALIZED") {
                true => Some(true),
                false => log.contains("FATAL").then_some(false),
            }
        });
        if !ready {
            return Err(log());
        }
        let inside = inside(child.id()).ok_or("its process is gone")?;
        Ok(Ganesha { port, mount_port, directory, inside, _child: child })
    }
}

impl Place {
    /// A directory below the export `export`, as the client names it.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// The same directory on this machine.
    pub fn local(&self, name: &str) -> PathBuf {
        server().directory.join("export").join(&self.name).join(name)
    }

    /// The directory on the small file system: below the export `small`.
    pub fn small_path(&self) -> String {
        self.name.clone()
    }

    /// The same, through the eyes of the server, for the file system is mounted for it alone.
    pub fn small(&self) -> PathBuf {
        let server = server();
        let root = PathBuf::from(format!("/proc/{}/root", server.inside));
        let below = server.directory.strip_prefix("/").expect("absolute");
        root.join(below).join("small").join(&self.name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(self.local(""));
        let _gone = fs::remove_dir_all(self.small());
    }
}

fn config(directory: &Path, port: u16, mount_port: u16) -> String {
    let at = directory.display();
    // Attributes are not to be remembered: tests change files behind the server's back.
    let export = |id: u32, name: &str, privileged: bool| {
        format!(
            "EXPORT {{ Export_Id = {id}; Path = {at}/{name}; Pseudo = /{name}; Access_Type = RW; Squash = None; \
             SecType = sys; Protocols = 3; Transports = TCP; PrivilegedPort = {privileged}; \
             Attr_Expiration_Time = 0; FSAL {{ Name = VFS; }} }}\n"
        )
    };
    format!(
        "NFS_CORE_PARAM {{ NFS_Port = {port}; MNT_Port = {mount_port}; Bind_addr = 127.0.0.1; Protocols = 3; \
         Enable_NLM = false; Enable_RQUOTA = false; }}\n\
         NFSv4 {{ Graceless = true; RecoveryRoot = {at}/recovery; }}\n{}{}{}",
        export(1, "export", false),
        export(2, "small", false),
        export(3, "guarded", true),
    )
}

/// The server itself: the only grandchild of the script that is no `cat`.
fn inside(script: u32) -> Option<u32> {
    let children = |id: u32| -> Vec<u32> {
        let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    };
    children(script).into_iter().flat_map(children).next()
}
