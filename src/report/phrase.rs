//! Sizes, dates and lists as the report's languages write them: French with its no-break spaces, so that a line never ends
//! between `271` and `Mo`, or before a colon.

use std::time::Duration;

use crate::text::Language;
use crate::units;

/// U+00A0, before `:` `»` `%` and units, after `«`.
pub(super) const NBSP: &str = "\u{a0}";

/// Names of a list that are shown before it is cut.
const SHOWN_NAMES: usize = 5;

fn glued(text: String, language: Language) -> String {
    match language {
        Language::En => text,
        Language::Fr => text.replace(' ', NBSP),
    }
}

pub(super) fn size(bytes: u64, language: Language) -> String {
    glued(units::show_size(bytes, language), language)
}

pub(super) fn duration(seconds: f64, language: Language) -> String {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    glued(units::show_duration(duration, language), language)
}

/// `: `, as each language sets it.
pub(super) fn colon(language: Language) -> &'static str {
    match language {
        Language::En => ": ",
        Language::Fr => "\u{a0}: ",
    }
}

/// How much larger or smaller, `+0.4%`, `−12 %`; `None` without a size to compare with.
pub(super) fn change(now: u64, before: u64, language: Language) -> Option<String> {
    if before == 0 {
        return None;
    }
    let percent = (now as f64 - before as f64) / before as f64 * 100.0;
    let sign = if percent < 0.0 { '\u{2212}' } else { '+' };
    let number = match percent.abs() {
        p if p < 9.95 => format!("{p:.1}"),
        p => format!("{p:.0}"),
    };
    Some(match language {
        Language::En => format!("{sign}{number}%"),
        Language::Fr => format!("{sign}{}{NBSP}%", number.replace('.', ",")),
    })
}

/// `a, b, c`, cut after a few names: `a, b, c, d, e … (12)`.
pub(super) fn names(names: &[String]) -> String {
    if names.len() <= SHOWN_NAMES {
        return names.join(", ");
    }
    format!("{} … ({})", names[..SHOWN_NAMES].join(", "), names.len())
}

/// `1 archive`, `37 archives`: the word is the same in both languages.
pub(super) fn archives(count: usize, language: Language) -> String {
    // French: zero is singular.
    let singular = count == 1 || (count == 0 && language == Language::Fr);
    glued(format!("{count} archive{}", if singular { "" } else { "s" }), language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_has_a_sign_and_no_more_figures_than_it_deserves() {
        assert_eq!(change(1_004, 1_000, Language::En).as_deref(), Some("+0.4%"));
        assert_eq!(change(500, 1_000, Language::Fr).as_deref(), Some("\u{2212}50\u{a0}%"));
        assert_eq!(change(10, 0, Language::En), None);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let all: Vec<String> = (1..=7).map(|n| n.to_string()).collect();
        assert_eq!(names(&all), "1, 2, 3, 4, 5 … (7)");
        assert_eq!(names(&all[..2]), "1, 2");
    }

    #[test]
    fn sizes_in_french_do_not_break() {
        assert_eq!(size(271_000_000, Language::Fr), "271\u{a0}Mo");
        assert_eq!(size(271_000_000, Language::En), "271 MB");
    }
}
