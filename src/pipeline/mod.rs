//! The run: eight steps, strictly in the order of [`Step`]. This file says the order and hands one step's result to the next;
//! steps do not know each other.
//!
//! A step that fails ends the chain for the steps that need it, never the report.

pub mod compare;
pub mod download;
pub mod pack;
pub mod purge;
pub mod rebuild;
pub mod recorder;
pub mod report;
pub mod start;
pub mod target;
pub mod upload;
pub mod verify;

use std::time::Instant;

use chrono::DateTime;
use chrono_tz::Tz;

use self::compare::Comparing;
use self::download::{Content, comparable, download, spool_file};
use self::pack::{Ahead, pack, pack_ahead};
use self::purge::Purging;
use self::recorder::Recorder;
use self::start::{Started, start};
use self::target::{Decision, Target};
use self::upload::Uploading;
use self::verify::{Before, Verified, fingerprint_method, verify};
use crate::config::settings::Settings;
use crate::deflate::Horizon;
use crate::digest::Digest;
use crate::error::Failure;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::report::{ArchiveReport, DestinationResult, DumpReport, RunReport, SourceReport, Status};
use crate::source::HttpSource;
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::units::show_size;
use crate::work_dir::lock::Lock;
use crate::work_dir::outbox::{Outbox, Packed};
use crate::work_dir::state::{DumpRecord, SourceState, State};

/// A run that is about to happen.
pub struct Run<'a> {
    /// The job.
    pub settings: &'a Settings,
    /// Distinguishes this run in logs and reports.
    pub run_id: &'a str,
    /// The job's time when the run began; decides the date in the archive's name.
    pub now: DateTime<Tz>,
    /// Stops before `upload` and says what would be done.
    pub dry_run: bool,
    /// Asked between two blocks.
    pub interrupt: &'a Interrupt,
    /// Told how far everything is.
    pub progress: &'a dyn Progress,
    /// The machine's name.
    pub host: &'a str,
}

/// What is left after the last step but `report`.
pub struct Ended {
    /// The result so far.
    pub report: RunReport,
    /// To be saved; `None` if the run never got that far.
    pub state: Option<State>,
    /// To be let go at the very end.
    pub lock: Option<Lock>,
}

/// What `download`, `verify` and `compare` came to.
#[derive(Default)]
struct Obtained {
    /// A zip with a dump that can be trusted; `None` also where nothing had to be downloaded.
    verified: Option<Verified>,
    /// Its archive, if it was written already.
    ahead: Option<Ahead>,
    /// Every destination was decided about.
    compared: bool,
}

/// Everything the steps after `start` have yielded.
#[derive(Default)]
struct Yield {
    source: Option<SourceReport>,
    dump: Option<DumpRecord>,
    previous_bytes: Option<u64>,
    archive: Option<Packed>,
}

impl Run<'_> {
    /// Runs every step but `report`; `warnings` are what the configuration could do better.
    pub fn run(&self, warnings: Vec<Text>) -> Ended {
        let begun = Instant::now();
        let mut recorder = Recorder::new(self.interrupt, self.progress);
        let mut targets = Target::all(self.settings);
        let mut yielded = Yield::default();
        let mut lock = None;
        let started = recorder.step(Step::Start, |notes| {
            warnings.into_iter().for_each(|warning| notes.warn(warning));
            start(self.settings, self.run_id, self.now, self.dry_run, &mut lock, notes)
        });
        recorder.lock = lock;
        let mut state = None;
        match started {
            Some(mut started) => {
                self.after_start(&mut recorder, &mut started, &mut targets, &mut yielded);
                state = Some(started.state);
            }
            None => Step::ALL[1..7].iter().for_each(|step| recorder.skip_after_failure(*step)),
        }
        let lock = recorder.lock.take();
        let mut report = self.report(recorder, targets, yielded);
        report.seconds = begun.elapsed().as_secs_f64();
        Ended { report, state, lock }
    }

    fn after_start(
        &self,
        recorder: &mut Recorder<'_>,
        started: &mut Started,
        targets: &mut [Target<'_>],
        yielded: &mut Yield,
    ) {
        yielded.previous_bytes = started.state.last_published().map(|published| published.dump_bytes);
        let mut obtained = self.obtain(recorder, started, targets, yielded);
        let packed = self.pack(recorder, started, targets, &mut obtained, yielded);
        let Obtained { verified, compared, .. } = obtained;
        self.upload(recorder, started, targets, packed);
        self.purge(recorder, started, targets, compared);
        self.last_look(targets, recorder, yielded);
        // What was verified is packed; what was not is worthless. An unfinished download has been left by `download`.
        if verified.is_some() || recorder.failures.iter().any(|failure| failure.step == Step::Verify) {
            let _ = std::fs::remove_file(spool_file(&started.work_dir));
        }
    }

    /// `download`, `verify`, `compare`; and once more from the start where not downloading turns out not to be enough.
    fn obtain(
        &self,
        recorder: &mut Recorder<'_>,
        started: &mut Started,
        targets: &mut [Target<'_>],
        yielded: &mut Yield,
    ) -> Obtained {
        let method = fingerprint_method(&self.settings.dump.volatile_lines);
        let mut known = comparable(self.settings, &method, &started.state).cloned();
        let mut damaged_once = false;
        loop {
            let fetched = recorder.step(Step::Download, |notes| {
                let source = HttpSource::new(&self.settings.source, self.interrupt.clone())
                    .map_err(|error| Failure::new(Step::Download, error))?;
                download(self.settings, &source, &started.work_dir, known.as_ref(), self.progress, notes)
            });
            let Some((content, source)) = fetched else {
                recorder.skip_after_failure(Step::Verify);
                recorder.skip_after_failure(Step::Compare);
                return Obtained::default();
            };
            yielded.source = Some(source);
            let (record, verified, ahead) = match content {
                Content::NotModified(known) => {
                    recorder.skip(Step::Verify, Some(text!("not modified" / "non modifié")));
                    // The same dump may have come in another zip.
                    started.state.source = Some((*known).clone());
                    (known.dump, None, None)
                }
                Content::Zip(zip) => {
                    let resumed = zip.resumed && !damaged_once;
                    let before = Before {
                        published: started.state.last_published().cloned(),
                        producer: started.state.source.as_ref().map(|source| source.dump.producer.clone()),
                    };
                    let verified = recorder.step(Step::Verify, |notes| {
                        let path = zip.path.clone();
                        let verify = |horizon: &Horizon| {
                            verify(self.settings, zip, &before, horizon, self.interrupt, self.progress, notes)
                        };
                        let outbox = self.outbox(started);
                        let (verified, ahead) =
                            pack_ahead(self.settings, &path, &outbox, &started.work_dir, self.interrupt, verify);
                        Ok((verified?, ahead))
                    });
                    match verified {
                        Some((verified, ahead)) => (verified.record.clone(), Some(verified), ahead),
                        None if resumed && !self.interrupted() => {
                            // Pieces of two versions may have met although the server said they were one.
                            tracing::warn!(
                                "the zip was put together from several attempts; fetching it once more from zero"
                            );
                            recorder.failures.pop();
                            damaged_once = true;
                            known = None;
                            let _ = std::fs::remove_file(spool_file(&started.work_dir));
                            continue;
                        }
                        None => {
                            recorder.skip_after_failure(Step::Compare);
                            return Obtained::default();
                        }
                    }
                }
            };
            yielded.dump = Some(record.clone());
            if let Some(verified) = &verified {
                started.state.source = Some(SourceState {
                    url_sha256: Digest::of(self.settings.source.url.as_str()),
                    judged: download::judged(&self.settings.dump),
                    validators: verified.zip.validators.clone(),
                    zip_bytes: verified.zip.bytes,
                    dump: record.clone(),
                });
            }
            let compared = self.compare(recorder, started, targets, &record);
            let wanted = targets.iter().any(|target| target.decision == Decision::Publish);
            if verified.is_none() && wanted && compared {
                tracing::info!("a destination needs the content after all; fetching it without conditions");
                known = None;
                continue;
            }
            return Obtained { verified, ahead, compared };
        }
    }

    /// Whether every destination was decided about.
    fn compare(
        &self,
        recorder: &mut Recorder<'_>,
        started: &mut Started,
        targets: &mut [Target<'_>],
        dump: &DumpRecord,
    ) -> bool {
        let decided = recorder.step(Step::Compare, |notes| {
            let waiting = started
                .outbox
                .items()
                .map_err(|error| Failure::new(Step::Compare, error).with_code(crate::exit_code::ExitCode::Pack))?;
            let comparing = Comparing {
                settings: self.settings,
                dump,
                waiting: &waiting,
                now: self.now,
                dry_run: self.dry_run,
                interrupt: self.interrupt,
                progress: self.progress,
            };
            comparing.compare(targets, &mut started.state, notes)
        });
        decided.is_some()
    }

    fn pack(
        &self,
        recorder: &mut Recorder<'_>,
        started: &Started,
        targets: &[Target<'_>],
        obtained: &mut Obtained,
        yielded: &mut Yield,
    ) -> bool {
        // If nobody needs it, its space is free again when this returns.
        let ahead = obtained.ahead.take();
        let compared = obtained.compared;
        let Some(verified) = obtained.verified.as_ref().filter(|_| compared) else {
            match compared {
                true => recorder.skip(Step::Pack, Some(text!("nothing new" / "rien de nouveau"))),
                false => recorder.skip_after_failure(Step::Pack),
            }
            return compared;
        };
        let pending: Vec<String> = targets
            .iter()
            .filter(|target| target.decision == Decision::Publish)
            .map(|target| target.settings.name.clone())
            .collect();
        if pending.is_empty() {
            recorder.skip(Step::Pack, Some(text!("nothing new" / "rien de nouveau")));
            return true;
        }
        let name = self.settings.archive.name.name(self.now.date_naive(), 1);
        let item = recorder.step(Step::Pack, |notes| {
            let outbox = self.outbox(started);
            let packed = pack(
                self.settings,
                verified,
                ahead,
                name,
                pending,
                &started.work_dir,
                &outbox,
                self.interrupt,
                self.progress,
                notes,
            )?;
            if self.dry_run {
                outbox.discard(&packed).map_err(|error| Failure::new(Step::Pack, error))?;
            }
            Ok(packed)
        });
        yielded.archive = item.map(|item| item.packed);
        yielded.archive.is_some()
    }

    /// A dry run builds the archive too, for real, where no destination will ever look for it.
    fn outbox(&self, started: &Started) -> Outbox {
        match self.dry_run {
            true => Outbox::new(started.work_dir.spool()),
            false => started.outbox.clone(),
        }
    }

    /// What waited in the outbox goes even if tonight's content could not be had.
    fn upload(&self, recorder: &mut Recorder<'_>, started: &mut Started, targets: &mut [Target<'_>], packed: bool) {
        if self.stopped(recorder, Step::Upload) {
            return;
        }
        if self.dry_run {
            self.dry_upload(recorder, targets);
            return;
        }
        let waiting = started.outbox.items().map(|items| !items.is_empty()).unwrap_or(true);
        let troubled = targets.iter().any(|target| target.trouble.is_some());
        if !waiting && !troubled {
            match packed {
                true => recorder.skip(Step::Upload, Some(text!("nothing to send" / "rien à envoyer"))),
                false => recorder.skip_after_failure(Step::Upload),
            }
            return;
        }
        recorder.step(Step::Upload, |notes| {
            let uploading = Uploading {
                settings: self.settings,
                work_dir: &started.work_dir,
                outbox: &started.outbox,
                now: self.now,
                interrupt: self.interrupt,
                progress: self.progress,
            };
            uploading.upload(targets, &mut started.state, notes)
        });
    }

    fn purge(&self, recorder: &mut Recorder<'_>, started: &mut Started, targets: &mut [Target<'_>], compared: bool) {
        if self.stopped(recorder, Step::Purge) {
            return;
        }
        if !compared {
            recorder.skip_after_failure(Step::Purge);
            return;
        }
        let policies = self.settings.destinations.iter().any(|destination| destination.retention.is_some());
        if !policies {
            recorder.skip(Step::Purge, Some(text!("no retention policy" / "aucune règle de rétention")));
            return;
        }
        recorder.step(Step::Purge, |notes| {
            let purging =
                Purging { settings: self.settings, now: self.now, dry_run: self.dry_run, interrupt: self.interrupt };
            purging.purge(targets, &mut started.state, notes)
        });
    }

    /// Free space, while the connections are open: a full server is better known a week before.
    fn last_look(&self, targets: &mut [Target<'_>], recorder: &mut Recorder<'_>, yielded: &Yield) {
        if self.interrupted() {
            return;
        }
        for target in targets {
            let Some(session) = target.session.as_mut() else { continue };
            let free = match session.free_space() {
                Ok(free) => free,
                Err(error) => {
                    tracing::info!("{}: free space not known: {error}", target.settings.name);
                    None
                }
            };
            target.report.free_bytes = free;
            let archive = yielded.archive.as_ref().map(|packed| packed.bytes);
            if let (Some(free), Some(bytes)) = (free, archive)
                && free < bytes.saturating_mul(3)
            {
                let name = target.settings.name.clone();
                let (en, fr) = (show_size(free, Language::En), show_size(free, Language::Fr));
                let text = Text::new(
                    format!("{name} has {en} left, room for less than three more archives like tonight's"),
                    format!("{name} n'a plus que {fr} libres, moins de trois archives comme celle de cette nuit"),
                );
                tracing::warn!("{text}");
                recorder.warnings.push(crate::report::Warning { step: Step::Upload, destination: Some(name), text });
            }
        }
    }

    /// A dry run stops here, but a destination that could not be reached is no less a failure for that.
    fn dry_upload(&self, recorder: &mut Recorder<'_>, targets: &mut [Target<'_>]) {
        if targets.iter().all(|target| target.trouble.is_none()) {
            recorder.skip(Step::Upload, Some(text!("dry run" / "simulation")));
            return;
        }
        recorder.step(Step::Upload, |notes| {
            targets.iter_mut().for_each(|target| upload::note_trouble(target, notes));
            Ok(())
        });
    }

    /// Whether a signal has come. One that came between two steps is the failure of the one that should begin now.
    fn stopped(&self, recorder: &mut Recorder<'_>, step: Step) -> bool {
        if !self.interrupted() {
            return false;
        }
        match recorder.failures.is_empty() {
            true => drop(recorder.step(step, |_| Ok(()))),
            false => recorder.skip_after_failure(step),
        }
        true
    }

    fn interrupted(&self) -> bool {
        self.interrupt.exit_code().is_some()
    }

    fn report(&self, mut recorder: Recorder<'_>, targets: Vec<Target<'_>>, yielded: Yield) -> RunReport {
        if !self.dry_run && recorder.failures.is_empty() {
            // The last line of defence: a night is not well as long as a destination was passed over.
            for target in targets.iter().filter(|target| target.report.result == DestinationResult::NotTried) {
                let name = target.settings.name.clone();
                let text = text!(
                    "nothing was done for {name}, and nothing says why; look at the log"
                        / "rien n'a été fait pour {name}, et rien ne dit pourquoi ; voyez le journal"
                );
                recorder.warnings.push(crate::report::Warning { step: Step::Upload, destination: Some(name), text });
            }
        }
        let mut report = RunReport {
            job: self.settings.name.clone(),
            run_id: self.run_id.to_owned(),
            host: self.host.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            dry_run: self.dry_run,
            started: self.now,
            seconds: 0.0,
            status: Status::Ok,
            exit_code: crate::exit_code::ExitCode::Success,
            summary: Text::new("", ""),
            failures: recorder.failures,
            warnings: recorder.warnings,
            steps: recorder.steps,
            source: yielded.source,
            dump: yielded.dump.map(|dump| DumpReport {
                entry: dump.entry,
                bytes: dump.bytes,
                sha256: dump.sha256,
                fingerprint: dump.fingerprint,
                producer: dump.producer,
                completeness: dump.completeness,
                previous_bytes: yielded.previous_bytes,
            }),
            archive: yielded.archive.map(|packed| ArchiveReport {
                name: packed.name.to_string(),
                bytes: packed.bytes,
                sha256: packed.sha256,
                reused_compression: packed.reused_compression,
            }),
            destinations: targets.into_iter().map(|target| target.report).collect(),
            log_file: None,
        };
        report.settle();
        report
    }
}
