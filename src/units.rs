//! Sizes and durations as people write and read them.

use std::time::Duration;

use chrono::NaiveDate;

use crate::text::Language;

/// Reads a size: `512`, `10 KB`, `1.5 GB`, `4MiB`; decimal units are powers of 1000, `KiB`… powers of 1024.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "o" => 1.0,
        "kb" | "k" | "ko" => 1e3,
        "mb" | "m" | "mo" => 1e6,
        "gb" | "g" | "go" => 1e9,
        "tb" | "t" | "to" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{text}` is not a size; write for example `100 MB` or `2 GB`")),
    };
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 && value * factor < 9e18 => Ok((value * factor) as u64),
        _ => Err(format!("`{text}` is not a size; write for example `100 MB` or `2 GB`")),
    }
}

/// Reads a duration: `15s`, `10m`, `36h`, `7d`, `2w`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let seconds = match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" | "j" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(format!("`{text}` is not a duration; write for example `30s`, `10m` or `7d`")),
    };
    match number.parse::<u64>().ok().and_then(|value| value.checked_mul(seconds)) {
        Some(value) if value < 1 << 40 => Ok(Duration::from_secs(value)),
        _ => Err(format!("`{text}` is not a duration; write for example `30s`, `10m` or `7d`")),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// A size with three significant figures: `271 MB` in English, `271 Mo` in French.
pub fn show_size(bytes: u64, language: Language) -> String {
    let unit = match language {
        Language::En => "B",
        Language::Fr => "o",
    };
    let mut value = bytes as f64;
    let mut prefix = "";
    for next in ["k", "M", "G", "T"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    let number = match value {
        _ if prefix.is_empty() => format!("{bytes}"),
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    };
    let number = match language {
        Language::En => number,
        Language::Fr => number.replace('.', ","),
    };
    let prefix = if prefix == "k" && language == Language::En { "k" } else { prefix };
    format!("{number} {prefix}{unit}")
}

/// A date as people write it: `17 Nov 2026`, `17/11/2026`.
pub fn show_date(date: NaiveDate, language: Language) -> String {
    match language {
        Language::En => date.format("%-d %b %Y").to_string(),
        Language::Fr => date.format("%d/%m/%Y").to_string(),
    }
}

/// A duration as people say it: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `7 d`.
pub fn show_duration(duration: Duration, language: Language) -> String {
    let seconds = duration.as_secs();
    let day = match language {
        Language::En => "d",
        Language::Fr => "j",
    };
    match seconds {
        0..10 => {
            let text = format!("{:.1} s", duration.as_secs_f64());
            if language == Language::Fr { text.replace('.', ",") } else { text }
        }
        10..60 => format!("{seconds} s"),
        60..3600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ if seconds % 86_400 < 3600 => format!("{} {day}", seconds / 86_400),
        _ => format!("{} {day} {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("4MiB"), Ok(4 << 20));
        assert_eq!(parse_size("100 Go"), Ok(100_000_000_000));
        assert!(parse_size("ten").is_err());
        assert!(parse_size("1 parsec").is_err());
        assert!(parse_size("-1 MB").is_err());
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(parse_duration("15").is_err());
        assert!(parse_duration("1.5h").is_err());
    }

    #[test]
    fn sizes_are_shown_with_three_figures() {
        let shown: Vec<String> =
            [0, 999, 1000, 12_345, 271_000_000, 999_600_000].iter().map(|b| show_size(*b, Language::En)).collect();
        assert_eq!(shown, ["0 B", "999 B", "1.00 kB", "12.3 kB", "271 MB", "1.00 GB"]);
        assert_eq!(show_size(1_500_000, Language::Fr), "1,50 Mo");
    }

    #[test]
    fn durations_are_shown_as_people_say_them() {
        let shown: Vec<String> = [0.42, 12.0, 200.0, 7500.0, 604_800.0]
            .iter()
            .map(|s| show_duration(Duration::from_secs_f64(*s), Language::En))
            .collect();
        assert_eq!(shown, ["0.4 s", "12 s", "3 min 20 s", "2 h 05 min", "7 d"]);
    }
}
