//! `[[destination]]`: where archives go, by protocol, and how long they stay.

use std::time::Duration;

use super::job;
use super::reader::{Item, Table};
use super::schema;
use super::settings::{self, DestinationSettings, Protocol, Verify};
use crate::retention::RetentionPolicy;
use crate::units;

pub(super) mod ftp;
pub(super) mod local;
pub(super) mod nfs;
pub(super) mod rsync;
pub(super) mod s3;
pub(super) mod sftp;
pub(super) mod smb;
pub(super) mod webdav;

/// The types that this version has.
const TYPES: [&str; 9] = ["sftp", "ftps", "ftp", "smb", "webdav", "s3", "nfs", "rsync", "local"];

/// Those that this program was built without: each is a cargo feature.
pub(super) fn missing_types() -> Vec<&'static str> {
    let built = [
        ("ftp", cfg!(feature = "ftp")),
        ("ftps", cfg!(feature = "ftp")),
        ("nfs", cfg!(feature = "nfs")),
        ("rsync", cfg!(feature = "rsync")),
        ("s3", cfg!(feature = "s3")),
        ("sftp", cfg!(feature = "sftp")),
        ("smb", cfg!(feature = "smb")),
        ("webdav", cfg!(feature = "webdav")),
    ];
    built.into_iter().filter(|(_, built)| !built).map(|(name, _)| name).collect()
}

/// Reads one destination.
pub(super) fn read(table: &Table<'_>) -> Option<DestinationSettings> {
    let name = table.required("name", "\"nas\"").and_then(|item| job::name(&item));
    if let Some(name) = &name {
        table.rename(format!("destination[{name}]"));
    }
    let mut protocol = match table.required("type", "\"sftp\"").and_then(|item| protocol_type(&item)) {
        Some("ftp") => {
            table.set_variant("ftp");
            ftp::read_ftp(table).map(Protocol::Ftp)
        }
        Some("ftps") => {
            table.set_variant("ftps");
            ftp::read_ftps(table).map(Protocol::Ftp)
        }
        Some("local") => {
            table.set_variant("local");
            local::read(table).map(Protocol::Local)
        }
        Some("nfs") => {
            table.set_variant("nfs");
            nfs::read(table).map(Protocol::Nfs)
        }
        Some("rsync") => {
            table.set_variant("rsync");
            rsync::read(table).map(Protocol::Rsync)
        }
        Some("s3") => {
            table.set_variant("s3");
            s3::read(table).map(Protocol::S3)
        }
        Some("sftp") => {
            table.set_variant("sftp");
            sftp::read(table).map(Protocol::Sftp)
        }
        Some("smb") => {
            table.set_variant("smb");
            smb::read(table).map(Protocol::Smb)
        }
        Some("webdav") => {
            table.set_variant("webdav");
            webdav::read(table).map(Protocol::Webdav)
        }
        _ => None,
    };
    let verify = table.choice("verify", &[("checksum", Verify::Checksum), ("size", Verify::Size)], Verify::Checksum);
    if let (Verify::Size, Some(Protocol::Sftp(sftp))) = (verify, &mut protocol) {
        // The size proves nothing of a file that was written over several channels.
        sftp.connections.get_or_insert(1);
    }
    let bandwidth_limit = table.item("bandwidth_limit").and_then(|item| item.parse(bandwidth));
    let connect_timeout = table.duration("connect_timeout", Duration::from_secs(15));
    let stall_timeout = table.duration("stall_timeout", Duration::from_secs(60));
    let time_limit = table.duration("time_limit", settings::TIME_LIMIT);
    let retries = table.integer("retries", 0..=100).unwrap_or(4);
    let retention = table.table("retention").and_then(|table| retention(&table));
    Some(DestinationSettings {
        name: name?,
        protocol: protocol?,
        verify,
        bandwidth_limit,
        connect_timeout,
        stall_timeout,
        time_limit,
        retries,
        retention,
    })
}

fn protocol_type(item: &Item<'_>) -> Option<&'static str> {
    let text = item.string()?;
    let missing = &item.context.environment.missing_types;
    let have: Vec<String> =
        TYPES.iter().filter(|name| !missing.contains(name)).map(|name| format!("`{name}`")).collect();
    let have = have.join(", ");
    if let Some(known) = TYPES.into_iter().find(|known| *known == text) {
        if !missing.contains(&known) {
            return Some(known);
        }
        let feature = if known == "ftps" { "ftp" } else { known };
        let help = format!("use a program built with it: `cargo build --release --features {feature}`");
        item.problem(format!("this program was built without `{known}`; it has {have}"), Some(help));
        return None;
    }
    let near = match text.as_str() {
        "ssh" | "scp" => Some("sftp"),
        "cifs" | "samba" | "windows" => Some("smb"),
        "dav" | "davs" | "nextcloud" | "owncloud" | "https" => Some("webdav"),
        "aws" | "amazon" | "minio" => Some("s3"),
        "file" | "dir" | "directory" | "path" => Some("local"),
        _ => schema::closest(&text, TYPES),
    };
    item.problem(format!("`{text}` is not one of {have}"), near.map(|near| format!("did you mean `{near}`?")));
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
