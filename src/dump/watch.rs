//! Looks for the few lines that matter in a dump whose statements are not read.
//!
//! The tools that are watched escape line ends in their data, or write it in blocks without line ends in values: a line
//! that begins like one of theirs is theirs, except in the body of a procedure.

use memchr::memchr;

use super::failures::{ASIDE_BYTES, Asides, aside};
use super::marks::Marks;
use super::producers::Producer;

pub(super) struct Watch {
    /// What lines of interest begin with, each with the line end before it.
    needles: &'static [&'static str],
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
            needles,
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
        // A line may begin in what came before.
        while self.line.is_none() && !self.tail.is_empty() {
            let before = self.tail.len();
            let mut joined = std::mem::take(&mut self.tail);
            joined.extend_from_slice(&bytes[..bytes.len().min(self.longest - 1)]);
            if let Some(at) = self.find(&joined).filter(|at| *at < before) {
                // -1 at the very beginning, for the line end that is taken to stand there.
                let line_at = self.at.wrapping_sub(before as u64).wrapping_add(at as u64 + 1);
                self.begin_line(line_at);
                self.search(&joined[at + 1..before], line_at);
            } else if bytes.len() < self.longest - 1 {
                joined.drain(..joined.len().saturating_sub(self.longest - 1));
                self.tail = joined;
                self.at += bytes.len() as u64;
                return;
            }
        }
        self.search(bytes, self.at);
        self.at += bytes.len() as u64;
    }

    /// Goes on with the line that is open, and looks for further ones; `bytes` come after `base` bytes.
    fn search(&mut self, bytes: &[u8], base: u64) {
        let mut from = 0;
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
            let Some(next) = self.find(&bytes[from..]).map(|at| from + at) else {
                self.tail = bytes[bytes.len().saturating_sub(self.longest - 1).max(from)..].to_vec();
                return;
            };
            self.begin_line(base + next as u64 + 1);
            from = next + 1;
        }
    }

    /// Where the line end before the next line of interest is.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        memchr::memchr_iter(b'\n', bytes).find(|&at| {
            let rest = &bytes[at..];
            self.needles.iter().any(|needle| rest.starts_with(needle.as_bytes()))
        })
    }

    fn begin_line(&mut self, at: u64) {
        self.line = Some(Vec::new());
        self.line_at = at;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_however_it_is_cut() {
        let host = "-- Host: localhost    Database: x\n";
        let text =
            format!("--\n{host}mysqldump: Error 1\n--\n--\n{}\n{host}'\n--x\n-- Dump completed\n", "y".repeat(300));
        for size in 1..40 {
            let head = super::super::head::read_head(b"-- MySQL dump 10.13\n");
            let mut watch = Watch::new(Producer::MysqlDump, Marks::new(&head));
            text.as_bytes().chunks(size).for_each(|piece| watch.feed(piece));
            watch.finish();
            assert_eq!((watch.marks.begun, watch.marks.unended), (2, 1), "in pieces of {size}");
            assert_eq!(watch.asides.into_warnings(0).len(), 1, "in pieces of {size}");
        }
    }
}
