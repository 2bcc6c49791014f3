//! Key pairs by `ssh-keygen`, and an `ssh-agent` that holds some.
//!
//! ```ignore
//! let agent = Agent::start(&[server.key()]);
//! archive.env("SSH_AUTH_SOCK", agent.socket())
//! ```

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::harness::run;
use super::wait;

/// What `ssh-keygen -t` understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    Ed25519,
    Ecdsa,
    /// 3072 bits.
    Rsa,
}

impl KeyType {
    fn option(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }
}

/// Makes a key pair `path` and `path.pub`, replacing what is there. An empty passphrase means none.
pub fn generate(path: &Path, key_type: KeyType, passphrase: &str) {
    let _none = fs::remove_file(path);
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", key_type.option(), "-C", "archive test", "-N", passphrase, "-f"])
        .arg(path));
}

/// The public half of a key made by [`generate`], one line without its end.
pub fn public(path: &Path) -> String {
    let path = PathBuf::from(format!("{}.pub", path.display()));
    fs::read_to_string(path).expect("made together with the key").trim().to_owned()
}

/// `SHA256:…` of a key made by [`generate`].
pub fn fingerprint(path: &Path) -> String {
    let line = run(Command::new("ssh-keygen").arg("-lf").arg(format!("{}.pub", path.display())));
    line.split_whitespace().nth(1).expect("bits, fingerprint, comment").to_owned()
}

/// An `ssh-agent` of its own; ends when dropped.
pub struct Agent {
    directory: TempDir,
    child: Child,
}

impl Agent {
    /// Starts an agent that holds these keys (none of them encrypted).
    pub fn start(keys: &[PathBuf]) -> Self {
        let directory = tempfile::tempdir().expect("a temp directory");
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(directory.path().join("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the case names Need::SshAgent");
        let agent = Self { directory, child };
        // The socket is there a moment before anything listens.
        wait::until("the agent", || UnixStream::connect(agent.socket()).is_ok());
        for key in keys {
            run(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", agent.socket()));
        }
        agent
    }

    /// The value of `SSH_AUTH_SOCK`.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
