//! The content of the mail, in its language and in its order, before it is text or HTML: both say the same thing.
//!
//! Result first; then what somebody has to act on, failures before warnings; then the details. Everything is clean here:
//! no line breaks or control characters from a server in any of the strings.

use super::phrase::{archives, change, colon, duration, names, size};
use super::summary::where_it_failed;
use super::{
    DestinationReport, DestinationResult, FailureReport, RunReport, Status, StepOutcome, StepReport, VerifiedBy,
};
use crate::text::Language;
use crate::text::one_line;
use crate::units::show_date;

/// Everything the mail says.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) language: Language,
    pub(super) status: Status,
    /// `✓`, `!`, `✗`.
    pub(super) mark: &'static str,
    /// The status in the mail's language.
    pub(super) badge: &'static str,
    pub(super) job: String,
    pub(super) summary: String,
    /// Whether anything is lost, in one sentence, where that is a question.
    pub(super) note: Option<String>,
    pub(super) failures: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    pub(super) steps: Vec<StepLine>,
    pub(super) groups: Vec<Group>,
    pub(super) footer: Vec<(&'static str, String)>,
    pub(super) titles: Titles,
}

/// The headings.
#[derive(Debug)]
pub(super) struct Titles {
    pub(super) cause: &'static str,
    pub(super) to_do: &'static str,
    pub(super) warnings: &'static str,
    pub(super) steps: &'static str,
}

/// A failure: where, what and why, what to do.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) title: String,
    /// What was being done, then why it failed, outermost first.
    pub(super) chain: Vec<String>,
    pub(super) hint: Option<String>,
}

/// A step.
#[derive(Debug)]
pub(super) struct StepLine {
    pub(super) outcome: StepOutcome,
    pub(super) mark: &'static str,
    pub(super) title: &'static str,
    pub(super) duration: String,
    pub(super) detail: String,
}

/// A heading with labelled lines under it.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) subtitle: Option<String>,
    pub(super) rows: Vec<(&'static str, String)>,
}

/// The mark of a step.
pub(super) fn step_mark(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Done => "✓",
        StepOutcome::Warning => "!",
        StepOutcome::Failed => "✗",
        StepOutcome::Skipped => "–",
    }
}

/// The mark of a run.
pub(super) fn status_mark(status: Status) -> &'static str {
    match status {
        Status::Ok => "✓",
        Status::Warning => "!",
        Status::Failed => "✗",
    }
}

struct Writer<'a> {
    report: &'a RunReport,
    language: Language,
}

/// The content of `report`'s mail.
pub(super) fn page(report: &RunReport, language: Language) -> Page {
    let writer = Writer { report, language };
    let mut groups = Vec::new();
    groups.extend(writer.incoming());
    groups.extend(report.destinations.iter().map(|destination| writer.destination(destination)));
    Page {
        language,
        status: report.status,
        mark: status_mark(report.status),
        badge: match report.status {
            Status::Ok => writer.pick("OK", "RÉUSSI"),
            Status::Warning => writer.pick("WARNING", "À VÉRIFIER"),
            Status::Failed => writer.pick("FAILED", "ÉCHEC"),
        },
        job: one_line(&report.job),
        summary: one_line(report.summary.get(language)),
        note: writer.note(),
        failures: report.failures.iter().map(|failure| writer.problem(failure)).collect(),
        warnings: writer.warnings(),
        steps: report.steps.iter().map(|step| writer.step(step)).collect(),
        groups,
        footer: writer.footer(),
        titles: Titles {
            cause: writer.pick("Cause", "Cause"),
            to_do: writer.pick("What to do", "Que faire"),
            warnings: writer.pick("Warnings", "Avertissements"),
            steps: writer.pick("Steps", "Étapes"),
        },
    }
}

impl Writer<'_> {
    fn pick<T>(&self, en: T, fr: T) -> T {
        match self.language {
            Language::En => en,
            Language::Fr => fr,
        }
    }

    fn size(&self, bytes: u64) -> String {
        size(bytes, self.language)
    }

    /// Is there a copy of tonight's content? The question that a failed run raises first.
    fn note(&self) -> Option<String> {
        let report = self.report;
        if report.dry_run {
            let (en, fr) =
                ("Dry run: nothing was sent or removed.", "Simulation\u{a0}: rien n’a été envoyé ni supprimé.");
            return Some(self.pick(en, fr).to_owned());
        }
        if report.failures.is_empty() {
            return None;
        }
        let all = report.destinations.len();
        let safe = |destination: &&DestinationReport| {
            matches!(destination.result, DestinationResult::Published { .. } | DestinationResult::Unchanged { .. })
        };
        let held = report.destinations.iter().filter(safe).count();
        let waits = report.destinations.iter().any(|d| d.result == DestinationResult::Failed { waiting: true });
        Some(match (held, waits) {
            (0, true) => self.pick(
                "The archive waits in the outbox here; it goes first next time.".to_owned(),
                "L’archive attend ici, dans la boîte d’envoi\u{a0}; elle partira en premier la prochaine fois."
                    .to_owned(),
            ),
            (0, false) => self.pick(
                "No archive was published this time.".to_owned(),
                "Aucune archive n’a été publiée cette fois.".to_owned(),
            ),
            _ => self.pick(
                format!("The archive is safe at {held} of {all} destination{}.", if all == 1 { "" } else { "s" }),
                format!(
                    "L’archive est en lieu sûr sur {held} destination{} sur {all}.",
                    if held == 1 { "" } else { "s" }
                ),
            ),
        })
    }

    fn problem(&self, failure: &FailureReport) -> Problem {
        let mut chain = vec![one_line(&failure.what)];
        chain.extend(failure.causes.iter().map(|cause| one_line(cause)));
        Problem {
            title: where_it_failed(failure, self.language),
            chain,
            hint: failure.hint.as_ref().map(|hint| one_line(hint.get(self.language))),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let line = |warning: &super::Warning| {
            let place = warning.destination.as_deref().map(one_line);
            let place = place.unwrap_or_else(|| warning.step.title(self.language).to_owned());
            format!("{place}{}{}", colon(self.language), one_line(warning.text.get(self.language)))
        };
        self.report.warnings.iter().map(line).collect()
    }

    fn step(&self, step: &StepReport) -> StepLine {
        let failure = self.report.failures.iter().find(|failure| failure.step == step.step);
        let detail = match (&step.detail, step.outcome, failure) {
            (Some(detail), _, _) => one_line(detail.get(self.language)),
            (None, StepOutcome::Failed, Some(failure)) => one_line(failure.summary.get(self.language)),
            (None, StepOutcome::Skipped, _) => self.pick("not run", "non exécutée").to_owned(),
            _ => String::new(),
        };
        let duration = match step.outcome {
            StepOutcome::Skipped => String::new(),
            _ => duration(step.seconds, self.language),
        };
        StepLine {
            outcome: step.outcome,
            mark: step_mark(step.outcome),
            title: step.step.title(self.language),
            duration,
            detail,
        }
    }

    fn incoming(&self) -> Option<Group> {
        let mut rows = Vec::new();
        if let Some(source) = &self.report.source {
            rows.push((self.pick("source", "source"), one_line(&source.url)));
            if source.not_modified {
                let mut what = self.pick("not downloaded", "non téléchargé").to_owned();
                if let Some(grounds) = &source.grounds {
                    what += self.pick(": ", "\u{a0}: ");
                    what += &one_line(grounds.get(self.language));
                }
                rows.push(("zip", what));
            } else if let Some(bytes) = source.zip_bytes {
                let resumed = match source.resumed {
                    0 => String::new(),
                    n => self
                        .pick(format!(", resumed {n} times"), format!(", repris {n}\u{a0}fois"))
                        .replace(" 1 times", " once"),
                };
                rows.push(("zip", self.size(bytes) + &resumed));
            }
        }
        if let Some(dump) = &self.report.dump {
            let mut what = format!("{}, {}", one_line(&dump.entry), self.size(dump.bytes));
            if let Some(before) = dump.previous_bytes.filter(|before| *before != dump.bytes)
                && let Some(change) = change(dump.bytes, before, self.language)
            {
                let before = self.size(before);
                what += &self.pick(
                    format!(" ({change}; before: {before})"),
                    format!(" ({change}\u{202f}; avant\u{a0}: {before})"),
                );
            }
            rows.push((self.pick("dump", "export"), what));
            let completeness = one_line(dump.completeness.get(self.language));
            rows.push((self.pick("checked", "contrôle"), format!("{}, {completeness}", one_line(&dump.producer))));
        }
        if let Some(archive) = &self.report.archive {
            rows.push(("archive", format!("{}, {}", archive.name, self.size(archive.bytes))));
        }
        let title = self.pick("What came in", "Ce qui est arrivé").to_owned();
        (!rows.is_empty()).then_some(Group { title, subtitle: None, rows })
    }

    fn destination(&self, destination: &DestinationReport) -> Group {
        let mut rows = vec![self.result(destination)];
        let mut list = |label: &'static str, list: &[String]| {
            if !list.is_empty() {
                rows.push((label, one_line(&names(list))));
            }
        };
        list(self.pick("caught up", "rattrapé"), &destination.caught_up);
        list(self.pick("waiting", "en attente"), &destination.waiting);
        list(self.pick("purged", "purgé"), &destination.purged);
        if let Some(note) = &destination.purge_note {
            rows.push((self.pick("purge", "purge"), one_line(note.get(self.language))));
        }
        if let Some(held) = &destination.held {
            let mut what = archives(held.count, self.language);
            if held.count > 0 {
                what = format!("{what}, {}", self.size(held.bytes));
            }
            if let (Some(oldest), Some(newest)) = (&held.oldest, &held.newest) {
                what = match held.count {
                    1 => format!("{what}, {}", one_line(newest)),
                    _ => format!("{what}, {} … {}", one_line(oldest), one_line(newest)),
                };
            }
            rows.push((self.pick("held", "conservé"), what));
        }
        if let Some(free) = destination.free_bytes {
            rows.push((self.pick("free space", "espace libre"), self.size(free)));
        }
        Group { title: one_line(&destination.name), subtitle: Some(one_line(&destination.location)), rows }
    }

    fn result(&self, destination: &DestinationReport) -> (&'static str, String) {
        match &destination.result {
            DestinationResult::NotTried if self.report.dry_run => {
                (self.pick("not tried", "non tenté"), self.pick("dry run", "simulation").to_owned())
            }
            DestinationResult::NotTried => {
                let (en, fr) = ("the run ended before", "l’exécution s’est arrêtée avant");
                (self.pick("not tried", "non tenté"), self.pick(en, fr).to_owned())
            }
            DestinationResult::Published { name, bytes, verified_by } => {
                let verified = match verified_by {
                    VerifiedBy::ServerChecksum => {
                        self.pick("verified by the server's checksum", "vérifié par somme de contrôle du serveur")
                    }
                    VerifiedBy::ReadBack => self.pick("verified by reading it back", "vérifié par relecture"),
                    VerifiedBy::Size => self.pick("only its size verified", "taille seule vérifiée"),
                };
                (self.pick("published", "publié"), format!("{}, {}, {verified}", one_line(name), self.size(*bytes)))
            }
            DestinationResult::Unchanged { name, since } => {
                let since = show_date(*since, self.language);
                let since = self.pick(format!("since {since}"), format!("depuis le {since}"));
                (self.pick("unchanged", "inchangé"), format!("{}, {since}", one_line(name)))
            }
            DestinationResult::Failed { waiting } => {
                let of_it = |failure: &&FailureReport| failure.destination.as_ref() == Some(&destination.name);
                let failure = self.report.failures.iter().find(of_it);
                let mut what = failure.map_or_else(String::new, |failure| one_line(failure.summary.get(self.language)));
                if *waiting {
                    what += if what.is_empty() { "" } else { ", " };
                    what += self.pick("the archive waits in the outbox", "l’archive attend dans la boîte d’envoi");
                }
                (self.pick("failed", "échec"), what)
            }
        }
    }

    fn footer(&self) -> Vec<(&'static str, String)> {
        let report = self.report;
        let day = show_date(report.started.date_naive(), self.language);
        let time = report.started.format("%H:%M");
        let lasted = duration(report.seconds, self.language);
        let mut rows = vec![
            (self.pick("run", "exécution"), one_line(&report.run_id)),
            (
                self.pick("started", "début"),
                self.pick(format!("{day} {time}, {lasted}"), format!("{day} à {time}, {lasted}")),
            ),
            (self.pick("machine", "machine"), one_line(&report.host)),
        ];
        if let Some(log) = &report.log_file {
            rows.push((self.pick("log", "journal"), one_line(&log.display().to_string())));
        }
        rows.push((self.pick("program", "programme"), format!("archive {}", report.version)));
        rows
    }
}
