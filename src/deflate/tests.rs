//! Streams are made by the library that inflates them only where it cannot matter; what matters is written by hand.

use std::io::Write;

use proptest::prelude::*;

use super::*;

/// Inflates in pieces of `step` bytes on both sides.
fn inflate_in_steps(stream: &[u8], step: usize) -> Result<(Vec<u8>, Inflater, usize), InflateError> {
    let mut inflater = Inflater::new()?;
    let (mut out, mut used) = (Vec::new(), 0);
    let mut room = vec![0; step];
    loop {
        let end = stream.len().min(used + step);
        let progress = inflater.inflate(&stream[used..end], &mut room)?;
        used += progress.consumed;
        out.extend_from_slice(&room[..progress.produced]);
        if progress.finished || (progress.consumed == 0 && progress.produced == 0) {
            return Ok((out, inflater, used));
        }
    }
}

fn map_of(stream: &[u8]) -> (Vec<u8>, BlockMap) {
    let (out, inflater, _) = inflate_in_steps(stream, 1 << 16).expect("a valid stream");
    (out, inflater.block_map().expect("a finished stream"))
}

/// Deflates with a sync flush after every piece.
fn deflate(pieces: &[&[u8]], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            encoder.flush().unwrap();
        }
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn an_empty_fixed_block_ends_after_ten_bits() {
    // BFINAL 1, type 01, end of block 0000000: what zlib writes for no data.
    let (out, map) = map_of(&[0x03, 0x00]);
    assert!(out.is_empty());
    assert_eq!((map.last_block_bit, map.end_bit, map.stream_bytes()), (0, 10, 2));
}

#[test]
fn a_stored_block_ends_on_a_byte() {
    let (out, map) = map_of(&[0x01, 1, 0, 0xfe, 0xff, b'x']);
    assert_eq!(out, b"x");
    assert_eq!((map.last_block_bit, map.end_bit), (0, 48));
}

#[test]
fn an_empty_stored_block_ends_on_a_byte() {
    let (out, map) = map_of(&[0x01, 0, 0, 0xff, 0xff]);
    assert!(out.is_empty());
    assert_eq!((map.last_block_bit, map.end_bit), (0, 40));
}

#[test]
fn the_last_block_is_found_in_the_middle_of_a_byte() {
    // An empty fixed block that is not final (10 bits) and one that is (10 bits): 20 bits in three bytes.
    let (_, map) = map_of(&[0x02, 0x0c, 0x00]);
    assert_eq!((map.last_block_bit, map.end_bit), (10, 20));
}

#[test]
fn what_follows_the_final_block_is_left_alone() {
    let stream = [0x03, 0x00, 0x03, 0x00, b'P', b'K'];
    let (out, inflater, used) = inflate_in_steps(&stream, 64).unwrap();
    assert!(out.is_empty());
    assert_eq!(used, 2, "a second block marked final is not part of the stream");
    assert_eq!(inflater.block_map().unwrap().end_bit, 10);
}

#[test]
fn the_checksum_covers_the_stream_and_nothing_behind_it() {
    let mut stream = deflate(&[b"some text, some text"], 6);
    let alone = map_of(&stream).1;
    assert_eq!(alone.stream_crc32, crc32fast::hash(&stream));
    stream.extend_from_slice(b"garbage");
    assert_eq!(map_of(&stream).1, alone);
}

#[test]
fn every_cut_of_a_stream_is_unfinished() {
    let stream = deflate(&[b"abcabcabcabcabc 123456789", b"and more of it"], 9);
    for cut in 0..stream.len() {
        let (_, inflater, _) = inflate_in_steps(&stream[..cut], 7).unwrap();
        assert_eq!(inflater.block_map(), None, "cut at {cut}");
    }
}

#[test]
fn damage_is_told_with_its_reason() {
    let error = inflate_in_steps(&[0x07, 0xff], 64).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the DEFLATE data is damaged: invalid block type");
}

#[test]
fn a_finished_inflater_does_nothing_more() {
    let (_, mut inflater, _) = inflate_in_steps(&[0x03, 0x00], 64).unwrap();
    let progress = inflater.inflate(&[1, 2, 3], &mut [0; 8]).unwrap();
    assert_eq!(progress, Progress { consumed: 0, produced: 0, finished: true });
}

#[test]
fn a_long_stream_of_many_blocks_maps_the_same_in_any_pieces() {
    let text: Vec<u8> = (0..400_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect();
    let stream = deflate(&[&text], 6);
    let (out, map) = map_of(&stream);
    assert_eq!(out, text);
    assert!(map.last_block_bit > 0 && map.last_block_bit < map.end_bit);
    for step in [1, 2, 3, 1000] {
        let (again, inflater, _) = inflate_in_steps(&stream[..], step).unwrap();
        assert_eq!(again.len(), text.len());
        assert_eq!(inflater.block_map().unwrap(), map, "in steps of {step}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The map is right if clearing BFINAL there makes the stream go on: with a second stream's first block glued on, a plain
    /// decoder sees both. The second stream is stored, so that it can be glued at a byte.
    #[test]
    fn the_bit_found_is_the_bit_that_ends_the_stream(
        pieces in prop::collection::vec(prop::collection::vec(0u8..8, 0..3000), 0..6),
        level in 0u32..=9,
        step in 1usize..5000,
    ) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let stream = deflate(&pieces, level);
        let (out, inflater, used) = inflate_in_steps(&stream, step).unwrap();
        let map = inflater.block_map().unwrap();
        prop_assert_eq!(&out, &pieces.concat());
        prop_assert_eq!(used, stream.len());
        prop_assert_eq!(map.stream_bytes(), stream.len() as u64);

        let mut open = stream.clone();
        let (byte, bit) = ((map.last_block_bit / 8) as usize, map.last_block_bit % 8);
        prop_assert_eq!(open[byte] >> bit & 1, 1, "BFINAL is set");
        open[byte] &= !(1 << bit);
        let (same, unfinished, _) = inflate_in_steps(&open, step).unwrap();
        prop_assert_eq!(&same, &out);
        prop_assert!(unfinished.block_map().is_none());
    }

    #[test]
    fn random_bytes_neither_panic_nor_loop(bytes in prop::collection::vec(any::<u8>(), 0..600), step in 1usize..100) {
        if let Ok((_, inflater, used)) = inflate_in_steps(&bytes, step) {
            prop_assert!(used <= bytes.len());
            if let Some(map) = inflater.block_map() {
                prop_assert_eq!(map.stream_bytes(), used as u64);
            }
        }
    }
}
