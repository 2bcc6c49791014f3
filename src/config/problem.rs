//! One problem of a config file, and how it looks: place, key, what is wrong, the line with a caret, what to write instead.
//!
//! The shown line may hold a password, and errors travel into logs and mails: [`Source`] covers every value that could be
//! one before anything is shown.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::text::{floor_boundary, harmless};

/// What stands in place of a value that might be a secret.
const COVERED: &str = "*****";

/// Parts of key names that make a value count as a secret, as written or misspelt.
const SENSITIVE: [&str; 11] =
    ["pas", "pwd", "token", "secret", "auth", "cookie", "credential", "bearer", "key", "headers", "proxy"];

/// Keys whose names sound like secrets and are none.
const HARMLESS: [&str; 3] = ["private_key", "host_key", "client_key_file"];

/// One thing that is wrong in a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` if it is about something that is not there.
    pub place: Option<Place>,
    /// The path of the key, for example `mail.port` or `destination[nas].host`; empty for the file as a whole.
    pub key: String,
    /// What is wrong; never holds a secret.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// A place in a config file, with its line as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The line, secrets covered.
    text: String,
    /// Where the caret goes in `text`, in characters.
    caret: Range<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut indent = String::from("  ");
        if let Some(place) = &self.place {
            write!(f, "{}:{}:{}: ", place.file.display(), place.line, place.column)?;
            indent = " ".repeat(place.line.to_string().len() + 1);
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", harmless(&self.key))?;
        }
        f.write_str(&harmless(&self.message))?;
        if let Some(place) = &self.place {
            let caret = " ".repeat(place.caret.start) + &"^".repeat(place.caret.len().max(1));
            write!(f, "\n{indent}|\n{} | {}\n{indent}| {caret}", place.line, place.text)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{indent}= {}", harmless(help))?;
        }
        Ok(())
    }
}

/// The text of a config file, and what of it must not be shown.
pub(super) struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    covered: Vec<Range<usize>>,
}

impl<'a> Source<'a> {
    /// A file that parsed: values are covered by where they are in the tree.
    pub(super) fn new(path: &'a Path, text: &'a str, root: &DeTable<'_>) -> Self {
        let mut source = Source { path, text, covered: Vec::new() };
        source.cover_table(root, false);
        source
    }

    /// A file that did not parse: whatever stands behind a key that sounds like a secret is covered to the end of its line.
    pub(super) fn broken(path: &'a Path, text: &'a str) -> Self {
        let mut covered = Vec::new();
        let (mut offset, mut table, mut in_long_string) = (0, false, false);
        for line in text.split_inclusive('\n') {
            let end = offset + line.trim_end().len();
            if line.trim_start().starts_with('[') {
                table = is_sensitive(line);
            } else if in_long_string || table {
                covered.push(offset..end);
            }
            let quotes = line.matches("\"\"\"").count() + line.matches("'''").count();
            in_long_string ^= quotes % 2 == 1;
            let sensitive_value = line.match_indices('=').find(|(equals, _)| {
                let before = line[..*equals].trim_end().trim_end_matches(['"', '\'']);
                let key = before.rsplit(|c: char| !(c.is_alphanumeric() || "_-.".contains(c))).next().unwrap_or(before);
                is_sensitive(key)
            });
            if let Some((equals, _)) = sensitive_value {
                let value = line[equals + 1..].trim();
                let start = offset + equals + 1 + (line[equals + 1..].len() - line[equals + 1..].trim_start().len());
                covered.push(start..start + value.len());
            }
            covered.extend(logins_of_urls(line).into_iter().map(|login| offset + login.start..offset + login.end));
            offset += line.len();
        }
        Source { path, text, covered }
    }

    fn cover_table(&mut self, table: &DeTable<'_>, sensitive: bool) {
        for (key, value) in table.iter() {
            let names_a_source = sensitive && ["env", "file", "command", "credential"].contains(&&**key.get_ref());
            let sensitive = (sensitive || is_sensitive(key.get_ref())) && !names_a_source;
            self.cover_value(value.get_ref(), value.span(), sensitive);
        }
    }

    fn cover_value(&mut self, value: &DeValue<'_>, span: Range<usize>, sensitive: bool) {
        match value {
            DeValue::Table(table) => self.cover_table(table, sensitive),
            DeValue::Array(items) => {
                for item in items.iter() {
                    self.cover_value(item.get_ref(), item.span(), sensitive);
                }
            }
            _ if sensitive => self.covered.push(span),
            _ => {
                let logins = self.text.get(span.clone()).map(logins_of_urls).unwrap_or_default();
                self.covered.extend(logins.into_iter().map(|login| span.start + login.start..span.start + login.end));
            }
        }
    }

    /// The place of a byte range, with a line that may be shown.
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        let start = floor_boundary(self.text, span.start);
        let line_span = line_at(self.text, start);
        let line_start = line_span.start;
        let line = self.text[line_span].trim_end();
        let mut shown = String::new();
        let (mut caret_start, mut caret_end) = (None, 0);
        let mut skipped_until = line_start;
        for (at, c) in line.char_indices().map(|(at, c)| (line_start + at, c)) {
            if at < skipped_until {
                continue;
            }
            let before = shown.chars().count();
            let mut until = at + c.len_utf8();
            match self.covered.iter().filter(|range| range.contains(&at)).map(|range| range.end).max() {
                Some(end) => {
                    shown.push_str(COVERED);
                    until = end;
                }
                None => shown.push(if c == '\t' { ' ' } else { c }),
            }
            skipped_until = until;
            if caret_start.is_none() && until > start {
                caret_start = Some(before);
            }
            if at < span.end {
                caret_end = shown.chars().count();
            }
        }
        let caret_start = caret_start.unwrap_or_else(|| shown.chars().count());
        Place {
            file: self.path.to_owned(),
            line: self.text[..line_start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            text: shown,
            caret: caret_start..caret_end.max(caret_start + 1),
        }
    }
}

/// The line that a byte belongs to, without its line break.
pub(super) fn line_at(text: &str, index: usize) -> Range<usize> {
    let index = floor_boundary(text, index);
    let start = text[..index].rfind('\n').map_or(0, |at| at + 1);
    start..text[index..].find('\n').map_or(text.len(), |at| index + at)
}

fn is_sensitive(key: &str) -> bool {
    let key = key.to_lowercase();
    !HARMLESS.contains(&key.as_str()) && SENSITIVE.iter().any(|part| key.contains(part))
}

/// Where users and passwords of URLs stand in a piece of text, well-formed or not; mail addresses are none.
fn logins_of_urls(text: &str) -> Vec<Range<usize>> {
    let mut logins = Vec::new();
    let mut start = 0;
    for word in text.split_inclusive(['"', '\'', ' ', ',']) {
        if let Some(at) = word.rfind('@') {
            let before = &word[..at];
            let scheme = before.find("//").map(|slashes| slashes + 2);
            if scheme.is_some() || before.contains(':') {
                logins.push(start + scheme.unwrap_or(0)..start + at);
            }
        }
        start += word.len();
    }
    logins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, marked: &str) -> String {
        let (root, errors) = DeTable::parse_recoverable(text);
        let path = Path::new("a.toml");
        let source =
            if errors.is_empty() { Source::new(path, text, root.get_ref()) } else { Source::broken(path, text) };
        let start = text.find(marked).unwrap();
        let place = source.place(start..start + marked.len());
        Problem { place: Some(place), key: "k".into(), message: "m".into(), help: None }.to_string()
    }

    #[test]
    fn the_caret_is_under_the_marked_part_even_behind_a_covered_value_and_accents() {
        insta::assert_snapshot!(shown("x = { pasword = \"geheim\", \"é\" = 1, bad = 2 }", "bad"), @r#"
        a.toml:1:36: k: m
          |
        1 | x = { pasword = *****, "é" = 1, bad = 2 }
          |                                 ^^^
        "#);
    }

    #[test]
    fn values_that_may_be_secrets_are_covered_in_trees_and_in_broken_text() {
        for (text, marked) in [
            ("[mail]\npassword = \"geheim\"", "\"geheim\""),
            ("[mail]\npasswrod = \"geheim\"", "passwrod"),
            ("bearer_token = \"geheim\" x", "x"),
            ("[source.headers]\nX-A = \"geheim\"", "X-A"),
            ("[source.headers]\nX-A = \"geheim", "X-A"),
            ("headers = { X-A = \"geheim\" }", "X-A"),
            ("[mail]\npassword = \"geheim", "password"),
            ("url = \"https://me:geheim@host/x\"", "url"),
            ("url = \"https://me:geheim@host/x", "url"),
            ("password = \"\"\"\ngeheim\"\"\" x", "geheim"),
        ] {
            let shown = shown(text, marked);
            assert!(!shown.contains("geheim") && shown.contains(COVERED), "{text}\n{shown}");
        }
        let harmless = shown("password = { file = \"/etc/archive/pw\", x = 1 }\n", "x");
        assert!(harmless.contains("/etc/archive/pw"), "{harmless}");
    }

    #[test]
    fn a_place_past_the_end_is_the_last_line() {
        let source = Source::broken(Path::new("a.toml"), "a = 1\nb = ");
        let place = source.place(99..99);
        assert_eq!((place.line, place.column), (2, 5));
    }
}
