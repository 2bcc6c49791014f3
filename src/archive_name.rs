//! The archive's name, `YYYYMMDD.tgz`, as a type: made from a date, read back from a listing, ordered.
//!
//! Whatever reads a listing decides here what is ours: a name counts only if [`NamePattern::name`] would have written it,
//! letter for letter. Dates come from names alone, never from a server's modification times. No I/O in here, and no clock.

use std::fmt;

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

/// Years an archive's name can hold.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;

/// Leaves room for the suffix and for the temporary name within the 255 bytes that file systems allow.
const MAX_PATTERN_BYTES: usize = 100;

/// A part of a pattern; each has a fixed width, so that a name can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Year,
    Month,
    Day,
}

impl Piece {
    fn width(&self) -> usize {
        match self {
            Piece::Literal(text) => text.len(),
            Piece::Year => 4,
            Piece::Month | Piece::Day => 2,
        }
    }
}

/// The pattern of `archive.name`, for example `%Y%m%d.tgz`, which is the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    text: String,
    stem: Vec<Piece>,
    /// `.tgz` or `.tar.gz`.
    extension: &'static str,
}

impl Default for NamePattern {
    fn default() -> Self {
        NamePattern { text: "%Y%m%d.tgz".into(), stem: vec![Piece::Year, Piece::Month, Piece::Day], extension: ".tgz" }
    }
}

impl NamePattern {
    /// Reads a pattern: `%Y`, `%m` and `%d` once each, in any order, amid letters, digits, `.`, `_` and `-`; then `.tgz` or
    /// `.tar.gz`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let extension = [".tgz", ".tar.gz"]
            .into_iter()
            .find(|extension| text.ends_with(extension))
            .ok_or_else(|| format!("`{text}` must end in `.tgz` or `.tar.gz`"))?;
        if text.starts_with(['.', '-']) {
            // A dot hides the file and marks our temporary names; a dash reads as an option to `tar` and `rm`.
            return Err(format!("`{text}` must not start with a dot or a dash"));
        }
        if text.len() > MAX_PATTERN_BYTES {
            return Err(format!("`{text}` is longer than {MAX_PATTERN_BYTES} bytes"));
        }
        let stem = pieces(text, &text[..text.len() - extension.len()])?;
        for (piece, written) in [(Piece::Year, "%Y"), (Piece::Month, "%m"), (Piece::Day, "%d")] {
            match stem.iter().filter(|&other| *other == piece).count() {
                1 => {}
                0 => return Err(format!("`{text}` lacks `{written}`: write for example `%Y%m%d.tgz`")),
                _ => return Err(format!("`{text}` holds `{written}` more than once")),
            }
        }
        if let Some(Piece::Literal(last)) = stem.last()
            && let Some((_, digits)) = last.rsplit_once('-')
            && !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(format!("`{text}` must not end in `-{digits}`: a second archive of a day is named that way"));
        }
        Ok(NamePattern { text: text.into(), stem, extension })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the archive of a date: serial 1 (or 0) gives `20261120.tgz`, 2 gives `20261120-2.tgz`.
    ///
    /// Names of years outside 1970 to 9999 are never read back as ours.
    pub fn name(&self, date: NaiveDate, serial: u32) -> ArchiveName {
        let serial = serial.max(1);
        let mut text = String::new();
        for piece in &self.stem {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Year => text.push_str(&format!("{:04}", date.year())),
                Piece::Month => text.push_str(&format!("{:02}", date.month())),
                Piece::Day => text.push_str(&format!("{:02}", date.day())),
            }
        }
        if serial > 1 {
            text.push_str(&format!("-{serial}"));
        }
        text.push_str(self.extension);
        ArchiveName { date, serial, text }
    }

    /// Reads a file's name; `None` unless [`Self::name`] would have written exactly this one.
    pub fn parse_name(&self, text: &str) -> Option<ArchiveName> {
        let mut rest = text.strip_suffix(self.extension)?;
        let (mut year, mut month, mut day) = (0, 0, 0);
        for piece in &self.stem {
            let (here, after) = rest.split_at_checked(piece.width())?;
            rest = after;
            match piece {
                // Compared below, with everything else.
                Piece::Literal(_) => {}
                Piece::Year => year = here.parse().ok()?,
                Piece::Month => month = here.parse().ok()?,
                Piece::Day => day = here.parse().ok()?,
            }
        }
        let serial = match rest.strip_prefix('-') {
            Some(digits) => digits.parse().ok()?,
            None => 1,
        };
        let date = NaiveDate::from_ymd_opt(year, month, day).filter(|_| YEARS.contains(&year))?;
        // Writing it again refuses `-1`, `-02`, `+2`, other literals and whatever follows, all at once.
        Some(self.name(date, serial)).filter(|name| name.text == text)
    }

    /// The archive that a job's temporary file belongs to; `None` for every file that is not this job's leftover.
    pub fn parse_part_name(&self, job: &str, file_name: &str) -> Option<ArchiveName> {
        let archive = file_name.strip_prefix('.')?.strip_suffix(&part_suffix(job))?;
        // That of a sidecar counts as the archive's too.
        self.parse_name(archive.strip_suffix(".sha256").unwrap_or(archive))
    }
}

/// Splits a pattern's stem; `pattern` is the whole, for messages.
fn pieces(pattern: &str, stem: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut chars = stem.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => pieces.push(match chars.next() {
                Some('Y') => Piece::Year,
                Some('m') => Piece::Month,
                Some('d') => Piece::Day,
                Some(other) => {
                    return Err(format!("`{pattern}` holds `%{other}`: only `%Y`, `%m` and `%d` are known"));
                }
                None => return Err(format!("`{pattern}` holds a lone `%`: only `%Y`, `%m` and `%d` are known")),
            }),
            c if c.is_ascii_alphanumeric() || "._-".contains(c) => match pieces.last_mut() {
                Some(Piece::Literal(literal)) => literal.push(c),
                _ => pieces.push(Piece::Literal(c.into())),
            },
            other => {
                return Err(format!(
                    "`{}` holds `{}`: only letters without accents, digits, `.`, `_` and `-` are allowed",
                    pattern.escape_debug(),
                    other.escape_debug()
                ));
            }
        }
    }
    Ok(pieces)
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.text
    }
}

impl TryFrom<String> for NamePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        NamePattern::parse(&text)
    }
}

/// The name of an archive, made by a [`NamePattern`] only: a bare file name, never a path. Ordered by date, then serial.
///
/// Serialised as its text; to read that back takes the pattern, [`NamePattern::parse_name`]. [`stored`] is for our own files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct ArchiveName {
    date: NaiveDate,
    serial: u32,
    text: String,
}

impl ArchiveName {
    /// The civil day it was made for, in the job's time zone.
    pub fn date(&self) -> NaiveDate {
        self.date
    }

    /// 1 for the first archive of its day, which has no suffix; 2 for `20261120-2.tgz`.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The file's name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the file beside it that holds its SHA-256: `20261120.tgz.sha256`.
    pub fn sidecar(&self) -> String {
        format!("{}.sha256", self.text)
    }

    /// The temporary name of the sidecar, as [`Self::part_name`] is the archive's.
    pub fn sidecar_part_name(&self, job: &str) -> String {
        format!(".{}{}", self.sidecar(), part_suffix(job))
    }

    /// The temporary name under which a job uploads it: `.20261120.tgz.boutique.part`. It can never be an archive's name.
    ///
    /// A job's name may hold anything: what is neither letter, digit, `.`, `_` nor `-` is written as `=` and two hex digits.
    pub fn part_name(&self, job: &str) -> String {
        format!(".{}{}", self.text, part_suffix(job))
    }
}

/// For `#[serde(with = "archive_name::stored")]`: a name with its parts, so that our own files can be read back without the pattern.
pub mod stored {
    use chrono::NaiveDate;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::ArchiveName;

    #[derive(Serialize, Deserialize)]
    struct Stored {
        text: String,
        date: NaiveDate,
        serial: u32,
    }

    /// Writes text, date and serial.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(name: &ArchiveName, serializer: S) -> Result<S::Ok, S::Error> {
        Stored { text: name.text.clone(), date: name.date, serial: name.serial }.serialize(serializer)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// Those of the deserializer, and for a text that is a path.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ArchiveName, D::Error> {
        let Stored { text, date, serial } = Stored::deserialize(deserializer)?;
        if text.is_empty() || text.starts_with('.') || text.contains(['/', '\0']) {
            return Err(D::Error::custom(format!("`{text}` is no archive's name")));
        }
        Ok(ArchiveName { date, serial, text })
    }
}

/// `.boutique.part`; different for different jobs, and free of `/`.
fn part_suffix(job: &str) -> String {
    let mut suffix = String::from(".");
    for byte in job.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => suffix.push(byte.into()),
            other => suffix.push_str(&format!("={other:02X}")),
        }
    }
    suffix + ".part"
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl From<ArchiveName> for String {
    fn from(name: ArchiveName) -> Self {
        name.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(year: i32, month: u32, day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(year, month, day).unwrap()
    }

    #[test]
    fn the_suffix_of_a_second_archive_stands_before_the_extension() {
        let pattern = NamePattern::default();
        assert_eq!(pattern.name(day(2026, 11, 20), 1).as_str(), "20261120.tgz");
        assert_eq!(pattern.name(day(2026, 11, 20), 2).as_str(), "20261120-2.tgz");
        let pattern = NamePattern::parse("shop_%d-%m-%Y.v1.tar.gz").unwrap();
        assert_eq!(pattern.name(day(2026, 11, 20), 10).as_str(), "shop_20-11-2026.v1-10.tar.gz");
        assert_eq!(pattern.name(day(2026, 11, 20), 1).sidecar(), "shop_20-11-2026.v1.tar.gz.sha256");
    }

    #[test]
    fn the_default_is_what_its_text_says() {
        assert_eq!(NamePattern::parse("%Y%m%d.tgz"), Ok(NamePattern::default()));
    }

    #[test]
    fn a_pattern_that_could_confuse_is_refused_with_the_reason() {
        let messages: Vec<String> = [
            "%Y%m%d.zip",
            ".%Y%m%d.tgz",
            "-%Y%m%d.tgz",
            "%Y%m.tgz",
            "backup.tgz",
            "%Y%m%d%d.tgz",
            "%Y%m%d%H.tgz",
            "%Y%m%d%.tgz",
            "a/%Y%m%d.tgz",
            "é%Y%m%d.tgz",
            "%Y%m%d\n.tgz",
            "%Y%m%d-2.tgz",
            &format!("{}%Y%m%d.tgz", "a".repeat(100)),
        ]
        .map(|text| NamePattern::parse(text).unwrap_err())
        .into();
        insta::assert_snapshot!(messages.join("\n"), @r"
        `%Y%m%d.zip` must end in `.tgz` or `.tar.gz`
        `.%Y%m%d.tgz` must not start with a dot or a dash
        `-%Y%m%d.tgz` must not start with a dot or a dash
        `%Y%m.tgz` lacks `%d`: write for example `%Y%m%d.tgz`
        `backup.tgz` lacks `%Y`: write for example `%Y%m%d.tgz`
        `%Y%m%d%d.tgz` holds `%d` more than once
        `%Y%m%d%H.tgz` holds `%H`: only `%Y`, `%m` and `%d` are known
        `%Y%m%d%.tgz` holds a lone `%`: only `%Y`, `%m` and `%d` are known
        `a/%Y%m%d.tgz` holds `/`: only letters without accents, digits, `.`, `_` and `-` are allowed
        `é%Y%m%d.tgz` holds `é`: only letters without accents, digits, `.`, `_` and `-` are allowed
        `%Y%m%d\n.tgz` holds `\n`: only letters without accents, digits, `.`, `_` and `-` are allowed
        `%Y%m%d-2.tgz` must not end in `-2`: a second archive of a day is named that way
        `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%Y%m%d.tgz` is longer than 100 bytes
        ");
    }

    #[test]
    fn only_what_we_would_have_written_is_ours() {
        let pattern = NamePattern::default();
        for ours in ["20261120.tgz", "20261120-2.tgz", "20240229.tgz", "19700101.tgz", "99991231-4294967295.tgz"] {
            assert_eq!(pattern.parse_name(ours).map(|name| name.to_string()).as_deref(), Some(ours));
        }
        for foreign in [
            "",
            ".tgz",
            "20261120",
            "20261120.tgz ",
            " 20261120.tgz",
            "20261120.tgz.sha256",
            "20261120.TGZ",
            "20261120.tar.gz",
            ".20261120.tgz",
            ".20261120.tgz.shop.part",
            "20261120-0.tgz",
            "20261120-1.tgz",
            "20261120-02.tgz",
            "20261120-+2.tgz",
            "20261120--2.tgz",
            "20261120-.tgz",
            "20261120-2-3.tgz",
            "20261120-4294967296.tgz",
            "20261120_2.tgz",
            "20261120x.tgz",
            "20260229.tgz",
            "20261301.tgz",
            "20261100.tgz",
            "19691231.tgz",
            "00000101.tgz",
            "+2261120.tgz",
            "2026+1+1.tgz",
            "2026112.tgz",
            "202611200.tgz",
            "shop-20261120.tgz",
            "2026é120.tgz",
            "日本語.tgz",
        ] {
            assert_eq!(pattern.parse_name(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn literal_text_must_match_too() {
        let pattern = NamePattern::parse("shop-%Y%m%d.tgz").unwrap();
        assert!(pattern.parse_name("shop-20261120.tgz").is_some());
        assert!(pattern.parse_name("shop_20261120.tgz").is_none());
        assert!(pattern.parse_name("Shop-20261120.tgz").is_none());
    }

    #[test]
    fn archives_are_ordered_by_day_then_serial_however_the_date_is_written() {
        let pattern = NamePattern::parse("%d%m%Y.tgz").unwrap();
        let mut names: Vec<ArchiveName> = ["01122026.tgz", "31012026-10.tgz", "31012026-2.tgz", "31012026.tgz"]
            .map(|text| pattern.parse_name(text).unwrap())
            .into();
        names.sort();
        let names: Vec<&str> = names.iter().map(ArchiveName::as_str).collect();
        assert_eq!(names, ["31012026.tgz", "31012026-2.tgz", "31012026-10.tgz", "01122026.tgz"]);
    }

    #[test]
    fn a_part_belongs_to_its_own_job_only() {
        let pattern = NamePattern::default();
        let name = pattern.name(day(2026, 11, 20), 2);
        assert_eq!(name.part_name("shop"), ".20261120-2.tgz.shop.part");
        assert_eq!(pattern.parse_part_name("shop", ".20261120-2.tgz.shop.part"), Some(name.clone()));
        assert_eq!(pattern.parse_part_name("shop", &name.sidecar_part_name("shop")), Some(name.clone()));
        assert_eq!(pattern.parse_part_name("hop", ".20261120-2.tgz.shop.part"), None);
        assert_eq!(pattern.parse_part_name("op", ".20261120-2.tgz.sh.op.part"), None);
        assert_eq!(pattern.parse_part_name("shop", "20261120-2.tgz.shop.part"), None);
        assert_eq!(pattern.parse_part_name("shop", ".20261120-2.tgz.shop.part2"), None);
        assert_eq!(pattern.parse_part_name("shop", ".20261120-1.tgz.shop.part"), None);
        assert_eq!(pattern.parse_part_name("shop", ".tgz"), None);
        assert_eq!(name.part_name("../é =x"), ".20261120-2.tgz...=2F=C3=A9=20=3Dx.part");
    }

    #[test]
    fn names_travel_as_text() {
        let name = NamePattern::default().name(day(2026, 11, 20), 1);
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"20261120.tgz\"");
        assert_eq!(serde_json::to_string(&NamePattern::default()).unwrap(), "\"%Y%m%d.tgz\"");
        assert_eq!(serde_json::from_str::<NamePattern>("\"%Y%m%d.tgz\"").unwrap(), NamePattern::default());
        assert!(serde_json::from_str::<NamePattern>("\"%Y.tgz\"").is_err());
        assert_eq!(format!("{name:>14}|"), "  20261120.tgz|");
    }

    proptest! {
        #[test]
        fn every_name_is_read_back_and_its_part_never_is(
            prefix in "[A-Za-z0-9][A-Za-z0-9._-]{0,5}",
            middle in "[A-Za-z0-9._-]{0,3}",
            suffix in "(\\.tgz|\\.tar\\.gz|[A-Za-z0-9._]{1,3}\\.tgz)",
            days in 0..2_900_000_i64,
            serial in 1..u32::MAX,
            job in ".{0,12}",
        ) {
            let pattern = NamePattern::parse(&format!("{prefix}%d{middle}%Y%m{suffix}")).unwrap();
            let name = pattern.name(day(1970, 1, 1) + chrono::Duration::days(days), serial);
            prop_assert_eq!(pattern.parse_name(name.as_str()), Some(name.clone()));
            let part = name.part_name(&job);
            prop_assert!(pattern.parse_name(&part).is_none());
            prop_assert!(!part.contains('/') && part.is_ascii());
            prop_assert_eq!(pattern.parse_part_name(&job, &part), Some(name.clone()));
            prop_assert!(pattern.parse_name(&name.sidecar()).is_none());
        }

        #[test]
        fn no_text_is_too_strange_to_be_looked_at(text in ".{0,20}") {
            let _ = NamePattern::parse(&text);
            let _ = NamePattern::default().parse_name(&text);
            let _ = NamePattern::default().parse_part_name("shop", &text);
        }
    }
}
