//! The log's files: one per local day and job, appended; the ones that have served their time are removed by their names.
//!
//! Lines are written with one `write` each, straight to the file: a run that is killed leaves its last words. A run stays in
//! the file of the day it began, in the job's time zone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{Days, NaiveDate};

/// `archive-<job>-YYYYMMDD.log`
pub(super) fn name(job: &str, day: NaiveDate) -> String {
    format!("archive-{job}-{}.log", day.format("%Y%m%d"))
}

fn day_of(name: &str, job: &str) -> Option<NaiveDate> {
    let digits = name.strip_prefix("archive-")?.strip_prefix(job)?.strip_prefix('-')?.strip_suffix(".log")?;
    if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    NaiveDate::parse_from_str(digits, "%Y%m%d").ok()
}

/// Opens the day's file for appending; makes the directory if it is missing. The group may read (0750, 0640): logs are
/// for whoever looks after the machine, and hold no secret.
///
/// The directory may belong to another user, as where root runs a user's job: a link or a pipe that lies there under the
/// log's name is not written to.
pub(super) fn open(dir: &Path, job: &str, day: NaiveDate) -> io::Result<(PathBuf, File)> {
    DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    let path = dir.join(name(job, day));
    let flags = crate::work_dir::no_follow();
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(&path);
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            io::Error::new(error.kind(), "it is a symbolic link, which is not followed")
        }
        _ => error,
    })?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not an ordinary file"));
    }
    Ok((path, file))
}

/// Removes this job's log files of days before `today - keep_days`; returns their names and the first error.
pub(super) fn remove_old(dir: &Path, job: &str, today: NaiveDate, keep_days: u64) -> (Vec<String>, Option<io::Error>) {
    let mut removed = Vec::new();
    let mut failed = None;
    let Some(oldest_kept) = today.checked_sub_days(Days::new(keep_days)) else { return (removed, None) };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return (removed, Some(error)),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let old = day_of(name, job).is_some_and(|day| day < oldest_kept);
        if !old || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Ok(()) => removed.push(name.to_owned()),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    removed.sort();
    (removed, failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn only_this_jobs_old_logs_are_removed_and_only_by_the_date_in_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "archive-shop-20261120.log",
            "archive-shop-20261113.log",
            "archive-shop-20261112.log",
            "archive-shop-b-20200101.log",
            "archive-shop-20200101.log.gz",
            "archive-shop-20201399.log",
            "20200101.tgz",
        ] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("archive-shop-20200101.log")).unwrap();
        let (removed, failed) = remove_old(dir.path(), "shop", day("2026-11-20"), 7);
        assert_eq!(removed, ["archive-shop-20261112.log"]);
        assert!(failed.is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 7);
    }

    #[test]
    fn a_link_in_place_of_the_log_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "whole").unwrap();
        let log = dir.path().join("archive-shop-20261120.log");
        std::os::unix::fs::symlink(&victim, &log).unwrap();
        let error = open(dir.path(), "shop", day("2026-11-20")).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "whole");
    }

    #[test]
    fn the_file_is_appended_to_and_not_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("a/b");
        for _ in 0..2 {
            let (_, mut file) = open(&logs, "shop", day("2026-11-20")).unwrap();
            io::Write::write_all(&mut file, b"line\n").unwrap();
        }
        let path = logs.join("archive-shop-20261120.log");
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\nline\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
    }
}
