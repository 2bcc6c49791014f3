//! Sentences for people: each is written in every language of the report, side by side, where it is needed.
//!
//! Error messages and log lines are English only; hints, warnings and the summary are [`Text`]s.

use std::fmt;

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

/// Text from outside as it may be shown: at most `max` characters on one line, what could change the text around it made
/// visible. For whatever a server, a file or a program said, where it enters a message.
pub fn quote(text: &str, max: usize) -> String {
    // Escaping makes longer: what is far beyond the end need not be escaped.
    let near = text.char_indices().nth(4 * max).map_or(text, |(end, _)| &text[..end]);
    let line = one_line(near);
    match line.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Control characters, and those that reorder text or end lines in some programs (UAX #9, U+2028, U+2029).
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
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
        assert_eq!(quote("été 2026", 3), "été…");
        assert_eq!(quote("été", 3), "été");
    }
}
