//! `type = "ftps"` and `type = "ftp"`: file transfer over TLS, or unencrypted.

use std::path::PathBuf;

use super::super::job;
use super::super::reader::{Item, Table};
use super::super::secret::Secret;

/// `type = "ftps"` and `type = "ftp"`
#[derive(Clone, Debug)]
pub struct FtpSettings {
    /// `type` and `implicit`
    pub security: FtpSecurity,
    /// `host`
    pub host: String,
    /// `port`
    pub port: u16,
    /// `username`
    pub username: String,
    /// `password`
    pub password: Secret,
    /// `path`: of the directory; absolute, or relative to where the account begins.
    pub path: String,
    /// `ca_file`: PEM authorities trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// When the TLS of an FTP connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FtpSecurity {
    /// After `AUTH TLS` (RFC 4217), required; commands and data are both protected.
    Explicit,
    /// With the first byte, on a port of its own.
    Implicit,
    /// Never: `type = "ftp"`, which needs `allow_plaintext = true`.
    None,
}

impl FtpSettings {
    /// The `type` as it is written.
    pub fn type_name(&self) -> &'static str {
        match self.security {
            FtpSecurity::Explicit | FtpSecurity::Implicit => "ftps",
            FtpSecurity::None => "ftp",
        }
    }

    /// The directory on the server, written one way only; however it is reached.
    pub(in crate::config) fn place(&self) -> String {
        format!("{}@{}:{}/{}", self.username, self.host.to_lowercase(), self.port, self.path.trim_end_matches('/'))
    }

    /// `ftps://archive@nas.example.org/srv/archives`
    pub fn location(&self) -> String {
        let port = if self.port == 21 { String::new() } else { format!(":{}", self.port) };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let slash = if self.path.starts_with('/') { "" } else { "/~/" };
        let path = self.path.trim_start_matches("~/");
        format!("{}://{}@{host}{port}{slash}{path}", self.type_name(), self.username)
    }
}

pub(super) fn read_ftps(table: &Table<'_>) -> Option<FtpSettings> {
    let implicit = table.boolean("implicit", false);
    let security = if implicit { FtpSecurity::Implicit } else { FtpSecurity::Explicit };
    let ca_file = table.file("ca_file");
    read(table, security, ca_file)
}

pub(super) fn read_ftp(table: &Table<'_>) -> Option<FtpSettings> {
    let settings = read(table, FtpSecurity::None, None);
    if table.boolean("allow_plaintext", false) {
        return settings;
    }
    let help = "use `type = \"ftps\"`, or add `allow_plaintext = true` if the network is trusted";
    if let Some(item) = table.item("type") {
        item.problem("would send the password and the archives in clear", Some(help.to_owned()));
    }
    None
}

fn read(table: &Table<'_>, security: FtpSecurity, ca_file: Option<PathBuf>) -> Option<FtpSettings> {
    let host = table.required("host", "\"nas.example.org\"").and_then(|item| job::host(&item));
    let default_port = if security == FtpSecurity::Implicit { 990 } else { 21 };
    let port = table.integer("port", 1..=65535).unwrap_or(default_port) as u16;
    let username = table.required("username", "\"archive\"").and_then(|item| one_line(&item));
    let example = "{ file = \"/etc/archive/ftp.password\" }";
    let password = table.required("password", example).and_then(|_| table.secret("password"));
    let path = table.required("path", "\"/archives/boutique\"").and_then(|item| one_line(&item));
    Some(FtpSettings { security, host: host?, port, username: username?, password: password?, path: path?, ca_file })
}

/// A text that fits on the one line of a command.
fn one_line(item: &Item<'_>) -> Option<String> {
    let text = item.string()?;
    if text.contains(['\r', '\n', '\0']) {
        item.problem("must be a single line", None);
        return None;
    }
    Some(text)
}
