//! The way to a server up to the point where it has introduced itself and the connection is protected. No credential yet.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use rustls::RootCertStore;
use suppaftp::{FtpError, ImplFtpStream};

use super::errors::Wire;
use super::line::{Channel, Pace};
use super::sockets::{Sockets, limit};
use super::tls::{self, Connector, Version};
use crate::config::settings::{FtpSecurity, FtpSettings};
use crate::destination::dial::{authority, dial};
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::interrupt::Interrupt;
use crate::text;
use crate::text::Text;

/// The crate's connection, over our own streams.
pub(super) type Ftp = ImplFtpStream<Channel>;

/// Why there is no session.
pub(super) enum Failure {
    Told(DestinationError),
    Wire(Wire),
}

impl Failure {
    pub(super) fn explain(self, settings: &FtpSettings) -> DestinationError {
        let server = authority(&settings.host, settings.port);
        let port = settings.port;
        match self {
            Failure::Told(error) => error,
            Failure::Wire(Wire::Tls(error)) => tls::failed(&error, &server, settings.security == FtpSecurity::Implicit),
            // Only `AUTH TLS` and what belongs to it can be refused so early, or the whole connection.
            Failure::Wire(Wire::Refused(reply)) if reply.code >= 500 => {
                DestinationError::new(ErrorKind::Other, format!("`{server}` does not offer TLS on this connection"))
                    .caused_by(Wire::Refused(reply))
                    .with_hint(no_tls_hint())
            }
            Failure::Wire(wire) => {
                let is_transient = wire.kind() == ErrorKind::Unreachable;
                let error = wire.during(format!("no FTP server answered properly at `{server}`"));
                match (is_transient, settings.security) {
                    (true, FtpSecurity::Implicit) => error.with_hint(text!(
                        "check `host` and `port` (`{port}`): does it speak TLS from the first byte? if not, leave out `implicit`"
                            / "vérifiez `host` et `port` (`{port}`) : TLS y commence-t-il au premier octet ? sinon, retirez `implicit`"
                    )),
                    (true, FtpSecurity::Explicit) => error.with_hint(text!(
                        "check `host` and `port` (`{port}`): is it an FTP server? if it speaks TLS from the first byte (990 as a rule), set `implicit = true`"
                            / "vérifiez `host` et `port` (`{port}`) : est-ce un serveur FTP ? s'il parle TLS dès le premier octet (990 en général), indiquez `implicit = true`"
                    )),
                    (true, FtpSecurity::None) => error.with_hint(text!(
                        "check `host` and `port` (`{port}`): is it an FTP server that listens there?"
                            / "vérifiez `host` et `port` (`{port}`) : est-ce bien un serveur FTP qui y écoute ?"
                    )),
                    (false, _) => error.with_hint(text!(
                        "check `host` and `port` (`{port}`): what listens there does not speak FTP"
                            / "vérifiez `host` et `port` (`{port}`) : ce qui y écoute ne parle pas FTP"
                    )),
                }
            }
        }
    }
}

/// Connects up to the point where the server has introduced itself and the connection is protected; no credential yet.
pub(super) fn introduce(
    settings: &FtpSettings,
    timeouts: Timeouts,
    interrupt: &Interrupt,
    roots: &RootCertStore,
    version: Version,
) -> Result<(Ftp, Arc<Sockets>), Failure> {
    let local = |error: io::Error| Failure::Wire(Wire::Broken(error));
    let wire = |error: FtpError| Failure::Wire(Wire::of(error, timeouts.connect));
    let pace = Pace::new(timeouts.connect, interrupt);
    let socket = dial(&settings.host, settings.port, timeouts.connect).map_err(Failure::Told)?;
    limit(&socket).map_err(local)?;
    let peer = socket.peer_addr().map_err(local)?;
    let control = socket.try_clone().map_err(local)?;
    let sockets = Arc::new(Sockets {
        control,
        data: Mutex::default(),
        pace: Arc::clone(&pace),
        connect_timeout: timeouts.connect,
    });
    let tls = || Connector::tls(roots, version, &pace).map_err(|error| Failure::Wire(Wire::Tls(error)));
    let first = match settings.security {
        FtpSecurity::Implicit => tls()?,
        FtpSecurity::Explicit | FtpSecurity::None => Connector::plain(&pace),
    };
    // Only in this way the crate speaks over a stream that is not its own, and here it insists on connecting by itself. So it
    // connects to nobody, and the connector puts our socket in place of that.
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(local)?;
    let address = nobody.local_addr().map_err(local)?;
    let mut ftp = Ftp::connect_secure_implicit(address, first.over(socket), &settings.host).map_err(wire)?;
    match settings.security {
        FtpSecurity::None => {}
        FtpSecurity::Explicit => {
            pace.restart();
            ftp = ftp.into_secure(tls()?, &settings.host).map_err(wire)?;
        }
        FtpSecurity::Implicit => {
            // RFC 4217, 9: data is unencrypted until asked otherwise.
            for command in ["PBSZ 0", "PROT P"] {
                ftp.custom_command(command, &[suppaftp::Status::CommandOk]).map_err(wire)?;
            }
        }
    }
    let shared = Arc::clone(&sockets);
    let ftp = ftp.passive_stream_builder(move |address| shared.open_data(peer.ip(), address.port()));
    Ok((ftp, sockets))
}

fn no_tls_hint() -> Text {
    text!(
        "turn TLS on at the server, or set `implicit = true` and its port; `type = \"ftp\"` would send everything unencrypted"
            / "activez TLS sur le serveur, ou indiquez `implicit = true` et son port ; `type = \"ftp\"` enverrait tout en clair"
    )
}
