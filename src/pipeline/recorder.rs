//! Keeps the result of a run while it goes on: times each step, logs its end, collects failures and warnings.

use std::time::Instant;

use crate::error::{Failure, chain_of};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::report::{FailureReport, StepOutcome, StepReport, Warning};
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::work_dir::lock::Lock;

/// The result so far.
pub struct Recorder<'a> {
    interrupt: &'a Interrupt,
    progress: &'a dyn Progress,
    /// Told which step begins, once the run has it.
    pub lock: Option<Lock>,
    /// See [`crate::report::RunReport::steps`].
    pub steps: Vec<StepReport>,
    /// See [`crate::report::RunReport::failures`].
    pub failures: Vec<FailureReport>,
    /// See [`crate::report::RunReport::warnings`].
    pub warnings: Vec<Warning>,
}

/// What a step notes about itself while it works.
pub struct Notes<'a> {
    step: Step,
    interrupt: &'a Interrupt,
    detail: Option<Text>,
    failures: Vec<FailureReport>,
    warnings: Vec<Warning>,
}

impl<'a> Notes<'a> {
    /// Nothing has been noted yet.
    pub fn new(step: Step, interrupt: &'a Interrupt) -> Self {
        Notes { step, interrupt, detail: None, failures: Vec::new(), warnings: Vec::new() }
    }

    /// Takes over what a part of the step has noted, the thread of a target for one. Its detail is its own.
    pub fn take_over(&mut self, part: Notes<'_>) {
        self.failures.extend(part.failures);
        self.warnings.extend(part.warnings);
    }

    /// One short line about what was done; the last one counts.
    pub fn detail(&mut self, detail: Text) {
        tracing::info!("{detail}");
        self.detail = Some(detail);
    }

    /// Somebody should look at this.
    pub fn warn(&mut self, text: Text) {
        self.warn_about(None, text);
    }

    /// Somebody should look at this destination.
    pub fn warn_about(&mut self, destination: Option<&str>, text: Text) {
        self.warn_in(self.step, destination, text);
    }

    /// Somebody should look at this, which belongs to another step.
    pub fn warn_in(&mut self, step: Step, destination: Option<&str>, text: Text) {
        tracing::warn!("{text}");
        self.warnings.push(Warning { step, destination: destination.map(str::to_owned), text });
    }

    /// Whether there is nothing to tell.
    pub fn is_quiet(&self) -> bool {
        self.failures.is_empty() && self.warnings.is_empty()
    }

    /// One destination failed; the step goes on with the others.
    pub fn fail(&mut self, destination: Option<&str>, failure: Failure) {
        let failure = match self.interrupt.exit_code() {
            Some(code) => failure.with_code(code).summed_up(text!("interrupted" / "interrompu")),
            None => failure,
        };
        tracing::error!("{}", chain_of(&failure.error).join("\n  caused by: "));
        self.failures.push(FailureReport::new(&failure, destination));
    }
}

impl<'a> Recorder<'a> {
    /// Nothing has happened yet.
    pub fn new(interrupt: &'a Interrupt, progress: &'a dyn Progress) -> Self {
        Recorder { interrupt, progress, lock: None, steps: Vec::new(), failures: Vec::new(), warnings: Vec::new() }
    }

    /// Runs one step; a failure is recorded and gives `None`.
    pub fn step<T>(&mut self, step: Step, work: impl FnOnce(&mut Notes<'_>) -> Result<T, Failure>) -> Option<T> {
        let _span = tracing::info_span!("step", step = step.name()).entered();
        let begun = Instant::now();
        let mut notes = Notes::new(step, self.interrupt);
        // Only a trace for the next run: a full disk is not to end this one here.
        if let Some(Err(error)) = self.lock.as_mut().map(|lock| lock.enter(step)) {
            tracing::warn!("the step could not be noted in the lock file: {error}");
        }
        let interrupted = self.interrupt.check().map_err(|error| Failure::new(step, error));
        let outcome = interrupted.and_then(|()| work(&mut notes));
        let value = match outcome {
            Ok(value) => Some(value),
            Err(failure) => {
                notes.fail(None, failure);
                None
            }
        };
        let outcome = if !notes.failures.is_empty() {
            StepOutcome::Failed
        } else if notes.warnings.iter().any(|warning| warning.step == step) {
            StepOutcome::Warning
        } else {
            StepOutcome::Done
        };
        let detail = notes.detail.take();
        self.record(StepReport { step, outcome, seconds: begun.elapsed().as_secs_f64(), detail });
        self.keep(notes);
        value
    }

    /// Keeps failures and warnings that were noted outside of a step that runs.
    pub fn keep(&mut self, notes: Notes<'_>) {
        // A step that runs a second time in one run says the same things again.
        for new in notes.failures {
            let is_known = |known: &FailureReport| {
                (known.step, &known.destination, &known.what, &known.causes)
                    == (new.step, &new.destination, &new.what, &new.causes)
            };
            if !self.failures.iter().any(is_known) {
                self.failures.push(new);
            }
        }
        for new in notes.warnings {
            if !self.warnings.iter().any(|known| known.text == new.text) {
                self.warnings.push(new);
            }
        }
    }

    /// A step that is not needed, or impossible after a failure.
    pub fn skip(&mut self, step: Step, why: Option<Text>) {
        if !self.steps.iter().any(|known| known.step == step) {
            self.record(StepReport { step, outcome: StepOutcome::Skipped, seconds: 0.0, detail: why });
        }
    }

    /// Skips a step because of what failed before it.
    pub fn skip_after_failure(&mut self, step: Step) {
        let why = self.failures.first().map(|failure| {
            let failed = failure.step;
            Text::new(format!("needs `{failed}`"), format!("nécessite l'étape « {} »", failed.title(Language::Fr)))
        });
        self.skip(step, why);
    }

    /// A step that ran a second time replaces its first record, and keeps its time.
    fn record(&mut self, mut report: StepReport) {
        if let Some(at) = self.steps.iter().position(|known| known.step == report.step) {
            report.seconds += self.steps.remove(at).seconds;
        }
        self.progress.ended(&report);
        let at = self.steps.partition_point(|known| known.step < report.step);
        self.steps.insert(at, report);
    }
}
