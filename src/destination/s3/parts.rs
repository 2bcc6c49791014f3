//! Objects in parts (multipart uploads): begun, sent part by part, joined at the end.
//!
//! What a failure that may pass leaves at the server is remembered, and the next connection of this process goes on with it. Any
//! other failure ends the upload: parts are invisible, and cost money.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusty_s3::Method;

use super::refusal::Refusal;
use super::sign::Request;
use super::upload::Upload;
use super::xml::{self, Part};
use super::{LONGEST_ANSWER, S3Destination, connect, judged, prepared};
use crate::destination::{DestinationError, ErrorKind, Source, Timeouts};
use crate::interrupt::Interrupt;

/// Objects up to this size go in one piece, and parts are no smaller. Amazon's least is 5 MiB; a larger part makes fewer requests.
pub(super) const LEAST_PART: u64 = 16 << 20;
/// An object has no more parts than this.
const MOST_PARTS: u64 = 10_000;
/// How long the clean-up after a failure may take, for the server may be what failed.
const CLEAN_UP: Duration = Duration::from_secs(10);
/// How long the server may take to join the parts. Amazon sends a blank now and then meanwhile, and says that it may be minutes.
const LONGEST_JOINING: Duration = Duration::from_secs(15 * 60);
/// Leftovers of one key that are looked at: more than a job can leave.
const MOST_LEFTOVERS: usize = 32;

/// Uploads of this process that broke off.
static UNFINISHED: Mutex<Vec<Unfinished>> = Mutex::new(Vec::new());

/// An upload that may go on.
#[derive(Clone, Debug)]
struct Unfinished {
    /// The bucket's URL.
    bucket: String,
    key: String,
    len_bytes: u64,
    id: String,
    sent: Vec<Sent>,
}

/// A part that the server has.
#[derive(Clone, Debug)]
struct Sent {
    part: Part,
    /// SHA-256 of its bytes, in base64.
    digest: String,
}

/// How large the parts of an object are.
fn part_bytes(len_bytes: u64) -> u64 {
    len_bytes.div_ceil(MOST_PARTS).next_multiple_of(1 << 20).max(LEAST_PART)
}

fn unfinished<T>(act: impl FnOnce(&mut Vec<Unfinished>) -> T) -> T {
    act(&mut UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner))
}

impl S3Destination {
    /// Puts all of `source` under a key, in parts.
    pub(super) fn in_parts(&mut self, upload: &Upload<'_>, source: &mut dyn Source) -> Result<(), DestinationError> {
        let mut going_on = match self.take_unfinished(upload, source)? {
            Some(unfinished) => unfinished,
            None => {
                self.abort_leftovers(upload);
                self.begin(upload, source.len_bytes())?
            }
        };
        let sent = self.send_parts(upload, &mut going_on, source);
        match sent.and_then(|()| self.complete(upload, &going_on)) {
            Ok(()) => Ok(()),
            Err(Failure::UploadGone(error)) => Err(error),
            Err(Failure::Other(error)) if error.is_transient() => {
                let kept = part_bytes(going_on.len_bytes).saturating_mul(going_on.sent.len() as u64);
                let kept = kept.min(going_on.len_bytes);
                unfinished(|held| held.push(going_on));
                Err(error.keeping(kept))
            }
            Err(Failure::Other(error)) => {
                self.abort(upload, &going_on.id);
                Err(error)
            }
        }
    }

    /// Puts `source` in one part on a name that is taken; an error if the server keeps to the condition.
    pub(super) fn overwrite_in_parts(
        &mut self,
        upload: &Upload<'_>,
        source: &mut dyn Source,
    ) -> Result<(), DestinationError> {
        let mut going_on = self.begin(upload, source.len_bytes())?;
        let sent = self.send_parts(upload, &mut going_on, source);
        sent.and_then(|()| self.join(upload, &going_on)).map_err(|failure| {
            self.abort(upload, &going_on.id);
            match failure {
                Failure::UploadGone(error) | Failure::Other(error) => error,
            }
        })
    }

    /// What an earlier connection has sent of this very object.
    fn take_unfinished(
        &self,
        upload: &Upload<'_>,
        source: &mut dyn Source,
    ) -> Result<Option<Unfinished>, DestinationError> {
        let bucket = self.signer.base_url().as_str();
        let found = unfinished(|held| {
            let at = held.iter().position(|one| one.bucket == bucket && one.key == upload.key)?;
            Some(held.swap_remove(at))
        });
        let Some(found) = found else { return Ok(None) };
        let part_bytes = part_bytes(found.len_bytes);
        let mut same = found.len_bytes == source.len_bytes();
        let mut offset = 0;
        for sent in &found.sent {
            let len = part_bytes.min(found.len_bytes - offset);
            same = same && self.digest(source, offset, len)? == sent.digest;
            offset += len;
        }
        if !same {
            self.abort(upload, &found.id);
            return Ok(None);
        }
        tracing::info!("going on with `{}`: {offset} bytes are at the server already", upload.name);
        Ok(Some(found))
    }

    fn begin(&mut self, upload: &Upload<'_>, len_bytes: u64) -> Result<Unfinished, DestinationError> {
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
        let bucket = self.signer.base_url().to_string();
        Ok(Unfinished { bucket, key: upload.key.clone(), len_bytes, id, sent: Vec::new() })
    }

    /// Sends the parts that are missing.
    fn send_parts(
        &mut self,
        upload: &Upload<'_>,
        going_on: &mut Unfinished,
        source: &mut dyn Source,
    ) -> Result<(), Failure> {
        let (len_bytes, part_bytes) = (going_on.len_bytes, part_bytes(going_on.len_bytes));
        loop {
            let offset = part_bytes.saturating_mul(going_on.sent.len() as u64);
            if offset >= len_bytes {
                return Ok(());
            }
            let len = part_bytes.min(len_bytes - offset);
            let sent = self.send_part(upload, going_on, source, offset, len)?;
            going_on.sent.push(sent);
        }
    }

    fn send_part(
        &mut self,
        upload: &Upload<'_>,
        going_on: &Unfinished,
        source: &mut dyn Source,
        offset: u64,
        len: u64,
    ) -> Result<Sent, Failure> {
        let number = going_on.sent.len() + 1;
        let what = || format!("{} (part {number})", self.what("write", upload.name));
        let digest = self.digest(source, offset, len)?;
        let mut gone = false;
        let sent = self.with_fewer_headers(&what, |s3, headers| {
            let mut request = Request::object(Method::Put, upload.key.as_str())
                .query("partNumber", number.to_string())
                .query("uploadId", going_on.id.as_str());
            if headers.checksums {
                request = request.header("x-amz-checksum-sha256", digest.as_str());
            }
            let builder = prepared(&s3.http, &s3.signer, &request);
            let answer = match judged(s3.http.upload(builder, source, offset, len, &what)?)? {
                Ok(answer) => answer,
                Err(refusal) => {
                    gone = refusal.is_about_a_missing_upload();
                    return Ok(Err(refusal));
                }
            };
            let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok());
            let etag = etag.ok_or_else(|| strange(&what, "it has no ETag"))?.to_owned();
            Ok(Ok(Part { etag, sha256: headers.checksums.then(|| digest.clone()) }))
        });
        let (part, headers) = sent.map_err(|error| Failure::new(error, gone))?;
        self.headers.checksums = headers.checksums;
        Ok(Sent { part, digest })
    }

    fn complete(&mut self, upload: &Upload<'_>, going_on: &Unfinished) -> Result<(), Failure> {
        let what = || self.what("finish writing", upload.name);
        // Some ignore the condition here without a word, among them Ceph up to version 16: what has taken the name while the
        // parts were sent must not be replaced.
        if upload.new && self.look_at(upload.name, &what)?.is_some() {
            let error = DestinationError::new(ErrorKind::AlreadyExists, what());
            return Err(error.caused_by(format!("`{}` has appeared meanwhile", upload.name)).into());
        }
        self.join(upload, going_on)
    }

    /// Has the server make the object of its parts.
    fn join(&mut self, upload: &Upload<'_>, going_on: &Unfinished) -> Result<(), Failure> {
        let what = || self.what("finish writing", upload.name);
        let parts: Vec<Part> = going_on.sent.iter().map(|sent| sent.part.clone()).collect();
        let body = xml::complete(&parts);
        let mut gone = false;
        let done = self.with_fewer_headers(&what, |s3, headers| {
            let mut request =
                Request::object(Method::Post, upload.key.as_str()).query("uploadId", going_on.id.as_str());
            if headers.conditions && upload.new {
                request = request.header("if-none-match", "*");
            }
            let builder = prepared(&s3.http, &s3.signer, &request).body(body.clone());
            let refusal = match judged(s3.http.call(builder, &what)?)? {
                Ok(mut answer) => {
                    let status = answer.status().as_u16();
                    answer.may_trickle(LONGEST_JOINING);
                    let body = answer.text(LONGEST_ANSWER, &what)?;
                    match (xml::completed(&body), xml::error(&body)) {
                        (Ok(()), _) => return Ok(Ok(())),
                        (Err(_), Some(words)) => Refusal::in_a_success(status, words),
                        (Err(why), None) => return Err(strange(&what, &why)),
                    }
                }
                Err(refusal) => refusal,
            };
            gone = refusal.is_about_a_missing_upload();
            Ok(Err(refusal))
        });
        let ((), headers) = done.map_err(|error| Failure::new(error, gone))?;
        self.headers.conditions = headers.conditions;
        Ok(())
    }

    /// Ends earlier uploads of this very key that were never finished: their parts are invisible, and cost money.
    pub(super) fn abort_leftovers(&self, upload: &Upload<'_>) {
        let what = || format!("failed to look for unfinished uploads of `{}`", upload.name);
        let request = Request::bucket(Method::Get)
            .query("uploads", "")
            .query("encoding-type", "url")
            .query("prefix", upload.key.as_str());
        let ended = self.asked(&request, &what).and_then(|mut answer| {
            let body = answer.text(LONGEST_ANSWER, &what)?;
            drop(answer);
            let ids = xml::uploads_of(&body, &upload.key).map_err(|why| strange(&what, &why))?;
            ids.iter().take(MOST_LEFTOVERS).try_for_each(|id| self.asked(&ending(upload, id), &what).map(|_| ()))
        });
        // Not every server can tell; its own clean-up has to do.
        if let Err(error) = ended {
            tracing::debug!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
        }
    }

    /// Ends an upload. The connection may be what failed, and a signal may have come: this takes a connection of its own, which
    /// no signal ends, and not long.
    fn abort(&self, upload: &Upload<'_>, id: &str) {
        let what = || format!("failed to remove the parts of `{}` at `{}`", upload.name, self.location);
        let timeouts =
            Timeouts { connect: self.timeouts.connect.min(CLEAN_UP), stall: self.timeouts.stall.min(CLEAN_UP) };
        let aborted = connect(&self.signer, &self.settings, timeouts, &Interrupt::default()).and_then(|http| {
            let answer = http.call(prepared(&http, &self.signer, &ending(upload, id)), &what)?;
            match judged(answer)? {
                Err(refusal) if !refusal.is_about_a_missing_upload() => Err(refusal.during(what())),
                _ => Ok(()),
            }
        });
        if let Err(error) = aborted {
            tracing::warn!("{error}; a lifecycle rule of the bucket should remove unfinished uploads");
        }
    }
}

/// The request that ends an upload.
fn ending(upload: &Upload<'_>, id: &str) -> Request {
    Request::object(Method::Delete, upload.key.as_str()).query("uploadId", id)
}

/// Why an upload in parts failed.
enum Failure {
    /// The server knows no such upload any more: the next attempt begins again.
    UploadGone(DestinationError),
    Other(DestinationError),
}

impl Failure {
    fn new(error: DestinationError, gone: bool) -> Self {
        if gone { Failure::UploadGone(error) } else { Failure::Other(error) }
    }
}

impl From<DestinationError> for Failure {
    fn from(error: DestinationError) -> Self {
        Failure::Other(error)
    }
}

pub(super) fn strange(what: &dyn Fn() -> String, why: &str) -> DestinationError {
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
}
