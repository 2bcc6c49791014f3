//! TLS for both connections of a session: one configuration, so that the second resumes what the first agreed on, which
//! many servers demand (vsftpd's `require_ssl_reuse`, proftpd's default).

use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{AlertDescription, ClientConfig, RootCertStore};
use suppaftp::{FtpResult, RustlsConnector, TlsConnector};

use super::errors::Wire;
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

/// TLS over a socket.
pub(super) type Tls = <RustlsConnector as TlsConnector>::Stream;

/// Makes TLS of sockets, for one session: what it agreed on is not shared with another.
pub(super) struct Connector {
    inner: RustlsConnector,
    /// The socket to use in place of the first one that is offered.
    dialled: Mutex<Option<TcpStream>>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub(super) fn new(roots: &RootCertStore, version: Version) -> Result<Self, rustls::Error> {
        let version = match version {
            Version::Tls12 => &rustls::version::TLS12,
            Version::Tls13 => &rustls::version::TLS13,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        Ok(Connector { inner: RustlsConnector::from(Arc::new(config)), dialled: Mutex::default() })
    }

    /// Speaks over this socket first, whatever the crate offers.
    pub(super) fn over(self, socket: TcpStream) -> Self {
        Connector { dialled: Mutex::new(Some(socket)), ..self }
    }
}

impl TlsConnector for Connector {
    type Stream = Tls;

    fn connect(&self, domain: &str, stream: TcpStream) -> FtpResult<Self::Stream> {
        let dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.inner.connect(domain, dialled.unwrap_or(stream))
    }
}

/// Whether the server takes no TLS as old as 1.2.
pub(super) fn wants_newer(wire: &Wire) -> bool {
    matches!(wire, Wire::Tls(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)))
}

/// A failed handshake, with the setting that may be wrong.
pub(super) fn failed(error: &rustls::Error, server: &str, implicit: bool) -> DestinationError {
    let trouble = Trouble::of_tls(error, server);
    let kind = match error {
        rustls::Error::InvalidCertificate(_) => ErrorKind::Untrusted,
        _ => ErrorKind::Other,
    };
    let hint = trouble.certificate_hint("host", "ca_file").unwrap_or_else(|| match implicit {
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
