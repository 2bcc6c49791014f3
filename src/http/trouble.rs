//! What the HTTP client and TLS say when there is no answer; the only place that knows their errors.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, PeerIncompatible};
use url::Url;

use super::authority;
use super::certificate::{self, Remedy};
use crate::text;
use crate::text::Text;

/// Why there was no answer, as far as code must decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// The name of the host has no address, or the name server does not answer.
    HostNotFound,
    /// Nobody listens on that port.
    Refused,
    /// The connection was not there in time.
    Late,
    /// No way to the host.
    NoConnection,
    /// The connection ended without an answer.
    Cut,
    /// Something came that is no answer.
    NoAnswer,
    /// The request could not even be made.
    Impossible,
    /// The proxy failed; worth a retry.
    Proxy,
    /// The proxy wants other credentials.
    ProxyDenied,
    /// TLS failed for good.
    Tls,
    /// The connection ended while TLS was being agreed on.
    TlsCut,
    /// The certificate is too old.
    CertificateExpired,
    /// The certificate is not valid yet.
    CertificateNotYet,
    /// The certificate is for another name.
    CertificateName,
    /// Nobody knows who signed the certificate.
    CertificateIssuer,
    /// The certificate was revoked.
    CertificateRevoked,
    /// The certificate may sign others, and so must not be shown by a server.
    CertificateOfAuthority,
    /// The certificate is wrong in another way.
    Certificate,
}

/// A request that brought no answer. Neither message nor cause holds a secret.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub kind: TroubleKind,
    /// What happened, with the host's name.
    pub message: String,
    /// The innermost reason, where the message does not say it.
    pub cause: Option<String>,
    /// What to do, where more is known than the kind.
    pub(super) remedy: Option<Remedy>,
}

impl Trouble {
    pub(super) fn new(kind: TroubleKind, message: String) -> Self {
        Trouble { kind, message, cause: None, remedy: None }
    }

    fn caused_by(self, cause: String) -> Self {
        Trouble { cause: Some(cause), ..self }
    }

    /// Reads an error of the client; `proxy` is the configured one, for the message.
    pub fn of(error: reqwest::Error, url: &Url, proxy: Option<&str>) -> Self {
        let error = error.without_url();
        let cause = root_cause(&error);
        let layers = layers(&error);
        let host = authority(url);
        let begins = |text: &str| layers.iter().any(|layer| layer.to_string().starts_with(text));
        let io_kind =
            |kind| layers.iter().filter_map(|layer| layer.downcast_ref::<io::Error>()).any(|io| io.kind() == kind);

        if let Some(tls) = layers.iter().find_map(|layer| layer.downcast_ref::<rustls::Error>()) {
            return tls_failed(tls, &host);
        }
        if begins("tls handshake eof") {
            let message = format!("`{host}` ended the connection while TLS was being agreed on");
            return Trouble::new(TroubleKind::TlsCut, message);
        }
        let tunnel = begins("tunnel error") || begins("SOCKS error");
        if tunnel || proxy.is_some() && error.is_connect() {
            let denied = tunnel && (cause.contains("authorization required") || cause.contains("authentication"));
            let kind = if denied { TroubleKind::ProxyDenied } else { TroubleKind::Proxy };
            let proxy = proxy.map(|proxy| format!(" `{proxy}`")).unwrap_or_default();
            return Trouble::new(kind, format!("the proxy{proxy} gave no connection to `{host}`")).caused_by(cause);
        }
        let cut = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof];
        let (kind, message) = if error.is_timeout() || io_kind(io::ErrorKind::TimedOut) {
            (TroubleKind::Late, format!("`{host}` did not accept the connection in time"))
        } else if begins("dns error") {
            (TroubleKind::HostNotFound, format!("the host `{}` was not found", url.host_str().unwrap_or_default()))
        } else if io_kind(io::ErrorKind::ConnectionRefused) {
            (TroubleKind::Refused, format!("`{host}` refused the connection"))
        } else if error.is_builder() {
            (TroubleKind::Impossible, format!("the request to `{host}` could not be made"))
        } else if error.is_connect() {
            (TroubleKind::NoConnection, format!("no connection to `{host}`"))
        } else if cut.map(io_kind).contains(&true) || cause.contains("closed before message completed") {
            (TroubleKind::Cut, format!("`{host}` ended the connection without an answer"))
        } else {
            (TroubleKind::NoAnswer, format!("no usable answer from `{host}`"))
        };
        Trouble::new(kind, message).caused_by(cause)
    }

    /// What TLS says, whatever it protects.
    pub fn of_tls(error: &rustls::Error, host: &str) -> Self {
        tls_failed(error, host)
    }

    /// What to do about a certificate, or about ciphers; the two settings by their names. Other kinds have no hint here.
    pub fn certificate_hint(&self, address: &str, ca_file: &str) -> Option<Text> {
        if let Some(remedy) = self.remedy {
            return Some(remedy.hint());
        }
        Some(match self.kind {
            TroubleKind::CertificateExpired | TroubleKind::CertificateNotYet => Text::new(
                "the certificate on the server must be renewed; if it is valid, this machine's clock is wrong",
                "le certificat du serveur doit être renouvelé ; s'il est valable, c'est l'horloge de cette machine qui est \
                 fausse",
            ),
            TroubleKind::CertificateName => text!(
                "use a name that the certificate has in `{address}`, or have the server's certificate extended"
                    / "utilisez dans `{address}` un nom que porte le certificat, ou faites étendre le certificat du serveur"
            ),
            TroubleKind::CertificateIssuer => text!(
                "if it is your own authority, name its certificate in `{ca_file}`; if it is a public one, the server may not send its intermediate certificate"
                    / "si c'est votre propre autorité, indiquez son certificat dans `{ca_file}` ; si elle est publique, le serveur n'envoie peut-être pas son certificat intermédiaire"
            ),
            TroubleKind::CertificateOfAuthority => text!(
                "have the server's certificate made again with `basicConstraints=CA:FALSE` (`openssl req -x509 -addext …`), and name it in `{ca_file}` if it signs itself"
                    / "faites refaire le certificat du serveur avec `basicConstraints=CA:FALSE` (`openssl req -x509 -addext …`), et indiquez-le dans `{ca_file}` s'il se signe lui-même"
            ),
            TroubleKind::CertificateRevoked | TroubleKind::Certificate => text!(
                "if the server uses an authority of your own, name its certificate in `{ca_file}`"
                    / "si le serveur utilise votre propre autorité, indiquez son certificat dans `{ca_file}`"
            ),
            _ => return None,
        })
    }
}

/// The layers of an error, outermost first. An [`io::Error`] hides the error it wraps from `source()`: looked for here.
fn layers<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut layers = Vec::new();
    let mut next = Some(error);
    while let Some(layer) = next {
        layers.push(layer);
        next = match layer.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => layer.source(),
        };
    }
    layers
}

/// The innermost text of an error: what really happened.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let cause = layers(error).last().map(|layer| layer.to_string()).unwrap_or_default();
    // rustls points programmers to its manual; that helps nobody who reads a log at night.
    match cause.split_once(": https://docs.rs/") {
        Some((cause, _)) => cause.to_owned(),
        None => cause,
    }
}

fn tls_failed(error: &rustls::Error, host: &str) -> Trouble {
    use AlertDescription as Alert;
    use rustls::Error as E;
    let (what, remedy) = match error {
        E::InvalidCertificate(certificate) => return certificate::refused(certificate, host),
        E::NoCertificatesPresented => ("shows no certificate", None),
        E::InvalidMessage(_) => ("answered with something that is not TLS", None),
        E::AlertReceived(Alert::CertificateRequired) => ("demands a client certificate", None),
        E::AlertReceived(
            Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate,
        ) => ("refused our client certificate", None),
        E::AlertReceived(Alert::UnrecognisedName) => ("does not know itself by that name", None),
        E::AlertReceived(Alert::HandshakeFailure | Alert::InsufficientSecurity)
        | E::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon,
        ) => ("has no cipher and key exchange in common with us", Some(Remedy::Ciphers)),
        E::AlertReceived(Alert::ProtocolVersion)
        | E::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            ("does not speak a TLS version that is still safe", Some(Remedy::Version12))
        }
        E::PeerIncompatible(_) => ("does not speak TLS in a way that is still safe", Some(Remedy::Ciphers)),
        _ => ("failed to agree with us on TLS", None),
    };
    let told = Trouble { remedy, ..Trouble::new(TroubleKind::Tls, format!("`{host}` {what}")) };
    match error {
        E::AlertReceived(alert) => {
            told.caused_by(format!("it sent the alert `{}`", certificate::words(&format!("{alert:?}"))))
        }
        E::PeerIncompatible(why) => told.caused_by(certificate::words(&format!("{why:?}"))),
        other => told.caused_by(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::CertificateError;
    use rustls::pki_types::UnixTime;

    use super::*;

    fn certificate(error: CertificateError) -> Trouble {
        // As it arrives: wrapped in an I/O error, which hides it from `source()`.
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(error));
        let layers = layers(&wrapped);
        tls_failed(layers.iter().find_map(|layer| layer.downcast_ref()).unwrap(), "h:8443")
    }

    #[test]
    fn a_bad_certificate_is_told_with_its_dates_and_names() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired =
            certificate(CertificateError::ExpiredContext { time: at(2_000_000_000), not_after: at(1_000_000_000) });
        assert_eq!(expired.message, "the certificate of `h:8443` expired on 2001-09-09 01:46 UTC");
        assert_eq!(expired.kind, TroubleKind::CertificateExpired);
        let name = certificate(CertificateError::NotValidForNameContext {
            expected: "h".try_into().unwrap(),
            presented: vec!["DnsName(\"a.example\")".into(), "IpAddress(127.0.0.1)".into()],
        });
        assert_eq!(
            name.message,
            "the certificate of `h:8443` is not valid for that name, but for `a.example`, `IpAddress(127.0.0.1)`"
        );
        let unknown = certificate(CertificateError::UnknownIssuer);
        assert!(unknown.certificate_hint("url", "my_ca").unwrap().fr.contains("`my_ca`"));
    }
}
