//! This machine: work dir, free space, lock, log dir, clock.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use chrono::Utc;

use super::Checklist;
use crate::config::settings::Settings;
use crate::error::Explain;
use crate::exit_code::ExitCode;
use crate::text;
use crate::text::Language;
use crate::units::show_size;
use crate::work_dir::WorkDir;
use crate::work_dir::outbox::Outbox;
use crate::work_dir::state::{State, whose_state};

pub(super) fn check(settings: &Settings, list: &mut Checklist<'_>) {
    let shown = settings.work_dir.display();
    let prepared = WorkDir::prepare(&settings.work_dir).explain(
        format!("failed to prepare `{shown}`"),
        text!(
            "it must belong to the user that runs `archive`, who alone may write in it; or set another `work_dir`"
                / "il doit appartenir à l'utilisateur qui lance `archive`, et lui seul doit pouvoir y écrire ; ou choisissez un autre `work_dir`"
        ),
    );
    match prepared {
        Err(error) => list.fail("work dir", &error, ExitCode::Pack),
        Ok(work_dir) => {
            match work_dir.free_space() {
                Ok(free) => list.ok("work dir", format!("`{shown}`, {} free", show_size(free, Language::En))),
                Err(error) => list.warn("work dir", format!("`{shown}`: free space not known: {error}"), None),
            }
            check_outbox(&work_dir, list);
            check_state(settings, &work_dir, list);
        }
    }
    check_log_dir(settings, list);
}

fn check_outbox(work_dir: &WorkDir, list: &mut Checklist<'_>) {
    match Outbox::new(work_dir.outbox()).items() {
        Ok(items) if items.is_empty() => {}
        Ok(items) => {
            let names: Vec<String> = items.iter().map(|item| format!("`{}`", item.packed.name)).collect();
            list.warn("outbox", format!("{} waiting for the next run: {}", items.len(), names.join(", ")), None);
        }
        Err(error) => list.fail("outbox", &error, ExitCode::Pack),
    }
}

/// Reads only: a state that cannot be read is moved aside by the next run, not by a check.
fn check_state(settings: &Settings, work_dir: &WorkDir, list: &mut Checklist<'_>) {
    let path = work_dir.state_file();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            list.ok("state", "none yet: the next run will be the first one here");
            return;
        }
        Err(error) => {
            let read = Err::<(), _>(error).explain(format!("failed to read `{}`", path.display()), whose_state());
            if let Err(error) = read {
                list.fail("state", &error, ExitCode::Pack);
            }
            return;
        }
    };
    let Ok(state) = serde_json::from_slice::<State>(&text) else {
        list.warn(
            "state",
            "`state.json` cannot be read",
            Some(text!(
                "the next run keeps it aside and learns anew from the destinations"
                    / "la prochaine exécution le met de côté et réapprend d'après les destinations"
            )),
        );
        return;
    };
    if let Some(last) = state.last_run {
        let then = last.started.with_timezone(&settings.timezone).format("%Y-%m-%d %H:%M");
        let now = Utc::now();
        if now + chrono::Duration::days(1) < last.started {
            let error = crate::error::explained(
                format!(
                    "the clock says {}, but the last run was on {then}",
                    now.with_timezone(&settings.timezone).format("%Y-%m-%d %H:%M")
                ),
                text!("set the clock (`timedatectl`)" / "réglez l'horloge (`timedatectl`)"),
            );
            list.fail("clock", &error, ExitCode::Config);
        }
        let code = last.exit_code;
        let ended = if code == 0 { "it went well".to_owned() } else { format!("it ended with exit code {code}") };
        list.ok("last run", format!("{then}, {ended}"));
    }
}

fn check_log_dir(settings: &Settings, list: &mut Checklist<'_>) {
    let dir = settings.log.dir.display();
    let written = DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(&settings.log.dir)
        .and_then(|()| tempfile::tempfile_in(&settings.log.dir));
    match written {
        Ok(_) => list.ok("log", format!("`{dir}`")),
        Err(error) => list.warn(
            "log",
            format!("cannot write in `{dir}`: {error}"),
            Some(text!("set `dir` under `[log]`" / "indiquez `dir` dans `[log]`")),
        ),
    }
}
