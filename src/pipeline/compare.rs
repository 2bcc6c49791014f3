//! Step 3, `compare`: is tonight's dump new, for each destination by itself? The thread of each target asks it; what the
//! answers mean together is said by [`standstill`].
//!
//! Unchanged means: the same fingerprint as the archive that was published there last, *and* that archive is still there as
//! it was published. What state does not know is learnt from the destination.

use std::time::Duration;

use chrono::NaiveDate;

use super::context::{Context, Held};
use super::rebuild::read_archive;
use super::recorder::Notes;
use super::target::{Decision, Target};
use super::verify::not_shrunk;
use crate::archive_name::ArchiveName;
use crate::config::settings::{OnUnchanged, Verify};
use crate::destination::{DestinationError, ErrorKind};
use crate::digest::Digest;
use crate::error::{Explained, Failure, while_doing};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::publish::Publisher;
use crate::report::{DestinationResult, VerifiedBy};
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::units::{show_date, show_duration};
use crate::work_dir::outbox::Item;
use crate::work_dir::state::{DestinationState, DumpRecord, PublishedArchive};

/// What the comparison needs to know.
pub struct Comparing<'a> {
    /// Given to every step.
    pub cx: Context<'a>,
    /// State and outbox.
    pub held: &'a Held,
    /// Tonight's content.
    pub tonight: &'a Tonight,
}

/// Tonight's content.
pub struct Tonight {
    /// The dump.
    pub dump: DumpRecord,
    /// What waits in the outbox, oldest first.
    pub waiting: Vec<Item>,
}

impl Tonight {
    /// Whether an archive with a fingerprint that was made by `method` holds this content.
    pub fn is_in(&self, fingerprint: Digest, method: &str) -> bool {
        self.dump.has_fingerprint(fingerprint, method)
    }
}

/// What `compare` found out about a destination.
#[derive(Clone, Debug)]
pub struct Compared {
    /// What tonight's content means for it.
    pub decision: Decision,
    /// Whether it could be asked.
    pub asked: bool,
    /// The archive that holds the content already, if one does.
    pub unchanged: Option<Unchanged>,
}

/// The archive in which a destination holds tonight's content, and the date since which the dump has not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchanged {
    /// The archive.
    pub name: ArchiveName,
    /// The date.
    pub since: NaiveDate,
}

impl Comparing<'_> {
    /// Decides for one destination.
    ///
    /// # Errors
    /// The code of an interruption. A destination that cannot be asked is no failure yet: `upload` reports it.
    pub fn compare(&self, target: &mut Target<'_>, notes: &mut Notes<'_>) -> Result<Compared, Failure> {
        (target.trouble, target.current, target.decision) = (None, None, Decision::Undecided);
        target.decision = match self.decide(target, notes) {
            Ok(decision) => decision,
            Err(error) if self.cx.is_interrupted() => {
                let what = format!("failed to look at `{}`", target.settings.name);
                return Err(Failure::new(Step::Compare, while_doing(what)(error)));
            }
            Err(error) => {
                tracing::warn!("could not be asked what it holds: {error}");
                target.session = None;
                target.trouble = Some(error);
                self.decide_without_asking(target)
            }
        };
        let unchanged = match &target.decision {
            Decision::Unchanged { name, since } => Some(Unchanged { name: name.clone(), since: *since }),
            _ => None,
        };
        if let Some(Unchanged { name, since }) = &unchanged {
            target.current = Some(name.clone());
            target.report.result = DestinationResult::Unchanged { name: name.to_string(), since: *since };
        }
        if self.cx.settings.dump.on_unchanged == OnUnchanged::Archive {
            match &target.decision {
                Decision::Unchanged { name, .. } if name.date() < self.cx.today() => {
                    target.decision = Decision::Publish;
                }
                Decision::Unknown => target.decision = Decision::Publish,
                _ => {}
            }
        }
        tracing::info!("{}", target.decision);
        Ok(Compared { decision: target.decision.clone(), asked: target.trouble.is_none(), unchanged })
    }

    fn decide(&self, target: &mut Target<'_>, notes: &mut Notes<'_>) -> Result<Decision, DestinationError> {
        let name = target.settings.name.clone();
        target.session(self.cx.dry_run)?;
        target.note_held(&self.cx.settings.archive.name);
        let known = self.held.state().destination(&name, &target.report.location).cloned();
        self.note_loss(target, known.as_ref(), notes);
        let mut published = known.and_then(|known| known.published);
        if published.is_none() {
            let learnt = self.learn(target, notes)?;
            published.clone_from(&learnt.published);
            let judged = published
                .as_ref()
                .map_or(Ok(()), |published| not_shrunk(&self.cx.settings.dump, self.tonight.dump.bytes, published));
            target.shrunk = judged.err();
            self.held.state().destinations.insert(name.clone(), learnt);
        }
        if let Some(published) =
            published.filter(|published| self.tonight.is_in(published.fingerprint, &published.fingerprint_method))
        {
            match self.still_there(target, &published)? {
                Some(grounds) => {
                    tracing::info!("`{}` holds this content; {grounds}", published.name);
                    let entry = target.listing.iter().find(|entry| entry.name == published.name.as_str());
                    if let Some(entry) = entry
                        && let Some(known) =
                            self.held.state().destinations.get_mut(&name).and_then(|known| known.published.as_mut())
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
    fn note_loss(&self, target: &mut Target<'_>, known: Option<&DestinationState>, notes: &mut Notes<'_>) {
        let name = &target.settings.name;
        let before = known.map_or(0, |known| known.archives);
        target.lost_all = before > 0 && target.archives(&self.cx.settings.archive.name).is_empty();
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
    fn decide_without_asking(&self, target: &Target<'_>) -> Decision {
        let name = &target.settings.name;
        let state = self.held.state();
        let published = state.destination(name, &target.report.location).and_then(|known| known.published.as_ref());
        match published {
            Some(published) if self.tonight.is_in(published.fingerprint, &published.fingerprint_method) => {
                Decision::Unknown
            }
            _ if self.waits_for(name) => Decision::FromOutbox,
            _ => Decision::Publish,
        }
    }

    /// Whether the last archive that waits for a destination holds this content: only then will it be the newest there. Where
    /// every night is to have its archive, another night's does not count.
    fn waits_for(&self, destination: &str) -> bool {
        let waits = |item: &&Item| item.packed.pending.iter().any(|name| name == destination);
        let every_night = self.cx.settings.dump.on_unchanged == OnUnchanged::Archive;
        self.tonight.waiting.iter().rfind(waits).is_some_and(|Item { packed, .. }| {
            let same = self.tonight.is_in(packed.dump.fingerprint, &packed.dump.fingerprint_method);
            same && (!every_night || packed.name.date() == self.cx.today())
        })
    }

    /// Whether the published archive is there as it was; on what grounds that is believed.
    fn still_there(
        &self,
        target: &mut Target<'_>,
        published: &PublishedArchive,
    ) -> Result<Option<&'static str>, DestinationError> {
        let (verify, interrupt) = (target.settings.verify, target.interrupt.clone());
        let (session, listing) = target.session(self.cx.dry_run)?;
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
        let publisher = self.publisher(verify, &interrupt);
        let held = match publisher.holds(session, published.name.as_str(), published.bytes, published.sha256) {
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

    fn publisher<'a>(&'a self, verify: Verify, interrupt: &'a Interrupt) -> Publisher<'a> {
        Publisher {
            job: &self.cx.settings.name,
            pattern: &self.cx.settings.archive.name,
            verify,
            sidecar: self.cx.settings.archive.sidecar,
            interrupt,
            progress: &|_| {},
        }
    }

    /// Learns from the destination what state does not know: what its newest archive holds.
    fn learn(&self, target: &mut Target<'_>, notes: &mut Notes<'_>) -> Result<DestinationState, DestinationError> {
        let location = target.report.location.clone();
        let name = target.settings.name.clone();
        let archives = target.archives(&self.cx.settings.archive.name);
        let mut learnt = DestinationState { location, published: None, archives: archives.len() };
        // A date in the future is a clock's mistake: what it names is not the newest.
        let today = self.cx.today();
        let believed = archives.into_iter().filter(|archive| archive.name.date() <= today);
        let Some(newest) = believed.max_by(|a, b| a.name.cmp(&b.name)) else { return Ok(learnt) };
        let interrupt = target.interrupt.clone();
        let (session, listing) = target.session(self.cx.dry_run)?;
        let bar = self.cx.progress.begin("read back", Some(newest.size_bytes));
        let found = read_archive(session, newest.name.as_str(), &self.cx.settings.dump, &interrupt, &|seen| {
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
                    fingerprint_method: super::verify::fingerprint_method(&self.cx.settings.dump.volatile_lines),
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
}

/// What the answers of the destinations mean together: the step's detail, and what `on_unchanged` asks for.
pub fn standstill<'a>(cx: &Context<'_>, compared: impl Iterator<Item = &'a Compared> + Clone, notes: &mut Notes<'_>) {
    let unchanged = compared.clone().filter_map(|compared| compared.unchanged.as_ref());
    let Some(Unchanged { name, since }) = unchanged.min_by_key(|unchanged| unchanged.since) else {
        notes.detail(match compared.clone().any(|compared| compared.asked) {
            true => text!("new" / "nouveau"),
            false => text!("no destination could be asked" / "aucune destination n'a pu être interrogée"),
        });
        return;
    };
    let (since_en, since_fr) = (show_date(*since, Language::En), show_date(*since, Language::Fr));
    notes.detail(text!("unchanged since {since_en}, in `{name}`" / "inchangé depuis le {since_fr}, dans `{name}`"));
    let days = (cx.today() - *since).num_days().max(0) as u64;
    let standstill = Duration::from_secs(days * 86_400);
    let frozen = cx.settings.dump.frozen_after.is_some_and(|limit| standstill >= limit);
    match cx.settings.dump.on_unchanged {
        OnUnchanged::Archive => {}
        OnUnchanged::Fail => {
            let why = anyhow::anyhow!("the dump has not changed since {since_en}, `{name}`");
            let error =
                why.context(Explained::new("nothing new to archive, and `on_unchanged` is `fail`", broken_export()));
            let failure = Failure::new(Step::Compare, error)
                .with_code(ExitCode::Unchanged)
                .summed_up(text!("unchanged since {since_en}" / "inchangé depuis le {since_fr}"));
            // A destination whose copy is gone gets it again all the same.
            notes.fail(None, failure);
        }
        _ if frozen => {
            let (en, fr) = (show_duration(standstill, Language::En), show_duration(standstill, Language::Fr));
            notes.warn(Text::new(
                format!("the dump has not changed for {en} (since {since_en}): {}", broken_export().en),
                format!("l'export n'a pas changé depuis {fr} (le {since_fr}) : {}", broken_export().fr),
            ));
        }
        OnUnchanged::Warn if days > 0 => {
            let hint = broken_export();
            notes.warn(Text::new(
                format!("the dump is the same as that of {since_en}: {}", hint.en),
                format!("l'export est identique à celui du {since_fr} : {}", hint.fr),
            ));
        }
        OnUnchanged::Warn | OnUnchanged::Skip => {}
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
