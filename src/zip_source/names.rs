//! An entry's name: from bytes to text, compared as people compare, and shown so that it can be copied into the config.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::text::{MAX_NAME_CHARS, is_unsafe as is_unsafe_char, quote};

/// Code page 437 from 0x80 on: what names are in that say nothing else (APPNOTE D.1).
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// A name as text: UTF-8 if it is that, flag or not, else code page 437.
pub(super) fn decode(raw: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(raw) {
        Ok(name) => Cow::Borrowed(name),
        Err(_) => raw
            .iter()
            .map(|&byte| match byte.checked_sub(0x80) {
                None => char::from(byte),
                Some(index) => CP437.chars().nth(usize::from(index)).unwrap_or(char::REPLACEMENT_CHARACTER),
            })
            .collect(),
    }
}

/// How well a name is the one that is wanted; a better one counts alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    /// Character by character.
    Exact,
    /// Accents composed in one, decomposed in the other, as macOS writes them (Unicode Standard Annex #15).
    Composed,
    /// The same but for the `/` that makes it absolute; `unzip` and `tar` leave it out, too.
    Relative,
}

/// Compares names with one that is wanted.
pub(super) struct Wanted<'a> {
    name: &'a str,
    composed: String,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(name: &'a str) -> Self {
        Wanted { name, composed: composed(name).into_owned() }
    }

    pub(super) fn matches(&self, name: &str, raw: &[u8]) -> Option<Match> {
        if name == self.name || raw == self.name.as_bytes() {
            return Some(Match::Exact);
        }
        let composed = composed(name);
        if composed == self.composed {
            Some(Match::Composed)
        } else if relative(&composed) == relative(&self.composed) {
            Some(Match::Relative)
        } else {
            None
        }
    }
}

fn composed(name: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(name)
}

/// A name without what makes it absolute.
pub(super) fn relative(name: &str) -> &str {
    name.trim_start_matches('/')
}

/// Dangerous as a name in the tar, on whatever system that is unpacked: hence `\` and `C:` too.
pub(super) fn is_unsafe(name: &str) -> bool {
    let has_drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    name.is_empty()
        || has_drive
        || name.starts_with(['/', '\\'])
        || name.contains('\0')
        || name.split(['/', '\\']).any(|part| part == "..")
}

/// How likely one was meant by the other, up to 1. The same file in another directory, or in other letter case, comes first.
pub(super) fn likeness(name: &str, wanted: &str) -> f64 {
    let base = |path: &str| path.rsplit(['/', '\\']).next().unwrap_or(path).to_lowercase();
    if base(name) == base(wanted) {
        return 1.0;
    }
    strsim::jaro_winkler(name, wanted)
}

/// Whether two names differ in their digits only, as those do that hold a date, a time or a number.
pub(super) fn differ_in_digits(one: &str, other: &str) -> bool {
    let without = |name: &str| name.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    one != other && without(one) == without(other)
}

/// A name as it is written in the config: a basic TOML string, or a literal one where a `\` would begin an escape.
pub(super) fn toml_string(name: &str) -> String {
    let is_plain = !name.chars().any(is_unsafe_char);
    match is_plain && name.contains(['\\', '"']) && !name.contains('\'') {
        true => format!("'{name}'"),
        false => {
            let mut out = String::from("\"");
            for c in name.chars() {
                match c {
                    '"' | '\\' => out.extend(['\\', c]),
                    c if is_unsafe_char(c) => out.push_str(&format!("\\u{:04X}", u32::from(c))),
                    c => out.push(c),
                }
            }
            out + "\""
        }
    }
}

/// Whether a name is cut where it is [`shown`].
pub(super) fn is_long(name: &str) -> bool {
    name.chars().nth(MAX_NAME_CHARS).is_some()
}

/// A name from outside in a message: cut, and without control characters.
pub(super) fn shown(name: &str) -> String {
    quote(name, MAX_NAME_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_page_437_has_a_character_for_each_byte() {
        assert_eq!(CP437.chars().count(), 128);
        assert_eq!(decode(b"\x82t\x82-\xe1.sql"), "été-ß.sql");
    }

    #[test]
    fn a_name_in_a_hint_can_be_pasted_into_the_config() {
        for name in [r"exports\boutique.sql", "l'été.sql", "a\"b.sql", r"l'a\b.sql", "a\u{1b}b", "plain.sql"] {
            let text = format!("entry = {}", toml_string(name));
            let read: toml::Table = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read["entry"].as_str(), Some(name), "{text}");
        }
        assert_eq!(toml_string(r"exports\boutique.sql"), r"'exports\boutique.sql'");
    }

    #[test]
    fn a_name_matches_composed_and_without_what_makes_it_absolute() {
        let wanted = Wanted::new("var/été.sql");
        let matches = |name: &str| wanted.matches(name, name.as_bytes());
        assert_eq!(matches("var/été.sql"), Some(Match::Exact));
        assert_eq!(matches("var/e\u{301}te\u{301}.sql"), Some(Match::Composed));
        assert_eq!(matches("/var/e\u{301}te\u{301}.sql"), Some(Match::Relative));
        assert_eq!(matches("var/ete.sql"), None);
        assert!(differ_in_digits("a-2026-11-20.sql", "a-2026-11-21.sql") && !differ_in_digits("a1.sql", "b1.sql"));
    }
}
