//! The one line that people read on their phone's lock screen: the summary, and the subject around it.

use super::phrase::{archives, colon, size};
use super::{DestinationReport, DestinationResult, FailureReport, RunReport};
use crate::exit_code::ExitCode;
use crate::step::Step;
use crate::text::one_line;
use crate::text::{Language, Text};
use crate::units::show_date;

/// Longest subject, characters; mail programs cut earlier, headers allow 998 (RFC 5322 §2.1.1).
const SUBJECT_CHARS: usize = 150;

/// What [`RunReport::summary`] should say, from everything else in the report: `20261120.tgz, 271 MB`.
pub fn summarise(report: &RunReport) -> Text {
    Text::new(line(report, Language::En), line(report, Language::Fr))
}

fn line(report: &RunReport, language: Language) -> String {
    if matches!(report.exit_code, ExitCode::Interrupted | ExitCode::Terminated) {
        return interrupted(report, language);
    }
    if let Some(first) = report.failures.first() {
        return failed(report, first, language);
    }
    let core = published(report, language)
        .or_else(|| unchanged(report, language))
        .or_else(|| would_publish(report, language))
        .unwrap_or_else(|| pick(language, "nothing to archive", "rien à archiver"));
    let core = if report.dry_run { pick(language, "dry run: ", "simulation\u{a0}: ") + &core } else { core };
    core + &caught_up(report, language)
}

fn pick(language: Language, en: &str, fr: &str) -> String {
    match language {
        Language::En => en.to_owned(),
        Language::Fr => fr.to_owned(),
    }
}

fn interrupted(report: &RunReport, language: Language) -> String {
    match report.failures.first().map(|failure| failure.step.title(language)) {
        Some(step) => match language {
            Language::En => format!("interrupted during {step}"),
            Language::Fr => format!("interrompu à l’étape «\u{a0}{step}\u{a0}»"),
        },
        None => pick(language, "interrupted", "interrompu"),
    }
}

/// `upload to nas: connection refused (archive waits in the outbox)`
fn failed(report: &RunReport, first: &FailureReport, language: Language) -> String {
    let mut line = where_it_failed(first, language);
    line.push_str(colon(language));
    line.push_str(&one_line(first.summary.get(language)));
    if is_waiting(report, first) {
        line.push_str(&pick(language, " (archive waits in the outbox)", " (l’archive attend dans la boîte d’envoi)"));
    }
    let more = report.failures.len() - 1;
    if more > 0 {
        line.push_str(&match (language, more) {
            (Language::En, _) => format!(", +{more} more"),
            (Language::Fr, 1) => ", +1 autre échec".to_owned(),
            (Language::Fr, _) => format!(", +{more} autres échecs"),
        });
    }
    line
}

/// `upload to nas`, `envoi vers nas`.
pub(super) fn where_it_failed(failure: &FailureReport, language: Language) -> String {
    let title = failure.step.title(language);
    let Some(destination) = &failure.destination else { return title.to_owned() };
    let preposition = match (failure.step, language) {
        (Step::Upload, Language::En) => "to",
        (Step::Upload, Language::Fr) => "vers",
        (Step::Compare, Language::En) => "with",
        (Step::Compare, Language::Fr) => "avec",
        (_, Language::En) => "at",
        (_, Language::Fr) => "sur",
    };
    format!("{title} {preposition} {}", one_line(destination))
}

fn is_waiting(report: &RunReport, failure: &FailureReport) -> bool {
    report.destinations.iter().any(|destination| {
        failure.destination.as_ref() == Some(&destination.name)
            && destination.result == DestinationResult::Failed { waiting: true }
    })
}

fn published(report: &RunReport, language: Language) -> Option<String> {
    report.destinations.iter().find_map(|destination| match &destination.result {
        DestinationResult::Published { name, bytes, .. } => Some(format!("{name}, {}", size(*bytes, language))),
        _ => None,
    })
}

fn unchanged(report: &RunReport, language: Language) -> Option<String> {
    let since = report.destinations.iter().filter_map(|destination| match &destination.result {
        DestinationResult::Unchanged { since, .. } => Some(*since),
        _ => None,
    });
    since.min().map(|since| pick(language, "unchanged since ", "inchangé depuis le ") + &show_date(since, language))
}

fn would_publish(report: &RunReport, language: Language) -> Option<String> {
    let archive = report.archive.as_ref()?;
    let what = format!("{}, {}", archive.name, size(archive.bytes, language));
    Some(if report.dry_run { pick(language, "would publish ", "publierait ") + &what } else { what })
}

fn caught_up(report: &RunReport, language: Language) -> String {
    let mut names: Vec<&String> = report.destinations.iter().flat_map(|d: &DestinationReport| &d.caught_up).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return String::new();
    }
    let caught_up = match (language, names.len()) {
        (Language::En, _) => "caught up",
        (Language::Fr, 1) => "rattrapée",
        (Language::Fr, _) => "rattrapées",
    };
    format!(" ({} {caught_up})", archives(names.len(), language))
}

/// The subject: `template` with `{status}`, `{job}`, `{summary}`, `{host}` and `{date}` filled in.
///
/// On one line whatever a server wrote, at most about 150 characters, with ordinary spaces: a subject is never wrapped
/// where it hurts, and stays readable in the raw mail. An unknown `{word}` is left as it is.
pub fn subject(report: &RunReport, template: &str, language: Language) -> String {
    let day = show_date(report.started.date_naive(), language);
    let mut subject = String::new();
    let mut rest = template;
    // One pass, so that a summary that holds `{host}` stays what it is.
    while let Some(start) = rest.find('{') {
        subject.push_str(&rest[..start]);
        rest = &rest[start..];
        let values = [
            ("{status}", report.status.word()),
            ("{job}", &report.job),
            ("{summary}", report.summary.get(language)),
            ("{host}", &report.host),
            ("{date}", &day),
        ];
        match values.iter().find(|(key, _)| rest.starts_with(key)) {
            Some((key, value)) => {
                subject.push_str(value);
                rest = &rest[key.len()..];
            }
            None => {
                subject.push('{');
                rest = &rest[1..];
            }
        }
    }
    subject.push_str(rest);
    shortened(&one_line(&subject).replace(['\u{a0}', '\u{202f}'], " "))
}

fn shortened(line: &str) -> String {
    if line.chars().count() <= SUBJECT_CHARS {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(SUBJECT_CHARS - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn subjects(report: &RunReport) -> [String; 2] {
        let template = "[{status}] {job}: {summary}";
        [subject(report, template, Language::En), subject(report, template, Language::Fr)]
    }

    #[test]
    fn the_subject_of_every_kind_of_night() {
        let all: Vec<String> = fixtures::all()
            .iter()
            .map(|(name, report)| {
                let [en, fr] = subjects(report);
                format!("{name}\n  {en}\n  {fr}\n")
            })
            .collect();
        insta::assert_snapshot!("subjects", all.concat());
    }

    #[test]
    fn a_server_cannot_add_a_header_and_a_long_reason_is_cut() {
        let mut report = fixtures::download_404();
        report.failures[0].summary = format!("no\r\nBcc: all@example.org\u{7} {}", "x".repeat(300)).into();
        report.summary = summarise(&report);
        for subject in subjects(&report) {
            assert!(!subject.contains(char::is_control), "{subject:?}");
            assert_eq!(subject.chars().count(), 150);
            assert!(subject.ends_with('…'));
        }
    }

    #[test]
    fn a_template_is_filled_in_once_and_unknown_words_stay() {
        let mut report = fixtures::published();
        report.summary = Text::new("{job} {nothing}", "");
        assert_eq!(
            subject(&report, "{host} {date} {{summary}} {x", Language::En),
            "db1.example.org 20 Nov 2026 {{job} {nothing}} {x"
        );
    }

    #[test]
    fn further_failures_are_counted() {
        let mut report = fixtures::upload_failed_at_one();
        let mut second = report.failures[0].clone();
        second.destination = Some("s3".into());
        report.failures.push(second);
        assert_eq!(
            summarise(&report).fr,
            "envoi vers nas\u{a0}: connection refused (l’archive attend dans la boîte d’envoi), +1 autre échec"
        );
    }
}
