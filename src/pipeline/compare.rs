//! Step 3, `compare`: is tonight's dump new, for each destination by itself?
//!
//! Unchanged means: the same fingerprint as the archive that was published there last, *and* that archive is still there as
//! it was published. What state does not know is learnt from the destination.

use std::time::Duration;

use chrono::DateTime;
use chrono_tz::Tz;

use super::rebuild::read_archive;
use super::recorder::Notes;
use super::target::{Decision, Target};
use crate::config::settings::{OnUnchanged, Settings, Verify};
use crate::destination::{DestinationError, ErrorKind};
use crate::error::{Explained, Failure, while_doing};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::publish::Publisher;
use crate::report::{DestinationResult, VerifiedBy};
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::units::{show_date, show_duration};
use crate::work_dir::outbox::Item;
use crate::work_dir::state::{DestinationState, DumpRecord, PublishedArchive, State};

/// What the comparison needs to know.
pub struct Comparing<'a> {
    /// The job.
    pub settings: &'a Settings,
    /// Tonight's dump.
    pub dump: &'a DumpRecord,
    /// What waits.
    pub waiting: &'a [Item],
    /// The job's time.
    pub now: DateTime<Tz>,
    /// Nothing is written at a destination.
    pub dry_run: bool,
    /// Asked between two blocks.
    pub interrupt: &'a Interrupt,
    /// Told how far a read-back is.
    pub progress: &'a dyn Progress,
}

impl Comparing<'_> {
    /// Decides for each destination, and applies `on_unchanged`.
    ///
    /// # Errors
    /// Exit code 9 under `on_unchanged = "fail"`; the code of an interruption.
    pub fn compare(&self, targets: &mut [Target<'_>], state: &mut State, notes: &mut Notes<'_>) -> Result<(), Failure> {
        for target in targets.iter_mut() {
            let name = &target.settings.name;
            let _span = tracing::info_span!("at", destination = name.as_str()).entered();
            target.trouble = None;
            target.decision = match self.decide(target, state, notes) {
                Ok(decision) => decision,
                Err(error) if self.interrupt.exit_code().is_some() => {
                    return Err(Failure::new(Step::Compare, while_doing(format!("failed to look at `{name}`"))(error)));
                }
                Err(error) => {
                    tracing::warn!("could not be asked what it holds: {error}");
                    target.session = None;
                    target.trouble = Some(error);
                    self.decide_without_asking(target, state)
                }
            };
            tracing::info!("{}", target.decision);
        }
        self.apply_on_unchanged(targets, notes)
    }

    fn decide(
        &self,
        target: &mut Target<'_>,
        state: &mut State,
        notes: &mut Notes<'_>,
    ) -> Result<Decision, DestinationError> {
        let name = target.settings.name.clone();
        target.session(self.interrupt, self.dry_run)?;
        target.note_held(&self.settings.archive.name);
        self.note_loss(target, state, notes);
        if state.destination(&name, &target.report.location).is_none_or(|known| known.published.is_none()) {
            let learnt = self.learn(target, notes)?;
            state.destinations.insert(name.clone(), learnt);
        }
        let published = state.destinations.get(&name).and_then(|known| known.published.clone());
        if let Some(published) = published.filter(|published| self.same_content(published)) {
            match self.still_there(target, &published)? {
                Some(grounds) => {
                    tracing::info!("`{}` holds this content; {grounds}", published.name);
                    if let Some(entry) = target.listing.iter().find(|entry| entry.name == published.name.as_str())
                        && let Some(known) = state.destinations.get_mut(&name).and_then(|d| d.published.as_mut())
                    {
                        known.modified = entry.modified;
                    }
                    return Ok(Decision::Unchanged { name: published.name, since: published.since });
                }
                None => {
                    let gone = &published.name;
                    notes.warn_about(
                        Some(&name),
                        text!(
                            "`{gone}` is no longer at {name} as it was published; the same content is published again"
                                / "`{gone}` n'est plus sur {name} tel qu'il a été publié ; le même contenu est publié à nouveau"
                        ),
                    );
                }
            }
        }
        Ok(if self.waits_for(&name) { Decision::FromOutbox } else { Decision::Publish })
    }

    /// An empty directory where archives were: another disk mounted, or somebody deleted them.
    fn note_loss(&self, target: &mut Target<'_>, state: &State, notes: &mut Notes<'_>) {
        let name = &target.settings.name;
        let before = state.destination(name, &target.report.location).map_or(0, |known| known.archives);
        target.lost_all = before > 0 && target.archives(&self.settings.archive.name).is_empty();
        if target.lost_all {
            notes.warn_about(
                Some(name),
                text!(
                    "{name} shows no archive, but {before} were there after the last run: is it the right directory, is the disk mounted?"
                        / "{name} ne montre aucune archive, alors qu'il y en avait {before} après la dernière exécution : est-ce le bon répertoire, le disque est-il monté ?"
                ),
            );
        }
    }

    /// What can be said of a destination that does not answer.
    fn decide_without_asking(&self, target: &Target<'_>, state: &State) -> Decision {
        let name = &target.settings.name;
        let published = state.destination(name, &target.report.location).and_then(|known| known.published.as_ref());
        match published {
            Some(published) if self.same_content(published) => Decision::Unknown,
            _ if self.waits_for(name) => Decision::FromOutbox,
            _ => Decision::Publish,
        }
    }

    fn same_content(&self, published: &PublishedArchive) -> bool {
        published.fingerprint == self.dump.fingerprint && published.fingerprint_method == self.dump.fingerprint_method
    }

    /// Whether the last archive that waits for a destination holds this content: only then will it be the newest there.
    fn waits_for(&self, destination: &str) -> bool {
        let mut waiting = self.waiting.iter().filter(|item| item.packed.pending.iter().any(|name| name == destination));
        waiting.next_back().is_some_and(|item| item.packed.dump.fingerprint == self.dump.fingerprint)
    }

    /// Whether the published archive is there as it was; on what grounds that is believed.
    fn still_there(
        &self,
        target: &mut Target<'_>,
        published: &PublishedArchive,
    ) -> Result<Option<&'static str>, DestinationError> {
        let verify = target.settings.verify;
        let (session, listing) = target.session(self.interrupt, self.dry_run)?;
        let Some(entry) = listing.iter().find(|entry| entry.name == published.name.as_str()) else { return Ok(None) };
        if !entry.is_file || entry.size != published.bytes {
            return Ok(None);
        }
        if verify == Verify::Size {
            return Ok(Some("it has the size that was published"));
        }
        // Size and time as they were right after the verification: nobody wrote to it since. Anything else is read again.
        if published.modified.is_some() && entry.modified == published.modified {
            return Ok(Some("size and time are as they were when it was verified"));
        }
        let publisher = self.publisher(verify);
        let held = match publisher.holds(session, published.name.as_str(), published.sha256) {
            Err(error) if is_about_the_file(&error) => {
                tracing::warn!("`{}` cannot be read: {error}", published.name);
                None
            }
            held => held?,
        };
        Ok(match held {
            Some(VerifiedBy::ServerChecksum) => Some("its checksum was computed by the server"),
            Some(_) => Some("it was read back"),
            None => None,
        })
    }

    fn publisher(&self, verify: Verify) -> Publisher<'_> {
        Publisher {
            job: &self.settings.name,
            pattern: &self.settings.archive.name,
            verify,
            sidecar: self.settings.archive.sidecar,
            interrupt: self.interrupt,
            progress: &|_| {},
        }
    }

    /// Learns from the destination what state does not know: what its newest archive holds.
    fn learn(&self, target: &mut Target<'_>, notes: &mut Notes<'_>) -> Result<DestinationState, DestinationError> {
        let location = target.report.location.clone();
        let name = target.settings.name.clone();
        let archives = target.archives(&self.settings.archive.name);
        let mut learnt = DestinationState { location, published: None, archives: archives.len() };
        let Some(newest) = archives.into_iter().max_by(|a, b| a.name.cmp(&b.name)) else { return Ok(learnt) };
        let (session, listing) = target.session(self.interrupt, self.dry_run)?;
        let bar = self.progress.begin("read back", Some(newest.size_bytes));
        let found = read_archive(session, newest.name.as_str(), &self.settings.dump, self.interrupt, &|seen| {
            bar.set(seen, Some(newest.size_bytes));
        });
        let found = match found {
            Err(error) if is_about_the_file(&error) => Err(error.to_string()),
            found => found?,
        };
        let (archive, newest_date) = (newest.name.clone(), newest.name.date());
        match found {
            Ok(found) => {
                notes.warn_about(
                    Some(&name),
                    text!(
                        "nothing was known of what {name} holds: `{archive}` was read back to learn it"
                            / "on ne savait rien de ce que {name} contient : `{archive}` a été relu pour l'apprendre"
                    ),
                );
                learnt.published = Some(PublishedArchive {
                    since: newest.name.date(),
                    modified: listing.iter().find(|e| e.name == newest.name.as_str()).and_then(|e| e.modified),
                    name: newest.name,
                    bytes: newest.size_bytes,
                    sha256: found.archive_sha256,
                    fingerprint: found.fingerprint,
                    fingerprint_method: super::verify::fingerprint_method(&self.settings.dump.volatile_lines),
                    dump_bytes: found.dump_bytes,
                    // Whatever is published tonight is newer.
                    published_at: newest_date.and_time(chrono::NaiveTime::MIN).and_utc(),
                });
            }
            Err(why) => notes.warn_about(
                Some(&name),
                text!(
                    "`{archive}` at {name} cannot be read as an archive: {why}; look at it"
                        / "`{archive}` sur {name} n'est pas lisible comme archive : {why} ; examinez-la"
                ),
            ),
        }
        Ok(learnt)
    }

    fn apply_on_unchanged(&self, targets: &mut [Target<'_>], notes: &mut Notes<'_>) -> Result<(), Failure> {
        let unchanged = targets.iter().filter_map(|target| match &target.decision {
            Decision::Unchanged { name, since } => Some((name.clone(), *since)),
            _ => None,
        });
        let Some((name, since)) = unchanged.min_by_key(|(_, since)| *since) else {
            notes.detail(match targets.iter().any(|target| target.trouble.is_none()) {
                true => text!("new" / "nouveau"),
                false => text!("no destination could be asked" / "aucune destination n'a pu être interrogée"),
            });
            return Ok(());
        };
        let (since_en, since_fr) = (show_date(since, Language::En), show_date(since, Language::Fr));
        notes.detail(text!("unchanged since {since_en}, in `{name}`" / "inchangé depuis le {since_fr}, dans `{name}`"));
        let today = self.now.date_naive();
        let days = (today - since).num_days().max(0) as u64;
        let standstill = Duration::from_secs(days * 86_400);
        let frozen = self.settings.dump.frozen_after.is_some_and(|limit| standstill >= limit);
        for target in targets.iter_mut() {
            if let Decision::Unchanged { name, since } = &target.decision {
                target.report.result = DestinationResult::Unchanged { name: name.to_string(), since: *since };
            }
        }
        match self.settings.dump.on_unchanged {
            OnUnchanged::Archive => {
                for target in targets.iter_mut() {
                    match &target.decision {
                        Decision::Unchanged { name, .. } if name.date() < today => target.decision = Decision::Publish,
                        Decision::Unknown => target.decision = Decision::Publish,
                        _ => {}
                    }
                }
                Ok(())
            }
            OnUnchanged::Fail => {
                let why = anyhow::anyhow!("the dump has not changed since {since_en}, `{name}`");
                let error = why
                    .context(Explained::new("nothing new to archive, and `on_unchanged` is `fail`", broken_export()));
                let failure = Failure::new(Step::Compare, error)
                    .with_code(ExitCode::Unchanged)
                    .summed_up(text!("unchanged since {since_en}" / "inchangé depuis le {since_fr}"));
                // A destination whose copy is gone gets it again all the same.
                notes.fail(None, failure);
                Ok(())
            }
            _ if frozen => {
                let (en, fr) = (show_duration(standstill, Language::En), show_duration(standstill, Language::Fr));
                notes.warn(Text::new(
                    format!("the dump has not changed for {en} (since {since_en}): {}", broken_export().en),
                    format!("l'export n'a pas changé depuis {fr} (le {since_fr}) : {}", broken_export().fr),
                ));
                Ok(())
            }
            OnUnchanged::Warn if days > 0 => {
                let hint = broken_export();
                notes.warn(Text::new(
                    format!("the dump is the same as that of {since_en}: {}", hint.en),
                    format!("l'export est identique à celui du {since_fr} : {}", hint.fr),
                ));
                Ok(())
            }
            OnUnchanged::Warn | OnUnchanged::Skip => Ok(()),
        }
    }
}

/// Whether an error is about one file there, and not about the destination.
fn is_about_the_file(error: &DestinationError) -> bool {
    matches!(error.kind, ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::Other)
}

fn broken_export() -> Text {
    text!(
        "an export that stands still usually means that the job that makes it is broken"
            / "un export qui ne bouge plus signifie le plus souvent que la tâche qui le produit est en panne"
    )
}
