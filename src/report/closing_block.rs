//! The last words of a run in its log: one line after a good run, one block after a failed one, made so that somebody who
//! never saw this program finds the cause in ten seconds. English, as the whole log.

use std::fmt::Write as _;
use std::time::Duration;

use super::{FailureReport, RunReport, Status};
use crate::text::Language;
use crate::text::one_line;
use crate::units::show_duration;

/// What the log ends with; several lines after a failure, without a final line feed.
pub fn closing_block(report: &RunReport) -> String {
    let lasted = show_duration(Duration::try_from_secs_f64(report.seconds).unwrap_or_default(), Language::En);
    let code = report.exit_code.code();
    let summary = one_line(&report.summary.en);
    let Some(first) = report.failures.first() else {
        let word = match report.status {
            Status::Ok => "ok",
            Status::Warning => "ok, with warnings",
            Status::Failed => "failed",
        };
        return format!("run ended: {word}: {summary}; {lasted}, exit code {code}");
    };
    let mut out = format!("run FAILED after {lasted}: {summary}\n");
    // Writing to a String cannot fail.
    failure(first, &mut out);
    for also in &report.failures[1..] {
        out.push_str("and:\n");
        failure(also, &mut out);
    }
    let _ = write!(out, "exit code:  {code}");
    out
}

fn failure(failure: &FailureReport, out: &mut String) {
    let place =
        failure.destination.as_ref().map(|name| format!(", destination `{}`", one_line(name))).unwrap_or_default();
    let _ = writeln!(out, "step:       {}{place}", failure.step);
    let _ = writeln!(out, "what:       {}", one_line(&failure.what));
    for (depth, cause) in failure.causes.iter().enumerate() {
        let label = if depth == 0 { "why:" } else { "" };
        let _ = writeln!(out, "{label:<12}{}{}", "  ".repeat(depth), one_line(cause));
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(out, "what to do: {}", one_line(&hint.en));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn the_last_words_of_every_kind_of_night() {
        let all: String =
            fixtures::all().iter().map(|(name, report)| format!("# {name}\n{}\n\n", closing_block(report))).collect();
        insta::assert_snapshot!("closing_blocks", all);
    }

    #[test]
    fn every_failure_is_told() {
        let mut report = fixtures::upload_failed_at_one();
        let mut second = report.failures[0].clone();
        second.destination = Some("s3".into());
        report.failures.push(second);
        let block = closing_block(&report);
        assert!(block.contains("`nas`") && block.contains("and:\nstep:       upload, destination `s3`"), "{block}");
        assert!(block.ends_with("exit code:  6"), "{block}");
    }
}
