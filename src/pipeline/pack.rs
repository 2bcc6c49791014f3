//! Step 4, `pack`: the `.tgz` into the outbox. The same dump with the same date in the zip gives the same bytes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::thread;

use anyhow::Context;
use chrono::Utc;

use super::recorder::Notes;
use super::verify::Verified;
use crate::archive_name::ArchiveName;
use crate::config::settings::{Compression, Settings};
use crate::digest::Digest;
use crate::error::{Explain, Failure};
use crate::interrupt::Interrupt;
use crate::progress::{Bar, Progress};
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::tgz::{self, HashingWriter, TarMember};
use crate::units::show_size;
use crate::work_dir::WorkDir;
use crate::work_dir::outbox::{Item, Outbox, Packed};
use crate::zip_source::read_entry;

/// The level where the zip's own compression cannot be reused.
const DEFAULT_LEVEL: u32 = 6;

/// Builds the archive for the destinations that need it.
///
/// # Errors
/// Exit code 5.
#[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
pub fn pack(
    settings: &Settings,
    verified: &Verified,
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
    check_space(settings, verified, work_dir).map_err(|error| fail(error.context(what())))?;
    let member = TarMember {
        name: verified.record.entry.clone(),
        size_bytes: verified.record.bytes,
        mtime_unix: verified.location.mtime_unix,
    };
    let mut draft = outbox.draft().map_err(fail)?;
    let reuse = settings.archive.compression == Compression::Reuse && verified.read.splice.is_some();
    let total = if reuse { verified.location.compressed_size } else { verified.record.bytes };
    let bar = progress.begin("pack", Some(total));
    let written = write(settings, verified, &member, &mut draft.file, interrupt, bar.as_ref()).explain(
        what(),
        text!(
            "look at the free space and the health of the work dir's disk"
                / "vérifiez l'espace libre et l'état du disque du répertoire de travail"
        ),
    );
    drop(bar);
    let (sha256, bytes) = written.map_err(fail)?;
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

/// Counts what will be needed before the first byte is written.
fn check_space(settings: &Settings, verified: &Verified, work_dir: &WorkDir) -> anyhow::Result<()> {
    let free = work_dir.free_space().context("failed to ask for the free space of the work dir")?;
    let compressed = verified.location.compressed_size;
    let needed = match (settings.archive.compression, verified.read.splice.is_some()) {
        (Compression::Reuse, true) => compressed,
        // Another method or level may do worse than the zip's, rarely by half; a stored entry is as large as it can get.
        _ => compressed.saturating_add(compressed / 2).min(verified.record.bytes),
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
    let mut out = HashingWriter::new(Watched { inner: file, interrupt, bar, written: 0 });
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

/// Stops at an interruption and tells how far it is.
struct Watched<'a, W> {
    inner: W,
    interrupt: &'a Interrupt,
    bar: &'a dyn Bar,
    written: u64,
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.interrupt.check()?;
        let count = self.inner.write(bytes)?;
        self.written += count as u64;
        self.bar.set(self.written, None);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
