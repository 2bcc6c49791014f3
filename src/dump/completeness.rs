//! Is the dump whole? The verdict, from the head, the tail and what the scan saw in between.
//!
//! Refusing a whole dump wakes somebody up; accepting half of one loses the database. So a producer's end is demanded
//! exactly as the producer writes it, down to the line end after it: without that line end, `-- Dump completed` may be a
//! dated line that was cut. Where the end says enough by itself (`COMMIT;`, a closed statement) a missing last line end
//! is let pass.

use std::fmt;

use crate::text::Text;

use super::head::{BinaryKind, Head, Producer};
use super::lines::{dump_completed, is_blank, is_pg_time, restrict_token, trim_line_end};
use super::open_end::{OpenEnd, last_characters};

/// Whether the dump was written to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It was, as far as can be known.
    Complete {
        /// How that is known.
        grounds: Grounds,
    },
    /// It was not.
    Incomplete {
        /// What is missing.
        reason: Incomplete,
        /// The last characters of the dump, fit for a log; empty where they would say nothing.
        last: String,
    },
    /// Nothing can be said.
    Unchecked {
        /// Why.
        why: Unchecked,
    },
}

/// How it is known that a dump is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// The producer's own end marker is there, in its place.
    EndMarker(String),
    /// The last statement is closed, and what the head saved is restored. A cut between two statements cannot be seen.
    ClosedStatement,
    /// The dump ends with the text that the configuration asks for.
    Literal,
}

/// What is missing at the end of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// The dump has no statement at all.
    Empty,
    /// It is neither SQL text nor a kind of dump that is known.
    NotSql(BinaryKind),
    /// The dump does not end with this, where its producer ends with it.
    NoEndMarker(String),
    /// The end marker is there, but cut or without the line end or blank line that always follows it.
    EndMarkerCut(String),
    /// pg_dump's `\restrict` lacks its `\unrestrict` with the same token.
    RestrictStillOpen,
    /// The head saves a setting which the end does not restore: the name of `@OLD_…`.
    NotRestored(String),
    /// `sqlite3` gave up and ended with `ROLLBACK`.
    RolledBack,
    /// Something was still open.
    LeftOpen(OpenEnd),
    /// The dump does not end with the text that the configuration asks for.
    NoLiteral(String),
}

/// Why a dump was not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchecked {
    /// The configuration turns the check off.
    Off,
    /// The dump is not SQL text.
    Binary(BinaryKind),
}

impl Completeness {
    /// The verdict in the languages of the report.
    pub fn text(&self) -> Text {
        let fr = match self {
            Self::Complete { grounds } => match grounds {
                Grounds::EndMarker(marker) => format!("complet : il se termine par `{marker}`"),
                Grounds::ClosedStatement => "complet : sa dernière instruction est fermée".to_owned(),
                Grounds::Literal => "complet : il se termine par le texte de `dump.complete`".to_owned(),
            },
            // Why a dump is refused is the text of an error, and those are English only.
            Self::Incomplete { reason, .. } => format!("incomplet : {reason}"),
            Self::Unchecked { why: Unchecked::Off } => "non contrôlé : `dump.complete` vaut `off`".to_owned(),
            Self::Unchecked { why: Unchecked::Binary(kind) } => {
                format!("non contrôlé : {kind}, dont la fin ne peut pas être jugée")
            }
        };
        Text::new(self.to_string(), fr)
    }
}

impl fmt::Display for Completeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete { grounds } => write!(f, "complete: {grounds}"),
            Self::Incomplete { reason, last } if last.is_empty() => write!(f, "incomplete: {reason}"),
            Self::Incomplete { reason, last } => write!(f, "incomplete: {reason}; it ends with `{last}`"),
            Self::Unchecked { why } => write!(f, "not checked: {why}"),
        }
    }
}

impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndMarker(marker) => write!(f, "it ends with `{marker}`"),
            Self::ClosedStatement => f.write_str("its last statement is closed"),
            Self::Literal => f.write_str("it ends with the text of `dump.complete`"),
        }
    }
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the dump is empty"),
            Self::NotSql(kind) => write!(f, "this is a {kind}, neither SQL text nor a kind of dump that is known"),
            Self::NoEndMarker(marker) => write!(f, "the dump does not end with `{marker}`"),
            Self::EndMarkerCut(marker) => write!(f, "the dump is cut in or right after its last line, `{marker}`"),
            Self::RestrictStillOpen => f.write_str("the last line, `\\unrestrict` with its token, is missing"),
            Self::NotRestored(name) => write!(f, "the end of the dump does not restore `@OLD_{name}`"),
            Self::RolledBack => f.write_str("sqlite3 met an error and ended the dump with `ROLLBACK`"),
            Self::LeftOpen(open) => write!(f, "the dump ends within {open}"),
            Self::NoLiteral(text) => write!(f, "the dump does not end with `{text}`"),
        }
    }
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("`dump.complete` is off"),
            Self::Binary(kind) => write!(f, "a {kind}, whose end cannot be judged"),
        }
    }
}

/// What the scan saw between head and tail.
pub(super) struct Seen {
    pub restrict_open: bool,
    /// Of a dump whose statements were read: was there any, and what is open.
    pub any_statement: bool,
    pub open_end: Option<OpenEnd>,
}

const MYSQL_END: &str = "-- Dump completed";
const PG_END: &str = "-- PostgreSQL database dump complete";
const PG_ALL_END: &str = "-- PostgreSQL database cluster dump complete";
const COMMIT: &str = "COMMIT;";

/// Judges a dump by its producer's habits; `tail` is its end, or all of it.
pub(super) fn judge(head: &Head, tail: &[u8], seen: &Seen) -> Completeness {
    let verdict = match head.producer {
        // An error page, a file of zeros that a crash left, an encoding that nothing here can read: no dump to be trusted.
        Producer::Binary(kind @ (BinaryKind::Unknown | BinaryKind::Xml | BinaryKind::Utf16)) => {
            return Completeness::Incomplete { reason: Incomplete::NotSql(kind), last: String::new() };
        }
        Producer::Binary(kind) => return Completeness::Unchecked { why: Unchecked::Binary(kind) },
        _ if is_blank(tail) => Err(Incomplete::Empty),
        Producer::MysqlDump | Producer::MariadbDump => mysql(head, tail),
        Producer::PgDump => postgres(PG_END, tail, seen),
        Producer::PgDumpAll => postgres(PG_ALL_END, tail, seen),
        Producer::Sqlite => sqlite(tail, seen),
        Producer::PhpMyAdmin => php_my_admin(head, tail, seen),
        Producer::MysqlWithoutComments | Producer::OtherText => {
            closed(seen).and_then(|()| restored(head, tail)).map(|()| Grounds::ClosedStatement)
        }
    };
    verdict_with_last(verdict, tail)
}

/// Judges a dump by the text that the configuration asks for.
pub(super) fn judge_literal(literal: &str, tail: &[u8]) -> Completeness {
    let found = tail.trim_ascii_end().ends_with(literal.trim_ascii_end().as_bytes());
    let verdict = if found { Ok(Grounds::Literal) } else { Err(Incomplete::NoLiteral(literal.to_owned())) };
    verdict_with_last(verdict, tail)
}

fn verdict_with_last(verdict: Result<Grounds, Incomplete>, tail: &[u8]) -> Completeness {
    match verdict {
        Ok(grounds) => Completeness::Complete { grounds },
        Err(Incomplete::Empty) => Completeness::Incomplete { reason: Incomplete::Empty, last: String::new() },
        Err(reason) => Completeness::Incomplete { reason, last: last_characters(tail) },
    }
}

/// The lines of the tail, the last one first, without blank ones at the end.
fn lines_from_the_end(tail: &[u8]) -> impl Iterator<Item = &[u8]> {
    tail.trim_ascii_end().rsplit(|&byte| byte == b'\n').map(trim_line_end)
}

/// How many line ends the tail ends with.
fn line_ends(tail: &[u8]) -> usize {
    tail.iter().rev().take_while(|byte| matches!(byte, b'\n' | b'\r')).filter(|byte| **byte == b'\n').count()
}

fn mysql(head: &Head, tail: &[u8]) -> Result<Grounds, Incomplete> {
    let last = lines_from_the_end(tail).next().unwrap_or_default();
    if dump_completed(last).is_none() {
        let cut = last.starts_with(MYSQL_END.as_bytes());
        let reason = if cut { Incomplete::EndMarkerCut } else { Incomplete::NoEndMarker };
        return Err(reason(MYSQL_END.to_owned()));
    }
    if line_ends(tail) == 0 {
        return Err(Incomplete::EndMarkerCut(MYSQL_END.to_owned()));
    }
    // A procedure can hold a line that looks like the marker; it does not come right after the restored settings.
    restored(head, tail)?;
    Ok(Grounds::EndMarker(MYSQL_END.to_owned()))
}

fn postgres(marker: &str, tail: &[u8], seen: &Seen) -> Result<Grounds, Incomplete> {
    let mut after = lines_from_the_end(tail).take_while(|line| *line != marker.as_bytes());
    let mut closing_line = false;
    let found = after.all(|line| {
        closing_line |= line == b"--";
        line.is_empty()
            || line == b"--"
            || is_pg_time(line, "Completed")
            || restrict_token(line, "unrestrict").is_some()
    }) && lines_from_the_end(tail).any(|line| line == marker.as_bytes());
    if !found {
        return Err(Incomplete::NoEndMarker(marker.to_owned()));
    }
    if seen.restrict_open {
        return Err(Incomplete::RestrictStillOpen);
    }
    // Both programs end with `--` and a blank line, or with `\unrestrict` and a blank line.
    if !closing_line || line_ends(tail) < 2 {
        return Err(Incomplete::EndMarkerCut(marker.to_owned()));
    }
    Ok(Grounds::EndMarker(marker.to_owned()))
}

fn sqlite(tail: &[u8], seen: &Seen) -> Result<Grounds, Incomplete> {
    closed(seen)?;
    let last = lines_from_the_end(tail).next().unwrap_or_default();
    if last.starts_with(b"ROLLBACK;") {
        return Err(Incomplete::RolledBack);
    }
    if last != COMMIT.as_bytes() {
        return Err(Incomplete::NoEndMarker(COMMIT.to_owned()));
    }
    Ok(Grounds::EndMarker(COMMIT.to_owned()))
}

fn php_my_admin(head: &Head, tail: &[u8], seen: &Seen) -> Result<Grounds, Incomplete> {
    closed(seen)?;
    if head.opens_transaction && !closing_block(tail).any(|line| line == COMMIT.as_bytes()) {
        return Err(Incomplete::NoEndMarker(COMMIT.to_owned()));
    }
    restored(head, tail)?;
    Ok(if head.opens_transaction { Grounds::EndMarker(COMMIT.to_owned()) } else { Grounds::ClosedStatement })
}

fn closed(seen: &Seen) -> Result<(), Incomplete> {
    match &seen.open_end {
        Some(open) => Err(Incomplete::LeftOpen(open.clone())),
        None if !seen.any_statement => Err(Incomplete::Empty),
        None => Ok(()),
    }
}

/// The settings, comments and the `COMMIT` at the very end, the last line first.
fn closing_block(tail: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines_from_the_end(tail).take_while(|line| {
        let is_setting = line.starts_with(b"SET ") && line.ends_with(b";");
        let is_versioned = (line.starts_with(b"/*!") || line.starts_with(b"/*M!")) && line.ends_with(b"*/;");
        is_blank(line) || line.starts_with(b"--") || is_setting || is_versioned || *line == COMMIT.as_bytes()
    })
}

/// Every setting that the head saves has to be restored by the closing block: this catches most cuts between two
/// statements, which nothing else would.
fn restored(head: &Head, tail: &[u8]) -> Result<(), Incomplete> {
    let missing = head.saved.iter().find(|name| {
        // mysqldump: `SET X=@OLD_X`, HeidiSQL: `SET X=IFNULL(@OLD_X, 1)`.
        let plain = format!("=@OLD_{name}");
        let wrapped = format!("(@OLD_{name}");
        !closing_block(tail).any(|line| {
            [&plain, &wrapped].iter().any(|text| {
                memchr::memmem::find(line, text.as_bytes()).is_some_and(|at| {
                    let next = line.get(at + text.len());
                    !next.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
                })
            })
        })
    });
    missing.map_or(Ok(()), |name| Err(Incomplete::NotRestored(name.clone())))
}
