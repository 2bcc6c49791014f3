//! What the steps have yielded, as the report shows it.

use super::Run;
use super::recorder::Recorder;
use crate::exit_code::ExitCode;
use crate::report::{
    ArchiveReport, DestinationReport, DestinationResult, DumpReport, RunReport, SourceReport, Status, Warning,
};
use crate::step::Step;
use crate::text;
use crate::text::Text;
use crate::work_dir::outbox::Packed;
use crate::work_dir::state::DumpRecord;

/// Everything the steps after `start` have yielded.
#[derive(Default)]
pub struct Facts {
    /// What came in.
    pub source: Option<SourceReport>,
    /// The dump.
    pub dump: Option<DumpRecord>,
    /// Bytes of the last published dump.
    pub previous_bytes: Option<u64>,
    /// Tonight's archive.
    pub archive: Option<Packed>,
}

impl Run<'_> {
    /// The report of a run that has ended.
    pub(super) fn report(
        &self,
        mut recorder: Recorder<'_>,
        destinations: Vec<DestinationReport>,
        facts: Facts,
    ) -> RunReport {
        if !self.cx.dry_run && recorder.failures.is_empty() {
            // The last line of defence: a night is not well as long as a destination was passed over.
            for destination in destinations.iter().filter(|one| one.result == DestinationResult::NotTried) {
                let name = destination.name.clone();
                let text = text!(
                    "nothing was done for {name}, and nothing says why; look at the log"
                        / "rien n'a été fait pour {name}, et rien ne dit pourquoi ; voyez le journal"
                );
                recorder.warnings.push(Warning { step: Step::Upload, destination: Some(name), text });
            }
        }
        // The first failing step decides; a destination that answered late may have added to an earlier one.
        let mut failures = recorder.failures;
        failures.sort_by_key(|failure| failure.step);
        let mut report = RunReport {
            job: self.cx.settings.name.clone(),
            run_id: self.run_id.to_owned(),
            host: self.host.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            dry_run: self.cx.dry_run,
            started: self.cx.now,
            seconds: 0.0,
            status: Status::Ok,
            exit_code: ExitCode::Success,
            summary: Text::new("", ""),
            failures,
            warnings: recorder.warnings,
            steps: recorder.steps,
            source: facts.source,
            dump: facts.dump.map(|dump| DumpReport {
                entry: dump.entry,
                bytes: dump.bytes,
                sha256: dump.sha256,
                fingerprint: dump.fingerprint,
                producer: dump.producer,
                completeness: dump.completeness,
                previous_bytes: facts.previous_bytes,
            }),
            archive: facts.archive.map(|packed| ArchiveReport {
                name: packed.name.to_string(),
                bytes: packed.bytes,
                sha256: packed.sha256,
                reused_compression: packed.reused_compression,
            }),
            destinations,
            log_file: None,
        };
        report.settle();
        report
    }
}
