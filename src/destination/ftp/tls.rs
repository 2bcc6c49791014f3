//! TLS for both connections of a session: one configuration, so that the second resumes what the first agreed on, which
//! many servers demand (vsftpd's `require_ssl_reuse`, proftpd's default).

use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use suppaftp::{FtpError, FtpResult, TlsConnector};

use super::errors::Wire;
use super::line::{Channel, Line, Pace, Purpose};
use crate::destination::{DestinationError, ErrorKind};
use crate::error::hint_of;
use crate::http::Trouble;
use crate::text;

/// Which version to speak.
///
/// TLS 1.2 comes first for the sake of resumption: under 1.3 each connection spends a ticket, new ones come with what the
/// server sends, and an upload reads nothing; the third upload would be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3, for servers that take nothing older.
    Tls13,
}

/// The authorities trusted: the system's, and those of a file.
pub(super) fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, DestinationError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!("an authority of the system cannot be used: {error}");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(file) = ca_file {
        let unusable = |error: anyhow::Error| {
            let hint = hint_of(&error).cloned();
            let error = DestinationError::new(ErrorKind::Local, "failed to use `ca_file`").caused_by(error);
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        };
        let certificates = crate::http::certificates(file, "ca_file").map_err(unusable)?;
        for certificate in certificates {
            roots.add(certificate).map_err(|_| {
                unusable(anyhow::anyhow!("`{}` holds a certificate that cannot be read", file.display()))
            })?;
        }
    }
    Ok(roots)
}

/// Makes connections of sockets, for one session: what it agreed on is not shared with another. The first one is the control
/// connection.
pub(super) struct Connector {
    /// `None` where nothing is encrypted.
    config: Option<Arc<ClientConfig>>,
    pace: Arc<Pace>,
    /// The socket to use in place of the first one that is offered.
    dialled: Mutex<Option<TcpStream>>,
    is_first: AtomicBool,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub(super) fn plain(pace: &Arc<Pace>) -> Self {
        Connector { config: None, pace: Arc::clone(pace), dialled: Mutex::default(), is_first: AtomicBool::new(true) }
    }

    pub(super) fn tls(roots: &RootCertStore, version: Version, pace: &Arc<Pace>) -> Result<Self, rustls::Error> {
        let version = match version {
            Version::Tls12 => &rustls::version::TLS12,
            Version::Tls13 => &rustls::version::TLS13,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        Ok(Connector { config: Some(Arc::new(config)), ..Connector::plain(pace) })
    }

    /// Speaks over this socket first, whatever the crate offers.
    pub(super) fn over(self, socket: TcpStream) -> Self {
        Connector { dialled: Mutex::new(Some(socket)), ..self }
    }
}

impl TlsConnector for Connector {
    type Stream = Channel;

    fn connect(&self, domain: &str, stream: TcpStream) -> FtpResult<Channel> {
        let dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner).take();
        let line = Line::new(dialled.unwrap_or(stream), &self.pace);
        let is_first = self.is_first.swap(false, Ordering::Relaxed);
        let purpose = if is_first { Purpose::Control } else { Purpose::Data };
        let Some(config) = &self.config else { return Ok(Channel::plain(line, purpose)) };
        let unusable = |error: &dyn std::fmt::Display| FtpError::SecureError(error.to_string());
        let name = ServerName::try_from(domain.to_owned()).map_err(|error| unusable(&error))?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(|error| unusable(&error))?;
        Ok(Channel::tls(connection, line, purpose))
    }
}

/// Whether the server may take TLS 1.3 where it refused 1.2: as too old, or for want of a cipher that both know.
pub(super) fn wants_newer(wire: &Wire) -> bool {
    matches!(wire, Wire::Tls(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)))
        || wants_other_ciphers(wire)
}

/// Whether server and program found no cipher that both know.
pub(super) fn wants_other_ciphers(wire: &Wire) -> bool {
    matches!(wire, Wire::Tls(error) if lacks_ciphers(error))
}

fn lacks_ciphers(error: &rustls::Error) -> bool {
    use AlertDescription::{HandshakeFailure, InsufficientSecurity};
    matches!(error, rustls::Error::AlertReceived(HandshakeFailure | InsufficientSecurity))
}

/// A failed handshake, with the setting that may be wrong.
pub(super) fn failed(error: &rustls::Error, server: &str, implicit: bool) -> DestinationError {
    let trouble = Trouble::of_tls(error, server);
    let kind = match error {
        rustls::Error::InvalidCertificate(_) => ErrorKind::Untrusted,
        _ => ErrorKind::Other,
    };
    let hint = trouble.certificate_hint("host", "ca_file").unwrap_or_else(|| match implicit {
        _ if lacks_ciphers(error) => text!(
            "the server knows only ciphers that are no longer considered safe: allow ECDHE with AES-GCM or ChaCha20 there (vsftpd: `ssl_ciphers=HIGH`, ProFTPD: `TLSCipherSuite DEFAULT`), or TLS 1.3"
                / "le serveur ne connaît que des chiffrements qui ne passent plus pour sûrs : autorisez-y ECDHE avec AES-GCM ou ChaCha20 (vsftpd : `ssl_ciphers=HIGH`, ProFTPD : `TLSCipherSuite DEFAULT`), ou TLS 1.3"
        ),
        true => text!(
            "check `port`; on port 21 TLS begins later: leave out `implicit`"
                / "vérifiez `port` ; sur le port 21, TLS commence plus tard : retirez `implicit`"
        ),
        false => text!(
            "the server must offer TLS 1.2 or 1.3 (vsftpd: `ssl_enable=YES`)"
                / "le serveur doit proposer TLS 1.2 ou 1.3 (vsftpd : `ssl_enable=YES`)"
        ),
    });
    let told = DestinationError::new(kind, trouble.message).with_hint(hint);
    match trouble.cause {
        Some(cause) => told.caused_by(cause),
        None => told,
    }
}
