//! `[[destination]]`: where archives go, by protocol, and how long they stay.

use std::time::Duration;

use super::reader::{Item, Table};
use super::schema;
use super::settings::{DestinationSettings, HostKey, LocalSettings, Protocol, SftpSettings, SshAuth, Verify};
use super::{job, schema::LATER_TYPES};
use crate::retention::RetentionPolicy;
use crate::units;

/// The types that this version has.
const TYPES: [&str; 2] = ["sftp", "local"];

/// Reads one destination.
pub(super) fn read(table: &Table<'_>) -> Option<DestinationSettings> {
    let name = table.required("name", "\"nas\"").and_then(|item| job::name(&item));
    if let Some(name) = &name {
        table.rename(format!("destination[{name}]"));
    }
    let protocol = match table.required("type", "\"sftp\"").and_then(|item| protocol_type(&item)) {
        Some("local") => {
            table.set_variant("local");
            local(table).map(Protocol::Local)
        }
        Some("sftp") => {
            table.set_variant("sftp");
            sftp(table).map(Protocol::Sftp)
        }
        _ => None,
    };
    let verify = table.choice("verify", &[("checksum", Verify::Checksum), ("size", Verify::Size)], Verify::Checksum);
    let bandwidth_limit = table.item("bandwidth_limit").and_then(|item| item.parse(bandwidth));
    let connect_timeout = table.duration("connect_timeout", Duration::from_secs(15));
    let stall_timeout = table.duration("stall_timeout", Duration::from_secs(60));
    let retries = table.integer("retries", 0..=100).unwrap_or(4);
    let retention = table.table("retention").and_then(|table| retention(&table));
    Some(DestinationSettings {
        name: name?,
        protocol: protocol?,
        verify,
        bandwidth_limit,
        connect_timeout,
        stall_timeout,
        retries,
        retention,
    })
}

fn protocol_type(item: &Item<'_>) -> Option<&'static str> {
    let text = item.string()?;
    if let Some(known) = TYPES.into_iter().find(|known| *known == text) {
        return Some(known);
    }
    let have: Vec<String> = TYPES.iter().map(|name| format!("`{name}`")).collect();
    let have = have.join(", ");
    if LATER_TYPES.iter().any(|later| later.variant == Some(text.as_str())) {
        let help = match text.as_str() {
            "nfs" | "smb" => "mount the share and use `type = \"local\"` with `require_mount = true`".to_owned(),
            _ => format!("use one of {have}"),
        };
        item.problem(format!("this version has no `{text}` yet; it has {have}"), Some(help));
    } else {
        let near = match text.as_str() {
            "ssh" | "scp" => Some("sftp"),
            "file" | "dir" | "directory" | "path" => Some("local"),
            _ => schema::closest(&text, TYPES),
        };
        item.problem(format!("`{text}` is not one of {have}"), near.map(|near| format!("did you mean `{near}`?")));
    }
    None
}

/// A rate: `20 MB/s`; per second also when that is not said.
fn bandwidth(text: &str) -> Result<u64, String> {
    let expected = || format!("`{text}` is not a rate; write for example `20 MB/s` (bytes, not bits)");
    let size = text.trim().strip_suffix("/s").unwrap_or(text);
    match units::parse_size(size) {
        Ok(0) => Err("must be more than zero; leave the key out for no limit".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(expected()),
    }
}

fn local(table: &Table<'_>) -> Option<LocalSettings> {
    let path = table.required("path", "\"/mnt/archives/boutique\"").and_then(|item| item.path_value());
    let marker = table.item("marker").and_then(|item| {
        let name = item.string()?;
        if name.contains('/') || name == "." || name == ".." {
            item.problem("must be the name of a file inside `path`, without `/`", None);
            return None;
        }
        Some(name)
    });
    let require_mount = table.boolean("require_mount", false);
    Some(LocalSettings { path: path?, require_mount, marker })
}

fn sftp(table: &Table<'_>) -> Option<SftpSettings> {
    let host = table.required("host", "\"nas.example.org\"").and_then(|item| job::host(&item));
    let username = table.required("username", "\"archive\"").and_then(|item| item.string());
    let path = table.required("path", "\"/srv/archives/boutique\"").and_then(|item| item.string());
    let port = table.integer("port", 1..=65535).unwrap_or(22) as u16;
    let auth = ssh_auth(table);
    let host_key = host_key(table);
    let connections = table.integer("connections", 1..=16).unwrap_or(1);
    Some(SftpSettings {
        host: host?,
        port,
        username: username?,
        auth: auth?,
        host_key: host_key?,
        path: path?,
        connections,
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

fn host_key(table: &Table<'_>) -> Option<HostKey> {
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

fn retention(table: &Table<'_>) -> Option<RetentionPolicy> {
    let many = 1..=1_000_000;
    let policy = RetentionPolicy {
        keep_days: table.integer("keep_days", many.clone()),
        keep_last: table.integer("keep_last", many.clone()).unwrap_or(3),
        keep_weekly: table.integer("keep_weekly", many.clone()),
        keep_monthly: table.integer("keep_monthly", many.clone()),
        keep_yearly: table.integer("keep_yearly", many.clone()),
        max_purge: table.integer("max_purge", many).unwrap_or(31),
    };
    table.finish();
    let rules = ["keep_days", "keep_last", "keep_weekly", "keep_monthly", "keep_yearly"];
    if !rules.iter().any(|rule| table.has(rule)) {
        let help = "add for example `keep_days = 30`; without `retention` nothing is ever purged";
        table.problem("", "says nothing about what to keep", Some(help.to_owned()));
        return None;
    }
    Some(policy)
}
