//! What `rsync --list-only` prints, read back without guessing: a line that is not understood is an error.

use chrono::NaiveDateTime;

use crate::destination::limits::Listing;
use crate::destination::{DestinationError, Entry, ErrorKind};
use crate::text::{self, MAX_LINE_CHARS};

/// The entries of a listing made with `--no-human-readable --8-bit-output`, in UTC; `.`, the directory itself, is among them.
///
/// # Errors
/// For the first line that is not understood, and for a listing that is larger than any may be.
pub(super) fn entries(output: &[u8]) -> Result<Vec<Entry>, DestinationError> {
    let mut listing = Listing::new();
    for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let entry = entry(line).ok_or_else(|| {
            let line = text::quote(&String::from_utf8_lossy(line), MAX_LINE_CHARS);
            DestinationError::new(ErrorKind::Other, format!("rsync listed `{line}`"))
        })?;
        listing.push(entry)?;
    }
    Ok(listing.finish())
}

/// `-rw-r--r--          17 2026/11/20 01:00:00 the name`: one space, then the name, which may begin with more.
fn entry(line: &[u8]) -> Option<Entry> {
    let mut rest = line;
    let mut word = || {
        let begin = rest.iter().position(|byte| *byte != b' ')?;
        let end = begin + rest[begin..].iter().position(|byte| *byte == b' ')?;
        let word = std::str::from_utf8(&rest[begin..end]).ok()?;
        rest = &rest[end..];
        Some(word)
    };
    let (mode, size, date, time) = (word()?, word()?, word()?, word()?);
    let name = rest.strip_prefix(b" ")?;
    if mode.len() < 10 || name.is_empty() {
        return None;
    }
    // Before 3.1 the thousands were always separated.
    let size = size.replace(',', "").parse().ok()?;
    let modified = NaiveDateTime::parse_from_str(&format!("{date} {time}"), "%Y/%m/%d %H:%M:%S").ok()?;
    let name = String::from_utf8_lossy(&unescaped(name)).into_owned();
    Some(Entry { name, size, modified: Some(modified.and_utc()), is_file: mode.starts_with('-') })
}

/// rsync writes what is no character as `\#` and three octal digits, and so a backslash that looks like that.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        let escape = rest.strip_prefix(b"\\#").and_then(|rest| rest.get(..3));
        let byte = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match byte {
            Some(byte) => {
                plain.push(byte);
                rest = &rest[5..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_back_as_it_was() {
        let printed = b"drwxr-xr-x        4096 2026/11/20 18:25:05 .\n\
            -rw-r--r--     1,234,567 2026/11/20 18:25:05  leading and trailing \n\
            lrwxrwxrwx           7 2026/11/20 18:25:05 dangling\n\
            -rw-r--r--           1 2026/11/20 18:25:05 nl\\#012x \\#134#101 \\#9 \\# y\n";
        let found = entries(printed).unwrap();
        let shown: Vec<_> = found.iter().map(|entry| (entry.name.as_str(), entry.size, entry.is_file)).collect();
        assert_eq!(
            shown,
            [
                (".", 4096, false),
                (" leading and trailing ", 1_234_567, true),
                ("dangling", 7, false),
                ("nl\nx \\#101 \\#9 \\# y", 1, true),
            ]
        );
        assert_eq!(found[0].modified.unwrap().to_rfc3339(), "2026-11-20T18:25:05+00:00");
    }

    #[test]
    fn what_is_no_entry_makes_the_listing_incomplete() {
        for line in ["skipping directory x", "-rw-r--r-- 1 2026/11/20 18:25:05", "-rw-r--r-- x 2026/11/20 18:25:05 a"] {
            assert_eq!(entries(line.as_bytes()).unwrap_err().to_string(), format!("rsync listed `{line}`"));
        }
    }
}
