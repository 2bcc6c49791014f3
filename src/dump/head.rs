//! What the first lines of a dump tell: who wrote it, and what they promise about the last ones.
//!
//! Everything here is read from the first [`HEAD_BYTES`] bytes; the rest of the dump is never looked at, so that the
//! answer is known before the bulk of the data comes.

use super::binary::{BinaryKind, binary_kind};
use super::failures::{DumpWarning, aside, first_words};
use super::lines::{comment_text, holds_date_and_time, is_blank, trim_line_end};
use super::producers::{Known, PROFILES, Producer, is_dated};

/// How much of the beginning is looked at.
pub(super) const HEAD_BYTES: usize = 8 * 1024;

/// What the head tells.
#[derive(Debug)]
pub(super) struct Head {
    pub producer: Producer,
    /// Bytes of byte order mark and noise before the text.
    pub skip_bytes: usize,
    /// What the noise on top begins with, and the failures among it.
    pub noise: Vec<DumpWarning>,
    /// `X` for each `SET @OLD_X=@@X`: what the end has to restore.
    pub saved: Vec<String>,
    /// A transaction is opened before the first table: the end has to commit it.
    pub opens_transaction: bool,
    /// `SET FOREIGN_KEY_CHECKS = 0;`, spaced so as Navicat does.
    pub foreign_keys_off: bool,
    /// Which lines, counted from 0, hold the time of the export.
    pub dated: Vec<usize>,
}

/// Reads the first [`HEAD_BYTES`] bytes, or fewer where the dump is shorter.
pub(super) fn read_head(head: &[u8]) -> Head {
    let bom_bytes = if head.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let mut facts = Head {
        producer: Producer::OtherText,
        skip_bytes: bom_bytes,
        noise: Vec::new(),
        saved: Vec::new(),
        opens_transaction: false,
        foreign_keys_off: false,
        dated: Vec::new(),
    };
    if let Some(kind) = binary_kind(head) {
        facts.producer = Producer::Binary(kind);
        return facts;
    }
    let with_ends: Vec<&[u8]> = head[bom_bytes..].split_inclusive(|&byte| byte == b'\n').collect();
    // The last line may be cut by the limit: what is read from it must not depend on its missing part.
    let whole = if head.len() < HEAD_BYTES { with_ends.len() } else { with_ends.len().saturating_sub(1) };
    let with_ends = &with_ends[..whole];
    let all: Vec<&[u8]> = with_ends.iter().map(|line| trim_line_end(line)).collect();

    let noise = noise_lines(&all);
    for (line, with_end) in all[..noise].iter().zip(with_ends) {
        if facts.noise.is_empty() && !is_blank(line) {
            facts.noise.push(DumpWarning::NoiseOnTop { words: first_words(line) });
        }
        if let Some(aside) = aside(line).filter(|aside| aside.is_failure) {
            facts.noise.push(DumpWarning::Failure { words: aside.words, at: facts.skip_bytes as u64 });
        }
        facts.skip_bytes += with_end.len();
    }
    let lines = &all[noise..];

    let opening = Opening::read(lines);
    read_preparations(lines, &opening, &mut facts);
    facts.producer = producer(lines, &opening);
    // mysqldump and the others escape NUL; what has one in its head and no known producer is no SQL text. With a known
    // one it is a dump that a crash has eaten into: its end will tell.
    if facts.producer == Producer::OtherText && memchr::memchr(0, head.get(..512).unwrap_or(head)).is_some() {
        facts.producer = Producer::Binary(BinaryKind::Unknown);
    }
    if facts.producer == Producer::PhpMyAdmin {
        facts.dated.extend(generation_line(lines).map(|index| index + noise));
    } else if let Some(profile) = facts.producer.profile() {
        let dated = opening.comments.iter().filter(|(_, text)| is_dated(profile, text));
        facts.dated.extend(dated.map(|(index, _)| index + noise));
    }
    facts
}

/// How many lines of unknown noise may stand on top, and within how many lines phpMyAdmin's first part ends.
const NAME_WITHIN_LINES: usize = 10;

/// How many lines on top are no part of the dump: known noise, or whatever stands before a producer's name that is
/// neither comment nor code.
fn noise_lines(lines: &[&[u8]]) -> usize {
    let is_noise = |line: &&[u8]| aside(line).is_some_and(|aside| !aside.is_comment);
    let known = lines.iter().take_while(|line| is_blank(line) || is_noise(line)).count();
    let known = lines[..known].iter().rposition(|line| !is_blank(line)).map_or(0, |last| last + 1);
    let could_be_sql = |line: &&[u8]| {
        is_blank(line)
            || comment_text(line).is_some()
            || line.ends_with(b";")
            || line.starts_with(b"/*")
            || line.starts_with(b" ")
            || STATEMENTS.iter().any(|word| line.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word)))
    };
    let other = lines.iter().skip(known).take(NAME_WITHIN_LINES).take_while(|line| !could_be_sql(line)).count();
    if other == 0 {
        return known;
    }
    // Only a producer's name right after it tells text from the dialect of some unknown tool.
    let rest = &lines[known + other..];
    let named = rest.iter().take(2).any(|line| name_of(line).is_some());
    if named { known + other } else { known }
}

const STATEMENTS: [&[u8]; 14] = [
    b"INSERT ", b"CREATE ", b"SELECT ", b"SET ", b"DROP ", b"ALTER ", b"USE ", b"COPY ", b"BEGIN", b"START ", b"REM ",
    b"PRAGMA ", b"GO", b"\\",
];

fn name_of(line: &[u8]) -> Option<Producer> {
    named_by(comment_text(line)?)
}

fn named_by(comment: &[u8]) -> Option<Producer> {
    let row = PROFILES.iter().find(|profile| match profile.known {
        Known::Comment(names) => names.iter().any(|name| comment.starts_with(name.as_bytes())),
        _ => false,
    });
    row.map(|profile| profile.producer)
}

/// The comments on top, and the first lines that are none.
struct Opening<'a> {
    /// Those before the first line that is neither comment nor setting, without their marks, each with the number of its
    /// line.
    comments: Vec<(usize, &'a [u8])>,
    /// The numbers of the first two lines of code.
    code: [Option<usize>; 2],
    /// Of every line of the head: whether it is a comment, or inside of a `/* … */`.
    in_comment: Vec<bool>,
}

impl<'a> Opening<'a> {
    fn read(lines: &[&'a [u8]]) -> Self {
        let mut opening = Self { comments: Vec::new(), code: [None; 2], in_comment: Vec::with_capacity(lines.len()) };
        let (mut open, mut over) = (false, false);
        for (index, line) in lines.iter().enumerate() {
            let text = if open { Some(line.trim_ascii()) } else { comment_text(line) };
            let begins = !open && line.trim_ascii_start().starts_with(b"/*") && text.is_some();
            opening.in_comment.push(text.is_some());
            if open || begins {
                open = !line.ends_with(b"*/") && memchr::memmem::find(line, b"*/").is_none();
            }
            match text {
                Some(text) if !over => opening.comments.push((index, text)),
                Some(_) => {}
                None if is_blank(line) => {}
                None => {
                    over |= !is_setting(line);
                    if let Some(empty) = opening.code.iter_mut().find(|code| code.is_none()) {
                        *empty = Some(index);
                    }
                }
            }
        }
        opening
    }
}

fn producer(lines: &[&[u8]], opening: &Opening<'_>) -> Producer {
    if let Some(named) = opening.comments.iter().find_map(|(_, text)| named_by(text)) {
        return named;
    }
    let code = opening.code.map(|index| index.map(|index| lines[index]).unwrap_or_default());
    let row = PROFILES.iter().find(|profile| match profile.known {
        Known::Comment(_) => false,
        // Other tools save settings, too: under comments of their own they are not mysqldump.
        Known::Code(_) if profile.producer == Producer::MysqlWithoutComments && !opening.comments.is_empty() => false,
        Known::Code(looks_so) => looks_so(code[0].trim_ascii_end(), code[1].trim_ascii_end()),
        Known::Line(looks_so) => lines.iter().any(|line| looks_so(line)),
    });
    row.map_or(Producer::OtherText, |profile| profile.producer)
}

/// Reads the block of settings at the top: it ends with the first line that is neither blank, comment nor setting, so
/// that a row of data is never taken for one.
fn read_preparations(lines: &[&[u8]], opening: &Opening<'_>, facts: &mut Head) {
    for (line, in_comment) in lines.iter().zip(&opening.in_comment) {
        if is_blank(line) || *in_comment {
            continue;
        }
        match line.trim_ascii_end() {
            b"BEGIN TRANSACTION;" | b"START TRANSACTION;" | b"BEGIN;" => facts.opens_transaction = true,
            b"SET FOREIGN_KEY_CHECKS = 0;" => facts.foreign_keys_off = true,
            _ if is_setting(line) => facts.saved.extend(saved_variable(line)),
            _ => break,
        }
    }
}

fn is_setting(line: &[u8]) -> bool {
    const SETTINGS: [&[u8]; 8] =
        [b"/*!", b"/*M!", b"SET ", b"PRAGMA ", b"USE ", b"BEGIN;", b"BEGIN TRANSACTION;", b"START "];
    SETTINGS.iter().any(|start| line.starts_with(start))
}

/// `X` of `SET @OLD_X=@@X`, as mysqldump, phpMyAdmin, HeidiSQL and MySQL Workbench write it.
fn saved_variable(line: &[u8]) -> Option<String> {
    let line = str::from_utf8(line).ok()?;
    let (_, rest) = line.split_once("SET @OLD_")?;
    let (name, value) = rest.split_once('=')?;
    let name = name.trim_end();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_name && value.trim_start().starts_with("@@")).then(|| name.to_owned())
}

/// phpMyAdmin translates the line, so it is found by its place: the head is name, version, address, a bare `--`, then
/// host, *generation time*, server version, PHP version (`ExportSql::exportHeader`).
fn generation_line(lines: &[&[u8]]) -> Option<usize> {
    let bare = lines.iter().take(NAME_WITHIN_LINES).position(|line| line.trim_ascii_end() == b"--")?;
    let index = bare + 2;
    let line = lines.get(index)?.strip_prefix(b"-- ")?;
    // Some languages use the full-width colon, whose UTF-8 bytes are never ASCII.
    let colon = line.iter().position(|&byte| byte == b':' || byte == 0xEF)?;
    holds_date_and_time(&line[colon + 1..]).then_some(index)
}
#[cfg(test)]
mod tests {
    use super::*;

    fn named(head: &str) -> Producer {
        read_head(head.as_bytes()).producer
    }

    #[test]
    fn each_producer_is_known_by_its_head() {
        for (head, expected) in [
            ("-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n--\n", Producer::MysqlDump),
            ("\u{feff}-- MySQL dump 10.13\r\n--\r\n", Producer::MysqlDump),
            ("mysqldump: [Warning] Using a password on the command line\n-- MySQL dump 10.13\n", Producer::MysqlDump),
            ("/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19\n", Producer::MariadbDump),
            ("/*M!999999\\- x */ \n\n/*!40101 SET @OLD_A=@@A */;\n", Producer::MysqlWithoutComments),
            ("\n/*!40101 SET @OLD_A=@@A */;\n", Producer::MysqlWithoutComments),
            ("--\n-- PostgreSQL database dump\n--\n", Producer::PgDump),
            ("--\r\n-- PostgreSQL database cluster dump\r\n--\r\n", Producer::PgDumpAll),
            ("-- phpMyAdmin SQL Dump\n-- version 5.2.1\n", Producer::PhpMyAdmin),
            ("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", Producer::Sqlite),
            ("/* WARNING: x */\nPRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", Producer::Sqlite),
            ("-- made by\n/* a\n b */\n# c\nPRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", Producer::Sqlite),
            ("stdin: is not a tty\nbanner of some host\n-- MySQL dump 10.13\n", Producer::MysqlDump),
            ("-- a backup\n/*!40101 SET @OLD_A=@@A */;\n", Producer::OtherText),
            ("BEGIN TRANSACTION;\nCREATE TABLE a(b);\n", Producer::Sqlite),
            ("CREATE TABLE a(b);\n", Producer::OtherText),
            ("", Producer::OtherText),
            ("PGDMP\u{1}\u{e}", Producer::Binary(BinaryKind::PgCustom)),
            ("abc\0def", Producer::Binary(BinaryKind::Unknown)),
        ] {
            assert_eq!(named(head), expected, "{head:?}");
        }
        assert_eq!(read_head(b"\x1f\x8b\x08\0").producer, Producer::Binary(BinaryKind::Gzip));
        assert_eq!(read_head(b"\xff\xfe-\0-\0").producer, Producer::Binary(BinaryKind::Utf16));
    }

    #[test]
    fn the_name_of_a_producer_in_a_row_of_data_counts_for_nothing() {
        assert_eq!(named("INSERT INTO t VALUES ('\n -- MySQL dump 10.13');\n"), Producer::OtherText);
        assert_eq!(named(&format!("{}-- MySQL dump 10.13\n", "SELECT 1;\n".repeat(20))), Producer::OtherText);
    }

    #[test]
    fn noise_on_top_is_no_part_of_the_head() {
        let dump = "-- MySQL dump 10.13\n/*!40101 SET @OLD_A=@@A */;\n";
        for noise in
            ["", "mysqldump: [Warning] Using a password\n", "some banner\n\n", "Enter password: \nWarning: x\n"]
        {
            let text = format!("\u{feff}{noise}{dump}");
            let head = read_head(text.as_bytes());
            assert_eq!((head.producer, &head.saved[..]), (Producer::MysqlDump, &["A".to_owned()][..]), "{noise}");
            assert_eq!(head.noise.len(), usize::from(!noise.is_empty()), "{noise}");
            assert!(text[head.skip_bytes..].trim_start().starts_with(dump), "{noise}");
        }
        let head = read_head(b"strange words of a dialect\nCREATE TABLE a(b);\n");
        assert_eq!((head.noise.len(), head.skip_bytes), (0, 0));
    }

    #[test]
    fn saved_variables_are_read_from_the_settings_at_the_top_only() {
        let head = read_head(
            b"-- x\n/*!40101 SET @OLD_A=@@A */;\n/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */;\n\
              SET @OLD_C=@@C, C=0;\nDROP TABLE t;\nSET @OLD_D=@@D;\n",
        );
        assert_eq!(head.saved, ["A", "NOTE_VERBOSITY", "C"]);
    }

    #[test]
    fn the_generation_time_of_phpmyadmin_is_found_by_its_place() {
        let head = |time: &str| {
            let text = format!(
                "-- phpMyAdmin SQL Dump\n-- version 5.2.1\n-- https://www.phpmyadmin.net/\n--\n-- Host: localhost:3306\n\
                 -- {time}\n-- Server version: 10.11.19-MariaDB\n-- PHP Version: 8.2.7\n\nSET SQL_MODE = \"X\";\n\
                 START TRANSACTION;\n"
            );
            read_head(text.as_bytes())
        };
        assert_eq!(head("Generation Time: Nov 20, 2026 at 01:00 AM").dated, [5]);
        assert_eq!(head("Généré le : ven. 20 nov. 2026 à 01:00").dated, [5]);
        assert_eq!(head("生成日期： 2026-11-20 01:00:00").dated, [5]);
        assert!(head("Generation Time: unknown").dated.is_empty());
        assert!(head("x").opens_transaction);
    }
}
