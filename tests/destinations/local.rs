//! A directory of this machine: on a disk, and on mounts in user space.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use archive::config::settings::{LocalSettings, Protocol as ProtocolSettings};
use archive::destination::Capabilities;
use tempfile::TempDir;

use crate::server::{Directory, Disk, Feature, Place, Protocol, Server};
use crate::support::harness::{Need, is_root, run};
use crate::support::mounts::Mount;
use crate::support::sshd::Sshd;

pub const PROTOCOL: Protocol = Protocol {
    name: "local",
    needs: &[],
    features: &[
        Feature::Any,
        Feature::Many,
        Feature::Directory,
        Feature::Move,
        Feature::ReadOnly,
        Feature::Resume,
        Feature::Small,
    ],
    start: || Box::new(Local::start()),
    refusals: &[],
    more_needs: |feature| match feature {
        Feature::Small => vec![Need::Tmpfs],
        // To root, only a file system can be read-only.
        Feature::ReadOnly if is_root() => vec![Need::Tmpfs],
        _ => Vec::new(),
    },
};

/// Has `link` and no `renameat2`.
pub const SSHFS: Protocol = Protocol {
    name: "local-sshfs",
    needs: &[Need::Sshd, Need::Fuse, Need::program("sshfs")],
    features: &[Feature::Any, Feature::Many, Feature::Directory, Feature::Mounted, Feature::Move, Feature::Resume],
    start: || {
        let sshd = Sshd::builder().start();
        let mount = Mount::sshfs(&sshd);
        Box::new(Mounted { below: sshd.main().local, mount, sshd: Some(sshd) })
    },
    refusals: &[],
    more_needs: |_| Vec::new(),
};

/// Answers `EIO` to `link`. Only for moves: ten thousand files are too many for its cache.
pub const RCLONE: Protocol = Protocol {
    name: "local-rclone",
    needs: &[Need::Fuse, Need::program("rclone")],
    features: &[Feature::Move],
    start: || {
        let directory = tempfile::tempdir().expect("a temp directory");
        let mount = Mount::rclone(directory.path());
        Box::new(Mounted { below: directory.keep(), mount, sshd: None })
    },
    refusals: &[],
    more_needs: |_| Vec::new(),
};

/// A mount, and what it shows.
struct Mounted {
    below: PathBuf,
    mount: Mount,
    sshd: Option<Sshd>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What still waits for it is let go before the server ends: otherwise both would wait.
        self.mount.abort();
        if self.sshd.is_none() {
            let _already_gone = fs::remove_dir_all(&self.below);
        }
    }
}

impl Server for Mounted {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        let path = match place {
            Place::Below(more) => self.mount.path().join(more),
            _ => self.mount.path().to_owned(),
        };
        ProtocolSettings::Local(LocalSettings { path, require_mount: true, marker: None })
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        let path = match place {
            Place::Below(more) => self.below.join(more),
            _ => self.below.clone(),
        };
        Box::new(Directory { path, owner: None })
    }

    fn capabilities(&self) -> Capabilities {
        let has_link = self.sshd.is_some();
        Capabilities {
            move_refuses_to_clobber: has_link,
            move_in_one_step: !has_link,
            resume: true,
            free_space: true,
            ..Capabilities::NONE
        }
    }

    fn freeze(&self) {
        self.sshd.iter().for_each(|sshd| sshd.freeze(true));
    }
}

struct Local {
    directory: TempDir,
    mounts: Mutex<Vec<PathBuf>>,
}

impl Local {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temp directory");
        for name in ["data", "read-only", "small"] {
            fs::create_dir(directory.path().join(name)).expect("own directory");
        }
        Local { directory, mounts: Mutex::default() }
    }

    fn mounted(&self, name: &str, options: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        let mut mounts = self.mounts.lock().expect("no test panics while it holds this");
        if !mounts.contains(&path) {
            run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path));
            mounts.push(path.clone());
        }
        path
    }

    fn path(&self, place: Place) -> PathBuf {
        match place {
            Place::Data => self.directory.path().join("data"),
            Place::Below(more) => self.path(Place::Data).join(more),
            Place::ReadOnly if is_root() => self.mounted("read-only", "size=64k,ro"),
            Place::ReadOnly => {
                let path = self.directory.path().join("read-only");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).expect("own directory");
                path
            }
            Place::BelowReadOnly(more) => self.path(Place::ReadOnly).join(more),
            Place::Small => self.mounted("small", "size=1m"),
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        for path in self.mounts.lock().expect("no test panics while it holds this").iter() {
            let _gone = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

impl Server for Local {
    fn protocol(&self, place: Place) -> ProtocolSettings {
        ProtocolSettings::Local(LocalSettings { path: self.path(place), require_mount: false, marker: None })
    }

    fn disk(&self, place: Place) -> Box<dyn Disk> {
        Box::new(Directory { path: self.path(place), owner: None })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            move_refuses_to_clobber: true,
            move_in_one_step: true,
            checksum_by_server: false,
            resume: true,
            free_space: true,
            server_clock: false,
            atomic_put: false,
        }
    }
}
