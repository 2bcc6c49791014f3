//! The mail as plain text: short enough for a phone, the result and what to do before anything else.

use std::fmt::Write as _;

use super::RunReport;
use super::page::{Page, StepLine, page};
use super::phrase::colon;
use crate::text::Language;

/// The plain-text body of the mail.
pub fn text(report: &RunReport, language: Language) -> String {
    render(&page(report, language))
}

fn render(page: &Page) -> String {
    let colon = colon(page.language);
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{} {} · {}\n{}", page.mark, page.badge, page.job, page.summary);
    if let Some(note) = &page.note {
        let _ = writeln!(out, "{note}");
    }
    for problem in &page.failures {
        let _ = writeln!(out, "\n{}{colon}{}", page.titles.cause, problem.title);
        for line in &problem.chain {
            let _ = writeln!(out, "  {line}");
        }
        if let Some(hint) = &problem.hint {
            let _ = writeln!(out, "{}{}\n  {hint}", page.titles.to_do, colon.trim_end_matches(' '));
        }
    }
    if !page.warnings.is_empty() {
        let _ = writeln!(out, "\n{}", page.titles.warnings);
        for warning in &page.warnings {
            let _ = writeln!(out, "  ! {warning}");
        }
    }
    if !page.steps.is_empty() {
        let _ = writeln!(out, "\n{}", page.titles.steps);
        steps(&page.steps, &mut out);
    }
    for group in &page.groups {
        match &group.subtitle {
            Some(subtitle) => drop(writeln!(out, "\n{} — {subtitle}", group.title)),
            None => drop(writeln!(out, "\n{}", group.title)),
        }
        for (label, value) in &group.rows {
            let _ = writeln!(out, "  {label}{colon}{value}");
        }
    }
    // A line with two hyphens and a space: mail programs fold away what follows (RFC 3676 §4.3).
    let _ = writeln!(out, "\n-- ");
    for (label, value) in &page.footer {
        let _ = writeln!(out, "{label}{colon}{value}");
    }
    out
}

fn steps(steps: &[StepLine], out: &mut String) {
    let width = |text: &str| text.chars().count();
    let titles = steps.iter().map(|step| width(step.title)).max().unwrap_or(0);
    let durations = steps.iter().map(|step| width(&step.duration)).max().unwrap_or(0);
    for step in steps {
        let line = format!("  {} {:<titles$}  {:>durations$}  {}", step.mark, step.title, step.duration, step.detail);
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn the_text_of_every_kind_of_night() {
        for (name, report) in fixtures::all() {
            for (code, language) in [("en", Language::En), ("fr", Language::Fr)] {
                insta::assert_snapshot!(format!("text_{name}_{code}"), text(&report, language));
            }
        }
    }

    #[test]
    fn the_french_text_has_no_english_word_besides_the_error() {
        let english = "published steps failed waiting held free since warning warnings host run the at of what checked";
        for (name, mut report) in fixtures::all() {
            // Error texts stay English, and so do the keys of the configuration, in backticks.
            for failure in &mut report.failures {
                failure.what.clear();
                failure.causes.clear();
                failure.summary = "".into();
            }
            report.summary = super::super::summary::summarise(&report);
            let text = text(&report, Language::Fr).to_lowercase();
            let said: String = text.split('`').step_by(2).collect();
            for word in said.split(|c: char| !c.is_alphabetic()) {
                assert!(!english.split(' ').any(|e| e == word), "{name}: `{word}` in\n{text}");
            }
        }
    }

    #[test]
    fn a_normal_night_fits_on_a_phone() {
        let text = text(&fixtures::published(), Language::Fr);
        assert!(text.lines().count() <= 36, "{text}");
    }

    #[test]
    fn a_server_cannot_write_lines_of_its_own() {
        let mut report = fixtures::download_404();
        report.failures[0].causes = vec!["no\r\n✓ RÉUSSI · boutique\u{1b}[32m".into()];
        let text = text(&report, Language::Fr);
        assert!(text.contains("  no ✓ RÉUSSI · boutique\\u{1b}[32m\n"), "{text}");
    }
}
