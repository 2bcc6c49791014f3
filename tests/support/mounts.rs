//! Mounts in user space, which tests use as directories: sshfs and `rclone mount`. Need [`Need::Fuse`](super::harness::Need::Fuse).

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::harness::{find_program, run};
use super::sshd::Sshd;
use super::wait;

/// A mounted directory; unmounted when dropped, whatever still waits for it.
pub struct Mount {
    directory: TempDir,
}

impl Mount {
    /// The directory of a server that runs as the user of the tests. Needs `Need::Sshd` and `Need::program("sshfs")`.
    pub fn sshfs(server: &Sshd) -> Self {
        let at = server.main();
        let options = format!(
            "IdentityFile={},IdentitiesOnly=yes,StrictHostKeyChecking=yes,UserKnownHostsFile={},\
             dir_cache=no,attr_timeout=0,entry_timeout=0",
            server.key().display(),
            server.known_hosts().display()
        );
        Self::made_by(|mount| {
            let mut command = Command::new(find_program("sshfs").expect("the case names Need::program(\"sshfs\")"));
            let port = server.port().to_string();
            command.args(["-F", "/dev/null", "-p", port.as_str(), "-o", options.as_str()]);
            command.arg(format!("{}@127.0.0.1:{}", at.user, at.remote)).arg(mount);
            command
        })
    }

    /// A directory of this machine, as rclone shows it. Needs `Need::program("rclone")`.
    pub fn rclone(directory: &Path) -> Self {
        Self::made_by(|mount| {
            let mut command = Command::new(find_program("rclone").expect("the case names Need::program(\"rclone\")"));
            // No cache: what others put into the directory shows at once.
            command.args([
                "mount",
                "--daemon",
                "--config",
                "/dev/null",
                "--dir-cache-time",
                "0",
                "--attr-timeout",
                "0",
            ]);
            command.arg(directory).arg(mount);
            command
        })
    }

    fn made_by(command: impl Fn(&Path) -> Command) -> Self {
        let directory = tempfile::Builder::new().prefix("mount-").tempdir().expect("a temp directory");
        let mount = Mount { directory };
        run(&mut command(mount.path()));
        wait::until("the mount", || is_mounted(mount.path()));
        mount
    }

    /// The mounted directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Ends every call that waits for it.
    pub fn abort(&self) {
        umount(self.path(), "-f");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The first ends what waits for it, the second what the first did not.
        umount(self.path(), "-f");
        if is_mounted(self.path()) {
            umount(self.path(), "-l");
        }
    }
}

fn umount(path: &Path, how: &str) {
    let _gone = Command::new("umount").arg(how).arg(path).stderr(Stdio::null()).status();
}

/// Without touching it, for that may hang.
fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}
