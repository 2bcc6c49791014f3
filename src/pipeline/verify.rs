//! Step 2, `verify`: one streaming pass over the entry proves that the zip and the dump in it can be trusted.

use std::fs::File;
use std::io;

use super::download::SpooledZip;
use super::recorder::Notes;
use crate::config::settings::{DumpSettings, Settings, VolatileLines};
use crate::deflate::Horizon;
use crate::digest::Digest;
use crate::dump::{Completeness, DumpFindings, DumpScanner, Unchecked};
use crate::error::{Explain, Explained, Failure, while_doing};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::units::show_size;
use crate::work_dir::state::{DumpRecord, PublishedArchive};
use crate::zip_source::{EntryLocation, EntryRead, ZipError, find_entry, read_entry_threaded};

/// A dump that can be trusted, and where it is.
pub struct Verified {
    /// The zip.
    pub zip: SpooledZip,
    /// The entry in it.
    pub location: EntryLocation,
    /// What the pass over the entry yielded for packing.
    pub read: EntryRead,
    /// What is known of the dump.
    pub record: DumpRecord,
}

/// What is known from earlier nights.
pub struct Before {
    /// The last published archive.
    pub published: Option<PublishedArchive>,
    /// Who wrote the last dump.
    pub producer: Option<String>,
}

/// Names the way in which fingerprints are made, so that those of another way are never compared.
pub fn fingerprint_method(volatile: &VolatileLines) -> String {
    use sha2::Digest as _;
    match volatile {
        VolatileLines::Auto => "auto-2".to_owned(),
        VolatileLines::None => "none".to_owned(),
        VolatileLines::Patterns(patterns) => {
            let mut hasher = sha2::Sha256::new();
            for pattern in patterns {
                hasher.update(pattern.as_str());
                hasher.update([0]);
            }
            format!("patterns-{}", &Digest(hasher.finalize().into()).to_string()[..16])
        }
    }
}

/// Reads the entry to its last byte and judges the dump; `horizon` tells how far that is.
///
/// # Errors
/// Exit code 4; 5 if the spool cannot be read.
pub fn verify(
    settings: &Settings,
    zip: SpooledZip,
    before: &Before,
    horizon: &Horizon,
    interrupt: &Interrupt,
    progress: &dyn Progress,
    notes: &mut Notes<'_>,
) -> Result<Verified, Failure> {
    let entry = &settings.source.entry;
    let refuse = |error: ZipError| {
        let summary = error.summary();
        let code = if matches!(error, ZipError::Io(_)) { ExitCode::Pack } else { ExitCode::Verify };
        let what = format!("failed to verify `{entry}` in the downloaded zip");
        Failure::new(Step::Verify, while_doing(what)(error)).with_code(code).summed_up(summary)
    };
    let mut file = File::open(&zip.path).map_err(|error| refuse(ZipError::Io(error)))?;
    let location = find_entry(&mut file, entry).map_err(refuse)?;
    let mut scanner = DumpScanner::new(settings.dump.complete.clone(), settings.dump.volatile_lines.clone());
    let bar = progress.begin("verify", Some(location.declared_size));
    let mut seen = 0;
    let read = read_entry_threaded(
        &mut file,
        &location,
        settings.source.zip_password.as_ref().map(|password| password.expose().as_bytes()),
        settings.dump.max_size,
        |bytes| -> io::Result<()> {
            interrupt.check()?;
            scanner.update(bytes);
            seen += bytes.len() as u64;
            bar.set(seen, Some(location.declared_size));
            Ok(())
        },
        Some(horizon),
    )
    .map_err(refuse)?;
    drop(bar);
    let findings = scanner.finish();
    if read.trailing_bytes > 0 {
        notes.warn(text!(
            "the zip holds {0} bytes of garbage behind the end of `{entry}`; the dump itself is whole"
                / "le zip contient {0} octets parasites après la fin de `{entry}` ; l'export lui-même est entier",
            read.trailing_bytes
        ));
    }
    judge(&settings.dump, &findings, before.published.as_ref())
        .map_err(|(error, summary)| Failure::new(Step::Verify, error).summed_up(summary))?;
    for warning in &findings.warnings {
        notes.warn(warning.text());
    }
    notes.detail(detail(&findings));
    let producer = findings.producer.to_string();
    if let (Completeness::Unchecked { why: Unchecked::Binary(_) }, Some(before)) =
        (&findings.completeness, &before.producer)
        && *before != producer
    {
        notes.warn(text!(
            "the last dump was a {before}, this one is a {producer}, whose end cannot be judged: is it what you expect?"
                / "le dernier export était : {before} ; celui-ci est : {producer}, dont la fin ne peut pas être jugée : est-ce bien ce que vous attendez ?"
        ));
    }
    let record = DumpRecord {
        entry: entry.clone(),
        bytes: findings.size_bytes,
        sha256: findings.sha256,
        fingerprint: findings.fingerprint,
        fingerprint_method: fingerprint_method(&settings.dump.volatile_lines),
        crc32: read.crc32,
        producer,
        completeness: findings.completeness.text(),
        edges: findings.edges.map(|edges| edges.of_dump(read.crc32)),
    };
    Ok(Verified { zip, location, read, record })
}

/// Whole, and not suspiciously small? The second of the pair is for the subject of a mail.
fn judge(
    settings: &DumpSettings,
    findings: &DumpFindings,
    previous: Option<&PublishedArchive>,
) -> Result<(), (anyhow::Error, Text)> {
    let bytes = findings.size_bytes;
    let shown = show_size(bytes, Language::En);
    if let Completeness::Incomplete { reason, stop } = &findings.completeness {
        let stop = stop.as_ref().map_or_else(String::new, |stop| format!("; {}", stop.text().en));
        let why = format!("{reason}{stop}");
        let error = Err::<(), _>(anyhow::anyhow!(why))
            .explain(format!("the dump is not complete ({shown}, {})", findings.producer), reason.hint());
        return error.map_err(|error| (error, text!("incomplete: {reason}" / "incomplet : {reason}")));
    }
    if bytes < settings.min_size {
        let least = show_size(settings.min_size, Language::En);
        let message = format!("the dump has {shown}, less than `min_size` = {least}");
        let hint = text!(
            "look at the job that makes the export; if the database really is that small, lower `min_size` under `[dump]`"
                / "voyez la tâche qui produit l'export ; si la base est vraiment si petite, abaissez `min_size` dans `[dump]`"
        );
        let (shown, least) = (show_size(bytes, Language::Fr), show_size(settings.min_size, Language::Fr));
        let fr = format!("l'export fait {shown}, moins que `min_size` = {least}");
        let error = refused("the dump is too small to be trusted", &message, hint);
        return Err((error, Text::new(message, fr)));
    }
    match previous {
        Some(previous) => not_shrunk(settings, bytes, previous),
        None => Ok(()),
    }
}

/// Refuses a dump that is much smaller than the last published one. After a lost state that one is known only once `compare` has
/// read an archive back.
///
/// # Errors
/// The error, and a few words for the subject of a mail.
pub fn not_shrunk(
    settings: &DumpSettings,
    bytes: u64,
    previous: &PublishedArchive,
) -> Result<(), (anyhow::Error, Text)> {
    let least = previous.dump_bytes as u128 * u128::from(100 - settings.max_shrink_percent.min(100));
    if (bytes as u128) * 100 >= least {
        return Ok(());
    }
    let (shown, before) = (show_size(bytes, Language::En), show_size(previous.dump_bytes, Language::En));
    let (name, shrunk) = (&previous.name, 100 - bytes * 100 / previous.dump_bytes.max(1));
    let message = format!("the dump shrank by {shrunk} %: {shown} now, {before} in `{name}`");
    let hint = text!(
        "look at the database: were tables lost? If it is right, raise `max_shrink` under `[dump]` for one run"
            / "regardez la base : des tables ont-elles disparu ? Si c'est normal, augmentez `max_shrink` dans `[dump]` pour une exécution"
    );
    let (shown, before) = (show_size(bytes, Language::Fr), show_size(previous.dump_bytes, Language::Fr));
    let fr = format!("l'export a rétréci de {shrunk} % : {shown}, contre {before} dans `{name}`");
    let error = refused("the dump is too small to follow the last one", &message, hint);
    Err((error, Text::new(message, fr)))
}

/// What, why, and what to do.
fn refused(what: &str, why: &str, hint: Text) -> anyhow::Error {
    anyhow::anyhow!(why.to_owned()).context(Explained::new(what, hint))
}

fn detail(findings: &DumpFindings) -> Text {
    let text = findings.completeness.text();
    let side = |language: Language, completeness: &str| {
        format!("{}, {}, {completeness}", show_size(findings.size_bytes, language), findings.producer)
    };
    Text::new(side(Language::En, &text.en), side(Language::Fr, &text.fr))
}
