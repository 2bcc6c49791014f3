//! The spool file: the bytes that have arrived, and beside it a small `.meta` that says what they are part of, so that a
//! later attempt, or the next run, can go on instead of starting anew.
//!
//! The `.meta` exists only while the bytes belong to it: it is removed before the first byte of another version is written. It
//! stays beside a whole file, too, so that a run that is stopped before it has read it need not download it again.
//! Nothing is synchronised: what a power cut tears is found by the zip's checksums, and then fetched from zero.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use url::Url;

use super::super::{SourceError, Validators};
use super::content::{self, END_LEN, LEAD_LEN, MAGIC_LEN};
use crate::digest::Digest;

/// What the bytes in the spool file are part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// A strong validator, for `If-Range`.
    pub validator: String,
    /// Bytes of the whole zip.
    pub size_bytes: u64,
    /// What came with the first part: the others need not repeat it.
    pub validators: Validators,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    /// SHA-256 of the configured URL, whose query may hold a token.
    url_sha256: Digest,
    #[serde(flatten)]
    identity: Identity,
}

/// What is around a zip that does not end where its file does.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// Bytes before it.
    pub before: u64,
    /// Where it ends, if it does.
    pub end: Option<u64>,
    /// The first bytes behind it.
    pub behind: Vec<u8>,
}

/// The spool file, open for writing at its end.
pub(super) struct Spool {
    path: PathBuf,
    meta_path: PathBuf,
    url: Digest,
    file: File,
    received: u64,
    identity: Option<Identity>,
}

impl Spool {
    /// Opens what an earlier run left, if it can be continued, else a new file.
    pub(super) fn open(path: &Path, url: &Url) -> Result<Self, SourceError> {
        let meta_path = meta_path(path);
        let url = Digest(sha2::Sha256::digest(url.as_str()).into());
        let doing = || format!("failed to open the spool file `{}`", path.display());
        if let Some((file, received, identity)) =
            leftover(path, &meta_path, url).map_err(|error| SourceError::local(doing(), error))?
        {
            let path = path.to_owned();
            return Ok(Spool { path, meta_path, url, file, received, identity: Some(identity) });
        }
        let fresh = || {
            remove(&meta_path)?;
            remove(path)?;
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
        };
        let file = fresh().map_err(|error| SourceError::local(doing(), error))?;
        Ok(Spool { path: path.to_owned(), meta_path, url, file, received: 0, identity: None })
    }

    /// Bytes that are there.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// What the bytes are part of, if anything is known that could join two attempts.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The same, if there are bytes that can be continued.
    pub(super) fn resumable(&self) -> Option<&Identity> {
        self.identity.as_ref().filter(|_| self.received >= MAGIC_LEN as u64)
    }

    /// Throws the bytes away; those to come are part of `identity`, if anything is known that could join two attempts.
    pub(super) fn restart(&mut self, identity: Option<Identity>) -> Result<(), SourceError> {
        self.received = 0;
        self.identity = None;
        let result = remove(&self.meta_path).and_then(|()| {
            self.file.set_len(0)?;
            self.file.rewind()?;
            match &identity {
                Some(identity) => self.write_meta(identity),
                None => Ok(()),
            }
        });
        result.map_err(|error| SourceError::local(self.doing("write"), error))?;
        self.identity = identity;
        Ok(())
    }

    fn write_meta(&self, identity: &Identity) -> io::Result<()> {
        let json = serde_json::to_vec(&Meta { url_sha256: self.url, identity: identity.clone() })?;
        let new = self.meta_path.with_extension("meta.new");
        remove(&new)?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?.write_all(&json)?;
        fs::rename(new, &self.meta_path)
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.file.write_all(bytes).map_err(|error| SourceError::local(self.doing("write"), error))?;
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// The last bytes, as many as can hold the end record of a zip.
    pub(super) fn tail(&mut self) -> Result<Vec<u8>, SourceError> {
        let mut tail = Vec::new();
        let result = (|| {
            self.file.seek(SeekFrom::Start(self.received.saturating_sub(END_LEN)))?;
            Read::by_ref(&mut self.file).take(END_LEN).read_to_end(&mut tail)?;
            self.file.seek(SeekFrom::Start(self.received))
        })();
        result.map_err(|error| SourceError::local(self.doing("read"), error))?;
        Ok(tail)
    }

    /// What stands before the zip and behind it, bytes, as far as that can be found out; and the first bytes behind it.
    pub(super) fn around(&mut self) -> Result<Around, SourceError> {
        let mut around = Around::default();
        let len = self.received;
        let result = (|| {
            let mut head = Vec::new();
            self.file.rewind()?;
            Read::by_ref(&mut self.file).take(LEAD_LEN as u64).read_to_end(&mut head)?;
            around.before = content::start_of_zip(&head).unwrap_or(0) as u64;
            if let Some(end) = content::end_of_zip(&mut self.file, len)? {
                around.end = Some(end);
                self.file.seek(SeekFrom::Start(end))?;
                Read::by_ref(&mut self.file).take(200).read_to_end(&mut around.behind)?;
            }
            self.file.seek(SeekFrom::Start(len))
        })();
        result.map_err(|error| SourceError::local(self.doing("read"), error))?;
        Ok(around)
    }

    /// The download is not needed, or worthless: both files go. That this may fail too is of no interest then.
    pub(super) fn discard(self) {
        discard(&self.path);
    }

    /// The download failed half way: what can be continued stays, everything else goes.
    pub(super) fn keep_if_resumable(self) {
        match self.resumable() {
            Some(identity) => tracing::info!(
                "{} of {} bytes are kept for the next run in `{}`",
                self.received,
                identity.size_bytes,
                self.path.display()
            ),
            None => self.discard(),
        }
    }

    fn doing(&self, verb: &str) -> String {
        format!("failed to {verb} the spool file `{}`", self.path.display())
    }
}

/// The spool file and its `.meta` of an earlier run, if they belong to this URL and fit each other.
fn leftover(path: &Path, meta_path: &Path, url: Digest) -> io::Result<Option<(File, u64, Identity)>> {
    let json = match fs::read(meta_path) {
        Ok(json) => json,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(meta) = serde_json::from_slice::<Meta>(&json).ok().filter(|meta| meta.url_sha256 == url) else {
        return Ok(None);
    };
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = match OpenOptions::new().read(true).write(true).custom_flags(no_follow).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // The last byte of a whole file is asked for again: the answer proves that the server still has the same version.
    let received = file.metadata()?.len().min(meta.identity.size_bytes.saturating_sub(1));
    if received < MAGIC_LEN as u64 {
        return Ok(None);
    }
    file.set_len(received)?;
    file.seek(SeekFrom::Start(received))?;
    Ok(Some((file, received, meta.identity)))
}

/// Removes a spool file and what lies beside it. That this may fail is of no interest to who does not need them any more.
pub fn discard(path: &Path) {
    let _ = remove(&meta_path(path));
    let _ = remove(path);
}

fn meta_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".meta");
    PathBuf::from(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn identity() -> Identity {
        Identity { validator: "\"v1\"".into(), size_bytes: 10, validators: Validators::default() }
    }

    fn left(dir: &Path, bytes: &[u8]) -> PathBuf {
        let path = dir.join("dump.zip");
        let mut spool = Spool::open(&path, &url("https://h/a.zip?token=secret")).unwrap();
        spool.restart(Some(identity())).unwrap();
        spool.write(bytes).unwrap();
        spool.keep_if_resumable();
        path
    }

    #[test]
    fn a_leftover_is_continued_for_the_same_url_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = left(dir.path(), b"PK\x03\x04..");
        let spool = Spool::open(&path, &url("https://h/a.zip?token=secret")).unwrap();
        assert_eq!((spool.received(), spool.resumable()), (6, Some(&identity())));
        let spool = Spool::open(&path, &url("https://h/b.zip")).unwrap();
        assert_eq!((spool.received(), spool.resumable()), (0, None));
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_leftover_that_is_whole_asks_for_its_last_byte_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = left(dir.path(), b"PK\x03\x04......");
        assert_eq!(Spool::open(&path, &url("https://h/a.zip?token=secret")).unwrap().received(), 9);
    }

    #[test]
    fn files_are_private_and_the_meta_holds_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = left(dir.path(), b"PK\x03\x04..");
        for file in [path.clone(), meta_path(&path)] {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
        assert!(!fs::read_to_string(meta_path(&path)).unwrap().contains("secret"));
    }

    #[test]
    fn a_damaged_meta_or_too_few_bytes_start_from_zero() {
        let dir = tempfile::tempdir().unwrap();
        let path = left(dir.path(), b"PK\x03\x04..");
        fs::write(meta_path(&path), "{").unwrap();
        assert_eq!(Spool::open(&path, &url("https://h/a.zip?token=secret")).unwrap().received(), 0);
        assert!(!meta_path(&path).exists());
        let path = left(dir.path(), b"PK");
        assert!(!path.exists() && !meta_path(&path).exists());
    }

    #[test]
    fn a_link_in_the_place_of_the_spool_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = left(dir.path(), b"PK\x03\x04..");
        let other = dir.path().join("other");
        fs::write(&other, "PK\x03\x04precious").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(Spool::open(&path, &url("https://h/a.zip?token=secret")).is_err());
        fs::remove_file(meta_path(&path)).unwrap();
        Spool::open(&path, &url("https://h/a.zip?token=secret")).unwrap().write(b"x").unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"PK\x03\x04precious");
    }
}
