//! Which archives stay: a pure function of names, policy and today. No I/O in here, and no clock.
//!
//! Nothing in this module deletes. It must never look at anything but names: modification times lie, and a file that is
//! not an archive's is invisible to it. Every rule can only *keep*; whatever no rule keeps may go, unless the whole plan is
//! refused because something about the situation cannot be right. The rules are described in `docs/retention.md`.

mod reason;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use chrono::{Datelike, Days, NaiveDate};
use serde::Serialize;

use crate::archive_name::ArchiveName;
use crate::text;
use crate::text::Text;

pub use reason::{Reason, Refusal};

/// A clock that moved further than this many days between two runs is doubted, even if `keep_days` is shorter.
const MIN_JUMP_DAYS: u32 = 31;

/// The retention policy of one destination; an archive stays if any rule keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetentionPolicy {
    /// Keeps the archives of the last N civil days, today included.
    pub keep_days: Option<u32>,
    /// Keeps the newest N archives; never below 1.
    pub keep_last: u32,
    /// Keeps the newest archive of each of the last N ISO weeks that have one.
    pub keep_weekly: Option<u32>,
    /// Keeps the newest archive of each of the last N months that have one.
    pub keep_monthly: Option<u32>,
    /// Keeps the newest archive of each of the last N years that have one.
    pub keep_yearly: Option<u32>,
    /// Refuses to purge more than this many archives in one run.
    pub max_purge: u32,
}

impl Default for RetentionPolicy {
    /// What `retention = {}` means.
    fn default() -> Self {
        RetentionPolicy {
            keep_days: None,
            keep_last: 3,
            keep_weekly: None,
            keep_monthly: None,
            keep_yearly: None,
            max_purge: 31,
        }
    }
}

/// An archive that a destination's listing shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: ArchiveName,
    /// Its size in bytes; no rule looks at it.
    pub size_bytes: u64,
}

/// What the rules must know besides names and policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The civil day in the job's time zone.
    pub today: NaiveDate,
    /// The archive that holds the content with the current fingerprint.
    pub current: Option<ArchiveName>,
    /// The day of the run before this one.
    pub last_run: Option<NaiveDate>,
    /// How many archives the state believes are at this destination.
    pub known_to_state: usize,
}

/// What is to become of one archive, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The archive.
    pub archive: ArchiveName,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Whether it stays.
    pub keep: bool,
    /// Every rule that keeps it, or why it goes; never empty.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// All reasons in one phrase: `within the last 30 days; the newest of month 2026-11`.
    pub fn because(&self) -> Text {
        let texts: Vec<Text> = self.reasons.iter().map(Reason::text).collect();
        let joined = |of: fn(&Text) -> &str| texts.iter().map(of).collect::<Vec<_>>().join("; ");
        Text::new(joined(|text| &text.en), joined(|text| &text.fr).replace("; ", " ; "))
    }
}

/// What retention wants done at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// One for each archive, newest first. A refusal leaves them as the rules alone have them.
    pub verdicts: Vec<Verdict>,
    /// Why nothing may be purged now, whatever the verdicts say.
    pub refusal: Option<Refusal>,
}

impl Plan {
    /// What a nightly run may purge, newest first: nothing if the plan is refused.
    pub fn purge(&self) -> impl Iterator<Item = &Verdict> {
        self.unless(self.refusal.is_some())
    }

    /// What `archive prune` may purge once a person has seen the plan and agreed, newest first.
    ///
    /// That person may overrule the limits that wait for one, see [`Refusal::by_hand`]; not a clock that is wrong.
    pub fn purge_by_hand(&self) -> impl Iterator<Item = &Verdict> {
        self.unless(self.refusal.as_ref().is_some_and(|refusal| !refusal.by_hand()))
    }

    fn unless(&self, refused: bool) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(move |verdict| !verdict.keep && !refused)
    }

    /// The archives that the rules keep, newest first; under a refusal the others stay as well.
    pub fn kept(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.keep)
    }

    /// The plan of a nightly run in one sentence, for the log: `2 of 33 archives to purge`, or why there is none.
    pub fn summary(&self) -> Text {
        let all = self.verdicts.len();
        let going = self.purge().count();
        if let Some(refusal) = &self.refusal {
            let why = refusal.text();
            Text::new(
                format!("nothing purged, because {}", why.en),
                // "parce que" elides before a vowel, a colon does not.
                format!("rien n'est purgé : {}", why.fr),
            )
        } else if all == 0 {
            text!("0 archives to purge, because there is none" / "archives à purger : 0, car il n'y en a aucune")
        } else if going == 0 {
            text!(
                "0 of {all} archives to purge, because a rule keeps each of them"
                    / "archives à purger : 0 sur {all}, car une règle garde chacune d'elles"
            )
        } else {
            text!("{going} of {all} archives to purge" / "archives à purger : {going} sur {all}")
        }
    }
}

/// Applies a policy to what a destination holds. The order of `archives` does not matter.
///
/// Promises, whatever the policy: today's archives, the current one, the newest and those of the future are never among
/// the purged; a policy that asks for more keeps everything a smaller one keeps; and once the purged ones are gone, the
/// same plan purges nothing more.
pub fn plan(archives: &[Known], policy: &RetentionPolicy, situation: &Situation) -> Plan {
    let mut archives: Vec<&Known> = archives.iter().collect();
    archives.sort_by(|a, b| b.name.cmp(&a.name));
    archives.dedup_by(|a, b| a.name == b.name);

    let mut verdicts = verdicts(&archives, situation);
    let now = archives.partition_point(|known| known.name.date() > situation.today);
    let (_, present) = verdicts.split_at_mut(now);
    keep_days(present, policy, situation.today);
    keep_last(present, policy);
    keep_calendar(present, policy);
    explain_purge(present, policy);
    for verdict in &mut verdicts {
        verdict.keep = verdict.reasons.iter().any(Reason::keeps);
    }

    let refusal = refusal(&verdicts, policy, situation);
    Plan { verdicts, refusal }
}

/// A verdict for each archive with what keeps it whatever the policy.
fn verdicts(archives: &[&Known], situation: &Situation) -> Vec<Verdict> {
    let verdict = |known: &&Known| {
        let mut reasons = Vec::new();
        if situation.current.as_ref() == Some(&known.name) {
            reasons.push(Reason::Current);
        }
        if known.name.date() > situation.today {
            // Takes no place that a rule gives: a file of 2099 must not push out those of this week.
            reasons.push(Reason::Future { today: situation.today });
        }
        Verdict { archive: known.name.clone(), size_bytes: known.size_bytes, keep: false, reasons }
    };
    archives.iter().map(verdict).collect()
}

fn keep_days(present: &mut [Verdict], policy: &RetentionPolicy, today: NaiveDate) {
    // Today's archives stay under any policy: nothing that was made hours ago is old.
    let days = policy.keep_days.unwrap_or(1).max(1);
    let first = today.checked_sub_days(Days::new(u64::from(days) - 1)).unwrap_or(NaiveDate::MIN);
    for verdict in present.iter_mut().take_while(|verdict| verdict.archive.date() >= first) {
        verdict.reasons.push(Reason::Days { days });
    }
}

fn keep_last(present: &mut [Verdict], policy: &RetentionPolicy) {
    // This is what makes a plan that purges everything impossible.
    let count = policy.keep_last.max(1);
    for verdict in present.iter_mut().take(usize::try_from(count).unwrap_or(usize::MAX)) {
        verdict.reasons.push(Reason::Last { count });
    }
}

/// Weeks, months and years: the newest archive of each of the last N that have one.
fn keep_calendar(present: &mut [Verdict], policy: &RetentionPolicy) {
    let mut weeks = HashSet::new();
    let mut months = HashSet::new();
    let mut years = HashSet::new();
    // Newest first, so the first archive of a period is its newest, and the latest of its day.
    for Verdict { archive, reasons, .. } in present {
        let date = archive.date();
        let (year, month, week) = (date.year(), date.month(), date.iso_week());
        if is_new_and_counts(&mut weeks, week, policy.keep_weekly) {
            reasons.push(Reason::Weekly { year: week.year(), week: week.week() });
        }
        if is_new_and_counts(&mut months, (year, month), policy.keep_monthly) {
            reasons.push(Reason::Monthly { year, month });
        }
        if is_new_and_counts(&mut years, year, policy.keep_yearly) {
            reasons.push(Reason::Yearly { year });
        }
    }
}

/// Whether `period` is seen for the first time, and among the first `limit` of its kind.
fn is_new_and_counts<P: Eq + std::hash::Hash>(seen: &mut HashSet<P>, period: P, limit: Option<u32>) -> bool {
    seen.insert(period) && limit.is_some_and(|limit| seen.len() <= usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Says why each archive goes that nothing keeps.
fn explain_purge(present: &mut [Verdict], policy: &RetentionPolicy) {
    let mut later: Option<ArchiveName> = None;
    for verdict in present {
        let replaced_by = later.take_if(|later| later.date() == verdict.archive.date());
        let latest = replaced_by.clone().unwrap_or_else(|| verdict.archive.clone());
        if verdict.reasons.is_empty() {
            verdict.reasons.push(match policy.keep_days {
                Some(days) if days > 0 => Reason::Older { days },
                _ => Reason::NoRule,
            });
            verdict.reasons.extend(replaced_by.map(|latest| Reason::NotLatestOfDay { latest }));
        }
        later = Some(latest);
    }
}

/// The first thing about this situation that cannot be right, or that a person should look at.
fn refusal(verdicts: &[Verdict], policy: &RetentionPolicy, situation: &Situation) -> Option<Refusal> {
    let today = situation.today;
    if verdicts.is_empty() && situation.known_to_state > 0 {
        return Some(Refusal::ListingEmpty { known: situation.known_to_state });
    }
    if let Some(newest) = verdicts.first().filter(|newest| newest.archive.date() > today) {
        return Some(Refusal::ClockBehind { today, newest: newest.archive.clone() });
    }
    let limit_days = policy.keep_days.unwrap_or(0).max(MIN_JUMP_DAYS);
    if let Some(last_run) = situation.last_run
        && (today - last_run).num_days() > i64::from(limit_days)
    {
        return Some(Refusal::ClockJumped { last_run, today, limit_days });
    }
    let going = verdicts.iter().filter(|verdict| !verdict.keep).count();
    (going > usize::try_from(policy.max_purge).unwrap_or(usize::MAX))
        .then_some(Refusal::TooMany { going, max_purge: policy.max_purge })
}
