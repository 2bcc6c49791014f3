//! The way to a server up to the point where it has introduced itself: TCP, then the SSH handshake. No credential yet.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use ssh2::MethodType;

use super::errors::Wire;
use super::host_key::HostKeyInfo;
pub(super) use super::link::Link;
use crate::config::settings::SftpSettings;
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
    settings: &SftpSettings,
    timeout: Duration,
    order: &HostKeyOrder<'_>,
    interrupt: &Interrupt,
) -> Result<Link, DestinationError> {
    let server = authority(&settings.host, settings.port);
    let socket = dial(&settings.host, settings.port, timeout)?;
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
        let port = settings.port;
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
pub(super) fn shown_key(settings: &SftpSettings, link: &Link) -> Result<HostKeyInfo, DestinationError> {
    match link.session.host_key() {
        Some((key, _)) => Ok(HostKeyInfo { host: settings.host.clone(), port: settings.port, key: key.to_vec() }),
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

/// `host:port` as URLs have it; the brackets that `known_hosts` puts around every host would puzzle here.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn dial(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, DestinationError> {
    let unreachable = |message: String| DestinationError::new(ErrorKind::Unreachable, message);
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|error| {
            unreachable(format!("the host `{host}` was not found")).caused_by(error).with_hint(text!(
                "check `host`, and the name server of this machine (`getent hosts {host}`)"
                    / "vérifiez `host`, et le serveur de noms de cette machine (`getent hosts {host}`)"
            ))
        })?
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                last =
                    io::Error::new(error.kind(), format!("no answer from `{address}` in {} s", timeout.as_secs_f32()));
            }
            Err(error) => last = io::Error::new(error.kind(), format!("`{address}`: {error}")),
        }
    }
    Err(unreachable(format!("failed to connect to `{}`", authority(host, port))).caused_by(last).with_hint(text!(
        "check `host` and `port` (`{port}`), that the server is up, and that no firewall is in the way"
            / "vérifiez `host` et `port` (`{port}`), que le serveur est en marche, et qu'aucun pare-feu ne bloque"
    )))
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

    #[test]
    fn a_closed_port_is_unreachable_and_says_where() {
        // Bound but not listening: taken, so that no other test can listen there, and closed.
        let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        held.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = held.local_addr().unwrap().as_socket().unwrap().port();
        let error = dial("127.0.0.1", port, Duration::from_secs(5)).unwrap_err();
        assert!(error.is_transient());
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}
