//! Contents to compress, another every time: the seed is printed, and `ARCHIVE_TEST_SEED` repeats it.

use std::sync::OnceLock;

use fastrand::Rng;

use crate::support::dumps::Dump;

/// What the cases of this run are made from.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let given = std::env::var("ARCHIVE_TEST_SEED").ok();
        given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("ARCHIVE_TEST_SEED is a number"))
    })
}

/// The numbers of one case, the same for the same seed whatever else runs beside it.
pub fn rng(case: u64) -> Rng {
    Rng::with_seed(seed() ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Noise, a dump, repetitions, or a mixture, of an awkward length: 0, 1 and those around the borders of blocks included.
pub fn content(rng: &mut Rng) -> Vec<u8> {
    const BORDERS: [usize; 7] = [0, 1, 2, 32_768, 65_535, 65_536, 131_070];
    let len = match rng.u8(..4) {
        0 => BORDERS[rng.usize(..BORDERS.len())] + rng.usize(..2),
        1 => rng.usize(..600),
        _ => rng.usize(..300_000),
    };
    let mut bytes = match rng.u8(..4) {
        0 => noise(rng, len),
        1 => Dump::new(rng.u64(..)).size(len as u64).text(),
        2 => noise(rng, 1 + len % 400).repeat(1 + len / (1 + len % 400)),
        _ => {
            let mut mixed = Vec::new();
            while mixed.len() < len {
                let piece = rng.usize(1..40_000);
                match rng.u8(..3) {
                    0 => mixed.extend(noise(rng, piece)),
                    1 => mixed.extend(Dump::new(rng.u64(..)).size(piece as u64).text()),
                    _ => mixed.resize(mixed.len() + piece, rng.u8(..)),
                }
            }
            mixed
        }
    };
    bytes.truncate(len);
    bytes
}

/// Bytes that nothing compresses.
pub fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}
