//! `type = "sftp"`: SSH file transfer.

use std::path::PathBuf;

use super::super::job;
use super::super::reader::Table;
use super::super::secret::Secret;

/// `type = "sftp"`
#[derive(Clone, Debug)]
pub struct SftpSettings {
    /// `host`
    pub host: String,
    /// `port`
    pub port: u16,
    /// `username`
    pub username: String,
    /// The ways to prove who we are, in the order they are tried; at least one.
    pub auth: Vec<SshAuth>,
    /// What the server must prove first.
    pub host_key: HostKey,
    /// `path`: of the directory; absolute, or relative to the account's home.
    pub path: String,
    /// `connections`: over how many a large archive is written at the same time; with 1 also over one channel only, and without
    /// the key over several channels of one connection where the server bears that.
    pub connections: Option<u32>,
    /// `server_checksum`: whether the account is asked for a shell that computes checksums.
    pub server_checksum: bool,
}

/// One way to log in over SSH.
#[derive(Clone, Debug)]
pub enum SshAuth {
    /// `private_key` and `passphrase`
    PrivateKey {
        /// The file, OpenSSH or PEM.
        file: PathBuf,
        /// Its passphrase.
        passphrase: Option<Secret>,
    },
    /// `agent = true`
    Agent,
    /// `password`: by the method `password`, else `keyboard-interactive`.
    Password(Secret),
}

/// What the server's host key must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKey {
    /// `host_key = "SHA256:…"`: the fingerprints that are accepted, as OpenSSH prints them.
    Fingerprints(Vec<String>),
    /// `known_hosts`: a file in OpenSSH's format.
    KnownHosts(PathBuf),
}

/// An SSH server and what it must prove, whatever is done there.
#[derive(Clone, Debug)]
pub struct SshServer {
    /// `host`
    pub host: String,
    /// `port`
    pub port: u16,
    /// `host_key` or `known_hosts`
    pub host_key: HostKey,
}

impl SftpSettings {
    /// The server that is logged in to.
    pub fn server(&self) -> SshServer {
        SshServer { host: self.host.clone(), port: self.port, host_key: self.host_key.clone() }
    }

    /// The directory on the server, written one way only.
    pub(in crate::config) fn place(&self) -> String {
        format!("{}@{}:{}/{}", self.username, self.host.to_lowercase(), self.port, self.path.trim_end_matches('/'))
    }

    /// `sftp://archive@nas.example.org/srv/archives`
    pub fn location(&self) -> String {
        let port = if self.port == 22 { String::new() } else { format!(":{}", self.port) };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let slash = if self.path.starts_with('/') { "" } else { "/~/" };
        let path = self.path.trim_start_matches("~/");
        format!("sftp://{}@{host}{port}{slash}{path}", self.username)
    }

    /// Passwords and passphrases.
    pub(in crate::config) fn secrets(&self) -> Vec<&Secret> {
        fn secret(auth: &SshAuth) -> Option<&Secret> {
            match auth {
                SshAuth::PrivateKey { passphrase, .. } => passphrase.as_ref(),
                SshAuth::Agent => None,
                SshAuth::Password(password) => Some(password),
            }
        }
        self.auth.iter().filter_map(secret).collect()
    }
}

pub(super) fn read(table: &Table<'_>) -> Option<SftpSettings> {
    let host = table.required("host", "\"nas.example.org\"").and_then(|item| job::host(&item));
    let username = table.required("username", "\"archive\"").and_then(|item| item.string());
    let path = table.required("path", "\"/srv/archives/boutique\"").and_then(|item| item.string());
    let port = table.integer("port", 1..=65535).unwrap_or(22) as u16;
    let auth = ssh_auth(table);
    let host_key = host_key(table);
    let connections = table.integer("connections", 1..=16);
    let server_checksum = table.boolean("server_checksum", true);
    Some(SftpSettings {
        host: host?,
        port,
        username: username?,
        auth: auth?,
        host_key: host_key?,
        path: path?,
        connections,
        server_checksum,
    })
}

fn ssh_auth(table: &Table<'_>) -> Option<Vec<SshAuth>> {
    let key_file = table.file("private_key");
    let passphrase = table.secret("passphrase");
    let password = table.secret("password");
    let agent = table.boolean("agent", false);
    if !table.has("private_key")
        && let Some(item) = table.item("passphrase")
    {
        item.key_problem("needs `private_key` beside it", Some("for a login by password write `password`".to_owned()));
    }
    let mut auth = Vec::new();
    if let Some(file) = key_file {
        auth.push(SshAuth::PrivateKey { file, passphrase });
    }
    if agent {
        auth.push(SshAuth::Agent);
    }
    auth.extend(password.map(SshAuth::Password));
    if auth.is_empty() && !table.has("private_key") && !table.has("password") {
        let help = "add `private_key = \"/etc/archive/id_ed25519\"`, `password` or `agent = true`";
        table.problem("", "says no way to log in", Some(help.to_owned()));
    }
    (!auth.is_empty()).then_some(auth)
}

pub(super) fn host_key(table: &Table<'_>) -> Option<HostKey> {
    let optional = table.context.host_key_optional;
    let fingerprints = table.item("host_key");
    let known_hosts = table.item("known_hosts");
    match (fingerprints, known_hosts) {
        (Some(item), Some(_)) => {
            item.key_problem("excludes `known_hosts`", Some("keep one of the two".to_owned()));
            None
        }
        (Some(item), None) => {
            let items = item.list();
            if items.is_empty() {
                item.problem("must not be empty", None);
            }
            let fingerprints: Vec<String> = items.iter().filter_map(|item| item.parse(fingerprint)).collect();
            (!items.is_empty() && fingerprints.len() == items.len()).then_some(HostKey::Fingerprints(fingerprints))
        }
        (None, Some(item)) => {
            let path = item.path_value()?;
            if optional && !path.exists() {
                return Some(HostKey::KnownHosts(path));
            }
            if !path.exists() {
                let help = "`archive trust` shows the server's key and writes this file once you agree";
                item.problem(format!("`{}` does not exist", path.display()), Some(help.to_owned()));
                return None;
            }
            item.readable(&path).then_some(HostKey::KnownHosts(path))
        }
        (None, None) if optional => Some(HostKey::Fingerprints(Vec::new())),
        (None, None) => {
            let help = "add `host_key = \"SHA256:…\"` or `known_hosts = \"/etc/archive/known_hosts\"`; `archive trust` shows the server's key";
            table.problem("", "says nothing about the server's host key", Some(help.to_owned()));
            None
        }
    }
}

/// A fingerprint as `ssh-keygen -lf` prints it: SHA-256 in base64 without padding, 43 characters.
fn fingerprint(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('=');
    let digest = text.strip_prefix("SHA256:").unwrap_or_default();
    if digest.len() == 43 && digest.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '/') {
        Ok(text.to_owned())
    } else {
        Err("is not a fingerprint: `SHA256:` and 43 characters, as `archive trust` and `ssh-keygen -lf` show it"
            .to_owned())
    }
}
