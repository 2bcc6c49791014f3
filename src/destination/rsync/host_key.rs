//! The fingerprints of the configuration, made into what ssh understands: a `known_hosts` file with the keys they belong to.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::access::whole_seconds;
use super::errors::stalled;
use super::program;
use crate::config::settings::RsyncSettings;
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::interrupt::Interrupt;
use crate::text;
use crate::text::Text;

/// Asks the server for its keys, before any log-in, and keeps those with an accepted fingerprint. ssh then demands one of these
/// keys, so nothing is lost by asking first.
pub(super) fn known_hosts_of(
    settings: &RsyncSettings,
    fingerprints: &[String],
    timeouts: Timeouts,
    interrupt: &Interrupt,
) -> Result<String, DestinationError> {
    let shown = scan(settings, timeouts, interrupt)?;
    let accepted = |key: &&Key| fingerprints.iter().any(|one| one.trim_end_matches('=') == key.fingerprint);
    let known: String = shown.iter().filter(accepted).map(|key| format!("{}\n", key.line)).collect();
    if known.is_empty() {
        return Err(unexpected(settings, fingerprints, &shown));
    }
    Ok(known)
}

/// The fingerprints that a server shows now, for an error; empty if it does not answer.
pub(super) fn shown_by(settings: &RsyncSettings, timeouts: Timeouts, interrupt: &Interrupt) -> Vec<String> {
    let shown = scan(settings, timeouts, interrupt).unwrap_or_default();
    shown.into_iter().map(|key| key.fingerprint).collect()
}

struct Key {
    /// As `known_hosts` has it.
    line: String,
    /// `SHA256:…`
    fingerprint: String,
}

fn scan(settings: &RsyncSettings, timeouts: Timeouts, interrupt: &Interrupt) -> Result<Vec<Key>, DestinationError> {
    let what = || format!("failed to ask `{}` for its host keys", settings.host);
    let seconds = whole_seconds(timeouts.connect);
    let mut command = program::command("ssh-keyscan");
    command.arg("-T").arg(seconds.to_string()).arg("-p").arg(settings.port.to_string()).arg("--").arg(&settings.host);
    // It counts the time of each question, and some servers answer byte by byte.
    let begun = Instant::now();
    let mut in_time = |_| match begun.elapsed() > timeouts.connect + timeouts.stall {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(()),
    };
    let done = program::run(command, interrupt, &mut in_time).map_err(|error| {
        if error.kind() == io::ErrorKind::TimedOut {
            return stalled(timeouts.connect).during(what());
        }
        let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::Other } else { ErrorKind::Local };
        let error = DestinationError::new(kind, what()).caused_by(format!("`ssh-keyscan`: {error}"));
        error.with_hint(text!(
            "install OpenSSH's client programs (`openssh-client`)"
                / "installez les programmes clients d'OpenSSH (`openssh-client`)"
        ))
    })?;
    let keys: Vec<Key> = String::from_utf8_lossy(&done.output).lines().filter_map(key).collect();
    if !keys.is_empty() {
        return Ok(keys);
    }
    // It says nothing about why: the connection itself tells.
    let why = match (settings.host.as_str(), settings.port).to_socket_addrs().map(|mut all| all.next()) {
        Err(error) => error.to_string(),
        Ok(None) => "the name has no address".to_owned(),
        Ok(Some(address)) => match TcpStream::connect_timeout(&address, timeouts.connect) {
            Err(error) => format!("`{address}`: {error}"),
            Ok(_) => format!("no byte moved for {} s", timeouts.connect.as_secs_f32()),
        },
    };
    let port = settings.port;
    Err(DestinationError::new(ErrorKind::Unreachable, what()).caused_by(why).with_hint(text!(
        "check `host` and `port` ({port}), that an SSH server listens there, and that no firewall is in the way"
            / "vérifiez `host` et `port` ({port}), qu'un serveur SSH y écoute, et qu'aucun pare-feu ne bloque"
    )))
}

/// `[nas]:2222 ssh-ed25519 AAAA…`
fn key(line: &str) -> Option<Key> {
    let key = line.split_whitespace().nth(2)?;
    let digest = Sha256::digest(STANDARD.decode(key).ok()?);
    Some(Key { line: line.to_owned(), fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(digest)) })
}

fn unexpected(settings: &RsyncSettings, expected: &[String], shown: &[Key]) -> DestinationError {
    let list = |all: Vec<&str>| all.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(" or ");
    let expected = list(expected.iter().map(String::as_str).collect());
    let shown = list(shown.iter().map(|key| key.fingerprint.as_str()).collect());
    let host = &settings.host;
    DestinationError::new(ErrorKind::Untrusted, format!("the host key of `{host}` is not the expected one"))
        .caused_by(format!("expected {expected}, the server showed {shown}"))
        .with_hint(changed_hint())
}

/// What to do about a key that is another one than before.
pub(super) fn changed_hint() -> Text {
    text!(
        "nothing was sent. If the server was installed anew, have its administrator confirm the fingerprint, then run `archive trust` (or correct `host_key`); otherwise somebody may be posing as it"
            / "rien n'a été envoyé. Si le serveur a été réinstallé, faites confirmer l'empreinte par son administrateur, puis lancez `archive trust` (ou corrigez `host_key`) ; sinon quelqu'un se fait peut-être passer pour lui"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_a_key_is_that_of_ssh_keygen() {
        let line = "[nas]:22 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIw6FDp4G4SKt9/OX1H39tveKlK8pkXsKkWkrw6R6YQd";
        let found = key(line).unwrap();
        assert_eq!((found.line.as_str(), found.fingerprint.len()), (line, 50));
        assert!(key("# nas:22 SSH-2.0-OpenSSH_9.2").is_none());
    }
}
