//! This run's lines kept in memory, for the mail's attachment: the beginning and the end, capped.

use std::collections::VecDeque;

/// Bytes kept of the beginning, and again of the end.
pub(super) const HALF_BYTES: usize = 512 * 1024;

/// The head and the tail of what was logged; what lies between is counted, not kept.
#[derive(Debug)]
pub(super) struct Kept {
    half: usize,
    head: String,
    head_full: bool,
    tail: VecDeque<String>,
    tail_bytes: usize,
    dropped: u64,
}

impl Kept {
    pub(super) fn new(half: usize) -> Self {
        Kept { half, head: String::new(), head_full: false, tail: VecDeque::new(), tail_bytes: 0, dropped: 0 }
    }

    /// Adds a line, which ends in a line feed.
    pub(super) fn push(&mut self, line: &str) {
        if !self.head_full && self.head.len() + line.len() <= self.half {
            self.head.push_str(line);
            return;
        }
        // Once one line did not fit, shorter ones must not slip in before it.
        self.head_full = true;
        self.tail_bytes += line.len();
        self.tail.push_back(line.to_owned());
        while self.tail_bytes > self.half && self.tail.len() > 1 {
            if let Some(line) = self.tail.pop_front() {
                self.tail_bytes -= line.len();
                self.dropped += 1;
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = self.head.clone();
        if self.dropped > 0 {
            text.push_str(&format!("... {} lines left out here, they are in the log file ...\n", self.dropped));
        }
        self.tail.iter().for_each(|line| text.push_str(line));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_and_the_tail_survive_and_the_gap_is_counted() {
        let mut kept = Kept::new(12);
        for n in 0..9 {
            kept.push(&format!("line{n}\n"));
        }
        assert_eq!(
            kept.text(),
            "line0\nline1\n... 5 lines left out here, they are in the log file ...\nline7\nline8\n"
        );
    }

    #[test]
    fn a_short_line_does_not_overtake_a_long_one() {
        let mut kept = Kept::new(8);
        ["one\n", "a longer one\n", "x\n"].iter().for_each(|line| kept.push(line));
        let text = kept.text();
        assert!(text.starts_with("one\n..."), "{text}");
        assert!(text.ends_with("x\n"), "{text}");
    }
}
