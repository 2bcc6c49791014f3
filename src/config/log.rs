//! `[log]`: where the log goes and how much of it stays.

use std::path::Path;
use std::time::Duration;

use tracing::Level;

use super::environment::Environment;
use super::reader::Table;
use super::settings::{LogFormat, LogSettings};

/// Reads the table; without it, everything is at its default. `None` if nobody knows a directory.
pub(super) fn read(
    table: Option<&Table<'_>>,
    work_dir: Option<&Path>,
    environment: &Environment,
) -> Option<LogSettings> {
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let written = table.and_then(|table| table.item("dir")).and_then(|item| item.path_value());
    let default = || environment.directory("LOGS_DIRECTORY").or_else(|| work_dir.map(|dir| dir.join("log")));
    let level = table.map_or(Level::INFO, |table| table.choice("level", &levels, Level::INFO));
    let format = table.map_or(LogFormat::Text, |table| table.choice("format", &formats, LogFormat::Text));
    let days = Duration::from_secs(90 * 86_400);
    let keep = table.map_or(days, |table| table.duration("keep", days));
    Some(LogSettings { dir: written.or_else(default)?, level, format, keep })
}
