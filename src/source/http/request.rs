//! One request with its redirects. Followed by hand: only so is it certain that credentials, headers and the client
//! certificate never reach another origin, that https never becomes http, and that the log tells the way.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use percent_encoding::AsciiSet;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, LOCATION, RANGE,
};
use reqwest::{Response, StatusCode};
use url::Url;

use super::super::{SourceError, SourceErrorKind, Validators, shown};
use super::content::{self, PAGE_LEN};
use super::{Ended, HttpSource, classify, headers};
use crate::config::settings::HttpAuth;
use crate::stall::StallTimer;
use crate::text;
use crate::text::Text;

/// How long the body of a refusal is waited for.
const A_MOMENT: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// `Range`, for example `bytes=10-`.
    pub range: Option<String>,
    /// `If-Range`: a strong validator.
    pub if_range: Option<String>,
    /// `If-None-Match` and `If-Modified-Since`.
    pub previous: Option<Validators>,
}

/// What came, before its body.
pub(super) struct Answer {
    pub response: Response,
    /// Where it came from in the end.
    pub url: Url,
    pub redirects: u32,
    stall: StallTimer,
}

impl HttpSource {
    /// Sends a GET to `start` and follows redirects; any status that is none comes back.
    pub(super) async fn get(&self, start: &Url, ask: &Ask) -> Result<Answer, SourceError> {
        let mut url = start.clone();
        let mut seen = HashSet::from([url.clone()]);
        // That a server set on the way.
        let mut cookie = None;
        for redirects in 0..=self.settings.max_redirects {
            let response = self.send(&url, ask).await?;
            if !is_redirect(response.status()) {
                let stall = StallTimer::new(self.settings.stall_timeout);
                return Ok(Answer { response, url, redirects, stall });
            }
            let next = self.next_url(&url, &response)?;
            cookie = cookie.or_else(|| headers::cookie_name(response.headers()));
            if !seen.insert(next.clone()) {
                let error = redirect_error(
                    text!("redirect loop" / "boucle de redirections"),
                    format!("`{}` redirects to `{}` in a loop", shown(&url), shown(&next)),
                );
                return Err(match cookie {
                    Some(name) => error.with_hint(wants_cookie(&name)),
                    None => error,
                });
            }
            let anonymous = if self.is_own(&next) { "" } else { ", another host: without credentials" };
            tracing::info!("redirected to {}{anonymous}", shown(&next));
            url = next;
        }
        let most = self.settings.max_redirects;
        Err(redirect_error(
            text!("too many redirects" / "trop de redirections"),
            format!("`{}` redirects more than {most} times, at last to `{}`", shown(start), shown(&url)),
        ))
    }

    async fn send(&self, url: &Url, ask: &Ask) -> Result<Response, SourceError> {
        let own = self.is_own(url);
        let client = if own { &self.clients.own } else { &self.clients.foreign };
        let request = client.get(url.clone()).headers(self.headers(own, ask)?).send();
        // Connecting has its own limit inside the client; the sum bounds both, whichever is slow.
        let limit = self.settings.connect_timeout + self.settings.stall_timeout;
        let part = ask.range.as_deref().map(|range| format!(" ({range})")).unwrap_or_default();
        let response = match self.bounded(limit, request).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(classify::no_answer(error, url, self.clients.proxy.as_deref())),
            Err(Ended::Interrupted) => return Err(self.stopped()),
            Err(Ended::Stalled) => return Err(classify::stalled(url, limit, "no answer")),
        };
        let bytes = response.content_length().map(|len| format!(", {len} bytes")).unwrap_or_default();
        tracing::info!("GET {}{part}: {}{bytes}", shown(url), response.status());
        Ok(response)
    }

    /// The next piece of the body, `None` at its end; `received` and `total` are for the message.
    pub(super) async fn piece(
        &self,
        answer: &mut Answer,
        received: u64,
        total: Option<u64>,
    ) -> Result<Option<impl std::ops::Deref<Target = [u8]> + use<>>, SourceError> {
        match self.bounded(answer.stall.left(), answer.response.chunk()).await {
            Ok(Ok(bytes)) => {
                answer.stall.moved(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
                Ok(bytes)
            }
            Ok(Err(error)) => Err(classify::cut(error, &answer.url, received, total)),
            Err(Ended::Stalled) => Err(classify::stalled(&answer.url, self.settings.stall_timeout, "less than 4 KiB")),
            Err(Ended::Interrupted) => Err(self.stopped()),
        }
    }

    fn headers(&self, own: bool, ask: &Ask) -> Result<HeaderMap, SourceError> {
        let mut map = HeaderMap::new();
        map.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if own {
            for (name, value) in &self.settings.headers {
                let name = HeaderName::try_from(name.as_str()).map_err(|_| bad_header(name))?;
                map.insert(name.clone(), secret(value.expose()).ok_or_else(|| bad_header(name.as_str()))?);
            }
            if let Some(auth) = &self.settings.auth {
                let value = secret(&authorization(auth)).ok_or_else(|| bad_header("Authorization"))?;
                map.insert(AUTHORIZATION, value);
            }
        }
        // Ours come last: what is counted and joined must be the file's own bytes.
        map.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let previous = ask.previous.as_ref();
        let conditions = [
            (RANGE, ask.range.as_deref()),
            (IF_RANGE, ask.if_range.as_deref()),
            (IF_NONE_MATCH, previous.and_then(|previous| previous.etag.as_deref())),
            (IF_MODIFIED_SINCE, previous.and_then(|previous| previous.last_modified.as_deref())),
        ];
        for (name, value) in conditions {
            map.remove(&name);
            // A validator from an old state that is no header value any more is as good as none.
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                map.insert(name, value);
            }
        }
        Ok(map)
    }

    fn next_url(&self, url: &Url, response: &Response) -> Result<Url, SourceError> {
        let location = response.headers().get(LOCATION).map(|value| as_ascii(value.as_bytes()));
        let next = location.and_then(|location| url.join(&location).ok());
        let Some(mut next) = next else {
            return Err(redirect_error(
                text!("redirect to nowhere" / "redirection sans adresse"),
                format!("`{}` redirects without a usable address", shown(url)),
            ));
        };
        next.set_fragment(None);
        // Credentials that a server puts into its redirect would take the place of ours.
        let _ = next.set_username("");
        let _ = next.set_password(None);
        match next.scheme() {
            "https" => Ok(next),
            "http" if self.settings.allow_http => Ok(next),
            "http" => Err(redirect_error(
                text!("redirect to http" / "redirection vers http"),
                format!("`{}` redirects to plain http: `{}`", shown(url), shown(&next)),
            )
            .with_hint(Text::new(
                "have the server redirect to https; `source.allow_http = true` would send and receive in clear",
                "faites rediriger le serveur vers https ; `source.allow_http = true` ferait tout passer en clair",
            ))),
            _ => Err(redirect_error(
                text!("redirect to another protocol" / "redirection vers un autre protocole"),
                format!("`{}` redirects to `{}`", shown(url), shown(&next)),
            )),
        }
    }

    /// Whether `url` has the scheme, host and port of the configured one.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.settings.url.origin()
    }

    /// The error for an answer that is neither the file, nor a part of it, nor "unchanged"; with what its body says.
    pub(super) async fn bad_status(&self, mut answer: Answer) -> SourceError {
        let credentials = self.settings.auth.is_some() || !self.settings.headers.is_empty();
        let body = self.more_of_the_page(Vec::new(), &mut answer).await;
        let body = self.redacted(&body);
        classify::bad_status(answer.response.status(), answer.response.headers(), &answer.url, credentials, &body)
    }

    /// What may be quoted.
    fn redacted(&self, page: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(page);
        let redacted = self.redactor.redact(&text);
        // What is no text must keep its bytes: they tell what it is.
        if redacted == text { page.to_owned() } else { redacted.into() }
    }

    /// Refuses a part whose bytes are not the file's own.
    pub(super) fn refuse_encoded(&self, answer: &Answer) -> Result<(), SourceError> {
        match headers::coding(answer.response.headers()) {
            None => Ok(()),
            Some(coding) => Err(encoded(&coding, &answer.url)),
        }
    }

    /// The error for an answer that begins like this, and not like a zip.
    pub(super) fn not_a_zip(&self, answer: &Answer, head: &[u8]) -> SourceError {
        match headers::coding(answer.response.headers()) {
            Some(coding) if !head.is_empty() => encoded(&coding, &answer.url),
            _ => content::not_a_zip(&self.redacted(head), &shown(&answer.url)),
        }
    }

    /// Reads on, as far as it goes within a moment, for a message that quotes the page.
    pub(super) async fn more_of_the_page(&self, mut page: Vec<u8>, answer: &mut Answer) -> Vec<u8> {
        let reading = async {
            while page.len() < PAGE_LEN {
                match self.piece(answer, 0, None).await {
                    Ok(Some(bytes)) => page.extend_from_slice(&bytes),
                    _ => break,
                }
            }
        };
        // What came until then is enough.
        let _ = self.bounded(A_MOMENT, reading).await;
        page.truncate(PAGE_LEN);
        page
    }

    /// Refuses a zip that is larger than the configuration allows.
    pub(super) fn refuse_too_large(&self, url: &Url, size: u64) -> Result<(), SourceError> {
        let most = self.settings.max_download;
        if size <= most {
            return Ok(());
        }
        Err(SourceError::new(
            SourceErrorKind::TooLarge,
            text!("larger than max_download" / "plus gros que max_download"),
            format!("`{}` is larger than `max_download` allows: {size} bytes or more, {most} allowed", shown(url)),
        ))
    }
}

fn encoded(coding: &str, url: &Url) -> SourceError {
    SourceError::new(
        SourceErrorKind::Encoded,
        text!("sent with Content-Encoding" / "envoyé avec Content-Encoding"),
        format!("`{}` sent the zip with `Content-Encoding: {coding}`, although asked not to", shown(url)),
    )
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// An address as it has to be written (RFC 3986): many servers put the raw bytes of a file name into `Location`.
fn as_ascii(location: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(location) {
        // The parser of URLs knows where which characters have to be encoded.
        Ok(location) => Cow::Borrowed(location),
        Err(_) => percent_encoding::percent_encode(location, &AsciiSet::EMPTY).to_string().into(),
    }
}

fn wants_cookie(name: &str) -> Text {
    text!(
        "the server sets the cookie `{name}` and expects it back, but this program keeps none: take its value from a browser, and set `headers = {{ Cookie = \"{name}=…\" }}` under `[source]`; better, have the export served without a cookie"
            / "le serveur pose le cookie `{name}` et attend qu'on le lui rende, mais ce programme n'en garde pas : prenez sa valeur dans un navigateur et mettez `headers = {{ Cookie = \"{name}=…\" }}` dans `[source]` ; mieux, faites servir l'export sans cookie"
    )
}

fn redirect_error(summary: Text, message: String) -> SourceError {
    SourceError::new(SourceErrorKind::Redirect, summary, message)
}

pub(super) fn authorization(auth: &HttpAuth) -> String {
    use base64::Engine as _;
    match auth {
        HttpAuth::Basic { username, password } => {
            let pair = format!("{username}:{}", password.expose());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        HttpAuth::Bearer(token) => format!("Bearer {}", token.expose()),
    }
}

/// A header's value that no `Debug` shows.
fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn bad_header(name: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::Other,
        text!("header not possible" / "en-tête impossible"),
        format!("the header `{name}` cannot be sent: its name or value holds a forbidden character"),
    )
    .with_hint(Text::new(
        "look for a line break or a blank at the end of the value in `[source]`, often from a file",
        "cherchez un saut de ligne ou un blanc à la fin de la valeur dans `[source]`, souvent venu d'un fichier",
    ))
}
