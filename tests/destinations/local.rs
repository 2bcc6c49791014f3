//! A directory of this machine.

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

pub const PROTOCOL: Protocol = Protocol {
    name: "local",
    needs: &[],
    features: &[Feature::Any, Feature::Directory, Feature::Move, Feature::ReadOnly, Feature::Resume, Feature::Small],
    start: || Box::new(Local::start()),
    refusals: &[],
    more_needs: |feature| match feature {
        Feature::Small => vec![Need::Tmpfs],
        // To root, only a file system can be read-only.
        Feature::ReadOnly if is_root() => vec![Need::Tmpfs],
        _ => Vec::new(),
    },
};

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
