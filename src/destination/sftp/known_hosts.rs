//! OpenSSH's `known_hosts` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): finding a host's keys, and writing one down.
//!
//! libssh2 knows neither wildcards nor `@revoked` and takes a second line for none, so lines are read here; it only compares
//! hashed names.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh2::{CheckResult, KnownHostFileKind, Session};

use super::host_key::{HostKeyInfo, fingerprint, key_type_of};

/// What a file says about one host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The host's keys, as the wire carries them.
    pub(super) keys: Vec<Vec<u8>>,
    /// Keys of the bare host name, where another port was asked for and nothing stands under that: right if they match,
    /// no sign of a change if not, as OpenSSH has it.
    pub(super) of_bare_host: Vec<Vec<u8>>,
    /// Keys that must never be accepted again.
    pub(super) revoked: Vec<Vec<u8>>,
}

struct Line<'a> {
    marker: Option<&'a str>,
    hosts: &'a str,
    key: Vec<u8>,
    rest: &'a str,
}

fn parse(line: &str) -> Option<Line<'_>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (marker, line) = match line.split_once(char::is_whitespace) {
        Some((marker, rest)) if marker.starts_with('@') => (Some(marker), rest.trim_start()),
        _ => (None, line),
    };
    let (hosts, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let mut words = rest.split_whitespace();
    let (_key_type, key) = (words.next()?, words.next()?);
    Some(Line { marker, hosts, key: STANDARD.decode(key).ok()?, rest })
}

/// The name under which a host stands in the file: `host`, or `[host]:port` away from port 22.
pub(super) fn name_in_file(host: &str, port: u16) -> String {
    match port {
        22 => host.to_lowercase(),
        _ => format!("[{}]:{port}", host.to_lowercase()),
    }
}

/// What `text` says about the host.
pub(super) fn look_up(text: &str, host: &str, port: u16) -> Known {
    let mut known = look_up_name(text, &name_in_file(host, port));
    if port != 22 {
        let bare = look_up_name(text, &host.to_lowercase());
        known.revoked.extend(bare.revoked);
        if known.keys.is_empty() {
            known.of_bare_host = bare.keys;
        }
    }
    known
}

fn look_up_name(text: &str, name: &str) -> Known {
    let mut known = Known::default();
    for line in text.lines().filter_map(parse).filter(|line| names(line.hosts, &line.key, name)) {
        match line.marker {
            None => known.keys.push(line.key),
            Some("@revoked") => known.revoked.push(line.key),
            // Host certificates are not supported, nor asked for.
            Some(_) => {}
        }
    }
    known
}

/// Whether the host field of a line names this host.
fn names(hosts: &str, key: &[u8], name: &str) -> bool {
    if hosts.starts_with('|') {
        return hashed_names(hosts, key, name);
    }
    let mut found = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(excluded) if wildcard(excluded.to_lowercase().as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => found |= wildcard(pattern.to_lowercase().as_bytes(), name.as_bytes()),
        }
    }
    found
}

/// `|1|salt|HMAC-SHA1(name)`: libssh2 computes it.
fn hashed_names(hosts: &str, key: &[u8], name: &str) -> bool {
    let matches = || -> Result<bool, ssh2::Error> {
        let mut hashed = Session::new()?.known_hosts()?;
        let key_type = key_type_of(key).unwrap_or_default();
        hashed.read_str(&format!("{hosts} {key_type} {}", STANDARD.encode(key)), KnownHostFileKind::OpenSSH)?;
        Ok(matches!(hashed.check(name, key), CheckResult::Match))
    };
    !name.contains('\0') && matches().unwrap_or(false)
}

fn wildcard(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| wildcard(rest, &name[skipped..])),
        Some((b'?', rest)) => !name.is_empty() && wildcard(rest, &name[1..]),
        Some((byte, rest)) => name.first() == Some(byte) && wildcard(rest, &name[1..]),
    }
}

/// What became of a key that was to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was added.
    Added,
    /// It was there.
    AlreadyThere,
    /// It took the place of others, whose fingerprints these are.
    Replaced(Vec<String>),
    /// Nothing was written: the file has other keys for this host, whose fingerprints these are.
    Differs(Vec<String>),
}

/// Writes a host's key into a `known_hosts` file, which is created (0644) with its directories (0755) if missing.
///
/// Other keys of the same host are left alone and nothing is written, unless `replace`.
///
/// # Errors
/// What the operating system says.
pub fn store(file: &Path, info: &HostKeyInfo, replace: bool) -> io::Result<Stored> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let name = name_in_file(&info.host, info.port);
    let known = look_up_name(&text, &name);
    if known.keys.contains(&info.key) {
        return Ok(Stored::AlreadyThere);
    }
    let others: Vec<String> = known.keys.iter().map(|key| fingerprint(key)).collect();
    if !others.is_empty() && !replace {
        return Ok(Stored::Differs(others));
    }
    let mut new: String = text.lines().filter_map(|line| without(line, &name)).map(|line| line + "\n").collect();
    new.push_str(&info.known_hosts_line());
    new.push('\n');
    write_atomically(file, &new)?;
    Ok(if others.is_empty() { Stored::Added } else { Stored::Replaced(others) })
}

/// The line without this host: other names on it keep their key.
fn without(line: &str, name: &str) -> Option<String> {
    let kept = Some(line.to_owned());
    match parse(line) {
        Some(Line { marker: None, hosts, key, rest }) if names(hosts, &key, name) => {
            if hosts.starts_with('|') {
                return None;
            }
            let others: Vec<&str> = hosts.split(',').filter(|other| other.to_lowercase() != name).collect();
            match others.is_empty() {
                true => None,
                false => Some(format!("{} {rest}", others.join(","))),
            }
        }
        _ => kept,
    }
}

fn write_atomically(file: &Path, text: &str) -> io::Result<()> {
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let mode = fs::metadata(file).map_or(0o644, |old| old.permissions().mode() & 0o777);
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIIw6FDp4G4SKt9/OX1H39tveKlK8pkXsKkWkrw6R6YQd";
    const B: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIN6pIP9OdhlHA88r+rZva1nRLWhq6n6fJebU9BAEWS+7";

    fn key(text: &str) -> Vec<u8> {
        STANDARD.decode(text).unwrap()
    }

    fn info(host: &str, port: u16, text: &str) -> HostKeyInfo {
        HostKeyInfo { host: host.to_owned(), port, key: key(text) }
    }

    #[test]
    fn a_host_is_found_by_name_list_port_and_wildcard() {
        for (line, host, port, found) in [
            ("nas", "nas", 22, true),
            ("NAS.example.org", "nas.Example.org", 22, true),
            ("other,nas,10.0.0.2", "nas", 22, true),
            ("[nas]:2222", "nas", 2222, true),
            ("[nas]:2222", "nas", 22, false),
            ("[nas]:2222", "nas", 2223, false),
            ("nas", "nas", 2222, false),
            ("*.example.org", "nas.example.org", 22, true),
            ("n?s", "nas", 22, true),
            ("*,!nas", "nas", 22, false),
            ("[::1]:2222", "::1", 2222, true),
            ("nas2", "nas", 22, false),
        ] {
            let known = look_up(&format!("# comment\n\n{line} ssh-ed25519 {A} note\n"), host, port);
            assert_eq!(known.keys == [key(A)], found, "{line} for {host}:{port}");
        }
        assert_eq!(look_up(&format!("nas ssh-ed25519 {A}"), "nas", 2222).of_bare_host, [key(A)]);
    }

    #[test]
    fn hashed_names_are_found() {
        // `ssh-keygen -H` on `[nas]:2222 ssh-ed25519 …`
        let text = format!("|1|dg8OB8UjrbltYXPCP7B6fsEJOJs=|v/SgH2eqeAkaf3PHdqI7+CdghAk= ssh-ed25519 {A}\n");
        assert_eq!(look_up(&text, "nas", 2222).keys, [key(A)]);
        assert_eq!(look_up(&text, "nas", 22), Known::default());
    }

    #[test]
    fn revoked_keys_are_told_apart_and_authorities_are_passed_over() {
        let text = format!("@revoked * ssh-ed25519 {A}\n@cert-authority * ssh-ed25519 {B}\nnas ssh-ed25519 {B}\n");
        assert_eq!(
            look_up(&text, "nas", 22),
            Known { keys: vec![key(B)], of_bare_host: Vec::new(), revoked: vec![key(A)] }
        );
    }

    #[test]
    fn a_key_is_added_once_and_the_rest_of_the_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("deep/er/known_hosts");
        assert_eq!(store(&file, &info("nas", 2222, A), false).unwrap(), Stored::Added);
        assert_eq!(store(&file, &info("nas", 2222, A), false).unwrap(), Stored::AlreadyThere);
        assert_eq!(store(&file, &info("nas", 22, B), false).unwrap(), Stored::Added);
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("[nas]:2222 ssh-ed25519 {A}\nnas ssh-ed25519 {B}\n"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_changed_key_is_replaced_only_when_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("known_hosts");
        let old = format!("# mine\nother,nas ssh-ed25519 {A} note\nnas ssh-ed25519 {A}\n");
        fs::write(&file, &old).unwrap();
        let differs = store(&file, &info("nas", 22, B), false).unwrap();
        let old_fingerprint = fingerprint(&key(A));
        assert_eq!(differs, Stored::Differs(vec![old_fingerprint.clone(), old_fingerprint.clone()]));
        assert_eq!(fs::read_to_string(&file).unwrap(), old);
        let replaced = store(&file, &info("nas", 22, B), true).unwrap();
        assert_eq!(replaced, Stored::Replaced(vec![old_fingerprint.clone(), old_fingerprint]));
        let new = fs::read_to_string(&file).unwrap();
        assert_eq!(new, format!("# mine\nother ssh-ed25519 {A} note\nnas ssh-ed25519 {B}\n"));
    }
}
