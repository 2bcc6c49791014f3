//! Reads the headers that decide whether bytes belong together: validators, `Content-Range`, codings.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, SET_COOKIE};

use super::super::Validators;

/// `Content-Range: bytes first-last/total` (RFC 9110 §14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub first: u64,
    pub last: u64,
    pub total: u64,
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|value| !value.is_empty())
}

/// What the answer lets us recognise the file by.
pub(super) fn validators(headers: &HeaderMap) -> Validators {
    Validators {
        etag: text(headers, ETAG).map(str::to_owned),
        last_modified: text(headers, LAST_MODIFIED).map(str::to_owned),
    }
}

/// The validator that two parts may be joined by, for `If-Range`: a strong `ETag`; without any `ETag`, a `Last-Modified`
/// that was at least a second old, for a younger one might stand for two versions (RFC 9110 §8.8.2.2 and §13.1.5).
pub(super) fn strong_validator(headers: &HeaderMap) -> Option<String> {
    if let Some(etag) = text(headers, ETAG) {
        return is_strong_etag(etag).then(|| etag.to_owned());
    }
    let modified = text(headers, LAST_MODIFIED)?;
    let age = date(headers)?.duration_since(httpdate::parse_http_date(modified).ok()?).ok()?;
    (age >= Duration::from_secs(1)).then(|| modified.to_owned())
}

fn is_strong_etag(etag: &str) -> bool {
    etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"')
}

/// Whether a part is of the version of `validator`, as [`strong_validator`] gave it. A server that ignores `If-Range` but not
/// `Range` would otherwise mix two versions. A part must repeat the `ETag`, but not `Last-Modified` (RFC 9110 §15.3.7).
pub(super) fn is_of_version(headers: &HeaderMap, validator: &str) -> bool {
    if validator.starts_with('"') {
        return text(headers, ETAG) == Some(validator);
    }
    text(headers, LAST_MODIFIED).is_none_or(|modified| modified == validator)
}

/// `Content-Range`, if it is there and makes sense.
pub(super) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (range, total) = text(headers, CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = ContentRange { first: number(first)?, last: number(last)?, total: number(total)? };
    (range.first <= range.last && range.last < range.total).then_some(range)
}

/// `u64::from_str` would take `+5`.
fn number(text: &str) -> Option<u64> {
    text.trim().bytes().all(|byte| byte.is_ascii_digit()).then(|| text.trim().parse().ok())?
}

/// The codings that there are (IANA, HTTP Content Coding Registry). Anything else (`none`, `utf-8`, `binary`, `zip`) says
/// nothing about the bytes; curl and browsers take them as they are, too.
const CODINGS: [&str; 11] =
    ["aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "x-gzip", "zstd"];

/// The coding that the bytes are said to be wrapped in.
pub(super) fn coding(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, CONTENT_ENCODING)?.to_ascii_lowercase();
    value.split(',').map(str::trim).find(|coding| CODINGS.contains(coding)).map(str::to_owned)
}

/// The name of a cookie that the answer sets (RFC 6265 §4.1.1), never its value.
pub(super) fn cookie_name(headers: &HeaderMap) -> Option<String> {
    let name = text(headers, SET_COOKIE)?.split(['=', ';']).next()?.trim();
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_|~".contains(c);
    (!name.is_empty() && name.len() <= 80 && name.chars().all(is_token)).then(|| name.to_owned())
}

fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, DATE)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_a_strong_validator_may_join_two_parts() {
        let of = |pairs: &[(&'static str, &str)]| strong_validator(&headers(pairs));
        let modified = ("last-modified", "Fri, 20 Nov 2026 02:00:00 GMT");
        let later = ("date", "Fri, 20 Nov 2026 02:00:01 GMT");
        assert_eq!(of(&[("etag", "\"a\""), modified]).as_deref(), Some("\"a\""));
        assert_eq!(of(&[("etag", "W/\"a\""), modified, later]), None);
        assert_eq!(of(&[("etag", "a"), modified, later]), None);
        assert_eq!(of(&[modified, later]).as_deref(), Some("Fri, 20 Nov 2026 02:00:00 GMT"));
        assert_eq!(of(&[modified, ("date", modified.1)]), None);
        assert_eq!(of(&[modified]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_content_range_that_makes_no_sense_is_none() {
        let of = |value| content_range(&headers(&[("content-range", value)]));
        assert_eq!(of("bytes 10-19/20"), Some(ContentRange { first: 10, last: 19, total: 20 }));
        for bad in
            ["bytes 10-19/*", "bytes */20", "bytes 10-20/20", "bytes 12-11/20", "items 1-2/3", "bytes +1-2/3", "-"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_part_of_another_version_is_noticed_although_the_server_ignored_if_range() {
        assert!(!is_of_version(&headers(&[("etag", "\"b\"")]), "\"a\""));
        assert!(is_of_version(&headers(&[("etag", "\"a\"")]), "\"a\""));
        assert!(!is_of_version(&headers(&[]), "\"a\""));
        let date = "Fri, 20 Nov 2026 02:00:00 GMT";
        assert!(is_of_version(&headers(&[("etag", "\"new\""), ("last-modified", date)]), date));
        assert!(is_of_version(&headers(&[]), date));
        assert!(!is_of_version(&headers(&[("last-modified", "Fri, 20 Nov 2026 02:00:07 GMT")]), date));
    }

    #[test]
    fn only_a_registered_coding_is_one() {
        for none in ["Identity", "none", "None", "zip", "utf-8", "binary", "identity, identity", ""] {
            assert_eq!(coding(&headers(&[("content-encoding", none)])), None, "{none}");
        }
        assert_eq!(coding(&headers(&[])), None);
        assert_eq!(coding(&headers(&[("content-encoding", "GZip")])).as_deref(), Some("gzip"));
        assert_eq!(coding(&headers(&[("content-encoding", "identity, br")])).as_deref(), Some("br"));
    }
}
