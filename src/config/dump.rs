//! `[dump]` and `[archive]`: what a trustworthy dump looks like, and what it becomes.

use std::time::Duration;

use regex::bytes::Regex;
use toml::de::DeValue;

use super::reader::{Item, Table};
use super::settings::{ArchiveSettings, Complete, Compression, DumpSettings, OnUnchanged, VolatileLines};
use crate::archive_name::NamePattern;

/// Reads `[dump]`; without the table, everything is at its default.
pub(super) fn read(table: Option<&Table<'_>>) -> DumpSettings {
    let mut settings = DumpSettings {
        complete: Complete::Auto,
        min_size: 1_000,
        max_size: 1_000_000_000_000,
        max_shrink_percent: 50,
        volatile_lines: VolatileLines::Auto,
        on_unchanged: OnUnchanged::Warn,
        frozen_after: Some(Duration::from_secs(7 * 86_400)),
    };
    let Some(table) = table else { return settings };
    if let Some(complete) = table.item("complete").and_then(|item| complete(&item)) {
        settings.complete = complete;
    }
    settings.min_size = table.size("min_size", settings.min_size);
    settings.max_size = table.size("max_size", settings.max_size);
    if settings.min_size > settings.max_size
        && let Some(item) = table.item("min_size").or_else(|| table.item("max_size"))
    {
        item.problem("`min_size` is above `max_size`: no dump could ever pass", None);
    }
    if let Some(percent) = table.item("max_shrink").and_then(|item| percent(&item)) {
        settings.max_shrink_percent = percent;
    }
    if let Some(lines) = table.item("volatile_lines").and_then(|item| volatile_lines(&item)) {
        settings.volatile_lines = lines;
    }
    let reactions = [
        ("skip", OnUnchanged::Skip),
        ("warn", OnUnchanged::Warn),
        ("fail", OnUnchanged::Fail),
        ("archive", OnUnchanged::Archive),
    ];
    settings.on_unchanged = table.choice("on_unchanged", &reactions, settings.on_unchanged);
    if let Some(item) = table.item("frozen_after") {
        settings.frozen_after = if item.text() == Some("off") { None } else { item.duration() };
    }
    settings
}

fn complete(item: &Item<'_>) -> Option<Complete> {
    let text = item.string()?;
    match text.as_str() {
        "auto" => Some(Complete::Auto),
        "off" => Some(Complete::Off),
        // Any text may be demanded, but these are slips, and would refuse every dump.
        _ => match text.to_lowercase().as_str() {
            "auto" => slip(item, &text, "auto"),
            "off" | "none" | "no" | "never" | "false" => slip(item, &text, "off"),
            _ => Some(Complete::Literal(text)),
        },
    }
}

fn slip(item: &Item<'_>, text: &str, meant: &str) -> Option<Complete> {
    item.problem(
        format!("`{text}` would be the text that a dump must end with"),
        Some(format!("did you mean `{meant}`?")),
    );
    None
}

fn percent(item: &Item<'_>) -> Option<u8> {
    let help = "write for example `\"50%\"`, or `\"off\"`";
    if !matches!(item.value, DeValue::String(_)) {
        item.problem("must be a percentage in quotes", Some(help.to_owned()));
        return None;
    }
    let text = item.string()?;
    if text == "off" {
        return Some(100);
    }
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).filter(|percent| *percent <= 100);
    if number.is_none() {
        item.problem(format!("`{text}` is not a percentage from 0% to 100%"), Some(help.to_owned()));
    }
    number
}

fn volatile_lines(item: &Item<'_>) -> Option<VolatileLines> {
    match item.value {
        DeValue::String(text) if text == "auto" => Some(VolatileLines::Auto),
        DeValue::String(text) if text == "none" => Some(VolatileLines::None),
        DeValue::Array(items) => {
            let patterns: Vec<Regex> = item.list().iter().filter_map(regex).collect();
            (patterns.len() == items.len()).then_some(VolatileLines::Patterns(patterns))
        }
        _ => {
            let help = "a list is written `[\"^-- Dump completed\", \"^-- Host:\"]`";
            item.problem("must be `auto`, `none` or a list of regular expressions", Some(help.to_owned()));
            None
        }
    }
}

fn regex(item: &Item<'_>) -> Option<Regex> {
    let pattern = item.string()?;
    match Regex::new(&pattern) {
        Ok(regex) => Some(regex),
        Err(error) => {
            // The crate draws the pattern over several lines; its last line says what is wrong.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
            item.problem(format!("is not a regular expression: {reason}"), None);
            None
        }
    }
}

/// Reads `[archive]`; without the table, everything is at its default.
pub(super) fn read_archive(table: Option<&Table<'_>>) -> Option<ArchiveSettings> {
    let written = table.and_then(|table| table.item("name"));
    let name = match written {
        Some(item) => item.parse(NamePattern::parse),
        None => NamePattern::parse("%Y%m%d.tgz").ok(),
    };
    let compression = table.and_then(|table| table.item("compression")).and_then(|item| match item.value {
        DeValue::String(text) if text == "reuse" => Some(Compression::Reuse),
        DeValue::Integer(_) => item.integer(1..=9).map(Compression::Level),
        _ => {
            item.problem("must be `\"reuse\"` or a whole number from 1 to 9", None);
            None
        }
    });
    let sidecar = table.is_none_or(|table| table.boolean("sidecar", true));
    Some(ArchiveSettings { name: name?, compression: compression.unwrap_or(Compression::Reuse), sidecar })
}
