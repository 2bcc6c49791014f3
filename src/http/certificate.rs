//! What is wrong with a certificate, in words; the same for every protocol that speaks TLS.

use chrono::DateTime;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use super::trouble::{Trouble, TroubleKind};
use crate::text::{MAX_NAME_CHARS, Text, quote};

/// What to do about TLS that failed, where more is known than its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The certificate is of X.509 version 1.
    Version3,
    /// The certificate is one for clients, for mail, for code.
    ServerPurpose,
    /// It is signed by a method that is too old or unknown here.
    Signature,
    /// It cannot be read, or contradicts itself.
    Again,
    /// One of the authorities in the chain is not one, or may not sign this.
    Chain,
    /// No cipher or key exchange in common.
    Ciphers,
    /// TLS 1.0 or 1.1 only.
    Version12,
}

impl Remedy {
    pub(super) fn hint(self) -> Text {
        match self {
            Self::Version3 => Text::new(
                "have the server's certificate made again as version 3: `openssl x509 -req` needs `-extfile` with a file that \
                 holds `subjectAltName = DNS:<name>` and `basicConstraints = CA:FALSE`",
                "faites refaire le certificat du serveur en version 3 : `openssl x509 -req` a besoin de `-extfile` et d'un \
                 fichier qui contient `subjectAltName = DNS:<nom>` et `basicConstraints = CA:FALSE`",
            ),
            Self::ServerPurpose => Text::new(
                "have the server's certificate made again for servers: `extendedKeyUsage = serverAuth`",
                "faites refaire le certificat du serveur pour un serveur : `extendedKeyUsage = serverAuth`",
            ),
            Self::Signature => Text::new(
                "have the certificate made again, signed with SHA-256 or newer, and an RSA key of 2048 bits or more or an EC key \
                 (P-256, P-384)",
                "faites refaire le certificat, signé en SHA-256 ou plus récent, avec une clé RSA de 2048 bits au moins ou une clé \
                 EC (P-256, P-384)",
            ),
            Self::Again => Text::new(
                "look at the certificate (`openssl s_client -connect <host>:<port> | openssl x509 -noout -text`), and have it made \
                 again",
                "regardez le certificat (`openssl s_client -connect <hôte>:<port> | openssl x509 -noout -text`), et faites-le \
                 refaire",
            ),
            Self::Chain => Text::new(
                "have the certificate signed by an authority that may sign it: the authority's own certificate needs \
                 `basicConstraints = CA:TRUE`, and no limit (path length, names) that excludes this server",
                "faites signer le certificat par une autorité qui en a le droit : le certificat de l'autorité doit contenir \
                 `basicConstraints = CA:TRUE`, sans limite (longueur du chemin, noms) qui exclue ce serveur",
            ),
            Self::Ciphers => Text::new(
                "the server must offer TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305: RSA key exchange, DHE and \
                 CBC ciphers are not accepted; some servers also answer this way when they want a client certificate",
                "le serveur doit proposer TLS 1.3, ou TLS 1.2 avec ECDHE et AES-GCM ou ChaCha20-Poly1305 : l'échange de clés RSA, \
                 DHE et les chiffrements CBC ne sont pas acceptés ; certains serveurs répondent aussi ainsi quand ils veulent un \
                 certificat client",
            ),
            Self::Version12 => Text::new(
                "the server must offer TLS 1.2 or 1.3: TLS 1.0 and 1.1 are not accepted (RFC 8996)",
                "le serveur doit proposer TLS 1.2 ou 1.3 : TLS 1.0 et 1.1 ne sont pas acceptés (RFC 8996)",
            ),
        }
    }
}

/// Why a certificate was refused.
pub(super) fn refused(error: &CertificateError, host: &str) -> Trouble {
    let trouble = |kind, what: String| Trouble::new(kind, format!("the certificate of `{host}` {what}"));
    match error {
        CertificateError::Expired => trouble(TroubleKind::CertificateExpired, "expired".to_owned()),
        CertificateError::ExpiredContext { not_after, .. } => {
            trouble(TroubleKind::CertificateExpired, format!("expired on {}", day(*not_after)))
        }
        CertificateError::NotValidYet => trouble(TroubleKind::CertificateNotYet, "is not valid yet".to_owned()),
        CertificateError::NotValidYetContext { not_before, .. } => {
            trouble(TroubleKind::CertificateNotYet, format!("is not valid before {}", day(*not_before)))
        }
        CertificateError::NotValidForName => {
            trouble(TroubleKind::CertificateName, "is not valid for that name".to_owned())
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().take(8).map(|name| plain(name)).collect::<Vec<_>>().join(", ");
            let names = match presented.is_empty() {
                true => ": it holds no name in `subjectAltName`, and a name in `CN` alone does not count".to_owned(),
                false => format!(", but for {names}"),
            };
            trouble(TroubleKind::CertificateName, format!("is not valid for that name{names}"))
        }
        CertificateError::UnknownIssuer => trouble(
            TroubleKind::CertificateIssuer,
            "comes from an authority that this machine does not trust".to_owned(),
        ),
        CertificateError::Revoked => trouble(TroubleKind::CertificateRevoked, "was revoked".to_owned()),
        other => {
            let (kind, what, remedy) = fault(other);
            Trouble { remedy, ..trouble(kind, what) }
        }
    }
}

/// The rarer faults. webpki keeps its own errors to itself: their names are all there is.
fn fault(error: &CertificateError) -> (TroubleKind, String, Option<Remedy>) {
    use CertificateError as E;
    let kind = TroubleKind::Certificate;
    #[allow(deprecated, reason = "it may still come")]
    let (what, remedy) = match error {
        E::BadEncoding => ("cannot be read: it is damaged or no X.509 certificate", Remedy::Again),
        E::BadSignature => ("does not have the signature of the authority that it names", Remedy::Again),
        E::UnhandledCriticalExtension => ("demands something unknown here (a critical extension)", Remedy::Again),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => ("is not one for servers", Remedy::ServerPurpose),
        E::UnsupportedSignatureAlgorithm
        | E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            ("is signed by a method that is not accepted (SHA-1?)", Remedy::Signature)
        }
        E::Other(other) => match &*other.to_string() {
            // What `openssl req -x509` makes unless told otherwise.
            name if name.contains("CaUsedAsEndEntity") => {
                let what = "is that of an authority (CA:TRUE), which no server may show as its own";
                return (TroubleKind::CertificateOfAuthority, what.to_owned(), None);
            }
            // rustls-platform-verifier's words for a purpose that is missing.
            name if name.contains("invalid extensions") => ("is not one for servers", Remedy::ServerPurpose),
            // What `openssl x509 -req` makes without a file of extensions.
            name if name.contains("UnsupportedCertVersion") => {
                ("is of X.509 version 1, which is not accepted", Remedy::Version3)
            }
            name if ["EndEntityUsedAsCa", "PathLenConstraintViolated", "NameConstraintViolation"]
                .iter()
                .any(|known| name.contains(known)) =>
            {
                ("was signed by something that may not sign it", Remedy::Chain)
            }
            name if name.contains("SignatureAlgorithm") => {
                ("is signed by a method that is not accepted", Remedy::Signature)
            }
            name => return (kind, format!("cannot be trusted: {}", words(name)), Some(Remedy::Again)),
        },
        other => return (kind, format!("cannot be trusted: {}", words(&other.to_string())), None),
    };
    (kind, what.to_owned(), Some(remedy))
}

/// `Other(OtherError(MalformedExtensions))` as `malformed extensions`: the innermost name, in words.
pub(super) fn words(debug: &str) -> String {
    let name = debug.trim_end_matches(')').rsplit('(').next().unwrap_or(debug);
    if name.contains(' ') || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        return quote(debug, MAX_NAME_CHARS);
    }
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    DateTime::from_timestamp(seconds, 0).map(|time| time.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default()
}

/// `DnsName("example.org")` as webpki shows it, without its wrapping.
fn plain(name: &str) -> String {
    let name = match name.split_once('"').and_then(|(_, rest)| rest.split_once('"')) {
        Some((name, _)) => name,
        None => name,
    };
    format!("`{}`", quote(name, MAX_NAME_CHARS))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[derive(Debug)]
    struct Named(&'static str);

    impl std::fmt::Display for Named {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Named {}

    #[test]
    fn what_webpki_keeps_to_itself_is_told_in_words() {
        let of = |name| refused(&CertificateError::Other(OtherError(Arc::new(Named(name)))), "h:465");
        let old = of("UnsupportedCertVersion");
        assert_eq!(old.message, "the certificate of `h:465` is of X.509 version 1, which is not accepted");
        assert!(old.certificate_hint("host", "ca_file").unwrap().en.contains("-extfile"));
        let odd = of("MalformedNameConstraint");
        assert_eq!(odd.message, "the certificate of `h:465` cannot be trusted: malformed name constraint");
        assert!(!odd.certificate_hint("host", "ca_file").unwrap().en.contains("ca_file"));
        for error in [
            CertificateError::InvalidPurpose,
            CertificateError::BadEncoding,
            CertificateError::BadSignature,
            CertificateError::ApplicationVerificationFailure,
            CertificateError::InvalidOcspResponse,
        ] {
            let told = refused(&error, "h");
            assert!(!told.message.contains(['(', '{']) || told.message.contains("(a "), "{}", told.message);
            assert!(told.cause.is_none() && told.certificate_hint("host", "ca_file").is_some());
        }
    }
}
