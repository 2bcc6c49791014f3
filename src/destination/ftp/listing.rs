//! What a directory holds, from the three forms in which servers say it.
//!
//! `MLSD` (RFC 3659) is exact: type, size, time in UTC, then the name to the end of the line. `LIST` is for people: what
//! `ls -l` prints, or what DOS printed. Its times have no seconds and no zone, often no year: good for telling whether
//! something has changed, and for nothing else. The crate's own parser of these lines drops the blanks that names begin with
//! and knows neither devices nor owners with blanks.

use std::sync::LazyLock;

use chrono::{DateTime, Datelike as _, Duration, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use regex::{Captures, Regex};

use crate::destination::Entry;

/// `-rw-r--r--    1 archive  users        12 Nov 20 17:55 name`, with a year in place of the time, or with an ISO date.
static UNIX: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?<type>[-a-zA-Z])[-rwxsStTlL]{9}[-+.@]?\s.*?\s(?<size>\d+)\s+",
        r"(?:(?<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+(?<day>\d{1,2})\s+(?:(?<year>\d{4})|(?<time>\d{1,2}:\d{2}))",
        r"|(?<date>\d{4}-\d{2}-\d{2})\s+(?<clock>\d{1,2}:\d{2})\S*(?:\s[-+]\d{4})?)",
        r" (?<name>.+)$"
    ))
    .ok()
});

/// `11-20-26  05:55PM                   12 name`, and `<DIR>` in place of the size.
static DOS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?<month>\d{2})-(?<day>\d{2})-(?<year>\d{2}|\d{4})\s+(?<hour>\d{1,2}):(?<minute>\d{2})(?<half>AM|PM)?\s+",
        r"(?:(?<other><[A-Z]+>)\s+|(?<size>\d+) )(?<name>.+)$"
    ))
    .ok()
});

/// A listing that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) entries: Vec<Entry>,
    /// The directory itself was in it: names that begin with a dot are not left out.
    pub(super) shows_hidden: bool,
}

/// Reads the answer to `LIST`; `Err` is the line that is no entry.
pub(super) fn of_list(bytes: &[u8], now: DateTime<Utc>) -> Result<Listing, String> {
    let mut listing = Listing { entries: Vec::new(), shows_hidden: false };
    for (number, line) in lines(bytes).enumerate() {
        if let Some(entry) = unix(&line, now).or_else(|| dos(&line)) {
            listing.entries.push(entry);
        } else if number == 0 && line.strip_prefix("total ").is_some_and(|blocks| blocks.parse::<u64>().is_ok()) {
            // `ls -l` begins with that.
        } else if let Some(entry) = listing.entries.last_mut() {
            // Names may hold line ends.
            entry.name = format!("{}\n{line}", entry.name);
        } else {
            return Err(line);
        }
    }
    listing.shows_hidden = listing.entries.iter().any(|entry| entry.name == ".");
    listing.entries.retain(|entry| entry.name != "." && entry.name != "..");
    Ok(listing)
}

/// Reads the answer to `MLSD`.
pub(super) fn of_mlsd(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for line in lines(bytes) {
        let Some((facts, name)) = line.split_once(' ').filter(|(facts, _)| facts.is_empty() || facts.contains('='))
        else {
            return Err(line);
        };
        let facts = Facts::of(facts);
        if !facts.is_the_directory() && name != "." && name != ".." {
            entries.push(facts.entry(name));
        }
    }
    Ok(entries)
}

/// Reads the line of an answer to `MLST` about `name`.
pub(super) fn of_mlst(line: &str, name: &str) -> Option<Entry> {
    let facts = line.trim_start().split(' ').next().filter(|facts| facts.contains('='))?;
    Some(Facts::of(facts).entry(name))
}

/// Lines without their ends, as far as they are text; there are empty ones at the end of some listings.
fn lines(bytes: &[u8]) -> impl Iterator<Item = String> {
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(|line| String::from_utf8_lossy(line).into_owned())
}

/// The facts of RFC 3659, 7.5; their names are case-insensitive.
#[derive(Default)]
struct Facts<'a> {
    kind: &'a str,
    size: Option<u64>,
    modify: Option<DateTime<Utc>>,
}

impl<'a> Facts<'a> {
    fn of(text: &'a str) -> Self {
        let mut facts = Facts::default();
        for (key, value) in text.split(';').filter_map(|fact| fact.split_once('=')) {
            match key.to_ascii_lowercase().as_str() {
                "type" => facts.kind = value,
                "size" => facts.size = value.parse().ok(),
                "modify" => facts.modify = time_value(value),
                _ => {}
            }
        }
        facts
    }

    fn is_the_directory(&self) -> bool {
        self.kind.eq_ignore_ascii_case("cdir") || self.kind.eq_ignore_ascii_case("pdir")
    }

    fn entry(&self, name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            size: self.size.unwrap_or(0),
            modified: self.modify,
            is_file: self.kind.eq_ignore_ascii_case("file"),
        }
    }
}

/// `20261120175553`, perhaps with parts of a second (RFC 3659, 2.3); always UTC.
fn time_value(text: &str) -> Option<DateTime<Utc>> {
    let whole = text.split('.').next().unwrap_or_default();
    Some(NaiveDateTime::parse_from_str(whole, "%Y%m%d%H%M%S").ok()?.and_utc())
}

fn unix(line: &str, now: DateTime<Utc>) -> Option<Entry> {
    let found = UNIX.as_ref()?.captures(line)?;
    let kind = &found["type"];
    let name = &found["name"];
    // Where the name of a link ends and its target begins cannot be known for certain; neither is ever touched.
    let name = if kind == "l" { name.split(" -> ").next().unwrap_or(name) } else { name };
    Some(Entry {
        name: name.to_owned(),
        size: found["size"].parse().ok()?,
        modified: unix_time(&found, now).map(|time| time.and_utc()),
        is_file: kind == "-",
    })
}

fn unix_time(found: &Captures<'_>, now: DateTime<Utc>) -> Option<NaiveDateTime> {
    let clock = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").ok();
    if let (Some(date), Some(time)) = (found.name("date"), found.name("clock")) {
        return Some(date.as_str().parse::<NaiveDate>().ok()?.and_time(clock(time.as_str())?));
    }
    let day = |year: i32| {
        NaiveDate::parse_from_str(&format!("{year} {} {}", &found["month"], &found["day"]), "%Y %b %d").ok()
    };
    match found.name("time") {
        None => Some(day(found["year"].parse().ok()?)?.and_time(NaiveTime::MIN)),
        Some(time) => {
            let time = clock(time.as_str())?;
            // The last day of that name; a day ahead may be the server's zone, or its clock.
            let latest = (now + Duration::days(1)).naive_utc();
            let years = [now.year() + 1, now.year(), now.year() - 1];
            years.into_iter().filter_map(|year| Some(day(year)?.and_time(time))).find(|moment| *moment <= latest)
        }
    }
}

fn dos(line: &str) -> Option<Entry> {
    let found = DOS.as_ref()?.captures(line)?;
    let number = |name: &str| found[name].parse::<u32>().ok();
    let year = number("year").map(|year| if year < 100 { year + if year < 70 { 2000 } else { 1900 } } else { year })?;
    let hour = match (found.name("half").map(|half| half.as_str()), number("hour")?) {
        (Some("AM"), 12) => 0,
        (Some("PM"), hour) if hour < 12 => hour + 12,
        (_, hour) => hour,
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, number("month")?, number("day")?);
    let time = NaiveTime::from_hms_opt(hour, number("minute")?, 0);
    Some(Entry {
        name: found["name"].to_owned(),
        size: found.name("size").map_or(Some(0), |size| size.as_str().parse().ok())?,
        modified: date.zip(time).map(|(date, time)| date.and_time(time).and_utc()),
        is_file: found.name("size").is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-20T18:00:00Z".parse().unwrap()
    }

    fn one(line: &str) -> (String, u64, String, bool) {
        let mut listing = of_list(line.as_bytes(), now()).unwrap_or_else(|line| panic!("not understood: {line}"));
        assert_eq!(listing.entries.len(), 1, "{line}");
        let entry = listing.entries.remove(0);
        let modified = entry.modified.map(|time| time.format("%Y-%m-%d %H:%M").to_string());
        (entry.name, entry.size, modified.unwrap_or_default(), entry.is_file)
    }

    fn is(line: &str, name: &str, size: u64, modified: &str, is_file: bool) {
        assert_eq!(one(line), (name.to_owned(), size, modified.to_owned(), is_file), "{line}");
    }

    #[test]
    fn lines_of_unix_servers() {
        // vsftpd, proftpd, pure-ftpd, pyftpdlib; GNU ls with ISO dates; an owner with a blank; none.
        is("-rw-------    1 999      995            20 Nov 20 17:55 a b.tgz", "a b.tgz", 20, "2026-11-20 17:55", true);
        is(
            "-rw-r--r--   1 archive  users    12345678901 Sep 13  2020 x",
            "x",
            12_345_678_901,
            "2020-09-13 00:00",
            true,
        );
        is("-rw-r--r--+  1 u g 5 Dec 31 23:59 x", "x", 5, "2025-12-31 23:59", true);
        is("-rw-r--r-- 1 u g 5 2026-11-19 08:15 x", "x", 5, "2026-11-19 08:15", true);
        is("-rw-r--r-- 1 u g 5 2026-11-19 08:15:59.123456789 +0100 x", "x", 5, "2026-11-19 08:15", true);
        is("-rw-rw-rw- 1 Domain Users DOM 5 Nov  2 17:55 x", "x", 5, "2026-11-02 17:55", true);
        is("-rw-rw-rw- 1 owner 5 Nov 2 7:05 x", "x", 5, "2026-11-02 07:05", true);
        is("drwxr-xr-x    3 0        0            4096 Nov 21 01:00 dir", "dir", 4096, "2026-11-21 01:00", false);
        is("lrwxrwxrwx    1 0 0 7 Nov 20 17:55 dangling -> no where", "dangling", 7, "2026-11-20 17:55", false);
        is("crw-rw-rw- 1 root root 1, 3 Nov 20 17:55 null", "null", 3, "2026-11-20 17:55", false);
        is("prw-rw-rw- 1 root root 0 Feb 29  2024 pipe", "pipe", 0, "2024-02-29 00:00", false);
    }

    #[test]
    fn names_are_taken_to_the_letter() {
        for name in
            [" leading and trailing ", "-rf", "1 Nov 20 17:55 x", "a -> b", "été", "\"q\"", "100% #1 a?b*c[d].tgz"]
        {
            is(&format!("-rw------- 1 9 9 22 Nov 20 17:55 {name}"), name, 22, "2026-11-20 17:55", true);
            let of = of_mlsd(format!("type=file;size=22;modify=20261120175500; {name}\r\n").as_bytes()).unwrap();
            assert_eq!(of[0].name, name);
        }
        let latin = of_list(b"-rw------- 1 9 9 1 Nov 20 17:55 latin-\xe9.tgz\r\n", now()).unwrap();
        assert_eq!(latin.entries[0].name, "latin-\u{fffd}.tgz");
    }

    #[test]
    fn lines_of_dos_servers() {
        is("11-20-26  05:55PM                   12 a b.tgz", "a b.tgz", 12, "2026-11-20 17:55", true);
        is("11-20-2026  12:05AM          9876543210 x", "x", 9_876_543_210, "2026-11-20 00:05", true);
        is("11-20-26  17:55       <DIR>          sub dir", "sub dir", 0, "2026-11-20 17:55", false);
        is("11-20-26  12:00PM       <SYMLINKD>   link", "link", 0, "2026-11-20 12:00", false);
    }

    #[test]
    fn a_whole_listing() {
        let text = b"total 12\r\ndrwxr-xr-x 3 0 0 4096 Nov 20 17:55 .\r\ndrwxr-xr-x 3 0 0 4096 Nov 20 17:55 ..\r\n\
                     -rw-r--r-- 1 0 0 1 Nov 20 17:55 new\r\nline\r\n-rw-r--r-- 1 0 0 1 Nov 20 17:55 last\r\n";
        let listing = of_list(text, now()).unwrap();
        assert!(listing.shows_hidden);
        assert_eq!(listing.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["new\nline", "last"]);
        let empty = Listing { entries: Vec::new(), shows_hidden: false };
        assert_eq!(of_list(b"", now()), Ok(empty));
        assert_eq!(of_list(b"/bin/ls: cannot open\r\n", now()), Err("/bin/ls: cannot open".to_owned()));
        assert_eq!(
            of_mlsd(b"-rw-r--r-- 1 0 0 1 Nov 20 17:55 x\r\n").unwrap_err().split(' ').next(),
            Some("-rw-r--r--")
        );
    }

    #[test]
    fn facts_of_mlsd_and_mlst() {
        let text = b"type=cdir;modify=20261120175553;perm=el; .\r\nType=pdir; ..\r\nTYPE=File;SIZE=7;Modify=20261120175553.123; x y\r\n\
                     type=dir;modify=20261120175553; sub\r\ntype=OS.unix=slink:/nowhere;size=7; dangling\r\n";
        let entries = of_mlsd(text).unwrap();
        let shown: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.size, entry.is_file)).collect();
        assert_eq!(shown, [("x y", 7, true), ("sub", 0, false), ("dangling", 7, false)]);
        assert_eq!(entries[0].modified, Some("2026-11-20T17:55:53Z".parse().unwrap()));
        assert_eq!(
            of_mlst("type=file;size=7;modify=20261120175553; /data/x y", "x y").as_ref(),
            Some(&Entry { name: "x y".into(), ..entries[0].clone() })
        );
        assert_eq!(of_mlst("250 End", "x"), None);
    }
}
