//! Reads the statements of a dump, in two ways side by side where its dialect is not known.
//!
//! Until a backslash stands before a quote, both ways are the same. There the reading forks: in one a backslash escapes,
//! in the other it does not. The wrong one takes data for code from there on, and soon a word touches the end of a string,
//! which no SQL has. The one with fewer such doubts counts; if they are equal, the one that ends closed.

use super::marks::Marks;
use super::open_end::OpenEnd;
use super::reading::{Dialect, Reading};
use super::transaction::Transaction;

pub(super) struct Statements {
    /// The only one, or the one in which a backslash is like any other character.
    plain: Reading,
    escaping: Option<Reading>,
}

/// So many more doubts, and the other reading is given up.
const SETTLED: u32 = 8;

impl Statements {
    pub fn new(dialect: Dialect, marks: Marks) -> Self {
        Self { plain: Reading::new(dialect, marks), escaping: None }
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        if self.escaping.is_none() {
            bytes = &bytes[self.plain.feed(bytes)..];
            if bytes.is_empty() {
                return;
            }
            self.escaping = Some(self.plain.fork());
        }
        self.plain.feed(bytes);
        if let Some(mut escaping) = self.escaping.take() {
            escaping.feed(bytes);
            if escaping.doubts + SETTLED <= self.plain.doubts {
                self.plain = escaping;
            } else if self.plain.doubts + SETTLED > escaping.doubts {
                self.escaping = Some(escaping);
            }
        }
    }

    /// The dump is over: the reading that counts.
    pub fn finish(mut self) -> Reading {
        self.plain.finish();
        let Some(mut escaping) = self.escaping else { return self.plain };
        escaping.finish();
        let is_whole = |reading: &Reading| reading.open_end().is_none() && reading.transaction.is_committed();
        let other_is_better = match escaping.doubts.cmp(&self.plain.doubts) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => is_whole(&escaping) && !is_whole(&self.plain),
        };
        if other_is_better { escaping } else { self.plain }
    }
}

/// What the statements tell of the dump's end.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// A statement was closed at least once.
    pub any: bool,
    /// One of them was no setting.
    pub any_content: bool,
    /// What is open, and where it begins.
    pub open: Option<(OpenEnd, u64)>,
    pub transaction: Transaction,
}

impl From<&Reading> for Read {
    fn from(reading: &Reading) -> Self {
        Self {
            any: reading.any(),
            any_content: reading.any_content,
            open: reading.open_end().map(|open| (open, reading.open_at())),
            transaction: reading.transaction.clone(),
        }
    }
}
