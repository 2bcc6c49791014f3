//! Requests as signed URLs (AWS Signature Version 4, by `rusty-s3`). Such a URL lets whoever has it do what it says for an hour:
//! it must not be seen in any error or log.

use jiff::Timestamp;
use rusty_s3::signing::sign;
use rusty_s3::{Bucket, BucketError, Method, UrlStyle};
use url::Url;

use crate::config::settings::{S3Credentials, S3Settings};

/// For how long a request may be begun. Generous: a clock that is behind by more is refused as expired.
const VALID_SECONDS: u64 = 3600;

/// One request, still without its body.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// `None`: it is about the bucket.
    key: Option<String>,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
}

impl Request {
    /// About the bucket.
    pub(super) fn bucket(method: Method) -> Self {
        Request { method, key: None, query: Vec::new(), headers: Vec::new() }
    }

    /// About one object.
    pub(super) fn object(method: Method, key: impl Into<String>) -> Self {
        Request { method, key: Some(key.into()), query: Vec::new(), headers: Vec::new() }
    }

    /// With a parameter.
    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// With a header, in small letters; it is signed.
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// What must be sent beside the URL.
    pub(super) fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }
}

/// Signs for one bucket.
pub(super) struct Signer {
    bucket: Bucket,
    credentials: S3Credentials,
}

impl Signer {
    pub(super) fn new(settings: &S3Settings) -> Result<Self, BucketError> {
        let style = if settings.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let (bucket, region) = (settings.bucket.clone(), settings.region.clone());
        let bucket = Bucket::new(settings.endpoint.clone(), style, bucket, region)?;
        Ok(Signer { bucket, credentials: settings.credentials.clone() })
    }

    /// The bucket's own URL, which is no secret.
    pub(super) fn base_url(&self) -> &Url {
        self.bucket.base_url()
    }

    pub(super) fn sign(&self, request: &Request) -> Url {
        self.sign_at(request, &Timestamp::now(), VALID_SECONDS)
    }

    fn sign_at(&self, request: &Request, now: &Timestamp, valid_seconds: u64) -> Url {
        let url = match &request.key {
            Some(key) => self.bucket.object_url(key),
            None => self.bucket.base_url().clone(),
        };
        // The signature wants both in order.
        let mut query: Vec<(&str, &str)> = request.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        query.sort_unstable();
        headers.sort_unstable();
        sign(
            now,
            request.method,
            url,
            &self.credentials.access_key_id,
            self.credentials.secret_access_key.expose(),
            self.credentials.session_token.as_ref().map(|token| token.expose()),
            self.bucket.region(),
            valid_seconds,
            query.iter().copied(),
            headers.iter().copied(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    fn signer(endpoint: &str, path_style: bool, token: Option<&str>) -> Signer {
        let settings = S3Settings {
            bucket: "examplebucket".to_owned(),
            prefix: String::new(),
            endpoint: endpoint.parse().unwrap(),
            region: "us-east-1".to_owned(),
            credentials: S3Credentials {
                access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
                secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
                session_token: token.map(Secret::new),
            },
            path_style,
            storage_class: None,
            encryption: None,
            ca_file: None,
        };
        Signer::new(&settings).unwrap()
    }

    fn signed(signer: &Signer, request: &Request) -> String {
        signer.sign_at(request, &Timestamp::from_second(1_369_353_600).unwrap(), 86_400).to_string()
    }

    #[test]
    fn the_bucket_stands_in_the_host_or_in_the_path() {
        let get = Request::object(Method::Get, "a b/été%+.tgz");
        let url = signed(&signer("https://s3.amazonaws.com", false, None), &get);
        assert!(url.starts_with("https://examplebucket.s3.amazonaws.com/a%20b/%C3%A9t%C3%A9%25%2B.tgz?"), "{url}");
        let url = signed(&signer("https://[::1]:9000/below", true, None), &get);
        assert!(url.starts_with("https://[::1]:9000/below/examplebucket/a%20b/"), "{url}");
        let url = signed(&signer("https://s3.amazonaws.com", false, None), &Request::object(Method::Get, "test.txt"));
        // The example in Amazon's description of query parameters in signature version 4.
        assert!(url.ends_with("aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"), "{url}");
    }

    #[test]
    fn the_order_of_parameters_and_headers_does_not_count_and_all_are_signed() {
        let signer = signer("https://s3.amazonaws.com", false, Some("token+/="));
        let put = || Request::object(Method::Put, "x").query("uploadId", "1");
        let one = put().query("partNumber", "2").header("x-amz-a", "1").header("if-none-match", "*");
        let other = Request::object(Method::Put, "x").query("partNumber", "2").query("uploadId", "1");
        let other = other.header("if-none-match", "*").header("x-amz-a", "1");
        let url = signed(&signer, &one);
        assert_eq!(url, signed(&signer, &other));
        assert!(url.contains("X-Amz-SignedHeaders=host%3Bif-none-match%3Bx-amz-a&partNumber=2&uploadId=1&"), "{url}");
        assert!(url.contains("X-Amz-Security-Token=token%2B%2F%3D&"), "{url}");
        assert_ne!(url, signed(&signer, &put().query("partNumber", "3")));
    }
}
