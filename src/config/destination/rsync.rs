//! `type = "rsync"`: by the program `rsync`, over SSH or to a module of an rsync daemon.

use std::path::PathBuf;

use super::super::job;
use super::super::reader::{Item, Table};
use super::super::secret::Secret;
use super::sftp::{self, HostKey, SshServer};

/// `type = "rsync"`
#[derive(Clone, Debug)]
pub struct RsyncSettings {
    /// `host`
    pub host: String,
    /// `port`: 22 over SSH, 873 of a daemon.
    pub port: u16,
    /// `path`: over SSH absolute, or relative to the account's home; of a daemon below `module`, maybe empty.
    pub path: String,
    /// How it is reached.
    pub way: RsyncWay,
}

/// How rsync is reached.
#[derive(Clone, Debug)]
pub enum RsyncWay {
    /// Over SSH: there is no `module`.
    Ssh {
        /// `username`
        username: String,
        /// `private_key`, without a passphrase.
        private_key: Option<PathBuf>,
        /// `agent`
        agent: bool,
        /// What the server must prove first.
        host_key: HostKey,
    },
    /// A module of an rsync daemon, neither encrypted nor proven.
    Daemon {
        /// `module`
        module: String,
        /// `username` and `password`.
        login: Option<(String, Secret)>,
    },
}

impl RsyncSettings {
    /// The server that is logged in to, over SSH.
    pub fn server(&self) -> Option<SshServer> {
        match &self.way {
            RsyncWay::Ssh { host_key, .. } => {
                Some(SshServer { host: self.host.clone(), port: self.port, host_key: host_key.clone() })
            }
            RsyncWay::Daemon { .. } => None,
        }
    }

    /// The directory on the server, written one way only.
    pub(in crate::config) fn place(&self) -> String {
        let path = self.path.trim_end_matches('/');
        match &self.way {
            RsyncWay::Ssh { username, .. } => {
                format!("{username}@{}:{}/{path}", self.host.to_lowercase(), self.port)
            }
            RsyncWay::Daemon { module, .. } => format!("{}:{}::{module}/{path}", self.host.to_lowercase(), self.port),
        }
    }

    /// `rsync+ssh://archive@nas.example.org/srv/archives`, `rsync://archive@nas.example.org/module/boutique`
    pub fn location(&self) -> String {
        let port = |usual: u16| if self.port == usual { String::new() } else { format!(":{}", self.port) };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match &self.way {
            RsyncWay::Ssh { username, .. } => {
                let slash = if self.path.starts_with('/') { "" } else { "/~/" };
                format!("rsync+ssh://{username}@{host}{}{slash}{}", port(22), self.path)
            }
            RsyncWay::Daemon { module, login } => {
                let user = login.as_ref().map(|(username, _)| format!("{username}@")).unwrap_or_default();
                let slash = if self.path.is_empty() { "" } else { "/" };
                format!("rsync://{user}{host}{}/{module}{slash}{}", port(873), self.path)
            }
        }
    }

    /// The password of a daemon.
    pub(in crate::config) fn secrets(&self) -> Vec<&Secret> {
        match &self.way {
            RsyncWay::Daemon { login: Some((_, password)), .. } => vec![password],
            _ => Vec::new(),
        }
    }
}

pub(super) fn read(table: &Table<'_>) -> Option<RsyncSettings> {
    let host = table.required("host", "\"nas.example.org\"").and_then(|item| job::host(&item));
    let port = table.integer("port", 1..=65535).map(|port| port as u16);
    let username = table.item("username");
    let password = table.secret("password");
    let private_key = table.file("private_key");
    let agent = table.boolean("agent", false);
    match table.item("module") {
        Some(item) => {
            only_over_ssh(table);
            let module = module(&item);
            let path = match table.item("path") {
                None => Some(String::new()),
                Some(item) => path(&item).map(|path| path.trim_matches('/').to_owned()),
            };
            let login = match (&username, table.item("password")) {
                (None, None) => Some(None),
                (Some(item), Some(_)) => self::username(item).zip(password).map(Some),
                (Some(item), None) => {
                    item.key_problem("needs `password` beside it", None);
                    None
                }
                (None, Some(item)) => {
                    item.key_problem("needs `username` beside it", None);
                    None
                }
            };
            let way = RsyncWay::Daemon { module: module?, login: login? };
            Some(RsyncSettings { host: host?, port: port.unwrap_or(873), path: path?, way })
        }
        None => {
            if username.is_none() {
                let _ = table.required("username", "\"archive\"");
            }
            let username = username.and_then(|item| self::username(&item));
            let path = table.required("path", "\"/srv/archives/boutique\"").and_then(|item| path(&item));
            if let Some(item) = table.item("password") {
                let help =
                    "use `private_key` (without passphrase) or `agent = true`; for a daemon's password add `module`";
                item.key_problem("cannot be given to `rsync` over SSH", Some(help.to_owned()));
            } else if private_key.is_none() && !agent && !table.has("private_key") {
                let help = "add `private_key = \"/etc/archive/id_ed25519\"` (without passphrase) or `agent = true`; for a daemon add `module`";
                table.problem("", "says no way to log in", Some(help.to_owned()));
            }
            let host_key = sftp::host_key(table);
            let path = path.map(|path| path.strip_prefix("~/").unwrap_or(&path).to_owned());
            let way = RsyncWay::Ssh { username: username?, private_key, agent, host_key: host_key? };
            Some(RsyncSettings { host: host?, port: port.unwrap_or(22), path: path?, way })
        }
    }
}

fn only_over_ssh(table: &Table<'_>) {
    let keys = [
        table.item("private_key"),
        table.has("agent").then(|| table.item("agent")).flatten(),
        table.item("host_key"),
        table.item("known_hosts"),
    ];
    for item in keys.into_iter().flatten() {
        item.key_problem(
            "is for rsync over SSH, and `module` names an rsync daemon",
            Some("keep one of the two".to_owned()),
        );
    }
}

/// What would end the name in a file of settings or in an address.
fn username(item: &Item<'_>) -> Option<String> {
    let name = item.string()?;
    match name.chars().find(|c| c.is_whitespace() || c.is_control() || "\"'\\/:@#".contains(*c)) {
        Some(bad) => {
            item.problem(format!("must not hold `{}`", bad.escape_debug()), None);
            None
        }
        None => Some(name),
    }
}

fn module(item: &Item<'_>) -> Option<String> {
    let name = item.string()?;
    if name.contains(['/', '\n', '*', '?', '[']) {
        let help = "the name in brackets in the server's `rsyncd.conf`; a directory below it goes into `path`";
        item.problem("must be the name of a module", Some(help.to_owned()));
        return None;
    }
    Some(name)
}

/// rsync takes some characters for patterns, and not on every server the same.
fn path(item: &Item<'_>) -> Option<String> {
    let path = item.string()?;
    if let Some(bad) = path.chars().find(|c| c.is_control() || "*?[".contains(*c)) {
        item.problem(format!("must not hold `{}`, which rsync takes for a pattern", bad.escape_debug()), None);
        return None;
    }
    if path.split('/').any(|part| part == "..") {
        item.problem("must not hold `..`", None);
        return None;
    }
    Some(path)
}
