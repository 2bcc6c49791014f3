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

/// The longest name or extended header (GNU tar's `L` and `K`, PAX), bytes: a name in a zip has 65,535 at most.
const EXTENSION_MAX: u64 = 1 << 20;

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
        let scanner = DumpScanner::new(dump.complete.clone(), dump.volatile_lines.clone());
        let decoding = scope.spawn(move || decode(reader, scanner));
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
fn decode(reader: impl Read, scanner: DumpScanner) -> io::Result<(Digest, u64)> {
    let mut archive = tar::Archive::new(GzDecoder::new(reader));
    let mut scanner = Some(scanner);
    let mut found = None;
    let mut block = vec![0; 256 * 1024];
    // Raw: the library would read a long name or an extended header into memory, as long as it says that it is.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions()
        {
            if entry.size() > EXTENSION_MAX {
                return Err(io::Error::other(format!("it has a name or an extended header of {} bytes", entry.size())));
            }
            continue;
        }
        let Some(mut scanner) = scanner.take() else {
            return Err(io::Error::other("it holds more than one file"));
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Complete, VolatileLines};
    use crate::tgz::{TarMember, compress};

    fn read(tgz: &[u8]) -> io::Result<(Digest, u64)> {
        decode(tgz, DumpScanner::new(Complete::Auto, VolatileLines::Auto))
    }

    fn gzipped(tar: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
        encoder.write_all(tar).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn an_archive_of_ours_is_read_whatever_the_length_of_its_name() {
        let mut fingerprints = Vec::new();
        for name in ["boutique.sql".to_owned(), format!("{}.sql", "long/".repeat(300))] {
            let mut tgz = Vec::new();
            let member = TarMember { name, size_bytes: 9, mtime_unix: 0 };
            compress(&mut tgz, &member, 6, &mut &b"SELECT 1;"[..]).unwrap();
            let (fingerprint, bytes) = read(&tgz).unwrap();
            assert_eq!(bytes, 9);
            fingerprints.push(fingerprint);
        }
        assert_eq!(fingerprints[0], fingerprints[1]);
    }

    #[test]
    fn a_name_or_an_extended_header_of_gigabytes_is_not_read() {
        for kind in [b'L', b'K', b'x', b'g'] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::new(kind));
            header.set_size(4 << 30);
            header.set_cksum();
            let tar = [&header.as_bytes()[..], &vec![b'x'; 1 << 20]].concat();
            let error = read(&gzipped(&tar)).unwrap_err();
            assert_eq!(error.to_string(), "it has a name or an extended header of 4294967296 bytes");
        }
    }
}
