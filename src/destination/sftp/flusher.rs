//! Flushes a file to the server's disk: now and then while the rest of it is on its way, so that the disk works meanwhile and
//! the last flush is a short one; and at the end.

use ssh2::{BlockDirections, File};

use super::errors::{FX_FAILURE, FX_OP_UNSUPPORTED, Wire};
use super::link::Link;
use crate::destination::ErrorKind;

/// Asked for whenever so much more has arrived.
const FLUSH_BYTES: u64 = 32 << 20;
/// Stands for this among the lanes of a connection.
const NUMBER: u32 = u32::MAX;

/// The extension `fsync@openssh.com` (OpenSSH's PROTOCOL, 4.3) for one file.
pub(super) struct Flusher<'a> {
    link: &'a Link,
    pub(super) file: &'a mut File,
    is_openssh: bool,
    /// What had arrived when the last flush was asked for.
    asked_at: u64,
    is_underway: bool,
    /// One has succeeded: a failure is none of the extension.
    is_known: bool,
    is_refused: bool,
}

impl<'a> Flusher<'a> {
    /// `bytes` of the file are there already.
    pub(super) fn new(link: &'a Link, file: &'a mut File, is_openssh: bool, bytes: u64) -> Self {
        Flusher { link, file, is_openssh, asked_at: bytes, is_underway: false, is_known: false, is_refused: false }
    }

    /// Asks for a flush if it is time, and takes the answer if it is there; never waits. A failure is final: the system tells
    /// of a disk's error only once.
    pub(super) fn step(&mut self, arrived_bytes: u64) -> Result<(), Wire> {
        if self.is_refused || self.link.half_sent_by().is_some_and(|number| number != NUMBER) {
            return Ok(());
        }
        if !self.is_underway {
            if arrived_bytes < self.asked_at + FLUSH_BYTES {
                return Ok(());
            }
            self.asked_at = arrived_bytes;
            self.is_underway = true;
        }
        let asked = self.link.try_run(|| self.file.fsync());
        let is_blocked = matches!(asked, Ok(None))
            && matches!(self.link.session.block_directions(), BlockDirections::Outbound | BlockDirections::Both);
        self.link.set_half_sent_by(is_blocked.then_some(NUMBER));
        if let Some(told) = asked.transpose() {
            self.is_underway = false;
            self.judge(told)?;
        }
        Ok(())
    }

    /// Waits for the answer to what was asked for: libssh2 would take it for that to the next question, of another file even.
    pub(super) fn finish(&mut self) -> Result<(), Wire> {
        if !self.is_underway {
            return Ok(());
        }
        self.is_underway = false;
        let told = self.link.run(|| self.file.fsync());
        self.link.set_half_sent_by(None);
        self.judge(told)
    }

    /// Flushes all of it.
    pub(super) fn flush(&mut self) -> Result<(), Wire> {
        if self.is_refused {
            return Ok(());
        }
        let told = self.link.run(|| self.file.fsync());
        self.judge(told)
    }

    /// A courtesy, which may be refused in any words as long as it was never done: verification decides. But OpenSSH, which does
    /// it, has `failure` for an error of the disk only.
    fn judge(&mut self, told: Result<(), Wire>) -> Result<(), Wire> {
        let status = told.as_ref().err().and_then(Wire::sftp_status);
        self.is_known |= told.is_ok();
        self.is_refused = status.is_some_and(|status| match status {
            FX_OP_UNSUPPORTED => true,
            FX_FAILURE if self.is_openssh => false,
            _ => !self.is_known && told.as_ref().is_err_and(|wire| wire.kind() != ErrorKind::NoSpace),
        });
        if self.is_refused {
            tracing::debug!(
                "the server does not flush: {}",
                told.err().map(|wire| wire.to_string()).unwrap_or_default()
            );
            return Ok(());
        }
        told
    }
}
