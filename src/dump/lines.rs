//! Shapes of single lines that several parts of this module look for. Pure functions, no state.

/// The line without its line end, be it `\n` or `\r\n`.
pub(super) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

pub(super) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Whether `text` fits `shape`, in which `9` stands for any digit and `8` for a digit or a space.
fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, shape)| match shape {
            b'9' => byte.is_ascii_digit(),
            b'8' => byte.is_ascii_digit() || *byte == b' ',
            other => byte == other,
        })
}

/// Whether a last line holds the time of the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dated {
    /// `-- Dump completed on 2026-11-20 13:17:04`; MySQL pads the hour with a space.
    Yes,
    /// `-- Dump completed`, with `--skip-dump-date`.
    No,
}

/// The end marker of mysqldump and mariadb-dump; a date that is not whole is none.
pub(super) fn dump_completed(line: &[u8]) -> Option<Dated> {
    let rest = trim_line_end(line).strip_prefix(b"-- Dump completed")?;
    match rest.strip_prefix(b" on ") {
        Some(date) => has_shape(date, b"9999-99-99 89:99:99").then_some(Dated::Yes),
        None => rest.is_empty().then_some(Dated::No),
    }
}

/// The time as C's `ctime` writes it: `Fri Nov 20 01:00:03 2026`.
pub(super) fn is_ctime(text: &[u8]) -> bool {
    let text = trim_line_end(text);
    text.len() == 24
        && text[..7]
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 3 { *byte == b' ' } else { byte.is_ascii_alphabetic() })
        && has_shape(&text[7..], b" 89 99:99:99 9999")
}

/// Adminer's last line, `-- 2026-11-20 01:00:03`; since version 5 with the zone, ` UTC`.
pub(super) fn is_adminer_time(line: &[u8]) -> bool {
    let Some(time) = trim_line_end(line).strip_prefix(b"-- ") else { return false };
    let Some((time, zone)) = time.split_at_checked(19) else { return false };
    has_shape(time, b"9999-99-99 99:99:99") && (zone.is_empty() || zone == b" UTC")
}

/// The text of a comment line without its marks; `None` for what is no comment line.
pub(super) fn comment_text(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    let text = line.strip_prefix(b"--").or_else(|| line.strip_prefix(b"#"));
    let text = text.or_else(|| line.strip_prefix(b"/*").filter(|rest| !is_versioned(rest)));
    Some(text?.trim_ascii_start())
}

/// After `/*`: code of MySQL or MariaDB, `/*! … */` or `/*M! … */`.
fn is_versioned(rest: &[u8]) -> bool {
    rest.starts_with(b"!") || rest.starts_with(b"M!")
}

/// Whether this is pg_dump's `-- Started on …` or `-- Completed on …`, as `what` says (`Started`, `Completed`).
/// The name of the time zone that follows comes from the system and is not looked at.
pub(super) fn is_pg_time(line: &[u8], what: &str) -> bool {
    trim_line_end(line)
        .strip_prefix(b"-- ")
        .and_then(|rest| rest.strip_prefix(what.as_bytes()))
        .and_then(|rest| rest.strip_prefix(b" on "))
        .is_some_and(|rest| rest.get(..19).is_some_and(|date| has_shape(date, b"9999-99-99 99:99:99")))
}

/// The token of a psql line `\restrict TOKEN` or `\unrestrict TOKEN`, as `command` says.
///
/// pg_dump makes 63 random letters and digits; `--restrict-key` allows any alphanumerics. The callers look for it only where
/// no data can stand: in the preamble, and with the token that is open.
pub(super) fn restrict_token<'a>(line: &'a [u8], command: &str) -> Option<&'a [u8]> {
    let token = trim_line_end(line).strip_prefix(b"\\")?.strip_prefix(command.as_bytes())?.strip_prefix(b" ")?;
    (!token.is_empty() && token.iter().all(u8::is_ascii_alphanumeric)).then_some(token)
}

/// Whether the text holds both a year and a time of day, in whatever language and order: a standalone group of four
/// digits, and `13:17`, `13.17` or `13h17`.
pub(super) fn holds_date_and_time(text: &[u8]) -> bool {
    let digit = |index: usize| text.get(index).is_some_and(u8::is_ascii_digit);
    let mut year = false;
    let mut time = false;
    let mut index = 0;
    while index < text.len() {
        let start = index;
        while digit(index) {
            index += 1;
        }
        match index - start {
            4 => year = true,
            1 | 2 if matches!(text.get(index), Some(b':' | b'.' | b'h')) => {
                time |= digit(index + 1) && digit(index + 2) && !digit(index + 3);
            }
            _ => {}
        }
        index = index.max(start + 1);
    }
    year && time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_marker_of_mysql_is_bare_or_has_a_whole_date() {
        use Dated::{No, Yes};
        for (line, expected) in [
            ("-- Dump completed on 2026-11-20 13:17:04\n", Some(Yes)),
            ("-- Dump completed on 2026-11-20  1:00:03\r\n", Some(Yes)),
            ("-- Dump completed\n", Some(No)),
            ("-- Dump completed on 2026-11-20 13:1", None),
            ("-- Dump completed on x", None),
            ("-- Dump completed on ", None),
            ("-- Dump complete", None),
            (" -- Dump completed", None),
        ] {
            assert_eq!(dump_completed(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn times_are_known_by_their_shape() {
        for (text, expected) in [
            ("Fri Nov 20 01:00:03 2026", true),
            ("Wed Jan  3 11:08:16 2018\r\n", true),
            ("Fri Nov 20 01:00:03 202", false),
            ("12: Nov 20 01:00:03 2026", false),
        ] {
            assert_eq!(is_ctime(text.as_bytes()), expected, "{text}");
        }
        for (line, expected) in [
            ("-- 2026-11-20 01:00:03\n", true),
            ("-- 2026-11-20 01:00:03 UTC\n", true),
            ("-- 2026-11-20 01:00:03 UT", false),
            ("-- 2026-11-20 01:00", false),
            ("2026-11-20 01:00:03", false),
        ] {
            assert_eq!(is_adminer_time(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_restrict_token_is_alphanumeric() {
        let token = "UvkeGGhTesmY5MVDr1pvhZsQrdX1gf7yDPKIQTxnwKppN75M2YFUkOihrlRScGL";
        let line = format!("\\restrict {token}\r\n");
        assert_eq!(restrict_token(line.as_bytes(), "restrict"), Some(token.as_bytes()));
        assert_eq!(restrict_token(line.as_bytes(), "unrestrict"), None);
        assert_eq!(restrict_token(b"\\restrict short\n", "restrict"), Some(&b"short"[..]));
        assert_eq!(restrict_token(b"\\restrict \n", "restrict"), None);
        assert_eq!(restrict_token(b"\\restrict abcdefghijklmnopqrstuv w\n", "restrict"), None);
    }

    #[test]
    fn a_date_with_a_time_is_seen_in_many_languages() {
        for text in [
            "Nov 20, 2026 at 01:00 AM",
            "ven. 20 nov. 2026 à 01:00",
            "2026-11-20 01:00:03",
            "2026 年 11 月 20 日 01:00",
            "20.11.2026 klo 01.00",
            "Lun 20 Nov 2026 13h05",
        ] {
            assert!(holds_date_and_time(text.as_bytes()), "{text}");
        }
        for text in ["10.11.19-MariaDB-0+deb12u1", "8.2.7", "localhost:3306", "01:00", "2026", ""] {
            assert!(!holds_date_and_time(text.as_bytes()), "{text}");
        }
    }
}
