//! Step 0, `start`: work dir, lock, state, clock.

use chrono::{DateTime, Duration};
use chrono_tz::Tz;

use super::context::{Context, Held};
use super::recorder::Notes;
use crate::config::settings::Settings;
use crate::destination;
use crate::error::{Explain, Failure, explained};
use crate::exit_code::ExitCode;
use crate::step::Step;
use crate::text;
use crate::text::{Language, Text};
use crate::work_dir::WorkDir;
use crate::work_dir::lock::{Acquired, Holder, Lock};
use crate::work_dir::outbox::{Damaged, Outbox};
use crate::work_dir::state::{LastRun, Origin, State};

/// Prepares the work dir, takes the lock, reads the state and looks at the clock. The lock is handed out as soon as it is
/// held, so that a run that fails after that still ends it in good order.
///
/// # Errors
/// Exit code 5 for the local disk, 10 if another run holds the lock, 2 for a clock that cannot be right or a state from the future.
pub fn start(cx: &Context<'_>, run_id: &str, held: &mut Option<Lock>, notes: &mut Notes<'_>) -> Result<Held, Failure> {
    let Context { settings, now, dry_run, .. } = *cx;
    let disk = |error: anyhow::Error| Failure::new(Step::Start, error).with_code(ExitCode::Pack);
    let work_dir = WorkDir::prepare(&settings.work_dir)
        .explain(
            format!("failed to prepare the work dir `{}`", settings.work_dir.display()),
            text!(
                "make it writable for the user that runs `archive`, to whom it must belong, and for no other; or set `work_dir` to a directory that is"
                    / "rendez-le accessible en écriture à l'utilisateur qui lance `archive`, à qui il doit appartenir, et à nul autre ; ou choisissez un autre `work_dir`"
            ),
        )
        .map_err(disk)?;
    *held = Some(take_lock(&work_dir, run_id, now, notes)?);
    let state_file = work_dir.state_file();
    let (mut state, origin) = State::load(&state_file, now.to_utc(), !dry_run).map_err(|error| {
        let code = if error.root_cause().is::<std::io::Error>() { ExitCode::Pack } else { ExitCode::Config };
        Failure::new(Step::Start, error).with_code(code)
    })?;
    if let Origin::Rebuilt { aside, why } = origin {
        let aside = aside.display();
        notes.warn(text!(
            "the state could not be read ({why}); it was kept as `{aside}` and is rebuilt by looking at the destinations"
                / "l'état n'a pas pu être lu ({why}) ; il est conservé sous `{aside}` et reconstruit d'après les destinations"
        ));
    }
    if let Some(last) = &state.last_run {
        check_clock(last.started.with_timezone(&now.timezone()), now, notes)?;
    }
    // Runs a month apart at most leave no doubt about the clock; after a longer pause `purge` has the last word.
    let today = now.date_naive();
    if state.trusted_day.is_none_or(|day| (0..=31).contains(&(today - day).num_days())) {
        state.trusted_day = Some(today);
    }
    let outbox = Outbox::new(work_dir.outbox());
    let names: Vec<&str> = settings.destinations.iter().map(|destination| destination.name.as_str()).collect();
    for (path, why) in outbox.unreadable().map_err(disk)? {
        let path = path.display();
        notes.warn(text!(
            "an archive in the outbox is not described and stays where it is: `{path}`: {why}"
                / "une archive de la boîte d’envoi n'est pas décrite et reste où elle est : `{path}` : {why}"
        ));
    }
    if !dry_run {
        work_dir.sweep_spool().map_err(|error| disk(error.into()))?;
        outbox.sweep().map_err(disk)?;
        for Damaged { archive, aside, why } in outbox.set_damaged_aside(cx.interrupt).map_err(disk)? {
            let aside = aside.display();
            notes.warn(text!(
                "`{archive}` was damaged in the outbox, on this machine's disk ({why}); it is set aside as `{aside}` and is not sent, the same content is packed again when it is needed: look at the disk"
                    / "`{archive}` a été endommagée dans la boîte d’envoi, sur le disque de cette machine ({why}) ; elle est mise de côté sous `{aside}` et n'est pas envoyée, le même contenu sera remis en archive au besoin : vérifiez le disque"
            ));
        }
        for (old, new) in renamed(settings, &state) {
            tracing::info!("the destination `{old}` is now called `{new}`");
            outbox.rename_destination(&old, &new).map_err(disk)?;
            if let Some(known) = state.destinations.remove(&old) {
                state.destinations.insert(new, known);
            }
        }
        for (archive, destination) in outbox.keep_to(&names).map_err(disk)? {
            notes.warn(text!(
                "`{archive}` waited for `{destination}`, which the config no longer has"
                    / "`{archive}` attendait `{destination}`, qui n'est plus dans la configuration"
            ));
        }
    }
    // Until the run's end this stands for "did not finish"; the lock file tells where it died.
    state.last_run =
        Some(LastRun { run_id: run_id.to_owned(), started: now.to_utc(), exit_code: ExitCode::Other.code() });
    Ok(Held::new(work_dir, outbox, state))
}

/// Destinations that have another name than in the last run: the place is the same.
fn renamed(settings: &Settings, state: &State) -> Vec<(String, String)> {
    let is_new = |name: &str| !state.destinations.contains_key(name);
    let is_gone = |name: &str| !settings.destinations.iter().any(|destination| destination.name == name);
    let mut renamed = Vec::new();
    for new in settings.destinations.iter().filter(|destination| is_new(&destination.name)) {
        let location = destination::location(new);
        let old = state.destinations.iter().find(|(old, known)| is_gone(old) && known.location == location);
        renamed.extend(old.map(|(old, _)| (old.clone(), new.name.clone())));
    }
    renamed
}

fn take_lock(work_dir: &WorkDir, run_id: &str, now: DateTime<Tz>, notes: &mut Notes<'_>) -> Result<Lock, Failure> {
    let path = work_dir.lock_file();
    let me =
        Holder { run_id: run_id.to_owned(), pid: std::process::id(), started: now.fixed_offset(), step: Step::Start };
    let acquired = Lock::acquire(&path, me)
        .explain(
            format!("failed to lock `{}`", path.display()),
            text!(
                "look at the rights and the free space of the work dir"
                    / "vérifiez les droits et l'espace libre du répertoire de travail"
            ),
        )
        .map_err(|error| Failure::new(Step::Start, error).with_code(ExitCode::Pack))?;
    match acquired {
        Acquired::Held(lock, None) => Ok(lock),
        Acquired::Held(lock, Some(dead)) => {
            let (id, step, when) = (&dead.run_id, dead.step, dead.started.format("%Y-%m-%d %H:%M"));
            let title = step.title(Language::Fr);
            notes.warn(text!(
                "the run `{id}` of {when} did not finish: it died in step `{step}` (power cut, kill or crash); this run takes over"
                    / "l'exécution `{id}` du {when} ne s'est pas terminée : elle s'est arrêtée à l'étape « {title} » (coupure, arrêt forcé ou panne) ; celle-ci prend le relais"
            ));
            Ok(lock)
        }
        Acquired::Busy(holder) => {
            let who = match &holder {
                Some(other) => format!(
                    "the run `{}` (process {}, since {}) is in step `{}`",
                    other.run_id,
                    other.pid,
                    other.started.format("%Y-%m-%d %H:%M"),
                    other.step
                ),
                None => "another run holds the lock".to_owned(),
            };
            let error = anyhow::anyhow!(who).context(crate::error::Explained::new(
                "another run of this job is going on",
                text!(
                    "wait for it to end; if it hangs, look at its log before you stop it"
                        / "attendez qu'elle se termine ; si elle est bloquée, lisez son journal avant de l'arrêter"
                ),
            ));
            Err(Failure::new(Step::Start, error).with_code(ExitCode::Locked).summed_up(text!(
                "another run of this job is going on" / "une autre exécution de ce travail est en cours"
            )))
        }
    }
}

/// More than a day back cannot be right: dates in names, retention and standstill would all be wrong.
fn check_clock(previous: DateTime<Tz>, now: DateTime<Tz>, notes: &mut Notes<'_>) -> Result<(), Failure> {
    let behind = previous - now;
    // With seconds: a small step back is a matter of seconds.
    let (then, shown) = (previous.format("%Y-%m-%d %H:%M:%S"), now.format("%Y-%m-%d %H:%M:%S"));
    if behind > Duration::days(1) {
        let error = explained(format!("the clock says {shown}, but the last run was on {then}"), clock_hint());
        return Err(Failure::new(Step::Start, error).summed_up(text!(
            "the clock is behind the last run" / "l'horloge est en retard sur la dernière exécution"
        )));
    }
    if behind > Duration::zero() {
        notes.warn(text!(
            "the clock says {shown}, the last run was at {then}: it was set back, or is wrong"
                / "l'horloge indique {shown}, la dernière exécution date du {then} : elle a été reculée, ou elle est fausse"
        ));
    }
    Ok(())
}

fn clock_hint() -> Text {
    text!(
        "set the clock (`timedatectl`); if the last run was the one with the wrong clock, move `state.json` out of the work dir"
            / "réglez l'horloge (`timedatectl`) ; si c'est la dernière exécution qui avait une mauvaise horloge, déplacez `state.json` hors du répertoire de travail"
    )
}
