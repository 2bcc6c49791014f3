//! What an incomplete dump left open: words for its structure, never its content, which may be anything.

use std::fmt;

use crate::text;
use crate::text::Text;

use super::lines::{comment_text, trim_line_end};

/// What was still open when the dump ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenEnd {
    /// A statement without its delimiter.
    Statement,
    /// A string or a quoted name; the quote that is missing.
    Quote(char),
    /// PostgreSQL's `$tag$ … $tag$`.
    DollarQuote,
    /// `/* …`
    Comment,
    /// The rows of a `COPY … FROM stdin` without their `\.`.
    CopyData,
}

impl fmt::Display for OpenEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement => f.write_str("a statement without its end"),
            Self::Quote(quote) => write!(f, "a quoted text without its closing {quote}"),
            Self::DollarQuote => f.write_str("a dollar-quoted text without its closing $"),
            Self::Comment => f.write_str("a comment without its end"),
            Self::CopyData => f.write_str("the rows of a COPY without their end"),
        }
    }
}

/// Where a dump stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its last byte is this one; its size.
    pub at: u64,
    /// What the last line begins with, if that is a word of SQL.
    pub line: LastLine,
}

/// What the last line of a dump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLine {
    /// It begins with this.
    Begins(&'static str),
    /// A comment.
    Comment,
    /// Blank lines only.
    Blank,
    /// Part of a statement or of its data.
    Other,
}

/// What a line of a dump may begin with and be shown by.
const WORDS: [&str; 22] = [
    "INSERT",
    "REPLACE",
    "CREATE",
    "ALTER",
    "DROP",
    "COPY",
    "SET",
    "LOCK TABLES",
    "UNLOCK TABLES",
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
    "START TRANSACTION",
    "SELECT",
    "UPDATE",
    "DELETE",
    "GRANT",
    "USE",
    "DELIMITER",
    "PRAGMA",
    "GO",
    "/*!",
];

impl Stop {
    /// Of a dump of this size that ends so.
    pub(super) fn of(size_bytes: u64, tail: &[u8]) -> Self {
        let last = tail.trim_ascii_end().rsplit(|&byte| byte == b'\n').next().map(trim_line_end).unwrap_or_default();
        let starts =
            |word: &&&str| last.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
        let line = if last.is_empty() {
            LastLine::Blank
        } else if comment_text(last).is_some() {
            LastLine::Comment
        } else {
            WORDS.iter().find(starts).map_or(LastLine::Other, |word| LastLine::Begins(word))
        };
        Self { at: size_bytes, line }
    }

    /// In the languages of the report.
    pub fn text(&self) -> Text {
        let at = self.at;
        match self.line {
            LastLine::Begins(word) => text!(
                "it stops after byte {at}, in a line that begins with `{word}`"
                    / "il s'arrête après l'octet {at}, dans une ligne qui commence par `{word}`"
            ),
            LastLine::Comment => {
                text!("it stops after byte {at}, in a comment" / "il s'arrête après l'octet {at}, dans un commentaire")
            }
            LastLine::Blank => {
                text!(
                    "it stops after byte {at}, in blank lines"
                        / "il s'arrête après l'octet {at}, dans des lignes vides"
                )
            }
            LastLine::Other => text!(
                "it stops after byte {at}, inside of a statement or its data"
                    / "il s'arrête après l'octet {at}, dans une instruction ou ses données"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_dump_stops_is_told_without_its_data() {
        for (tail, said) in [
            ("x;\nINSERT INTO t VALUES ('FR76 3000", "in a line that begins with `INSERT`"),
            ("x;\n('FR76 3000',1", "inside of a statement or its data"),
            ("x;\n-- FR76 3000\n", "in a comment"),
            ("", "in blank lines"),
        ] {
            let text = Stop::of(4711, tail.as_bytes()).text();
            assert!(text.en.starts_with("it stops after byte 4711, ") && text.en.ends_with(said), "{}", text.en);
            assert!(!text.en.contains("FR76") && !text.fr.contains("FR76"));
        }
    }
}
