//! What this program knows about SQL dumps: who wrote one, whether it is whole, and whether it is new.
//!
//! [`DumpScanner`] sees the bytes of a dump once, in pieces of any size, and keeps a few hundred kilobytes at most,
//! whatever the size of the dump. It is pushed, not pulled, so that it can run on a thread of its own beside whoever
//! unpacks. It never fails and decides nothing: the caller refuses or accepts by [`DumpFindings`].
//!
//! `producers` is the table of those that are known, `head` recognises them. `rules` and `gate` find the lines that a tool
//! changes each time, `fingerprint` hashes. `statements` reads SQL where no end marker decides, `watch` looks for what
//! matters where one does; `marks` counts dumps, `failures` knows lines that are no SQL. `completeness` gives the verdict.
//! `edges` finds the lines that differ although nothing else does.

mod binary;
mod completeness;
mod edges;
mod failures;
mod fingerprint;
mod gate;
mod head;
mod lines;
mod marks;
mod open_end;
mod producers;
mod reading;
mod rules;
mod statements;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_producers;
#[cfg(test)]
mod tests_reading;
mod transaction;
mod watch;

use crate::config::settings::{Complete, VolatileLines};
use crate::digest::Digest;

pub use binary::BinaryKind;
pub use completeness::{Completeness, Grounds, Incomplete, Unchecked};
pub use edges::Edges;
pub use failures::DumpWarning;
pub use open_end::{LastLine, OpenEnd, Stop};
pub use producers::Producer;

use completeness::Seen;
use edges::EdgeReader;
use fingerprint::Digests;
use gate::Gate;
use head::{HEAD_BYTES, Head, read_head};
use marks::Marks;
use producers::Reads;
use reading::Dialect;
use rules::{PgLines, Rule, Times};
use statements::{Read, Statements};
use watch::Watch;

/// How much of the end is kept, besides the literal that the configuration may ask for. Closing blocks are below 2 KiB.
const TAIL_BYTES: usize = 64 * 1024;

/// What one pass over a dump found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpFindings {
    /// Who wrote it.
    pub producer: Producer,
    /// Whether it was written to its end.
    pub completeness: Completeness,
    /// What the report has to tell beside.
    pub warnings: Vec<DumpWarning>,
    /// SHA-256 of the dump.
    pub sha256: Digest,
    /// SHA-256 of the dump without its volatile lines; equal to `sha256` if it has none.
    pub fingerprint: Digest,
    /// What to compare the next dump with if it is not the same; `None` where the configuration wants every byte to count.
    pub edges: Option<Edges>,
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
    edges: Option<EdgeReader>,
    digests: Digests,
    /// There from the moment the head is known.
    body: Option<Body>,
}

impl DumpScanner {
    /// A scanner for one dump, with what `[dump]` of the configuration asks.
    pub fn new(complete: Complete, volatile: VolatileLines) -> Self {
        let keep = TAIL_BYTES + if let Complete::Literal(literal) = &complete { literal.len() } else { 0 };
        let edges = (!matches!(volatile, VolatileLines::None)).then(EdgeReader::default);
        Self {
            complete,
            volatile: Some(volatile),
            size_bytes: 0,
            head: Vec::with_capacity(HEAD_BYTES),
            tail: Tail { bytes: Vec::new(), keep },
            edges,
            digests: Digests::default(),
            body: None,
        }
    }

    /// The next bytes of the dump; pieces of 64 KiB and more are the fastest.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        self.tail.push(bytes);
        if let Some(edges) = &mut self.edges {
            edges.feed(bytes);
        }
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
        let (seen, warnings) = body.finish(self.size_bytes);
        let completeness = match &self.complete {
            Complete::Off => Completeness::Unchecked { why: Unchecked::Off },
            Complete::Literal(literal) => completeness::judge_literal(literal, self.size_bytes, self.tail.get()),
            Complete::Auto => completeness::judge(&body.head, self.tail.get(), &seen),
        };
        let (sha256, fingerprint) = self.digests.finish();
        DumpFindings {
            producer: body.head.producer,
            completeness,
            warnings,
            sha256,
            fingerprint,
            edges: self.edges.map(EdgeReader::finish),
            size_bytes: self.size_bytes,
        }
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
    reader: Reader,
    /// Counts the dumps in the file beside a reader of statements, which may see a head as part of a string that was cut.
    counter: Option<Watch>,
    /// Bytes of byte order mark and noise on top that `reader` must not see.
    skip_bytes: usize,
}

/// Who looks for what happens between head and end.
enum Reader {
    Statements(Box<Statements>),
    /// Reading statements costs more than hashing: not where the end alone decides.
    Watch(Watch),
    Nothing,
}

impl Body {
    fn new(head: Head, text: &[u8], complete: &Complete, volatile: Option<VolatileLines>) -> Self {
        let is_pg = matches!(head.producer, Producer::PgDump | Producer::PgDumpAll);
        let rule = match volatile {
            Some(VolatileLines::Auto) => match head.producer.profile() {
                _ if is_pg => Rule::Pg(PgLines::new()),
                _ if head.producer == Producer::SqlServer => Rule::ScriptDates(true),
                Some(profile) if profile.end_line().is_some() || !head.dated.is_empty() => {
                    Rule::Times(Box::new(Times::new(head.dated.clone(), profile)))
                }
                _ => Rule::Nothing,
            },
            Some(VolatileLines::Patterns(patterns)) if !patterns.is_empty() => Rule::Patterns(patterns),
            Some(VolatileLines::Patterns(_) | VolatileLines::None) | None => Rule::Nothing,
        };
        let auto = *complete == Complete::Auto;
        let follows_pg_apart = auto && is_pg && !matches!(rule, Rule::Pg(_));
        Self {
            gate: Gate::new(rule),
            pg_gate: follows_pg_apart.then(|| Gate::new(Rule::Pg(PgLines::new()))),
            counter: if auto { counter_of(&head, text) } else { None },
            reader: if auto { reader_of(&head, text) } else { Reader::Nothing },
            skip_bytes: head.skip_bytes,
            head,
        }
    }

    fn feed(&mut self, bytes: &[u8], digests: &mut Digests) {
        self.gate.feed(bytes, digests);
        if let Some(gate) = &mut self.pg_gate {
            gate.feed(bytes, &mut ());
        }
        let skip = self.skip_bytes.min(bytes.len());
        self.skip_bytes -= skip;
        if let Some(counter) = &mut self.counter {
            counter.feed(&bytes[skip..]);
        }
        match &mut self.reader {
            Reader::Statements(statements) => statements.feed(&bytes[skip..]),
            Reader::Watch(watch) => watch.feed(&bytes[skip..]),
            Reader::Nothing => {}
        }
    }

    /// What was seen, and what the report has to tell.
    fn finish(&mut self, size_bytes: u64) -> (Seen, Vec<DumpWarning>) {
        let restrict_open = |gate: &Gate| matches!(&gate.rule, Rule::Pg(pg) if pg.restrict_is_open());
        let restrict_open = restrict_open(&self.gate) || self.pg_gate.as_ref().is_some_and(restrict_open);
        let (read, mut marks, asides) = match std::mem::replace(&mut self.reader, Reader::Nothing) {
            Reader::Statements(statements) => {
                let reading = statements.finish();
                (Some(Read::from(&reading)), reading.marks, reading.asides)
            }
            Reader::Watch(mut watch) => {
                watch.finish();
                (None, watch.marks, watch.asides)
            }
            Reader::Nothing => Default::default(),
        };
        if let Some(mut counter) = self.counter.take() {
            counter.finish();
            marks = counter.marks;
        }
        let mut warnings = std::mem::take(&mut self.head.noise);
        warnings.extend(asides.into_warnings(self.head.skip_bytes as u64));
        (Seen { restrict_open, size_bytes, read, marks }, warnings)
    }
}

/// For MySQL's dialect only: there line ends in data are escaped, and a line that looks like a head is one.
fn counter_of(head: &Head, text: &[u8]) -> Option<Watch> {
    let dialect = match head.producer.profile()?.reads {
        Reads::Always(dialect) => dialect,
        Reads::AsTheHeadSays => dialect_of(head, text),
        Reads::Never | Reads::UnlessSaved(_) => return None,
    };
    let marks = Marks::new(head);
    (dialect == Dialect::Mysql && marks.is_of_use()).then(|| Watch::new(head.producer, marks))
}

fn reader_of(head: &Head, text: &[u8]) -> Reader {
    let read = |dialect| Reader::Statements(Box::new(Statements::new(dialect, Marks::new(head))));
    match head.producer.profile().map(|profile| profile.reads) {
        Some(Reads::Always(dialect)) => read(dialect),
        Some(Reads::UnlessSaved(dialect)) if head.saved.is_empty() => read(dialect),
        Some(Reads::Never | Reads::UnlessSaved(_)) => Reader::Watch(Watch::new(head.producer, Marks::new(head))),
        Some(Reads::AsTheHeadSays) => read(dialect_of(head, text)),
        None if matches!(head.producer, Producer::Binary(_)) => Reader::Nothing,
        None => read(dialect_of(head, text)),
    }
}

/// The dialect of a text whose producer knows several, by what its first lines say.
fn dialect_of(head: &Head, text: &[u8]) -> Dialect {
    let lines = || text.split(|&byte| byte == b'\n');
    let names = |name: &str| lines().take(24).any(|line| memchr::memmem::find(line, name.as_bytes()).is_some());
    let is_tool = head.producer.profile().is_some();
    if !head.saved.is_empty() || (is_tool && (names("MySQL") || names("MariaDB"))) {
        Dialect::Mysql
    } else if lines().any(|line| {
        line.starts_with(b"SET standard_conforming_strings = on") || line.starts_with(b"SELECT pg_catalog.set_config(")
    }) || (is_tool && names("PostgreSQL"))
    {
        Dialect::Postgres
    } else if is_tool && names("SQLite") {
        Dialect::Sqlite
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
