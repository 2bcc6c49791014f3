//! Step 7, `report`: state saved, log closed, mail sent. Runs whatever happened before, and its own failure never hides the
//! first one.

use std::time::Instant;

use super::Ended;
use crate::config::settings::MailSettings;
use crate::error::{Explain, Failure, while_doing};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::logging::Logging;
use crate::report::mail::{self, OutgoingMail};
use crate::report::mail_error::MailError;
use crate::report::unsent::{self, Flushed};
use crate::report::{FailureReport, RunReport, StepOutcome, StepReport, Warning};
use crate::step::Step;
use crate::text;
use crate::text::Text;
use crate::work_dir::{WorkDir, history};

/// What reporting needs.
pub struct Reporting<'a> {
    /// `[mail]`, if there is one.
    pub mail: Option<&'a MailSettings>,
    /// The log of this run.
    pub logging: &'a Logging,
    /// The work dir.
    pub work_dir: &'a WorkDir,
}

impl Reporting<'_> {
    /// Saves, closes and sends; gives the final result.
    pub fn report(&self, ended: Ended) -> RunReport {
        let begun = Instant::now();
        let _span = tracing::info_span!("step", step = Step::Report.name()).entered();
        let Ended { mut report, state, mut lock } = ended;
        if let Some(lock) = &mut lock
            && let Err(error) = lock.enter(Step::Report)
        {
            tracing::warn!("failed to note the step in the lock file: {error}");
        }
        report.log_file = self.logging.file();
        // A run that was locked out owns nothing in the work dir; a dry run changes nothing in it.
        let ours = lock.is_some();
        if let Some(warning) = self.logging.warning() {
            report.warnings.push(Warning { step: Step::Report, destination: None, text: warning });
        }
        let before = report.failures.len();
        if let Some(mut state) = state.filter(|_| ours && !report.dry_run) {
            report.settle();
            if let Some(last) = &mut state.last_run {
                last.exit_code = report.exit_code.code();
            }
            if let Err(error) = state.save(&self.work_dir.state_file()) {
                fail(&mut report, Failure::new(Step::Report, error).with_code(ExitCode::Pack));
            }
        }
        report.settle();
        // What leaves by mail, JSON and history does not pass through the log.
        report.redact(self.logging);
        self.close_log(&report);
        let told = report.failures.len();
        let sent = self.send(&mut report, ours);
        if report.failures.len() > told {
            // The block above went with the mail and knew nothing of this; the log must not end with another exit code.
            self.close_log(&report);
        }
        let outcome = if report.failures.len() > before { StepOutcome::Failed } else { StepOutcome::Done };
        report.steps.push(StepReport {
            step: Step::Report,
            outcome,
            seconds: begun.elapsed().as_secs_f64(),
            detail: sent,
        });
        report.settle();
        // The mail's own failure came after the first time.
        report.redact(self.logging);
        if ours
            && !report.dry_run
            && let Err(error) = history::append(&self.work_dir.history_file(), &report)
        {
            tracing::warn!("the history could not be written: {error}");
        }
        if let Some(lock) = lock
            && let Err(error) = lock.finish()
        {
            tracing::warn!("the lock file could not be emptied, the next run will believe that this one died: {error}");
        }
        report
    }

    fn close_log(&self, report: &RunReport) {
        let block = crate::report::closing_block::closing_block(report);
        if report.failures.is_empty() {
            tracing::info!("{block}");
        } else {
            tracing::error!("{block}");
        }
    }

    /// Mails that wait from other nights go first. Says what was sent.
    fn send(&self, report: &mut RunReport, ours: bool) -> Option<Text> {
        let settings = self.mail?;
        let ours = ours && !report.dry_run;
        // The interruption that ended the run must not end the report about it; a second signal ends the process.
        let interrupt = Interrupt::default();
        let late = if ours { self.send_kept(settings, &interrupt) } else { 0 };
        if report.dry_run || !mail::wanted(settings.when, report.status) {
            return None;
        }
        let log = self.logging.run_lines();
        let outgoing = match mail::compose(report, settings, Some(&log)) {
            Ok(outgoing) => outgoing,
            Err(error) => {
                let summary = error.to_string();
                let error = while_doing("failed to write the mail")(error);
                fail(report, Failure::new(Step::Report, error).summed_up(summary));
                return None;
            }
        };
        match mail::send(settings, &outgoing, &interrupt) {
            Ok(()) => {
                let count = settings.to.len();
                let plural = if count == 1 { "" } else { "s" };
                let to: Vec<String> = settings.to.iter().map(|to| to.email.to_string()).collect();
                tracing::info!("mail sent to {}", to.join(", "));
                Some(match late {
                    0 => text!(
                        "mail sent to {count} recipient{plural}" / "courriel envoyé à {count} destinataire{plural}"
                    ),
                    _ => text!(
                        "mail sent to {count} recipient{plural}, after {late} from earlier nights"
                            / "courriel envoyé à {count} destinataire{plural}, après {late} des nuits précédentes"
                    ),
                })
            }
            Err(error) => {
                let kept = if ours && error.is_worth_keeping() { self.keep(report, &outgoing, &error) } else { None };
                let summary = error.to_string();
                let error = while_doing("failed to send the report")(error);
                fail(report, Failure::new(Step::Report, error).summed_up(summary));
                kept
            }
        }
    }

    fn send_kept(&self, settings: &MailSettings, interrupt: &Interrupt) -> usize {
        let Flushed { sent, waiting, error } = unsent::send_kept(settings, self.work_dir.root(), interrupt);
        if sent > 0 {
            tracing::info!("{sent} mails of earlier runs sent");
        }
        if let Some(error) = error {
            tracing::warn!("{waiting} mails of earlier runs still wait: {error}");
        }
        sent
    }

    fn keep(&self, report: &mut RunReport, outgoing: &OutgoingMail, why: &MailError) -> Option<Text> {
        let kept = unsent::keep(self.work_dir.root(), &report.run_id, outgoing, why).explain(
            "failed to keep the unsent mail for the next run",
            text!("look at the work dir's disk" / "vérifiez le disque du répertoire de travail"),
        );
        match kept {
            Ok(_) => {
                tracing::info!("the mail is kept and goes with the next run");
                Some(text!("mail kept for the next run" / "courriel conservé pour la prochaine exécution"))
            }
            Err(error) => {
                fail(report, Failure::new(Step::Report, error));
                None
            }
        }
    }
}

fn fail(report: &mut RunReport, failure: Failure) {
    tracing::error!("{}", crate::error::chain_of(&failure.error).join("\n  caused by: "));
    report.failures.push(FailureReport::new(&failure, None));
    report.settle();
}
