//! Secrets out of a report before it is rendered, for mail, JSON, history and terminal do not pass through the log.
//!
//! Only texts that may quote a server or an error are touched; names and numbers are ours.

use super::{FailureReport, RunReport};
use crate::error::shortened_layer;
use crate::logging::Logging;
use crate::text::Text;

impl RunReport {
    /// Replaces this run's secrets wherever an error or a server may have put one, and cuts what is too long to be read.
    pub fn redact(&mut self, logging: &Logging) {
        self.redact_with(&|text| logging.redact(text));
    }

    fn redact_with(&mut self, redact: &dyn Fn(&str) -> String) {
        // `what` and `causes` have been cut with their chain.
        let short = |text: &str| shortened_layer(&redact(text));
        let text = |text: &mut Text| *text = Text::new(short(&text.en), short(&text.fr));
        text(&mut self.summary);
        for FailureReport { summary, what, causes, hint, .. } in &mut self.failures {
            text(summary);
            *what = redact(what);
            causes.iter_mut().for_each(|cause| *cause = redact(cause));
            hint.iter_mut().for_each(text);
        }
        self.warnings.iter_mut().for_each(|warning| text(&mut warning.text));
        self.steps.iter_mut().filter_map(|step| step.detail.as_mut()).for_each(text);
        if let Some(source) = &mut self.source {
            source.url = short(&source.url);
        }
        for destination in &mut self.destinations {
            destination.location = short(&destination.location);
            destination.purge_note.iter_mut().for_each(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Warning, fixtures};
    use super::*;
    use crate::config::secret::Secret;
    use crate::logging::Redactor;
    use crate::step::Step;

    #[test]
    fn a_secret_that_a_server_repeats_does_not_reach_the_report() {
        let mut report = fixtures::upload_failed_at_one();
        let secret = "hunter22";
        let text = || Text::new(format!("en {secret}"), format!("fr {secret}"));
        report.summary = text();
        report.failures[0].summary = secret.into();
        report.failures[0].what = secret.into();
        report.failures[0].causes = vec![format!("530 no {secret}")];
        report.failures[0].hint = Some(text());
        report.warnings = vec![Warning { step: Step::Upload, destination: None, text: text() }];
        report.steps[0].detail = Some(text());
        report.source.as_mut().unwrap().url = format!("https://example.org/{secret}");
        report.destinations[0].location = format!("sftp://u:{secret}@nas");
        report.destinations[0].purge_note = Some(text());
        let redactor = Redactor::new(&[Secret::new(secret)]);
        report.redact_with(&|text| redactor.redact(text));
        let json = serde_json::to_string(&report).unwrap();
        assert!(!json.contains(secret), "{json}");
        report.warnings[0].text = Text::from(format!("{}{secret}", "x".repeat(2043)));
        report.redact_with(&|text| redactor.redact(text));
        assert!(!report.warnings[0].text.en.contains("hunt"));
        report.failures[0].hint = Some(Text::from("x".repeat(1 << 20)));
        report.warnings[0].text = Text::from("y\n".repeat(1 << 20));
        report.redact_with(&str::to_owned);
        assert!(serde_json::to_string(&report).unwrap().len() < 64 << 10);
        assert_eq!(json.matches("**redacted**").count(), 16, "{json}");
    }
}
