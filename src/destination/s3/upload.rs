//! Sends objects: small ones by one PUT, others in parts (`parts`), which the server joins once all of them are there.
//!
//! Each body goes with its SHA-256, which the server compares with what it received; hence a part is read twice. Nothing is
//! held in memory but the piece that is being sent.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rusty_s3::Method;
use sha2::{Digest as _, Sha256};

use super::parts::{LEAST_PART, strange};
use super::refusal::Refusal;
use super::sign::Request;
use super::{S3Destination, judged, prepared};
use crate::config::settings::S3Encryption;
use crate::destination::feed::{Feed, FileSource};
use crate::destination::{DestinationError, ErrorKind, Source};

/// Headers that not every server understands; assumed until one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    /// `If-None-Match: *` on a PUT (Amazon since 2024, MinIO, Ceph, R2 …).
    pub(super) conditions: bool,
    /// `x-amz-checksum-sha256` (Amazon since 2022).
    pub(super) checksums: bool,
}

impl Default for Headers {
    fn default() -> Self {
        Headers { conditions: true, checksums: true }
    }
}

impl Headers {
    /// What to try in turn: the server does not say which of them it minds.
    fn fewer(self) -> Vec<Headers> {
        let all = [(true, true), (true, false), (false, true), (false, false)];
        let all = all.map(|(conditions, checksums)| Headers { conditions, checksums });
        let within = |tried: &Headers| tried.conditions <= self.conditions && tried.checksums <= self.checksums;
        all.into_iter().filter(within).collect()
    }
}

/// What is being uploaded, for the requests about it.
pub(super) struct Upload<'a> {
    pub(super) name: &'a str,
    pub(super) key: String,
    /// The key must be free.
    pub(super) new: bool,
}

impl S3Destination {
    /// Puts all of `source` under a key; with `new` only if the key is free at the end, too.
    pub(super) fn upload(
        &mut self,
        name: &str,
        key: String,
        source: &mut dyn Source,
        new: bool,
    ) -> Result<(), DestinationError> {
        let upload = Upload { name, key, new };
        if source.len_bytes() <= LEAST_PART {
            return self.in_one(&upload, source);
        }
        self.in_parts(&upload, source)
    }

    pub(super) fn in_one(&mut self, upload: &Upload<'_>, source: &mut dyn Source) -> Result<(), DestinationError> {
        let what = || self.what("write", upload.name);
        let len = source.len_bytes();
        let digest = self.digest(source, 0, len)?;
        let (_, headers) = self.with_fewer_headers(&what, |s3, headers| {
            let mut request = s3.stored_as(Request::object(Method::Put, upload.key.as_str()));
            if headers.checksums {
                request = request.header("x-amz-checksum-sha256", digest.as_str());
            }
            if headers.conditions && upload.new {
                request = request.header("if-none-match", "*");
            }
            let builder = prepared(&s3.http, &s3.signer, &request);
            Ok(judged(s3.http.upload(builder, source, 0, len, &what)?)?.map(|_| ()))
        })?;
        self.headers = headers;
        Ok(())
    }

    /// Sends a request with all headers, and where the server does not know one of them, with fewer; tells which it took.
    pub(super) fn with_fewer_headers<T>(
        &self,
        what: &dyn Fn() -> String,
        mut send: impl FnMut(&Self, Headers) -> Result<Result<T, Refusal>, DestinationError>,
    ) -> Result<(T, Headers), DestinationError> {
        let mut refused = None;
        for headers in self.headers.fewer() {
            match send(self, headers)? {
                Ok(value) => return Ok((value, headers)),
                Err(refusal) if refusal.may_be_about_a_header() => {
                    tracing::debug!("`{}`: {refusal}, with {headers:?}", self.location);
                    // The first one is about all that was asked for.
                    refused.get_or_insert(refusal);
                }
                Err(refusal) => return Err(refusal.during(what())),
            }
        }
        Err(refused.map_or_else(|| strange(what, "nothing was asked"), |refusal| refusal.during(what())))
    }

    /// With how the object is to be kept.
    pub(super) fn stored_as(&self, mut request: Request) -> Request {
        if let Some(class) = &self.settings.storage_class {
            request = request.header("x-amz-storage-class", class.as_str());
        }
        match &self.settings.encryption {
            None => request,
            Some(S3Encryption::ServerKey) => request.header("x-amz-server-side-encryption", "AES256"),
            Some(S3Encryption::Kms(key_id)) => {
                let request = request.header("x-amz-server-side-encryption", "aws:kms");
                match key_id {
                    Some(id) => request.header("x-amz-server-side-encryption-aws-kms-key-id", id.as_str()),
                    None => request,
                }
            }
        }
    }

    /// SHA-256 of a part in base64. Where the source is a file, that file is read: the reading through the source itself is
    /// what the bandwidth limit and the progress count.
    pub(super) fn digest(&self, source: &mut dyn Source, offset: u64, len: u64) -> Result<String, DestinationError> {
        let file = source.local_path().map(FileSource::open).transpose().map_err(|error| {
            DestinationError::new(ErrorKind::Local, "failed to read what is to be sent").caused_by(error)
        })?;
        let mut file = file;
        let source: &mut dyn Source = match &mut file {
            Some(file) => file,
            None => source,
        };
        let mut feed = Feed::start(source, offset)?;
        let (mut hasher, mut left) = (Sha256::new(), len);
        let mut block = vec![0; 256 << 10];
        while left > 0 {
            self.interrupt.check().map_err(|error| {
                DestinationError::new(ErrorKind::Local, "reading what is to be sent was given up").caused_by(error)
            })?;
            let most = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = feed.read(&mut block[..most])?;
            if count == 0 {
                break;
            }
            hasher.update(&block[..count]);
            left -= count as u64;
        }
        Ok(BASE64_STANDARD.encode(hasher.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_left_out_only_after_it_was_refused() {
        let headers = |conditions, checksums| Headers { conditions, checksums };
        let all = headers(true, true).fewer();
        assert_eq!(all, [headers(true, true), headers(true, false), headers(false, true), headers(false, false)]);
        assert_eq!(headers(true, false).fewer(), [headers(true, false), headers(false, false)]);
        assert_eq!(headers(false, false).fewer(), [headers(false, false)]);
    }
}
