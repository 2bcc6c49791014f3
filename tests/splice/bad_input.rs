//! Entries that are not what they should be: refused, or packed exactly as a decoder sees them. Never anything between.

use anyhow::{Context, ensure};
use archive::zip_source::ZipError;
use fastrand::Rng;

use crate::data;
use crate::packed::{Packed, decoded, pack, spliced, untarred};
use crate::streams::Stream;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::zips::{Entry, Zip, deflate};

const ENTRY: &str = "boutique.sql";
const TAR: &[Need] = &[Need::program("tar")];

pub fn cases(suite: &mut Suite) {
    suite.case("garbage_behind_the_final_block_is_not_in_the_archive", TAR, || {
        let content = Dump::new(1).size(100_000).text();
        let clean = spliced(&zip(&content, deflate(&content)), ENTRY)?;
        for garbage in [&b"\0"[..], b"garbage", b"PK\x01\x02", &[0xff; 300_000], &deflate(b"-- another dump\n")] {
            let dirty = zip(&content, [&deflate(&content), garbage].concat());
            let (tgz, packed) = pack(&dirty, ENTRY)?;
            ensure!(tgz == clean, "{} bytes of garbage change the archive", garbage.len());
            ensure!(packed.read.trailing_bytes == garbage.len() as u64, "{} counted", packed.read.trailing_bytes);
        }
        ensure!(untarred(&clean)? == content);
        Ok(())
    });
    suite.case("blocks_behind_a_final_one_are_not_in_the_archive", TAR, || {
        // Byte-aligned, so that a careless reader would go on: three blocks, each marked as the last.
        let mut stream = Stream::default();
        stream.stored(true, b"INSERT 1;\n");
        let content = stream.content.clone();
        stream.stored(true, b"INSERT 2;\n");
        stream.fixed(true, b"INSERT 3;\n", &mut Rng::with_seed(1));
        check_is(&zip(&content, stream.into_bytes()), &content)
    });
    suite.case("a_stream_that_ends_before_its_final_block_is_refused", &[], || {
        let mut stream = Stream::default();
        stream.fixed(false, b"INSERT 1;\n", &mut Rng::with_seed(1));
        let content = stream.content.clone();
        let refused = refusal(&zip(&content, stream.into_bytes()))?;
        ensure!(matches!(refused, ZipError::Truncated { .. }), "{refused}");
        Ok(())
    });
    suite.case("a_wrong_declared_size_or_checksum_is_refused", &[], || {
        let content = Dump::new(2).size(50_000).text();
        let len = content.len() as u64;
        // Modulo 2³²: what a producer writes that does not know zip64.
        for declared in [0, 1, len - 1, len + 1, len + (1 << 32)] {
            let entry = Entry::deflated(ENTRY, &content).size(declared);
            let refused = refusal(&Zip::new().zip64().entry(entry).build())?;
            ensure!(matches!(refused, ZipError::WrongSize { .. }), "{declared}: {refused}");
        }
        let refused = refusal(&Zip::new().entry(Entry::deflated(ENTRY, &content).crc(1)).build())?;
        ensure!(matches!(refused, ZipError::WrongCrc { .. }), "{refused}");
        Ok(())
    });
    suite.case("a_wrong_compressed_size_is_refused_or_makes_no_difference", &[], || {
        let content = Dump::new(3).size(50_000).text();
        let stream = deflate(&content);
        let len = stream.len() as u64;
        for declared in [0, 1, len / 2, len - 1] {
            let entry = Entry::deflated(ENTRY, &content).compressed_size(declared);
            let refused = refusal(&Zip::new().entry(entry).build())?;
            ensure!(matches!(refused, ZipError::Truncated { .. }), "{declared}: {refused}");
        }
        // Longer: the directory behind it is taken for the end of the entry, and is no part of the stream.
        let entry = Entry::deflated(ENTRY, &content).compressed_size(len + 20);
        check_is(&Zip::new().entry(entry).build(), &content)
    });
    suite.case("a_stream_may_end_at_any_bit", TAR, || {
        let mut seen = [false; 8];
        let mut rng = Rng::with_seed(4);
        // Literals take eight bits or nine, headers and ends ten together.
        for len in 0..200 {
            let mut stream = Stream::default();
            let content = data::noise(&mut rng, len);
            stream.fixed(len.is_multiple_of(2), &content, &mut Rng::with_seed(u64::MAX));
            if !len.is_multiple_of(2) {
                stream.dynamic(true, &content);
            }
            let bit = usize::from(stream.used_bits());
            let content = stream.content.clone();
            let archive = zip(&content, stream.into_bytes());
            ensure!(decoded(&spliced(&archive, ENTRY)?)? == content, "{len} bytes, bit {bit}");
            // GNU tar once for each bit.
            if !std::mem::replace(&mut seen[bit], true) {
                check_is(&archive, &content)?;
            }
        }
        ensure!(seen == [true; 8], "{seen:?}");
        Ok(())
    });
    suite.case("bits_behind_the_end_do_not_reach_the_archive", &[], || {
        let content = b"INSERT 1;\n";
        let clean = deflate(content);
        let mut dirty = clean.clone();
        let mut differing = 0;
        for bit in (0..8).rev() {
            *dirty.last_mut().context("not empty")? |= 1 << bit;
            // Below the stream's end, flipping a bit changes the stream itself: refused, or the same bit as before.
            if let Ok((tgz, _)) = pack(&zip(content, dirty.clone()), ENTRY) {
                ensure!(decoded(&tgz)? == content);
                ensure!(tgz == spliced(&zip(content, clean.clone()), ENTRY)?, "bit {bit} is in the archive");
                differing += usize::from(dirty != clean);
            }
        }
        ensure!(differing > 0, "this stream ends on a byte: it proves nothing");
        Ok(())
    });
    suite.case("every_kind_of_last_block_empty_or_with_one_byte", TAR, || {
        for before in 0..8usize {
            for content in [&b""[..], b"x", b"\xff", b"INSERT 1;\n"] {
                for kind in 0..3 {
                    let mut stream = Stream::default();
                    // Empty fixed blocks of ten bits put what follows at another bit.
                    (0..before).for_each(|_| stream.fixed(false, b"", &mut Rng::with_seed(1)));
                    match kind {
                        0 => stream.stored(true, content),
                        1 => stream.fixed(true, content, &mut Rng::with_seed(1)),
                        _ => stream.dynamic(true, content),
                    }
                    let content = stream.content.clone();
                    let archive = zip(&content, stream.into_bytes());
                    let context = || format!("kind {kind} behind {before} blocks, {} bytes", content.len());
                    ensure!(decoded(&spliced(&archive, ENTRY)?)? == content, "{}", context());
                    if before == 3 {
                        check_is(&archive, &content).with_context(context)?;
                    }
                }
            }
        }
        Ok(())
    });
    suite.case("a_stream_that_refers_to_before_its_start_is_refused", &[], || {
        // A copy from the tar header, which will stand before the stream, would inflate in the archive and not in the zip.
        // Fixed block: length 3 (symbol 257, 0000001), distance 4 (code 3, 00011), end (0000000); bits as they lie in bytes.
        let stream = vec![0x03, 0x62, 0x00, 0x00];
        let refused = refusal(&zip(b"abc", stream))?;
        ensure!(matches!(refused, ZipError::Inflate { .. }), "{refused}");
        Ok(())
    });
    suite.case("a_damaged_stream_is_refused_or_packed_as_decoded", &[], || {
        let mut rng = data::rng(0xbad);
        let (mut refused, mut packed) = (0, 0);
        for round in 0..400 {
            let content = data::content(&mut rng);
            let mut stream = deflate(&content[..content.len().min(5000)]);
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..stream.len());
                stream[at] ^= 1 << rng.u8(..8);
            }
            // Size and checksum are made right for whatever the damaged stream holds, if it holds anything.
            let mut decoder = flate2::bufread::DeflateDecoder::new(&stream[..]);
            let mut seen = Vec::new();
            let is_sound = std::io::Read::read_to_end(&mut decoder, &mut seen).is_ok();
            match pack(&zip(&seen, stream.clone()), ENTRY) {
                Ok((tgz, _)) => {
                    packed += 1;
                    ensure!(is_sound && decoded(&tgz)? == seen, "round {round}, seed {}", data::seed());
                }
                Err(_) => refused += 1,
            }
        }
        ensure!(refused > 0 && packed > 0, "{refused} refused, {packed} packed: proves nothing");
        Ok(())
    });
}

/// A zip with this DEFLATE stream, which is said to hold `content`.
fn zip(content: &[u8], stream: Vec<u8>) -> Vec<u8> {
    Zip::new().entry(Entry::raw(ENTRY, content, 8, stream)).build()
}

fn check_is(zip: &[u8], content: &[u8]) -> anyhow::Result<()> {
    let tgz = spliced(zip, ENTRY)?;
    ensure!(untarred(&tgz)? == content, "GNU tar finds other bytes");
    ensure!(decoded(&tgz)? == content, "flate2 finds other bytes");
    Ok(())
}

fn refusal(zip: &[u8]) -> anyhow::Result<ZipError> {
    let Packed { written, .. } = match pack(zip, ENTRY) {
        Err(refused) => return Ok(refused),
        Ok((_, packed)) => packed,
    };
    anyhow::bail!("packed as {written:?}")
}
