//! Learns what an archive at a destination holds by reading it back, when the state no longer knows.
//!
//! The archive streams through: download, gunzip, untar and fingerprint at the same time; nothing touches the disk.

use std::io::{self, Read, Write};
use std::thread;

use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};

use crate::config::settings::DumpSettings;
use crate::destination::{Destination, DestinationError, ErrorKind};
use crate::digest::Digest;
use crate::dump::DumpScanner;
use crate::interrupt::Interrupt;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveContent {
    /// SHA-256 of the `.tgz`.
    pub archive_sha256: Digest,
    /// Fingerprint of the dump.
    pub fingerprint: Digest,
    /// Uncompressed bytes of the dump.
    pub dump_bytes: u64,
}

/// Reads an archive back; the inner error says why it is no archive of ours.
///
/// # Errors
/// Whatever the destination said.
pub fn read_archive(
    destination: &mut dyn Destination,
    name: &str,
    dump: &DumpSettings,
    interrupt: &Interrupt,
    progress: &dyn Fn(u64),
) -> Result<Result<ArchiveContent, String>, DestinationError> {
    let pipe = |error: io::Error| {
        DestinationError::new(ErrorKind::Local, format!("failed to read `{name}` back")).caused_by(error)
    };
    let (reader, mut writer) = io::pipe().map_err(pipe)?;
    thread::scope(|scope| {
        let decoding = scope.spawn(move || decode(reader, dump));
        let mut hasher = Sha256::new();
        let mut seen = 0;
        let mut decoder_gone = false;
        let got = destination.get(name, 0, &mut |bytes| {
            interrupt.check()?;
            hasher.update(bytes);
            seen += bytes.len() as u64;
            progress(seen);
            // A decoder that gave up has closed its end; its reason comes from the join below.
            decoder_gone = decoder_gone || writer.write_all(bytes).is_err();
            Ok(())
        });
        drop(writer);
        let decoded = match decoding.join() {
            Ok(decoded) => decoded,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        got?;
        Ok(decoded.map_err(|error| error.to_string()).map(|(fingerprint, dump_bytes)| ArchiveContent {
            archive_sha256: Digest(hasher.finalize().into()),
            fingerprint,
            dump_bytes,
        }))
    })
}

/// The fingerprint and the size of the one file in a `.tgz`.
fn decode(reader: impl Read, dump: &DumpSettings) -> io::Result<(Digest, u64)> {
    let mut archive = tar::Archive::new(GzDecoder::new(reader));
    let mut found = None;
    let mut block = vec![0; 256 * 1024];
    for entry in archive.entries()? {
        let mut entry = entry?;
        if found.is_some() {
            return Err(io::Error::other("it holds more than one file"));
        }
        let mut scanner = DumpScanner::new(dump.complete.clone(), dump.volatile_lines.clone());
        loop {
            match entry.read(&mut block)? {
                0 => break,
                n => scanner.update(&block[..n]),
            }
        }
        let findings = scanner.finish();
        found = Some((findings.fingerprint, findings.size_bytes));
    }
    // To the last byte: the CRC-32 at the end of the gzip member is part of the proof.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    found.ok_or_else(|| io::Error::other("it is empty"))
}
