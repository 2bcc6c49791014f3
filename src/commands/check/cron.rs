//! Whether cron or a systemd timer knows the job, as far as this user may see.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::Checklist;
use crate::config::settings::Settings;
use crate::text;

pub(super) fn check(settings: &Settings, list: &mut Checklist<'_>) {
    let config = fs::canonicalize(&settings.config_path).unwrap_or_else(|_| settings.config_path.clone());
    match find(&config, &settings.config_path) {
        Some(place) => list.ok("cron", format!("found in {place}")),
        None => {
            let config = config.display();
            list.warn(
                "cron",
                "no crontab or timer that this user can see runs this config",
                Some(text!(
                    "see `crontab.example`; for example: 0 1 * * * archive run --config {config}"
                        / "voyez `crontab.example` ; par exemple : 0 1 * * * archive run --config {config}"
                )),
            );
        }
    }
}

fn find(config: &Path, as_given: &Path) -> Option<String> {
    let mentions = |text: &str| {
        text.lines().filter(|line| !line.trim_start().starts_with('#')).any(|line| {
            line.contains("archive")
                && line.contains("run")
                && (line.contains(&*config.to_string_lossy())
                    || line.contains(&*as_given.to_string_lossy())
                    // A systemd template: `archive@boutique.service` runs `--config /etc/archive/%i.toml`.
                    || (line.contains("%i") && config.parent().is_some_and(|dir| line.contains(&*dir.to_string_lossy())))
                    // Without `--config` the one in /etc is meant.
                    || (!line.contains("--config") && !line.contains("-c ") && config == Path::new("/etc/archive/archive.toml")))
        })
    };
    if own_crontab().is_some_and(|text| mentions(&text)) {
        return Some("this user's crontab".to_owned());
    }
    candidates()
        .into_iter()
        .find(|path| fs::read_to_string(path).is_ok_and(|text| mentions(&text)))
        .map(|path| format!("`{}`", path.display()))
}

fn own_crontab() -> Option<String> {
    let output =
        crate::config::bare_command("crontab").arg("-l").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// System crontabs, and the services that timers start.
fn candidates() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/etc/crontab")];
    for dir in ["/etc/cron.d", "/etc/cron.daily", "/var/spool/cron/crontabs", "/etc/systemd/system"] {
        paths.extend(fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    paths
}
