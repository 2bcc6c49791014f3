//! Step 4, `pack`: the `.tgz` into the outbox. The same dump with the same date in the zip gives the same bytes.
//!
//! Where the zip's own compression is reused, the archive is written [ahead](pack_ahead): while `verify` still reads the entry, a
//! thread follows it and copies. What it has written counts for nothing until `verify` and `compare` have had their say; then
//! this step only has to give it its place.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;

use anyhow::Context;
use chrono::Utc;

use super::recorder::Notes;
use super::verify::Verified;
use crate::archive_name::ArchiveName;
use crate::config::settings::{Compression, Settings};
use crate::deflate::Horizon;
use crate::digest::Digest;
use crate::error::{Explain, Failure};
use crate::interrupt::Interrupt;
use crate::progress::{Bar, Progress, Unwatched};
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::tgz::{self, HashingWriter, TarMember};
use crate::units::show_size;
use crate::work_dir::WorkDir;
use crate::work_dir::outbox::{Draft, Item, Outbox, Packed};
use crate::zip_source::{EntryLocation, find_entry, read_entry};

/// The level where the zip's own compression cannot be reused.
const DEFAULT_LEVEL: u32 = 6;

/// An archive that was written while the dump was verified, and still needs a reason to stay.
pub struct Ahead {
    draft: Draft,
    sha256: Digest,
    bytes: u64,
}

/// Runs `verify`, and beside it writes the archive of the same entry if its compression can be reused.
///
/// Whatever goes wrong here is no failure: `pack` will meet it again, if the archive is needed at all, and report it.
pub fn pack_ahead<T>(
    settings: &Settings,
    zip: &Path,
    outbox: &Outbox,
    work_dir: &WorkDir,
    interrupt: &Interrupt,
    verify: impl FnOnce(&Horizon) -> T,
) -> (T, Option<Ahead>) {
    let horizon = Horizon::default();
    thread::scope(|scope| {
        let writing = scope.spawn(|| follow(settings, zip, outbox, work_dir, interrupt, &horizon));
        let verified = {
            // Ends the waiting of the other thread, even if reading the entry never begins.
            let _ended = horizon.reaching();
            verify(&horizon)
        };
        let ahead = match writing.join() {
            Ok(Ok(ahead)) => ahead,
            Ok(Err(error)) => {
                tracing::debug!("the archive could not be written while the dump was verified: {error:#}");
                None
            }
            Err(panic) => std::panic::resume_unwind(panic),
        };
        (verified, ahead)
    })
}

fn follow(
    settings: &Settings,
    zip: &Path,
    outbox: &Outbox,
    work_dir: &WorkDir,
    interrupt: &Interrupt,
    horizon: &Horizon,
) -> anyhow::Result<Option<Ahead>> {
    let mut zip = File::open(zip)?;
    let location = find_entry(&mut zip, &settings.source.entry)?;
    if settings.archive.compression != Compression::Reuse
        || !location.is_plain_deflate()
        || location.declared_size > settings.dump.max_size
        || check_space(&location, true, work_dir).is_err()
    {
        return Ok(None);
    }
    let member = TarMember {
        name: settings.source.entry.clone(),
        size_bytes: location.declared_size,
        mtime_unix: location.mtime_unix,
    };
    zip.seek(SeekFrom::Start(location.data_start))?;
    let mut draft = outbox.draft()?;
    let mut out = HashingWriter::new(Watched::new(&mut draft.file, interrupt, &Unwatched));
    let written = tgz::splice_behind(&mut out, &member, &mut zip, horizon)?;
    let (_, hashed) = out.finish();
    Ok(written.map(|_| Ahead { draft, sha256: Digest(hashed.sha256), bytes: hashed.size_bytes }))
}

/// Builds the archive for the destinations that need it.
///
/// # Errors
/// Exit code 5.
#[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
pub fn pack(
    settings: &Settings,
    verified: &Verified,
    ahead: Option<Ahead>,
    name: ArchiveName,
    pending: Vec<String>,
    work_dir: &WorkDir,
    outbox: &Outbox,
    interrupt: &Interrupt,
    progress: &dyn Progress,
    notes: &mut Notes<'_>,
) -> Result<Item, Failure> {
    let fail = |error: anyhow::Error| Failure::new(Step::Pack, error);
    let what = || format!("failed to build `{name}` in `{}`", outbox.dir().display());
    let reuse = settings.archive.compression == Compression::Reuse && verified.read.splice.is_some();
    let Ahead { draft, sha256, bytes } = match ahead {
        Some(ahead) => ahead,
        None => build(settings, verified, reuse, work_dir, outbox, interrupt, progress, &what).map_err(fail)?,
    };
    let packed = Packed {
        name: name.clone(),
        bytes,
        sha256,
        reused_compression: reuse,
        dump: verified.record.clone(),
        pending,
        delivered: Vec::new(),
        packed_at: Utc::now(),
    };
    let item = outbox.commit(draft, packed).map_err(|error| fail(error.context(what())))?;
    let method = if reuse {
        text!("the zip's compression reused" / "compression du zip réutilisée")
    } else {
        text!("compressed anew" / "recompressé")
    };
    notes.detail(Text::new(
        format!("{name}, {}, {}", show_size(bytes, Language::En), method.en),
        format!("{name}, {}, {}", show_size(bytes, Language::Fr), method.fr),
    ));
    Ok(item)
}

/// Writes the archive from the verified zip, as nothing was written ahead.
#[expect(clippy::too_many_arguments, reason = "what `pack` has, handed on")]
fn build(
    settings: &Settings,
    verified: &Verified,
    reuse: bool,
    work_dir: &WorkDir,
    outbox: &Outbox,
    interrupt: &Interrupt,
    progress: &dyn Progress,
    what: &dyn Fn() -> String,
) -> anyhow::Result<Ahead> {
    check_space(&verified.location, reuse, work_dir).with_context(what)?;
    let member = TarMember {
        name: verified.record.entry.clone(),
        size_bytes: verified.record.bytes,
        mtime_unix: verified.location.mtime_unix,
    };
    let mut draft = outbox.draft()?;
    let total = if reuse { verified.location.compressed_size } else { verified.record.bytes };
    let bar = progress.begin("pack", Some(total));
    let written = write(settings, verified, &member, &mut draft.file, interrupt, bar.as_ref());
    let (sha256, bytes) = match interrupt.exit_code() {
        // Nothing is to be done about the disk.
        Some(_) => written.with_context(what)?,
        None => written.explain(
            what(),
            text!(
                "look at the free space and the health of the work dir's disk"
                    / "vérifiez l'espace libre et l'état du disque du répertoire de travail"
            ),
        )?,
    };
    Ok(Ahead { draft, sha256, bytes })
}

/// Counts what will be needed before the first byte is written.
fn check_space(location: &EntryLocation, reuse: bool, work_dir: &WorkDir) -> anyhow::Result<()> {
    let free = work_dir.free_space().context("failed to ask for the free space of the work dir")?;
    let compressed = location.compressed_size;
    let needed = match reuse {
        true => compressed,
        // Another method or level may do worse than the zip's, rarely by half; a stored entry is as large as it can get.
        false => compressed.saturating_add(compressed / 2).min(location.declared_size),
    };
    let needed = needed.saturating_add(1 << 20);
    if free < needed {
        let (free, needed) = (show_size(free, Language::En), show_size(needed, Language::En));
        return Err(crate::error::explained(
            format!(
                "the disk of the work dir `{}` has {free} free, the archive needs about {needed}",
                work_dir.root().display()
            ),
            text!(
                "free some space there, or set `work_dir` to a larger disk"
                    / "libérez de la place, ou choisissez un `work_dir` sur un disque plus grand"
            ),
        ));
    }
    Ok(())
}

fn write(
    settings: &Settings,
    verified: &Verified,
    member: &TarMember,
    file: &mut File,
    interrupt: &Interrupt,
    bar: &dyn Bar,
) -> anyhow::Result<(Digest, u64)> {
    let mut zip = File::open(&verified.zip.path)?;
    let mut out = HashingWriter::new(Watched::new(file, interrupt, bar));
    match (settings.archive.compression, &verified.read.splice) {
        (Compression::Reuse, Some(map)) => {
            zip.seek(SeekFrom::Start(verified.location.data_start))?;
            tgz::splice(&mut out, member, &mut zip, map, verified.read.crc32)?;
        }
        (compression, _) => {
            let level = match compression {
                Compression::Level(level) => level,
                Compression::Reuse => DEFAULT_LEVEL,
            };
            compress(settings, verified, member, level, &mut zip, &mut out)?;
        }
    }
    let (_, written) = out.finish();
    Ok((Digest(written.sha256), written.size_bytes))
}

/// Reads the entry once more, on a thread of its own, and compresses it anew.
fn compress(
    settings: &Settings,
    verified: &Verified,
    member: &TarMember,
    level: u32,
    zip: &mut File,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (mut reader, mut writer) = io::pipe()?;
    let password = settings.source.zip_password.as_ref().map(|password| password.expose().as_bytes());
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            read_entry(zip, &verified.location, password, settings.dump.max_size, &mut |bytes| writer.write_all(bytes))
        });
        let compressed = tgz::compress(out, member, level, &mut reader);
        drop(reader);
        let read = match reading.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // If writing failed, reading failed after it for want of a reader: the first cause counts.
        compressed.context("failed to compress")?;
        read.context("failed to read the entry a second time")?;
        Ok(())
    })
}

/// What may be left unwritten by the disk: the flush at the end then is a short one, and the disk works while we do.
const UNFLUSHED: u64 = 32 << 20;

/// Stops at an interruption, tells how far it is, and keeps the disk busy.
struct Watched<'a> {
    file: &'a mut File,
    interrupt: &'a Interrupt,
    bar: &'a dyn Bar,
    written: u64,
    flushed: u64,
}

impl<'a> Watched<'a> {
    fn new(file: &'a mut File, interrupt: &'a Interrupt, bar: &'a dyn Bar) -> Self {
        Watched { file, interrupt, bar, written: 0, flushed: 0 }
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.interrupt.check()?;
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        if self.written - self.flushed >= UNFLUSHED {
            self.file.sync_data()?;
            self.flushed = self.written;
        }
        self.bar.set(self.written, None);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
