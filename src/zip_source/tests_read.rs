//! Reading the entry.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::test_zip::{TestEntry, zip_of};
use super::*;
use crate::tgz::{TarMember, splice};

const MAX: u64 = 1 << 30;

fn read_with(zip: &[u8], password: Option<&[u8]>, max: u64) -> Result<(Vec<u8>, EntryRead), ZipError> {
    let mut reader = Cursor::new(zip);
    let location = find_entry(&mut reader, "a.sql")?;
    let mut content = Vec::new();
    let read = read_entry(&mut reader, &location, password, max, &mut |bytes| {
        content.extend_from_slice(bytes);
        Ok(())
    });
    // Both ways must agree on everything.
    let mut again = Vec::new();
    let threaded = read_entry_threaded(
        &mut reader,
        &location,
        password,
        max,
        |bytes| {
            again.extend_from_slice(bytes);
            Ok(())
        },
        None,
    );
    match (&read, &threaded) {
        (Ok(read), Ok(threaded)) => assert!(read == threaded && content == again),
        (Err(read), Err(threaded)) => assert_eq!(read.to_string(), threaded.to_string()),
        _ => panic!("{read:?} on one thread, {threaded:?} on two"),
    }
    Ok((content, read?))
}

fn read(entry: &TestEntry) -> Result<(Vec<u8>, EntryRead), ZipError> {
    read_with(&zip_of(std::slice::from_ref(entry)), None, MAX)
}

fn refusal(entry: &TestEntry) -> String {
    read(entry).expect_err("refused").to_string()
}

fn written_with(options: SimpleFileOptions, content: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("a.sql", options).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner()
}

fn text() -> Vec<u8> {
    (0..150_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect()
}

#[test]
fn a_deflated_entry_is_read_with_the_map_to_splice_it() {
    let text = text();
    let entry = TestEntry::deflated("a.sql", &text);
    let (content, read) = read(&entry).unwrap();
    assert!(content == text);
    assert_eq!((read.size_bytes, read.crc32), (text.len() as u64, crc32fast::hash(&text)));
    assert_eq!(read.trailing_bytes, 0);
    assert_eq!(read.splice.unwrap().stream_bytes(), entry.compressed_size);
}

#[test]
fn every_method_the_library_writes_is_read_and_not_spliced() {
    let text = text();
    for method in [CompressionMethod::Stored, CompressionMethod::Bzip2, CompressionMethod::Zstd, CompressionMethod::Xz]
    {
        let zip = written_with(SimpleFileOptions::default().compression_method(method), &text);
        let (content, read) = read_with(&zip, None, MAX).unwrap();
        assert!(content == text, "{method}");
        assert_eq!(read.splice, None, "{method}");
    }
}

#[test]
fn deflate64_is_read() {
    // Stored blocks are the same in both DEFLATEs.
    let mut entry = TestEntry::stored("a.sql", b"x").with_data(vec![1, 1, 0, 0xfe, 0xff, b'x']);
    entry.method = 9;
    let (content, read) = read(&entry).unwrap();
    assert_eq!((content.as_slice(), read.splice), (&b"x"[..], None));
}

#[test]
fn lzma_is_read() {
    // Python's `lzma.compress(b"abcabcabcabc", FORMAT_ALONE)` behind the zip header of APPNOTE 5.8.8 instead of its own.
    let stream = hex::decode("00309888a7eb6281a3ffff61640000").unwrap();
    let data = [&[9, 20, 5, 0, 0x5d, 0, 0, 0x80, 0][..], &stream].concat();
    let mut entry = TestEntry::stored("a.sql", b"abcabcabcabc").with_data(data);
    entry.method = 14;
    entry.flags = 2;
    let (content, _) = read(&entry).unwrap();
    assert_eq!(content, b"abcabcabcabc");
}

#[test]
fn an_empty_entry_is_read() {
    for entry in [TestEntry::stored("a.sql", b""), TestEntry::deflated("a.sql", b"")] {
        let (content, read) = read(&entry).unwrap();
        assert!(content.is_empty());
        assert_eq!(read.size_bytes, 0);
    }
}

#[test]
fn data_descriptors_and_zip64_make_no_difference() {
    let mut descriptor = TestEntry::deflated("a.sql", b"some text");
    descriptor.flags = 8;
    let mut zip64 = TestEntry::deflated("a.sql", b"some text");
    zip64.zip64 = true;
    for entry in [descriptor, zip64] {
        let (content, read) = read(&entry).unwrap();
        assert_eq!(content, b"some text");
        assert!(read.splice.is_some());
    }
}

#[test]
fn a_wrong_crc_is_refused() {
    for mut entry in [TestEntry::deflated("a.sql", b"text"), TestEntry::stored("a.sql", b"text")] {
        let right = entry.crc32;
        entry.crc32 = 0xdead_beef;
        assert_eq!(
            refusal(&entry),
            format!("`a.sql` in the zip is damaged: its CRC-32 is `{right:08x}`, the zip says `deadbeef`")
        );
    }
}

#[test]
fn a_wrong_size_is_refused_in_both_directions() {
    for entry in [TestEntry::deflated("a.sql", b"text"), TestEntry::stored("a.sql", b"text")] {
        let mut longer = entry.clone();
        longer.size = 3;
        assert_eq!(refusal(&longer), "`a.sql` in the zip is damaged: it goes on after the 3 bytes that the zip says");
        let mut shorter = entry;
        shorter.size = 5;
        assert_eq!(refusal(&shorter), "`a.sql` in the zip is damaged: it has 4 bytes, the zip says 5");
    }
}

#[test]
fn a_bomb_is_stopped_at_its_declared_size() {
    let mut bomb = TestEntry::deflated("a.sql", &vec![0; 64 << 20]);
    bomb.size = 1000;
    let zip = zip_of(&[bomb]);
    let mut reader = Cursor::new(&zip);
    let location = find_entry(&mut reader, "a.sql").unwrap();
    let mut received = 0;
    let error = read_entry(&mut reader, &location, None, MAX, &mut |bytes| {
        received += bytes.len();
        Ok(())
    });
    assert!(matches!(error, Err(ZipError::WrongSize { got: None, .. })));
    assert!(received <= 1 << 20, "{received} bytes");
}

#[test]
fn an_entry_over_the_limit_is_refused_before_it_is_read() {
    let zip = zip_of(&[TestEntry::deflated("a.sql", b"12345")]);
    let error = read_with(&zip, None, 4).unwrap_err();
    assert_eq!(error.to_string(), "`a.sql` in the zip has 5 bytes, more than the limit of 4");
    assert!(read_with(&zip, None, 5).is_ok());
}

#[test]
fn garbage_behind_the_final_block_is_counted_and_left_out() {
    let clean = TestEntry::deflated("a.sql", b"text");
    let clean_map = read(&clean).unwrap().1.splice;
    for garbage in [&b"garbage"[..], &[3, 0]] {
        let entry = clean.clone().with_data([&clean.data[..], garbage].concat());
        let (content, read) = read(&entry).unwrap();
        assert_eq!(content, b"text");
        assert_eq!(read.trailing_bytes, garbage.len() as u64);
        assert_eq!(read.splice, clean_map);
    }
}

#[test]
fn a_stream_that_ends_before_its_last_block_is_cut() {
    let clean = TestEntry::deflated("a.sql", b"some longer text, some longer text");
    for cut in 0..clean.data.len() {
        let entry = clean.clone().with_data(clean.data[..cut].to_vec());
        assert_eq!(refusal(&entry), "the compressed data of `a.sql` in the zip ends too early", "cut at {cut}");
    }
}

#[test]
fn damaged_deflate_data_is_told_with_its_reason() {
    let entry = TestEntry::deflated("a.sql", b"text").with_data(vec![7; 20]);
    let error = read(&entry).unwrap_err();
    assert_eq!(error.to_string(), "`a.sql` in the zip cannot be unpacked");
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(reason, "the DEFLATE data is damaged: invalid block type");
}

#[test]
fn encrypted_entries_need_the_right_password() {
    use zip::AesMode;
    use zip::unstable::write::FileOptionsExt;
    let text = text();
    let old = SimpleFileOptions::default().with_deprecated_encryption(b"secret").unwrap();
    let aes = |mode| SimpleFileOptions::default().with_aes_encryption(mode, "secret");
    for options in [old, aes(AesMode::Aes128), aes(AesMode::Aes256)] {
        let zip = written_with(options, &text);
        let (content, read) = read_with(&zip, Some(b"secret"), MAX).unwrap();
        assert!(content == text);
        assert_eq!(read.splice, None, "an encrypted stream must never be spliced");
        let without = read_with(&zip, None, MAX).unwrap_err();
        assert_eq!(without.to_string(), "`a.sql` in the zip is encrypted");
        // More than 256, so that one of them passes the old encryption's own test.
        for n in 0..300u32 {
            let wrong = read_with(&zip, Some(format!("wrong{n}").as_bytes()), MAX).unwrap_err();
            assert!(matches!(wrong, ZipError::WrongPassword { .. }), "{n}: {wrong:?}");
            if options == aes(AesMode::Aes256) || options == aes(AesMode::Aes128) {
                break;
            }
        }
    }
}

#[test]
fn a_password_that_is_not_needed_is_ignored() {
    let zip = zip_of(&[TestEntry::deflated("a.sql", b"text")]);
    assert!(read_with(&zip, Some(b"secret"), MAX).unwrap().1.splice.is_some());
}

#[test]
fn a_receiver_that_fails_stops_the_reading() {
    let zip = zip_of(&[TestEntry::deflated("a.sql", &vec![7; 5 << 20])]);
    let mut reader = Cursor::new(&zip);
    let location = find_entry(&mut reader, "a.sql").unwrap();
    let mut calls = 0;
    let error = read_entry_threaded(
        &mut reader,
        &location,
        None,
        MAX,
        |_| {
            calls += 1;
            Err(io::Error::other("enough"))
        },
        None,
    );
    assert_eq!(calls, 1);
    match error {
        Err(ZipError::Receiver(source)) => assert_eq!(source.to_string(), "enough"),
        other => panic!("{other:?}"),
    }
}

#[test]
#[should_panic(expected = "a bug in the receiver")]
fn a_receiver_that_panics_does_not_hang() {
    let zip = zip_of(&[TestEntry::deflated("a.sql", &vec![7; 5 << 20])]);
    let mut reader = Cursor::new(&zip);
    let location = find_entry(&mut reader, "a.sql").unwrap();
    let _ = read_entry_threaded(&mut reader, &location, None, MAX, |_| panic!("a bug in the receiver"), None);
}

#[test]
fn a_failing_reader_is_an_io_error() {
    struct Flaky(Cursor<Vec<u8>>, usize);
    impl Read for Flaky {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1.checked_sub(1).ok_or(io::ErrorKind::TimedOut)?;
            self.0.read(buffer)
        }
    }
    impl io::Seek for Flaky {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    for entry in [TestEntry::stored("a.sql", &[7; 3 << 20]), TestEntry::deflated("a.sql", &text())] {
        let mut reader = Flaky(Cursor::new(zip_of(&[entry])), usize::MAX);
        let location = find_entry(&mut reader, "a.sql").unwrap();
        reader.1 = 1;
        let error = read_entry(&mut reader, &location, None, MAX, &mut |_| Ok(()));
        assert!(matches!(error, Err(ZipError::Io(_))), "{error:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The whole way: zip, verified in one pass, spliced, and read back by a decoder that knows nothing of all this.
    #[test]
    fn what_was_zipped_is_what_the_archive_holds(
        pieces in prop::collection::vec(prop::collection::vec(prop_oneof![any::<u8>(), 0u8..4], 0..3000), 0..6),
        level in 0u32..=9,
        garbage in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
        for piece in &pieces {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
        }
        let data = [encoder.finish().unwrap(), garbage].concat();
        let text = pieces.concat();
        let mut entry = TestEntry::stored("a.sql", &text).with_data(data);
        entry.method = 8;
        let zip = zip_of(&[entry]);

        let mut reader = Cursor::new(&zip);
        let location = find_entry(&mut reader, "a.sql").unwrap();
        let read = read_entry(&mut reader, &location, None, MAX, &mut |_| Ok(())).unwrap();
        let member = TarMember { name: location.name.clone(), size_bytes: read.size_bytes, mtime_unix: location.mtime_unix };
        let mut compressed = &zip[location.data_start as usize..][..location.compressed_size as usize];
        let mut tgz = Vec::new();
        splice(&mut tgz, &member, &mut compressed, &read.splice.unwrap(), read.crc32).unwrap();

        let mut tar = Vec::new();
        flate2::bufread::GzDecoder::new(&tgz[..]).read_to_end(&mut tar).unwrap();
        prop_assert!(tar[512..][..text.len()] == text);
    }
}
