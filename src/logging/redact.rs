//! Secrets out of whatever is logged: the second line of defence.
//!
//! The first is `config::secret::Secret`, which never shows its value. This one catches what comes back from elsewhere: a
//! server that repeats the password in its refusal, a URL that was built from parts.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::secret::Secret;

pub use crate::text::REDACTED;

/// Shorter values are left alone: replacing every `abc` would make the log unreadable and hide nothing.
const SHORTEST: usize = 4;

/// The values that must not be shown; clones share nothing and are cheap enough for a handful of secrets.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret that contains another one goes as a whole.
    needles: Vec<String>,
    /// Secrets that are words of our own, see [`Secret::is_word`]: masked in what comes from outside only.
    words: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} values)", self.needles.len())
    }
}

impl Redactor {
    /// A redactor of these values, as they are and as a URL, a `Debug` print or a JSON string would write them.
    pub fn new(secrets: &[Secret]) -> Self {
        let mut needles = Vec::new();
        let mut words = Vec::new();
        for secret in secrets {
            let value = secret.expose().trim();
            if value.chars().count() < SHORTEST {
                continue;
            }
            if secret.is_word() {
                words.push(value.to_owned());
                continue;
            }
            let debug = format!("{value:?}");
            needles.push(value.to_owned());
            needles.push(debug[1..debug.len() - 1].to_owned());
            needles.push(utf8_percent_encode(value, NON_ALPHANUMERIC).to_string());
        }
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Redactor { needles, words }
    }

    /// From now on, [`crate::text::quote`] and what cuts a chain mask them, before they cut.
    pub(super) fn install(&self) {
        crate::text::set_masked(self.needles.clone(), self.words.clone());
    }

    /// The text without the secrets.
    pub fn redact(&self, text: &str) -> String {
        crate::text::without_values(text, &self.needles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_plain_escaped_and_percent_encoded() {
        let redactor = Redactor::new(&[Secret::new("p@ss\"w/rd")]);
        assert_eq!(redactor.redact("login p@ss\"w/rd refused"), "login **redacted** refused");
        assert_eq!(redactor.redact(r#"value "p@ss\"w/rd""#), r#"value "**redacted**""#);
        assert_eq!(redactor.redact("sftp://u:p%40ss%22w%2Frd@nas"), "sftp://u:**redacted**@nas");
    }

    #[test]
    fn a_secret_within_a_secret_leaves_no_remainder() {
        let redactor = Redactor::new(&[Secret::new("tiger"), Secret::new("tiger-2026")]);
        assert_eq!(redactor.redact("tiger-2026 and tiger"), "**redacted** and **redacted**");
    }

    #[test]
    fn a_secret_that_is_a_word_leaves_our_own_lines_readable() {
        let redactor = Redactor::new(&[Secret::new("archive").known_as_word(true), Secret::new("hunter22")]);
        assert_eq!(redactor.redact("archive 0.1.0 begins, hunter22"), "archive 0.1.0 begins, **redacted**");
        assert_eq!(redactor.words, ["archive"]);
    }

    #[test]
    fn values_shorter_than_four_characters_and_empty_ones_are_left_alone() {
        let redactor = Redactor::new(&[Secret::new("abc"), Secret::new(""), Secret::new("   ")]);
        assert_eq!(redactor.redact("abc def"), "abc def");
    }
}
