//! What a run tells people: collected here as data while the run goes on, rendered afterwards.
//!
//! The same [`RunReport`] becomes the mail's subject and body, the log's closing block, the lines of a terminal, the JSON of
//! `--json` and a line of `history.jsonl`. Rendering never changes the result.

pub mod closing_block;
mod fit;
#[cfg(test)]
mod fixtures;
mod helo;
pub mod html;
pub mod mail;
pub mod mail_error;
mod page;
mod phrase;
mod redacted;
mod smtp;
pub mod summary;
pub mod terminal;
pub mod text;
mod transport;
pub mod unsent;

pub(crate) use helo::is_valid as is_helo_name;
pub use transport::Probe;

use std::fmt;

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;
use serde::Serialize;

use crate::digest::Digest;
use crate::error::Failure;
use crate::exit_code::ExitCode;
use crate::step::Step;
use crate::text::Text;

/// The result of a run, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It worked.
    Ok,
    /// It worked, but somebody should look.
    Warning,
    /// It did not work.
    Failed,
}

impl Status {
    /// The word in the subject; the same in every language, so that mail filters keep working.
    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Warning => "WARNING",
            Status::Failed => "FAILED",
        }
    }
}

/// How one step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// Done.
    Done,
    /// Done, with a warning.
    Warning,
    /// Failed.
    Failed,
    /// Not needed tonight, or impossible after an earlier failure.
    Skipped,
}

/// One step of the run.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Which.
    pub step: Step,
    /// How it ended.
    pub outcome: StepOutcome,
    /// How long it took, seconds.
    pub seconds: f64,
    /// One short line: what was done, or why it was skipped.
    pub detail: Option<Text>,
}

/// A failed step as people read it.
#[derive(Clone, Debug, Serialize)]
pub struct FailureReport {
    /// The step.
    pub step: Step,
    /// The destination, where one failed.
    pub destination: Option<String>,
    /// A few words for the subject: `404 Not Found`.
    pub summary: Text,
    /// What was being done to what.
    pub what: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: Option<Text>,
    /// The exit code of this failure.
    pub exit_code: ExitCode,
}

impl FailureReport {
    /// Turns a failure into what people read; the summary is the chain's last line unless the failure knows better words.
    pub fn new(failure: &Failure, destination: Option<&str>) -> Self {
        let mut chain = crate::error::chain_of(&failure.error).into_iter();
        let what = chain.next().unwrap_or_default();
        let causes: Vec<String> = chain.collect();
        let summary = failure.summary.clone().unwrap_or_else(|| causes.last().unwrap_or(&what).clone().into());
        FailureReport {
            step: failure.step,
            destination: destination.map(str::to_owned),
            summary,
            what,
            causes,
            hint: crate::error::hint_of(&failure.error).cloned(),
            exit_code: failure.code,
        }
    }
}

/// Something that somebody should look at, though the run went on.
#[derive(Clone, Debug, Serialize)]
pub struct Warning {
    /// The step it came up in.
    pub step: Step,
    /// The destination it concerns, if one.
    pub destination: Option<String>,
    /// What it is and what to do.
    pub text: Text,
}

/// What came in.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// The URL without its query.
    pub url: String,
    /// Size of the zip, bytes.
    pub zip_bytes: Option<u64>,
    /// Nothing was downloaded, because nothing changed.
    pub not_modified: bool,
    /// On what grounds nothing was downloaded.
    pub grounds: Option<Text>,
    /// How often the transfer was resumed.
    pub resumed: u32,
}

/// The dump as verified, tonight or (after a 304) when it was last downloaded.
#[derive(Clone, Debug, Serialize)]
pub struct DumpReport {
    /// The entry's name.
    pub entry: String,
    /// Uncompressed bytes.
    pub bytes: u64,
    /// SHA-256 of the dump.
    pub sha256: Digest,
    /// SHA-256 without the volatile lines.
    pub fingerprint: Digest,
    /// Who wrote it: `MariaDB dump`.
    pub producer: String,
    /// On what grounds it counts as complete, or what could not be checked.
    pub completeness: Text,
    /// Bytes of the last published dump, to compare.
    pub previous_bytes: Option<u64>,
}

/// The archive that was built tonight.
#[derive(Clone, Debug, Serialize)]
pub struct ArchiveReport {
    /// The name it asks for; a destination may have had to add `-2`.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of the `.tgz`.
    pub sha256: Digest,
    /// Whether the zip's own compression was reused.
    pub reused_compression: bool,
}

/// What happened to tonight's content at a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum DestinationResult {
    /// Nothing was tried, because the run failed before, or it is a dry run.
    NotTried,
    /// Published and verified.
    Published {
        /// The final name there.
        // In JSON the destination's own `name` stands beside it.
        #[serde(rename = "archive")]
        name: String,
        /// Bytes.
        bytes: u64,
        /// How the copy was verified.
        verified_by: VerifiedBy,
    },
    /// The same content was there already.
    Unchanged {
        /// The archive that holds it.
        #[serde(rename = "archive")]
        name: String,
        /// The date of that archive.
        since: NaiveDate,
    },
    /// It failed; the archive waits in the outbox if `waiting`.
    Failed {
        /// Whether an archive waits in the outbox for this destination.
        #[serde(rename = "in_outbox")]
        waiting: bool,
    },
}

impl fmt::Display for VerifiedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VerifiedBy::ServerChecksum => "verified by the server's checksum",
            VerifiedBy::ReadBack => "verified by reading it back",
            VerifiedBy::Size => "only its size verified",
        })
    }
}

/// How a copy was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifiedBy {
    /// SHA-256 computed by the server.
    ServerChecksum,
    /// Read back and hashed here.
    ReadBack,
    /// The size only.
    Size,
}

/// One destination.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationReport {
    /// `destination.name`
    pub name: String,
    /// For people; no secret.
    pub location: String,
    /// Tonight's content.
    #[serde(flatten)]
    pub result: DestinationResult,
    /// Archives of earlier nights that had been waiting in the outbox and were published now.
    pub caught_up: Vec<String>,
    /// Archives that still wait in the outbox for this destination.
    pub waiting: Vec<String>,
    /// Names that were purged.
    pub purged: Vec<String>,
    /// Why nothing or not everything was purged, where it needs saying.
    pub purge_note: Option<Text>,
    /// What is held after the run, if the destination could be listed.
    pub held: Option<Held>,
    /// Free space after the run, bytes.
    pub free_bytes: Option<u64>,
}

/// The archives at a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// How many.
    pub count: usize,
    /// Their sizes added up.
    pub bytes: u64,
    /// The oldest one's name.
    pub oldest: Option<String>,
    /// The newest one's name.
    pub newest: Option<String>,
}

/// Everything about one run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The job.
    pub job: String,
    /// The run's id, as in every line of the log.
    pub run_id: String,
    /// The machine.
    pub host: String,
    /// Of this program.
    pub version: &'static str,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// When it began, in the job's time zone.
    #[serde(serialize_with = "rfc3339")]
    pub started: DateTime<Tz>,
    /// How long it took, seconds.
    pub seconds: f64,
    /// The result.
    pub status: Status,
    /// What the process ends with.
    pub exit_code: ExitCode,
    /// One line for the subject, without status and job: `20261120.tgz, 271 MB`.
    pub summary: Text,
    /// The failures, first one first.
    pub failures: Vec<FailureReport>,
    /// The warnings, in the order they came.
    pub warnings: Vec<Warning>,
    /// The steps that ran or were skipped, in order.
    pub steps: Vec<StepReport>,
    /// What came in.
    pub source: Option<SourceReport>,
    /// The dump.
    pub dump: Option<DumpReport>,
    /// Tonight's archive, if one was built.
    pub archive: Option<ArchiveReport>,
    /// Each destination, in the order of the config.
    pub destinations: Vec<DestinationReport>,
    /// The log file of this run.
    pub log_file: Option<std::path::PathBuf>,
}

impl RunReport {
    /// Draws status, exit code and summary from what is in the report; to be called again whenever that has grown.
    ///
    /// The first failing step decides.
    pub fn settle(&mut self) {
        self.status = match (self.failures.is_empty(), self.warnings.is_empty()) {
            (false, _) => Status::Failed,
            (true, false) => Status::Warning,
            (true, true) => Status::Ok,
        };
        self.exit_code = self.failures.first().map_or(ExitCode::Success, |failure| failure.exit_code);
        self.summary = summary::summarise(self);
    }
}

fn rfc3339<S: serde::Serializer>(time: &DateTime<Tz>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.to_rfc3339_opts(chrono::SecondsFormat::Secs, false))
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use serde::Deserialize;
    use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

    use super::*;

    /// The keys of an object as written, the same one twice if it is there twice.
    struct Keys(Vec<String>);

    impl<'de> Deserialize<'de> for Keys {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Collect;
            impl<'de> Visitor<'de> for Collect {
                type Value = Keys;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((key, IgnoredAny)) = map.next_entry()? {
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            deserializer.deserialize_map(Collect)
        }
    }

    #[test]
    fn no_key_is_twice_in_the_json_of_a_destination() {
        for (name, report) in fixtures::all() {
            for destination in &report.destinations {
                let text = serde_json::to_string(destination).unwrap();
                let Keys(mut keys) = serde_json::from_str(&text).unwrap();
                keys.sort();
                let all = keys.len();
                keys.dedup();
                assert_eq!(keys.len(), all, "{name}: {text}");
            }
        }
    }
}
