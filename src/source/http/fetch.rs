//! The download: attempts until everything is there, each going on where the last one was cut if it is certain that the
//! server still has the same file, else from zero.

use std::path::Path;

use reqwest::StatusCode;
use url::Url;

use super::super::{Fetched, Progress, SourceError, SourceErrorKind, Validators, shown};
use super::content::{self, LEAD_LEN, PAGE_LEN};
use super::ranges::RangeReader;
use super::request::{Answer, Ask};
use super::retry::Attempts;
use super::spool::{Around, Identity, Spool};
use super::{HttpSource, headers};
use crate::text;
use crate::text::{Language, Text};
use crate::units::show_duration;

/// How one attempt ended well.
enum Got {
    NotModified,
    All { validators: Validators, url: Url },
}

/// What came of looking at the file's end.
enum Looked {
    /// The rest is not needed.
    Done(Fetched),
    /// Not the end, but an answer to start with.
    Answer(Box<Answer>),
    /// Nothing that helps.
    Nothing,
}

/// What an attempt learned, also if it failed.
#[derive(Default)]
struct Learned {
    /// How often the bytes that are there were continued.
    resumed: u32,
    /// The announced size of the whole zip.
    total: Option<u64>,
}

impl HttpSource {
    /// Downloads the zip into `spool`, which then holds exactly the zip, mode 0600.
    ///
    /// With `previous` the server is asked whether anything changed since. A file `<spool>.meta` lies beside what can be
    /// continued, so that another call (or run) can do so; a whole file takes one byte. [`discard`] removes both. What cannot be continued is
    /// removed on failure. Attempts, waits and redirects are logged; `progress` is told about every piece.
    ///
    /// The bytes are proven to be as many as announced, to start like a zip and to end like one; nothing more.
    ///
    /// # Errors
    /// Any kind but `NoRanges` and `Changed`. What may pass was tried `retries` further times; an interruption ends it within
    /// a second.
    pub fn fetch(
        &self,
        spool: &Path,
        previous: Option<&Validators>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Fetched, SourceError> {
        self.block_on(self.fetch_with_retries(spool, previous, None, progress))
    }

    /// The same, but first the file's end is read, if the server sends parts, and `is_known` may tell from it that the rest is
    /// not needed. Whatever goes wrong with that, the file is downloaded.
    ///
    /// # Errors
    /// As [`fetch`](HttpSource::fetch).
    pub fn fetch_unless(
        &self,
        spool: &Path,
        previous: Option<&Validators>,
        is_known: &mut dyn FnMut(&mut RangeReader<'_>) -> bool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Fetched, SourceError> {
        let previous = previous.filter(|previous| !previous.is_empty());
        let first = match self.look_at_the_end(spool, previous, is_known) {
            Ok(Looked::Done(fetched)) => return Ok(fetched),
            Ok(Looked::Answer(answer)) => Some(answer),
            Ok(Looked::Nothing) => None,
            Err(error) if error.kind == SourceErrorKind::Interrupted => return Err(error),
            Err(error) => {
                tracing::debug!("the zip's end could not be looked at: {error}");
                None
            }
        };
        self.block_on(self.fetch_with_retries(spool, previous, first, progress))
    }

    fn look_at_the_end(
        &self,
        spool: &Path,
        previous: Option<&Validators>,
        is_known: &mut dyn FnMut(&mut RangeReader<'_>) -> bool,
    ) -> Result<Looked, SourceError> {
        // What an earlier run left is asked about by going on with it.
        if Spool::open(spool, &self.settings.url)?.resumable().is_some() {
            return Ok(Looked::Nothing);
        }
        let answer = self.block_on(self.ask_for_the_end(previous))?;
        match answer.response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::NOT_MODIFIED if previous.is_some() => {
                Spool::open(spool, &self.settings.url)?.discard();
                return Ok(Looked::Done(Fetched::NotModified));
            }
            // The server sends whole files only: then this is the download. And these will not get better by asking again.
            StatusCode::OK | StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Ok(Looked::Answer(Box::new(answer)));
            }
            status => {
                tracing::debug!("asked for the zip's end, the server answered {status}");
                return Ok(Looked::Nothing);
            }
        }
        let mut reader = self.block_on(self.reader_from(answer))?;
        self.refuse_too_large(&self.settings.url, reader.size_bytes())?;
        let known = is_known(&mut reader);
        tracing::debug!("looked at {} of the zip's {} bytes", reader.received_bytes(), reader.size_bytes());
        if !known {
            return Ok(Looked::Nothing);
        }
        let (size_bytes, validators) = (reader.size_bytes(), reader.validators().clone());
        Spool::open(spool, &self.settings.url)?.discard();
        Ok(Looked::Done(Fetched::Recognised { size_bytes, validators }))
    }

    async fn fetch_with_retries(
        &self,
        path: &Path,
        previous: Option<&Validators>,
        mut first: Option<Box<Answer>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Fetched, SourceError> {
        let mut spool = Spool::open(path, &self.settings.url)?;
        let mut attempts = Attempts::new(self.settings.retries, spool.received());
        let mut learned = Learned::default();
        if let Some(identity) = spool.resumable() {
            tracing::info!("an earlier run left {} of {} bytes", spool.received(), identity.size_bytes);
        }
        loop {
            let attempt = match first.take() {
                Some(answer) => self.start_over(*answer, &mut spool, previous, &mut learned, progress).await,
                None => self.attempt(&mut spool, previous, &mut learned, progress).await,
            };
            let error = match attempt {
                Ok(Got::NotModified) => {
                    spool.discard();
                    return Ok(Fetched::NotModified);
                }
                Ok(Got::All { validators, url: final_url }) => {
                    let size_bytes = spool.received();
                    let (resumed, attempts) = (learned.resumed, attempts.made);
                    return Ok(Fetched::Zip { size_bytes, validators, resumed, attempts, final_url });
                }
                Err(error) => error,
            };
            let made = attempts.made;
            let Some(wait) = attempts.failed(&error, spool.received(), learned.total, self.backoff) else {
                give_up(spool, &error);
                return Err(error.after(made));
            };
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            tracing::warn!("attempt {made} failed: {error}{cause}; next in {}", show_duration(wait, Language::En));
            if let Err(error) = self.pause(wait).await {
                give_up(spool, &error);
                return Err(error.after(made));
            }
        }
    }

    async fn attempt(
        &self,
        spool: &mut Spool,
        previous: Option<&Validators>,
        learned: &mut Learned,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Got, SourceError> {
        let previous = previous.filter(|previous| !previous.is_empty());
        if let Some(identity) = spool.resumable().cloned() {
            let ask = Ask {
                range: Some(format!("bytes={}-", spool.received())),
                if_range: Some(identity.validator.clone()),
                previous: previous.cloned(),
            };
            let answer = self.get(&self.settings.url, &ask).await?;
            match answer.response.status() {
                StatusCode::PARTIAL_CONTENT if continues(&answer, spool.received(), &identity) => {
                    learned.resumed += 1;
                    return self.receive(answer, spool, Some(identity.size_bytes), learned, progress).await;
                }
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                    tracing::warn!("the server gives no part that continues what is here: once more from zero");
                    spool.restart(None)?;
                }
                _ => return self.start_over(answer, spool, previous, learned, progress).await,
            }
        }
        let ask = Ask { previous: previous.cloned(), ..Ask::default() };
        let answer = self.get(&self.settings.url, &ask).await?;
        self.start_over(answer, spool, previous, learned, progress).await
    }

    /// Takes an answer that is not a part.
    async fn start_over(
        &self,
        answer: Answer,
        spool: &mut Spool,
        previous: Option<&Validators>,
        learned: &mut Learned,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Got, SourceError> {
        match answer.response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if previous.is_some() => return Ok(Got::NotModified),
            _ => return Err(self.bad_status(answer).await),
        }
        if spool.received() > 0 {
            tracing::warn!("the server starts from zero: the file changed, or it cannot continue");
        }
        let total = answer.response.content_length();
        let validator = headers::strong_validator(answer.response.headers());
        let identity = validator.zip(total).map(|(validator, size_bytes)| Identity {
            validator,
            size_bytes,
            validators: headers::validators(answer.response.headers()),
        });
        spool.restart(identity)?;
        learned.resumed = 0;
        self.receive(answer, spool, total, learned, progress).await
    }

    /// Takes the body to its end.
    async fn receive(
        &self,
        mut answer: Answer,
        spool: &mut Spool,
        total: Option<u64>,
        learned: &mut Learned,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Got, SourceError> {
        learned.total = total;
        self.refuse_too_large(&answer.url, total.unwrap_or(0))?;
        let from = spool.received();
        if from > 0 {
            self.refuse_encoded(&answer)?;
        }
        // What came first, until it is known to be a zip; then empty for good.
        let mut head = (from == 0).then(Vec::new);
        progress(Progress { received_bytes: from, total_bytes: total });
        loop {
            let bytes = match self.piece(&mut answer, spool.received(), total).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(error) => {
                    self.check_whole_in_spite_of(error, spool, total)?;
                    break;
                }
            };
            let received = spool.received() + bytes.len() as u64;
            self.refuse_too_large(&answer.url, received)?;
            if total.is_some_and(|total| received > total) {
                return Err(wrong_length(&answer.url, received, total));
            }
            if let Some(start) = &mut head {
                start.extend_from_slice(&bytes[..bytes.len().min(PAGE_LEN)]);
                match content::start_of_zip(start) {
                    Some(before) => {
                        warn_of_lead(before);
                        head = None;
                    }
                    None if start.len() >= LEAD_LEN || content::is_something_else(start) => {
                        let page = self.more_of_the_page(std::mem::take(start), &mut answer).await;
                        return Err(self.not_a_zip(&answer, &page));
                    }
                    None => {}
                }
            }
            spool.write(&bytes)?;
            progress(Progress { received_bytes: received, total_bytes: total });
        }
        if let Some(head) = head {
            return Err(self.not_a_zip(&answer, &head));
        }
        let received = spool.received();
        tracing::info!("received {} bytes", received - from);
        if let Some(total) = total.filter(|total| received < *total) {
            return Err(SourceError::new(
                SourceErrorKind::Cut,
                text!("sent less than announced" / "moins d'octets qu'annoncé"),
                format!("`{}` sent {received} bytes and announced {total}", shown(&answer.url)),
            ));
        }
        if !content::ends_like_a_zip(&spool.tail()?) {
            // Without an announced length a cut looks like an end; and parts that were joined may not have belonged together.
            let may_pass = total.is_none() || learned.resumed > 0;
            let around = spool.around()?;
            spool.restart(None)?;
            return Err(no_end(&answer.url, received, &around, may_pass));
        }
        let now = headers::validators(answer.response.headers());
        let first = spool.identity().map(|identity| identity.validators.clone()).unwrap_or_default();
        let validators =
            Validators { etag: now.etag.or(first.etag), last_modified: now.last_modified.or(first.last_modified) };
        Ok(Got::All { validators, url: answer.url })
    }

    /// Lets a cut pass that came after the last byte of the zip: where no length is announced, many servers end the
    /// connection without ending TLS, and only the zip itself can tell. Its checksums will, in the next step.
    fn check_whole_in_spite_of(
        &self,
        error: SourceError,
        spool: &mut Spool,
        total: Option<u64>,
    ) -> Result<(), SourceError> {
        if error.kind != SourceErrorKind::Cut || total.is_some() || !content::ends_exactly_like_a_zip(&spool.tail()?) {
            return Err(error);
        }
        tracing::warn!("{error}; the zip ends exactly there, so it is taken as whole");
        Ok(())
    }
}

/// Whether a 206 goes on exactly where we are, in the same version of the file.
fn continues(answer: &Answer, received: u64, identity: &Identity) -> bool {
    let headers = answer.response.headers();
    headers::content_range(headers).is_some_and(|range| {
        range.first == received
            && range.total == identity.size_bytes
            && answer.response.content_length().is_none_or(|len| len == range.last - range.first + 1)
    }) && headers::is_of_version(headers, &identity.validator)
}

/// What a failure leaves: bytes that are right and can be continued. A full disk must not stay full because of us.
fn give_up(spool: Spool, error: &SourceError) {
    use SourceErrorKind::{Encoded, Html, LocalDisk, NotZip, TooLarge, Trailing, Truncated, WrongLength};
    match error.kind {
        Encoded | Html | LocalDisk | NotZip | TooLarge | Trailing | Truncated | WrongLength => spool.discard(),
        _ => spool.keep_if_resumable(),
    }
}

fn wrong_length(url: &Url, received: u64, total: Option<u64>) -> SourceError {
    let total = total.unwrap_or(0);
    SourceError::new(
        SourceErrorKind::WrongLength,
        text!("sent more than announced" / "plus d'octets qu'annoncé"),
        format!("`{}` sent {received} bytes or more and announced {total}", shown(url)),
    )
}

fn no_end(url: &Url, received: u64, around: &Around, may_pass: bool) -> SourceError {
    let shown = shown(url);
    if let Some(end) = around.end {
        let follow = received - end;
        let begins = content::first_words(&around.behind);
        return SourceError::new(
            SourceErrorKind::Trailing,
            text!("something follows the zip" / "quelque chose suit le zip"),
            format!("the zip of `{shown}` ends at byte {end}, and {follow} bytes follow it{begins}"),
        );
    }
    let truncated = |message| {
        let summary = text!("zip truncated" / "zip tronqué");
        SourceError::new(SourceErrorKind::Truncated, summary, message).transient(may_pass)
    };
    match around.before {
        0 => truncated(format!("the {received} bytes of `{shown}` do not end like a zip: truncated?")),
        before => truncated(format!("{before} bytes stand before the zip of `{shown}`, and its end is missing")).with_hint(Text::new(
            "the script that sends the zip prints something before it (blank lines around `<?php … ?>`, a byte order mark, a \
             warning), and its `Content-Length` is that of the zip alone: have it print nothing else",
            "le script qui envoie le zip affiche quelque chose avant lui (des lignes vides autour de `<?php … ?>`, une marque \
             d'ordre des octets, un avertissement), et son `Content-Length` est celui du zip seul : qu'il n'affiche rien d'autre",
        )),
    }
}

/// Not an error: size and CRC-32 prove the dump.
fn warn_of_lead(before: usize) {
    if before > 0 {
        tracing::warn!("{before} bytes stand before the zip: the script that sends it prints something");
    }
}
