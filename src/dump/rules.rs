//! Which lines are volatile: those a tool writes differently each time although the data is the same.
//!
//! A line of data must never be taken for one, however much it looks like it: a change in it would go unseen. So each
//! rule ties the text to its place. The other mistake, counting a volatile line, only costs an archive that was not
//! needed. Where in doubt, a line counts.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use regex::bytes::Regex;

use super::failures::aside;
use super::lines::{Dated, is_blank, is_pg_time, restrict_token, trim_line_end};
use super::producers::{EndLine, Known, Profile};

pub(super) enum Verdict {
    Data,
    Volatile,
    /// The lines after it decide.
    DependsOnWhatFollows,
}

/// What a line says about the line that waits for it.
pub(super) enum After {
    StillOpen,
    WasVolatile,
    WasData,
}

pub(super) enum Rule {
    /// Every line counts.
    Nothing,
    /// Lines of the head, and the last line of a dump.
    Times(Box<Times>),
    /// SQL Server's `/****** Object:  …    Script Date: … ******/` right after a `GO`; whether the line before was one.
    ScriptDates(bool),
    /// `\restrict`, `\unrestrict`, `-- Started on`, `-- Completed on`.
    Pg(PgLines),
    /// The user's own.
    Patterns(Vec<Regex>),
}

impl Rule {
    /// A longer line, its end included, is data without a look. Bytes.
    pub fn longest_line(&self) -> usize {
        match self {
            Self::Patterns(_) => 1024 * 1024,
            _ => 1024,
        }
    }

    pub fn wants_every_line(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::ScriptDates(_) => true,
            Self::Times(times) => times.head.last().is_some_and(|last| times.line <= *last),
            Self::Pg(pg) => pg.preamble,
            Self::Patterns(_) => true,
        }
    }

    /// Where the next line begins that is worth a look, while not every one is.
    pub fn find(&self, bytes: &[u8], at_line_start: bool) -> Option<usize> {
        static COMPLETED_ON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n-- Completed on "));
        static UNRESTRICT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n\\unrestrict "));
        let find = |finder: &Finder<'_>, bytes: &[u8]| {
            if at_line_start && bytes.starts_with(&finder.needle()[1..]) {
                return Some(0);
            }
            finder.find(bytes).map(|at| at + 1)
        };
        match self {
            Self::Times(times) => times.end.as_ref().and_then(|(_, finder)| find(finder, bytes)),
            Self::Pg(_) => {
                let first = find(&COMPLETED_ON, bytes);
                find(&UNRESTRICT, first.map_or(bytes, |at| &bytes[..at])).or(first)
            }
            Self::Nothing | Self::ScriptDates(_) | Self::Patterns(_) => None,
        }
    }

    pub fn judge(&mut self, line: &[u8]) -> Verdict {
        let volatile = match self {
            Self::Nothing => false,
            Self::Times(times) => return times.judge(line),
            Self::ScriptDates(after_go) => {
                let line = trim_line_end(line);
                let after = std::mem::replace(after_go, line.trim_ascii().eq_ignore_ascii_case(b"GO"));
                after && is_script_date(line)
            }
            Self::Pg(pg) => return pg.judge(line),
            Self::Patterns(patterns) => {
                let line = trim_line_end(line);
                patterns.iter().any(|pattern| pattern.is_match(line))
            }
        };
        if volatile { Verdict::Volatile } else { Verdict::Data }
    }

    pub fn judge_after(&self, line: &[u8]) -> After {
        match self {
            Self::Pg(pg) => pg.judge_after(line),
            Self::Times(times) => times.judge_after(line),
            _ if is_blank(line) => After::StillOpen,
            _ => After::WasData,
        }
    }

    /// A line too long to be looked at went by.
    pub fn long_line(&mut self) {
        match self {
            Self::Times(times) => times.line += 1,
            Self::ScriptDates(after_go) => *after_go = false,
            Self::Pg(pg) => pg.preamble = false,
            _ => {}
        }
    }
}

/// The times that a producer writes into its head and into its last line.
pub(super) struct Times {
    /// The numbers of the lines in the head, ascending.
    head: Vec<usize>,
    /// The number of the next line, as long as the head matters.
    line: usize,
    end: Option<(EndLine, Finder<'static>)>,
    /// What begins the next dump in the same file.
    again: &'static [&'static str],
    names: &'static [&'static str],
}

impl Times {
    pub fn new(head: Vec<usize>, profile: &'static Profile) -> Self {
        let names: &[&str] = if let Known::Comment(names) = profile.known { names } else { &[] };
        let end = profile.end_line().map(|end| (end, Finder::new(&format!("\n{}", end.prefix)).into_owned()));
        Self { head, line: 0, end, again: profile.again, names }
    }

    fn judge(&mut self, line: &[u8]) -> Verdict {
        let is_in_head = self.head.contains(&self.line);
        self.line += 1;
        if is_in_head {
            return Verdict::Volatile;
        }
        match &self.end {
            Some((end, _)) if (end.shape)(trim_line_end(line)) == Some(Dated::Yes) => Verdict::DependsOnWhatFollows,
            _ => Verdict::Data,
        }
    }

    /// Nothing but blank lines to the end, or the head of another dump: that line is one that only this tool writes.
    fn judge_after(&self, line: &[u8]) -> After {
        let text = trim_line_end(line);
        let comment = text.strip_prefix(b"-- ").unwrap_or_default();
        if self.again.iter().any(|again| text.starts_with(again.as_bytes())) {
            After::WasVolatile
        } else if is_blank(text)
            || text == b"--"
            || text.starts_with(b"/*M!999999\\-")
            || self.names.iter().any(|name| comment.starts_with(name.as_bytes()))
            || aside(text).is_some_and(|aside| !aside.is_comment)
        {
            After::StillOpen
        } else {
            After::WasData
        }
    }
}

/// `/****** Object:  Table [dbo].[orders]    Script Date: 20/11/2026 01:00:03 ******/`
fn is_script_date(line: &[u8]) -> bool {
    line.starts_with(b"/****** Object:  ")
        && line.ends_with(b"******/")
        && memchr::memmem::find(line, b" Script Date: ").is_some()
}

/// Follows pg_dump's `\restrict` and `\unrestrict`, and knows the times beside them.
///
/// A `\restrict` is the tool's own only in a preamble: the comments before the first statement, and again after the
/// `\unrestrict` that closes the one before (pg_dumpall has a pair for each database). An `\unrestrict` is the tool's own
/// if it carries the token that is open: that token is random and made after the data, which therefore cannot hold it.
/// This works without following `COPY` blocks and strings.
pub(super) struct PgLines {
    preamble: bool,
    open: Option<Vec<u8>>,
}

impl PgLines {
    pub fn new() -> Self {
        Self { preamble: true, open: None }
    }

    /// A `\restrict` still lacks its `\unrestrict`.
    pub fn restrict_is_open(&self) -> bool {
        self.open.is_some()
    }

    fn closes(&self, line: &[u8]) -> bool {
        self.open.is_some() && self.open.as_deref() == restrict_token(line, "unrestrict")
    }

    fn judge(&mut self, line: &[u8]) -> Verdict {
        if self.closes(line) {
            self.open = None;
            self.preamble = true;
            return Verdict::Volatile;
        }
        if is_pg_time(line, "Completed") {
            return Verdict::DependsOnWhatFollows;
        }
        if !self.preamble {
            return Verdict::Data;
        }
        if self.open.is_none()
            && let Some(token) = restrict_token(line, "restrict")
        {
            self.open = Some(token.to_vec());
            return Verdict::Volatile;
        }
        if is_pg_time(line, "Started") {
            return Verdict::Volatile;
        }
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        self.preamble = is_blank(line) || line.starts_with(b"--") || line.starts_with(b"\\connect ");
        Verdict::Data
    }

    /// `-- Completed on …` stands right before the end marker; then come `\unrestrict` or the end of the file.
    fn judge_after(&self, line: &[u8]) -> After {
        if self.closes(line) {
            return After::WasVolatile;
        }
        match trim_line_end(line) {
            b"" | b"--" | b"-- PostgreSQL database dump complete" | b"-- PostgreSQL database cluster dump complete" => {
                After::StillOpen
            }
            _ => After::WasData,
        }
    }
}
