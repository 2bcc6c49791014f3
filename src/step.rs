//! The eight steps of a run, under the names they carry in logs, mails, JSON and documentation.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::Language;

/// One step of the run; the order of the variants is the order of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Reads the config, builds the reporter, takes the lock.
    Start,
    /// Fetches the zip into the spool.
    Download,
    /// Reads the entry to its last byte and judges the dump.
    Verify,
    /// Decides, per destination, whether the dump is new.
    Compare,
    /// Builds the `.tgz`.
    Pack,
    /// Publishes the archive at each destination.
    Upload,
    /// Applies the retention policies.
    Purge,
    /// Saves the state, writes the log's last block, sends the mail.
    Report,
}

impl Step {
    /// Every step, in the order of the run.
    pub const ALL: [Step; 8] =
        [Step::Start, Step::Download, Step::Verify, Step::Compare, Step::Pack, Step::Upload, Step::Purge, Step::Report];

    /// The name in logs, JSON and exit code tables; the same in every language.
    pub fn name(self) -> &'static str {
        match self {
            Step::Start => "start",
            Step::Download => "download",
            Step::Verify => "verify",
            Step::Compare => "compare",
            Step::Pack => "pack",
            Step::Upload => "upload",
            Step::Purge => "purge",
            Step::Report => "report",
        }
    }

    /// The name that people read in the mail.
    pub fn title(self, language: Language) -> &'static str {
        match language {
            Language::En => self.name(),
            Language::Fr => match self {
                Step::Start => "démarrage",
                Step::Download => "téléchargement",
                Step::Verify => "vérification",
                Step::Compare => "comparaison",
                Step::Pack => "compression",
                Step::Upload => "envoi",
                Step::Purge => "purge",
                Step::Report => "rapport",
            },
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
