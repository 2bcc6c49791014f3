//! Sends objects: small ones by one PUT, others in parts, which the server joins once all of them are there.
//!
//! Each body goes with its SHA-256, which the server compares with what it received; hence a part is read twice. Nothing is
//! held in memory but the piece that is being sent.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rusty_s3::Method;
use sha2::{Digest as _, Sha256};

use super::refusal::Refusal;
use super::sign::Request;
use super::xml::{self, Part};
use super::{LONGEST_ANSWER, S3Destination, connect, judged, prepared};
use crate::config::settings::S3Encryption;
use crate::destination::feed::{Feed, FileSource};
use crate::destination::{DestinationError, ErrorKind, Source, Timeouts};
use crate::interrupt::Interrupt;

/// Objects up to this size go in one piece, and parts are no smaller. Amazon's least is 5 MiB; a larger part makes fewer requests.
const LEAST_PART: u64 = 16 << 20;
/// An object has no more parts than this.
const MOST_PARTS: u64 = 10_000;
/// How long the clean-up after a failure may take, for the server may be what failed.
const CLEAN_UP: std::time::Duration = std::time::Duration::from_secs(10);

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

/// How large the parts of an object are.
fn part_bytes(len_bytes: u64) -> u64 {
    len_bytes.div_ceil(MOST_PARTS).next_multiple_of(1 << 20).max(LEAST_PART)
}

/// What is being uploaded, for the requests about it.
struct Upload<'a> {
    name: &'a str,
    key: String,
    /// The key must be free.
    new: bool,
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
        self.abort_leftovers(&upload);
        let id = self.begin(&upload)?;
        let result = self.in_parts(&upload, &id, source);
        if result.is_err() {
            self.abort(&upload, &id);
        }
        result
    }

    fn in_one(&mut self, upload: &Upload<'_>, source: &mut dyn Source) -> Result<(), DestinationError> {
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

    fn begin(&mut self, upload: &Upload<'_>) -> Result<String, DestinationError> {
        let what = || self.what("begin writing", upload.name);
        let (id, headers) = self.with_fewer_headers(&what, |s3, headers| {
            let mut request = s3.stored_as(Request::object(Method::Post, upload.key.as_str()).query("uploads", ""));
            if headers.checksums {
                request = request.header("x-amz-checksum-algorithm", "SHA256");
            }
            match s3.ask(&request, &what)? {
                Err(refusal) => Ok(Err(refusal)),
                Ok(mut answer) => {
                    let body = answer.text(LONGEST_ANSWER, &what)?;
                    let id = xml::upload_id(&body).map_err(|why| strange(&what, &why))?;
                    Ok(Ok(id))
                }
            }
        })?;
        self.headers.checksums = headers.checksums;
        Ok(id)
    }

    fn in_parts(&mut self, upload: &Upload<'_>, id: &str, source: &mut dyn Source) -> Result<(), DestinationError> {
        let len_bytes = source.len_bytes();
        let part_bytes = part_bytes(len_bytes);
        let mut parts = Vec::new();
        for offset in (0..len_bytes).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX)) {
            let number = parts.len() + 1;
            let len = part_bytes.min(len_bytes - offset);
            parts.push(self.send_part(upload, id, number, source, offset, len)?);
        }
        self.complete(upload, id, &parts)
    }

    fn send_part(
        &mut self,
        upload: &Upload<'_>,
        id: &str,
        number: usize,
        source: &mut dyn Source,
        offset: u64,
        len: u64,
    ) -> Result<Part, DestinationError> {
        let what = || format!("{} (part {number})", self.what("write", upload.name));
        let digest = self.digest(source, offset, len)?;
        let (part, headers) = self.with_fewer_headers(&what, |s3, headers| {
            let mut request = Request::object(Method::Put, upload.key.as_str())
                .query("partNumber", number.to_string())
                .query("uploadId", id);
            if headers.checksums {
                request = request.header("x-amz-checksum-sha256", digest.as_str());
            }
            let builder = prepared(&s3.http, &s3.signer, &request);
            let answer = match judged(s3.http.upload(builder, source, offset, len, &what)?)? {
                Ok(answer) => answer,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok());
            let etag = etag.ok_or_else(|| strange(&what, "it has no ETag"))?.to_owned();
            Ok(Ok(Part { etag, sha256: headers.checksums.then(|| digest.clone()) }))
        })?;
        self.headers.checksums = headers.checksums;
        Ok(part)
    }

    fn complete(&mut self, upload: &Upload<'_>, id: &str, parts: &[Part]) -> Result<(), DestinationError> {
        let what = || self.what("finish writing", upload.name);
        let body = xml::complete(parts);
        let (_, headers) = self.with_fewer_headers(&what, |s3, headers| {
            let mut request = Request::object(Method::Post, upload.key.as_str()).query("uploadId", id);
            if headers.conditions && upload.new {
                request = request.header("if-none-match", "*");
            }
            let builder = prepared(&s3.http, &s3.signer, &request).body(body.clone());
            let mut answer = match judged(s3.http.call(builder, &what)?)? {
                Ok(answer) => answer,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let status = answer.status().as_u16();
            let body = answer.text(LONGEST_ANSWER, &what)?;
            match (xml::completed(&body), xml::error(&body)) {
                (Ok(()), _) => Ok(Ok(())),
                (Err(_), Some(words)) => Ok(Err(Refusal { status, words: Some(words), region: None, had_body: true })),
                (Err(why), None) => Err(strange(&what, &why)),
            }
        })?;
        self.headers.conditions = headers.conditions;
        Ok(())
    }

    /// Sends a request with all headers, and where the server does not know one of them, with fewer; tells which it took.
    fn with_fewer_headers<T>(
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
    fn stored_as(&self, mut request: Request) -> Request {
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
    fn digest(&self, source: &mut dyn Source, offset: u64, len: u64) -> Result<String, DestinationError> {
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

    /// Ends earlier uploads of this very key that were never finished: their parts are invisible, and cost money.
    fn abort_leftovers(&self, upload: &Upload<'_>) {
        let what = || format!("failed to look for unfinished uploads of `{}`", upload.name);
        let request = Request::bucket(Method::Get)
            .query("uploads", "")
            .query("encoding-type", "url")
            .query("prefix", upload.key.as_str());
        let found = self.asked(&request, &what).and_then(|mut answer| {
            let body = answer.text(LONGEST_ANSWER, &what)?;
            xml::uploads_of(&body, &upload.key).map_err(|why| strange(&what, &why))
        });
        match found {
            Ok(ids) => ids.iter().for_each(|id| self.abort(upload, id)),
            // Not every server can tell; its own clean-up has to do.
            Err(error) => tracing::debug!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string)),
        }
    }

    /// Ends an upload. The connection may be what failed, and a signal may have come: this takes a connection of its own, which
    /// no signal ends, and not long.
    fn abort(&self, upload: &Upload<'_>, id: &str) {
        let what = || format!("failed to remove the parts of `{}` at `{}`", upload.name, self.location);
        let timeouts =
            Timeouts { connect: self.timeouts.connect.min(CLEAN_UP), stall: self.timeouts.stall.min(CLEAN_UP) };
        let request = Request::object(Method::Delete, upload.key.as_str()).query("uploadId", id);
        let aborted = connect(&self.signer, &self.settings, timeouts, &Interrupt::default()).and_then(|http| {
            let answer = http.call(prepared(&http, &self.signer, &request), &what)?;
            match judged(answer)? {
                Err(refusal) if refusal.code() != "NoSuchUpload" => Err(refusal.during(what())),
                _ => Ok(()),
            }
        });
        if let Err(error) = aborted {
            tracing::warn!("{error}; a lifecycle rule of the bucket should remove unfinished uploads");
        }
    }
}

fn strange(what: &dyn Fn() -> String, why: &str) -> DestinationError {
    DestinationError::new(ErrorKind::Other, what())
        .caused_by(format!("the server's answer cannot be understood: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_has_too_many_parts_and_no_part_is_too_small() {
        for (len, part) in
            [(1, 16 << 20), (10_000 * (16 << 20), 16 << 20), (10_000 * (16 << 20) + 1, 17 << 20), (5 << 40, 525 << 20)]
        {
            assert_eq!(part_bytes(len), part, "{len}");
            assert!(len.div_ceil(part) <= MOST_PARTS);
        }
    }

    #[test]
    fn a_header_is_left_out_only_after_it_was_refused() {
        let headers = |conditions, checksums| Headers { conditions, checksums };
        let all = headers(true, true).fewer();
        assert_eq!(all, [headers(true, true), headers(true, false), headers(false, true), headers(false, false)]);
        assert_eq!(headers(true, false).fewer(), [headers(true, false), headers(false, false)]);
        assert_eq!(headers(false, false).fewer(), [headers(false, false)]);
    }
}
