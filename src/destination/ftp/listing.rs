//! What a directory holds, from the three forms in which servers say it.
//!
//! `MLSD` (RFC 3659) is exact: type, size, time in UTC, then the name to the end of the line. `LIST` is for people: what
//! `ls -l` prints, or what DOS printed. Its times have no seconds and no zone, often no year: good for telling whether
//! something has changed, and for nothing else. The crate's own parser of these lines drops the blanks that names begin with
//! and knows neither devices nor owners with blanks.

use std::sync::LazyLock;

use chrono::{DateTime, Datelike as _, Duration, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use regex::{Captures, Regex};

use crate::destination::limits::{Listing, MAX_NAME_BYTES};
use crate::destination::{DestinationError, Entry, ErrorKind};
use crate::text;
use crate::text::{MAX_LINE_CHARS, quote};

/// The longest line: a name, and what is said about it.
const MAX_LINE_BYTES: usize = 2 * MAX_NAME_BYTES;

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

/// How a listing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The answer to `MLSD`.
    Facts,
    /// The answer to `LIST`.
    ForPeople,
}

/// A listing that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) entries: Vec<Entry>,
    /// The directory itself was in it: names that begin with a dot are not left out.
    pub(super) shows_hidden: bool,
}

/// Reads a listing while it comes, so that one without an end is noticed before it is held in memory.
pub(super) struct Reader {
    form: Form,
    now: DateTime<Utc>,
    /// What came of a line.
    line: Vec<u8>,
    is_first: bool,
    /// The entry before, whose name may go on in the next line.
    last: Option<Entry>,
    shows_hidden: bool,
    listing: Listing,
}

impl Reader {
    pub(super) fn new(form: Form, now: DateTime<Utc>) -> Self {
        let listing = Listing::new();
        Reader { form, now, line: Vec::new(), is_first: true, last: None, shows_hidden: false, listing }
    }

    /// Takes what came.
    ///
    /// # Errors
    /// `Other` for a line that is no entry, and for a listing, a line or a name that is too long.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), DestinationError> {
        self.listing.received(bytes.len())?;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() > MAX_LINE_BYTES {
                let line = String::from_utf8_lossy(&self.line);
                return Err(garbled(&format!("{line}{}", String::from_utf8_lossy(&piece[..piece.len().min(1024)]))));
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// All has come.
    pub(super) fn finish(mut self) -> Result<Listed, DestinationError> {
        self.end_line()?;
        self.end_entry()?;
        Ok(Listed { entries: self.listing.finish(), shows_hidden: self.shows_hidden })
    }

    fn end_line(&mut self) -> Result<(), DestinationError> {
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text));
        // There are empty ones at the end of some listings.
        if !text.is_empty() {
            match self.form {
                Form::Facts => self.facts(&text)?,
                Form::ForPeople => self.for_people(&text)?,
            }
            self.is_first = false;
        }
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn facts(&mut self, line: &str) -> Result<(), DestinationError> {
        let Some((facts, name)) = line.split_once(' ').filter(|(facts, _)| facts.is_empty() || facts.contains('='))
        else {
            return Err(garbled(line));
        };
        let facts = Facts::of(facts);
        if !facts.is_the_directory() && name != "." && name != ".." {
            self.listing.push(facts.entry(name))?;
        }
        Ok(())
    }

    fn for_people(&mut self, line: &str) -> Result<(), DestinationError> {
        if let Some(entry) = unix(line, self.now).or_else(|| dos(line)) {
            self.end_entry()?;
            self.last = Some(entry);
        } else if self.is_first && line.strip_prefix("total ").is_some_and(|blocks| blocks.parse::<u64>().is_ok()) {
            // `ls -l` begins with that.
        } else if let Some(entry) = &mut self.last {
            // Names may hold line ends.
            entry.name.push('\n');
            entry.name.push_str(line);
            if entry.name.len() > MAX_NAME_BYTES {
                return Err(garbled(line));
            }
        } else {
            return Err(garbled(line));
        }
        Ok(())
    }

    fn end_entry(&mut self) -> Result<(), DestinationError> {
        match self.last.take() {
            Some(entry) if entry.name == "." => self.shows_hidden = true,
            Some(entry) if entry.name != ".." => self.listing.push(entry)?,
            _ => {}
        }
        Ok(())
    }
}

/// pure-ftpd lists 10000 files, unless told otherwise, and says no more about it than this.
pub(super) fn truncated(answer: &str) -> DestinationError {
    let quoted = quote(answer, MAX_LINE_CHARS);
    let error = DestinationError::new(
        ErrorKind::Other,
        format!("the server left out a part of the listing: it answered `{quoted}`"),
    );
    error.with_hint(text!(
        "give the archives a directory of their own, or let the server list more files (pure-ftpd: `LimitRecursion`)"
            / "donnez aux archives un répertoire qui leur soit propre, ou laissez le serveur lister plus de fichiers (pure-ftpd : `LimitRecursion`)"
    ))
}

fn garbled(line: &str) -> DestinationError {
    let quoted = quote(line, MAX_LINE_CHARS);
    DestinationError::new(ErrorKind::Other, format!("a line of the listing is not understood: `{quoted}`"))
}

/// Reads the line of an answer to `MLST` about `name`.
pub(super) fn of_mlst(line: &str, name: &str) -> Option<Entry> {
    let facts = line.trim_start().split(' ').next().filter(|facts| facts.contains('='))?;
    Some(Facts::of(facts).entry(name))
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

    fn read(form: Form, text: &[u8]) -> Result<Listed, String> {
        let mut reader = Reader::new(form, now());
        // In two pieces: a line may be cut anywhere.
        let (one, other) = text.split_at(text.len() / 2);
        let read = reader.read(one).and_then(|()| reader.read(other)).and_then(|()| reader.finish());
        read.map_err(|error| error.to_string())
    }

    fn of_list(text: &[u8]) -> Result<Listed, String> {
        read(Form::ForPeople, text)
    }

    fn of_mlsd(text: &[u8]) -> Result<Vec<Entry>, String> {
        read(Form::Facts, text).map(|listed| listed.entries)
    }

    fn one(line: &str) -> (String, u64, String, bool) {
        let mut listing = of_list(line.as_bytes()).unwrap();
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
        let latin = of_list(b"-rw------- 1 9 9 1 Nov 20 17:55 latin-\xe9.tgz\r\n").unwrap();
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
        let listing = of_list(text).unwrap();
        assert!(listing.shows_hidden);
        assert_eq!(listing.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["new\nline", "last"]);
        assert_eq!(of_list(b""), Ok(Listed { entries: Vec::new(), shows_hidden: false }));
        assert!(of_list(b"/bin/ls: cannot open\r\n").unwrap_err().ends_with("not understood: `/bin/ls: cannot open`"));
        assert!(of_mlsd(b"-rw-r--r-- 1 0 0 1 Nov 20 17:55 x\r\n").unwrap_err().contains("`-rw-r--r-- "));
    }

    #[test]
    fn lines_without_end_are_neither_held_nor_quoted() {
        let first = b"-rw-r--r-- 1 0 0 1 Nov 20 17:55 x\r\n";
        for more in [b"\n\n\nab\n".repeat(1 << 17), vec![b'\x1b'; 4 << 20], b"ab\n".repeat(1 << 20)] {
            let error = of_list(&[&first[..], &more].concat()).unwrap_err();
            assert!(error.len() < 2500 && !error.contains('\x1b'), "{} bytes: {error}", error.len());
        }
        assert!(of_mlsd(&b"size=1;".repeat(1 << 20)).unwrap_err().len() < 2500);
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
