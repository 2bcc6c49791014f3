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
