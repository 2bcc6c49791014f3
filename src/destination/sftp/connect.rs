//! The way to a server up to the point where it has introduced itself: TCP, then the SSH handshake. No credential yet.

use std::time::Duration;

use ssh2::MethodType;

use super::errors::Wire;
use super::host_key::HostKeyInfo;
pub(super) use super::link::Link;
use crate::config::settings::SshServer;
use crate::destination::dial::{authority, dial};
use crate::destination::{DestinationError, ErrorKind};
use crate::interrupt::Interrupt;
use crate::text;

/// The signature algorithms of each sort of key; RSA has several (RFC 8332).
pub(super) const FAMILIES: &[&[&str]] = &[
    &["ssh-ed25519"],
    &["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"],
    &["ssh-rsa", "rsa-sha2-512", "rsa-sha2-256"],
];

/// Which host key to ask for.
pub(super) enum HostKeyOrder<'a> {
    /// These sorts first, then any other.
    Prefer(Vec<String>),
    /// Only this family.
    Only(&'a [&'a str]),
}

/// Connects and shakes hands; the caller must look at the host key next.
pub(super) fn introduce(
    ssh: &SshServer,
    timeout: Duration,
    order: &HostKeyOrder<'_>,
    interrupt: &Interrupt,
) -> Result<Link, DestinationError> {
    let server = authority(&ssh.host, ssh.port);
    let socket = dial(&ssh.host, ssh.port, timeout)?;
    // Small requests must not wait for the acknowledgement of earlier ones.
    let _ = socket.set_nodelay(true);
    let link = Link::new(socket, timeout, interrupt).map_err(|error| {
        DestinationError::new(ErrorKind::Other, "failed to prepare an SSH session").caused_by(error)
    })?;
    prefer(&link, order).map_err(|wire| wire.during(format!("failed to prepare an SSH session with `{server}`")))?;
    let mut session = link.session.clone();
    link.run(|| session.handshake()).map_err(|wire| {
        let hint = wire.kind() == ErrorKind::Unreachable;
        let error = wire.during(format!("no SSH server answered properly at `{server}`"));
        let port = ssh.port;
        match hint {
            true => error.with_hint(text!(
                "check `host` and `port` (`{port}`): is it an SSH server that listens there?"
                    / "vérifiez `host` et `port` (`{port}`) : est-ce bien un serveur SSH qui y écoute ?"
            )),
            false => error,
        }
    })?;
    Ok(link)
}

/// The host key that the server showed.
pub(super) fn shown_key(ssh: &SshServer, link: &Link) -> Result<HostKeyInfo, DestinationError> {
    match link.session.host_key() {
        Some((key, _)) => Ok(HostKeyInfo { host: ssh.host.clone(), port: ssh.port, key: key.to_vec() }),
        None => Err(DestinationError::new(ErrorKind::Untrusted, "the server showed no host key")),
    }
}

fn prefer(link: &Link, order: &HostKeyOrder<'_>) -> Result<(), Wire> {
    let supported = link.session.supported_algs(MethodType::HostKey)?;
    let list = match order {
        HostKeyOrder::Only(family) => in_order(&[family], &supported, false),
        HostKeyOrder::Prefer(types) => {
            let families: Vec<&[&str]> = types
                .iter()
                .filter_map(|one| match one.as_str() {
                    "ssh-rsa" => FAMILIES.last().copied(),
                    _ => FAMILIES.iter().copied().flatten().find(|name| *name == one).map(std::slice::from_ref),
                })
                .collect();
            if families.is_empty() {
                return Ok(());
            }
            in_order(&families, &supported, true)
        }
    };
    Ok(link.session.method_pref(MethodType::HostKey, &list)?)
}

/// The supported algorithms as libssh2 wants them: those of the families, strongest first, then the others if asked.
fn in_order(families: &[&[&str]], supported: &[&str], and_others: bool) -> String {
    let wanted = |name: &&str| families.iter().any(|family| family.contains(name));
    let mut list: Vec<&str> = supported.iter().copied().filter(wanted).collect();
    // `ssh-rsa` as a signature means SHA-1 (RFC 8332): last among its family.
    list.sort_by_key(|name| *name == "ssh-rsa");
    if and_others {
        list.extend(supported.iter().copied().filter(|name| !wanted(name)));
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPPORTED: &[&str] = &["ecdsa-sha2-nistp256", "ssh-ed25519", "ssh-rsa", "rsa-sha2-256"];

    #[test]
    fn known_sorts_come_first_and_sha1_last_of_its_family() {
        let rsa = FAMILIES[2];
        assert_eq!(in_order(&[rsa], SUPPORTED, false), "rsa-sha2-256,ssh-rsa");
        assert_eq!(in_order(&[rsa], SUPPORTED, true), "rsa-sha2-256,ssh-rsa,ecdsa-sha2-nistp256,ssh-ed25519");
    }
}
