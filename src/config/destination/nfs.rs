//! `type = "nfs"`: NFS version 3 spoken by this program itself, where nothing can be mounted.

use super::super::job;
use super::super::reader::{Item, Table};

/// `type = "nfs"`
#[derive(Clone, Debug)]
pub struct NfsSettings {
    /// `host`
    pub host: String,
    /// `export`: as the server names it, absolute.
    pub export: String,
    /// `path`: of the directory below `export`, its parts joined by one `/` each; empty for the export itself.
    pub path: String,
    /// `uid`: who we say we are (AUTH_SYS); this process's user if not set.
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
    /// `port` of the NFS service; asked of the portmapper if not set.
    pub port: Option<u16>,
    /// `mount_port`: of the MOUNT service; asked of the portmapper if not set.
    pub mount_port: Option<u16>,
    /// `privileged_port`: connect from a port below 1024; root does if not set, nobody else can.
    pub privileged_port: Option<bool>,
}

impl NfsSettings {
    /// The directory on the server, written one way only.
    pub(in crate::config) fn place(&self) -> String {
        format!("{}{}", self.host.to_lowercase(), self.directory())
    }

    /// `nfs://nas.example.org/srv/archives/boutique`
    pub fn location(&self) -> String {
        let port = self.port.filter(|port| *port != 2049).map(|port| format!(":{port}")).unwrap_or_default();
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("nfs://{host}{port}{}", self.directory())
    }

    fn directory(&self) -> String {
        match (self.export.trim_end_matches('/'), self.path.as_str()) {
            ("", "") => "/".to_owned(),
            (export, "") => export.to_owned(),
            (export, path) => format!("{export}/{path}"),
        }
    }
}

pub(super) fn read(table: &Table<'_>) -> Option<NfsSettings> {
    let host = table.required("host", "\"nas.example.org\"").and_then(|item| job::host(&item));
    let export = table.required("export", "\"/srv/archives\"").and_then(|item| export(&item));
    let path = match table.item("path") {
        None => Some(String::new()),
        Some(item) => path(&item),
    };
    let id = |key| table.integer(key, 0..=u32::MAX - 1);
    let (uid, gid) = (id("uid"), id("gid"));
    let port = |key| table.integer(key, 1..=65535).map(|port| port as u16);
    let (port, mount_port) = (port("port"), port("mount_port"));
    let privileged_port = table.has("privileged_port").then(|| table.boolean("privileged_port", false));
    Some(NfsSettings { host: host?, export: export?, path: path?, uid, gid, port, mount_port, privileged_port })
}

fn export(item: &Item<'_>) -> Option<String> {
    let export = item.string()?;
    if export.starts_with('/') {
        return Some(export);
    }
    let help = match export.split_once(":/") {
        Some((_, path)) => format!("write the server as `host`, and here `/{path}`"),
        None => "`showmount -e HOST` shows what the server exports".to_owned(),
    };
    item.problem("must be the exported path as the server names it, beginning with `/`", Some(help));
    None
}

/// `..` might lead out of what is exported, and servers differ about it.
fn path(item: &Item<'_>) -> Option<String> {
    let path = item.string()?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        item.problem("must not hold `..`", Some("write the path below `export`".to_owned()));
        return None;
    }
    Some(parts.join("/"))
}
