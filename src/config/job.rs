//! The top of the file, and the forms that several tables share: names and hosts.

use std::path::PathBuf;

use chrono_tz::{TZ_VARIANTS, Tz};

use super::reader::{Item, Table};
use super::schema;
use crate::text::Text;

/// A job's or a destination's name: it becomes part of file names.
pub(super) fn name(item: &Item<'_>) -> Option<String> {
    let name = item.string()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let reason = if name.len() > 64 {
        "is longer than 64 characters".to_owned()
    } else if name.starts_with('.') {
        "must not begin with a dot".to_owned()
    } else if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
        let shown = if bad == ' ' { "a space".to_owned() } else { format!("`{}`", bad.escape_debug()) };
        format!("must not hold {shown}: only ASCII letters, digits, `-`, `_` and `.`")
    } else {
        return Some(name);
    };
    let plain: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let plain: String = plain.trim_matches(['.', '-']).chars().take(64).collect();
    item.problem(reason, (!plain.is_empty()).then(|| format!("for example `{plain}`")));
    None
}

/// A host name or an address, and nothing else.
pub(super) fn host(item: &Item<'_>) -> Option<String> {
    let host = item.string()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let (reason, help) = if host.contains("://") {
        ("must be a host name, not a URL", "leave out `…://` and the path")
    } else if host.contains('@') {
        ("must be a host name without a user", "write the user as `username`")
    } else if bare.starts_with('-') {
        // A program that is handed it would take it for an option.
        ("must be a host name, which does not begin with `-`", "write the name as `ping` takes it")
    } else if host.contains(char::is_whitespace) || host.contains('/') {
        ("must be a host name", "a directory on the server goes into `path`")
    } else if host.chars().any(crate::text::is_unsafe) {
        ("is no name of a host", "write its name or its address")
    } else if host.matches(':').count() == 1 {
        ("must be a host name without a port", "write the port as `port`")
    } else {
        return Some(bare.to_owned());
    };
    item.problem(reason, Some(help.to_owned()));
    None
}

/// `timezone`, or the machine's; with what to say if that is not known and UTC stands in.
pub(super) fn timezone(table: &Table<'_>) -> (Tz, Option<Text>) {
    let default = table.context.environment.default_zone();
    let Some(item) = table.item("timezone") else { return default };
    let Some(text) = item.string() else { return (default.0, None) };
    match text.parse() {
        Ok(zone) => (zone, None),
        Err(_) => {
            let names = TZ_VARIANTS.iter().map(|zone| zone.name());
            let city = |zone: &str| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&text));
            let near = names.clone().find(|zone| city(zone)).or_else(|| schema::closest(&text, names));
            let help =
                near.map_or("write for example `Europe/Paris`".to_owned(), |near| format!("did you mean `{near}`?"));
            item.problem(format!("`{text}` is not a time zone"), Some(help));
            (default.0, None)
        }
    }
}

/// `work_dir`, or where state belongs on this machine.
pub(super) fn work_dir(table: &Table<'_>, job: Option<&str>) -> Option<PathBuf> {
    if let Some(item) = table.item("work_dir") {
        return item.path_value();
    }
    let dir = table.context.environment.default_work_dir(job?);
    if dir.is_none() {
        let help = "cron may start jobs without `HOME`: add for example `work_dir = \"/var/lib/archive/boutique\"`";
        table.problem("work_dir", "is not set, and there is no home directory to put it", Some(help.to_owned()));
    }
    dir
}
