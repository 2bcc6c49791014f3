//! Why an archive stays or goes, and why a plan is refused, as data and as sentences for mail, log and `archive prune`.

use chrono::NaiveDate;
use serde::Serialize;

use crate::archive_name::ArchiveName;
use crate::text;
use crate::text::Text;

/// Why an archive stays, or why it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Reason {
    /// Stays: it holds the source's content of now; a source that stands still must not lose its only copy.
    Current,
    /// Stays: its date has not come yet, so either the clock or the name is wrong.
    Future {
        /// The day that is believed to be today.
        today: NaiveDate,
    },
    /// Stays by `keep_days`, or because it was made today.
    Days {
        /// How many days stay, today included.
        days: u32,
    },
    /// Stays by `keep_last`.
    Last {
        /// How many stay.
        count: u32,
    },
    /// Stays by `keep_weekly`.
    Weekly {
        /// The year that the ISO week belongs to: 2026 for all of 2026-W53, which ends in January 2027.
        year: i32,
        /// The ISO week, 1 to 53.
        week: u32,
    },
    /// Stays by `keep_monthly`.
    Monthly {
        /// The year.
        year: i32,
        /// The month, 1 to 12.
        month: u32,
    },
    /// Stays by `keep_yearly`.
    Yearly {
        /// The year.
        year: i32,
    },
    /// Goes: it is older than `keep_days`, and no other rule keeps it.
    Older {
        /// The policy's `keep_days`.
        days: u32,
    },
    /// Goes: no rule keeps it, and the policy has no `keep_days`.
    NoRule,
    /// Goes: the calendar rules look at the latest archive of a day, which is another one.
    NotLatestOfDay {
        /// The latest archive of that day.
        latest: ArchiveName,
    },
}

impl Reason {
    /// Whether this is a reason to stay.
    pub fn keeps(&self) -> bool {
        match self {
            Reason::Current
            | Reason::Future { .. }
            | Reason::Days { .. }
            | Reason::Last { .. }
            | Reason::Weekly { .. }
            | Reason::Monthly { .. }
            | Reason::Yearly { .. } => true,
            Reason::Older { .. } | Reason::NoRule | Reason::NotLatestOfDay { .. } => false,
        }
    }

    /// A phrase that can follow the archive's name and a colon.
    pub fn text(&self) -> Text {
        match self {
            Reason::Current => text!("holds the source's current content" / "contient l'état actuel de la source"),
            Reason::Future { today } => {
                text!("its date is after today, {today}" / "sa date est postérieure à aujourd'hui, {today}")
            }
            Reason::Days { days: 0 | 1 } => text!("made today" / "faite aujourd'hui"),
            Reason::Days { days } => text!("within the last {days} days" / "dans les {days} derniers jours"),
            Reason::Last { count: 0 | 1 } => text!("the newest" / "la plus récente"),
            Reason::Last { count } => text!("among the newest {count}" / "parmi les {count} plus récentes"),
            Reason::Weekly { year, week } => {
                text!("the newest of week {year}-W{week:02}" / "la plus récente de la semaine {year}-W{week:02}")
            }
            Reason::Monthly { year, month } => {
                text!("the newest of month {year}-{month:02}" / "la plus récente du mois {year}-{month:02}")
            }
            Reason::Yearly { year } => text!("the newest of year {year}" / "la plus récente de l'année {year}"),
            Reason::Older { days: 0 | 1 } => {
                text!("made before today and kept by no rule" / "faite avant aujourd'hui, aucune règle ne la garde")
            }
            Reason::Older { days } => {
                text!("older than {days} days and kept by no rule" / "plus de {days} jours, aucune règle ne la garde")
            }
            Reason::NoRule => text!("kept by no rule" / "aucune règle ne la garde"),
            Reason::NotLatestOfDay { latest } => {
                text!("`{latest}` is the latest of that day" / "`{latest}` est la dernière de ce jour")
            }
        }
    }
}

/// Why nothing may be purged, whatever the rules say. Each is a warning of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// The state knows archives, the listing shows none: an unmounted share, another directory, or a loss.
    ListingEmpty {
        /// How many the state knows.
        known: usize,
    },
    /// There is an archive of a day that has not come yet.
    ClockBehind {
        /// The day that is believed to be today.
        today: NaiveDate,
        /// The newest archive.
        newest: ArchiveName,
    },
    /// More days have passed since the last run than the policy keeps: a wrong clock would purge nearly everything.
    ClockJumped {
        /// The day of the last run.
        last_run: NaiveDate,
        /// The day that is believed to be today.
        today: NaiveDate,
        /// How many days may pass: the larger of `keep_days` and 31.
        limit_days: u32,
    },
    /// More archives would go than a night may purge.
    TooMany {
        /// How many would go.
        going: usize,
        /// The policy's `max_purge`.
        max_purge: u32,
    },
}

impl Refusal {
    /// Whether a person who has seen the plan may go on, with `archive prune`.
    pub fn by_hand(&self) -> bool {
        match self {
            Refusal::ClockJumped { .. } | Refusal::TooMany { .. } => true,
            Refusal::ListingEmpty { .. } | Refusal::ClockBehind { .. } => false,
        }
    }

    /// Why, as a phrase that can follow a colon.
    pub fn text(&self) -> Text {
        match self {
            Refusal::ListingEmpty { known: 1 } => text!(
                "the destination shows no archive, though one was published there"
                    / "la destination ne montre aucune archive, alors qu'une y a été publiée"
            ),
            Refusal::ListingEmpty { known } => text!(
                "the destination shows no archive, though {known} were published there"
                    / "la destination ne montre aucune archive, alors que {known} y ont été publiées"
            ),
            Refusal::ClockBehind { today, newest } => text!(
                "today would be {today}, but `{newest}` is of a later day"
                    / "nous serions le {today}, mais `{newest}` porte une date postérieure"
            ),
            Refusal::ClockJumped { last_run, today, limit_days } => text!(
                "the last run was on {last_run} and today would be {today}, more than {limit_days} days later"
                    / "la dernière exécution date du {last_run} et nous serions le {today}, plus de {limit_days} jours après"
            ),
            Refusal::TooMany { going, max_purge } => text!(
                "{going} would go, more than `max_purge = {max_purge}` allows in one night"
                    / "{going} à purger, plus que `max_purge = {max_purge}` n'en permet en une nuit"
            ),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Text {
        match self {
            Refusal::ListingEmpty { .. } => text!(
                "look whether the destination's directory is the right one and is mounted, and where its archives have gone"
                    / "vérifiez que le dossier de la destination est le bon et qu'il est monté, et où sont passées ses archives"
            ),
            Refusal::ClockBehind { newest, .. } => text!(
                "set this machine's clock; if it is right, `{newest}` has a wrong date: rename it or move it elsewhere"
                    / "réglez l'horloge de cette machine ; si elle est juste, `{newest}` porte une date fausse : renommez-la ou déplacez-la"
            ),
            Refusal::ClockJumped { .. } => text!(
                "look at this machine's clock; if it is right, confirm it by running `archive prune` once"
                    / "vérifiez l'horloge de cette machine ; si elle est juste, confirmez-le en lançant une fois `archive prune`"
            ),
            Refusal::TooMany { .. } => text!(
                "run `archive prune`, which shows what would go and asks; raise `max_purge` if this is usual"
                    / "lancez `archive prune`, qui montre ce qui partirait et demande confirmation ; augmentez `max_purge` si c'est habituel"
            ),
        }
    }
}
