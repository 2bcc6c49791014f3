//! A TCP connection to a host by its name, with errors that say which setting to look at.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::{DestinationError, ErrorKind};
use crate::text;

/// `host:port` as URLs have it; the brackets that `known_hosts` puts around every host would puzzle here.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Connects to the first address that answers; each is given `timeout`.
pub(super) fn dial(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, DestinationError> {
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
