//! Where the zip comes from. [`HttpSource`] is the only source so far; others come beside its folder and give the same
//! [`Fetched`], so that `verify` and `pack` need not know which one it was.
//!
//! A source moves bytes into a spool file and proves that they are all there. It does not look into the zip beyond its first
//! and last bytes, and knows neither the pipeline nor the report.

mod error;
mod hints;
mod http;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

pub use crate::http::shown;
pub use error::{SourceError, SourceErrorKind};
pub use http::{HttpSource, RangeReader, discard};

/// What a server says to recognise a file's version by (RFC 9110 §8.8); stored, and shown to it again next night.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validators {
    /// `ETag` as sent, with its quotes, and `W/` if it is weak.
    pub etag: Option<String>,
    /// `Last-Modified` as sent.
    pub last_modified: Option<String>,
}

impl Validators {
    /// Whether the server gave nothing to recognise the file by.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the zip that are on the disk, those of an earlier attempt included; smaller than before after a restart.
    pub received_bytes: u64,
    /// Bytes of the whole zip, if the server announced them.
    pub total_bytes: Option<u64>,
}

/// How a download ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The file is the one that the previous [`Validators`] belong to; there is no spool file.
    NotModified,
    /// The file's end told enough; there is no spool file.
    Recognised {
        /// Bytes of the zip.
        size_bytes: u64,
        /// Of the version that was looked at, for the next night; possibly empty.
        validators: Validators,
    },
    /// The spool file holds the whole zip.
    Zip {
        /// Bytes of the zip.
        size_bytes: u64,
        /// For the next night; possibly empty.
        validators: Validators,
        /// How many times bytes of an earlier attempt or run were continued. Should the zip turn out to be damaged and this
        /// is not 0, fetching again from zero is worth a try.
        resumed: u32,
        /// Attempts it took, at least 1.
        attempts: u32,
        /// Where it came from in the end, after redirects; it may hold a token in its query.
        final_url: Url,
    },
}

/// What a source says about itself without being downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Bytes of the zip, if the server tells.
    pub size_bytes: Option<u64>,
    /// What the server recognises the file by; empty means that an unchanged file is downloaded every night.
    pub validators: Validators,
    /// Whether parts can be asked for.
    pub ranges: bool,
    /// Whether a download that is cut can go on where it was.
    pub resumable: bool,
    /// After redirects; it may hold a token in its query: show it with [`shown`].
    pub final_url: Url,
    /// How many redirects were followed.
    pub redirects: u32,
    /// The server's clock.
    pub server_date: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validators_of_an_older_state_file_are_read() {
        let read: Validators = serde_json::from_str(r#"{"etag":"W/\"1\""}"#).unwrap();
        assert_eq!(read, Validators { etag: Some("W/\"1\"".into()), last_modified: None });
        assert!(Validators::default().is_empty() && !read.is_empty());
    }
}
