//! SHA-256 of the whole dump, and of the dump without its volatile lines, in one pass.
//!
//! Until the first volatile line both are the same computation, so one hasher serves both: a MySQL dump, whose only such
//! line is its last, costs one hash. It knows nothing of which lines are volatile.

use sha2::{Digest as _, Sha256};

use super::gate::Sink;
use crate::digest::Digest;

#[derive(Default)]
pub(super) struct Digests {
    whole: Sha256,
    /// `None` as long as nothing was skipped.
    without_volatile: Option<Sha256>,
}

impl Sink for Digests {
    fn keep(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        if let Some(hasher) = &mut self.without_volatile {
            hasher.update(bytes);
        }
    }

    fn skip(&mut self, bytes: &[u8]) {
        if self.without_volatile.is_none() {
            self.without_volatile = Some(self.whole.clone());
        }
        self.whole.update(bytes);
    }
}

impl Digests {
    /// The SHA-256 of everything, and the fingerprint.
    pub fn finish(self) -> (Digest, Digest) {
        let whole = Digest(self.whole.finalize().into());
        let fingerprint = self.without_volatile.map(|hasher| Digest(hasher.finalize().into()));
        (whole, fingerprint.unwrap_or(whole))
    }
}
