//! Around 2³² bytes, where lengths wrap and zip64 begins, and above 8 GiB, where tar's octal size field ends.
//!
//! The dumps are repetitive: a megabyte of zeros takes a kilobyte. Nothing of them is held in memory.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use anyhow::{Context, ensure};
use flate2::bufread::GzDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};

use crate::packed::pack_to;
use crate::support::harness::Suite;
use crate::support::zips::{Entry, Zip};

const ENTRY: &str = "boutique.sql";
const PIECE: usize = 1 << 20;

pub fn cases(suite: &mut Suite) {
    for (name, size) in [
        ("four_gibibytes_less_one_byte", (1u64 << 32) - 1),
        ("four_gibibytes_and_one_byte", (1 << 32) + 1),
        ("over_eight_gibibytes", (8 << 30) + 4321),
    ] {
        suite.case(format!("a_dump_of_{name}_is_packed_and_read_back"), &[], move || {
            round_trip(&zip_of_zeros(size).zip64().build(), size)
        });
    }
    // As Archive Utility of macOS writes it: 4,321 bytes, it says. `bsdtar` reads it all, and `unzip -t` finds no fault.
    suite.case("a_dump_of_over_four_gibibytes_without_zip64_is_packed_and_read_back", &[], || {
        let size = (1 << 32) + 4321;
        round_trip(&zip_of_zeros(size).build(), size)
    });
}

fn round_trip(zip: &[u8], size: u64) -> anyhow::Result<()> {
    let mut tgz = tempfile::tempfile()?;
    let packed = pack_to(&mut io::Cursor::new(zip), ENTRY, &mut tgz)?;
    ensure!(packed.read.size_bytes == size && packed.read.splice.is_some(), "{:?}", packed.read);
    tgz.flush()?;
    tgz.seek(SeekFrom::Start(0))?;

    // The decoder checks CRC-32 and length modulo 2³²; the content is looked at byte by byte.
    let mut decoder = GzDecoder::new(BufReader::new(tgz));
    let mut archive = tar::Archive::new(&mut decoder);
    let mut entries = archive.entries()?;
    let mut entry = entries.next().context("an empty tar")??;
    ensure!(entry.size() == size, "the tar says {}", entry.size());
    let (mut buffer, zeros, mut counted) = (vec![0; PIECE], vec![0; PIECE], 0);
    loop {
        let got = entry.read(&mut buffer)?;
        if got == 0 {
            break;
        }
        ensure!(buffer[..got] == zeros[..got], "another byte after {counted}");
        counted += got as u64;
    }
    ensure!(counted == size, "{counted} of {size} bytes");
    drop(entry);
    ensure!(entries.next().is_none(), "a second file");
    io::copy(&mut decoder, &mut io::sink()).context("the trailer does not match")?;
    ensure!(decoder.into_inner().read(&mut buffer)? == 0, "something follows the member");
    Ok(())
}

/// A zip that holds so many zeros.
fn zip_of_zeros(size: u64) -> Zip {
    let (count, rest) = (size / PIECE as u64, (size % PIECE as u64) as usize);
    let mut stream = deflated_zeros(PIECE, FlushCompress::Full).repeat(count as usize);
    stream.extend(deflated_zeros(rest, FlushCompress::Finish));
    let mut crc = crc32fast::Hasher::new();
    let mut piece = crc32fast::Hasher::new();
    piece.update(&vec![0; PIECE]);
    (0..count).for_each(|_| crc.combine(&piece));
    crc.update(&vec![0; rest]);
    let entry = Entry::raw(ENTRY, &[], 8, stream).size(size).crc(crc.finalize());
    Zip::new().entry(entry)
}

fn deflated_zeros(len: usize, flush: FlushCompress) -> Vec<u8> {
    let mut compress = Compress::new(Compression::new(9), false);
    let mut stream = Vec::with_capacity(64 * 1024);
    let status = compress.compress_vec(&vec![0; len], &mut stream, flush).expect("right parameters");
    assert!(status == Status::StreamEnd || compress.total_in() == len as u64, "the output fits");
    stream
}
