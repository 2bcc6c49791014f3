//! Publishing: upload under a temporary name, verify, then give the final name, then look again. Where a server shows a file
//! only once all of it is there ([`Capabilities::atomic_put`](crate::destination::Capabilities::atomic_put)), the temporary name is
//! left out.
//!
//! Works on any [`Destination`]; knows nothing of runs or reports. Nothing that exists is ever overwritten, and a file that
//! bears an archive's name is always whole.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use crate::archive_name::{ArchiveName, NamePattern};
use crate::config::settings::Verify;
use crate::destination::{Destination, DestinationError, Entry, ErrorKind, Source};
use crate::digest::Digest;
use crate::interrupt::Interrupt;
use crate::report::VerifiedBy;
use crate::text;
use crate::text::Text;

/// How many names of one day may be taken by other content before we give up.
const MAX_SERIAL: u32 = 99;

/// An archive on the local disk that wants to be published.
#[derive(Clone, Debug)]
pub struct Publication<'a> {
    /// The `.tgz`.
    pub path: &'a Path,
    /// The name it asks for.
    pub name: &'a ArchiveName,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// How to publish.
pub struct Publisher<'a> {
    /// The job: part of the temporary name, so that two jobs may share a directory.
    pub job: &'a str,
    /// Which names are archives.
    pub pattern: &'a NamePattern,
    /// What proves a copy.
    pub verify: Verify,
    /// Whether to write `….sha256` beside the archive.
    pub sidecar: bool,
    /// Asked between two blocks.
    pub interrupt: &'a Interrupt,
    /// Told how many bytes of the archive have been sent so far.
    pub progress: &'a dyn Fn(u64),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// The final name.
    pub name: ArchiveName,
    /// The same content had that name already; nothing was sent.
    pub was_there: bool,
    /// How the copy was verified.
    pub verified_by: VerifiedBy,
    /// See [`Entry::modified`], taken after the verification.
    pub modified: Option<DateTime<Utc>>,
    /// Something to look at that does not make the archive any less safe.
    pub warning: Option<Text>,
}

impl Publisher<'_> {
    /// Publishes one archive. `listing` is the directory as last listed; it is kept up to date.
    ///
    /// # Errors
    /// Whatever the destination said; then no new file bears an archive's name, or the one that does is whole.
    pub fn publish(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        listing: &mut Vec<Entry>,
    ) -> Result<Publishing, DestinationError> {
        let part = archive.name.part_name(self.job);
        for serial in archive.name.serial()..=MAX_SERIAL {
            let name = self.pattern.name(archive.name.date(), serial);
            match self.look_at(destination, archive, &name, listing)? {
                Look::Free => {}
                Look::Other => continue,
                Look::Same(verified_by) => {
                    self.remove_if_listed(destination, &part, listing);
                    tracing::info!("{name} is already there with this content");
                    return self.finish(destination, archive, name, verified_by, true, listing);
                }
            }
            let placed = match destination.capabilities().atomic_put {
                true => self.place_by_put(destination, archive, &name)?,
                false => self.place_by_move(destination, archive, &part, &name, listing)?,
            };
            if let Placed::Verified(verified_by) = placed {
                return self.finish(destination, archive, name, verified_by, false, listing);
            }
            // Somebody took the name since the listing: look at it afresh, and go on with the next name if need be.
            listing.retain(|entry| entry.name != name.as_str());
            if let Some(entry) = destination.stat(name.as_str())? {
                listing.push(entry);
            }
            if let Look::Same(verified_by) = self.look_at(destination, archive, &name, listing)? {
                self.remove_if_listed(destination, &part, listing);
                return self.finish(destination, archive, name, verified_by, true, listing);
            }
        }
        Err(DestinationError::new(
            ErrorKind::AlreadyExists,
            format!("every name from `{}` to `-{MAX_SERIAL}` is taken by other content", archive.name),
        )
        .with_hint(text!(
            "look at what fills the directory, and move it away"
                / "regardez ce qui remplit le répertoire, et déplacez-le"
        )))
    }

    /// Compares a file there with what it should hold: by the server's checksum, else by reading it back, no further than `bytes`.
    ///
    /// # Errors
    /// Whatever the destination said.
    pub fn holds(
        &self,
        destination: &mut dyn Destination,
        name: &str,
        bytes: u64,
        sha256: Digest,
    ) -> Result<Option<VerifiedBy>, DestinationError> {
        match destination.checksum(name)? {
            Some(found) if found == sha256 => return Ok(Some(VerifiedBy::ServerChecksum)),
            // Before an archive is called bad, its bytes themselves are looked at: a shell may see another directory tree
            // than SFTP does.
            Some(found) => {
                tracing::warn!("the server says that `{name}` has SHA-256 {found}, not {sha256}; reading it back")
            }
            None => {}
        }
        let (mut hasher, mut reached) = (Sha256::new(), 0_u64);
        let got = destination.get(name, 0, &mut |read| {
            self.interrupt.check()?;
            reached = reached.saturating_add(read.len() as u64);
            if reached > bytes {
                return Err(io::Error::other("more bytes came than were expected"));
            }
            hasher.update(read);
            Ok(())
        });
        if reached > bytes {
            tracing::warn!("`{name}` goes on after the {bytes} bytes that it should have");
            return Ok(None);
        }
        got?;
        Ok((Digest(hasher.finalize().into()) == sha256).then_some(VerifiedBy::ReadBack))
    }

    fn look_at(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        name: &ArchiveName,
        listing: &[Entry],
    ) -> Result<Look, DestinationError> {
        let Some(entry) = listing.iter().find(|entry| entry.name == name.as_str()) else {
            // A sidecar without its archive belongs to somebody's other content of that day.
            let orphan = self.sidecar && listing.iter().any(|entry| entry.name == name.sidecar());
            return Ok(if orphan { Look::Other } else { Look::Free });
        };
        if !entry.is_file || entry.size != archive.bytes {
            return Ok(Look::Other);
        }
        // The size alone would never do here: another night's content may well have it.
        Ok(self.holds(destination, name.as_str(), archive.bytes, archive.sha256)?.map_or(Look::Other, Look::Same))
    }

    /// Uploads under the temporary name, verifies, renames.
    fn place_by_move(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        part: &str,
        name: &ArchiveName,
        listing: &mut Vec<Entry>,
    ) -> Result<Placed, DestinationError> {
        let verified_by = self.upload_verified(destination, archive, part, listing)?;
        match destination.move_new(part, name.as_str()) {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                // Good as it is for the next name, or to be removed if the other file is this very content.
                listing.extend(destination.stat(part)?);
                return Ok(Placed::Taken);
            }
            Err(error) => {
                // The move may have happened although we were told otherwise: both names decide.
                let moved = matches!(destination.stat(name.as_str()), Ok(Some(entry)) if entry.size == archive.bytes)
                    && matches!(destination.stat(part), Ok(None));
                if !moved {
                    return Err(error);
                }
            }
        }
        listing.retain(|entry| entry.name != part);
        Ok(Placed::Verified(verified_by))
    }

    /// Uploads to the final name, which shows nothing until all of it is there, and verifies.
    ///
    /// A copy is removed only if this very upload is known to have made it.
    fn place_by_put(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        name: &ArchiveName,
    ) -> Result<Placed, DestinationError> {
        for attempt in 1..=2 {
            let mut source = ArchiveFile::open(archive, self.interrupt, self.progress)?;
            match destination.put_new(name.as_str(), &mut source) {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::AlreadyExists => return Ok(Placed::Taken),
                Err(error) => return Err(error),
            }
            if let Some(verified_by) = self.verify(destination, archive, name.as_str(), true)? {
                return Ok(Placed::Verified(verified_by));
            }
            destination.remove(name.as_str())?;
            if attempt == 1 {
                tracing::warn!("the copy at `{name}` differs from what was sent; removed, sending once more");
            }
        }
        Err(differs_twice(archive))
    }

    fn upload_verified(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        part: &str,
        listing: &mut Vec<Entry>,
    ) -> Result<VerifiedBy, DestinationError> {
        let mut offset = self.resume_offset(destination, archive, part, listing)?;
        // From here on the file there is no longer what was listed.
        listing.retain(|entry| entry.name != part);
        for attempt in 1.. {
            let mut source = ArchiveFile::open(archive, self.interrupt, self.progress)?;
            let mut put = destination.put(part, &mut source, offset);
            if offset > 0
                && let Err(error) = &put
                && error.resume_refused()
            {
                tracing::warn!("`{part}` could not be gone on with, all of it is sent again: {error}");
                self.remove_or_say(destination, part);
                offset = 0;
                put = destination.put(part, &mut source, 0);
            }
            put?;
            let is_straight = offset == 0 && destination.wrote_straight();
            if let Some(verified_by) = self.verify(destination, archive, part, is_straight)? {
                return Ok(verified_by);
            }
            destination.write_plainly();
            self.remove_or_say(destination, part);
            if attempt == 2 {
                break;
            }
            tracing::warn!("the copy at `{part}` differs from what was sent, sending once more");
            offset = 0;
        }
        Err(differs_twice(archive))
    }

    /// Removes a file of ours that is of no use; where an account may not delete, what is sent next overwrites it.
    fn remove_or_say(&self, destination: &mut dyn Destination, part: &str) {
        if let Err(error) = destination.remove(part) {
            tracing::warn!("could not remove `{part}`: {error}");
        }
    }

    /// How much of our own leftover can be kept: a true beginning of the archive, or nothing.
    fn resume_offset(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        part: &str,
        listing: &[Entry],
    ) -> Result<u64, DestinationError> {
        let Some(entry) = listing.iter().find(|entry| entry.name == part) else { return Ok(0) };
        if !entry.is_file || entry.size == 0 || entry.size > archive.bytes || !destination.capabilities().resume {
            return Ok(0);
        }
        match self.begins(destination, archive, part, entry.size) {
            Ok(true) => return Ok(entry.size),
            Ok(false) => {}
            // One that this account may write and not read.
            Err(error) if error.resume_refused() => {
                tracing::info!("`{part}` cannot be compared, all of it is sent again: {error}");
                return Ok(0);
            }
            Err(error) => return Err(error),
        }
        // Whoever wrote it may have been cut off with gaps near the end.
        let settled = entry.size.saturating_sub(destination.unsettled_bytes());
        if settled == 0 || settled == entry.size || destination.keep_beginning(part, settled)? != settled {
            return Ok(0);
        }
        Ok(if self.begins(destination, archive, part, settled)? { settled } else { 0 })
    }

    /// Whether a leftover of so many bytes is a beginning of the archive.
    fn begins(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        part: &str,
        bytes: u64,
    ) -> Result<bool, DestinationError> {
        let beginning = local_digest(archive.path, bytes).map_err(local)?;
        let holds = self.holds(destination, part, bytes, beginning)?.is_some();
        if holds {
            tracing::info!("`{part}` holds the first {bytes} bytes already; going on from there");
        }
        Ok(holds)
    }

    fn verify(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        part: &str,
        is_straight: bool,
    ) -> Result<Option<VerifiedBy>, DestinationError> {
        match self.verify {
            // Without the right size, `put` would have failed.
            Verify::Size if is_straight => Ok(Some(VerifiedBy::Size)),
            // The size proves nothing of a file that was written in several pieces.
            Verify::Size | Verify::Checksum => self.holds(destination, part, archive.bytes, archive.sha256),
        }
    }

    /// The last look, and the sidecar.
    fn finish(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        name: ArchiveName,
        verified_by: VerifiedBy,
        was_there: bool,
        listing: &mut Vec<Entry>,
    ) -> Result<Publishing, DestinationError> {
        let entry = destination.stat(name.as_str())?.filter(|entry| entry.size == archive.bytes).ok_or_else(|| {
            DestinationError::new(
                ErrorKind::Other,
                format!("`{name}` was put into place, yet it is not there with {} bytes", archive.bytes),
            )
        })?;
        let modified = entry.modified;
        listing.retain(|listed| listed.name != name.as_str());
        listing.push(entry);
        let warning = match self.sidecar.then(|| self.write_sidecar(destination, archive, &name, listing)) {
            Some(Err(error)) if error.kind == ErrorKind::Local && self.interrupt.exit_code().is_some() => {
                return Err(error);
            }
            Some(Err(error)) => {
                let sidecar = name.sidecar();
                Some(text!(
                    "the archive is safe, but `{sidecar}` could not be written: {error}"
                        / "l'archive est en sécurité, mais `{sidecar}` n'a pas pu être écrit : {error}"
                ))
            }
            Some(Ok(())) | None => None,
        };
        Ok(Publishing { name, was_there, verified_by, modified, warning })
    }

    fn write_sidecar(
        &self,
        destination: &mut dyn Destination,
        archive: &Publication<'_>,
        name: &ArchiveName,
        listing: &mut Vec<Entry>,
    ) -> Result<(), DestinationError> {
        let sidecar = name.sidecar();
        if listing.iter().any(|entry| entry.name == sidecar) {
            return Ok(());
        }
        let part = name.sidecar_part_name(self.job);
        let mut text = Bytes::new(sidecar_text(archive.sha256, name));
        if destination.capabilities().atomic_put {
            destination.put_new(&sidecar, &mut text)?;
        } else if let Err(error) =
            destination.put(&part, &mut text, 0).and_then(|()| destination.move_new(&part, &sidecar))
        {
            // The archive is safe; what is left of its sidecar should not stay, but is swept by the next run if it does.
            if let Err(second) = destination.remove(&part) {
                tracing::debug!("could not remove `{part}`: {second}");
            }
            return Err(error);
        }
        listing.retain(|entry| entry.name != part);
        if let Some(entry) = destination.stat(&sidecar)? {
            listing.push(entry);
        }
        Ok(())
    }

    fn remove_if_listed(&self, destination: &mut dyn Destination, name: &str, listing: &mut Vec<Entry>) {
        if !listing.iter().any(|entry| entry.name == name && entry.is_file) {
            return;
        }
        match destination.remove(name) {
            Ok(()) => listing.retain(|entry| entry.name != name),
            Err(error) => tracing::warn!("could not remove our own leftover `{name}`: {error}"),
        }
    }
}

/// The line that `sha256sum -c` reads (GNU coreutils, text mode: two spaces).
pub fn sidecar_text(sha256: Digest, name: &ArchiveName) -> String {
    format!("{sha256}  {name}\n")
}

/// What became of an upload to a name that was free.
enum Placed {
    Verified(VerifiedBy),
    Taken,
}

enum Look {
    Free,
    Same(VerifiedBy),
    Other,
}

fn differs_twice(archive: &Publication<'_>) -> DestinationError {
    DestinationError::new(ErrorKind::Other, format!("the copy of `{}` differs from what was sent, twice", archive.name))
        .with_hint(text!(
            "check the server's disk and memory: it does not give back what it was given"
                / "vérifiez le disque et la mémoire du serveur : il ne rend pas ce qu'il a reçu"
        ))
}

fn local(error: io::Error) -> DestinationError {
    DestinationError::new(ErrorKind::Local, "failed to read the archive from the outbox").caused_by(error)
}

/// SHA-256 of the first `bytes` of a file.
fn local_digest(path: &Path, bytes: u64) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?.take(bytes);
    let mut block = vec![0; 256 * 1024];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(Digest(hasher.finalize().into())),
            n => hasher.update(&block[..n]),
        }
    }
}

/// The archive as a [`Source`]: tells the progress and stops at an interruption.
struct ArchiveFile<'a> {
    path: &'a Path,
    file: File,
    len_bytes: u64,
    position: u64,
    interrupt: &'a Interrupt,
    progress: &'a dyn Fn(u64),
}

impl<'a> ArchiveFile<'a> {
    fn open(
        archive: &Publication<'a>,
        interrupt: &'a Interrupt,
        progress: &'a dyn Fn(u64),
    ) -> Result<Self, DestinationError> {
        let file = File::open(archive.path).map_err(local)?;
        let len_bytes = file.metadata().map_err(local)?.len();
        if len_bytes != archive.bytes {
            return Err(local(io::Error::other(format!("it has {len_bytes} bytes, expected {}", archive.bytes))));
        }
        Ok(ArchiveFile { path: archive.path, file, len_bytes, position: 0, interrupt, progress })
    }
}

impl Read for ArchiveFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt.check()?;
        let count = self.file.read(buffer)?;
        self.position += count as u64;
        (self.progress)(self.position);
        Ok(count)
    }
}

impl Seek for ArchiveFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.file.seek(to)?;
        Ok(self.position)
    }
}

impl Source for ArchiveFile<'_> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn local_path(&self) -> Option<&Path> {
        Some(self.path)
    }

    fn sent_by_path(&mut self, bytes: u64) -> io::Result<()> {
        self.interrupt.check()?;
        (self.progress)(bytes);
        Ok(())
    }
}

/// A few bytes of our own as a [`Source`].
pub struct Bytes(io::Cursor<Vec<u8>>);

impl Bytes {
    /// Wraps the bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Bytes(io::Cursor::new(bytes.into()))
    }
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for Bytes {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Source for Bytes {
    fn len_bytes(&self) -> u64 {
        self.0.get_ref().len() as u64
    }
}

#[cfg(test)]
mod tests;
