//! What rsync and ssh are told by files: in a private directory that goes when the destination does.
//!
//! Command lines are visible to every user of this machine, and ssh's own configuration is not ours: so a configuration of our
//! own names the key, the user and what is known of the server.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::host_key;
use crate::config::settings::{HostKey, RsyncSettings, RsyncWay};
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::interrupt::Interrupt;

/// The private directory and how it is used on the command line.
pub(super) struct Access {
    directory: TempDir,
    /// Options of rsync that lead to the server.
    pub(super) options: Vec<String>,
    /// Where a directory on the server is: this, and its path.
    pub(super) prefix: String,
}

impl Access {
    /// Writes the files; over SSH with a fingerprint the server is asked for its keys.
    ///
    /// # Errors
    /// `Local`; `Untrusted` and `Unreachable` from the server.
    pub(super) fn prepare(
        settings: &RsyncSettings,
        timeouts: Timeouts,
        interrupt: &Interrupt,
    ) -> Result<Self, DestinationError> {
        let local = |error: io::Error| {
            DestinationError::new(ErrorKind::Local, "failed to prepare a private directory for `rsync`")
                .caused_by(error)
        };
        let directory = tempfile::Builder::new().prefix("archive-rsync-").tempdir().map_err(local)?;
        for name in ["empty", "send", "received"] {
            fs::create_dir(directory.path().join(name)).map_err(local)?;
        }
        let host = match settings.host.contains(':') {
            true => format!("[{}]", settings.host),
            false => settings.host.clone(),
        };
        let (options, prefix) = match &settings.way {
            RsyncWay::Ssh { username, private_key, agent, host_key } => {
                let at = directory.path();
                match host_key {
                    HostKey::KnownHosts(file) => symlink(file, at.join("known_hosts")).map_err(local)?,
                    HostKey::Fingerprints(fingerprints) => {
                        let known = host_key::known_hosts_of(settings, fingerprints, timeouts, interrupt)?;
                        write_private(&at.join("known_hosts"), &known).map_err(local)?;
                    }
                }
                if let Some(file) = private_key {
                    symlink(file, at.join("key")).map_err(local)?;
                }
                let seconds = whole_seconds(timeouts.connect);
                let text =
                    ssh_config(at, settings.port, username, private_key.is_some(), *agent, seconds).map_err(local)?;
                write_private(&at.join("ssh_config"), &text).map_err(local)?;
                let config = at.join("ssh_config").display().to_string();
                (vec!["-e".to_owned(), format!("ssh -F {}", quoted(&config))], format!("{host}:"))
            }
            RsyncWay::Daemon { module, login } => {
                let mut options = vec![format!("--contimeout={}", whole_seconds(timeouts.connect))];
                let user = match login {
                    Some((username, password)) => {
                        let file = directory.path().join("password");
                        write_private(&file, password.expose()).map_err(local)?;
                        options.push(format!("--password-file={}", file.display()));
                        format!("{username}@")
                    }
                    None => String::new(),
                };
                (options, format!("rsync://{user}{host}:{}/{module}/", settings.port))
            }
        };
        Ok(Access { directory, options, prefix })
    }

    /// The room for what is received.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(self.directory.path())?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// A path in the private directory: `empty`, `send` and `received` are directories.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// rsync's limits are whole seconds, and 0 means none.
pub(super) fn whole_seconds(limit: std::time::Duration) -> u64 {
    limit.as_secs() + u64::from(limit.subsec_nanos() > 0)
}

fn write_private(path: &Path, content: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content.as_bytes())
}

/// One argument within the command of `-e`: rsync splits at spaces and knows quotes, which are doubled within quotes; it knows
/// no backslash (rsync(1), `--rsh`).
fn quoted(argument: &str) -> String {
    format!("\"{}\"", argument.replace('"', "\"\""))
}

fn ssh_config(
    directory: &Path,
    port: u16,
    username: &str,
    key: bool,
    agent: bool,
    connect_seconds: u64,
) -> io::Result<String> {
    let path = |name: &str| {
        let path = directory.join(name).display().to_string();
        match path.contains(['"', '\\', '\n', '$']) {
            true => Err(io::Error::other(format!("ssh does not understand the path `{path}`"))),
            // `%` begins what ssh fills in (ssh_config(5), TOKENS).
            false => Ok(format!("\"{}\"", path.replace('%', "%%"))),
        }
    };
    let mut lines = vec![
        "Host *".to_owned(),
        format!("Port {port}"),
        format!("User \"{username}\""),
        "BatchMode yes".to_owned(),
        "PreferredAuthentications publickey".to_owned(),
        "StrictHostKeyChecking yes".to_owned(),
        format!("UserKnownHostsFile {}", path("known_hosts")?),
        "GlobalKnownHostsFile none".to_owned(),
        "UpdateHostKeys no".to_owned(),
        format!("ConnectTimeout {connect_seconds}"),
        "ControlPath none".to_owned(),
        "ForwardAgent no".to_owned(),
        "LogLevel ERROR".to_owned(),
    ];
    lines.push(format!("IdentityFile {}", if key { path("key")? } else { "none".to_owned() }));
    if !agent {
        lines.extend(["IdentitiesOnly yes".to_owned(), "IdentityAgent none".to_owned()]);
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_quotes_stay_within_one_argument() {
        assert_eq!(quoted("/tmp/a b/\"c\"'d'"), "\"/tmp/a b/\"\"c\"\"'d'\"");
    }

    #[test]
    fn ssh_is_told_everything_and_asks_nobody() {
        let text = ssh_config(Path::new("/tmp/100% x"), 2222, "archive", true, false, 15).unwrap();
        for line in [
            "Port 2222",
            "User \"archive\"",
            "IdentityFile \"/tmp/100%% x/key\"",
            "UserKnownHostsFile \"/tmp/100%% x/known_hosts\"",
            "IdentityAgent none",
            "StrictHostKeyChecking yes",
            "BatchMode yes",
        ] {
            assert!(text.lines().any(|one| one == line), "`{line}` is missing in:\n{text}");
        }
        assert!(ssh_config(Path::new("/tmp/\"x"), 22, "a", true, false, 1).is_err());
        let agent = ssh_config(Path::new("/tmp"), 22, "a", false, true, 1).unwrap();
        assert!(agent.contains("IdentityFile none\n") && !agent.contains("IdentityAgent"), "{agent}");
    }

    #[test]
    fn a_limit_below_a_second_is_a_second() {
        use std::time::Duration;
        assert_eq!([0.2, 1.0, 1.5].map(|seconds| whole_seconds(Duration::from_secs_f64(seconds))), [1, 1, 2]);
    }
}
