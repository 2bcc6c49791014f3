//! Arbitrary bytes as a zip: no panic and no more memory than allowed (see `run.sh`) in finding an entry and reading it; and what is
//! accepted and spliced is what was read.
#![no_main]

use std::io::Cursor;

use archive_fuzz::decoded;
use archive_fuzz::tgz::{TarMember, splice};
use archive_fuzz::zip_source::{find_entry, read_entry};
use libfuzzer_sys::fuzz_target;

const CONTENT_MAX: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let mut reader = Cursor::new(data);
    let location = match find_entry(&mut reader, "a.sql") {
        Ok(location) => location,
        Err(refused) => {
            let _shown = refused.to_string();
            return;
        }
    };
    let mut content = Vec::new();
    let read = read_entry(&mut reader, &location, Some(b"secret"), CONTENT_MAX, &mut |bytes| {
        content.extend_from_slice(bytes);
        Ok(())
    });
    assert!(content.len() as u64 <= CONTENT_MAX, "{} bytes over the limit", content.len());
    let read = match read {
        Ok(read) => read,
        Err(refused) => {
            let _shown = refused.to_string();
            return;
        }
    };
    assert_eq!(read.size_bytes, content.len() as u64);
    assert_eq!(read.crc32, crc32fast::hash(&content));
    if let Some(map) = &read.splice {
        let member = TarMember { name: location.name.clone(), size_bytes: read.size_bytes, mtime_unix: location.mtime_unix };
        let mut stream = &data[location.data_start as usize..][..location.compressed_size as usize];
        let mut tgz = Vec::new();
        splice(&mut tgz, &member, &mut stream, map, read.crc32).expect("the stream that was mapped");
        assert!(decoded(&tgz) == content, "the archive holds something else");
    }
});
