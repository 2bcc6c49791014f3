//! The time zone where the config names none: `TZ` in every form that the C library takes (POSIX.1-2024, 8.3; tzset(3)), else
//! what the machine is set to.

use std::fs;
use std::path::Path;

use chrono::{DateTime, Duration, Offset as _, TimeZone as _, Utc};
use chrono_tz::{OffsetName as _, TZ_VARIANTS, Tz};

/// Of several zones with the same rule, one that people know.
const WELL_KNOWN: [Tz; 8] = [
    Tz::Etc__UTC,
    Tz::Europe__Paris,
    Tz::Europe__London,
    Tz::Europe__Lisbon,
    Tz::Europe__Athens,
    Tz::America__New_York,
    Tz::America__Chicago,
    Tz::America__Los_Angeles,
];

/// The zone that a value of `TZ` stands for: `Area/City`, a path, a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`, each with or
/// without a `:` before it; empty is UTC. `None` if it stands for none: then the C library takes UTC without a word.
pub(super) fn zone_of(value: &str, machine: Option<Tz>) -> Option<Tz> {
    let value = value.strip_prefix(':').unwrap_or(value);
    if value.is_empty() {
        return Some(Tz::UTC);
    }
    if value == "/etc/localtime" {
        return machine.or_else(|| zone_of_file(Path::new(value)));
    }
    named(value).or_else(|| match value.starts_with('/') {
        true => zone_of_file(Path::new(value)),
        false => zone_of_rule(value, Utc::now()),
    })
}

/// The zone of a file in the zone database, or of a copy of one.
pub(super) fn zone_of_file(path: &Path) -> Option<Tz> {
    if let Some(zone) = fs::canonicalize(path).ok().and_then(|path| named(path.to_str()?)) {
        return Some(zone);
    }
    // The rule for the future stands in the last line (TZif version 2 and later, RFC 9636 §3.3).
    let file = fs::read(path).ok().filter(|file| file.starts_with(b"TZif"))?;
    let last = file.strip_suffix(b"\n")?.rsplit(|byte| *byte == b'\n').next()?;
    zone_of_rule(std::str::from_utf8(last).ok()?, Utc::now())
}

/// A name, also at the end of a path.
fn named(value: &str) -> Option<Tz> {
    let name = value.rsplit_once("zoneinfo/").map_or(value, |(_, name)| name);
    let name = name.strip_prefix("posix/").or_else(|| name.strip_prefix("right/")).unwrap_or(name);
    name.parse().ok()
}

/// A known zone that keeps a rule from now on; those whose abbreviations are the rule's come first.
fn zone_of_rule(rule: &str, now: DateTime<Utc>) -> Option<Tz> {
    let rule = jiff::tz::TimeZone::posix(rule).ok()?;
    let expected = |at: DateTime<Utc>| {
        let at = jiff::Timestamp::from_second(at.timestamp()).ok()?;
        Some((rule.to_offset(at).seconds(), rule.to_offset_info(at).abbreviation().to_owned()))
    };
    // Every day of two years, and both sides of every change.
    let hours: Vec<DateTime<Utc>> = (0..2 * 366 * 24).map(|hour| now + Duration::hours(hour)).collect();
    let mut moments: Vec<_> = hours.iter().step_by(24).copied().collect();
    for pair in hours.windows(2) {
        let (mut before, mut after) = (pair[0], pair[1]);
        if expected(before)?.0 != expected(after)?.0 {
            while after - before > Duration::seconds(1) {
                let middle = before + (after - before) / 2;
                if expected(middle)?.0 == expected(before)?.0 { before = middle } else { after = middle }
            }
            moments.extend([before, after]);
        }
    }
    let expected: Vec<(i32, String)> = moments.iter().map(|at| expected(*at)).collect::<Option<_>>()?;
    let keeps = |zone: &&Tz, with_names: bool| {
        moments.iter().zip(&expected).all(|(at, (seconds, name))| {
            let offset = zone.offset_from_utc_datetime(&at.naive_utc());
            offset.fix().local_minus_utc() == *seconds && (!with_names || offset.abbreviation() == Some(name))
        })
    };
    let find = |with_names| WELL_KNOWN.iter().chain(&TZ_VARIANTS).find(|zone| keeps(zone, with_names)).copied();
    find(true).or_else(|| find(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_variable_is_understood() {
        let machine = Some(Tz::Europe__Zurich);
        for (value, zone) in [
            ("Europe/Paris", Tz::Europe__Paris),
            (":Europe/Paris", Tz::Europe__Paris),
            ("UTC", Tz::UTC),
            ("", Tz::UTC),
            (":", Tz::UTC),
            (":/etc/localtime", Tz::Europe__Zurich),
            ("/usr/share/zoneinfo/Asia/Tokyo", Tz::Asia__Tokyo),
            (":/usr/share/zoneinfo/posix/Asia/Tokyo", Tz::Asia__Tokyo),
            ("CET-1CEST,M3.5.0,M10.5.0/3", Tz::Europe__Paris),
            ("CET-1CEST-2,M3.5.0/02:00:00,M10.5.0/03:00:00", Tz::Europe__Paris),
            ("GMT0BST,M3.5.0/1,M10.5.0", Tz::Europe__London),
            ("WET0WEST,M3.5.0/1,M10.5.0", Tz::Europe__Lisbon),
            ("EET-2EEST,M3.5.0/3,M10.5.0/4", Tz::Europe__Athens),
            ("EST5EDT,M3.2.0,M11.1.0", Tz::America__New_York),
            ("UTC0", Tz::Etc__UTC),
        ] {
            assert_eq!(zone_of(value, machine), Some(zone), "{value}");
        }
    }

    #[test]
    fn a_rule_without_a_name_gets_a_zone_that_keeps_it() {
        let offset = |rule: &str| {
            let zone = zone_of(rule, None)?;
            Some(zone.offset_from_utc_datetime(&Utc::now().naive_utc()).fix().local_minus_utc())
        };
        assert_eq!(offset("<+03>-3"), Some(3 * 3600));
        assert_eq!(offset("IST-5:30"), Some(5 * 3600 + 1800));
        assert_eq!(offset("XYZ-1"), Some(3600));
    }

    #[test]
    fn what_stands_for_no_zone_is_none() {
        for value in
            ["nonsense", "Europe/Pariss", "/nowhere/at/all", "CET-1CEST,M1.1.0,M2.1.0", "XYZ-1:17", "Paris, France"]
        {
            assert_eq!(zone_of(value, None), None, "{value}");
        }
    }

    #[test]
    fn a_copy_of_a_zone_file_is_known_by_its_rule() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("localtime");
        // A header, and the footer that counts.
        fs::write(&copy, b"TZif2\0\0\0\0\nCET-1CEST,M3.5.0,M10.5.0/3\n").unwrap();
        assert_eq!(zone_of(copy.to_str().unwrap(), None), Some(Tz::Europe__Paris));
        fs::write(&copy, b"no zone").unwrap();
        assert_eq!(zone_of(copy.to_str().unwrap(), None), None);
    }
}
