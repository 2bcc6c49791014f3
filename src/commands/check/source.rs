//! The source: reachable, what it tells, and whether the entry is in the zip, without downloading it.

use chrono::{DateTime, Utc};

use super::{CLOCK_TOLERANCE, Checklist};
use crate::config::settings::Settings;
use crate::error::while_doing;
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::source::{self, HttpSource, Probe};
use crate::text;
use crate::text::Language;
use crate::units::{show_duration, show_size};
use crate::zip_source::find_entry;

/// Gives the size of the zip, if it became known.
pub(super) fn check(
    settings: &Settings,
    interrupt: &Interrupt,
    now: DateTime<Utc>,
    list: &mut Checklist<'_>,
) -> Option<u64> {
    let shown = source::shown(&settings.source.url);
    let http = match HttpSource::new(&settings.source, interrupt.clone()) {
        Ok(http) => http,
        Err(error) => {
            list.fail("source", &error, ExitCode::Config);
            return None;
        }
    };
    let probe = match http.probe() {
        Ok(probe) => probe,
        Err(error) => {
            let code = error.exit_code();
            list.fail("source", &while_doing(format!("failed to ask for `{shown}`"))(error), code);
            list.skip("entry", "not looked for, as the source does not answer");
            return None;
        }
    };
    describe(&shown, &probe, list);
    check_clock(&probe, now, list);
    check_entry(settings, &http, &probe, list);
    probe.size_bytes
}

fn describe(shown: &str, probe: &Probe, list: &mut Checklist<'_>) {
    let mut found = format!("`{shown}`");
    match probe.size_bytes {
        Some(bytes) => found.push_str(&format!(", {}", show_size(bytes, Language::En))),
        None => found.push_str(", size not announced"),
    }
    if probe.redirects > 0 {
        found.push_str(&format!(", redirected to `{}`", source::shown(&probe.final_url)));
    }
    if probe.resumable {
        found.push_str(", a cut download can be resumed");
    }
    list.ok("source", found);
    if probe.validators.is_empty() {
        list.warn(
            "source",
            "the server sends neither `ETag` nor `Last-Modified`",
            Some(text!(
                "an unchanged zip is downloaded every night all the same; the web server's settings can change that"
                    / "un zip inchangé sera tout de même téléchargé chaque nuit ; le réglage du serveur web peut y remédier"
            )),
        );
    }
}

fn check_clock(probe: &Probe, now: DateTime<Utc>, list: &mut Checklist<'_>) {
    let Some(theirs) = probe.server_date else { return };
    let apart = (theirs - now).abs().to_std().unwrap_or_default();
    let shown = show_duration(apart, Language::En);
    if apart > CLOCK_TOLERANCE {
        list.warn(
            "clock",
            format!("this machine and the source's server are {shown} apart"),
            Some(text!(
                "one of them is wrong; the date in the archives' names comes from this machine"
                    / "l'une des deux est fausse ; la date dans le nom des archives vient de cette machine"
            )),
        );
    } else {
        list.ok("clock", "agrees with the source's server");
    }
}

fn check_entry(settings: &Settings, http: &HttpSource, probe: &Probe, list: &mut Checklist<'_>) {
    let entry = &settings.source.entry;
    if !probe.ranges {
        list.warn(
            "entry",
            format!("cannot look for `{entry}` without downloading everything: the server does not send parts"),
            Some(text!(
                "`archive run --dry-run` downloads the zip and looks"
                    / "`archive run --dry-run` télécharge le zip et regarde"
            )),
        );
        return;
    }
    let mut reader = match http.ranges() {
        Ok(reader) => reader,
        Err(error) => {
            let code = error.exit_code();
            list.fail("entry", &while_doing("failed to read the end of the zip")(error), code);
            return;
        }
    };
    match find_entry(&mut reader, entry) {
        Ok(found) => {
            let mut text = format!(
                "`{entry}`, {} in the zip, {} unpacked, {}",
                show_size(found.compressed_size, Language::En),
                show_size(found.declared_size, Language::En),
                found.method_name()
            );
            let received = show_size(reader.received_bytes(), Language::En);
            text.push_str(&format!(" ({received} received to find out)"));
            list.ok("entry", text);
        }
        Err(error) => {
            list.fail("entry", &while_doing(format!("`{entry}` was not found in the zip"))(error), ExitCode::Verify);
        }
    }
}
