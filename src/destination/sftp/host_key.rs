//! Is this the server we know? Decided before any credential leaves this machine.

use std::fs;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::connect::{self, HostKeyOrder};
pub use super::known_hosts::{Stored, store};
use super::known_hosts::{look_up, name_in_file};
use crate::config::settings::{HostKey, SshServer};
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::interrupt::Interrupt;
use crate::text;

/// The key a server showed; nothing was proven to it, and only that it owns this key to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyInfo {
    /// The host as it was called.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The public key as the wire carries it (RFC 4253 §6.6).
    pub key: Vec<u8>,
}

impl HostKeyInfo {
    /// The sort of key, for example `ssh-ed25519`.
    pub fn key_type(&self) -> &str {
        key_type_of(&self.key).unwrap_or("unknown")
    }

    /// The fingerprint as OpenSSH prints it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.key)
    }

    /// The line of a `known_hosts` file, without its end.
    pub fn known_hosts_line(&self) -> String {
        format!("{} {} {}", name_in_file(&self.host, self.port), self.key_type(), STANDARD.encode(&self.key))
    }

    /// How this key stands to what the configuration expects.
    ///
    /// # Errors
    /// When the `known_hosts` file cannot be read; a missing one knows no host.
    pub fn standing(&self, expected: &HostKey) -> io::Result<Standing> {
        match expected {
            HostKey::Fingerprints(fingerprints) => {
                let shown = self.fingerprint();
                match fingerprints.iter().any(|one| one.trim_end_matches('=') == shown) {
                    true => Ok(Standing::Trusted),
                    false => Ok(Standing::Changed { expected: fingerprints.clone() }),
                }
            }
            HostKey::KnownHosts(file) => {
                let text = match fs::read_to_string(file) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                    text => text?,
                };
                let known = look_up(&text, &self.host, self.port);
                Ok(if known.revoked.contains(&self.key) {
                    Standing::Revoked
                } else if known.keys.contains(&self.key) || known.of_bare_host.contains(&self.key) {
                    Standing::Trusted
                } else if known.keys.is_empty() {
                    Standing::Unknown
                } else {
                    Standing::Changed { expected: known.keys.iter().map(|key| fingerprint(key)).collect() }
                })
            }
        }
    }
}

/// How a server's key stands to what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the one.
    Trusted,
    /// Nothing is known about this host.
    Unknown,
    /// Another key is known.
    Changed {
        /// The fingerprints that would have been right.
        expected: Vec<String>,
    },
    /// It is marked `@revoked`.
    Revoked,
}

/// Connects to a server to see its host key, and leaves without logging in.
///
/// # Errors
/// `Unreachable`.
pub fn probe(server: &SshServer, timeouts: Timeouts, interrupt: &Interrupt) -> Result<HostKeyInfo, DestinationError> {
    let order = HostKeyOrder::Prefer(known_types(server));
    let link = connect::introduce(server, timeouts.connect, &order, interrupt)?;
    connect::shown_key(server, &link)
}

/// Fails unless the key is trusted, and says what was expected and what was shown.
pub(super) fn demand(info: &HostKeyInfo, expected: &HostKey) -> Result<(), DestinationError> {
    let (host, shown) = (name_in_file(&info.host, info.port), info.fingerprint());
    let key_type = text::quote(info.key_type(), text::MAX_NAME_CHARS);
    let untrusted = |message: String| DestinationError::new(ErrorKind::Untrusted, message);
    let standing = info.standing(expected).map_err(|error| {
        let file = match expected {
            HostKey::KnownHosts(file) => file.display().to_string(),
            HostKey::Fingerprints(_) => String::new(),
        };
        untrusted(format!("failed to read `{file}`")).caused_by(error)
    })?;
    match standing {
        Standing::Trusted => Ok(()),
        Standing::Unknown => Err(untrusted(format!("the host key of `{host}` is not known"))
            .caused_by(format!("the server showed `{key_type}` `{shown}`"))
            .with_hint(text!(
                "run `archive trust`, compare `{shown}` with what the server's administrator says, and confirm"
                    / "lancez `archive trust`, comparez `{shown}` avec ce que dit l'administrateur du serveur, et confirmez"
            ))),
        Standing::Changed { expected } => {
            let expected = expected.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(" or ");
            Err(untrusted(format!("the host key of `{host}` is not the expected one"))
                .caused_by(format!("expected {expected}, the server showed `{key_type}` `{shown}`"))
                .with_hint(text!(
                    "nothing was sent. If the server was installed anew, have its administrator confirm `{shown}`, then run `archive trust`; otherwise somebody may be posing as it"
                    / "rien n'a été envoyé. Si le serveur a été réinstallé, faites confirmer `{shown}` par son administrateur, puis lancez `archive trust` ; sinon quelqu'un se fait peut-être passer pour lui"
                )))
        }
        Standing::Revoked => Err(untrusted(format!("the host key of `{host}` is marked as revoked"))
            .caused_by(format!("the server showed `{key_type}` `{shown}`"))
            .with_hint(text!(
                "do not connect before its administrator has explained it"
                    / "ne vous connectez pas avant une explication de son administrateur"
            ))),
    }
}

/// The sorts of key that are known for this server, to be asked for first: another sort would look like a changed key.
pub(super) fn known_types(server: &SshServer) -> Vec<String> {
    match &server.host_key {
        HostKey::Fingerprints(_) => Vec::new(),
        HostKey::KnownHosts(file) => {
            let text = fs::read_to_string(file).unwrap_or_default();
            let known = look_up(&text, &server.host, server.port);
            known.keys.iter().chain(&known.of_bare_host).filter_map(|key| key_type_of(key)).map(str::to_owned).collect()
        }
    }
}

/// `SHA256:` and base64 without padding.
pub(super) fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// The name at the head of a key.
pub(super) fn key_type_of(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk()?;
    std::str::from_utf8(rest.get(..u32::from_be_bytes(*length) as usize)?).ok()
}

/// Connects and makes sure that the server is the expected one.
pub(super) fn connect_to_trusted(
    server: &SshServer,
    connect_timeout: Duration,
    interrupt: &Interrupt,
) -> Result<connect::Link, DestinationError> {
    let order = HostKeyOrder::Prefer(known_types(server));
    let link = connect::introduce(server, connect_timeout, &order, interrupt)?;
    let info = connect::shown_key(server, &link)?;
    let refusal = match demand(&info, &server.host_key) {
        Ok(()) => return Ok(link),
        Err(refusal) => refusal,
    };
    // A fingerprint does not say which of the server's keys it belongs to: ask for the others before crying wolf.
    if let HostKey::Fingerprints(_) = server.host_key {
        for family in connect::FAMILIES.iter().filter(|family| !family.contains(&info.key_type())) {
            let only = HostKeyOrder::Only(family);
            let Ok(link) = connect::introduce(server, connect_timeout, &only, interrupt) else { continue };
            if demand(&connect::shown_key(server, &link)?, &server.host_key).is_ok() {
                return Ok(link);
            }
        }
    }
    Err(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> HostKeyInfo {
        let key = STANDARD.decode("AAAAC3NzaC1lZDI1NTE5AAAAIIw6FDp4G4SKt9/OX1H39tveKlK8pkXsKkWkrw6R6YQd").unwrap();
        HostKeyInfo { host: "nas".to_owned(), port: 2222, key }
    }

    #[test]
    fn a_fingerprint_is_accepted_with_and_without_padding() {
        let right = info().fingerprint();
        assert!(right.starts_with("SHA256:") && right.len() == 50);
        for accepted in [right.clone(), format!("{right}=")] {
            let expected = HostKey::Fingerprints(vec!["SHA256:another".to_owned(), accepted]);
            assert_eq!(info().standing(&expected).unwrap(), Standing::Trusted);
        }
    }

    #[test]
    fn an_unknown_and_a_changed_key_are_told_apart() {
        let missing = HostKey::KnownHosts("/nonexistent/known_hosts".into());
        let error = demand(&info(), &missing).unwrap_err();
        assert_eq!(error.to_string(), "the host key of `[nas]:2222` is not known");
        let other = HostKey::Fingerprints(vec!["SHA256:another".to_owned()]);
        let error = demand(&info(), &other).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Untrusted);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("SHA256:another") && cause.contains(&info().fingerprint()), "{cause}");
    }

    #[test]
    fn the_sort_of_a_key_is_read_from_the_key() {
        assert_eq!(info().key_type(), "ssh-ed25519");
        assert_eq!(key_type_of(&[0, 0, 0, 9, b'x']), None);
    }
}
