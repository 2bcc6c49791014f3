//! Step 5, `upload`: everything in the outbox goes to the destinations that need it, oldest night first.
//!
//! One destination that fails does not stop the others. State and outbox are written after each archive that was verified, so
//! that a crash forgets nothing.

use std::sync::{Mutex, PoisonError};
use std::thread;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::recorder::Notes;
use super::target::{Decision, Target};
use crate::config::settings::Settings;
use crate::destination::{DestinationError, Entry, ErrorKind};
use crate::error::{Failure, while_doing};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::publish::{Publication, Publisher, Publishing};
use crate::report::DestinationResult;
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::units::show_size;
use crate::work_dir::WorkDir;
use crate::work_dir::outbox::{Item, Outbox};
use crate::work_dir::state::{PublishedArchive, State};

/// What uploading needs.
pub struct Uploading<'a> {
    /// The job.
    pub settings: &'a Settings,
    /// Where the state is saved.
    pub work_dir: &'a WorkDir,
    /// What waits.
    pub outbox: &'a Outbox,
    /// The job's time.
    pub now: DateTime<Tz>,
    /// Asked between two blocks.
    pub interrupt: &'a Interrupt,
    /// Told how far each transfer is.
    pub progress: &'a dyn Progress,
}

/// What all destinations have to do with.
struct Shared<'a, 'n> {
    items: Vec<Item>,
    state: &'a mut State,
    notes: &'a mut Notes<'n>,
    /// Whether it is tonight's, its name, its bytes.
    published: Vec<(bool, String, u64)>,
}

impl Uploading<'_> {
    /// Publishes what waits, at one destination after the other or at all of them at the same time. Failures of single
    /// destinations are noted; only the local disk or an interruption end the step.
    ///
    /// # Errors
    /// Exit code 5 if state or outbox cannot be written; the code of an interruption.
    pub fn upload(&self, targets: &mut [Target<'_>], state: &mut State, notes: &mut Notes<'_>) -> Result<(), Failure> {
        let items = self.outbox.items().map_err(disk)?;
        let shared = Mutex::new(Shared { items, state, notes, published: Vec::new() });
        if self.settings.parallel_uploads {
            let span = tracing::Span::current();
            let serve = &|target| {
                let _step = span.enter();
                self.serve(target, &shared)
            };
            thread::scope(|scope| {
                let serving: Vec<_> = targets.iter_mut().map(|target| scope.spawn(move || serve(target))).collect();
                // All of them are waited for before the first failure is passed on.
                let served: Vec<_> = serving.into_iter().map(|one| one.join()).collect();
                served.into_iter().try_for_each(|one| one.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })?;
        } else {
            for target in targets.iter_mut() {
                self.serve(target, &shared)?;
                if self.interrupt.exit_code().is_some() {
                    return Ok(());
                }
            }
        }
        let Shared { mut published, notes, .. } = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        published.sort();
        published.dedup();
        if let Some(detail) = summary(&published) {
            notes.detail(detail);
        }
        Ok(())
    }

    /// Everything that waits for one destination, oldest night first.
    fn serve(&self, target: &mut Target<'_>, shared: &Mutex<Shared<'_, '_>>) -> Result<(), Failure> {
        let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
        let name = target.settings.name.clone();
        let _span = tracing::info_span!("at", destination = name.as_str()).entered();
        target.report.waiting = waiting_for(&name, &lock().items);
        if target.trouble.is_some() {
            note_trouble(target, lock().notes);
            return Ok(());
        }
        let waiting: Vec<Item> =
            lock().items.iter().filter(|item| item.packed.pending.contains(&name)).cloned().collect();
        for item in waiting {
            match self.publish(target, &item) {
                Ok(publishing) => self.delivered(target, &item, publishing, &mut lock())?,
                Err(error) => {
                    // What is wrong with one archive must not hold back the others for ever.
                    let only_this =
                        matches!(error.kind, ErrorKind::Local | ErrorKind::Other | ErrorKind::AlreadyExists);
                    note_failure(target, error, item.packed.name.as_str(), lock().notes);
                    if self.interrupt.exit_code().is_some() || !only_this {
                        break;
                    }
                }
            }
        }
        if let Some(session) = target.session.as_mut().filter(|_| target.report.waiting.is_empty()) {
            sweep_parts(session.as_mut(), &mut target.listing, self.settings);
        }
        Ok(())
    }

    fn publish(&self, target: &mut Target<'_>, item: &Item) -> Result<Publishing, DestinationError> {
        let settings = target.settings;
        let (session, listing) = target.session(self.interrupt, false)?;
        let bar = self.progress.begin(&format!("upload {}", settings.name), Some(item.packed.bytes));
        let total = item.packed.bytes;
        let publisher = Publisher {
            job: &self.settings.name,
            pattern: &self.settings.archive.name,
            verify: settings.verify,
            sidecar: self.settings.archive.sidecar,
            interrupt: self.interrupt,
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
        shared: &mut Shared<'_, '_>,
    ) -> Result<(), Failure> {
        let name = target.settings.name.clone();
        let Shared { items, state, notes, published: done } = shared;
        target.name_taken |= warn_about_another_name(&name, item, &publishing, state, notes);
        let dump = &item.packed.dump;
        let known = state.destinations.entry(name.clone()).or_default();
        let same = known.published.as_ref().filter(|before| {
            before.fingerprint == dump.fingerprint && before.fingerprint_method == dump.fingerprint_method
        });
        let since = same.map_or(item.packed.name.date(), |before| before.since);
        known.location.clone_from(&target.report.location);
        // An earlier night's archive that went late is not what the source holds, where `compare` found that there already
        // or a later night has been published before.
        let later = known.published.as_ref().is_some_and(|before| before.name.date() > item.packed.name.date());
        let is_current = !later && !matches!(target.decision, Decision::Unchanged { .. });
        let published = PublishedArchive {
            name: publishing.name.clone(),
            bytes: item.packed.bytes,
            sha256: item.packed.sha256,
            modified: publishing.modified,
            fingerprint: dump.fingerprint,
            fingerprint_method: dump.fingerprint_method.clone(),
            dump_bytes: dump.bytes,
            since,
            published_at: Utc::now(),
        };
        if is_current {
            known.published = Some(published);
        }
        known.archives = target.archives(&self.settings.archive.name).len();
        target.note_held(&self.settings.archive.name);
        let tonight = item.packed.name.date() == self.now.date_naive();
        if tonight || target.decision == Decision::FromOutbox {
            target.report.result = DestinationResult::Published {
                name: publishing.name.to_string(),
                bytes: item.packed.bytes,
                verified_by: publishing.verified_by,
            };
        }
        if !tonight {
            target.report.caught_up.push(publishing.name.to_string());
        }
        // Whatever becomes of these, the archive is there, and the report says so.
        state.save(&self.work_dir.state_file()).map_err(disk)?;
        if let Some(waiting) = items.iter_mut().find(|waiting| waiting.path == item.path) {
            self.outbox.delivered(waiting, &name).map_err(disk)?;
        }
        target.report.waiting = waiting_for(&name, items);
        done.push((tonight, publishing.name.to_string(), item.packed.bytes));
        if let Some(warning) = publishing.warning {
            notes.warn_about(Some(&name), warning);
        }
        Ok(())
    }
}

/// The first contact failed, in `compare`.
pub fn note_trouble(target: &mut Target<'_>, notes: &mut Notes<'_>) {
    if let Some(error) = target.trouble.take() {
        let verb = match error.kind {
            ErrorKind::Unreachable | ErrorKind::Auth | ErrorKind::Untrusted => "reach",
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
    let summary = error.summary();
    let code = if error.kind == ErrorKind::Local { ExitCode::Pack } else { ExitCode::Upload };
    let failure = Failure::new(Step::Upload, while_doing(what)(error)).with_code(code);
    notes.fail(Some(&target.settings.name), failure.summed_up(summary));
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

fn waiting_for(destination: &str, items: &[Item]) -> Vec<String> {
    let waits = |item: &&Item| item.packed.pending.iter().any(|name| name == destination);
    items.iter().filter(waits).map(|item| item.packed.name.to_string()).collect()
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

/// `published` is sorted, tonight's archives last.
fn summary(published: &[(bool, String, u64)]) -> Option<Text> {
    let (_, name, bytes) = published.last()?;
    let late = published.iter().filter(|(tonight, _, _)| !tonight).count();
    let others = if late == published.len() { late - 1 } else { late };
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
