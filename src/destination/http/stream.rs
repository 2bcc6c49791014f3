//! An answer's body for a parser that reads: nothing of it is held but the last piece.

use std::io::{self, BufRead, Read};

use bytes::{Buf as _, Bytes};

use super::Answer;
use super::errors::Stop;
use crate::destination::DestinationError;

/// A body as it comes.
pub(in crate::destination) struct Stream<'r, 'a> {
    answer: &'r mut Answer<'a>,
    piece: Bytes,
    left_bytes: u64,
    stop: Option<Stop>,
}

impl<'r, 'a> Stream<'r, 'a> {
    pub(super) fn new(answer: &'r mut Answer<'a>, most_bytes: u64) -> Self {
        Stream { answer, piece: Bytes::new(), left_bytes: most_bytes, stop: None }
    }

    /// Why the line ended the reading, if that is what ended it.
    pub fn failure(&mut self, what: &dyn Fn() -> String) -> Option<DestinationError> {
        let stop = self.stop.take()?;
        Some(self.answer.http.during(stop, what))
    }
}

impl Read for Stream<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl BufRead for Stream<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match self.answer.piece() {
                Ok(None) => break,
                Ok(Some(piece)) => {
                    self.left_bytes = match self.left_bytes.checked_sub(piece.len() as u64) {
                        Some(left) => left,
                        None => return Err(io::Error::other("it does not end")),
                    };
                    self.piece = piece;
                }
                Err(stop) => {
                    self.stop = Some(stop);
                    return Err(io::Error::other("the answer broke off"));
                }
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count);
    }
}
