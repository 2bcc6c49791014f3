//! A destination during a run: its session, its listing, and what is known and decided about it.

use std::fmt;

use chrono::NaiveDate;

use crate::archive_name::{ArchiveName, NamePattern};
use crate::config::settings::DestinationSettings;
use crate::destination::{self, Destination, DestinationError, Entry, dry_run::DryRun};
use crate::interrupt::Interrupt;
use crate::report::{DestinationReport, DestinationResult, Held};
use crate::retention::Known;
use crate::text::Text;

/// One destination in this run; owned by a thread of its own.
pub struct Target<'a> {
    /// Its settings.
    pub settings: &'a DestinationSettings,
    /// Ends with a signal, and at the destination's `time_limit` from the first contact on.
    pub interrupt: Interrupt,
    /// Connected at the first need; `None` before that and after a failure.
    pub session: Option<Box<dyn Destination>>,
    /// Everything in the directory, listed once and kept up to date by whoever changes it.
    pub listing: Vec<Entry>,
    /// The directory was empty although archives were there after the last run.
    pub lost_all: bool,
    /// Something that is not ours bears tonight's name: the directory may be shared, and nothing is purged there.
    pub name_taken: bool,
    /// What `compare` found.
    pub decision: Decision,
    /// The archive here that holds tonight's content, verified. Set by comparing fingerprints, never by dates; retention's
    /// *current* and the right to purge follow from it.
    pub current: Option<ArchiveName>,
    /// Why tonight's dump is too small for this destination, whose newest archive was read back to learn what it holds.
    pub shrunk: Option<(anyhow::Error, Text)>,
    /// Why the first contact failed, until `upload` reports it.
    pub trouble: Option<DestinationError>,
    /// What people are told.
    pub report: DestinationReport,
}

/// What tonight's content means for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Not decided: `compare` was not reached.
    Undecided,
    /// It is new there, or its archive is gone.
    Publish,
    /// An archive with this content waits in the outbox and goes there under its own date.
    FromOutbox,
    /// The archive that holds it is there.
    Unchanged {
        /// That archive.
        name: ArchiveName,
        /// The date since which the dump has not changed.
        since: NaiveDate,
    },
    /// The destination could not be asked; as far as we know it has this content.
    Unknown,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Undecided => f.write_str("not decided"),
            Decision::Publish => f.write_str("to be published"),
            Decision::FromOutbox => f.write_str("waits in the outbox for this destination"),
            Decision::Unchanged { name, since } => write!(f, "unchanged since {since}, in `{name}`"),
            Decision::Unknown => f.write_str("could not be asked; as far as is known it holds this content"),
        }
    }
}

impl<'a> Target<'a> {
    /// A destination before the first contact.
    pub fn new(settings: &'a DestinationSettings, interrupt: &Interrupt) -> Self {
        let report = DestinationReport {
            name: settings.name.clone(),
            location: destination::location(settings),
            result: DestinationResult::NotTried,
            caught_up: Vec::new(),
            waiting: Vec::new(),
            purged: Vec::new(),
            purge_note: None,
            held: None,
            free_bytes: None,
        };
        Target {
            settings,
            interrupt: interrupt.clone(),
            session: None,
            listing: Vec::new(),
            lost_all: false,
            name_taken: false,
            decision: Decision::Undecided,
            current: None,
            shrunk: None,
            trouble: None,
            report,
        }
    }

    /// The connected destination, listed; connects at the first call.
    ///
    /// # Errors
    /// Whatever the destination said.
    pub fn session(&mut self, dry_run: bool) -> Result<(&mut dyn Destination, &mut Vec<Entry>), DestinationError> {
        if self.session.is_none() {
            let mut session = destination::connect(self.settings, &self.interrupt)?;
            if dry_run {
                session = Box::new(DryRun::new(session));
            }
            self.listing = session.list()?;
            self.session = Some(session);
        }
        match &mut self.session {
            Some(session) => Ok((session.as_mut(), &mut self.listing)),
            None => unreachable!("the session was set just above"),
        }
    }

    /// The archives in the listing.
    pub fn archives(&self, pattern: &NamePattern) -> Vec<Known> {
        archives_in(&self.listing, pattern)
    }

    /// Notes what is held now; call after everything that changes the listing.
    pub fn note_held(&mut self, pattern: &NamePattern) {
        let mut archives = self.archives(pattern);
        archives.sort_by(|a, b| a.name.cmp(&b.name));
        self.report.held = Some(Held {
            count: archives.len(),
            bytes: archives.iter().map(|archive| archive.size_bytes).fold(0, u64::saturating_add),
            oldest: archives.first().map(|archive| archive.name.to_string()),
            newest: archives.last().map(|archive| archive.name.to_string()),
        });
    }
}

/// The archives in a listing: plain files whose name matches the job's pattern exactly.
pub fn archives_in(listing: &[Entry], pattern: &NamePattern) -> Vec<Known> {
    let archive = |entry: &Entry| {
        let name = pattern.parse_name(&entry.name).filter(|_| entry.is_file)?;
        Some(Known { name, size_bytes: entry.size })
    };
    listing.iter().filter_map(archive).collect()
}
