//! Step 1, `download`: the zip into the spool, or the news that nothing changed.

use std::path::PathBuf;

use super::recorder::Notes;
use crate::config::settings::{DumpSettings, OnUnchanged, Settings};
use crate::digest::Digest;
use crate::error::{Failure, while_doing};
use crate::progress::Progress;
use crate::report::SourceReport;
use crate::source::{self, Fetched, HttpSource, RangeReader, Validators};
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::units::show_size;
use crate::work_dir::WorkDir;
use crate::work_dir::state::{DumpRecord, SourceState, State};
use crate::zip_source::{Encryption, find_entry};

/// What the source gave.
pub enum Content {
    /// Nothing newer than what was verified before, with the validators that it has now.
    NotModified(Box<SourceState>),
    /// A zip.
    Zip(SpooledZip),
}

/// A zip in the spool.
pub struct SpooledZip {
    /// The file.
    pub path: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// For the next night.
    pub validators: Validators,
    /// Whether it was put together from several attempts.
    pub resumed: bool,
}

/// Where the zip is spooled.
pub fn spool_file(work_dir: &WorkDir) -> PathBuf {
    work_dir.spool().join("source.zip")
}

/// What a dump had to be to be trusted: one that was judged otherwise is to be read again.
pub fn judged(dump: &DumpSettings) -> String {
    format!("{:?}, {} to {} bytes", dump.complete, dump.min_size, dump.max_size)
}

/// What a `304` would be worth tonight: the last verified zip, if it was this very entry of this very URL, was judged in the same
/// way, and every destination has an archive to compare with.
pub fn comparable<'a>(settings: &Settings, fingerprint_method: &str, state: &'a State) -> Option<&'a SourceState> {
    let known = state.source.as_ref()?;
    let same = known.url_sha256 == Digest::of(settings.source.url.as_str())
        && known.dump.entry == settings.source.entry
        && known.dump.fingerprint_method == fingerprint_method
        && known.judged == judged(&settings.dump)
        && settings.dump.on_unchanged != OnUnchanged::Archive
        && settings.destinations.iter().all(|d| state.destinations.get(&d.name).is_some_and(|s| s.published.is_some()));
    same.then_some(known)
}

/// Fetches the zip, conditionally if there is something to compare with.
///
/// # Errors
/// Exit code 3, or 5 if the spool's disk is full.
pub fn download(
    settings: &Settings,
    source: &HttpSource,
    work_dir: &WorkDir,
    known: Option<&SourceState>,
    progress: &dyn Progress,
    notes: &mut Notes<'_>,
) -> Result<(Content, SourceReport), Failure> {
    let path = spool_file(work_dir);
    let bar = progress.begin("download", None);
    let mut show = |now: source::Progress| bar.set(now.received_bytes, now.total_bytes);
    let validators = known.map(|known| &known.validators);
    let fetched = match known.filter(|_| settings.source.trust_directory) {
        Some(known) => source.fetch_unless(&path, validators, &mut |zip| holds_the_same(zip, &known.dump), &mut show),
        None => source.fetch(&path, validators, &mut show),
    };
    let fetched = fetched.map_err(|error| {
        let (code, summary) = (error.exit_code(), error.summary().clone());
        let what = format!("failed to download `{}`", source::shown(&settings.source.url));
        Failure::new(Step::Download, while_doing(what)(error)).with_code(code).summed_up(summary)
    })?;
    drop(bar);
    let url = source::shown(&settings.source.url);
    match (fetched, known) {
        (Fetched::NotModified, Some(known)) => {
            notes.detail(text!(
                "not modified since the last run (304)" / "non modifié depuis la dernière exécution (304)"
            ));
            let grounds = text!("the server says it has not changed" / "inchangé selon le serveur");
            Ok((Content::NotModified(Box::new(known.clone())), not_downloaded(url, known.zip_bytes, grounds)))
        }
        (Fetched::Recognised { size_bytes, validators }, Some(known)) => {
            let grounds = text!(
                "the entry's size and CRC-32 in the zip's directory are those of the last run"
                    / "la taille et le CRC-32 de l'entrée dans le répertoire du zip sont ceux de la dernière exécution"
            );
            notes.detail(grounds.clone());
            let now = SourceState { validators, zip_bytes: size_bytes, ..known.clone() };
            Ok((Content::NotModified(Box::new(now)), not_downloaded(url, size_bytes, grounds)))
        }
        (Fetched::NotModified | Fetched::Recognised { .. }, None) => {
            let error = anyhow::anyhow!("the server answered 304 Not Modified to a request without any condition");
            Err(Failure::new(Step::Download, error))
        }
        (Fetched::Zip { size_bytes, validators, resumed, attempts, .. }, _) => {
            notes.detail(detail(size_bytes, resumed, attempts));
            let report = SourceReport { url, zip_bytes: Some(size_bytes), not_modified: false, grounds: None, resumed };
            Ok((Content::Zip(SpooledZip { path, bytes: size_bytes, validators, resumed: resumed > 0 }), report))
        }
    }
}

fn not_downloaded(url: String, zip_bytes: u64, grounds: Text) -> SourceReport {
    SourceReport { url, zip_bytes: Some(zip_bytes), not_modified: true, grounds: Some(grounds), resumed: 0 }
}

/// Whether the zip's directory shows the dump that was verified last. AE-2 entries show no CRC-32, so they never do.
fn holds_the_same(zip: &mut RangeReader<'_>, dump: &DumpRecord) -> bool {
    match find_entry(zip, &dump.entry) {
        Ok(found) => {
            let has_crc = !matches!(found.encryption, Encryption::Aes { has_crc: false });
            has_crc && found.declared_size == dump.bytes && found.crc32 == dump.crc32
        }
        Err(error) => {
            tracing::debug!("`{}` was not found in the zip's directory: {error}", dump.entry);
            false
        }
    }
}

fn detail(bytes: u64, resumed: u32, attempts: u32) -> Text {
    let (mut en, mut fr) = (show_size(bytes, Language::En), show_size(bytes, Language::Fr));
    if resumed > 0 {
        en.push_str(&format!(", resumed {resumed} ×"));
        fr.push_str(&format!(", repris {resumed} fois"));
    } else if attempts > 1 {
        en.push_str(&format!(", at attempt {attempts}"));
        fr.push_str(&format!(", à la tentative n° {attempts}"));
    }
    Text::new(en, fr)
}
