//! Cuts the stream into lines where it matters and tells volatile lines from data.
//!
//! Most of a dump is passed on in large pieces without being cut: a rule names the places worth a look. A line that
//! arrives in pieces is gathered up to the rule's limit; a longer one is never volatile. What comes out does not depend
//! on how the input was cut.

use memchr::{memchr, memrchr};

use super::rules::{After, Rule, Verdict};

/// Where the bytes go, in order, each exactly once.
pub(super) trait Sink {
    fn keep(&mut self, bytes: &[u8]);
    fn skip(&mut self, bytes: &[u8]);
}

/// For a gate that is there only for what its rule learns on the way.
impl Sink for () {
    fn keep(&mut self, _: &[u8]) {}
    fn skip(&mut self, _: &[u8]) {}
}

/// How much may follow a line whose verdict waits for what follows.
const HELD_BYTES: usize = 4 * 1024;

pub(super) struct Gate {
    pub rule: Rule,
    /// The beginning of the current line, not passed on yet.
    carry: Vec<u8>,
    /// The current line's beginning has been passed on already.
    mid_line: bool,
    /// A line whose verdict waits, and what came after it.
    held: Vec<u8>,
    /// How much of `held` is that line.
    held_line: usize,
}

impl Gate {
    pub fn new(rule: Rule) -> Self {
        Self { rule, carry: Vec::new(), mid_line: false, held: Vec::new(), held_line: 0 }
    }

    pub fn feed(&mut self, mut bytes: &[u8], sink: &mut impl Sink) {
        if matches!(self.rule, Rule::Nothing) {
            return sink.keep(bytes);
        }
        while !bytes.is_empty() {
            if !self.carry.is_empty() {
                bytes = self.continue_line(bytes, sink);
                continue;
            }
            let Some(at) = self.next_line_to_judge(bytes) else {
                return self.pass_on(bytes, sink);
            };
            sink.keep(&bytes[..at]);
            self.mid_line = false;
            bytes = &bytes[at..];
            match memchr(b'\n', bytes) {
                Some(end) if end < self.rule.longest_line() => {
                    self.line(&bytes[..=end], sink);
                    bytes = &bytes[end + 1..];
                }
                Some(_) => self.long_line(sink),
                None => return self.begin_line(bytes, sink),
            }
        }
    }

    /// The stream is over.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        let line = std::mem::take(&mut self.carry);
        if !line.is_empty() {
            self.line(&line, sink);
        }
        // Nothing came after the held line that would make it data.
        self.release(true, sink);
    }

    fn next_line_to_judge(&self, bytes: &[u8]) -> Option<usize> {
        if self.held.is_empty() && !self.rule.wants_every_line() {
            return self.rule.find(bytes, !self.mid_line);
        }
        if self.mid_line { memchr(b'\n', bytes).map(|end| end + 1) } else { Some(0) }
    }

    /// Passes on what holds no line worth a look, except the beginning of its last line.
    fn pass_on(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        let last_line = match memrchr(b'\n', bytes) {
            Some(end) => {
                self.mid_line = false;
                end + 1
            }
            None if self.mid_line => bytes.len(),
            None => 0,
        };
        sink.keep(&bytes[..last_line]);
        self.begin_line(&bytes[last_line..], sink);
    }

    fn begin_line(&mut self, part: &[u8], sink: &mut impl Sink) {
        if part.len() > self.rule.longest_line() {
            self.long_line(sink);
            sink.keep(part);
        } else {
            self.carry.extend_from_slice(part);
        }
    }

    /// Returns what is left of `bytes` after the line in `carry` is complete or too long.
    fn continue_line<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let room = self.rule.longest_line() - self.carry.len();
        let end = memchr(b'\n', &bytes[..bytes.len().min(room)]);
        let part = end.map_or(bytes.len(), |end| end + 1);
        if part > room {
            self.long_line(sink);
            let carry = std::mem::take(&mut self.carry);
            sink.keep(&carry);
            return bytes;
        }
        self.carry.extend_from_slice(&bytes[..part]);
        if end.is_some() {
            let mut line = std::mem::take(&mut self.carry);
            self.line(&line, sink);
            line.clear();
            self.carry = line;
        }
        &bytes[part..]
    }

    fn long_line(&mut self, sink: &mut impl Sink) {
        self.release(false, sink);
        self.rule.long_line();
        self.mid_line = true;
    }

    fn line(&mut self, line: &[u8], sink: &mut impl Sink) {
        if !self.held.is_empty() {
            match self.rule.judge_after(line) {
                After::StillOpen if self.held.len() + line.len() <= HELD_BYTES => {
                    return self.held.extend_from_slice(line);
                }
                After::WasVolatile => self.release(true, sink),
                After::StillOpen | After::WasData => self.release(false, sink),
            }
        }
        match self.rule.judge(line) {
            Verdict::Data => sink.keep(line),
            Verdict::Volatile => sink.skip(line),
            Verdict::DependsOnWhatFollows => {
                self.held.extend_from_slice(line);
                self.held_line = line.len();
            }
        }
    }

    fn release(&mut self, volatile: bool, sink: &mut impl Sink) {
        if self.held.is_empty() {
            return;
        }
        let (line, rest) = self.held.split_at(self.held_line);
        if volatile {
            sink.skip(line)
        } else {
            sink.keep(line)
        }
        sink.keep(rest);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::producers::Producer;
    use super::super::rules::{PgLines, Times};
    use super::*;

    #[derive(Default)]
    struct Record {
        kept: Vec<u8>,
        skipped: Vec<u8>,
    }

    impl Sink for Record {
        fn keep(&mut self, bytes: &[u8]) {
            self.kept.extend_from_slice(bytes);
        }

        fn skip(&mut self, bytes: &[u8]) {
            self.skipped.extend_from_slice(bytes);
        }
    }

    /// What is skipped; checks on the way that everything else is kept.
    fn skipped(rule: Rule, pieces: &[&str]) -> String {
        let (mut gate, mut record) = (Gate::new(rule), Record::default());
        for piece in pieces {
            gate.feed(piece.as_bytes(), &mut record);
        }
        gate.finish(&mut record);
        let skipped = String::from_utf8(record.skipped).unwrap();
        assert_eq!(String::from_utf8(record.kept).unwrap(), pieces.concat().replacen(&skipped, "", 1));
        skipped
    }

    fn mysql_end() -> Rule {
        Rule::Times(Box::new(Times::new(Vec::new(), Producer::MysqlDump.profile().unwrap())))
    }

    const END: &str = "-- Dump completed on 2026-11-20 13:17:04\n";

    #[test]
    fn a_marker_is_found_however_it_is_cut() {
        for at in 0..END.len() {
            let (a, b) = END.split_at(at);
            assert_eq!(skipped(mysql_end(), &["x\n", a, b, "\n"]), END, "{at}");
            assert_eq!(skipped(mysql_end(), &[&format!("x\n{a}"), b]), END, "{at}");
        }
    }

    #[test]
    fn what_looks_like_a_marker_in_the_middle_of_a_long_line_is_kept() {
        let long = "y".repeat(3000);
        for pieces in [[&long, "", END], [&long, "y", END], [&long, &END[..7], &END[7..]]] {
            assert_eq!(skipped(mysql_end(), &pieces), "", "{pieces:?}");
        }
    }

    #[test]
    fn a_line_is_too_long_at_the_same_length_however_it_is_cut() {
        let line = |length: usize| {
            let start = "-- Completed on 2026-11-20 13:17:04 ";
            format!("{start}{}\n", "z".repeat(length - start.len() - 1))
        };
        for (length, volatile) in [(1024, true), (1025, false)] {
            let line = line(length);
            let expected = if volatile { line.as_str() } else { "" };
            for at in [0, 1, 20, 1000, length - 2, length - 1, length] {
                let (a, b) = line.split_at(at);
                assert_eq!(skipped(Rule::Pg(PgLines::new()), &["SET a;\n", a, b]), expected, "{length} cut at {at}");
                assert_eq!(skipped(Rule::Pg(PgLines::new()), &["--\n", a, b]), expected, "{length} cut at {at}");
            }
        }
    }
}
