//! What an incomplete dump left open: the words for it, and the last bytes that can be shown.

use std::fmt;

/// What was still open when the dump ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenEnd {
    /// A statement without its delimiter.
    Statement,
    /// A string or a quoted name; the quote that is missing.
    Quote(char),
    /// PostgreSQL's `$tag$ … $tag$`; as far as its mark is known.
    DollarQuote(String),
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
            Self::DollarQuote(mark) => write!(f, "a quoted text without its closing {mark}"),
            Self::Comment => f.write_str("a comment without its end"),
            Self::CopyData => f.write_str("the rows of a COPY without their end"),
        }
    }
}

/// How many characters of a dump's end are shown: enough to find the place, too few to spill a row.
const SHOWN_CHARACTERS: usize = 40;

/// The last characters of `tail` on one line, fit for a log or a terminal: whatever could move a cursor is replaced.
pub(super) fn last_characters(tail: &[u8]) -> String {
    let tail = &tail[tail.len().saturating_sub(4 * SHOWN_CHARACTERS)..];
    let text = String::from_utf8_lossy(tail);
    let skip = text.chars().count().saturating_sub(SHOWN_CHARACTERS);
    let show = |character: char| match character {
        '\n' => '⏎',
        '`' => '\'', // messages put values between backticks
        // Direction marks and their like are not control characters, but can turn a line round.
        '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}' => '·',
        _ if character.is_control() => '·',
        _ => character,
    };
    text.chars().skip(skip).map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_shown_short_and_harmless() {
        let shown = last_characters("x".repeat(500).as_bytes());
        assert_eq!(shown, "x".repeat(SHOWN_CHARACTERS));
        assert_eq!(last_characters(b"a\x1b[2J\n`\xff\xe2\x80\xae"), "a·[2J⏎'\u{fffd}·");
        assert_eq!(last_characters("éé".as_bytes()), "éé");
    }
}
