//! One file may hold several dumps: follows the lines with which each begins and ends.

use super::head::Head;
use super::lines::trim_line_end;
use super::producers::{End, Producer};

/// What begins and ends a dump inside of the file.
#[derive(Clone, Debug, Default)]
enum Kind {
    /// Nothing that can be known.
    #[default]
    Nothing,
    /// By the producer's row.
    Row(Producer),
    /// phpMyAdmin's `COMMIT;`.
    Commit(&'static [&'static str]),
    /// Navicat's `SET FOREIGN_KEY_CHECKS = 1;`.
    ForeignKeys(&'static [&'static str]),
    /// Dumps within a cluster dump.
    Postgres,
}

/// Within so many bytes are all lines by which one head is known.
const HEAD_BYTES: u64 = 200;

#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    kind: Kind,
    /// Of PostgreSQL the second is the cluster dump.
    open: [bool; 2],
    /// How many dumps began.
    pub begun: u32,
    /// Where the last one did.
    begun_at: u64,
    /// By which of the lines that are known.
    begun_by: usize,
    /// How many of them another one followed before their end.
    pub unended: u32,
    /// The end that was seen last was that of a cluster dump.
    cluster_ended: bool,
    /// A line that begins a dump of PostgreSQL if `--` follows right here.
    pending: Option<(usize, u64)>,
}

impl Marks {
    pub fn new(head: &Head) -> Self {
        let again = head.producer.profile().map_or(&[][..], |profile| profile.again);
        let kind = match head.producer.profile().map(|profile| profile.end) {
            Some(End::Postgres) => Kind::Postgres,
            Some(End::Line(_)) if !again.is_empty() => Kind::Row(head.producer),
            Some(End::PhpMyAdmin) if head.opens_transaction => Kind::Commit(again),
            Some(End::ForeignKeysOn) if head.foreign_keys_off => Kind::ForeignKeys(again),
            _ => Kind::Nothing,
        };
        Self { kind, ..Self::default() }
    }

    /// Whether anything can be known of where dumps begin and end.
    pub fn is_of_use(&self) -> bool {
        !matches!(self.kind, Kind::Nothing)
    }

    /// A line, without its end or cut after some dozen bytes, that begins after `at` bytes.
    pub fn line(&mut self, line: &[u8], at: u64) {
        let line = trim_line_end(line);
        let starts = |prefixes: &[&str]| prefixes.iter().position(|prefix| line.starts_with(prefix.as_bytes()));
        let (begins, ends) = match &self.kind {
            Kind::Nothing => return,
            Kind::Postgres => return self.postgres_line(line, at),
            Kind::Row(producer) => {
                let Some(profile) = producer.profile() else { return };
                (starts(profile.again), profile.end_line().is_some_and(|end| (end.shape)(line).is_some()))
            }
            Kind::Commit(again) => (starts(again), line == b"COMMIT;"),
            Kind::ForeignKeys(again) => (starts(again), line == b"SET FOREIGN_KEY_CHECKS = 1;"),
        };
        if let Some(which) = begins {
            self.begin(0, at, which);
        } else if ends {
            self.open[0] = false;
        }
    }

    fn postgres_line(&mut self, line: &[u8], at: u64) {
        if let Some((kind, next)) = self.pending.take()
            && line == b"--"
            && next.abs_diff(at) <= 1
        {
            return self.begin(kind, at, 0);
        }
        match line {
            b"-- PostgreSQL database dump" => self.pending = Some((0, at + line.len() as u64 + 1)),
            b"-- PostgreSQL database cluster dump" => self.pending = Some((1, at + line.len() as u64 + 1)),
            b"-- PostgreSQL database dump complete" => (self.open[0], self.cluster_ended) = (false, false),
            b"-- PostgreSQL database cluster dump complete" => (self.open[1], self.cluster_ended) = (false, true),
            _ => {}
        }
    }

    fn begin(&mut self, kind: usize, at: u64, which: usize) {
        // A head has several lines by which it is known: the first may be glued to a row that was cut.
        let is_same = self.open[kind] && which > self.begun_by && at.saturating_sub(self.begun_at) < HEAD_BYTES;
        (self.begun_at, self.begun_by) = (at, which);
        if is_same {
            return;
        }
        self.begun += 1;
        self.unended += u32::from(self.open[kind]);
        self.open[kind] = true;
    }

    /// Whether the end that is due is that of a cluster dump: `None` if nothing is known of any.
    pub fn cluster_is_last(&self) -> Option<bool> {
        (self.begun > 0).then_some(self.open[1] || self.cluster_ended)
    }
}
