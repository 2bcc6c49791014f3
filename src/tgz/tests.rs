//! What is written is read back by others: GNU tar and gzip, flate2's single-member decoder, and the `tar` crate.

use std::fs;
use std::io::{self, Read, Write};
use std::process::Command;

use proptest::prelude::*;

use super::compress::compress_on;
use super::*;
use crate::deflate::{BlockMap, Ended, Horizon, Inflater};

fn member(name: &str, content: &[u8]) -> TarMember {
    TarMember { name: name.to_owned(), size_bytes: content.len() as u64, mtime_unix: 1_787_443_200 }
}

fn map_of(stream: &[u8]) -> (Vec<u8>, BlockMap) {
    let mut inflater = Inflater::new().unwrap();
    let (mut out, mut room, mut used) = (Vec::new(), vec![0; 1 << 16], 0);
    loop {
        let progress = inflater.inflate(&stream[used..], &mut room).unwrap();
        used += progress.consumed;
        out.extend_from_slice(&room[..progress.produced]);
        if progress.finished {
            return (out, inflater.block_map().unwrap());
        }
        assert!(progress.consumed + progress.produced > 0, "the stream is cut");
    }
}

fn deflate(pieces: &[&[u8]], level: u32, flushes: bool) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
    for piece in pieces {
        encoder.write_all(piece).unwrap();
        if flushes {
            encoder.flush().unwrap();
        }
    }
    encoder.finish().unwrap()
}

fn spliced(name: &str, stream: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (content, map) = map_of(stream);
    let mut tgz = Vec::new();
    let written = splice(&mut tgz, &member(name, &content), &mut &stream[..], &map, crc32fast::hash(&content)).unwrap();
    assert_eq!(written.tgz_bytes, tgz.len() as u64);
    assert!(spliced_behind(name, stream, &content) == tgz, "following the inflater gives another archive");
    (tgz, content)
}

/// The same while the stream is inflated, in small steps, on another thread.
fn spliced_behind(name: &str, stream: &[u8], content: &[u8]) -> Vec<u8> {
    let horizon = Horizon::default();
    let mut tgz = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let reaching = horizon.reaching();
            let mut inflater = Inflater::new().unwrap();
            let (mut room, mut used) = (vec![0; 5000], 0);
            while !inflater
                .inflate(&stream[used..], &mut room)
                .map(|step| {
                    used += step.consumed;
                    reaching.block_begins(inflater.block_begins());
                    step.finished
                })
                .unwrap()
            {}
            let map = inflater.block_map().unwrap();
            reaching.end(Ended::Whole { map, content_crc32: crc32fast::hash(content) });
        });
        let written = splice_behind(&mut tgz, &member(name, content), &mut &stream[..], &horizon).unwrap().unwrap();
        assert_eq!(written.tgz_bytes, tgz.len() as u64);
    });
    tgz
}

/// Name and content of the only member, read by flate2 (first gzip member only) and the `tar` crate.
fn read_back(tgz: &[u8]) -> (String, Vec<u8>) {
    let mut tar = Vec::new();
    let mut decoder = flate2::bufread::GzDecoder::new(tgz);
    decoder.read_to_end(&mut tar).expect("gzip with right trailer");
    assert!(decoder.into_inner().is_empty(), "one member is the whole file");
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entries = archive.entries().unwrap();
    let mut entry = entries.next().unwrap().unwrap();
    let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
    assert_eq!(entry.header().mode().unwrap(), 0o644);
    assert_eq!(entry.header().mtime().unwrap(), 1_787_443_200);
    let mut content = Vec::new();
    entry.read_to_end(&mut content).unwrap();
    drop(entry);
    assert!(entries.next().is_none());
    (name, content)
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{program} complains");
    assert!(output.status.success(), "{program} fails");
    output.stdout
}

/// GNU tar and gzip read it without a word on standard error.
fn read_by_tools(tgz: &[u8], name: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("20261120.tgz");
    fs::write(&path, tgz).unwrap();
    let path = path.to_str().unwrap();
    run("gzip", &["-t", path]);
    let listed = run("tar", &["--quoting-style=literal", "-tzf", path]);
    assert_eq!(String::from_utf8(listed).unwrap(), format!("{name}\n"));
    run("tar", &["-xzOf", path])
}

#[test]
fn a_spliced_archive_is_read_by_gnu_tar_and_gzip() {
    let text: Vec<u8> = (0..60_000).flat_map(|n| format!("INSERT {};\n", n * 7919 % 10_007).into_bytes()).collect();
    let (tgz, content) = spliced("boutique.sql", &deflate(&[&text], 6, false));
    assert_eq!(content, text);
    assert_eq!(read_by_tools(&tgz, "boutique.sql"), text);
    assert_eq!(read_back(&tgz), ("boutique.sql".to_owned(), text));
}

#[test]
fn every_kind_of_last_block_can_be_opened() {
    let two_fixed = [0x02, 0x0c, 0x00];
    let stored = [0x01, 1, 0, 0xfe, 0xff, b'x'];
    let empty_stored = [0x01, 0, 0, 0xff, 0xff];
    let empty_fixed = [0x03, 0x00];
    for stream in [&two_fixed[..], &stored, &empty_stored, &empty_fixed] {
        let (tgz, content) = spliced("a", stream);
        assert_eq!(read_by_tools(&tgz, "a"), content, "{stream:02x?}");
        assert_eq!(read_back(&tgz).1, content, "{stream:02x?}");
    }
}

#[test]
fn the_final_header_is_placed_at_each_of_the_eight_bits() {
    // One more non-final empty fixed block moves the end by ten bits; literals under fixed codes take eight or nine.
    let mut seen = [false; 8];
    for count in 0..64u8 {
        let text: Vec<u8> = (0..count).map(|n| n.wrapping_mul(37)).collect();
        let stream = deflate(&[&text], 9, false);
        seen[(map_of(&stream).1.end_bit % 8) as usize] = true;
        let (tgz, _) = spliced("a", &stream);
        assert_eq!(read_back(&tgz).1, text);
    }
    assert_eq!(seen, [true; 8]);
}

#[test]
fn garbage_and_further_final_blocks_behind_the_stream_stay_out() {
    let (clean, _) = spliced("a", &deflate(&[b"hello"], 6, false));
    for garbage in [&b"garbage"[..], &[0x03, 0x00], &[0x01, 1, 0, 0xfe, 0xff, b'x']] {
        let stream = [&deflate(&[b"hello"], 6, false)[..], garbage].concat();
        assert_eq!(spliced("a", &stream).0, clean);
    }
}

#[test]
fn bits_behind_the_end_in_the_last_byte_do_not_matter() {
    let clean = deflate(&[b"x"], 6, false);
    let (content, map) = map_of(&clean);
    assert_ne!(map.end_bit % 8, 0);
    let mut dirty = clean;
    *dirty.last_mut().unwrap() |= 0xff << (map.end_bit % 8);
    let (tgz, again) = spliced("a", &dirty);
    assert_eq!((read_back(&tgz).1, again), (content.clone(), content));
}

#[test]
fn a_stream_that_changed_after_verification_is_refused() {
    let stream = deflate(&[b"twelve bytes"], 6, false);
    let (content, map) = map_of(&stream);
    let member = member("a", &content);
    let attempt = |stream: &[u8]| splice(&mut io::sink(), &member, &mut &stream[..], &map, crc32fast::hash(&content));
    assert!(attempt(&stream).is_ok());
    let mut other = stream.clone();
    other[3] ^= 1;
    assert_eq!(attempt(&other).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(attempt(&stream[..5]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn long_and_accented_names_survive() {
    let exactly_100 = format!("{}.sql", "n".repeat(96));
    let long = format!("exports/{}/boutique.sql", "très-long-".repeat(40));
    for name in ["sous-dossier/données été.sql", &exactly_100, &long] {
        let (tgz, content) = spliced(name, &deflate(&[b"x"], 6, false));
        assert_eq!(read_by_tools(&tgz, name), content, "{name}");
        assert_eq!(read_back(&tgz).0, name);
    }
}

#[test]
fn dangerous_names_are_refused() {
    for name in ["", "/etc/passwd", "../x", "a/../../x", "a\0b"] {
        let refused = compress(&mut io::sink(), &member(name, b""), 6, &mut io::empty()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn a_name_with_two_dots_inside_is_fine() {
    let (tgz, _) = spliced("a..b.sql", &deflate(&[b"x"], 6, false));
    assert_eq!(read_back(&tgz).0, "a..b.sql");
}

#[test]
fn sizes_over_eight_gibibytes_are_written_in_base_256() {
    let head = TarMember { name: "a".to_owned(), size_bytes: (8 << 30) + 1, mtime_unix: 0 }.head().unwrap();
    let header = tar::Header::from_byte_slice(&head);
    assert_eq!(header.entry_size().unwrap(), (8 << 30) + 1);
    assert_eq!(head[124], 0x80);
    assert_eq!(&head[257..265], b"ustar  \0", "marked as GNU's");
    let just_below = TarMember { name: "a".to_owned(), size_bytes: (8 << 30) - 1, mtime_unix: 0 }.head().unwrap();
    assert_eq!(&just_below[124..136], b"77777777777\0");
}

#[test]
fn the_trailer_holds_the_length_modulo_four_gibibytes() {
    for (bytes, low) in [((1 << 32) - 1, u32::MAX), (1 << 32, 0), ((1 << 32) + 1, 1)] {
        let trailer = gzip::trailer(0x0102_0304, bytes);
        assert_eq!(trailer[..4], [4, 3, 2, 1]);
        assert_eq!(trailer[4..], low.to_le_bytes());
    }
}

#[test]
fn compressing_gives_the_same_bytes_on_any_number_of_threads() {
    let text: Vec<u8> = (0..200_000u32).flat_map(|n| n.wrapping_mul(40_503).to_string().into_bytes()).collect();
    let mut first = Vec::new();
    compress_on(1, &mut first, &member("a.sql", &text), 6, &mut &text[..]).unwrap();
    for threads in [2, 3, 8] {
        let mut again = Vec::new();
        compress_on(threads, &mut again, &member("a.sql", &text), 6, &mut &text[..]).unwrap();
        assert!(again == first, "{threads} threads");
    }
    assert_eq!(read_by_tools(&first, "a.sql"), text);
    assert_eq!(read_back(&first).1, text);
}

#[test]
fn every_level_compresses_text_and_noise_of_every_awkward_length() {
    let mut state = 1u64;
    let noise: Vec<u8> = (0..700_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    for level in 1..=9 {
        // 260,608 + 512 (header) + 1,024 (zero blocks) is exactly one piece.
        for len in [0, 1, 511, 512, 260_607, 260_608, 260_609, 700_000] {
            let mut tgz = Vec::new();
            let written = compress(&mut tgz, &member("a", &noise[..len]), level, &mut &noise[..len]).unwrap();
            assert_eq!(written.tgz_bytes, tgz.len() as u64);
            assert!(read_back(&tgz).1 == noise[..len], "level {level}, {len} bytes");
        }
    }
}

#[test]
fn pieces_refer_back_to_the_one_before() {
    // 30,000 bytes of noise again and again: without the dictionary every piece would have to spell them once.
    let mut state = 7u64;
    let unit: Vec<u8> = (0..30_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let text = unit.repeat(60);
    let mut tgz = Vec::new();
    compress(&mut tgz, &member("a", &text), 6, &mut &text[..]).unwrap();
    assert!(tgz.len() < 60_000, "{} bytes", tgz.len());
    assert!(read_back(&tgz).1 == text);
}

#[test]
fn content_of_another_length_than_promised_is_refused() {
    let promised = member("a", &[0; 1000]);
    let shorter = compress(&mut io::sink(), &promised, 6, &mut &[0; 999][..]).unwrap_err();
    assert_eq!(shorter.to_string(), "the content ends after 999 of 1000 bytes");
    let longer = compress(&mut io::sink(), &promised, 6, &mut &[0; 1001][..]).unwrap_err();
    assert_eq!(longer.to_string(), "the content goes on after the 1000 bytes it should have");
}

#[test]
fn levels_outside_one_to_nine_are_refused() {
    for level in [0, 10] {
        let refused = compress(&mut io::sink(), &member("a", b""), level, &mut io::empty()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_writer_that_fails_ends_the_work() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let noise: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let failed = compress(&mut Full(1000), &member("a", &noise), 1, &mut &noise[..]).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn splicing_keeps_every_byte_whatever_the_producer(
        pieces in prop::collection::vec(prop::collection::vec(prop_oneof![any::<u8>(), 0u8..4], 0..2500), 0..8),
        level in 0u32..=9,
        flushes: bool,
    ) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let (tgz, _) = spliced("a.sql", &deflate(&pieces, level, flushes));
        let (_, content) = read_back(&tgz);
        prop_assert!(content == pieces.concat());
    }

    #[test]
    fn splicing_and_compressing_hold_the_same_tar(text in prop::collection::vec(0u8..16, 0..5000), level in 1u32..=9) {
        let stream = deflate(&[&text], level, false);
        let (_, map) = map_of(&stream);
        let a = splice(&mut io::sink(), &member("a", &text), &mut &stream[..], &map, crc32fast::hash(&text)).unwrap();
        let b = compress(&mut io::sink(), &member("a", &text), level, &mut &text[..]).unwrap();
        prop_assert_eq!((a.tar_bytes, a.tar_crc32), (b.tar_bytes, b.tar_crc32));
    }
}

#[test]
fn following_an_inflater_that_gives_up_gives_up() {
    let horizon = Horizon::default();
    drop(horizon.reaching());
    let written = splice_behind(&mut io::sink(), &member("a", b""), &mut &b""[..], &horizon);
    assert_eq!(written.unwrap(), None);
}
