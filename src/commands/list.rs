//! `archive list`: what each destination holds.

use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::thread;

use serde::Serialize;

use super::{chosen, load, now};
use crate::cli::{ListArgs, Verbosity};
use crate::config::For;
use crate::config::settings::{DestinationSettings, Settings};
use crate::destination::{self, DestinationError, Entry};
use crate::error::{Failure, chain_of, hint_of, while_doing};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::pipeline::purge::plan_for;
use crate::pipeline::target::archives_in;
use crate::step::Step;
use crate::text::Language;
use crate::units::show_size;
use crate::work_dir::state::State;

/// One destination.
#[derive(Serialize)]
struct Listed {
    name: String,
    location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    archives: Vec<Archive>,
    total_bytes: u64,
    free_bytes: Option<u64>,
}

/// One archive.
#[derive(Serialize)]
struct Archive {
    name: String,
    date: chrono::NaiveDate,
    bytes: u64,
    sidecar: bool,
    /// Whether the last run verified it and it holds the current dump.
    current: bool,
    /// What tonight's purge would do; `None` without a policy.
    kept: Option<bool>,
    reasons: Option<String>,
}

/// Lists every destination; one that cannot be reached does not hide the others.
pub fn list(args: &ListArgs, verbosity: Verbosity, output: &Output) -> Result<ExitCode, Failure> {
    let settings = load(&args.config, &For::Destinations(args.destination.clone()), verbosity, output)?;
    let interrupt = Interrupt::listen().map_err(|error| Failure::new(Step::Start, error))?;
    let state = super::peek_state(&settings);
    let mut code = ExitCode::Success;
    let mut all = Vec::new();
    let chosen = chosen(&settings, args.destination.as_deref())?;
    // At the same time: one that stands still costs its own time, not that of all.
    let looked: Vec<_> = thread::scope(|scope| {
        let looking: Vec<_> = chosen.iter().map(|destination| scope.spawn(|| look(destination, &interrupt))).collect();
        looking.into_iter().map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    for (destination, looked) in chosen.into_iter().zip(looked) {
        let mut listed = Listed {
            name: destination.name.clone(),
            location: destination::location(destination),
            error: None,
            archives: Vec::new(),
            total_bytes: 0,
            free_bytes: None,
        };
        match looked {
            Ok((entries, free)) => {
                listed.archives = archives(&settings, destination, &entries, &state);
                listed.total_bytes = listed.archives.iter().map(|archive| archive.bytes).fold(0, u64::saturating_add);
                listed.free_bytes = free;
            }
            Err(error) => {
                code = ExitCode::Upload;
                let error = while_doing(format!("failed to list `{}`", listed.location))(error);
                listed.error = Some(chain_of(&error).join(": "));
                if !output.json {
                    output.error(&crate::error::render(&error));
                } else if let Some(hint) = hint_of(&error) {
                    listed.error = listed.error.map(|text| format!("{text} (hint: {hint})"));
                }
            }
        }
        if !output.json {
            show(&listed, output);
        }
        all.push(listed);
    }
    if output.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "job": settings.name, "destinations": all }));
        let text = text.map_err(|error| Failure::new(Step::Start, error).with_code(ExitCode::Other))?;
        super::print_result(&text, output)?;
    }
    Ok(code)
}

fn look(settings: &DestinationSettings, interrupt: &Interrupt) -> Result<(Vec<Entry>, Option<u64>), DestinationError> {
    let mut session = destination::connect(settings, interrupt)?;
    let entries = session.list()?;
    // Good to know, but no reason to show nothing.
    let free = session.free_space().unwrap_or(None);
    Ok((entries, free))
}

fn archives(settings: &Settings, destination: &DestinationSettings, entries: &[Entry], state: &State) -> Vec<Archive> {
    let known = state.destination(&destination.name, &destination::location(destination));
    let current = known.and_then(|known| known.published.as_ref()).map(|published| &published.name);
    let today = now(settings).date_naive();
    let plan = plan_for(settings, destination, entries, known, None, today, None);
    // Looked up, not searched for: there may be ten thousand of them.
    let names: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let verdicts: HashMap<_, _> =
        plan.iter().flat_map(|plan| &plan.verdicts).map(|verdict| (&verdict.archive, verdict)).collect();
    let mut archives: Vec<Archive> = archives_in(entries, &settings.archive.name)
        .into_iter()
        .map(|archive| {
            let verdict = verdicts.get(&archive.name);
            Archive {
                date: archive.name.date(),
                bytes: archive.size_bytes,
                sidecar: names.contains(archive.name.sidecar().as_str()),
                current: current == Some(&archive.name),
                kept: verdict.map(|verdict| verdict.keep),
                reasons: verdict.map(|verdict| verdict.because().en),
                name: archive.name.to_string(),
            }
        })
        .collect();
    archives.sort_by(|a, b| b.date.cmp(&a.date).then_with(|| b.name.cmp(&a.name)));
    archives
}

fn show(listed: &Listed, output: &Output) {
    if listed.error.is_some() {
        return;
    }
    let free = listed.free_bytes.map(|free| format!(", {} free", show_size(free, Language::En))).unwrap_or_default();
    output.line(&format!(
        "{}  {}: {} archive{}, {}{free}",
        listed.name,
        listed.location,
        listed.archives.len(),
        if listed.archives.len() == 1 { "" } else { "s" },
        show_size(listed.total_bytes, Language::En)
    ));
    let width = listed.archives.iter().map(|archive| archive.name.len()).max().unwrap_or(0);
    for archive in &listed.archives {
        let mut notes = Vec::new();
        if archive.current && archive.reasons.is_none() {
            notes.push("holds the current dump".to_owned());
        }
        match (&archive.kept, &archive.reasons) {
            (Some(true), Some(why)) => notes.push(why.clone()),
            (Some(false), Some(why)) => notes.push(format!("to purge: {why}")),
            _ => {}
        }
        if !archive.sidecar {
            notes.push("no .sha256".to_owned());
        }
        let line =
            format!("  {:<width$}  {:>8}  {}", archive.name, show_size(archive.bytes, Language::En), notes.join("; "));
        output.line(line.trim_end());
    }
}
