//! Finds out whether the server keeps to the condition that a name must be free; some ignore it without a word.

use std::io::Cursor;

use super::S3Destination;
use super::upload::Upload;
use crate::destination::{Destination as _, DestinationError, ErrorKind};

/// What is written twice. Always the same name: where nothing may be deleted, one such object stays.
const PROBE: &str = ".archive-check-conditions";
const CONTENT: &[u8] = b"archive check: this file may be deleted\n";

impl S3Destination {
    /// Whether a name that is taken is refused, by uploads in one piece and by those in parts; `None` if it could not be found out.
    pub(super) fn probe_conditions(&mut self) -> Option<bool> {
        let tried = self.try_conditions();
        let cleaned = self.remove(PROBE);
        for error in [tried.as_ref().err(), cleaned.as_ref().err()].into_iter().flatten() {
            tracing::debug!("{error}: {:?}", std::error::Error::source(error).map(ToString::to_string));
        }
        tried.ok()
    }

    fn try_conditions(&mut self) -> Result<bool, DestinationError> {
        let upload = Upload { name: PROBE, key: self.key_of(PROBE)?, new: true };
        // The first one may find the object of an earlier probe.
        for _ in 0..2 {
            let refused = self.in_one(&upload, &mut Cursor::new(CONTENT));
            if is_refusal(refused)? {
                let refused = self.overwrite_in_parts(&upload, &mut Cursor::new(CONTENT));
                return is_refusal(refused);
            }
        }
        Ok(false)
    }
}

/// Whether it was refused because the name is taken; any other error tells nothing.
fn is_refusal(result: Result<(), DestinationError>) -> Result<bool, DestinationError> {
    match result {
        Ok(()) => Ok(false),
        Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(true),
        Err(error) => Err(error),
    }
}
