//! A run's result for whoever started it: a few lines by hand, nothing under cron unless it failed. English.
//!
//! Only renders; `output` prints, and knows whether there is a terminal and whether it wants colour.

use std::fmt::Write as _;
use std::time::Duration;

use super::page::{page, step_mark};
use super::{FailureReport, RunReport, Status, StepOutcome, StepReport};
use crate::text::Language;
use crate::text::one_line;
use crate::units::show_duration;

struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A step as it ends, for whoever is watching: mark, name, time, detail.
pub fn step_line(step: &StepReport, colour: bool) -> String {
    let code = match step.outcome {
        StepOutcome::Done => "32",
        StepOutcome::Warning => "33",
        StepOutcome::Failed => "31",
        StepOutcome::Skipped => "2",
    };
    let mark = Paint(colour).with(code, step_mark(step.outcome));
    let time = match step.outcome {
        StepOutcome::Skipped => String::new(),
        _ => show_duration(Duration::from_secs_f64(step.seconds.max(0.0)), Language::En),
    };
    let detail = step.detail.as_ref().map_or(String::new(), |detail| one_line(&detail.en));
    format!("{mark} {:<9} {time:>12}  {detail}", step.step).trim_end().to_owned()
}

/// What follows the steps of an `archive run` by hand: what each destination holds, warnings, the failure, the result.
pub fn by_hand(report: &RunReport, colour: bool) -> String {
    let paint = Paint(colour);
    let page = page(report, Language::En);
    let mut out = String::new();
    // Writing to a String cannot fail.
    for group in page.groups.iter().filter(|group| group.subtitle.is_some()) {
        let _ = writeln!(out, "\n{} {}", group.title, paint.with("2", group.subtitle.as_deref().unwrap_or_default()));
        for (label, value) in &group.rows {
            let _ = writeln!(out, "  {label}: {value}");
        }
    }
    if !page.warnings.is_empty() {
        out.push('\n');
    }
    for warning in &page.warnings {
        let _ = writeln!(out, "{} {warning}", paint.with("33", "warning:"));
    }
    for failure in &report.failures {
        let _ = write!(out, "\n{}", told(failure, &paint));
    }
    let code = match report.status {
        Status::Ok => "1;32",
        Status::Warning => "1;33",
        Status::Failed => "1;31",
    };
    let result = paint.with(code, &format!("{} {}", page.mark, report.status.word()));
    let _ = writeln!(out, "\n{result} {}: {}", page.job, page.summary);
    if let Some(note) = &page.note {
        let _ = writeln!(out, "{note}");
    }
    out
}

/// What cron may see, for it mails every line: `None` unless the run failed; then cause and hint.
pub fn under_cron(report: &RunReport) -> Option<String> {
    if report.status != Status::Failed {
        return None;
    }
    let mut out = format!("archive: job `{}` failed: {}\n", one_line(&report.job), one_line(&report.summary.en));
    for failure in &report.failures {
        let _ = write!(out, "\n{}", told(failure, &Paint(false)));
    }
    if let Some(log) = &report.log_file {
        let _ = writeln!(out, "\nlog: {}", one_line(&log.display().to_string()));
    }
    Some(out)
}

fn told(failure: &FailureReport, paint: &Paint) -> String {
    let mut out = format!("{} {}\n", paint.with("31", "error:"), one_line(&failure.what));
    for cause in &failure.causes {
        let _ = writeln!(out, "  caused by: {}", one_line(cause));
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(out, "{} {}", paint.with("36", "hint:"), one_line(&hint.en));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn by_hand_the_result_is_the_last_thing_to_read() {
        insta::assert_snapshot!("terminal_published", by_hand(&fixtures::published(), false));
        insta::assert_snapshot!("terminal_upload_failed_at_one", by_hand(&fixtures::upload_failed_at_one(), false));
    }

    #[test]
    fn cron_hears_of_failures_only() {
        assert_eq!(under_cron(&fixtures::published()), None);
        assert_eq!(under_cron(&fixtures::unchanged_under_warn()), None);
        insta::assert_snapshot!("terminal_cron_404", under_cron(&fixtures::download_404()).unwrap());
    }

    #[test]
    fn colour_comes_only_when_asked_for_and_never_from_a_server() {
        let mut report = fixtures::download_404();
        report.failures[0].causes = vec!["\u{1b}[31mred".into()];
        assert!(!by_hand(&report, false).contains('\u{1b}'));
        assert!(!under_cron(&report).unwrap().contains('\u{1b}'));
        assert!(by_hand(&report, true).contains("\u{1b}[1;31m✗ FAILED\u{1b}[0m"));
    }
}
