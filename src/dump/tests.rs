//! The whole scanner, over dumps by the real tools and over what imitates them.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

const MARIADB_A: &[u8] = include_bytes!("../../tests/fixtures/dumps/mariadb-dump-a.sql");
const MARIADB_B: &[u8] = include_bytes!("../../tests/fixtures/dumps/mariadb-dump-b.sql");
const MARIADB_NO_COMMENTS: &[u8] = include_bytes!("../../tests/fixtures/dumps/mariadb-dump-skip-comments.sql");
const MARIADB_NO_DATE: &[u8] = include_bytes!("../../tests/fixtures/dumps/mariadb-dump-skip-dump-date.sql");
const PG_A: &[u8] = include_bytes!("../../tests/fixtures/dumps/pg_dump-a.sql");
const PG_B: &[u8] = include_bytes!("../../tests/fixtures/dumps/pg_dump-b.sql");
const PG_ALL: &[u8] = include_bytes!("../../tests/fixtures/dumps/pg_dumpall.sql");
const SQLITE: &[u8] = include_bytes!("../../tests/fixtures/dumps/sqlite3.sql");

const FIXTURES: [(&[u8], Producer); 8] = [
    (MARIADB_A, Producer::MariadbDump),
    (MARIADB_B, Producer::MariadbDump),
    (MARIADB_NO_COMMENTS, Producer::MysqlWithoutComments),
    (MARIADB_NO_DATE, Producer::MariadbDump),
    (PG_A, Producer::PgDump),
    (PG_B, Producer::PgDump),
    (PG_ALL, Producer::PgDumpAll),
    (SQLITE, Producer::Sqlite),
];

const PHPMYADMIN: &str = "-- phpMyAdmin SQL Dump\n-- version 5.2.1\n-- https://www.phpmyadmin.net/\n--\n\
    -- Hôte : localhost:3306\n-- Généré le : ven. 20 nov. 2026 à 01:00\n-- Version du serveur : 10.11.19-MariaDB\n\
    -- Version de PHP : 8.2.7\n\nSET SQL_MODE = \"NO_AUTO_VALUE_ON_ZERO\";\nSTART TRANSACTION;\nSET time_zone = \"+00:00\";\n\n\n\
    /*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n\
    /*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;\n/*!40101 SET NAMES utf8mb4 */;\n\n\
    CREATE TABLE `t` (`a` text);\n\nINSERT INTO `t` (`a`) VALUES\n('it\\'s; -- x'),\n('b');\nCOMMIT;\n\n\
    /*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;\n\
    /*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;\n";

/// Cut into pieces of `size` bytes.
fn scan_in_pieces(dump: &[u8], size: usize, complete: Complete, volatile: VolatileLines) -> DumpFindings {
    let mut scanner = DumpScanner::new(complete, volatile);
    for piece in dump.chunks(size) {
        scanner.update(piece);
    }
    scanner.finish()
}

fn scan(dump: impl AsRef<[u8]>) -> DumpFindings {
    let dump = dump.as_ref();
    scan_in_pieces(dump, dump.len().max(1), Complete::Auto, VolatileLines::Auto)
}

fn is_complete(dump: impl AsRef<[u8]>) -> bool {
    matches!(scan(dump).completeness, Completeness::Complete { .. })
}

fn reason(dump: impl AsRef<[u8]>) -> Incomplete {
    match scan(&dump).completeness {
        Completeness::Incomplete { reason, .. } => reason,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(dump.as_ref())),
    }
}

fn left_open(dump: impl AsRef<[u8]>) -> OpenEnd {
    match reason(dump) {
        Incomplete::LeftOpen { open, .. } => open,
        other => panic!("{other:?}"),
    }
}

fn same_fingerprint(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
    scan(a).fingerprint == scan(b).fingerprint
}

fn replaced(dump: &[u8], from: &str, to: &str) -> String {
    let text = str::from_utf8(dump).unwrap();
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

#[test]
fn the_dumps_of_the_real_tools_are_recognised_and_complete() {
    for (dump, producer) in FIXTURES {
        let findings = scan(dump);
        assert_eq!(findings.producer, producer);
        assert!(matches!(findings.completeness, Completeness::Complete { .. }), "{producer}: {findings:?}");
        assert_eq!(findings.size_bytes, dump.len() as u64);
        assert_eq!(findings.sha256.0, <[u8; 32]>::from(Sha256::digest(dump)));
    }
    assert!(is_complete(PHPMYADMIN));
    assert_eq!(scan(PHPMYADMIN).producer, Producer::PhpMyAdmin);
}

#[test]
fn a_dump_with_windows_line_ends_or_a_byte_order_mark_is_complete_too() {
    for (dump, producer) in FIXTURES.into_iter().chain([(PHPMYADMIN.as_bytes(), Producer::PhpMyAdmin)]) {
        let crlf = format!("\u{feff}{}", replaced(dump, "\n", "\r\n"));
        assert_eq!(scan(&crlf).producer, producer);
        assert!(is_complete(&crlf), "{producer}: {}", scan(&crlf).completeness);
    }
    assert!(same_fingerprint(replaced(PG_A, "\n", "\r\n"), replaced(PG_B, "\n", "\r\n")));
}

#[test]
fn the_same_data_dumped_twice_has_one_fingerprint() {
    for (a, b) in [(MARIADB_A, MARIADB_B), (PG_A, PG_B)] {
        let (a, b) = (scan(a), scan(b));
        assert_ne!(a.sha256, b.sha256);
        assert_eq!(a.fingerprint, b.fingerprint);
    }
    for dump in [MARIADB_NO_COMMENTS, MARIADB_NO_DATE, SQLITE] {
        assert_eq!(scan(dump).sha256, scan(dump).fingerprint);
    }
}

#[test]
fn any_cut_in_the_last_quarter_is_refused() {
    for (dump, producer) in FIXTURES {
        for length in dump.len() * 3 / 4..dump.len() {
            let cut = &dump[..length];
            // A cut that takes nothing but the last line end leaves these two with no statement open.
            let harmless = matches!(producer, Producer::MysqlWithoutComments | Producer::Sqlite)
                && dump[length..].iter().all(|&byte| byte == b'\n');
            assert_eq!(is_complete(cut), harmless, "{producer} cut at {length} of {}", dump.len());
        }
    }
    let whole = PHPMYADMIN.trim_end().len();
    for length in PHPMYADMIN.len() / 2..whole {
        assert!(!is_complete(&PHPMYADMIN.as_bytes()[..length]), "phpMyAdmin cut at {length}");
    }
}

#[test]
fn any_cut_at_all_of_a_dump_with_an_end_marker_is_refused() {
    for dump in [MARIADB_A, MARIADB_NO_DATE, PG_A] {
        for length in (0..dump.len()).step_by(if dump.len() > 10_000 { 41 } else { 1 }) {
            assert!(!is_complete(&dump[..length]), "cut at {length}");
        }
    }
}

#[test]
fn an_end_marker_in_the_data_ends_nothing() {
    let procedure = replaced(MARIADB_A, "(3,'", "(3,'x\n-- Dump completed on 2026-11-20 13:17:04\n");
    let cut = procedure.find("13:17:04\n").unwrap() + 9;
    assert_eq!(reason(&procedure[..cut]), Incomplete::NotRestored("CHARACTER_SET_CLIENT".to_owned()));
    assert!(is_complete(&procedure));
    assert_eq!(
        reason(replaced(MARIADB_A, "13:17:04\n", "13:17:04\nmysqldump: Got error: 2013\n")),
        Incomplete::NoEndMarker("-- Dump completed".to_owned())
    );
}

#[test]
fn a_line_of_data_that_looks_volatile_counts() {
    let dated = "-- Dump completed on 2026-11-20 13:17:04\n";
    let mysql = |time: &str| replaced(MARIADB_A, "(2,'", &format!("(2,'\n-- Dump completed on 2026-11-20 {time}\n"));
    assert!(!same_fingerprint(mysql("13:17:04"), mysql("13:17:05")));
    assert!(is_complete(mysql("13:17:04")) && mysql("13:17:04").ends_with(dated));

    let token = |letter: &str| letter.repeat(63);
    for (from, line) in [
        ("\n1\t", "\\restrict @@\n"),
        ("\n1\t", "\\unrestrict @@\n"),
        ("\nCREATE TABLE", "\\restrict @@\n"),
        ("\nCREATE TABLE", "-- Started on 2026-11-20 13:17:1@ UTC\n"),
        ("\nCREATE TABLE", "-- Completed on 2026-11-20 13:17:1@ UTC\n"),
        ("\n1\t", "-- Completed on 2026-11-20 13:17:1@ UTC\n\n--\n"),
        ("\n1\t", "-- Completed on 2026-11-20 13:17:1@ UTC\n\n--\n-- PostgreSQL database dump complete\n--\n\n"),
    ] {
        let with = |digit: &str, letter: &str| {
            let line = line.replace("@@", &token(letter)).replace('@', digit);
            replaced(PG_A, from, &format!("\n{line}{}", &from[1..]))
        };
        assert!(!same_fingerprint(with("1", "a"), with("2", "b")), "{line}");
        assert!(is_complete(with("1", "a")), "{line}: {}", scan(with("1", "a")).completeness);
    }
}

#[test]
fn the_times_of_a_verbose_pg_dump_are_volatile() {
    let verbose = |started: &str, completed: &str| {
        let dump =
            replaced(PG_A, "\nSET statement_timeout", &format!("\n-- Started on {started}\n\nSET statement_timeout"));
        let end = "--\n-- PostgreSQL database dump complete";
        replaced(dump.as_bytes(), end, &format!("-- Completed on {completed}\n\n{end}"))
    };
    let a = verbose("2026-11-20 13:17:10 UTC", "2026-11-20 13:17:11 UTC");
    let b = verbose("2026-11-21 13:17:10 CET", "2026-11-21 13:19:11 CET");
    assert!(is_complete(&a));
    assert!(same_fingerprint(&a, &b));
    // Before the security releases of 2025 there was no token to close the dump.
    let untokened = |dump: &str| {
        let lines = dump.split_inclusive('\n').filter(|line| !line.contains("restrict "));
        let dump: String = lines.collect();
        format!("{}\n\n", dump.trim_end())
    };
    assert!(is_complete(untokened(&a)), "{}", scan(untokened(&a)).completeness);
    assert!(same_fingerprint(untokened(&a), untokened(&b)));
}

#[test]
fn every_database_of_pg_dumpall_has_volatile_tokens() {
    let mut other = String::from_utf8(PG_ALL.to_vec()).unwrap();
    for (index, token) in ["7hocrMhvCEWKucbK", "49hYqam82xcvrSw2", "vUXhW2G3fsBkcHia"].into_iter().enumerate() {
        other = replaced(other.as_bytes(), token, &format!("{index}").repeat(16));
    }
    assert!(is_complete(&other));
    assert!(same_fingerprint(PG_ALL, other));
}

#[test]
fn a_pg_dump_whose_tokens_differ_is_refused() {
    let unrestrict = "\\unrestrict UvkeGGh";
    assert_eq!(reason(replaced(PG_A, unrestrict, "\\unrestrict XvkeGGh")), Incomplete::RestrictStillOpen);
    // Whatever the configuration takes for volatile.
    let dump = replaced(PG_A, unrestrict, "\\unrestrict XvkeGGh");
    let findings = scan_in_pieces(dump.as_bytes(), 1000, Complete::Auto, VolatileLines::None);
    assert!(matches!(findings.completeness, Completeness::Incomplete { reason: Incomplete::RestrictStillOpen, .. }));
    assert!(matches!(
        scan_in_pieces(PG_A, 1000, Complete::Auto, VolatileLines::None).completeness,
        Completeness::Complete { .. }
    ));
}

#[test]
fn the_generation_time_of_phpmyadmin_is_volatile_and_its_like_in_the_data_is_not() {
    let time = "ven. 20 nov. 2026 à 01:00";
    assert!(same_fingerprint(PHPMYADMIN, PHPMYADMIN.replace(time, "sam. 21 nov. 2026 à 02:12")));
    assert!(!same_fingerprint(PHPMYADMIN, PHPMYADMIN.replace("8.2.7", "8.2.8")));
    let data = |time: &str| PHPMYADMIN.replace("('b')", &format!("('\n-- Généré le : {time}\n')"));
    assert!(!same_fingerprint(data(time), data("sam. 21 nov. 2026 à 02:12")));
}

#[test]
fn phpmyadmin_without_transaction_or_saved_settings_needs_a_closed_statement() {
    let plain = "-- phpMyAdmin SQL Dump\n-- version 3.5\n\nCREATE TABLE `t` (`a` text);\nINSERT INTO `t` VALUES ('\\'\nCOMMIT;\n');\n";
    assert!(is_complete(plain));
    assert_eq!(left_open(&plain[..plain.len() - 4]), OpenEnd::Quote('\''));
    assert_eq!(reason(PHPMYADMIN.replace("COMMIT;\n", "")), Incomplete::NoEndMarker("COMMIT;".to_owned()));
}

#[test]
fn a_commit_inside_a_string_does_not_end_an_sqlite_dump() {
    let dump = replaced(SQLITE, "VALUES(1)", "VALUES('it''s \\\nCOMMIT;\n')");
    assert!(is_complete(&dump), "{}", scan(&dump).completeness);
    let cut = dump.find("COMMIT;\n").unwrap() + 8;
    assert_eq!(left_open(&dump[..cut]), OpenEnd::Quote('\''));
    assert_eq!(reason(replaced(SQLITE, "COMMIT;", "ROLLBACK; -- due to errors")), Incomplete::RolledBack);
}

#[test]
fn an_empty_dump_is_refused_and_a_binary_one_is_not_judged() {
    for dump in ["", "\n\n", "\u{feff}\n", "-- only a comment\n", "/* x */\n"] {
        assert_eq!(reason(dump), Incomplete::Empty, "{dump:?}");
    }
    let findings = scan(b"PGDMP\x01\x0e\0");
    assert_eq!(findings.completeness, Completeness::Unchecked { why: Unchecked::Binary(BinaryKind::PgCustom) });
    assert_eq!(findings.sha256, findings.fingerprint);
}

#[test]
fn a_literal_end_or_none_can_be_asked_for() {
    let with = |dump: &str, complete| scan_in_pieces(dump.as_bytes(), 3, complete, VolatileLines::Auto).completeness;
    let end = || Complete::Literal("-- fin\n".to_owned());
    assert_eq!(with("abc\n-- fin \n\n", end()), Completeness::Complete { grounds: Grounds::Literal });
    assert_eq!(
        with("abc\n-- fi", end()),
        Completeness::Incomplete {
            reason: Incomplete::NoLiteral("-- fin\n".to_owned()),
            stop: Some(Stop { at: 9, line: LastLine::Comment })
        }
    );
    assert_eq!(with("abc", Complete::Off), Completeness::Unchecked { why: Unchecked::Off });
}

#[test]
fn patterns_replace_what_is_known_of_the_producer() {
    let patterns = || VolatileLines::Patterns(vec![regex::bytes::Regex::new("^-- export \\d+$").unwrap()]);
    let print = |dump: &[u8]| scan_in_pieces(dump, 7, Complete::Off, patterns()).fingerprint;
    assert_eq!(print(b"a;\n-- export 1\nb;\n"), print(b"a;\n-- export 22\r\nb;\n"));
    assert_eq!(print(b"a;\n-- export 1\nb;\n"), scan("a;\nb;\n").sha256);
    assert_eq!(print(b"a;\n-- export 1"), scan("a;\n").sha256);
    assert_ne!(print(b"a;\n-- export 1x\nb;\n"), print(b"a;\n-- export 2x\nb;\n"));
    assert_ne!(print(MARIADB_A), print(MARIADB_B));
}

#[test]
fn a_line_of_more_than_a_mebibyte_is_never_matched() {
    let patterns = || VolatileLines::Patterns(vec![regex::bytes::Regex::new("^x").unwrap()]);
    let line = |length: usize| format!("{}\nend\n", "x".repeat(length));
    for size in [4096, 1 << 20, 3 << 20] {
        let print = |dump: &str| scan_in_pieces(dump.as_bytes(), size, Complete::Off, patterns()).fingerprint;
        assert_eq!(print(&line((1 << 20) - 1)), print("end\n"));
        assert_eq!(print(&line(1 << 20)), scan(line(1 << 20)).sha256);
    }
}

#[test]
fn a_cut_dump_is_told_by_its_structure_and_never_by_its_data() {
    for (dump, said) in [
        (
            "SELECT 1;\nSELECT 'FR76 3000",
            "incomplete: the dump ends within a quoted text without its closing ', which begins after byte 17; it stops \
             after byte 27, in a line that begins with `SELECT`",
        ),
        (
            "-- MySQL dump 10.13\nINSERT INTO t VALUES (1,'FR76 3000",
            "incomplete: the dump does not end with `-- Dump completed`; it stops after byte 54, in a line that begins with \
             `INSERT`",
        ),
        (
            "/* c */ CREATE TABLE t (a text,\n  FR76 3000",
            "incomplete: the dump ends within a statement without its end, which begins after byte 8; it stops after byte \
             43, inside of a statement or its data",
        ),
    ] {
        assert_eq!(scan(dump).completeness.to_string(), said);
    }
}

/// Snippets that the scanner has to look at closely, and filler.
fn snippet() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\\restrict UvkeGGhTesmY5MVDr1pvhZsQrdX1gf7yDPKIQTxnwKppN75M2YFUkO\n".to_owned()),
        Just("\\unrestrict UvkeGGhTesmY5MVDr1pvhZsQrdX1gf7yDPKIQTxnwKppN75M2YFUkO\n".to_owned()),
        Just("-- Completed on 2026-11-20 13:17:10 UTC\n".to_owned()),
        Just("-- Started on 2026-11-20 13:17:10 UTC\n".to_owned()),
        Just("-- Dump completed on 2026-11-20 13:17:10\n".to_owned()),
        Just("-- Dump completed\n".to_owned()),
        Just("--\n-- PostgreSQL database dump complete\n--\n\n".to_owned()),
        Just("\n".to_owned()),
        Just("\\connect x\n".to_owned()),
        Just("SELECT 'it\\'s', E'\\'', \"a\", `b`, $$ ; $$, $t$ $$ $t$; -- x\n".to_owned()),
        Just("/*!50003 CREATE x 'a*/' */;;\nDELIMITER $$\nx; $$\nDELIMITER ;\n".to_owned()),
        Just("COPY a (b) FROM stdin;\n1\t'\n\\\\.\n\\.\n".to_owned()),
        Just("x".repeat(1022)),
        Just("y".repeat(3000)),
        "[-'\"`/*!M$;\\\\#.a\n ]{0,12}",
    ]
}

proptest! {
    #[test]
    fn findings_do_not_depend_on_how_the_dump_is_cut(
        head in prop_oneof![
            Just("--\n-- PostgreSQL database dump\n--\n\n"),
            Just("-- MySQL dump 10.13\n--\n"),
            Just("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"),
            Just("SELECT pg_catalog.set_config('search_path', '', false);\n"),
            Just("CREATE TABLE a(b);\n"),
        ],
        // The head is gathered before it is looked at: only what comes after it is scanned in pieces.
        filler in prop_oneof![Just(""), Just("SELECT 1;\n"), Just("-- comment\n")],
        snippets in proptest::collection::vec(snippet(), 0..40),
        sizes in proptest::collection::vec(prop_oneof![1_usize..60, 1_usize..3000], 1..60),
        patterns in any::<bool>(),
    ) {
        let dump = format!("{head}{}{}", filler.repeat(HEAD_BYTES / 9), snippets.concat());
        let volatile = || if patterns {
            VolatileLines::Patterns(vec![regex::bytes::Regex::new("completed|^x").unwrap()])
        } else {
            VolatileLines::Auto
        };
        let whole = scan_in_pieces(dump.as_bytes(), dump.len(), Complete::Auto, volatile());
        let mut scanner = DumpScanner::new(Complete::Auto, volatile());
        let mut rest = dump.as_bytes();
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            scanner.update(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&scanner.finish(), &whole);
        prop_assert_eq!(&scan_in_pieces(dump.as_bytes(), 1, Complete::Auto, volatile()), &whole);
    }
}
