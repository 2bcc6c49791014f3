//! Turns what the HTTP client, TLS and the server's status say into a [`SourceError`].

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use url::Url;

use super::super::{SourceError, SourceErrorKind as Kind};
use super::content;
use crate::http::{Trouble, TroubleKind, authority, root_cause, shown};
use crate::text;
use crate::text::{Language, Text};
use crate::units::show_duration;

/// A request that brought no answer.
pub(super) fn no_answer(error: reqwest::Error, url: &Url, proxy: Option<&str>) -> SourceError {
    let trouble = Trouble::of(error, url, proxy);
    let (kind, summary) = match trouble.kind {
        TroubleKind::HostNotFound => (Kind::HostNotFound, Text::new("host not found", "hôte introuvable")),
        TroubleKind::Refused => (Kind::Refused, Text::new("connection refused", "connexion refusée")),
        TroubleKind::Late => (Kind::Stalled, Text::new("no connection in time", "pas de connexion à temps")),
        TroubleKind::NoConnection => (Kind::Unreachable, Text::new("no connection", "pas de connexion")),
        TroubleKind::Cut => (Kind::Cut, Text::new("connection cut", "connexion coupée")),
        TroubleKind::NoAnswer => (Kind::Unreachable, Text::new("no usable answer", "pas de réponse exploitable")),
        TroubleKind::Impossible => (Kind::Other, Text::new("request not possible", "requête impossible")),
        TroubleKind::Proxy | TroubleKind::ProxyDenied => (Kind::Proxy, Text::new("proxy failed", "échec du proxy")),
        TroubleKind::Tls | TroubleKind::TlsCut => (Kind::Tls, Text::new("TLS failed", "échec TLS")),
        TroubleKind::CertificateExpired => (Kind::Certificate, Text::new("certificate expired", "certificat expiré")),
        TroubleKind::CertificateNotYet => {
            (Kind::Certificate, Text::new("certificate not valid yet", "certificat pas encore valable"))
        }
        TroubleKind::CertificateName => {
            (Kind::Certificate, Text::new("certificate for another name", "certificat pour un autre nom"))
        }
        TroubleKind::CertificateIssuer => {
            (Kind::Certificate, Text::new("certificate not trusted", "certificat non reconnu"))
        }
        TroubleKind::CertificateRevoked => (Kind::Certificate, Text::new("certificate revoked", "certificat révoqué")),
        TroubleKind::CertificateOfAuthority => {
            (Kind::Certificate, Text::new("certificate of an authority", "certificat d'une autorité"))
        }
        TroubleKind::Certificate => (Kind::Certificate, Text::new("certificate refused", "certificat refusé")),
    };
    let hint = trouble.certificate_hint("source.url", "source.ca_file");
    let mut error = SourceError::new(kind, summary, trouble.message);
    if let Some(cause) = trouble.cause {
        error = error.caused_by(cause);
    }
    if let Some(hint) = hint {
        error = error.with_hint(hint);
    }
    match trouble.kind {
        TroubleKind::TlsCut => error.transient(true),
        TroubleKind::ProxyDenied => error.transient(false),
        _ => error,
    }
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

/// An answer whose status is not one of those we can use.
pub(super) fn bad_status(
    status: StatusCode,
    headers: &HeaderMap,
    url: &Url,
    credentials: bool,
    body: &[u8],
) -> SourceError {
    let reason = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    let kind = match status.as_u16() {
        202 => Kind::NotReady,
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        407 => Kind::Proxy,
        410 => Kind::Gone,
        429 => Kind::Throttled,
        408 | 500 | 502 | 503 | 504 => Kind::ServerError,
        _ => Kind::UnexpectedStatus,
    };
    let said = content::refusal_words(body, status.canonical_reason().unwrap_or("\0"));
    let said = said.map(|words| format!(": `{words}`")).unwrap_or_default();
    let message = format!("`{}` answered `{reason}`{said}", shown(url));
    let error = SourceError::new(kind, Text::new(reason.clone(), reason), message)
        .retry_after(crate::http::retry_after(headers));
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
    use super::*;
    use crate::error::Hinted as _;

    #[test]
    fn a_401_says_whether_credentials_are_missing_wrong_or_of_a_kind_we_do_not_speak() {
        let url = Url::parse("https://h/x.zip?token=secret").unwrap();
        let hint = |challenge: &'static str, credentials| {
            let headers = [(WWW_AUTHENTICATE, challenge.parse().unwrap())].into_iter().collect();
            bad_status(StatusCode::UNAUTHORIZED, &headers, &url, credentials, b"").hint().unwrap().en
        };
        assert!(hint("Basic realm=\"x\"", false).starts_with("no credentials are configured"));
        assert!(hint("Basic realm=\"x\"", true).contains("expired"));
        assert!(hint("Digest realm=\"x\"", true).starts_with("the server accepts `Digest` only"));
    }

    #[test]
    fn statuses_that_may_pass_are_transient_and_the_url_hides_its_query() {
        let url = Url::parse("https://h/x.zip?token=secret").unwrap();
        let error = |code| bad_status(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), &url, false, b"");
        for code in [202, 408, 429, 500, 502, 503, 504] {
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
