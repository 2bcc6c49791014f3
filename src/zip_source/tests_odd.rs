//! Zips as the world writes them: what `unzip`, 7-Zip, Python and `bsdtar` read, and what must still be refused.

use std::io::Cursor;

use super::test_zip::{TestEntry, zip_of};
use super::*;

const END: &[u8] = b"PK\x05\x06";

fn find(zip: &[u8], wanted: &str) -> Result<EntryLocation, ZipError> {
    find_entry(&mut Cursor::new(zip), wanted)
}

/// The content of the entry, read as in a night.
fn content(zip: &[u8], wanted: &str) -> Vec<u8> {
    let location = find(zip, wanted).unwrap_or_else(|error| panic!("{error}"));
    let mut content = Vec::new();
    let mut receive = |bytes: &[u8]| {
        content.extend_from_slice(bytes);
        Ok(())
    };
    read_entry(&mut Cursor::new(zip), &location, None, 1 << 30, &mut receive).unwrap();
    content
}

fn refusal(zip: &[u8], wanted: &str) -> String {
    find(zip, wanted).expect_err("refused").to_string()
}

/// The place of the end record.
fn end_of(zip: &[u8]) -> usize {
    memchr::memmem::rfind(zip, END).unwrap()
}

fn with_comment(mut zip: Vec<u8>, comment: &[u8]) -> Vec<u8> {
    let at = end_of(&zip) + 20;
    zip[at..at + 2].copy_from_slice(&(comment.len() as u16).to_le_bytes());
    [zip, comment.to_vec()].concat()
}

#[test]
fn more_entries_than_the_count_can_hold_are_all_found() {
    let mut entries: Vec<_> = (0..70_000).map(|n| TestEntry::stored(&format!("files/{n}"), b"")).collect();
    entries.push(TestEntry::deflated("a.sql", b"the dump"));
    let mut zip = zip_of(&entries);
    assert_eq!(content(&zip, "a.sql"), b"the dump");
    // Any other count is that of another zip.
    let at = end_of(&zip) + 10;
    zip[at] ^= 1;
    assert!(refusal(&zip, "a.sql").ends_with("entries, and has 70001"));
}

#[test]
fn the_directorys_name_counts_and_not_the_entrys_own() {
    for own in [&b"boutique-\x82t\x82.sql"[..], br"exports\x.sql", b"", b"another.sql"] {
        let mut entry = TestEntry::deflated("boutique-été.sql", b"the dump");
        entry.local_name = Some(own.to_vec());
        let zip = zip_of(&[TestEntry::stored("first", b"1"), entry]);
        assert_eq!(content(&zip, "boutique-été.sql"), b"the dump");
        assert!(matches!(find(&zip, "another.sql"), Err(ZipError::Missing { .. })));
    }
}

#[test]
fn a_unicode_path_takes_the_place_of_the_name_that_it_belongs_to() {
    let mut entry = TestEntry::deflated("", b"the dump");
    entry.name = b"ete?.sql".to_vec();
    let path = "été☃.sql".as_bytes();
    let body = [&[1][..], &crc32fast::hash(&entry.name).to_le_bytes(), path].concat();
    entry.extra = [&0x7075u16.to_le_bytes()[..], &(body.len() as u16).to_le_bytes(), &body].concat();
    assert_eq!(content(&zip_of(&[entry.clone()]), "été☃.sql"), b"the dump");
    entry.name = b"other.sql".to_vec();
    entry.local_name = None;
    assert_eq!(content(&zip_of(&[entry]), "other.sql"), b"the dump");
}

#[test]
fn composed_and_decomposed_accents_are_the_same_name() {
    let (nfc, nfd) = ("données/été.sql", "donne\u{301}es/e\u{301}te\u{301}.sql");
    for (held, wanted) in [(nfc, nfd), (nfd, nfc)] {
        assert_eq!(content(&zip_of(&[TestEntry::deflated(held, b"x")]), wanted), b"x");
    }
    // Where both are there, each is what it says.
    let both = zip_of(&[TestEntry::deflated(nfc, b"composed"), TestEntry::deflated(nfd, b"decomposed")]);
    assert_eq!(content(&both, nfd), b"decomposed");
}

#[test]
fn an_absolute_name_is_taken_without_what_makes_it_absolute() {
    let zip = zip_of(&[TestEntry::deflated("/var/www/boutique.sql", b"x")]);
    for wanted in ["/var/www/boutique.sql", "var/www/boutique.sql"] {
        assert_eq!(find(&zip, wanted).unwrap().name, "var/www/boutique.sql");
    }
    let both = zip_of(&[TestEntry::deflated("/a.sql", b"absolute"), TestEntry::deflated("a.sql", b"relative")]);
    assert_eq!(content(&both, "a.sql"), b"relative");
}

#[test]
fn offsets_may_count_what_stands_before_the_zip_or_not() {
    let zip = zip_of(&[TestEntry::stored("first", b"1"), TestEntry::deflated("a.sql", b"the dump")]);
    for before in [&b"\n\n\n"[..], b"PK00", b"PK\x07\x08", &[b'x'; 100_000]] {
        let shifted = [before, &zip].concat();
        assert_eq!(content(&shifted, "a.sql"), b"the dump");
        // As `zip -A` makes them: counted from the start of the file.
        let mut counted = shifted;
        let directory = memchr::memmem::find(&counted, b"PK\x01\x02").unwrap();
        for at in
            memchr::memmem::find_iter(&counted.clone(), b"PK\x01\x02").map(|at| at + 42).chain([end_of(&counted) + 16])
        {
            let offset = u32::from_le_bytes(counted[at..at + 4].try_into().unwrap()) + before.len() as u32;
            counted[at..at + 4].copy_from_slice(&offset.to_le_bytes());
        }
        assert!(directory > before.len());
        assert_eq!(content(&counted, "a.sql"), b"the dump");
    }
}

#[test]
fn bytes_that_are_missing_before_the_directory_are_counted() {
    let zip = zip_of(&[TestEntry::stored("first", &[b'1'; 1000]), TestEntry::deflated("a.sql", b"the dump")]);
    assert!(refusal(&zip[300..], "a.sql").ends_with("300 bytes of the zip are missing before it"));
}

#[test]
fn a_comment_may_hold_what_looks_like_an_end_record() {
    let zip = zip_of(&[TestEntry::deflated("a.sql", b"the dump")]);
    let lookalike = [END, &[0; 18]].concat();
    for comment in [lookalike.clone(), [&lookalike[..], b"and more"].concat(), [&[b'x'; 9][..], &lookalike].concat()] {
        assert_eq!(content(&with_comment(zip.clone(), &comment), "a.sql"), b"the dump");
    }
}

#[test]
fn a_little_behind_the_zip_makes_no_difference() {
    let zip = zip_of(&[TestEntry::deflated("a.sql", b"the dump")]);
    assert_eq!(content(&[&zip[..], b"\r\n<!-- 0.02 s -->\n"].concat(), "a.sql"), b"the dump");
}

#[test]
fn a_part_of_a_split_zip_is_told_as_such() {
    let mut zip = zip_of(&[TestEntry::deflated("a.sql", b"the dump")]);
    let at = end_of(&zip);
    zip[at + 4] = 2;
    assert!(refusal(&zip, "a.sql").contains("one part of a zip that was split"));
}

/// nih-at/libzip#235, libarchive/libarchive#1055 and #1162, zip-rs/zip-old#32, openjdk/jdk#15273.
#[test]
fn extra_fields_that_do_not_add_up_make_no_difference() {
    for extra in [
        &[0, 0, 0][..],
        &[0x3a, 0x6b, 0x56, 0x30, 1, 2],
        &[0x55, 0x54, 5, 0, 1, 0, 0, 0, 0, 0, 0],
        &[0x31, 0x32, 0x38, 0x65, 1, 2, 3],
        &[1, 0, 0, 0],
        &[1, 0, 16, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0],
        &[0x75, 0x70, 2, 0, 1, 1],
        &[0x01, 0x99, 1, 0, 2],
    ] {
        let mut entry = TestEntry::deflated("a.sql", b"the dump");
        entry.extra = extra.to_vec();
        assert_eq!(content(&zip_of(&[entry]), "a.sql"), b"the dump", "{extra:02x?}");
    }
}

/// madler/unzip#2, cthackers/adm-zip#564, pocoproject/poco#2467: the entry's own header and what follows its data do not count.
#[test]
fn lengths_in_the_entrys_own_header_make_no_difference() {
    let inner = zip_of(&[TestEntry::deflated("a.sql", b"the inner dump")]);
    let zip = zip_of(&[TestEntry::stored("inner.zip", &inner), TestEntry::deflated("a.sql", b"the dump")]);
    for (at, value) in [(14, 0x11u8), (18, 0x7f), (22, 0xff), (6, 8), (26 + 2, 0)] {
        let mut changed = zip.clone();
        let own = 30 + "inner.zip".len() + inner.len();
        changed[own + at] = value;
        assert_eq!(content(&changed, "a.sql"), b"the dump", "byte {at}");
    }
}

/// A window that would take more memory than any zip of a dump needs is refused before it is allocated.
#[test]
fn a_dictionary_of_gigabytes_is_refused() {
    let lzma = [&[9, 20, 5, 0, 0x5d][..], &u32::MAX.to_le_bytes(), &[0; 20]].concat();
    // A frame of one raw block with a window of 2 GiB (RFC 8878, 3.1.1.1.2).
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1 | 1 << 3, 0, 0, b'x'][..]].concat();
    for (method, data, says) in [
        (14, lzma, "(Lzma) needs a dictionary of 4095 MiB"),
        (95, xz(40), "(Xz) needs a dictionary"),
        (93, zstd, "(Zstd)"),
    ] {
        let mut entry = TestEntry::stored("a.sql", b"x").with_data(data);
        entry.method = method;
        entry.zip64 = true;
        entry.size = 5 << 30;
        let zip = zip_of(&[entry]);
        let location = find(&zip, "a.sql").unwrap();
        let error = read_entry(&mut Cursor::new(&zip), &location, None, u64::MAX, &mut |_| Ok(())).unwrap_err();
        assert!(matches!(error, ZipError::WindowTooLarge { .. }), "{method}: {error:?}");
        assert!(error.to_string().contains(says) && error.to_string().ends_with("128 MiB allowed"), "{error}");
    }
}

/// What is allowed is read: 128 MiB, of which only what is needed is touched.
#[test]
fn the_largest_dictionary_that_is_allowed_is_read() {
    let mut entry = TestEntry::stored("a.sql", b"xxxxxxxxxx").with_data(xz(30));
    entry.method = 95;
    assert_eq!(content(&zip_of(&[entry]), "a.sql"), b"xxxxxxxxxx");
}

/// An xz stream of ten `x` whose block says that it needs this dictionary (its "property": 40 is 4 GiB, 30 is 128 MiB).
fn xz(property: u8) -> Vec<u8> {
    use std::io::Write as _;
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Xz);
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("a", options).unwrap();
    writer.write_all(b"xxxxxxxxxx").unwrap();
    let zip = writer.finish().unwrap().into_inner();
    let start = memchr::memmem::find(&zip, b"\xfd7zXZ\0").unwrap();
    let end = memchr::memmem::find(&zip, b"YZ").unwrap() + 2;
    let mut xz = zip[start..end].to_vec();
    // Block header: its size, flags, filter 0x21 with one byte of properties, padding, CRC-32 (the .xz format, 3.1).
    let len = (usize::from(xz[12]) + 1) * 4;
    assert_eq!(&xz[14..16], [0x21, 1]);
    xz[16] = property;
    let crc = crc32fast::hash(&xz[12..12 + len - 4]);
    xz[12 + len - 4..12 + len].copy_from_slice(&crc.to_le_bytes());
    xz
}
