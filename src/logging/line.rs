//! One event as one line: for people, for machines, for a terminal. Pure; the time is an argument.
//!
//! Text that came from a server must not be able to forge a line, colour a terminal or turn its reading direction: control
//! characters are shown as escapes, and whatever follows a line feed is indented, while every true line begins with a digit.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};
use chrono_tz::Tz;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::Level;

use crate::text::{is_unsafe, one_line, visible};

/// What a line says, redacted already.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) time: DateTime<Tz>,
    pub(super) level: Level,
    pub(super) run_id: &'a str,
    pub(super) step: Option<&'a str>,
    pub(super) destination: Option<&'a str>,
    pub(super) message: &'a str,
    pub(super) fields: &'a [(&'static str, Value)],
}

impl Record<'_> {
    /// `2026-11-20T02:00:01.123+01:00 INFO  7f3a download: message key=value`, with a line feed.
    pub(super) fn text(&self) -> String {
        let time = self.time.to_rfc3339_opts(SecondsFormat::Millis, false);
        format!("{time} {:<5} {} {}\n", self.level.as_str(), one_line(self.run_id), self.body("-"))
    }

    /// What a terminal shows: no date, no run id.
    pub(super) fn console(&self) -> String {
        format!("{} {:<5} {}\n", self.time.format("%H:%M:%S"), self.level.as_str(), self.body(""))
    }

    fn body(&self, no_step: &str) -> String {
        let mut body = one_line(self.step.unwrap_or(no_step));
        if let Some(destination) = self.destination {
            let _ = write!(body, "[{}]", one_line(destination));
        }
        if !body.is_empty() {
            body.push_str(": ");
        }
        body.push_str(&indented(self.message));
        for (name, value) in self.fields {
            let _ = match value {
                Value::String(text) if is_bare(text) => write!(body, " {name}={text}"),
                Value::String(text) => write!(body, " {name}=\"{}\"", one_line(text).replace('"', "\\\"")),
                other => write!(body, " {name}={other}"),
            };
        }
        body
    }

    /// One JSON object, with a line feed. JSON escapes what could end the line by itself.
    pub(super) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            time: String,
            level: &'a str,
            run: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            step: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            destination: Option<&'a str>,
            message: &'a str,
            #[serde(skip_serializing_if = "Map::is_empty")]
            fields: Map<String, Value>,
        }
        let line = Line {
            time: self.time.to_rfc3339_opts(SecondsFormat::Millis, false),
            level: self.level.as_str(),
            run: self.run_id,
            step: self.step,
            destination: self.destination,
            message: self.message,
            fields: self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        };
        // Strings, numbers and maps with string keys always serialise.
        let mut line = serde_json::to_string(&line).unwrap_or_else(|error| format!("{{\"message\":\"{error}\"}}"));
        line.push('\n');
        line
    }
}

fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !is_unsafe(c) && c != '"' && c != '=')
}

fn indented(text: &str) -> String {
    visible(text).replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    fn record<'a>(message: &'a str, fields: &'a [(&'static str, Value)]) -> Record<'a> {
        Record {
            time: chrono_tz::Europe::Paris.with_ymd_and_hms(2026, 11, 20, 2, 0, 1).unwrap(),
            level: Level::INFO,
            run_id: "7f3a",
            step: Some("upload"),
            destination: Some("nas"),
            message,
            fields,
        }
    }

    #[test]
    fn a_text_line_has_time_with_offset_level_run_step_and_fields() {
        let fields = [("bytes", Value::from(271)), ("name", "20261120.tgz".into()), ("path", "/a b".into())];
        assert_eq!(
            record("published", &fields).text(),
            "2026-11-20T02:00:01.000+01:00 INFO  7f3a upload[nas]: published bytes=271 name=20261120.tgz path=\"/a b\"\n"
        );
        assert_eq!(record("published", &[]).console(), "02:00:01 INFO  upload[nas]: published\n");
    }

    #[test]
    fn a_json_line_is_one_object_on_one_line() {
        let line = record("two\nlines", &[("bytes", Value::from(271))]).json();
        assert_eq!(
            line,
            "{\"time\":\"2026-11-20T02:00:01.000+01:00\",\"level\":\"INFO\",\"run\":\"7f3a\",\"step\":\"upload\",\
             \"destination\":\"nas\",\"message\":\"two\\nlines\",\"fields\":{\"bytes\":271}}\n"
        );
    }

    #[test]
    fn the_text_of_a_server_cannot_forge_a_line_or_reach_the_terminal() {
        let forged = "550 no\r\n2026-11-20T02:00:02+01:00 INFO 7f3a upload: all is well\u{1b}[2J\u{202e}\r";
        let line = record(forged, &[("reply", forged.into())]).text();
        let starts: Vec<&str> = line.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
        assert_eq!(starts.len(), 1, "{line}");
        assert!(!line.contains(['\u{1b}', '\u{202e}', '\r']), "{line}");
        assert!(line.contains("\\u{1b}[2J"), "{line}");
    }

    #[test]
    fn one_line_joins_what_a_server_wrote_on_several() {
        assert_eq!(one_line("550-no such\r\n550 user\r\n"), "550-no such 550 user");
    }
}
