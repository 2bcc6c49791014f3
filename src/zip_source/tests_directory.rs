//! Finding the entry.

use crate::error::Hinted as _;
use std::io::{Cursor, Write};

use super::test_zip::{TestEntry, zip_of};
use super::*;

fn find(zip: &[u8], wanted: &str) -> Result<EntryLocation, ZipError> {
    find_entry(&mut Cursor::new(zip), wanted)
}

fn refusal(zip: &[u8], wanted: &str) -> String {
    find(zip, wanted).expect_err("refused").to_string()
}

#[test]
fn an_entry_is_found_with_what_the_directory_says() {
    let zip = zip_of(&[TestEntry::stored("readme", b"hi"), TestEntry::deflated("boutique.sql", b"SELECT 1;")]);
    let found = find(&zip, "boutique.sql").unwrap();
    assert_eq!(found.name, "boutique.sql");
    assert_eq!(found.declared_size, 9);
    assert_eq!(found.crc32, crc32fast::hash(b"SELECT 1;"));
    assert_eq!(found.encryption, Encryption::None);
    assert_eq!(found.mtime_unix, 1_787_459_458);
    assert_eq!(found.method_name(), "Deflated");
    assert!(found.is_plain_deflate());
    let data = &zip[found.data_start as usize..][..found.compressed_size as usize];
    assert_eq!(data, TestEntry::deflated("", b"SELECT 1;").data);
}

#[test]
fn the_extended_timestamp_wins_over_the_dos_time() {
    let mut entry = TestEntry::stored("a", b"");
    entry.extra = [&[0x55, 0x54, 5, 0, 1][..], &1_700_000_001u32.to_le_bytes()].concat();
    assert_eq!(find(&zip_of(&[entry]), "a").unwrap().mtime_unix, 1_700_000_001);
}

#[test]
fn a_nonsense_time_becomes_1980() {
    let mut entry = TestEntry::stored("a", b"");
    entry.dos = (0, 0);
    assert_eq!(find(&zip_of(&[entry]), "a").unwrap().mtime_unix, 315_532_800);
}

#[test]
fn accented_names_are_found_in_utf8_with_and_without_the_flag_and_in_cp437() {
    let wanted = "été.sql";
    let mut flagged = TestEntry::stored(wanted, b"x");
    flagged.flags = 1 << 11;
    let unflagged = TestEntry::stored(wanted, b"x");
    let mut cp437 = TestEntry::stored("", b"x");
    cp437.name = b"\x82t\x82.sql".to_vec();
    for entry in [flagged, unflagged, cp437] {
        assert_eq!(find(&zip_of(&[entry]), wanted).unwrap().name, wanted);
    }
}

#[test]
fn a_name_that_is_there_twice_is_refused_even_in_two_encodings() {
    let plain = TestEntry::stored("a.sql", b"1");
    let zip = zip_of(&[plain.clone(), TestEntry::stored("b", b""), TestEntry::deflated("a.sql", b"2")]);
    assert_eq!(refusal(&zip, "a.sql"), "the zip holds `a.sql` 2 times");
    let mut cp437 = TestEntry::stored("", b"x");
    cp437.name = b"\x82.sql".to_vec();
    let zip = zip_of(&[TestEntry::stored("é.sql", b"x"), cp437]);
    assert!(matches!(find(&zip, "é.sql"), Err(ZipError::Twice { count: 2, .. })));
}

#[test]
fn a_missing_entry_is_told_with_what_is_there_instead() {
    let zip = zip_of(&[TestEntry::stored("readme.txt", b"hi"), TestEntry::stored("exports/Boutique.sql", b"12345")]);
    let error = find(&zip, "boutique.sql").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`boutique.sql` is not in the zip, which holds `readme.txt` (2 bytes), `exports/Boutique.sql` (5 bytes)"
    );
    let hint = error.hint().unwrap();
    assert_eq!(hint.en, "did you mean this one? under `[source]` it is written `entry = \"exports/Boutique.sql\"`");
    let zip = zip_of(&[TestEntry::stored(r"exports\boutique.sql", b"")]);
    let hint = find(&zip, "exports/boutique.sql").unwrap_err().hint().unwrap();
    assert!(hint.fr.ends_with(r"il s'écrit `entry = 'exports\boutique.sql'`"), "{hint}");
    // Each control character would take six in a TOML string.
    let zip = zip_of(&[TestEntry::stored(&format!("{}/boutique.sql", "\x01".repeat(60_000)), b"")]);
    let hint = find(&zip, "boutique.sql").unwrap_err().hint().unwrap();
    assert!(hint.en.starts_with("did you mean `") && hint.en.len() < 1000, "{hint}");
    assert!(hint.en.ends_with("as `unzip -Z1` shows it") && hint.fr.len() < 1000, "{hint}");
}

#[test]
fn a_name_that_changes_with_the_date_is_told_as_such() {
    let zip = zip_of(&[TestEntry::stored("boutique-2026-11-21.sql", b"")]);
    let hint = find(&zip, "boutique-2026-11-20.sql").unwrap_err().hint().unwrap();
    assert!(hint.en.starts_with("the entry's name seems to change with the date"), "{hint}");
}

#[test]
fn of_many_entries_twenty_are_named_and_the_rest_counted() {
    let entries: Vec<_> = (0..25).map(|n| TestEntry::stored(&format!("part-{n}"), b"")).collect();
    let message = refusal(&zip_of(&entries), "boutique.sql");
    assert!(message.contains("`part-19` (0 bytes) and 5 more"), "{message}");
    assert!(!message.contains("part-20"), "{message}");
}

#[test]
fn control_characters_in_names_stay_out_of_messages() {
    let message = refusal(&zip_of(&[TestEntry::stored("a\u{1b}[31m", b"")]), "b");
    assert!(message.contains(r"a\u{1b}[31m"), "{message}");
}

#[test]
fn a_zip_without_entries_says_so() {
    assert_eq!(refusal(&zip_of(&[]), "a"), "`a` is not in the zip, which is empty");
}

#[test]
fn directories_and_links_are_no_files() {
    let mut link = TestEntry::stored("link.sql", b"/etc/passwd");
    link.external_attributes = 0o120_777 << 16;
    assert_eq!(refusal(&zip_of(&[link]), "link.sql"), "`link.sql` in the zip is a symbolic link, not a file");
    let directory = TestEntry::stored("dump/", b"");
    assert_eq!(refusal(&zip_of(&[directory]), "dump/"), "`dump/` in the zip is a directory, not a file");
}

#[test]
fn names_that_lead_out_of_the_directory_are_refused() {
    for name in ["../a.sql", "x/../../a.sql", "/../a.sql", r"..\a.sql", r"C:\a.sql", r"\a.sql"] {
        let zip = zip_of(&[TestEntry::stored(name, b"x")]);
        assert!(matches!(find(&zip, name), Err(ZipError::UnsafeName { .. })), "{name}");
    }
    assert!(find(&zip_of(&[TestEntry::stored("a..b/c.sql", b"x")]), "a..b/c.sql").is_ok());
}

#[test]
fn an_entry_that_contradicts_the_directory_is_refused() {
    let mut method = TestEntry::deflated("a", b"x");
    method.local_method = Some(0);
    assert_eq!(
        refusal(&zip_of(&[method]), "a"),
        "the zip contradicts itself: the method of `a` differs between directory and entry"
    );
}

#[test]
fn an_entry_that_is_encrypted_on_one_side_only_is_refused() {
    let mut zip = zip_of(&[TestEntry::stored("a", b"x")]);
    // The flags in the entry's own header.
    zip[6] |= 1;
    assert!(matches!(find(&zip, "a"), Err(ZipError::HeadersDisagree { what: "encryption", .. })));
}

#[test]
fn strong_encryption_is_not_taken_for_the_old_one() {
    let mut entry = TestEntry::stored("a", b"x");
    entry.flags = 1 | 1 << 6;
    assert_eq!(
        refusal(&zip_of(&[entry]), "a"),
        "`a` in the zip uses the method `strong encryption`, which is not supported"
    );
}

#[test]
fn methods_that_nobody_here_reads_are_named() {
    for (number, label) in [(1, "shrink"), (6, "implode"), (98, "PPMd"), (77, "number 77")] {
        let mut entry = TestEntry::stored("a", b"x");
        entry.method = number;
        assert_eq!(
            refusal(&zip_of(&[entry]), "a"),
            format!("`a` in the zip uses the method `{label}`, which is not supported")
        );
    }
}

#[test]
fn zip64_entries_are_found() {
    let mut entry = TestEntry::deflated("a.sql", b"some content");
    entry.zip64 = true;
    let found = find(&zip_of(&[entry]), "a.sql").unwrap();
    assert_eq!(found.declared_size, 12);
}

#[test]
fn a_zip_behind_other_bytes_is_found() {
    let zip = [&b"#!/bin/sh\n"[..], &zip_of(&[TestEntry::deflated("a", b"x")])].concat();
    let found = find(&zip, "a").unwrap();
    assert_eq!(found.data_start, 10 + 31);
}

#[test]
fn what_is_no_zip_is_told_apart() {
    assert_eq!(refusal(b"", "a"), "the file is empty, not a zip");
    let page = b"\n<!DOCTYPE html>\n<html><head><title>Connexion</title></head></html>";
    assert_eq!(
        refusal(page, "a"),
        "this is text, not a zip: it starts with `<!DOCTYPE html> <html><head><title>Connexion</title></head><`"
    );
    assert_eq!(
        refusal(b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "a"),
        "this is not a zip: it starts with the bytes `1f8b080000000000`"
    );
}

#[test]
fn a_zip_cut_anywhere_is_refused() {
    let noise: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let zip = zip_of(&[TestEntry::stored("a", &noise), TestEntry::deflated("b", b"text")]);
    for cut in (1..zip.len()).step_by(7).chain(zip.len() - 60..zip.len()) {
        let error = find(&zip[..cut], "a").expect_err("refused");
        assert!(matches!(error, ZipError::NotAZip(_)), "cut at {cut}: {error}");
    }
    assert!(refusal(&zip[..4000], "a").contains("its end is missing"));
}

#[test]
fn an_entry_whose_data_is_not_all_there_is_cut() {
    let mut entry = TestEntry::stored("a", b"0123456789");
    entry.compressed_size = 100_000;
    assert!(matches!(find(&zip_of(&[entry]), "a"), Err(ZipError::Truncated { .. })));
}

#[test]
fn a_directory_that_is_not_where_it_says_is_damaged() {
    let mut zip = zip_of(&[TestEntry::stored("a", b"x")]);
    let at = memchr::memmem::find(&zip, b"PK\x01\x02").unwrap();
    zip[at] = b'X';
    assert!(refusal(&zip, "a").starts_with("the zip's directory is damaged: "));
}

#[test]
fn more_entries_than_anyone_needs_are_refused_without_reading_them() {
    let mut entry = TestEntry::stored("a", b"");
    entry.zip64 = true;
    let mut zip = zip_of(&[entry]);
    // Both counts in the zip64 end record, and a directory of the size to go with them.
    let at = memchr::memmem::find(&zip, b"PK\x06\x06").unwrap();
    let count = 1_000_001u64;
    zip[at + 24..at + 32].copy_from_slice(&count.to_le_bytes());
    zip[at + 32..at + 40].copy_from_slice(&count.to_le_bytes());
    let padding = vec![0; 46 * count as usize];
    zip.splice(at..at, padding);
    let at = at + 46 * count as usize;
    let start = memchr::memmem::find(&zip, b"PK\x01\x02").unwrap();
    zip[at + 40..at + 48].copy_from_slice(&((at - start) as u64).to_le_bytes());
    let locator = memchr::memmem::rfind(&zip, b"PK\x06\x07").unwrap();
    zip[locator + 8..locator + 16].copy_from_slice(&(at as u64).to_le_bytes());
    assert_eq!(refusal(&zip, "a"), "the zip holds 1000001 entries, more than the 1000000 accepted");
}

#[test]
fn random_damage_never_panics() {
    let zip = zip_of(&[TestEntry::deflated("a", b"some text"), TestEntry::stored("b", b"x")]);
    for at in 0..zip.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = zip.clone();
            damaged[at] = value;
            let mut reader = Cursor::new(&damaged);
            if let Ok(location) = find_entry(&mut reader, "a") {
                let _ = read_entry(&mut reader, &location, None, 1 << 20, &mut |_| Ok(()));
            }
        }
    }
}

#[test]
fn the_library_s_own_writer_is_understood() {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("a.sql", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(b"text").unwrap();
    let zip = writer.finish().unwrap().into_inner();
    assert_eq!(find(&zip, "a.sql").unwrap().declared_size, 4);
}
