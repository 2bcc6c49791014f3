//! Turns what the HTTP client, TLS and the server's status say into a [`SourceError`]; the only place that knows their errors.

use std::error::Error;
use std::io;

use chrono::DateTime;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};
use url::Url;

use super::super::{SourceError, SourceErrorKind as Kind, authority, shown};
use super::headers;
use crate::text;
use crate::text::{Language, Text};
use crate::units::show_duration;

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
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let cause = layers(error).last().map(|layer| layer.to_string()).unwrap_or_default();
    // rustls points programmers to its manual; that helps nobody who reads a log at night.
    match cause.split_once(": https://docs.rs/") {
        Some((cause, _)) => cause.to_owned(),
        None => cause,
    }
}

/// A request that brought no answer.
pub(super) fn no_answer(error: reqwest::Error, url: &Url, proxy: Option<&str>) -> SourceError {
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
        return SourceError::new(Kind::Tls, Text::new("TLS failed", "échec TLS"), message).transient(true);
    }
    if begins("tunnel error") || begins("SOCKS error") {
        let denied = cause.contains("authorization required") || cause.contains("authentication");
        return proxy_failed(proxy, &host, cause).transient(!denied);
    }
    if let (Some(_), true) = (proxy, error.is_connect()) {
        return proxy_failed(proxy, &host, cause);
    }
    let (kind, summary, message) = if error.is_timeout() || io_kind(io::ErrorKind::TimedOut) {
        (
            Kind::Stalled,
            Text::new("no connection in time", "pas de connexion à temps"),
            format!("`{host}` did not accept the connection in time"),
        )
    } else if begins("dns error") {
        (
            Kind::HostNotFound,
            Text::new("host not found", "hôte introuvable"),
            format!("the host `{}` was not found", url.host_str().unwrap_or_default()),
        )
    } else if io_kind(io::ErrorKind::ConnectionRefused) {
        (
            Kind::Refused,
            Text::new("connection refused", "connexion refusée"),
            format!("`{host}` refused the connection"),
        )
    } else if error.is_builder() {
        (
            Kind::Other,
            Text::new("request not possible", "requête impossible"),
            format!("the request to `{host}` could not be made"),
        )
    } else if error.is_connect() {
        (Kind::Unreachable, Text::new("no connection", "pas de connexion"), format!("no connection to `{host}`"))
    } else if [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof]
        .map(io_kind)
        .contains(&true)
        || cause.contains("closed before message completed")
    {
        (
            Kind::Cut,
            Text::new("connection cut", "connexion coupée"),
            format!("`{host}` ended the connection without an answer"),
        )
    } else {
        (
            Kind::Unreachable,
            Text::new("no usable answer", "pas de réponse exploitable"),
            format!("no usable answer from `{host}`"),
        )
    };
    SourceError::new(kind, summary, message).caused_by(cause)
}

/// The body stopped before its end. That is worth a retry whatever the reason was.
pub(super) fn cut(error: reqwest::Error, url: &Url, received: u64, total: Option<u64>) -> SourceError {
    let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
    SourceError::new(
        Kind::Cut,
        Text::new("connection cut", "connexion coupée"),
        format!("the connection to `{}` was cut after {received}{of} bytes", authority(url)),
    )
    .caused_by(root_cause(&error.without_url()))
}

fn proxy_failed(proxy: Option<&str>, host: &str, cause: String) -> SourceError {
    let proxy = proxy.map(|proxy| format!(" `{proxy}`")).unwrap_or_default();
    SourceError::new(
        Kind::Proxy,
        Text::new("proxy failed", "échec du proxy"),
        format!("the proxy{proxy} gave no connection to `{host}`"),
    )
    .caused_by(cause)
}

fn tls_failed(error: &rustls::Error, host: &str) -> SourceError {
    if let rustls::Error::InvalidCertificate(certificate) = error {
        return certificate_refused(certificate, host);
    }
    let what = match error {
        rustls::Error::InvalidMessage(_) => "answered with something that is not TLS",
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => "demands a client certificate",
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate,
        ) => "refused our client certificate",
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) | rustls::Error::PeerIncompatible(_) => {
            "does not speak a TLS version or cipher that is still safe"
        }
        _ => "failed to agree with us on TLS",
    };
    SourceError::new(Kind::Tls, Text::new("TLS failed", "échec TLS"), format!("`{host}` {what}"))
        .caused_by(error.to_string())
}

fn certificate_refused(error: &CertificateError, host: &str) -> SourceError {
    let day = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        DateTime::from_timestamp(seconds, 0)
            .map(|time| time.format("%Y-%m-%d %H:%M UTC").to_string())
            .unwrap_or_default()
    };
    let refused = |summary: Text, message: String| SourceError::new(Kind::Certificate, summary, message);
    let clock = Text::new(
        "the certificate on the server must be renewed; if it is valid, this machine's clock is wrong",
        "le certificat du serveur doit être renouvelé ; s'il est valable, c'est l'horloge de cette machine qui est fausse",
    );
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let since = match error {
                CertificateError::ExpiredContext { not_after, .. } => format!(" on {}", day(*not_after)),
                _ => String::new(),
            };
            refused(
                Text::new("certificate expired", "certificat expiré"),
                format!("the certificate of `{host}` expired{since}"),
            )
            .with_hint(clock)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let until = match error {
                CertificateError::NotValidYetContext { not_before, .. } => format!(" before {}", day(*not_before)),
                _ => " yet".to_owned(),
            };
            refused(
                Text::new("certificate not valid yet", "certificat pas encore valable"),
                format!("the certificate of `{host}` is not valid{until}"),
            )
            .with_hint(clock)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = match error {
                CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                    format!(", but for {}", presented.iter().take(8).map(|name| plain(name)).collect::<Vec<_>>().join(", "))
                }
                _ => String::new(),
            };
            refused(
                Text::new("certificate for another name", "certificat pour un autre nom"),
                format!("the certificate of `{host}` is not valid for that name{names}"),
            )
            .with_hint(Text::new(
                "use a name that the certificate has in `source.url`, or have the server's certificate extended",
                "utilisez dans `source.url` un nom que porte le certificat, ou faites étendre le certificat du serveur",
            ))
        }
        CertificateError::UnknownIssuer => refused(
            Text::new("certificate not trusted", "certificat non reconnu"),
            format!("the certificate of `{host}` comes from an authority that this machine does not trust"),
        )
        .with_hint(Text::new(
            "if it is your own authority, name its certificate in `source.ca_file`; if it is a public one, the server may \
             not send its intermediate certificate",
            "si c'est votre propre autorité, indiquez son certificat dans `source.ca_file` ; si elle est publique, le \
             serveur n'envoie peut-être pas son certificat intermédiaire",
        )),
        CertificateError::Revoked => refused(
            Text::new("certificate revoked", "certificat révoqué"),
            format!("the certificate of `{host}` was revoked"),
        ),
        other => refused(
            Text::new("certificate refused", "certificat refusé"),
            format!("the certificate of `{host}` cannot be trusted"),
        )
        .caused_by(other.to_string()),
    }
}

/// `DnsName("example.org")` as webpki shows it, without its wrapping.
fn plain(name: &str) -> String {
    match name.split_once('"').and_then(|(_, rest)| rest.split_once('"')) {
        Some((name, _)) => format!("`{name}`"),
        None => format!("`{name}`"),
    }
}

/// An answer whose status is not one of those we can use.
pub(super) fn bad_status(status: StatusCode, headers: &HeaderMap, url: &Url, credentials: bool) -> SourceError {
    let reason = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    let kind = match status.as_u16() {
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        407 => Kind::Proxy,
        410 => Kind::Gone,
        429 => Kind::Throttled,
        408 | 500 | 502 | 503 | 504 => Kind::ServerError,
        _ => Kind::UnexpectedStatus,
    };
    let message = format!("`{}` answered `{reason}`", shown(url));
    let error =
        SourceError::new(kind, Text::new(reason.clone(), reason), message).retry_after(headers::retry_after(headers));
    match kind {
        Kind::Proxy => error.transient(false),
        Kind::Unauthorized => unauthorized(error, headers, credentials),
        _ => error,
    }
}

fn unauthorized(error: SourceError, headers: &HeaderMap, credentials: bool) -> SourceError {
    // The scheme only; what follows it is the server's business.
    let schemes: Vec<String> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok()?.split([' ', ',']).next().map(str::to_owned))
        .filter(|scheme| !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        .collect();
    let list = schemes.join(", ");
    let usable = schemes.iter().any(|s| s.eq_ignore_ascii_case("basic") || s.eq_ignore_ascii_case("bearer"));
    if !schemes.is_empty() && !usable {
        return error.with_hint(text!(
            "the server accepts `{list}` only; this program can send Basic and Bearer: have one of them allowed for this account" /
            "le serveur n'accepte que `{list}` ; ce programme sait envoyer Basic et Bearer : faites-en autoriser un pour ce compte"
        ));
    }
    if credentials {
        return error;
    }
    error.with_hint(Text::new(
        "no credentials are configured: set `source.username` and `source.password`, or `source.bearer_token`",
        "aucun identifiant n'est configuré : renseignez `source.username` et `source.password`, ou `source.bearer_token`",
    ))
}

/// Nothing moved for too long.
pub(super) fn stalled(url: &Url, limit: std::time::Duration, what: &str) -> SourceError {
    SourceError::new(
        Kind::Stalled,
        Text::new("server stalled", "serveur bloqué"),
        format!("`{}` sent {what} for {}", authority(url), show_duration(limit, Language::En)),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Hinted as _;

    fn certificate(error: CertificateError) -> SourceError {
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
        assert_eq!(expired.to_string(), "the certificate of `h:8443` expired on 2001-09-09 01:46 UTC");
        assert_eq!(expired.summary().en, "certificate expired");
        assert!(!expired.is_transient());
        let name = certificate(CertificateError::NotValidForNameContext {
            expected: "h".try_into().unwrap(),
            presented: vec!["DnsName(\"a.example\")".into(), "IpAddress(127.0.0.1)".into()],
        });
        assert_eq!(
            name.to_string(),
            "the certificate of `h:8443` is not valid for that name, but for `a.example`, `IpAddress(127.0.0.1)`"
        );
        let unknown = certificate(CertificateError::UnknownIssuer);
        assert!(unknown.hint().unwrap().fr.contains("ca_file"));
    }

    #[test]
    fn a_401_says_whether_credentials_are_missing_wrong_or_of_a_kind_we_do_not_speak() {
        let url = Url::parse("https://h/x.zip?token=secret").unwrap();
        let hint = |challenge: &'static str, credentials| {
            let headers = [(WWW_AUTHENTICATE, challenge.parse().unwrap())].into_iter().collect();
            bad_status(StatusCode::UNAUTHORIZED, &headers, &url, credentials).hint().unwrap().en
        };
        assert!(hint("Basic realm=\"x\"", false).starts_with("no credentials are configured"));
        assert!(hint("Basic realm=\"x\"", true).contains("expired"));
        assert!(hint("Digest realm=\"x\"", true).starts_with("the server accepts `Digest` only"));
    }

    #[test]
    fn statuses_that_may_pass_are_transient_and_the_url_hides_its_query() {
        let url = Url::parse("https://h/x.zip?token=secret").unwrap();
        let error = |code| bad_status(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), &url, false);
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(error(code).is_transient(), "{code}");
        }
        for code in [400, 401, 403, 404, 407, 410, 416, 501, 505] {
            assert!(!error(code).is_transient(), "{code}");
        }
        assert_eq!(error(404).to_string(), "`https://h/x.zip?…` answered `404 Not Found`");
        assert_eq!(error(404).summary().en, "404 Not Found");
        assert_eq!(error(599).summary().en, "599");
    }
}
