//! Why is tonight's dump not the same as the last one? If all that differs are comments near its beginning or its end,
//! its producer writes the time there, and a standstill would never be seen.
//!
//! The first and the last lines are kept apart from the rest, of which a checksum is enough: nothing is decided by it, only
//! advice is given. It comes from the CRC-32 of the whole dump, which is known anyway. Of comments the text is kept, of all
//! other lines a checksum only.

use serde::{Deserialize, Serialize};

use crate::text;
use crate::text::Text;

use super::lines::{comment_text, trim_line_end};

/// So many lines at each end, within so many bytes.
const LINES: usize = 12;
const BYTES: usize = 4 * 1024;
/// How much of a comment is kept. Bytes.
const COMMENT_BYTES: usize = 160;
/// More lines than this are no dates.
const FEW: usize = 4;

/// The ends of a dump, and a checksum of what is between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edges {
    first: Vec<Line>,
    last: Vec<Line>,
    /// All other lines, bytes.
    middle_bytes: u64,
    /// Their CRC-32, shifted by as many zeros as the last lines have bytes: what the CRC-32 of the whole dump leaves of
    /// them. That one is known anyway, from the zip.
    middle_crc32: u32,
    last_bytes: u64,
    /// CRC-32 of the first and of the last lines.
    #[serde(skip)]
    ends: (u32, u32),
    /// The report has given its advice.
    #[serde(default)]
    told: bool,
}

/// One line at an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    crc32: u32,
    /// The beginning of a comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

impl Line {
    fn of(line: &[u8]) -> Self {
        let comment = comment_text(line).map(|_| {
            let line = trim_line_end(line);
            String::from_utf8_lossy(&line[..line.len().min(COMMENT_BYTES)]).into_owned()
        });
        Self { crc32: crc32fast::hash(line), comment }
    }
}

impl Edges {
    /// Compares tonight's dump, whose fingerprint differs, with the one before. If nothing but a few comments at its ends
    /// differs, returns what the report should say, once; `self` remembers it for the next night.
    pub fn advice(&mut self, before: &Edges) -> Option<Text> {
        self.remember(before);
        let differing = self.differing(before)?;
        let list: Vec<String> = differing.iter().map(|(a, b)| format!("'{}'", pattern(a, b))).collect();
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        let (count, list) = (list.len(), list.join(", "));
        Some(text!(
            "this dump differs from the last one only in {count} comment line(s) that hold a date or the like: a standstill of the data would not be noticed; to have it noticed, set `volatile_lines = [{list}]` under `[dump]`"
                / "cet export ne diffère du précédent que par {count} ligne(s) de commentaire qui portent une date ou l'équivalent : des données qui ne bougent plus passeraient inaperçues ; pour l'éviter, mettez `volatile_lines = [{list}]` dans `[dump]`"
        ))
    }

    /// Advice that was given before is not given again.
    pub fn remember(&mut self, before: &Edges) {
        self.told = before.told;
    }

    /// With the CRC-32 of the whole dump.
    pub fn of_dump(mut self, crc32: u32) -> Self {
        let (first, last) = self.ends;
        self.middle_crc32 = crc32 ^ last ^ shifted(first, self.middle_bytes + self.last_bytes);
        self.ends = (0, 0);
        self
    }

    /// Whether the lines between the ends are the same.
    fn same_middle(&self, other: &Edges) -> bool {
        self.middle_bytes == other.middle_bytes
            && shifted(self.middle_crc32, other.last_bytes) == shifted(other.middle_crc32, self.last_bytes)
    }

    /// The comments that differ, if there are few and nothing else differs.
    fn differing<'a>(&'a self, before: &'a Edges) -> Option<Vec<(&'a str, &'a str)>> {
        if !self.same_middle(before) || self.first.len() != before.first.len() || self.last.len() != before.last.len() {
            return None;
        }
        let pairs = before.first.iter().zip(&self.first).chain(before.last.iter().zip(&self.last));
        let mut differing = Vec::new();
        for (old, new) in pairs.filter(|(old, new)| old.crc32 != new.crc32) {
            differing.push((old.comment.as_deref()?, new.comment.as_deref()?));
        }
        (1..=FEW).contains(&differing.len()).then_some(differing)
    }
}

/// The CRC-32 of a text, as it counts in the CRC-32 of that text and so many bytes after it.
fn shifted(crc32: u32, bytes: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial_len(crc32, 1);
    hasher.combine(&crc32fast::Hasher::new_with_initial_len(0, bytes));
    hasher.finalize()
}

/// A regular expression for two comments that differ: what they share at the beginning, whatever its digits are; or the
/// shape of the new one where they share no word.
fn pattern(old: &str, new: &str) -> String {
    let shared = old
        .char_indices()
        .zip(new.chars())
        .find(|((_, a), b)| a != b)
        .map_or(old.len().min(new.len()), |((at, _), _)| at);
    let shared = new[..shared].trim_end_matches(char::is_alphanumeric);
    let (text, end) = if shared.contains(char::is_alphanumeric) { (shared, "") } else { (new, "$") };
    let mut shape = String::from("^");
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |of: fn(char) -> bool| rest.find(|c| !of(c)).unwrap_or(rest.len());
        let used = if first.is_ascii_digit() {
            shape.push_str(r"\d+");
            word(|c| c.is_ascii_digit())
        } else if end == "$" && first.is_alphabetic() {
            shape.push_str(r"\pL+");
            word(char::is_alphabetic)
        } else {
            // A quote would end the TOML string in which the pattern is shown.
            if first == '\'' || first.is_control() {
                shape.push('.')
            } else {
                shape.push_str(&regex::escape(&rest[..first.len_utf8()]))
            }
            first.len_utf8()
        };
        rest = &rest[used..];
    }
    // A comment longer than what is kept has no known end.
    if text.len() < COMMENT_BYTES { shape + end } else { shape }
}

/// Makes [`Edges`] from a stream.
#[derive(Default)]
pub(super) struct EdgeReader {
    /// The first bytes, until there are enough.
    first: Vec<u8>,
    first_is_over: bool,
    /// The last bytes, at most twice [`BYTES`] of them between two calls.
    last: Vec<u8>,
    middle_bytes: u64,
}

impl EdgeReader {
    pub fn feed(&mut self, mut bytes: &[u8]) {
        if !self.first_is_over {
            let part = &bytes[..bytes.len().min(BYTES - self.first.len())];
            self.first.extend_from_slice(part);
            bytes = &bytes[part.len()..];
            if self.first.len() < BYTES {
                return;
            }
            self.end_first();
        }
        // Small pieces are gathered first.
        if self.last.len() + bytes.len() <= 2 * BYTES {
            self.last.extend_from_slice(bytes);
        } else {
            self.keep_last(bytes);
        }
    }

    /// What can no longer be one of the last bytes is only counted.
    fn keep_last(&mut self, bytes: &[u8]) {
        let surplus = (self.last.len() + bytes.len()).saturating_sub(BYTES);
        let from_last = surplus.min(self.last.len());
        let from_bytes = surplus - from_last;
        self.middle_bytes += surplus as u64;
        self.last.drain(..from_last);
        self.last.extend_from_slice(&bytes[from_bytes..]);
    }

    /// Keeps whole lines in `first`; the rest is the beginning of what follows.
    fn end_first(&mut self) {
        self.first_is_over = true;
        let end = memchr::memchr_iter(b'\n', &self.first).take(LINES).last().map_or(0, |at| at + 1);
        self.last = self.first.split_off(end);
    }

    pub fn finish(mut self) -> Edges {
        if !self.first_is_over {
            self.end_first();
        }
        self.keep_last(&[]);
        // Whole lines only, counted from the end; a last line without its end is one, too.
        let body = self.last.strip_suffix(b"\n").unwrap_or(&self.last);
        let ends: Vec<usize> = memchr::memrchr_iter(b'\n', body).take(LINES).collect();
        let start = match ends.last() {
            Some(at) if ends.len() == LINES || self.middle_bytes > 0 => at + 1,
            None if self.middle_bytes > 0 => self.last.len(),
            _ => 0,
        };
        let lines = |text: &[u8]| text.split_inclusive(|&byte| byte == b'\n').map(Line::of).collect();
        Edges {
            first: lines(&self.first),
            last: lines(&self.last[start..]),
            middle_bytes: self.middle_bytes + start as u64,
            middle_crc32: 0,
            last_bytes: (self.last.len() - start) as u64,
            ends: (crc32fast::hash(&self.first), crc32fast::hash(&self.last[start..])),
            told: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(text: &str, size: usize) -> Edges {
        let mut reader = EdgeReader::default();
        text.as_bytes().chunks(size).for_each(|piece| reader.feed(piece));
        reader.finish().of_dump(crc32fast::hash(text.as_bytes()))
    }

    fn advice(a: &str, b: &str) -> Option<String> {
        let (a, mut b) = (edges(a, 1000), edges(b, 777));
        b.advice(&a).map(|text| text.en)
    }

    /// A dump by some tool, small or large, with times at its two ends.
    fn dump(first: &str, rows: usize, last: &str) -> String {
        format!("-- some tool\n{first}\n\n{}\n{last}\n", "INSERT INTO t VALUES ('x');\n".repeat(rows))
    }

    #[test]
    fn a_pattern_is_advised_for_comments_that_alone_differ() {
        for rows in [1, 10, 1000, 10_000] {
            for (old, new, pattern) in [
                ("-- Export of 2026-11-20 01:00", "-- Export of 2026-11-21 01:00", r"'^\-\- Export of \d+\-\d+\-'"),
                ("# Made: Friday 20. November", "# Made: Saturday 21. November", r"'^\# Made: '"),
                ("-- Fri Nov 20 01:00", "-- Sat Nov 21 01:00", r"'^\-\- \pL+ \pL+ \d+ \d+:\d+$'"),
                ("/* it's 01:00 */", "/* it's 02:30 */", r"'^/\* it.s '"),
            ] {
                for (a, b) in
                    [(dump(old, rows, "-- end"), dump(new, rows, "-- end")), (dump("", rows, old), dump("", rows, new))]
                {
                    let said = advice(&a, &b).unwrap_or_else(|| panic!("{rows} rows: {new}"));
                    assert!(said.contains(&format!("[{pattern}]")), "{said}");
                    let pattern = regex::Regex::new(pattern.trim_matches('\'')).unwrap();
                    assert!(
                        pattern.is_match(old) && pattern.is_match(new) && !pattern.is_match("-- Table t"),
                        "{pattern}"
                    );
                }
            }
        }
    }

    #[test]
    fn data_that_differs_needs_no_advice() {
        let a = dump("-- on 1", 1000, "-- at 1");
        for b in [
            a.clone(),
            dump("-- on 2", 1001, "-- at 2"),
            dump("-- on 2", 1000, "INSERT INTO t VALUES ('y');"),
            a.replacen("'x'", "'y'", 1),
        ] {
            assert_eq!(advice(&a, &b), None);
        }
    }

    #[test]
    fn the_advice_is_given_once() {
        let night = |day: u32| edges(&dump(&format!("-- on day {day}"), 1000, "-- end"), 4096);
        let (first, mut second, mut third) = (night(1), night(2), night(3));
        assert!(second.advice(&first).is_some());
        let second: Edges = serde_json::from_str(&serde_json::to_string(&second).unwrap()).unwrap();
        assert!(third.advice(&second).is_none());
    }

    #[test]
    fn no_row_of_data_is_kept() {
        let kept = serde_json::to_string(&edges(&dump("-- a comment", 3, "('secret')"), 10)).unwrap();
        assert!(kept.contains("a comment") && !kept.contains("secret") && !kept.contains("INSERT"), "{kept}");
    }

    #[test]
    fn edges_do_not_depend_on_how_the_dump_is_cut() {
        for rows in [0, 1, 12, 145, 146, 147, 1000] {
            let text = dump("-- on", rows, "-- at");
            let whole = edges(&text, text.len());
            for size in [1, 7, 4095, 4096, 4097] {
                assert_eq!(edges(&text, size), whole, "{rows} rows in pieces of {size}");
            }
        }
    }
}
