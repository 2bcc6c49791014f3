//! The steps from `download` to `purge`: what each needs of the one before, and when one begins again.

use std::sync::Arc;
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::compare::{Compared, Tonight, standstill};
use super::context::{Context, Held};
use super::download::{self, Content, comparable, download, spool_file};
use super::facts::Facts;
use super::pack::{Ahead, pack, pack_ahead};
use super::purge::Purged;
use super::recorder::{Notes, Recorder};
use super::target::Decision;
use super::threads::{Answer, Delivery, Threads};
use super::upload::{self, Uploaded};
use super::verify::{Before, Verified, fingerprint_method, not_shrunk, verify};
use crate::deflate::Horizon;
use crate::digest::Digest;
use crate::error::Failure;
use crate::exit_code::ExitCode;
use crate::report::DestinationReport;
use crate::source::HttpSource;
use crate::step::Step;
use crate::text;
use crate::work_dir::outbox::{Item, Outbox};
use crate::work_dir::state::{DumpRecord, SourceState};

/// How long the destinations that have answered wait for those that have not, before tonight's archive is packed for all.
const LATE: Duration = Duration::from_secs(10);

/// A night after `start`.
pub struct Night<'n, 'scope, 'a, 'r> {
    cx: Context<'a>,
    held: &'a Held,
    recorder: &'n mut Recorder<'r>,
    facts: &'n mut Facts,
    threads: Threads<'scope, 'a>,
    /// What each destination has answered; `None` while it has not.
    compared: Vec<Option<Compared>>,
    /// Comparisons that each has been told to make and has not answered yet.
    asked: Vec<usize>,
}

/// What `download` and `verify` came to.
struct Obtained {
    record: DumpRecord,
    /// A zip with a dump that can be trusted; `None` where nothing had to be downloaded.
    verified: Option<Verified>,
    /// Its archive, if it was written already.
    ahead: Option<Ahead>,
}

impl<'n, 'scope, 'a: 'scope, 'r> Night<'n, 'scope, 'a, 'r> {
    /// Gives each destination its thread.
    pub fn begin<'env>(
        scope: &'scope Scope<'scope, 'env>,
        cx: Context<'a>,
        held: &'a Held,
        recorder: &'n mut Recorder<'r>,
        facts: &'n mut Facts,
    ) -> Self {
        let threads = Threads::start(scope, cx, held);
        let count = threads.count();
        Night { cx, held, recorder, facts, threads, compared: vec![None; count], asked: vec![0; count] }
    }

    /// Every step from `download` to `purge`; gives what became of each destination.
    pub fn after_start(mut self) -> Vec<DestinationReport> {
        let method = fingerprint_method(&self.cx.settings.dump.volatile_lines);
        let mut known = {
            let state = self.held.state();
            self.facts.previous_bytes = state.last_published().map(|published| published.dump_bytes);
            comparable(self.cx.settings, &method, &state).cloned()
        };
        let mut obtained;
        loop {
            obtained = self.obtain(known.take());
            let tonight = match &obtained {
                Some(obtained) => self.compare(obtained),
                None => {
                    self.recorder.skip_after_failure(Step::Compare);
                    None
                }
            };
            let has_content = obtained.as_ref().is_some_and(|obtained| obtained.verified.is_some());
            if tonight.is_some() && !has_content && self.is_wanted() {
                tracing::info!("a destination needs the content after all; fetching it without conditions");
                continue;
            }
            let item = self.pack(obtained.as_mut(), tonight.is_some());
            let packed = item.is_some() || (tonight.is_some() && !self.is_wanted());
            self.deliver(tonight.clone(), item, packed);
            if tonight.is_some() && !has_content && self.is_wanted() {
                tracing::info!("a destination that answered late needs the content; fetching it without conditions");
                continue;
            }
            break;
        }
        // What was verified is packed; what could not be is worthless, unless there was no time to look. An unfinished download
        // has been left by `download`.
        let is_verified = obtained.is_some_and(|obtained| obtained.verified.is_some());
        let is_refused = self.recorder.failures.iter().any(|failure| failure.step == Step::Verify);
        if is_verified || (is_refused && !self.cx.is_interrupted()) {
            crate::source::discard(&spool_file(&self.held.work_dir));
        }
        self.threads.finish()
    }

    /// Whether a destination that has answered needs tonight's content.
    fn is_wanted(&self) -> bool {
        self.compared.iter().flatten().any(|compared| compared.decision == Decision::Publish)
    }

    /// `download` and `verify`, and both once more where the pieces of a resumed download do not fit together.
    fn obtain(&mut self, known: Option<SourceState>) -> Option<Obtained> {
        let (content, source) = self.download(known.as_ref())?;
        self.facts.source = Some(source);
        let zip = match content {
            Content::NotModified(known) => {
                self.recorder.skip(Step::Verify, Some(text!("not modified" / "non modifié")));
                let record = known.dump.clone();
                // The same dump may have come in another zip.
                self.held.state().source = Some(*known);
                return Some(self.keep(Obtained { record, verified: None, ahead: None }));
            }
            Content::Zip(zip) => zip,
        };
        let resumed = zip.resumed;
        if let Some(obtained) = self.verify(zip) {
            return Some(self.keep(obtained));
        }
        if !resumed || self.cx.is_interrupted() {
            return None;
        }
        // Pieces of two versions may have met although the server said they were one.
        tracing::warn!("the zip was put together from several attempts; fetching it once more from zero");
        self.recorder.failures.pop();
        crate::source::discard(&spool_file(&self.held.work_dir));
        let (content, source) = self.download(None)?;
        self.facts.source = Some(source);
        match content {
            Content::Zip(zip) => self.verify(zip).map(|obtained| self.keep(obtained)),
            Content::NotModified(_) => unreachable!("`download` refuses a 304 to a request without any condition"),
        }
    }

    fn keep(&mut self, mut obtained: Obtained) -> Obtained {
        self.facts.dump = Some(obtained.record.clone());
        if let Some(verified) = &obtained.verified {
            let mut state = self.held.state();
            let before = state.source.as_ref().map(|source| &source.dump);
            if let Some(advice) = before.and_then(|before| obtained.record.advice(before)) {
                let mut notes = Notes::new(Step::Verify, self.cx.interrupt);
                notes.warn(advice);
                self.recorder.keep(notes);
            }
            state.source = Some(SourceState {
                url_sha256: Digest::of(self.cx.settings.source.url.as_str()),
                judged: download::judged(&self.cx.settings.dump),
                validators: verified.zip.validators.clone(),
                zip_bytes: verified.zip.bytes,
                dump: obtained.record.clone(),
            });
        }
        obtained
    }

    fn download(&mut self, known: Option<&SourceState>) -> Option<(Content, crate::report::SourceReport)> {
        let Context { settings, interrupt, progress, .. } = self.cx;
        let held = self.held;
        let fetched = self.recorder.step(Step::Download, |notes| {
            let source = HttpSource::new(&settings.source, interrupt.clone())
                .map_err(|error| Failure::new(Step::Download, error))?;
            download(settings, &source, &held.work_dir, known, progress, notes)
        });
        if fetched.is_none() {
            self.recorder.skip_after_failure(Step::Verify);
        }
        fetched
    }

    fn verify(&mut self, zip: download::SpooledZip) -> Option<Obtained> {
        let Context { settings, interrupt, progress, .. } = self.cx;
        let (held, outbox) = (self.held, self.outbox());
        let before = {
            let state = held.state();
            Before {
                published: state.last_published().cloned(),
                producer: state.source.as_ref().map(|source| source.dump.producer.clone()),
            }
        };
        self.recorder.step(Step::Verify, |notes| {
            let path = zip.path.clone();
            let verify = |horizon: &Horizon| verify(settings, zip, &before, horizon, interrupt, progress, notes);
            let (verified, ahead) = pack_ahead(settings, &path, &outbox, &held.work_dir, interrupt, verify);
            let verified = verified?;
            Ok(Obtained { record: verified.record.clone(), verified: Some(verified), ahead })
        })
    }

    /// Asks every destination. Those that answer do not wait for one that does not, once [`LATE`] is over.
    ///
    /// `None` after a failure; otherwise every destination has been decided about, or will be by its own thread.
    fn compare(&mut self, obtained: &Obtained) -> Option<Arc<Tonight>> {
        let (held, cx) = (self.held, self.cx);
        let (threads, compared, asked) = (&mut self.threads, &mut self.compared, &mut self.asked);
        let tonight = self.recorder.step(Step::Compare, |notes| {
            let waiting =
                held.outbox.items().map_err(|error| Failure::new(Step::Compare, error).with_code(ExitCode::Pack))?;
            let tonight = Arc::new(Tonight { dump: obtained.record.clone(), waiting });
            compared.fill(None);
            asked.iter_mut().for_each(|asked| *asked += 1);
            threads.compare(&tonight);
            let begun = Instant::now();
            let mut failed = None;
            while compared.iter().any(Option::is_none) && failed.is_none() {
                if let Some((index, Answer::Compared { notes: part, result })) = threads.answer() {
                    notes.take_over(part);
                    asked[index] -= 1;
                    match result {
                        // The answer to an earlier question is no answer to this one.
                        Ok(answer) if asked[index] == 0 => compared[index] = Some(answer),
                        Ok(_) => {}
                        Err(failure) => failed = Some(failure),
                    }
                }
                if begun.elapsed() >= LATE && compared.iter().any(Option::is_some) {
                    break;
                }
            }
            if let Some(failure) = failed {
                return Err(failure);
            }
            for (settings, _) in cx.settings.destinations.iter().zip(&*compared).filter(|(_, one)| one.is_none()) {
                tracing::info!(destination = settings.name.as_str(), "has not answered yet; the others go on");
            }
            standstill(&cx, compared.iter().flatten(), notes);
            Ok(tonight)
        });
        self.judge_again(obtained).and(tonight)
    }

    /// After a lost state, what tonight's dump is measured against is known only once an archive has been read back.
    fn judge_again(&mut self, obtained: &Obtained) -> Option<()> {
        let learnt = self.held.state().last_published().cloned().filter(|_| self.facts.previous_bytes.is_none());
        let Some(learnt) = learnt else { return Some(()) };
        self.facts.previous_bytes = Some(learnt.dump_bytes);
        let judged = not_shrunk(&self.cx.settings.dump, obtained.record.bytes, &learnt);
        let Err((error, summary)) = judged else { return Some(()) };
        self.recorder.step(Step::Verify, |_| Err(Failure::new(Step::Verify, error).summed_up(summary)))
    }

    /// Tonight's archive, for the destinations that need it and those that have not answered yet.
    fn pack(&mut self, obtained: Option<&mut Obtained>, compared: bool) -> Option<Item> {
        let nothing_new = text!("nothing new" / "rien de nouveau");
        let Some((verified, ahead)) = obtained
            .filter(|_| compared)
            // If it is not needed, its space is free again when this returns.
            .and_then(|Obtained { verified, ahead, .. }| Some((verified.as_ref()?, ahead.take())))
        else {
            match compared {
                true => self.recorder.skip(Step::Pack, Some(nothing_new)),
                false => self.recorder.skip_after_failure(Step::Pack),
            }
            return None;
        };
        let needs = |compared: &Option<Compared>| {
            compared.as_ref().is_none_or(|compared| compared.decision == Decision::Publish)
        };
        let destinations = self.cx.settings.destinations.iter().zip(&self.compared);
        let pending: Vec<String> =
            destinations.filter(|(_, compared)| needs(compared)).map(|(settings, _)| settings.name.clone()).collect();
        if pending.is_empty() {
            self.recorder.skip(Step::Pack, Some(nothing_new));
            return None;
        }
        let name = self.cx.settings.archive.name.name(self.cx.today(), 1);
        let (cx, held, outbox) = (self.cx, self.held, self.outbox());
        let item = self.recorder.step(Step::Pack, |notes| {
            let packed = pack(
                cx.settings,
                verified,
                ahead,
                name,
                pending,
                &held.work_dir,
                &outbox,
                cx.interrupt,
                cx.progress,
                notes,
            )?;
            if cx.dry_run {
                outbox.discard(&packed).map_err(|error| Failure::new(Step::Pack, error))?;
            }
            Ok(packed)
        });
        self.facts.archive = item.as_ref().map(|item| item.packed.clone());
        item
    }

    /// A dry run builds the archive too, for real, where no destination will ever look for it.
    fn outbox(&self) -> Outbox {
        match self.cx.dry_run {
            true => Outbox::new(self.held.work_dir.spool()),
            false => self.held.outbox.clone(),
        }
    }

    /// `upload` and `purge`. What waited in the outbox goes even if tonight's content could not be had.
    fn deliver(&mut self, tonight: Option<Arc<Tonight>>, item: Option<Item>, packed: bool) {
        if self.stopped(Step::Upload) {
            self.stopped(Step::Purge);
            return;
        }
        let compared = tonight.is_some();
        let policies = self.cx.settings.destinations.iter().any(|destination| destination.retention.is_some());
        let trusted_day = self.held.state().trusted_day;
        let delivery = Delivery {
            tonight,
            purge: (compared && policies).then_some(trusted_day),
            packed: item.map(|item| (item.path, item.packed.bytes)),
        };
        let mut delivered = Delivered::new(self.threads.count());
        self.upload(&delivery, packed, &mut delivered);
        self.purge(compared, policies, &mut delivered);
        let was_new = self.compared.iter().flatten().all(|compared| compared.unchanged.is_none());
        for (index, notes, answer) in delivered.late {
            self.recorder.keep(notes);
            self.compared[index] = Some(answer);
        }
        let answers = self.compared.iter().flatten();
        let is_news = was_new && answers.clone().any(|compared| compared.unchanged.is_some());
        if compared && is_news && !self.cx.is_interrupted() {
            let cx = self.cx;
            self.recorder.step(Step::Compare, |notes| {
                standstill(&cx, answers, notes);
                Ok(())
            });
        }
    }

    fn upload(&mut self, delivery: &Delivery, packed: bool, delivered: &mut Delivered<'a>) {
        let is_waiting = !self.cx.dry_run && self.held.outbox.items().map_or(true, |items| !items.is_empty());
        let unsure = self.compared.iter().any(|one| one.as_ref().is_none_or(|compared| !compared.asked));
        let (cx, threads, asked) = (self.cx, &mut self.threads, &mut self.asked);
        let mut send = |delivered: &mut Delivered<'a>| {
            let mut next = if cx.settings.parallel_uploads { threads.count() } else { 1 };
            (0..next).for_each(|index| threads.deliver(index, delivery));
            while delivered.uploads.len() < threads.count() {
                if delivered.take(threads.answer(), asked) == Some(Step::Upload) && next < threads.count() {
                    threads.deliver(next, delivery);
                    next += 1;
                }
            }
        };
        if is_waiting || (unsure && delivery.tonight.is_some()) {
            self.recorder.step(Step::Upload, |notes| {
                send(delivered);
                delivered.merge_uploads(notes)
            });
            return;
        }
        send(delivered);
        if delivered.uploads.iter().any(|(notes, result)| !notes.is_quiet() || result.is_err()) {
            self.recorder.step(Step::Upload, |notes| delivered.merge_uploads(notes));
            return;
        }
        match (self.cx.dry_run, packed) {
            (true, _) => self.recorder.skip(Step::Upload, Some(text!("dry run" / "simulation"))),
            (false, true) => self.recorder.skip(Step::Upload, Some(text!("nothing to send" / "rien à envoyer"))),
            (false, false) => self.recorder.skip_after_failure(Step::Upload),
        }
    }

    fn purge(&mut self, compared: bool, policies: bool, delivered: &mut Delivered<'a>) {
        if self.stopped(Step::Purge) {
            return;
        }
        let (cx, held, threads, asked) = (self.cx, self.held, &mut self.threads, &mut self.asked);
        let mut wait = |delivered: &mut Delivered<'a>| {
            while delivered.purges.len() < threads.count() {
                delivered.take(threads.answer(), asked);
            }
        };
        if compared && policies {
            self.recorder.step(Step::Purge, |notes| {
                wait(delivered);
                delivered.merge_purges(&cx, held, notes)
            });
            return;
        }
        wait(delivered);
        delivered.purges.drain(..).for_each(|(notes, _)| self.recorder.keep(notes));
        match compared {
            true => self.recorder.skip(Step::Purge, Some(text!("no retention policy" / "aucune règle de rétention"))),
            false => self.recorder.skip_after_failure(Step::Purge),
        }
    }

    /// Whether a signal has come. One that came between two steps is the failure of the one that should begin now.
    fn stopped(&mut self, step: Step) -> bool {
        if !self.cx.is_interrupted() {
            return false;
        }
        match self.recorder.failures.is_empty() {
            true => drop(self.recorder.step(step, |_| Ok(()))),
            false => self.recorder.skip_after_failure(step),
        }
        true
    }
}

/// What the threads have said while they sent and purged.
struct Delivered<'a> {
    uploads: Vec<(Notes<'a>, Result<Vec<Uploaded>, Failure>)>,
    purges: Vec<(Notes<'a>, Result<Purged, Failure>)>,
    /// Comparisons that came after the others had gone on.
    late: Vec<(usize, Notes<'a>, Compared)>,
}

impl<'a> Delivered<'a> {
    fn new(count: usize) -> Self {
        Delivered { uploads: Vec::with_capacity(count), purges: Vec::with_capacity(count), late: Vec::new() }
    }

    /// Sorts an answer in; gives the step that it ends.
    fn take(&mut self, answer: Option<(usize, Answer<'a>)>, asked: &mut [usize]) -> Option<Step> {
        match answer? {
            (index, Answer::Compared { notes, result }) => {
                asked[index] -= 1;
                // What was asked before the content was fetched again counts no longer; after a signal `upload` says why.
                if let (Ok(compared), 0) = (result, asked[index]) {
                    self.late.push((index, notes, compared));
                }
                Some(Step::Compare)
            }
            (_, Answer::Uploaded { notes, result }) => {
                self.uploads.push((notes, result));
                Some(Step::Upload)
            }
            (_, Answer::Purged { notes, result }) => {
                self.purges.push((notes, result));
                Some(Step::Purge)
            }
        }
    }

    fn merge_uploads(&mut self, notes: &mut Notes<'_>) -> Result<(), Failure> {
        let mut uploaded = Vec::new();
        let mut failed = None;
        for (part, result) in self.uploads.drain(..) {
            notes.take_over(part);
            match result {
                Ok(archives) => uploaded.extend(archives),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        if let Some(detail) = upload::summary(uploaded) {
            notes.detail(detail);
        }
        failed.map_or(Ok(()), Err)
    }

    fn merge_purges(&mut self, cx: &Context<'_>, held: &Held, notes: &mut Notes<'_>) -> Result<(), Failure> {
        let mut all = Purged::default();
        let mut failed = None;
        for (part, result) in self.purges.drain(..) {
            notes.take_over(part);
            match result {
                Ok(Purged { archives, leap, believed }) => {
                    all.archives += archives;
                    all.leap |= leap;
                    all.believed |= believed;
                }
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        if all.believed && !all.leap {
            held.state().trusted_day = Some(cx.today());
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
        let total = all.archives;
        notes.detail(match cx.dry_run {
            true => text!("would purge {total}" / "purgerait {total}"),
            false => text!("{total} purged" / "archives purgées : {total}"),
        });
        Ok(())
    }
}
