//! The same tests over a dump of each producer in the table.

use super::producers::PROFILES;
use super::*;

/// What is known to be true of a fixture.
struct Case {
    producer: Producer,
    dump: &'static [u8],
    /// What the same tool writes the next night, of the same data.
    dates: &'static [(&'static str, &'static str)],
    cut: Cut,
    /// Part of a value or a name, to be changed for other data.
    data: &'static str,
}

/// What is known of a dump that was cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// It is always refused.
    Refused,
    /// It is refused unless nothing but this line end or comment is missing, or the cut is right after one of these.
    RefusedUnlessAfter(&'static [&'static str]),
}

const SEMICOLON: Cut = Cut::RefusedUnlessAfter(&[";"]);

macro_rules! case {
    ($producer:ident, $file:literal, $data:literal, $cut:expr, $($dates:expr),* $(,)?) => {
        Case {
            producer: Producer::$producer,
            dump: include_bytes!(concat!("../../tests/fixtures/dumps/", $file)),
            dates: &[$($dates),*],
            cut: $cut,
            data: $data,
        }
    };
}

const CASES: &[Case] = &[
    case!(MariadbDump, "mariadb-dump-a.sql", "varchar", Cut::Refused, ("2026-11-20 13:17:04", "2026-11-21 13:17:05")),
    case!(
        MariadbDump,
        "mariadb-dump-routines.sql",
        "Brien",
        Cut::Refused,
        ("2026-11-28 10:51:12", "2026-11-29  1:00:03")
    ),
    case!(MariadbDump, "mariadb-dump-skip-dump-date.sql", "varchar", Cut::Refused,),
    case!(MysqlWithoutComments, "mariadb-dump-skip-comments.sql", "varchar", Cut::Refused,),
    case!(
        MysqlPump,
        "mysqlpump.sql",
        "Brien",
        Cut::Refused,
        ("20 01:00:02", "21 02:00:02"),
        ("Fri Nov 20 01:00:04", "Sat Nov 21 02:00:05")
    ),
    case!(MysqlDumpPhp, "mysqldump-php.sql", "Brien", Cut::Refused, ("Fri, 20 Nov 2026 01", "Sat, 21 Nov 2026 02")),
    case!(PgDump, "pg_dump-a.sql", "CREATE TABLE", Cut::Refused,),
    case!(PgDumpAll, "pg_dumpall.sql", "CREATE TABLE", Cut::Refused,),
    case!(
        PhpMyAdmin,
        "phpmyadmin.sql",
        "Brien",
        Cut::Refused,
        ("ven. 20 nov. 2026 à 01:00", "sam. 21 nov. 2026 à 02:12")
    ),
    case!(Adminer, "adminer.sql", "Brien", Cut::Refused, ("2026-11-28 10:51:38", "2026-11-29 10:51:40")),
    case!(Adminer, "adminer-5.sql", "two", Cut::Refused, ("2026-11-20 01:00:03 UTC", "2026-11-21 02:00:00 UTC")),
    case!(Navicat, "navicat.sql", "Brien", Cut::Refused, ("20/11/2026 01:00:03", "21/11/2026 02:00:03")),
    case!(SqlYog, "sqlyog.sql", "Brien", Cut::Refused,),
    case!(HeidiSql, "heidisql.sql", "Brien", Cut::Refused,),
    case!(SequelAce, "sequel-ace.sql", "Brien", Cut::Refused, ("2026-11-20 01:00", "2026-11-21 02:00")),
    case!(TablePlus, "tableplus.sql", "int4", SEMICOLON, ("2026-11-20 01:00:03.1230", "2026-11-21 01:00:03.99")),
    case!(DbForge, "dbforge.sql", "Brien", Cut::Refused, ("20/11/2026 01:00:03", "21/11/2026 02:00:03")),
    case!(MysqlWorkbench, "mysql-workbench.sql", "Brien", Cut::Refused, ("Fri Nov 20 01", "Sat Nov 21 02")),
    case!(BackWpUp, "backwpup.sql", "Brien", Cut::Refused, ("2026-11-20 01:00.03", "2026-11-21 02:00.03")),
    case!(Duplicator, "duplicator.sql", "Brien", Cut::Refused, ("ON : 2026-11-20 01", "ON : 2026-11-21 02")),
    case!(WordPress, "updraftplus.sql", "Brien", Cut::Refused, ("Friday 20. November", "Saturday 21. November")),
    case!(WordPress, "wp-db-backup.sql", "Brien", SEMICOLON, ("Friday 20. November", "Saturday 21. November")),
    case!(Mydumper, "mydumper-schema.sql", "varchar", SEMICOLON,),
    case!(Mydumper, "mydumper-data.sql", "Brien", SEMICOLON,),
    case!(Sqlite, "sqlite3.sql", "INSERT", Cut::Refused,),
    case!(Sqlite, "sqlite3-fts.sql", "two", Cut::Refused,),
    case!(Sqlite, "sqlite3-defensive.sql", "two", Cut::Refused,),
    case!(
        SqlServer,
        "sql-server.sql",
        "Brien",
        Cut::RefusedUnlessAfter(&["GO", ";"]),
        ("20/11/2026 01:00:03", "21/11/2026 02:00:03"),
        ("20/11/2026 01:00:04", "21/11/2026 02:00:09")
    ),
    case!(
        Oracle,
        "oracle-sql-developer.sql",
        "VARCHAR2",
        Cut::RefusedUnlessAfter(&[";", "/"]),
        ("Friday-November-20-2026", "samedi-novembre-21-2026")
    ),
    case!(Oracle, "oracle-dbms-metadata.sql", "VARCHAR2", Cut::RefusedUnlessAfter(&[";", "/"]),),
    case!(H2, "h2.sql", "VARYING", SEMICOLON,),
    case!(Hsqldb, "hsqldb.script", "VARCHAR", Cut::RefusedUnlessAfter(&["\n"]),),
    case!(Firebird, "firebird-isql.sql", "VARCHAR", Cut::RefusedUnlessAfter(&[";", "^"]),),
    case!(
        Db2look,
        "db2look.sql",
        "OCTETS",
        Cut::Refused,
        ("Fri 20 Nov 2026 01:00:03 AM", "Sat 21 Nov 2026 02:10:03 AM")
    ),
    case!(Derby, "derby-dblook.sql", "VARCHAR", SEMICOLON, ("2026-11-20 01:00:03.087", "2026-11-21 01:00:03.1")),
    case!(DBeaver, "dbeaver.sql", "int4", SEMICOLON,),
];

impl Case {
    fn text(&self) -> &'static str {
        str::from_utf8(self.dump).unwrap()
    }

    fn next_night(&self) -> String {
        let next = self.dates.iter().fold(self.text().to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{}: {from}", self.producer);
            text.replace(from, to)
        });
        assert_eq!(next == self.text(), self.dates.is_empty());
        next
    }

    /// A statement is closed there, as far as can be seen.
    fn may_be_cut(&self, length: usize) -> bool {
        let (before, after) = (&self.text()[..length], &self.text()[length..]);
        let after_any = |ends: &[&str]| {
            // What follows may be comments, which are no matter.
            let code = before.lines().rev().map(str::trim).find(|line| {
                !line.is_empty()
                    && !["--", "#", "/*", "REM"].iter().any(|mark| line.starts_with(mark) && !line.starts_with("/*!"))
            });
            ends.iter()
                .any(|end| before.ends_with(end) || (*end != "\n" && code.is_some_and(|code| code.ends_with(end))))
        };
        match self.cut {
            Cut::Refused => false,
            Cut::RefusedUnlessAfter(ends) => after.trim().is_empty() || after_any(ends),
        }
    }
}

fn scan(dump: impl AsRef<[u8]>) -> DumpFindings {
    let mut scanner = DumpScanner::new(Complete::Auto, VolatileLines::Auto);
    scanner.update(dump.as_ref());
    scanner.finish()
}

fn is_complete(findings: &DumpFindings) -> bool {
    matches!(findings.completeness, Completeness::Complete { .. })
}

/// Whether nothing but line ends is missing where the end says enough by itself.
fn says_enough(case: &Case, length: usize) -> bool {
    let with_end_line = case.producer.profile().is_some_and(|profile| profile.end_line().is_some());
    let is_pg = matches!(case.producer, Producer::PgDump | Producer::PgDumpAll);
    !with_end_line && !is_pg && case.text()[length..].trim().is_empty()
}

#[test]
fn every_row_of_the_table_has_a_fixture() {
    // mysqldump differs from mariadb-dump by its first line only; see `dumps_in_one_file`.
    let missing = PROFILES.iter().filter(|row| CASES.iter().all(|case| case.producer != row.producer));
    let missing: Vec<&str> = missing.map(|row| row.name).collect();
    assert_eq!(missing, ["mysqldump"]);
}

#[test]
fn a_whole_dump_is_recognised_and_complete() {
    for case in CASES {
        let crlf = case.text().replace("\r\n", "\n").replace('\n', "\r\n");
        for dump in [
            case.text().to_owned(),
            crlf,
            format!("-- made by a script\n\n{}", case.text().trim_start_matches('\u{feff}')),
        ] {
            let findings = scan(&dump);
            if dump.starts_with("-- made") && matches!(case.producer, Producer::MysqlWithoutComments) {
                continue;
            }
            assert_eq!(findings.producer, case.producer, "{}", &dump[..200.min(dump.len())]);
            assert!(is_complete(&findings), "{}: {}\n{dump}", case.producer, findings.completeness);
            assert_eq!(findings.warnings, [], "{}", case.producer);
        }
    }
}

#[test]
fn a_dump_that_is_cut_is_refused() {
    for case in CASES {
        let text = case.text();
        let (each, bytes) = if text.len() > 20_000 { (9, 997) } else { (1, 10) };
        let lines = text.match_indices('\n').map(|(at, _)| at + 1).step_by(each);
        let tenths = (0..text.len()).step_by(bytes);
        for length in lines.chain(tenths).filter(|length| *length < text.len() && text.is_char_boundary(*length)) {
            let findings = scan(&text[..length]);
            if case.may_be_cut(length) || says_enough(case, length) {
                continue;
            }
            assert!(!is_complete(&findings), "{} cut at {length}: {}", case.producer, &text[..length]);
        }
    }
}

#[test]
fn the_same_data_the_next_night_is_unchanged() {
    for case in CASES {
        let (first, second) = (scan(case.text()), scan(case.next_night()));
        assert!(is_complete(&second), "{}: {}", case.producer, second.completeness);
        assert_eq!(first.fingerprint, second.fingerprint, "{}", case.producer);
        let changed = case.next_night().replacen(case.data, "changed", 1);
        assert_ne!(changed, case.next_night(), "{}", case.producer);
        assert_ne!(first.fingerprint, scan(changed).fingerprint, "{}", case.producer);
    }
}

#[test]
fn noise_on_top_is_told_and_changes_nothing_else() {
    for case in CASES {
        let text = case.text().trim_start_matches('\u{feff}');
        let noise = "mysqldump: [Warning] Using a password on the command line interface can be insecure.\n";
        let findings = scan(format!("{noise}{text}"));
        assert_eq!(findings.producer, case.producer);
        assert!(is_complete(&findings), "{}: {}", case.producer, findings.completeness);
        assert!(matches!(findings.warnings[..], [DumpWarning::NoiseOnTop { .. }]), "{:?}", findings.warnings);
        let next = scan(format!("{noise}{}", case.next_night().trim_start_matches('\u{feff}')));
        assert_eq!(findings.fingerprint, next.fingerprint, "{}", case.producer);
        if case.cut == Cut::Refused {
            for length in (0..text.len())
                .step_by(if text.len() > 20_000 { 1997 } else { 97 })
                .filter(|length| text.is_char_boundary(*length))
            {
                let cut = format!("{noise}{}", &text[..length]);
                assert!(!is_complete(&scan(&cut)), "{} cut at {length}", case.producer);
            }
        }
    }
}

#[test]
fn what_a_program_writes_about_its_failure_is_told() {
    for case in CASES {
        let failures: &[&str] = match case.producer {
            Producer::PgDump | Producer::PgDumpAll => &["pg_dump: error: query failed: ERROR:  permission denied\n"],
            Producer::PhpMyAdmin => {
                &["<!-- PMA-SQL-ERROR -->\n    <div class=\"error\"><h1>Error</h1>\n</div>\n", "<br />\n"]
            }
            _ => &["mysqldump: Error 1194: Table 'orders' is marked as crashed\n", "-- failed on view `v`: x\n"],
        };
        // Between two statements.
        let text = case.text();
        let places = ["CREATE TABLE", "CREATE MEMORY TABLE", "CREATE CACHED TABLE", "INSERT INTO", "  CREATE TABLE"];
        let at = places.iter().filter_map(|place| text.find(&format!("\n{place}"))).min().unwrap() + 1;
        for failure in failures {
            let findings = scan(format!("{}{failure}{}", &text[..at], &text[at..]));
            assert!(is_complete(&findings), "{}: {}", case.producer, findings.completeness);
            let told = findings.warnings.iter().filter_map(|warning| match warning {
                DumpWarning::Failure { at, .. } => Some(*at),
                _ => None,
            });
            assert_eq!(told.collect::<Vec<_>>(), [at as u64], "{}, {failure}: {:?}", case.producer, findings.warnings);
        }
    }
}

#[test]
fn a_transaction_that_is_rolled_back_is_no_dump() {
    for case in CASES {
        let Some(commit) = case.text().rfind("\nCOMMIT;") else { continue };
        let text = case.text();
        for end in ["ROLLBACK; -- due to errors", "-- due to errors"] {
            let broken = format!("{}\n{end}{}", &text[..commit], &text[commit + 8..]);
            assert!(!is_complete(&scan(&broken)), "{}: {end}", case.producer);
        }
    }
    for (text, reason) in [
        ("BEGIN;\nINSERT INTO t VALUES (1);\nROLLBACK;\n", Incomplete::RolledBack),
        ("-- x\nBEGIN;\nINSERT INTO t VALUES (1);\nROLLBACK;\nSELECT 1;\n", Incomplete::RolledBack),
        ("CREATE TABLE t (a int);\nBEGIN;\nINSERT INTO t VALUES (1);\n", Incomplete::NotCommitted { at: 24 }),
        ("CREATE TABLE t (a int);\nBEGIN;\nSELECT 1;\nBEGIN;\nCOMMIT;\n", Incomplete::NotCommitted { at: 24 }),
    ] {
        let Completeness::Incomplete { reason: found, .. } = scan(text).completeness else { panic!("{text}") };
        assert_eq!(found, reason, "{text}");
    }
    for text in [
        "CREATE TABLE t (a int);\nBEGIN;\nINSERT INTO t VALUES ('ROLLBACK;');\nCOMMIT;\n",
        "CREATE TABLE t (a int);\nSTART TRANSACTION READ ONLY;\nCOMMIT WORK;\n",
        "BEGIN\n  x := 1;\n  ROLLBACK;\nEND;\n/\n",
        "BEGIN TRANSACTION\nGO\nINSERT t VALUES (1)\nCOMMIT\nGO\n",
    ] {
        assert!(is_complete(&scan(text)), "{text}: {}", scan(text).completeness);
    }
}

#[test]
fn of_several_dumps_in_one_file_each_must_end() {
    let mysql: Vec<String> = CASES
        .iter()
        .filter(|case| case.producer == Producer::MariadbDump)
        .map(|case| case.text().replace("-- MariaDB dump 10.19", "-- MySQL dump 10.13"))
        .collect();
    let known = |case: &&Case| {
        let row = case.producer.profile().unwrap();
        !row.again.is_empty() || matches!(row.end, producers::End::Postgres | producers::End::Commit)
    };
    for case in CASES.iter().filter(known) {
        let (text, next) = (case.text(), case.next_night());
        let twice = scan(format!("{text}{text}"));
        assert!(is_complete(&twice), "{}: {}", case.producer, twice.completeness);
        // Only the ends of the first one: its head is in the middle of the file the second time.
        if case.producer.profile().is_some_and(|row| row.end_line().is_some() && row.dated.is_empty()) {
            assert_eq!(scan(format!("{next}{next}")).fingerprint, twice.fingerprint, "{}", case.producer);
        }
        // Of less than that nothing but the head is there in half a dump.
        if text.len() < 200 {
            continue;
        }
        let half = text[..text.len() / 2].rfind('\n').unwrap();
        for first in [&text[..half], &text[..=half], &text[..half - 3]] {
            let findings = scan(format!("{first}{text}"));
            assert!(!is_complete(&findings), "{}: half and whole, after {first}", case.producer);
            assert!(!is_complete(&scan(format!("{text}{first}"))), "{}: whole and half", case.producer);
        }
    }
    for dump in &mysql {
        let findings = scan(dump.repeat(3));
        assert_eq!(findings.producer, Producer::MysqlDump);
        assert!(is_complete(&findings), "{}", findings.completeness);
        let noisy = format!("{dump}mysqldump: [Warning] Using a password\n{dump}");
        assert!(is_complete(&scan(&noisy)) && scan(&noisy).warnings.len() == 1, "{:?}", scan(&noisy).warnings);
    }
}

#[test]
fn an_unknown_dialect_is_read_both_ways() {
    for whole in [
        r"INSERT INTO t VALUES ('It\''s', 'C:\', 'x');",
        r"INSERT INTO t VALUES ('it\'s; ', 'a \' b', 'c');",
        r"INSERT INTO t VALUES ('C:\'), ('a');",
        r#"INSERT INTO t VALUES ('{"a":"\"b\""}', 'C:\tmp\');"#,
    ] {
        let dump = format!("CREATE TABLE t (a text);\n{whole}\n");
        assert!(is_complete(&scan(&dump)), "{whole}: {}", scan(&dump).completeness);
        for length in 26..dump.len() - 2 {
            assert!(!is_complete(&scan(&dump[..length])), "cut: {}", &dump[..length]);
        }
    }
    // A first `\' ` says nothing yet; what follows does.
    let cut = "CREATE TABLE t (a text);\nINSERT INTO t VALUES ('C:\\');\nINSERT INTO t VALUES ('don''t; ";
    assert!(!is_complete(&scan(cut)), "{}", scan(cut).completeness);
}
