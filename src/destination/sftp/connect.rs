//! The way to a server up to the point where it has introduced itself: TCP, then the SSH handshake. No credential yet.

use std::time::Duration;

use ssh2::MethodType;

use super::errors::{ERROR_KEX_FAILURE, Wire};
use super::host_key::HostKeyInfo;
pub(super) use super::link::Link;
use super::offers::{self, Seen};
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
    prefer(&link, order)
        .and_then(|()| prefer_safe_ciphers(&link))
        .map_err(|wire| wire.during(format!("failed to prepare an SSH session with `{server}`")))?;
    let mut session = link.session.clone();
    match link.run(|| session.handshake()) {
        Ok(()) => Ok(link),
        Err(wire) => {
            // Another connection, for people: not where a failure is expected, nor where the line was cut.
            let is_worth_a_look = matches!(wire, Wire::Stalled(_) | Wire::Trickles(_))
                || (wire.session_code() == Some(ERROR_KEX_FAILURE) && matches!(order, HostKeyOrder::Prefer(_)));
            let seen = if is_worth_a_look { offers::look(ssh, timeout) } else { None };
            Err(unanswered(wire, ssh, &link, seen))
        }
    }
}

/// Why a handshake failed, as far as the server's own words tell.
fn unanswered(wire: Wire, ssh: &SshServer, link: &Link, seen: Option<Seen>) -> DestinationError {
    let (server, port) = (authority(&ssh.host, ssh.port), ssh.port);
    // A line that is cut in the middle of this has the same code.
    if wire.session_code() == Some(ERROR_KEX_FAILURE)
        && let Some(missing) = seen.as_ref().and_then(|seen| seen.nothing_in_common(link))
    {
        let what = format!("the SSH server at `{server}` and this program have no algorithm in common");
        return DestinationError::new(ErrorKind::Other, what).caused_by(missing).with_hint(text!(
            "update the SSH server, or enable newer algorithms on it (OpenSSH since 7.2 has them: `curve25519-sha256`, `rsa-sha2-512`, `aes256-ctr`, `hmac-sha2-256`)"
                / "mettez à jour le serveur SSH, ou activez-y des algorithmes plus récents (OpenSSH les a depuis 7.2 : `curve25519-sha256`, `rsa-sha2-512`, `aes256-ctr`, `hmac-sha2-256`)"
        ));
    }
    if wire.kind() != ErrorKind::Unreachable {
        return wire.during(format!("no SSH server answered properly at `{server}`"));
    }
    let hint = text!(
        "check `host` and `port` (`{port}`): is it an SSH server that listens there?"
            / "vérifiez `host` et `port` (`{port}`) : est-ce bien un serveur SSH qui y écoute ?"
    );
    match seen.filter(|seen| !seen.line.is_empty() && !seen.line.starts_with("SSH-")) {
        Some(seen) => {
            let message = format!("no SSH server answered properly at `{server}`: it said `{}`", seen.line);
            wire.during(message).with_hint(hint)
        }
        None => wire.during(format!("no SSH server answered properly at `{server}`")).with_hint(hint),
    }
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

/// The server takes the first of these that it has: one with weaknesses comes into play where there is nothing else, which an
/// attacker on the line cannot bring about (the lists are part of what is signed, RFC 4253, 8).
fn prefer_safe_ciphers(link: &Link) -> Result<(), Wire> {
    for method in [MethodType::CryptCs, MethodType::CryptSc] {
        let list = by_strength(&link.session.supported_algs(method)?, BROKEN_CIPHERS, &["-cbc"]);
        link.session.method_pref(method, &list)?;
    }
    for method in [MethodType::MacCs, MethodType::MacSc] {
        // Encrypt-then-MAC first: the others leave a padding to be guessed at.
        let supported = link.session.supported_algs(method)?;
        let (etm, plain): (Vec<&str>, Vec<&str>) = supported.iter().partition(|name| name.contains("-etm@"));
        let list = by_strength(&[etm, plain].concat(), BROKEN_MACS, &["sha1"]);
        link.session.method_pref(method, &list)?;
    }
    Ok(())
}

/// Not offered at all.
const BROKEN_CIPHERS: &[&str] = &["arcfour", "blowfish", "cast128", "3des", "none"];
const BROKEN_MACS: &[&str] = &["md5", "ripemd", "-96", "none"];

/// Without those that hold a word of `broken`, and with those that hold one of `weak` last.
fn by_strength(names: &[&str], broken: &[&str], weak: &[&str]) -> String {
    let holds = |name: &str, words: &[&str]| words.iter().any(|word| name.contains(word));
    let mut list: Vec<&str> = names.iter().copied().filter(|name| !holds(name, broken)).collect();
    list.sort_by_key(|name| holds(name, weak));
    list.join(",")
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
    fn what_is_broken_is_not_offered_and_what_is_weak_comes_last() {
        let ciphers = ["aes256-cbc", "aes256-gcm@openssh.com", "arcfour128", "3des-cbc", "aes256-ctr"];
        assert_eq!(by_strength(&ciphers, BROKEN_CIPHERS, &["-cbc"]), "aes256-gcm@openssh.com,aes256-ctr,aes256-cbc");
        let macs = ["hmac-sha1-etm@openssh.com", "hmac-sha2-256", "hmac-md5", "hmac-sha1-96"];
        assert_eq!(by_strength(&macs, BROKEN_MACS, &["sha1"]), "hmac-sha2-256,hmac-sha1-etm@openssh.com");
    }

    #[test]
    fn known_sorts_come_first_and_sha1_last_of_its_family() {
        let rsa = FAMILIES[2];
        assert_eq!(in_order(&[rsa], SUPPORTED, false), "rsa-sha2-256,ssh-rsa");
        assert_eq!(in_order(&[rsa], SUPPORTED, true), "rsa-sha2-256,ssh-rsa,ecdsa-sha2-nistp256,ssh-ed25519");
    }
}
