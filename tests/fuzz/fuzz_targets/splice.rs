//! Arbitrary bytes as a raw DEFLATE stream: where our decoder accepts them, another one sees the same, and so does whoever
//! opens the archive. The first byte chooses the pieces in which the stream comes.
#![no_main]

use archive_fuzz::decoded;
use archive_fuzz::deflate::Inflater;
use archive_fuzz::tgz::{TarMember, splice};
use libfuzzer_sys::fuzz_target;

/// Longer ones only cost time.
const CONTENT_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&first, stream)) = data.split_first() else {
        return;
    };
    let pieces = [1, 2, 7, 64, 1000, usize::MAX];
    let (in_step, out_step) = (pieces[first as usize % 6], pieces[first as usize / 6 % 6].min(1 << 16));
    let mut inflater = Inflater::new().expect("memory");
    let (mut content, mut room, mut used) = (Vec::new(), vec![0; out_step], 0usize);
    loop {
        let end = stream.len().min(used.saturating_add(in_step));
        let Ok(progress) = inflater.inflate(&stream[used..end], &mut room) else {
            return;
        };
        used += progress.consumed;
        content.extend_from_slice(&room[..progress.produced]);
        if progress.finished {
            break;
        }
        if (progress.consumed == 0 && progress.produced == 0) || content.len() > CONTENT_MAX {
            return;
        }
    }
    let map = inflater.block_map().expect("the stream has ended");
    assert_eq!(map.stream_bytes(), used as u64);

    let second = miniz_oxide::inflate::decompress_to_vec_with_limit(stream, 2 * CONTENT_MAX);
    assert!(second.is_ok_and(|second| second == content), "another decoder sees something else");

    let member = TarMember { name: "a".to_owned(), size_bytes: content.len() as u64, mtime_unix: 0 };
    let mut tgz = Vec::new();
    splice(&mut tgz, &member, &mut &stream[..], &map, crc32fast::hash(&content)).expect("the stream that was mapped");
    assert!(decoded(&tgz) == content, "the archive holds something else");
});
