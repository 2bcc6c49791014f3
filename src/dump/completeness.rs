//! Is the dump whole? The verdict, from the head, the tail and what the scan saw in between.
//!
//! Refusing a whole dump wakes somebody up; accepting half of one loses the database. So a producer's end is demanded
//! exactly as the producer writes it, down to the line end after it: without that line end, `-- Dump completed` may be a
//! dated line that was cut. Where the end says enough by itself (`COMMIT;`, a closed statement) a missing last line end
//! is let pass.

use std::fmt;

use crate::text;
use crate::text::Text;

use super::binary::BinaryKind;
use super::head::Head;
use super::lines::{is_blank, is_pg_time, restrict_token, trim_line_end};
use super::marks::Marks;
use super::open_end::{OpenEnd, Stop};
use super::producers::{End, EndLine, Producer};
use super::statements::Read;

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
        /// Where it stops; `None` where that would say nothing.
        stop: Option<Stop>,
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
    /// The dump has settings, and nothing that they are for.
    OnlySettings,
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
    /// The dump opens a transaction and rolls it back, or ends with `ROLLBACK`: its producer gave up.
    RolledBack,
    /// A transaction is opened after so many bytes and never committed.
    NotCommitted {
        /// Bytes before it.
        at: u64,
    },
    /// The file holds several dumps, and not each of them has its end.
    Unended {
        /// Dumps in the file.
        dumps: u32,
        /// Of which so many are followed by another one before their end.
        unended: u32,
    },
    /// Something was still open.
    LeftOpen {
        /// What.
        open: OpenEnd,
        /// Where it begins: bytes before it.
        at: u64,
    },
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
            Self::Incomplete { reason, stop: None } => write!(f, "incomplete: {reason}"),
            Self::Incomplete { reason, stop: Some(stop) } => write!(f, "incomplete: {reason}; {}", stop.text().en),
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
            Self::OnlySettings => f.write_str("the dump holds nothing but settings"),
            Self::NotSql(kind) => write!(f, "this is a {kind}, neither SQL text nor a kind of dump that is known"),
            Self::NoEndMarker(marker) => write!(f, "the dump does not end with `{marker}`"),
            Self::EndMarkerCut(marker) => write!(f, "the dump is cut in or right after its last line, `{marker}`"),
            Self::RestrictStillOpen => f.write_str("the last line, `\\unrestrict` with its token, is missing"),
            Self::NotRestored(name) => write!(f, "the end of the dump does not restore `@OLD_{name}`"),
            Self::RolledBack => {
                f.write_str("the dump rolls its transaction back (`ROLLBACK`): the program that made it met an error")
            }
            Self::NotCommitted { at } => {
                write!(f, "the transaction that is opened after byte {at} is never committed: `COMMIT` is missing")
            }
            Self::Unended { dumps, unended } => {
                write!(
                    f,
                    "the file holds {dumps} dumps, and {unended} of them lacks its end before the next one begins"
                )
            }
            Self::LeftOpen { open, at } => write!(f, "the dump ends within {open}, which begins after byte {at}"),
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

impl Incomplete {
    /// What to do about it.
    pub fn hint(&self) -> Text {
        match self {
            Self::NotSql(BinaryKind::Utf16) => text!(
                "PowerShell's `>` writes UTF-16: let the program write the file itself (`mysqldump --result-file=…`, `pg_dump -f …`), or set `complete = \"off\"` under `[dump]`"
                    / "le `>` de PowerShell écrit en UTF-16 : laissez le programme écrire lui-même le fichier (`mysqldump --result-file=…`, `pg_dump -f …`), ou mettez `complete = \"off\"` dans `[dump]`"
            ),
            Self::NotSql(_) => text!(
                "look at the file: is it an error page, or was its disk full? If it is right, set `complete` under `[dump]` to its last words or to `\"off\"`"
                    / "regardez le fichier : est-ce une page d'erreur, le disque était-il plein ? S'il est bon, donnez à `complete` dans `[dump]` ses derniers mots ou `\"off\"`"
            ),
            Self::RolledBack => text!(
                "look at the error messages of the job that makes the export: it could not read the whole database; if this dump is right all the same, see `complete` under `[dump]`"
                    / "voyez les messages d'erreur de la tâche qui produit l'export : elle n'a pas pu lire toute la base ; si cet export est pourtant bon, voyez `complete` dans `[dump]`"
            ),
            Self::Unended { .. } => text!(
                "one of the commands that write into this file failed: look at the job that makes the export; if this dump is whole all the same, see `complete` under `[dump]`"
                    / "l'une des commandes qui écrivent dans ce fichier a échoué : voyez la tâche qui produit l'export ; si cet export est pourtant entier, voyez `complete` dans `[dump]`"
            ),
            _ => text!(
                "the export was cut before it was zipped: look at the job that makes it (disk full? timeout?); if this dump is whole all the same, see `complete` under `[dump]`"
                    / "l'export a été coupé avant d'être compressé : voyez la tâche qui le produit (disque plein ? délai dépassé ?) ; si cet export est pourtant entier, voyez `complete` dans `[dump]`"
            ),
        }
    }
}

/// What the scan saw between head and tail.
pub(super) struct Seen {
    pub restrict_open: bool,
    pub size_bytes: u64,
    /// Of a dump whose statements were read.
    pub read: Option<Read>,
    pub marks: Marks,
}

const PG_END: &str = "-- PostgreSQL database dump complete";
const PG_ALL_END: &str = "-- PostgreSQL database cluster dump complete";
const COMMIT: &str = "COMMIT;";
const FOREIGN_KEYS_ON: &str = "SET FOREIGN_KEY_CHECKS = 1;";

/// Judges a dump by its producer's habits; `tail` is its end, or all of it.
pub(super) fn judge(head: &Head, tail: &[u8], seen: &Seen) -> Completeness {
    let end = match head.producer {
        // An error page, a file of zeros that a crash left, an encoding that nothing here can read: no dump to be trusted.
        Producer::Binary(kind @ (BinaryKind::Unknown | BinaryKind::Xml | BinaryKind::Utf16)) => {
            return Completeness::Incomplete { reason: Incomplete::NotSql(kind), stop: None };
        }
        Producer::Binary(kind) => return Completeness::Unchecked { why: Unchecked::Binary(kind) },
        producer => producer.profile().map_or(End::Closed, |profile| profile.end),
    };
    let verdict =
        if is_blank(tail) { Err(Incomplete::Empty) } else { closed(seen).and_then(|()| by_end(end, head, tail, seen)) };
    let verdict = verdict.and_then(|grounds| each_ended(&seen.marks).map(|()| grounds));
    with_stop(verdict, seen.size_bytes, tail)
}

/// Judges a dump by the text that the configuration asks for.
pub(super) fn judge_literal(literal: &str, size_bytes: u64, tail: &[u8]) -> Completeness {
    let found = tail.trim_ascii_end().ends_with(literal.trim_ascii_end().as_bytes());
    let verdict = if found { Ok(Grounds::Literal) } else { Err(Incomplete::NoLiteral(literal.to_owned())) };
    with_stop(verdict, size_bytes, tail)
}

fn with_stop(verdict: Result<Grounds, Incomplete>, size_bytes: u64, tail: &[u8]) -> Completeness {
    match verdict {
        Ok(grounds) => Completeness::Complete { grounds },
        // Where it stops is not what is wrong.
        Err(reason @ (Incomplete::Empty | Incomplete::RolledBack | Incomplete::Unended { .. })) => {
            Completeness::Incomplete { reason, stop: None }
        }
        Err(reason) => Completeness::Incomplete { reason, stop: Some(Stop::of(size_bytes, tail)) },
    }
}

fn by_end(end: End, head: &Head, tail: &[u8], seen: &Seen) -> Result<Grounds, Incomplete> {
    match end {
        End::Line(line) => last_line(line, head, tail),
        End::Postgres => {
            let is_cluster = seen.marks.cluster_is_last().unwrap_or(head.producer == Producer::PgDumpAll);
            postgres(if is_cluster { PG_ALL_END } else { PG_END }, tail, seen)
        }
        End::Commit if lines_from_the_end(tail).next() == Some(COMMIT.as_bytes()) => marker(COMMIT),
        End::Commit => Err(Incomplete::NoEndMarker(COMMIT.to_owned())),
        End::PhpMyAdmin => php_my_admin(head, tail, seen),
        End::ForeignKeysOn if !head.foreign_keys_off => closed_and_restored(head, tail, seen),
        End::ForeignKeysOn if closing_block(tail).any(|line| line == FOREIGN_KEYS_ON.as_bytes()) => {
            marker(FOREIGN_KEYS_ON)
        }
        End::ForeignKeysOn => Err(Incomplete::NoEndMarker(FOREIGN_KEYS_ON.to_owned())),
        End::Closed => closed_and_restored(head, tail, seen),
    }
}

/// Where there is no marker: the head alone is no dump, unless it saves settings and the end restores them.
fn closed_and_restored(head: &Head, tail: &[u8], seen: &Seen) -> Result<Grounds, Incomplete> {
    if head.saved.is_empty() && seen.read.as_ref().is_some_and(|read| !read.any_content) {
        return Err(Incomplete::OnlySettings);
    }
    restored(head, tail).map(|()| Grounds::ClosedStatement)
}

fn marker(text: &str) -> Result<Grounds, Incomplete> {
    Ok(Grounds::EndMarker(text.to_owned()))
}

/// Of several dumps in one file, each must have had its end before the next one began.
fn each_ended(marks: &Marks) -> Result<(), Incomplete> {
    match marks.unended {
        0 => Ok(()),
        unended => Err(Incomplete::Unended { dumps: marks.begun, unended }),
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

fn last_line(end: EndLine, head: &Head, tail: &[u8]) -> Result<Grounds, Incomplete> {
    let last = lines_from_the_end(tail).next().unwrap_or_default();
    if (end.shape)(last).is_none() {
        let cut = last.starts_with(end.shown.as_bytes());
        let reason = if cut { Incomplete::EndMarkerCut } else { Incomplete::NoEndMarker };
        return Err(reason(end.shown.to_owned()));
    }
    if line_ends(tail) == 0 {
        return Err(Incomplete::EndMarkerCut(end.shown.to_owned()));
    }
    // A procedure can hold a line that looks like the marker; it does not come right after the restored settings.
    restored(head, tail)?;
    marker(end.shown)
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

fn php_my_admin(head: &Head, tail: &[u8], seen: &Seen) -> Result<Grounds, Incomplete> {
    if !head.opens_transaction {
        return closed_and_restored(head, tail, seen);
    }
    if !closing_block(tail).any(|line| line == COMMIT.as_bytes()) {
        return Err(Incomplete::NoEndMarker(COMMIT.to_owned()));
    }
    restored(head, tail)?;
    marker(COMMIT)
}

/// What the statements say, where they were read.
fn closed(seen: &Seen) -> Result<(), Incomplete> {
    let Some(read) = &seen.read else { return Ok(()) };
    if let Some((open, at)) = &read.open {
        return Err(Incomplete::LeftOpen { open: open.clone(), at: *at });
    }
    if !read.any {
        return Err(Incomplete::Empty);
    }
    if read.transaction.rolled_back {
        return Err(Incomplete::RolledBack);
    }
    match read.transaction.abandoned_at.or(read.transaction.open_at) {
        Some(at) => Err(Incomplete::NotCommitted { at }),
        None => Ok(()),
    }
}

/// The settings, comments and the `COMMIT` at the very end, the last line first.
fn closing_block(tail: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines_from_the_end(tail).take_while(|line| {
        let is_setting = line.starts_with(b"SET ") && line.ends_with(b";");
        let is_versioned = (line.starts_with(b"/*!") || line.starts_with(b"/*M!")) && line.ends_with(b"*/;");
        let is_comment = line.starts_with(b"--") || line.starts_with(b"#") || line.starts_with(b"/* ");
        is_blank(line) || is_comment || is_setting || is_versioned || *line == COMMIT.as_bytes()
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
