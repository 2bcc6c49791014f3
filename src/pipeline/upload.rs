//! Step 5, `upload`: everything in the outbox goes to the destinations that need it, oldest night first. The thread of each target
//! does it, so that one destination neither stops nor delays another.
//!
//! State and outbox are written after each archive that was verified, so that a crash forgets nothing.

use std::path::Path;

use chrono::Utc;

use super::compare::Tonight;
use super::context::{Context, Held};
use super::recorder::Notes;
use super::target::{Decision, Target};
use crate::config::settings::Settings;
use crate::destination::{DestinationError, Entry, ErrorKind};
use crate::error::{Failure, while_doing};
use crate::exit_code::ExitCode;
use crate::publish::{Publication, Publisher, Publishing};
use crate::report::DestinationResult;
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::units::show_size;
use crate::work_dir::outbox::Item;
use crate::work_dir::state::{PublishedArchive, State};

/// What uploading to one destination needs.
pub struct Uploading<'a> {
    /// Given to every step.
    pub cx: Context<'a>,
    /// State and outbox.
    pub held: &'a Held,
    /// Tonight's content; `None` if it could not be had, and only what waited goes.
    pub tonight: Option<&'a Tonight>,
    /// Tonight's archive in the outbox, if one was packed.
    pub packed: Option<&'a Path>,
}

/// An archive that was published in this run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uploaded {
    /// Whether it bears tonight's date.
    tonight: bool,
    name: String,
    bytes: u64,
}

impl Uploading<'_> {
    /// Everything that waits for one destination. What the destination refuses is noted.
    ///
    /// # Errors
    /// Exit code 5 if state or outbox cannot be written.
    pub fn upload(&self, target: &mut Target<'_>, notes: &mut Notes<'_>) -> Result<Vec<Uploaded>, Failure> {
        let name = target.settings.name.clone();
        self.withdraw(target)?;
        // Where the answer came in time, the whole run has failed for it, and tonight's content is not there.
        if let Some((error, summary)) = target.shrunk.take().filter(|_| self.tonight.is_some()) {
            target.report.result = DestinationResult::Failed { waiting: false };
            notes.fail(Some(&name), Failure::new(Step::Verify, error).summed_up(summary));
            return Ok(Vec::new());
        }
        let waiting = self.waiting_for(&name)?;
        target.report.waiting = names(&waiting);
        if target.trouble.is_some() {
            note_trouble(target, notes);
            return Ok(Vec::new());
        }
        let mut uploaded = Vec::new();
        for item in waiting {
            match self.publish(target, &item) {
                Ok(publishing) => {
                    uploaded.push(self.delivered(target, &item, publishing, notes)?);
                }
                Err(error) => {
                    // What is wrong with one archive must not hold back the others for ever.
                    let only_this =
                        matches!(error.kind, ErrorKind::Local | ErrorKind::Other | ErrorKind::AlreadyExists);
                    note_failure(target, error, item.packed.name.as_str(), notes);
                    if self.cx.is_interrupted() || !only_this {
                        break;
                    }
                }
            }
        }
        if let Some(session) = target.session.as_mut().filter(|_| target.report.waiting.is_empty()) {
            sweep_parts(session.as_mut(), &mut target.listing, self.cx.settings);
        }
        Ok(uploaded)
    }

    /// Tonight's archive was packed for this destination before it could say whether it needs it.
    fn withdraw(&self, target: &Target<'_>) -> Result<(), Failure> {
        let (Some(tonight), Some(path)) = (self.tonight, self.packed) else { return Ok(()) };
        let name = &target.settings.name;
        let waits = |item: &Item| item.path == path && item.packed.pending.contains(name);
        let needs_none =
            matches!(target.decision, Decision::Unchanged { .. } | Decision::Unknown | Decision::FromOutbox)
                || target.shrunk.is_some();
        if !needs_none || tonight.waiting.iter().any(waits) {
            return Ok(());
        }
        let _descriptions = self.held.state();
        let mut items = self.held.outbox.items().map_err(disk)?;
        match items.iter_mut().find(|item| waits(item)) {
            Some(item) => self.held.outbox.withdraw(item, name).map_err(disk),
            None => Ok(()),
        }
    }

    fn waiting_for(&self, destination: &str) -> Result<Vec<Item>, Failure> {
        let _descriptions = self.held.state();
        let mut items = self.held.outbox.items().map_err(disk)?;
        items.retain(|item| item.packed.pending.iter().any(|name| name == destination));
        Ok(items)
    }

    fn publish(&self, target: &mut Target<'_>, item: &Item) -> Result<Publishing, DestinationError> {
        let (settings, interrupt) = (target.settings, target.interrupt.clone());
        let (session, listing) = target.session(false)?;
        let bar = self.cx.progress.begin(&format!("upload {}", settings.name), Some(item.packed.bytes));
        let total = item.packed.bytes;
        let publisher = Publisher {
            job: &self.cx.settings.name,
            pattern: &self.cx.settings.archive.name,
            verify: settings.verify,
            sidecar: self.cx.settings.archive.sidecar,
            interrupt: &interrupt,
            progress: &|sent| bar.set(sent, Some(total)),
        };
        let archive =
            Publication { path: &item.path, name: &item.packed.name, bytes: total, sha256: item.packed.sha256 };
        let publishing = publisher.publish(session, &archive, listing)?;
        let (name, how) = (&publishing.name, publishing.verified_by);
        tracing::info!("published `{name}`, {total} bytes, sha256 {}, {how}", item.packed.sha256);
        Ok(publishing)
    }

    /// The state first: if we die before the outbox is told, the next run finds the same content there and is done.
    fn delivered(
        &self,
        target: &mut Target<'_>,
        item: &Item,
        publishing: Publishing,
        notes: &mut Notes<'_>,
    ) -> Result<Uploaded, Failure> {
        let name = target.settings.name.clone();
        let dump = &item.packed.dump;
        let tonight = item.packed.name.date() == self.cx.today();
        let mut state = self.held.state();
        target.name_taken |= warn_about_another_name(&name, item, &publishing, &state, notes);
        let known = state.destinations.entry(name.clone()).or_default();
        let same = known
            .published
            .as_ref()
            .filter(|before| dump.has_fingerprint(before.fingerprint, &before.fingerprint_method));
        let since = same.map_or(item.packed.name.date(), |before| before.since);
        known.location.clone_from(&target.report.location);
        // The content decides. Where tonight's is not known, a later night's archive is what the source held last.
        let is_current = match self.tonight {
            Some(tonight) => tonight.is_in(dump.fingerprint, &dump.fingerprint_method),
            None => {
                let later = |before: &PublishedArchive| {
                    let date = before.name.date();
                    date > item.packed.name.date() && date <= self.cx.today()
                };
                !known.published.as_ref().is_some_and(later)
            }
        };
        if is_current {
            known.published = Some(PublishedArchive {
                name: publishing.name.clone(),
                bytes: item.packed.bytes,
                sha256: item.packed.sha256,
                modified: publishing.modified,
                fingerprint: dump.fingerprint,
                fingerprint_method: dump.fingerprint_method.clone(),
                dump_bytes: dump.bytes,
                since,
                published_at: Utc::now(),
            });
        }
        known.archives = target.archives(&self.cx.settings.archive.name).len();
        target.note_held(&self.cx.settings.archive.name);
        let holds_tonights = is_current && self.tonight.is_some();
        if holds_tonights {
            target.current = Some(publishing.name.clone());
            target.report.result = DestinationResult::Published {
                name: publishing.name.to_string(),
                bytes: item.packed.bytes,
                verified_by: publishing.verified_by,
            };
        }
        if !tonight || !holds_tonights {
            target.report.caught_up.push(publishing.name.to_string());
        }
        // Whatever becomes of these, the archive is there, and the report says so.
        state.save(&self.held.work_dir.state_file()).map_err(disk)?;
        // Another target's thread may have changed the description since this one read it.
        let mut items = self.held.outbox.items().map_err(disk)?;
        if let Some(waiting) = items.iter_mut().find(|waiting| waiting.path == item.path) {
            self.held.outbox.delivered(waiting, &name).map_err(disk)?;
        }
        items.retain(|waiting| waiting.packed.pending.contains(&name));
        target.report.waiting = names(&items);
        drop(state);
        if let Some(warning) = publishing.warning {
            notes.warn_about(Some(&name), warning);
        }
        Ok(Uploaded { tonight, name: publishing.name.to_string(), bytes: item.packed.bytes })
    }
}

/// The first contact failed, in `compare`.
pub fn note_trouble(target: &mut Target<'_>, notes: &mut Notes<'_>) {
    if let Some(error) = target.trouble.take() {
        let verb = match error.kind {
            ErrorKind::Unreachable | ErrorKind::OutOfTime | ErrorKind::Auth | ErrorKind::Untrusted => "reach",
            _ => "look at",
        };
        let what = format!("failed to {verb} `{}`", target.report.location);
        note(target, error, what, notes);
    }
}

fn note_failure(target: &mut Target<'_>, error: DestinationError, archive: &str, notes: &mut Notes<'_>) {
    if error.kind == ErrorKind::Unreachable {
        target.session = None;
    }
    let what = format!("failed to publish `{archive}` at `{}`", target.report.location);
    note(target, error, what, notes);
}

fn note(target: &mut Target<'_>, error: DestinationError, what: String, notes: &mut Notes<'_>) {
    target.report.result = DestinationResult::Failed { waiting: !target.report.waiting.is_empty() };
    let name = &target.settings.name;
    let summary = error.summary();
    let code = if error.kind == ErrorKind::Local { ExitCode::Pack } else { ExitCode::Upload };
    let failure = Failure::new(Step::Upload, while_doing(what)(error)).with_code(code);
    notes.fail(Some(name), failure.summed_up(summary));
}

/// Whether something that is not ours bears the archive's name: then ours has got a suffix, and somebody should know why.
fn warn_about_another_name(
    destination: &str,
    item: &Item,
    publishing: &Publishing,
    state: &State,
    notes: &mut Notes<'_>,
) -> bool {
    let (wanted, name) = (&item.packed.name, &publishing.name);
    let published = state.destinations.get(destination).and_then(|known| known.published.as_ref());
    // A second archive of one day, after one of our own, is nothing to worry about.
    let ours = published.is_some_and(|published| published.name.date() == wanted.date());
    let taken = wanted != name && !ours;
    if taken {
        notes.warn_about(
            Some(destination),
            text!(
                "something else bears the name `{wanted}` at {destination}; it was left alone, the archive is `{name}`"
                    / "autre chose porte le nom `{wanted}` sur {destination} ; on n'y a pas touché, l'archive est `{name}`"
            ),
        );
    }
    taken
}

fn disk(error: anyhow::Error) -> Failure {
    Failure::new(Step::Upload, error).with_code(ExitCode::Pack)
}

fn names(items: &[Item]) -> Vec<String> {
    items.iter().map(|item| item.packed.name.to_string()).collect()
}

/// Removes what our own job left half-uploaded on other nights and nobody will resume any more.
fn sweep_parts(session: &mut dyn crate::destination::Destination, listing: &mut Vec<Entry>, settings: &Settings) {
    let pattern = &settings.archive.name;
    let ours = |entry: &Entry| entry.is_file && pattern.parse_part_name(&settings.name, &entry.name).is_some();
    let names: Vec<String> = listing.iter().filter(|entry| ours(entry)).map(|entry| entry.name.clone()).collect();
    for name in names {
        match session.remove(&name) {
            Ok(()) => {
                tracing::info!("removed our own leftover `{name}`");
                listing.retain(|entry| entry.name != name);
            }
            Err(error) => tracing::warn!("could not remove our own leftover `{name}`: {error}"),
        }
    }
}

/// What all destinations together have got, in one line.
pub fn summary(mut uploaded: Vec<Uploaded>) -> Option<Text> {
    // Tonight's archives last.
    uploaded.sort();
    uploaded.dedup();
    let Uploaded { name, bytes, .. } = uploaded.last()?;
    let late = uploaded.iter().filter(|archive| !archive.tonight).count();
    let others = if late == uploaded.len() { late - 1 } else { late };
    let (mut en, mut fr) = (
        format!("{name}, {}", show_size(*bytes, Language::En)),
        format!("{name}, {}", show_size(*bytes, Language::Fr)),
    );
    if others > 0 {
        en.push_str(&format!(" and {others} from the outbox"));
        fr.push_str(&format!(" et {others} de la boîte d’envoi"));
    }
    Some(Text::new(en, fr))
}
