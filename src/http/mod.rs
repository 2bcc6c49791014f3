//! What the source and the destinations that speak HTTP share: how a client is built, how it waits, and what its errors mean.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, redirect};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::interrupt::Interrupt;

mod certificate;
mod pem;
#[cfg(test)]
pub(crate) mod responder;
mod trouble;

pub(crate) use pem::certificates;
pub(crate) use trouble::{Trouble, TroubleKind, root_cause};

/// A server that wants us to wait longer than this is asked again after this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// How often a wait asks whether it should end.
const POLL: Duration = Duration::from_millis(200);

/// Why a wait ended before what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Stalled,
    Interrupted,
}

/// Waits for `future`, but no longer than `limit`, and not beyond an interruption.
pub(crate) async fn bounded<T>(
    interrupt: &Interrupt,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Ended> {
    let mut future = pin!(future);
    let deadline = Instant::now() + limit;
    loop {
        interrupt.check().map_err(|_| Ended::Interrupted)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if let Ok(value) = timeout(left.min(POLL), future.as_mut()).await {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(Ended::Stalled);
        }
    }
}

/// A client that follows no redirect, repeats nothing by itself, and trusts the system's authorities.
pub(crate) fn client_builder(connect_timeout: Duration) -> ClientBuilder {
    // `main` does the same first thing; whoever comes second finds it done, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("archive/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        // Retries are ours: reqwest's own would hide attempts from the log.
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(connect_timeout)
        // `Content-Length : 123`, headers that are folded, lines that are no headers: some scripts and old servers send them, and
        // curl, wget and browsers take them (hyperium/hyper#3905, #2083).
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .pool_max_idle_per_host(1)
}

/// The authorities in a PEM file; `key` is the setting that names it.
///
/// # Errors
/// A file that cannot be read, or that holds no certificate.
pub(crate) fn authorities(file: &Path, key: &str) -> anyhow::Result<Vec<Certificate>> {
    let certificates = certificates(file, key)?;
    let certificates: Result<Vec<_>, _> = certificates.iter().map(|der| Certificate::from_der(der)).collect();
    certificates.map_err(|error| anyhow!(root_cause(&error)))
}

/// The server's clock.
pub(crate) fn server_date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let date = headers.get(DATE)?.to_str().ok()?;
    httpdate::parse_http_date(date.trim()).ok().map(DateTime::from)
}

/// `Retry-After`, seconds or a date (RFC 9110 §10.2.3), at most ten minutes; a date is compared with the server's own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Duration::from_secs(value.parse().ok()?),
        false => {
            let now = server_date(headers).unwrap_or_else(Utc::now);
            let then = DateTime::<Utc>::from(httpdate::parse_http_date(value).ok()?);
            (then - now).to_std().unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// A URL as logs may show it: no credentials, no fragment, and `?…` for a query, which may hold a token.
pub fn shown(url: &Url) -> String {
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}://{}{}{query}", url.scheme(), authority(url), url.path())
}

/// `host`, or `host:port` where the port is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_holds_neither_credentials_nor_query_nor_fragment() {
        let url = Url::parse("https://me:secret@example.org:8443/a/b.zip?token=secret#secret").unwrap();
        assert_eq!(shown(&url), "https://example.org:8443/a/b.zip?…");
        assert_eq!(shown(&Url::parse("https://[::1]/x").unwrap()), "https://[::1]/x");
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_and_is_limited() {
        let of = |value: &str| {
            let pairs = [(RETRY_AFTER, value), (DATE, "Fri, 20 Nov 2026 02:00:00 GMT")];
            let headers = pairs.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect();
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(of("0"), Some(0));
        assert_eq!(of("120"), Some(120));
        assert_eq!(of("86400"), Some(600));
        assert_eq!(of("Fri, 20 Nov 2026 02:00:30 GMT"), Some(30));
        assert_eq!(of("Fri, 20 Nov 2026 01:00:00 GMT"), Some(0));
        for none in ["soon", "", "-5", "99999999999999999999"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
