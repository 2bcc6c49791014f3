//! Step 6, `purge`: applies the retention policy of each destination that holds tonight's content, verified. The thread of each
//! target does it.

use chrono::NaiveDate;

use super::context::{Context, Held};
use super::recorder::Notes;
use super::target::Target;
use crate::archive_name::ArchiveName;
use crate::config::settings::{DestinationSettings, Settings};
use crate::destination::{Destination, DestinationError, Entry, ErrorKind};
use crate::error::{Failure, while_doing};
use crate::retention::{Plan, Refusal, Situation, Verdict, plan};
use crate::step::Step;
use crate::text;
use crate::text::Text;
use crate::work_dir::state::DestinationState;

/// The retention plan of one destination, or `None` if it has no policy. `current` is the archive that holds the current
/// content, where that is known better than by the state.
pub fn plan_for(
    settings: &Settings,
    destination: &DestinationSettings,
    listing: &[Entry],
    known: Option<&DestinationState>,
    current: Option<&ArchiveName>,
    today: NaiveDate,
    trusted_day: Option<NaiveDate>,
) -> Option<Plan> {
    let policy = destination.retention.as_ref()?;
    let archives = super::target::archives_in(listing, &settings.archive.name);
    let situation = Situation {
        today,
        current: current.or(known.and_then(|known| known.published.as_ref()).map(|published| &published.name)).cloned(),
        last_run: trusted_day,
        known_to_state: known.map_or(0, |known| known.archives),
    };
    Some(plan(&archives, policy, &situation))
}

/// Deletes one archive, its sidecar first: what remains after a cut is an archive that goes next night, never a stray sidecar.
///
/// # Errors
/// Whatever the destination said.
pub fn delete(
    session: &mut dyn Destination,
    listing: &mut Vec<Entry>,
    archive: &ArchiveName,
) -> Result<(), DestinationError> {
    for name in [archive.sidecar(), archive.to_string()] {
        if listing.iter().any(|entry| entry.name == name && entry.is_file) {
            session.remove(&name)?;
            listing.retain(|entry| entry.name != name);
        }
    }
    Ok(())
}

/// What purging at one destination needs.
pub struct Purging<'a> {
    /// Given to every step.
    pub cx: Context<'a>,
    /// State and outbox.
    pub held: &'a Held,
    /// The last civil day that was believed, before this run purges anywhere.
    pub trusted_day: Option<NaiveDate>,
}

/// What the purge of one destination says about the whole run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purged {
    /// How many archives went, or would go.
    pub archives: usize,
    /// The clock was not believed.
    pub leap: bool,
    /// The clock was believed.
    pub believed: bool,
}

impl Purging<'_> {
    /// Purges where it is due. What an archive or the destination refuses is noted.
    ///
    /// # Errors
    /// The code of an interruption.
    pub fn purge(&self, target: &mut Target<'_>, notes: &mut Notes<'_>) -> Result<Purged, Failure> {
        let Some(plan) = self.due(target, notes) else { return Ok(Purged::default()) };
        for verdict in plan.purge() {
            self.cx.interrupt.check().map_err(|error| Failure::new(Step::Purge, error))?;
            if !self.purge_one(target, verdict, notes) {
                break;
            }
        }
        if !self.cx.dry_run {
            if let Some(known) = self.held.state().destinations.get_mut(&target.settings.name) {
                known.archives = target.archives(&self.cx.settings.archive.name).len();
            }
            target.note_held(&self.cx.settings.archive.name);
        }
        Ok(Purged {
            archives: target.report.purged.len(),
            leap: matches!(plan.refusal, Some(Refusal::ClockJumped { .. })),
            believed: plan.refusal.is_none(),
        })
    }

    /// What is to go at a destination; `None` if nothing may be looked at there.
    fn due(&self, target: &mut Target<'_>, notes: &mut Notes<'_>) -> Option<Plan> {
        // What was said before the content was fetched again holds no longer.
        target.report.purge_note = None;
        let name = &target.settings.name;
        // Without a listing there is nothing to judge.
        target.session.as_ref()?;
        if target.current.is_none() && !self.cx.dry_run {
            tracing::info!("0 purged, because tonight's content is not verified there");
            target.report.purge_note = Some(text!(
                "nothing purged: tonight's content is not verified there"
                    / "rien n'est purgé : le contenu de cette nuit n'y est pas vérifié"
            ));
            return None;
        }
        if target.name_taken {
            tracing::info!("0 purged, because somebody else's file bears an archive's name here");
            target.report.purge_note = Some(text!(
                "nothing purged: somebody else's file bears an archive's name here; two jobs need two directories, or two patterns in `archive.name`"
                    / "rien n'est purgé : le fichier de quelqu'un d'autre porte ici le nom d'une archive ; deux travaux demandent deux répertoires, ou deux modèles dans `archive.name`"
            ));
            return None;
        }
        let known = self.held.state().destination(name, &target.report.location).cloned();
        // An empty directory where archives were is no reason to believe what was put there just now.
        let listing: &[Entry] = if target.lost_all { &[] } else { &target.listing };
        let (today, current) = (self.cx.today(), target.current.as_ref());
        let Some(plan) =
            plan_for(self.cx.settings, target.settings, listing, known.as_ref(), current, today, self.trusted_day)
        else {
            tracing::info!("0 purged, because this destination has no `retention`");
            return None;
        };
        for verdict in &plan.verdicts {
            let word = if verdict.keep { "keep" } else { "purge" };
            tracing::info!("{word} `{}`: {}", verdict.archive, verdict.because());
        }
        let summary = plan.summary();
        tracing::info!("{summary}");
        if let Some(refusal) = &plan.refusal {
            let hint = refusal.hint();
            notes.warn_about(
                Some(name),
                Text::new(format!("{}; {}", summary.en, hint.en), format!("{} ; {}", summary.fr, hint.fr)),
            );
            target.report.purge_note = Some(summary);
        }
        Some(plan)
    }

    /// Whether to go on with this destination.
    fn purge_one(&self, target: &mut Target<'_>, verdict: &Verdict, notes: &mut Notes<'_>) -> bool {
        let name = &target.settings.name;
        let archive = verdict.archive.to_string();
        if self.cx.dry_run {
            tracing::info!("would purge `{archive}`: {}", verdict.because());
            target.report.purged.push(archive);
            return true;
        }
        let Some(session) = target.session.as_mut() else { return false };
        match delete(session.as_mut(), &mut target.listing, &verdict.archive) {
            Ok(()) => {
                tracing::info!("purged `{archive}`: {}", verdict.because());
                target.report.purged.push(archive);
                true
            }
            Err(error)
                if matches!(
                    error.kind,
                    ErrorKind::Unreachable | ErrorKind::OutOfTime | ErrorKind::Auth | ErrorKind::Untrusted
                ) =>
            {
                let summary = error.summary();
                let what = format!("failed to purge `{archive}` at `{}`", target.report.location);
                let failure = Failure::new(Step::Purge, while_doing(what)(error)).summed_up(summary);
                notes.fail(Some(name), failure);
                // The last look at it would try as often again.
                target.session = None;
                false
            }
            Err(error) => {
                notes.warn_about(
                    Some(name),
                    text!(
                        "`{archive}` should go but could not be deleted: {error}; it is tried again next night"
                            / "`{archive}` devait être purgée mais n'a pas pu être supprimée : {error} ; nouvel essai la nuit prochaine"
                    ),
                );
                true
            }
        }
    }
}
