//! What this program knows about SQL dumps: who wrote one, whether it is whole, and whether it is new.
//!
//! [`DumpScanner`] sees the bytes of a dump once, in pieces of any size, and keeps a few hundred kilobytes at most,
//! whatever the size of the dump. It is pushed, not pulled, so that it can run on a thread of its own beside whoever
//! unpacks. It never fails and decides nothing: the caller refuses or accepts by [`DumpFindings`].
//!
//! `head` recognises the producer, `rules` and `gate` find the lines that a tool changes each time, `fingerprint` hashes,
//! `statements` reads SQL where no end marker decides, `completeness` gives the verdict.

mod completeness;
mod fingerprint;
mod gate;
mod head;
mod lines;
mod open_end;
mod rules;
mod statements;
#[cfg(test)]
mod tests;

use crate::config::settings::{Complete, VolatileLines};
use crate::digest::Digest;

pub use completeness::{Completeness, Grounds, Incomplete, Unchecked};
pub use head::{BinaryKind, Producer};
pub use open_end::OpenEnd;

use completeness::Seen;
use fingerprint::Digests;
use gate::Gate;
use head::{HEAD_BYTES, Head, read_head};
use rules::{PgLines, Rule};
use statements::{Dialect, Statements};

/// How much of the end is kept, besides the literal that the configuration may ask for. Closing blocks are below 2 KiB.
const TAIL_BYTES: usize = 64 * 1024;

/// What one pass over a dump found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpFindings {
    /// Who wrote it.
    pub producer: Producer,
    /// Whether it was written to its end.
    pub completeness: Completeness,
    /// SHA-256 of the dump.
    pub sha256: Digest,
    /// SHA-256 of the dump without its volatile lines; equal to `sha256` if it has none.
    pub fingerprint: Digest,
    /// Bytes.
    pub size_bytes: u64,
}

/// Reads a dump that is pushed into it. What it finds does not depend on how the bytes are cut.
pub struct DumpScanner {
    complete: Complete,
    volatile: Option<VolatileLines>,
    size_bytes: u64,
    head: Vec<u8>,
    tail: Tail,
    digests: Digests,
    /// There from the moment the head is known.
    body: Option<Body>,
}

impl DumpScanner {
    /// A scanner for one dump, with what `[dump]` of the configuration asks.
    pub fn new(complete: Complete, volatile: VolatileLines) -> Self {
        let keep = TAIL_BYTES + if let Complete::Literal(literal) = &complete { literal.len() } else { 0 };
        Self {
            complete,
            volatile: Some(volatile),
            size_bytes: 0,
            head: Vec::with_capacity(HEAD_BYTES),
            tail: Tail { bytes: Vec::new(), keep },
            digests: Digests::default(),
            body: None,
        }
    }

    /// The next bytes of the dump; pieces of 64 KiB and more are the fastest.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        self.tail.push(bytes);
        if self.body.is_none() {
            let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
            self.head.extend_from_slice(head);
            if self.head.len() < HEAD_BYTES {
                return;
            }
            self.body = Some(self.begin_body());
            bytes = rest;
        }
        if let Some(body) = &mut self.body {
            body.feed(bytes, &mut self.digests);
        }
    }

    /// The dump is over.
    pub fn finish(mut self) -> DumpFindings {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.begin_body(),
        };
        body.gate.finish(&mut self.digests);
        if let Some(gate) = &mut body.pg_gate {
            gate.finish(&mut ());
        }
        let completeness = match &self.complete {
            Complete::Off => Completeness::Unchecked { why: Unchecked::Off },
            Complete::Literal(literal) => completeness::judge_literal(literal, self.tail.get()),
            Complete::Auto => completeness::judge(&body.head, self.tail.get(), &body.seen()),
        };
        let (sha256, fingerprint) = self.digests.finish();
        DumpFindings { producer: body.head.producer, completeness, sha256, fingerprint, size_bytes: self.size_bytes }
    }

    /// Chooses what has to be looked for, now that the head is known, and gives it the head.
    fn begin_body(&mut self) -> Body {
        let text = std::mem::take(&mut self.head);
        let mut body = Body::new(read_head(&text), &text, &self.complete, self.volatile.take());
        body.feed(&text, &mut self.digests);
        body
    }
}

struct Body {
    head: Head,
    /// Splits the dump for the fingerprint.
    gate: Gate,
    /// Follows pg_dump's tokens where `gate` does not.
    pg_gate: Option<Gate>,
    statements: Option<Statements>,
    /// Bytes of byte order mark that `statements` must not see.
    bom_left: usize,
}

impl Body {
    fn new(head: Head, text: &[u8], complete: &Complete, volatile: Option<VolatileLines>) -> Self {
        let is_pg = matches!(head.producer, Producer::PgDump | Producer::PgDumpAll);
        let rule = match volatile {
            Some(VolatileLines::Auto) => match head.producer {
                Producer::MysqlDump | Producer::MariadbDump => Rule::MysqlEnd,
                Producer::PhpMyAdmin => Rule::HeadLine(head.generation_line),
                _ if is_pg => Rule::Pg(PgLines::new()),
                _ => Rule::Nothing,
            },
            Some(VolatileLines::Patterns(patterns)) if !patterns.is_empty() => Rule::Patterns(patterns),
            Some(VolatileLines::Patterns(_) | VolatileLines::None) | None => Rule::Nothing,
        };
        let auto = *complete == Complete::Auto;
        let follows_pg_apart = auto && is_pg && !matches!(rule, Rule::Pg(_));
        // Reading statements costs more than hashing: not where the end alone decides.
        let dialect = match head.producer {
            _ if !auto => None,
            Producer::Sqlite => Some(Dialect::Sqlite),
            Producer::MysqlWithoutComments => Some(Dialect::Mysql),
            Producer::PhpMyAdmin if head.saved.is_empty() => Some(Dialect::Mysql),
            Producer::OtherText => Some(dialect_of(&head, text)),
            _ => None,
        };
        Self {
            gate: Gate::new(rule),
            pg_gate: follows_pg_apart.then(|| Gate::new(Rule::Pg(PgLines::new()))),
            statements: dialect.map(Statements::new),
            bom_left: head.bom_bytes,
            head,
        }
    }

    fn feed(&mut self, bytes: &[u8], digests: &mut Digests) {
        self.gate.feed(bytes, digests);
        if let Some(gate) = &mut self.pg_gate {
            gate.feed(bytes, &mut ());
        }
        if let Some(statements) = &mut self.statements {
            let bom = self.bom_left.min(bytes.len());
            self.bom_left -= bom;
            statements.feed(&bytes[bom..]);
        }
    }

    fn seen(&self) -> Seen {
        let restrict_open = |gate: &Gate| matches!(&gate.rule, Rule::Pg(pg) if pg.restrict_is_open());
        Seen {
            restrict_open: restrict_open(&self.gate) || self.pg_gate.as_ref().is_some_and(restrict_open),
            any_statement: self.statements.as_ref().is_none_or(Statements::any),
            open_end: self.statements.as_ref().and_then(Statements::open_end),
        }
    }
}

fn dialect_of(head: &Head, text: &[u8]) -> Dialect {
    let mut lines = text.split(|&byte| byte == b'\n');
    if !head.saved.is_empty() {
        Dialect::Mysql
    } else if lines.any(|line| {
        line.starts_with(b"SET standard_conforming_strings = on") || line.starts_with(b"SELECT pg_catalog.set_config(")
    }) {
        Dialect::Postgres
    } else {
        Dialect::Unknown
    }
}

/// The last bytes of a stream.
struct Tail {
    /// Between `keep` and twice as many, once there are so many.
    bytes: Vec<u8>,
    keep: usize,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.keep)..];
        if self.bytes.len() + bytes.len() > 2 * self.keep {
            let surplus = (self.bytes.len() + bytes.len() - self.keep).min(self.bytes.len());
            self.bytes.drain(..surplus);
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(self.keep)..]
    }
}
