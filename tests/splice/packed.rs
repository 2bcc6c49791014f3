//! From a zip to a `.tgz` as a night does it: find the entry, verify it in one pass, splice it (or compress it anew).

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, ensure};
use archive::deflate::Horizon;
use archive::tgz::{self, TarMember, TgzWritten};
use archive::zip_source::{EntryRead, ZipError, find_entry, read_entry_threaded};
use flate2::bufread::GzDecoder;

/// More than any dump here has.
const MAX_SIZE: u64 = 1 << 40;

/// How the archive came to be.
pub struct Packed {
    /// What verifying found.
    pub read: EntryRead,
    /// What packing wrote.
    pub written: TgzWritten,
}

/// Verifies `entry` in `zip` and writes its archive to `out`, reusing the zip's compression where that is possible.
pub fn pack_to(zip: &mut (impl Read + Seek), entry: &str, out: &mut dyn Write) -> Result<Packed, ZipError> {
    let location = find_entry(zip, entry)?;
    let mut content = Vec::new();
    let is_plain = location.is_plain_deflate();
    let read = read_entry_threaded(
        zip,
        &location,
        None,
        MAX_SIZE,
        |bytes| {
            // Only what has to be compressed anew is needed again.
            if !is_plain {
                content.extend_from_slice(bytes);
            }
            Ok(())
        },
        None,
    )?;
    let member =
        TarMember { name: location.name.clone(), size_bytes: read.size_bytes, mtime_unix: location.mtime_unix };
    let written = match &read.splice {
        Some(map) => {
            zip.seek(SeekFrom::Start(location.data_start))?;
            tgz::splice(out, &member, zip, map, read.crc32)?
        }
        None => tgz::compress(out, &member, 6, &mut &content[..])?,
    };
    Ok(Packed { read, written })
}

/// The archive in memory.
pub fn pack(zip: &[u8], entry: &str) -> Result<(Vec<u8>, Packed), ZipError> {
    let mut tgz = Vec::new();
    let packed = pack_to(&mut Cursor::new(zip), entry, &mut tgz)?;
    if packed.read.splice.is_some() {
        assert!(packed_behind(zip, entry)? == tgz, "packing while verifying gives another archive");
    }
    Ok((tgz, packed))
}

/// The archive, written while the entry is verified, as a night does it.
fn packed_behind(zip: &[u8], entry: &str) -> Result<Vec<u8>, ZipError> {
    let location = find_entry(&mut Cursor::new(zip), entry)?;
    let member =
        TarMember { name: location.name.clone(), size_bytes: location.declared_size, mtime_unix: location.mtime_unix };
    let horizon = Horizon::default();
    let mut tgz = Vec::new();
    let mut compressed = &zip[location.data_start as usize..];
    thread::scope(|scope| {
        let building = scope.spawn(|| tgz::splice_behind(&mut tgz, &member, &mut compressed, &horizon));
        let read = read_entry_threaded(&mut Cursor::new(zip), &location, None, MAX_SIZE, |_| Ok(()), Some(&horizon));
        let built = building.join().expect("splicing does not panic")?;
        assert!(built.is_some() == read.is_ok(), "{built:?} while reading gave {read:?}");
        read
    })?;
    Ok(tgz)
}

/// The archive in memory, which must have been spliced and not compressed anew.
pub fn spliced(zip: &[u8], entry: &str) -> anyhow::Result<Vec<u8>> {
    let (tgz, packed) = pack(zip, entry)?;
    ensure!(packed.read.splice.is_some(), "was not spliced");
    ensure!(packed.written.tgz_bytes == tgz.len() as u64, "counted {}, wrote {}", packed.written.tgz_bytes, tgz.len());
    Ok(tgz)
}

/// What GNU tar takes out of the archive (`tar xO`). It must not complain.
pub fn untarred(tgz: &[u8]) -> anyhow::Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("20261120.tgz");
    std::fs::write(&path, tgz)?;
    output_of(Command::new("tar").arg("-xzOf").arg(&path))
}

/// What a decoder that stops after the first gzip member finds; nothing may follow it. Quicker than a process.
pub fn decoded(tgz: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut tar = Vec::new();
    let mut decoder = GzDecoder::new(tgz);
    decoder.read_to_end(&mut tar).context("the archive is no sound gzip member")?;
    ensure!(decoder.into_inner().is_empty(), "something follows the member");
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entries = archive.entries()?;
    let mut content = Vec::new();
    entries.next().context("an empty tar")??.read_to_end(&mut content)?;
    ensure!(entries.next().is_none(), "a second file");
    Ok(content)
}

/// Standard output of a program that must succeed without a word on standard error.
pub fn output_of(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && complaint.is_empty(), "{command:?}: {}: {complaint}", output.status);
    Ok(output.stdout)
}

/// The same, fed with `input`.
pub fn filtered(command: &mut Command, input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let output = thread::scope(|scope| -> anyhow::Result<_> {
        let feeding = scope.spawn(move || stdin.write_all(input));
        let output = child.wait_with_output()?;
        match feeding.join() {
            Ok(fed) => fed?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        Ok(output)
    })?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && complaint.is_empty(), "{command:?}: {}: {complaint}", output.status);
    Ok(output.stdout)
}

/// The only file that matters in a directory, read whole.
pub fn read(dir: &Path, name: &str) -> io::Result<Vec<u8>> {
    std::fs::read(dir.join(name))
}
