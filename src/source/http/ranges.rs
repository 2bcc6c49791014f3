//! Reads parts of the zip where it lies, so that its directory can be looked at without downloading it.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

use reqwest::StatusCode;
use url::Url;

use super::super::{SourceError, SourceErrorKind, Validators, shown};
use super::HttpSource;
use super::headers::{self, ContentRange};
use super::request::{Answer, Ask};
use crate::text;

/// The end of the file, fetched at once: the directory of most zips lies in it.
const TAIL: u64 = 64 * 1024;
/// What is fetched elsewhere.
const BLOCK: u64 = 16 * 1024;
/// How many such blocks are kept.
const KEPT: usize = 8;

/// The source as a file that can be read at any place; each block costs a request.
///
/// All blocks belong to one version of the file: if it changes in between, reading fails with [`SourceErrorKind::Changed`].
/// A server without any validators is trusted as long as the size stays. Nothing is retried. Errors of reading are
/// [`io::Error`]s that hold a [`SourceError`].
pub struct RangeReader<'a> {
    source: &'a HttpSource,
    /// Where the redirects ended, so that they are followed once.
    url: Url,
    size: u64,
    validators: Validators,
    strong: Option<String>,
    position: u64,
    tail_start: u64,
    tail: Vec<u8>,
    /// Oldest first: where it starts, and its bytes.
    blocks: VecDeque<(u64, Vec<u8>)>,
    received: u64,
}

impl HttpSource {
    /// Opens the source for reading parts of it; fetches its last 64 KiB.
    ///
    /// # Errors
    /// `NoRanges` if the server gives whole files only; else as a download.
    pub fn ranges(&self) -> Result<RangeReader<'_>, SourceError> {
        self.block_on(self.open_ranges())
    }

    async fn open_ranges(&self) -> Result<RangeReader<'_>, SourceError> {
        let mut answer = self.get(&self.settings.url, &the_end(None)).await?;
        if answer.response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // Some servers take a suffix longer than the file for one that cannot be had; RFC 9110 §14.1.2 means all of it.
            let all = Ask { range: Some(format!("bytes=0-{}", TAIL - 1)), ..Ask::default() };
            answer = self.get(&self.settings.url, &all).await?;
        }
        self.reader_from(answer).await
    }

    /// Asks for the file's end, if it is another file than that of `previous`.
    pub(super) async fn ask_for_the_end(&self, previous: Option<&Validators>) -> Result<Answer, SourceError> {
        self.get(&self.settings.url, &the_end(previous)).await
    }

    /// Takes the answer to the question for the file's end.
    pub(super) async fn reader_from(&self, answer: Answer) -> Result<RangeReader<'_>, SourceError> {
        let range = match answer.response.status() {
            StatusCode::PARTIAL_CONTENT => headers::content_range(answer.response.headers()),
            StatusCode::OK => None,
            StatusCode::RANGE_NOT_SATISFIABLE => None,
            _ => return Err(self.bad_status(answer).await),
        };
        let wanted = |range: &ContentRange| {
            range.last + 1 == range.total && range.last - range.first < TAIL && (range.first == 0 || range.total > TAIL)
        };
        let Some(range) = range.filter(wanted) else { return Err(self.no_ranges()) };
        self.refuse_encoded(&answer)?;
        let all = answer.response.headers();
        let (validators, strong) = (headers::validators(all), headers::strong_validator(all));
        let url = answer.url.clone();
        let tail = self.part(answer, range).await?;
        Ok(RangeReader {
            source: self,
            url,
            size: range.total,
            validators,
            strong,
            position: 0,
            tail_start: range.first,
            received: tail.len() as u64,
            tail,
            blocks: VecDeque::new(),
        })
    }

    /// The body of a 206, exactly as long as its `Content-Range` says.
    async fn part(&self, mut answer: Answer, range: ContentRange) -> Result<Vec<u8>, SourceError> {
        let wanted = range.last - range.first + 1;
        let mut part = Vec::new();
        loop {
            match self.piece(&mut answer, part.len() as u64, Some(wanted)).await? {
                Some(bytes) => part.extend_from_slice(&bytes),
                None => break,
            }
            if part.len() as u64 > wanted {
                break;
            }
        }
        if part.len() as u64 == wanted {
            return Ok(part);
        }
        Err(SourceError::new(
            SourceErrorKind::WrongLength,
            text!("wrong part" / "partie incorrecte"),
            format!("`{}` announced a part of {wanted} bytes and sent {}", shown(&answer.url), part.len()),
        ))
    }
}

fn the_end(previous: Option<&Validators>) -> Ask {
    Ask { range: Some(format!("bytes=-{TAIL}")), previous: previous.cloned(), ..Ask::default() }
}

impl RangeReader<'_> {
    /// Bytes of the whole zip.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// What the server recognises this version by; possibly empty.
    pub fn validators(&self) -> &Validators {
        &self.validators
    }

    /// Bytes of bodies received so far.
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// The bytes from `position` on, as far as they are at hand after at most one request.
    fn at(&mut self, position: u64) -> Result<&[u8], SourceError> {
        if position >= self.tail_start {
            let from = (position - self.tail_start).min(self.tail.len() as u64);
            return Ok(&self.tail[usize::try_from(from).unwrap_or(usize::MAX)..]);
        }
        let start = position - position % BLOCK;
        let index = match self.blocks.iter().position(|(at, _)| *at == start) {
            Some(index) => index,
            None => {
                let bytes = self.source.block_on(self.fetch(start, (start + BLOCK).min(self.tail_start) - 1))?;
                self.received += bytes.len() as u64;
                if self.blocks.len() == KEPT {
                    self.blocks.pop_front();
                }
                self.blocks.push_back((start, bytes));
                self.blocks.len() - 1
            }
        };
        Ok(&self.blocks[index].1[usize::try_from(position - start).unwrap_or(usize::MAX)..])
    }

    async fn fetch(&self, first: u64, last: u64) -> Result<Vec<u8>, SourceError> {
        let ask = Ask { range: Some(format!("bytes={first}-{last}")), if_range: self.strong.clone(), ..Ask::default() };
        let answer = self.source.get(&self.url, &ask).await?;
        match answer.response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE => return Err(self.changed()),
            _ => return Err(self.source.bad_status(answer).await),
        }
        self.source.refuse_encoded(&answer)?;
        let all = answer.response.headers();
        let range = ContentRange { first, last, total: self.size };
        // After If-Range a server may leave out Last-Modified, but what it does say must be what it said before.
        let now = headers::validators(all);
        let differs = |before: &Option<String>, now: &Option<String>| now.is_some() && now != before;
        if headers::content_range(all) != Some(range)
            || differs(&self.validators.etag, &now.etag)
            || differs(&self.validators.last_modified, &now.last_modified)
        {
            return Err(self.changed());
        }
        self.source.part(answer, range).await
    }

    fn changed(&self) -> SourceError {
        SourceError::new(
            SourceErrorKind::Changed,
            text!("changed while being read" / "modifié pendant la lecture"),
            format!("`{}` changed while it was being read", shown(&self.url)),
        )
    }
}

impl Read for RangeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let bytes = self.at(self.position).map_err(io::Error::other)?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for RangeReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
