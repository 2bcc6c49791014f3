//! Sentences for people: each is written in every language of the report, side by side, where it is needed.
//!
//! Error messages and log lines are English only; hints, warnings and the summary are [`Text`]s.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

/// A language of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    En,
    /// French, the default: the first users are French-speaking technicians.
    #[default]
    Fr,
}

/// One sentence in every language; [`fmt::Display`] shows the English one, as logs and terminals do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// English.
    pub en: String,
    /// French.
    pub fr: String,
}

impl Text {
    /// A sentence from its two versions.
    pub fn new(en: impl Into<String>, fr: impl Into<String>) -> Self {
        Text { en: en.into(), fr: fr.into() }
    }

    /// The version of one language.
    pub fn get(&self, language: Language) -> &str {
        match language {
            Language::En => &self.en,
            Language::Fr => &self.fr,
        }
    }
}

/// The most characters of a name from outside that are shown.
pub const MAX_NAME_CHARS: usize = 200;
/// The most characters of a line from outside (an answer, a banner) that are shown.
pub const MAX_LINE_CHARS: usize = 300;

/// What [`quote`] and [`masked`] mask.
struct Masked {
    /// Longest first.
    values: Vec<String>,
    /// Secrets that are words of our own texts: masked where text comes from outside, and only as whole words, for masking
    /// `archive` everywhere would make every line unreadable and tell what the secret is by the gaps.
    words: Vec<String>,
}

static MASKED: RwLock<Masked> = RwLock::new(Masked { values: Vec::new(), words: Vec::new() });

/// Sets the values that are masked everywhere, longest first, and the words that [`quote`] masks.
pub(crate) fn set_masked(values: Vec<String>, words: Vec<String>) {
    *MASKED.write().unwrap_or_else(PoisonError::into_inner) = Masked { values, words };
}

/// The text without the secrets of this process. To be done before it is cut: a part of a secret is not recognised.
pub(crate) fn masked(text: &str) -> String {
    without_values(text, &MASKED.read().unwrap_or_else(PoisonError::into_inner).values)
}

/// The text with each of `values` masked.
pub(crate) fn without_values(text: &str, values: &[String]) -> String {
    let mut text = text.to_owned();
    for value in values {
        if text.contains(value.as_str()) {
            text = text.replace(value.as_str(), REDACTED);
        }
    }
    text
}

/// What stands where a secret was.
pub const REDACTED: &str = "**redacted**";

/// The text with each whole word of `words` masked.
fn without_words(text: &str, words: &[String]) -> String {
    let mut text = text.to_owned();
    for word in words {
        let mut from = 0;
        while let Some(at) = text[from..].find(word.as_str()).map(|at| from + at) {
            let end = at + word.len();
            let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            let whole = !inside(text[..at].chars().next_back()) && !inside(text[end..].chars().next());
            if whole {
                text.replace_range(at..end, REDACTED);
            }
            from = if whole { at + REDACTED.len() } else { end };
        }
    }
    text
}

/// The last boundary between characters at or before `index`.
pub(crate) fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Text from outside as it may be shown: at most `max` characters on one line, what could change the text around it made
/// visible. For whatever a server, a file or a program said, where it enters a message.
pub fn quote(text: &str, max: usize) -> String {
    quote_without(text, max, &MASKED.read().unwrap_or_else(PoisonError::into_inner))
}

fn quote_without(text: &str, max: usize, masked: &Masked) -> String {
    let text = without_words(&without_values(text, &masked.values), &masked.words);
    // Escaping makes longer: what is far beyond the end need not be escaped.
    let near = text.char_indices().nth(4 * max).map_or(text.as_str(), |(end, _)| &text[..end]);
    let line = one_line(near);
    match line.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Control characters, and those that reorder text or end lines in some programs (UAX #9, U+2028, U+2029).
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text as one line of a terminal: nothing in it can move the cursor, set a colour or begin another line.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            c if is_unsafe(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The text with line feeds kept and every other control character made visible.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").trim_end_matches('\n').chars() {
        match c {
            '\t' => out.push(' '),
            c if c != '\n' && is_unsafe(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The text on one line: line breaks become a space, every other control character is made visible.
pub fn one_line(text: &str) -> String {
    visible(text).lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// An error's own words: English in every language.
impl From<String> for Text {
    fn from(words: String) -> Self {
        Text { en: words.clone(), fr: words }
    }
}

impl From<&str> for Text {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.en)
    }
}

/// Writes a [`Text`] with the same arguments in both languages: `text!("no `{name}`" / "pas de `{name}`")`.
#[macro_export]
macro_rules! text {
    ($en:literal / $fr:literal $(, $args:expr)* $(,)?) => {
        $crate::text::Text::new(format!($en $(, $args)*), format!($fr $(, $args)*))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_one_short_harmless_line() {
        assert_eq!(quote("  530 no\r\n✓ all good\u{1b}[2J", 300), "530 no ✓ all good\\u{1b}[2J");
        assert_eq!(quote("gpj.\u{202e}x", 300), "gpj.\\u{202e}x");
        assert_eq!(quote("1 \u{61c}- 2", 300), "1 \\u{61c}- 2");
        assert_eq!(quote("été 2026", 3), "été…");
        assert_eq!(quote("été", 3), "été");
    }

    #[test]
    fn a_secret_that_is_a_word_is_masked_as_a_whole_word_only() {
        let words = ["archive".to_owned()];
        assert_eq!(
            without_words("530 no archive for archives: archive", &words),
            "530 no **redacted** for archives: **redacted**"
        );
    }

    #[test]
    fn a_secret_across_the_cut_is_masked_whole() {
        let masked = Masked { values: vec!["hunter22".to_owned()], words: vec!["archive".to_owned()] };
        for secret in ["hunter22", "archive"] {
            for at in [295, 1195] {
                let padding = if at > 300 { "\n".repeat(at) } else { "-".repeat(at) };
                let said = quote_without(&format!("{padding}{secret}"), 300, &masked);
                assert!(!said.contains(&secret[..2]), "{said}");
            }
        }
    }

    #[test]
    fn no_line_of_a_terminal_begins_another_one() {
        assert_eq!(harmless("  a\n✓ all good\u{1b}[2J\r"), "  a ✓ all good\\u{1b}[2J\\u{d}");
    }
}
