//! `archive prune`: the purge by hand, with the plan shown, for what a nightly run refuses to decide alone.

use super::{chosen, load, now};
use crate::cli::{PruneArgs, Verbosity};
use crate::config::For;
use crate::config::settings::{DestinationSettings, Settings};
use crate::destination;
use crate::error::{Explained, Failure, explained, render, while_doing};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::pipeline::purge::{delete, plan_for};
use crate::retention::{Refusal, Verdict};
use crate::step::Step;
use crate::text;
use crate::text::Language;
use crate::units::show_size;
use crate::work_dir::WorkDir;
use crate::work_dir::lock::{Acquired, Holder, Lock};
use crate::work_dir::state::{Origin, State};

/// Shows the plan of each destination, asks, deletes.
pub fn prune(args: &PruneArgs, verbosity: Verbosity, output: &Output) -> Result<ExitCode, Failure> {
    let settings = load(&args.config, &For::Destinations(args.destination.clone()), verbosity, output)?;
    let interrupt = Interrupt::listen().map_err(|error| Failure::new(Step::Start, error))?;
    let destinations = chosen(&settings, args.destination.as_deref())?;
    let lock = if args.dry_run { None } else { Some(take_lock(&settings, output)?) };
    let mut code = ExitCode::Success;
    for destination in destinations {
        if interrupt.exit_code().is_some() {
            break;
        }
        if let Err(failure) = prune_one(&settings, destination, args, &interrupt, output) {
            output.error(&render(&failure.error));
            if code == ExitCode::Success {
                code = interrupt.exit_code().unwrap_or(failure.code);
            }
        }
    }
    if let Some(lock) = lock {
        lock.finish().map_err(|error| Failure::new(Step::Purge, error).with_code(ExitCode::Pack))?;
    }
    Ok(code)
}

fn take_lock(settings: &Settings, output: &Output) -> Result<Lock, Failure> {
    let disk = |error: std::io::Error| Failure::new(Step::Start, error).with_code(ExitCode::Pack);
    let work_dir = WorkDir::prepare(&settings.work_dir).map_err(disk)?;
    let me = Holder {
        run_id: "prune".to_owned(),
        pid: std::process::id(),
        started: now(settings).fixed_offset(),
        step: Step::Purge,
    };
    match Lock::acquire(&work_dir.lock_file(), me).map_err(disk)? {
        Acquired::Held(lock, dead) => {
            // The next run will not find this trace any more.
            if let Some(dead) = dead {
                output.line(&format!("the run {} did not finish, it died in step `{}`", dead.run_id, dead.step));
            }
            Ok(lock)
        }
        Acquired::Busy(_) => Err(Failure::new(
            Step::Start,
            explained(
                "a run of this job is going on",
                text!("wait for it to end, then prune" / "attendez qu'elle se termine, puis purgez"),
            ),
        )
        .with_code(ExitCode::Locked)),
    }
}

fn prune_one(
    settings: &Settings,
    destination: &DestinationSettings,
    args: &PruneArgs,
    interrupt: &Interrupt,
    output: &Output,
) -> Result<(), Failure> {
    let location = destination::location(destination);
    let failed = |error| Failure::new(Step::Purge, while_doing(format!("failed to purge at `{location}`"))(error));
    output.line(&format!("{}  {location}", destination.name));
    if destination.retention.is_none() {
        output.line("  no `retention`: nothing is ever purged here");
        return Ok(());
    }
    let mut session = destination::connect(destination, interrupt).map_err(failed)?;
    let mut listing = session.list().map_err(failed)?;
    let (state, origin) = State::load(&WorkDir::at(&settings.work_dir).state_file(), now(settings).to_utc(), false)
        .map_err(|error| Failure::new(Step::Start, error))?;
    if let Origin::Rebuilt { aside, why } = origin {
        return Err(Failure::new(
            Step::Start,
            anyhow::anyhow!(why).context(Explained::new(
                format!("the state `{}` cannot be read, so nobody knows which archive must stay", aside.display()),
                text!("let `archive run` rebuild it first" / "laissez d'abord `archive run` le reconstruire"),
            )),
        ));
    }
    let today = now(settings).date_naive();
    let known = state.destination(&destination.name, &location);
    let Some(plan) = plan_for(settings, destination, &listing, known, None, today, state.trusted_day) else {
        return Ok(());
    };
    for verdict in &plan.verdicts {
        show(verdict, output);
    }
    if let Some(refusal) = &plan.refusal {
        output.line(&format!("  a nightly run purges nothing here, because {}", refusal.text()));
    }
    let going: Vec<Verdict> = plan.purge_by_hand().cloned().collect();
    if going.is_empty() {
        output.line("  nothing to purge");
        // After a leap of the clock a person must say that today is today, even if nothing would go.
        let leap = matches!(plan.refusal, Some(Refusal::ClockJumped { .. }));
        if leap && !args.dry_run && (args.yes || confirmed(&format!("is today really {today}?"), output)?) {
            return note_count(settings, destination, &listing);
        }
        return Ok(());
    }
    let bytes = going.iter().map(|verdict| verdict.size_bytes).fold(0, u64::saturating_add);
    let what = format!("{} of {} archives, {}", going.len(), plan.verdicts.len(), show_size(bytes, Language::En));
    if args.dry_run {
        output.line(&format!("  would purge {what}"));
        return Ok(());
    }
    if !args.yes && !confirmed(&format!("purge {what} at {}?", destination.name), output)? {
        output.line("  nothing purged");
        return Ok(());
    }
    let mut kept_anyway = 0;
    for verdict in &going {
        interrupt.check().map_err(|error| Failure::new(Step::Purge, error))?;
        match delete(session.as_mut(), &mut listing, &verdict.archive) {
            Ok(()) => output.line(&format!("  purged {}", verdict.archive)),
            Err(error) if error.is_transient() => return Err(failed(error)),
            Err(error) => {
                kept_anyway += 1;
                output.error(&render(&while_doing(format!("failed to purge `{}`", verdict.archive))(error)));
            }
        }
    }
    note_count(settings, destination, &listing)?;
    if kept_anyway > 0 {
        return Err(Failure::new(
            Step::Purge,
            anyhow::anyhow!("{kept_anyway} of {} archives could not be purged at `{location}`", going.len()),
        ));
    }
    Ok(())
}

/// The state must know that the archives went on purpose, and that the clock is right.
fn note_count(
    settings: &Settings,
    destination: &DestinationSettings,
    listing: &[destination::Entry],
) -> Result<(), Failure> {
    let path = WorkDir::at(&settings.work_dir).state_file();
    let failed = |error| Failure::new(Step::Purge, error).with_code(ExitCode::Pack);
    let (mut state, _) = State::load(&path, now(settings).to_utc(), false).map_err(failed)?;
    // A person has seen the plan for today, and agreed.
    state.trusted_day = Some(now(settings).date_naive());
    if let Some(known) = state.destinations.get_mut(&destination.name) {
        known.archives = crate::pipeline::target::archives_in(listing, &settings.archive.name).len();
    }
    state.save(&path).map_err(failed)
}

fn show(verdict: &Verdict, output: &Output) {
    let word = if verdict.keep { "keep " } else { "purge" };
    let size = show_size(verdict.size_bytes, Language::En);
    output.line(&format!("  {word}  {:<16} {size:>8}  {}", verdict.archive.to_string(), verdict.because().en));
}

fn confirmed(question: &str, output: &Output) -> Result<bool, Failure> {
    match output.ask(&format!("{question} [y/N]")) {
        Some(answer) => Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes" | "o" | "oui")),
        None => Err(Failure::new(
            Step::Start,
            explained(
                "nobody is there to confirm the purge",
                text!("run it on a terminal, or with `--yes`" / "lancez-la dans un terminal, ou avec `--yes`"),
            ),
        )),
    }
}
