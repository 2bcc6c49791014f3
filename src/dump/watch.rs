//! Looks for the few lines that matter in a dump whose statements are not read.
//!
//! The tools that are watched escape line ends in their data, or write it in blocks without line ends in values: a line
//! that begins like one of theirs is theirs, except in the body of a procedure.

use memchr::memchr;
use memchr::memmem::Finder;

use super::failures::{ASIDE_BYTES, Asides, aside};
use super::marks::Marks;
use super::producers::Producer;

pub(super) struct Watch {
    /// All begin with a line end.
    finders: Vec<Finder<'static>>,
    longest: usize,
    /// The last bytes, which may begin a match; fewer than the longest needle.
    tail: Vec<u8>,
    /// A line of interest, as far as it is there.
    line: Option<Vec<u8>>,
    line_at: u64,
    /// Bytes before the next one.
    at: u64,
    pub marks: Marks,
    pub asides: Asides,
}

impl Watch {
    pub fn new(producer: Producer, marks: Marks) -> Self {
        let needles: &[&'static str] = match producer {
            Producer::PgDump | Producer::PgDumpAll => &["\n--", "\npg_dump"],
            Producer::PhpMyAdmin => &["\n--", "\n<", "\nCOMMIT;"],
            Producer::Adminer => &["\n--", "\nSET foreign_key_checks = 0;"],
            Producer::Navicat => &["\nSET FOREIGN_KEY_CHECKS = "],
            Producer::MysqlPump | Producer::MysqlDumpPhp => &["\n--"],
            _ => &["\n--", "\nmysqldump: ", "\nmariadb-dump: "],
        };
        Self {
            finders: needles.iter().map(Finder::new).collect(),
            longest: needles.iter().map(|needle| needle.len()).max().unwrap_or_default(),
            tail: b"\n".to_vec(),
            line: None,
            line_at: 0,
            at: 0,
            marks,
            asides: Asides::default(),
        }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        let base = self.at;
        self.at += bytes.len() as u64;
        let mut from = 0;
        if self.line.is_none() && !self.tail.is_empty() {
            match self.search_seam(bytes) {
                Seam::Line(next) => from = next,
                Seam::Nothing => self.tail.clear(),
                Seam::TooShort => return,
            }
        }
        let mut hits: Vec<Option<usize>> = vec![Some(0); self.finders.len()];
        let mut known = vec![false; self.finders.len()];
        loop {
            if let Some(line) = &mut self.line {
                let part = &bytes[from..bytes.len().min(from + ASIDE_BYTES - line.len())];
                let end = memchr(b'\n', part);
                let used = end.unwrap_or(part.len());
                line.extend_from_slice(&part[..used]);
                from += used;
                if end.is_none() && line.len() < ASIDE_BYTES {
                    return;
                }
                self.judge();
            }
            for ((finder, hit), known) in self.finders.iter().zip(&mut hits).zip(&mut known) {
                if !*known || hit.is_some_and(|at| at < from) {
                    *hit = finder.find(&bytes[from..]).map(|at| from + at);
                    *known = true;
                }
            }
            let Some(at) = hits.iter().flatten().min().copied() else {
                self.tail = bytes[bytes.len().saturating_sub(self.longest - 1).max(from)..].to_vec();
                return;
            };
            self.line = Some(Vec::new());
            self.line_at = base + at as u64 + 1;
            from = at + 1;
        }
    }

    /// Looks for a line whose first bytes came before.
    fn search_seam(&mut self, bytes: &[u8]) -> Seam {
        let before = self.tail.len();
        let start = self.at.wrapping_sub((bytes.len() + before) as u64); // -1 at the very beginning
        let mut joined = std::mem::take(&mut self.tail);
        joined.extend_from_slice(&bytes[..bytes.len().min(self.longest - 1)]);
        let found = self.finders.iter().filter_map(|finder| finder.find(&joined)).filter(|at| *at < before).min();
        if let Some(at) = found {
            // What is in `joined` of the line goes with it; the rest comes from `bytes`.
            self.line_at = (start + at as u64).wrapping_add(1);
            self.line = Some(joined[at + 1..before].to_vec());
            return Seam::Line(0);
        }
        if bytes.len() < self.longest - 1 {
            joined.drain(..joined.len().saturating_sub(self.longest - 1));
            self.tail = joined;
            return Seam::TooShort;
        }
        Seam::Nothing
    }

    pub fn finish(&mut self) {
        if self.line.is_some() {
            self.judge();
        }
    }

    fn judge(&mut self) {
        let Some(line) = self.line.take() else { return };
        if let Some(aside) = aside(&line) {
            self.asides.note(&aside, self.line_at);
        }
        self.marks.line(&line, self.line_at);
    }
}

enum Seam {
    /// A line was found, and goes on at this place.
    Line(usize),
    Nothing,
    /// Everything is in the tail now.
    TooShort,
}
