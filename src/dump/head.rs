//! Who wrote the dump, and what its first lines promise about its last ones.
//!
//! Everything here is read from the first [`HEAD_BYTES`] bytes; the rest of the dump is never looked at, so that the
//! answer is known before the bulk of the data comes.

use std::fmt;

use super::lines::{holds_date_and_time, is_blank, trim_line_end};

/// How much of the beginning is looked at.
pub(super) const HEAD_BYTES: usize = 8 * 1024;

/// The program that wrote a dump, as far as its head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Producer {
    /// `mysqldump` of MySQL or Percona.
    MysqlDump,
    /// `mariadb-dump`, also when it still goes by the name `mysqldump`.
    MariadbDump,
    /// `mysqldump` or `mariadb-dump` with `--skip-comments`: no name at the head, no marker at the end.
    MysqlWithoutComments,
    /// `pg_dump` in plain text, or `pg_restore -f`.
    PgDump,
    /// `pg_dumpall`.
    PgDumpAll,
    /// phpMyAdmin's export.
    PhpMyAdmin,
    /// `sqlite3 .dump`, or Python's `iterdump`.
    Sqlite,
    /// Any other text, taken for SQL.
    OtherText,
    /// Not text: what it holds is not looked at.
    Binary(BinaryKind),
}

/// What a dump that is not SQL text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it all, `Display` says the rest
pub enum BinaryKind {
    PgCustom,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
    SevenZip,
    Lz4,
    Zip,
    SqliteDatabase,
    Tar,
    Utf16,
    Xml,
    Unknown,
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::MysqlDump => "mysqldump",
            Self::MariadbDump => "mariadb-dump",
            Self::MysqlWithoutComments => "mysqldump --skip-comments",
            Self::PgDump => "pg_dump",
            Self::PgDumpAll => "pg_dumpall",
            Self::PhpMyAdmin => "phpMyAdmin",
            Self::Sqlite => "sqlite3 .dump",
            Self::OtherText => "unknown producer (text)",
            Self::Binary(kind) => return kind.fmt(f),
        };
        f.pad(name)
    }
}

impl fmt::Display for BinaryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PgCustom => "pg_dump custom format",
            Self::Gzip => "gzip file",
            Self::Zstd => "zstd file",
            Self::Bzip2 => "bzip2 file",
            Self::Xz => "xz file",
            Self::SevenZip => "7z file",
            Self::Lz4 => "lz4 file",
            Self::Zip => "zip file",
            Self::SqliteDatabase => "SQLite database file",
            Self::Tar => "tar file",
            Self::Utf16 => "UTF-16 text",
            Self::Xml => "XML text",
            Self::Unknown => "binary file",
        })
    }
}

/// What the head tells.
#[derive(Debug)]
pub(super) struct Head {
    pub producer: Producer,
    /// Bytes of byte order mark before the text.
    pub bom_bytes: usize,
    /// `X` for each `SET @OLD_X=@@X`: what the end has to restore.
    pub saved: Vec<String>,
    /// A transaction is opened before the first table: the end has to commit it.
    pub opens_transaction: bool,
    /// Which line, counted from 0, holds phpMyAdmin's generation time.
    pub generation_line: Option<usize>,
}

/// Reads the first [`HEAD_BYTES`] bytes, or fewer where the dump is shorter.
pub(super) fn read_head(head: &[u8]) -> Head {
    let bom_bytes = if head.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let text = &head[bom_bytes..];
    let mut facts = Head {
        producer: Producer::OtherText,
        bom_bytes,
        saved: Vec::new(),
        opens_transaction: false,
        generation_line: None,
    };
    if let Some(kind) = binary_kind(head) {
        facts.producer = Producer::Binary(kind);
        return facts;
    }
    let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').map(trim_line_end).collect();
    // The last line may be cut by the limit: what is read from it must not depend on its missing part.
    let whole = if head.len() < HEAD_BYTES { lines.len() } else { lines.len().saturating_sub(1) };
    let lines = &lines[..whole];

    read_preparations(lines, &mut facts);
    facts.producer = producer(lines);
    // mysqldump and the others escape NUL; what has one in its head and no known producer is no SQL text. With a known
    // one it is a dump that a crash has eaten into: its end will tell.
    if facts.producer == Producer::OtherText && memchr::memchr(0, head.get(..512).unwrap_or(head)).is_some() {
        facts.producer = Producer::Binary(BinaryKind::Unknown);
    }
    if facts.producer == Producer::PhpMyAdmin {
        facts.generation_line = generation_line(lines);
    }
    facts
}

/// How many lines at the top may come before the one with the producer's name: `/*M!999999\- …*/`, `--`, or a warning
/// that somebody's `2>&1` put there.
const NAME_WITHIN_LINES: usize = 10;

fn producer(lines: &[&[u8]]) -> Producer {
    for line in lines.iter().take(NAME_WITHIN_LINES) {
        let Some(comment) = line.strip_prefix(b"-- ") else { continue };
        if comment.starts_with(b"MySQL dump ") {
            return Producer::MysqlDump;
        } else if comment.starts_with(b"MariaDB dump ") {
            return Producer::MariadbDump;
        } else if comment.starts_with(b"PostgreSQL database cluster dump") {
            return Producer::PgDumpAll;
        } else if comment.starts_with(b"PostgreSQL database dump") {
            return Producer::PgDump;
        } else if comment.starts_with(b"phpMyAdmin SQL Dump") {
            return Producer::PhpMyAdmin;
        }
    }
    let mut code = lines.iter().filter(|line| !is_blank(line));
    let first = code.next().copied().unwrap_or_default();
    let second = code.next().copied().unwrap_or_default();
    if first == b"BEGIN TRANSACTION;" || (first.starts_with(b"PRAGMA foreign_keys=") && second == b"BEGIN TRANSACTION;")
    {
        return Producer::Sqlite;
    }
    let saves = b"/*!40101 SET @OLD_";
    if first.starts_with(saves) || (first.starts_with(b"/*M!999999\\-") && second.starts_with(saves)) {
        return Producer::MysqlWithoutComments;
    }
    Producer::OtherText
}

/// Reads the block of settings at the top: it ends with the first line that is neither blank, comment nor setting, so
/// that a row of data is never taken for one.
fn read_preparations(lines: &[&[u8]], facts: &mut Head) {
    for line in lines {
        if is_blank(line) || line.starts_with(b"--") || line.starts_with(b"#") {
            continue;
        }
        match *line {
            b"BEGIN TRANSACTION;" | b"START TRANSACTION;" | b"BEGIN;" => facts.opens_transaction = true,
            _ if line.starts_with(b"/*!") || line.starts_with(b"/*M!") || line.starts_with(b"SET ") => {
                if let Some(name) = saved_variable(line) {
                    facts.saved.push(name);
                }
            }
            _ if line.starts_with(b"PRAGMA ") || line.starts_with(b"USE ") => {}
            _ => break,
        }
    }
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

fn binary_kind(head: &[u8]) -> Option<BinaryKind> {
    const MAGIC: [(&[u8], BinaryKind); 14] = [
        (b"PGDMP", BinaryKind::PgCustom),
        (b"\x1F\x8B", BinaryKind::Gzip),
        (b"\x28\xB5\x2F\xFD", BinaryKind::Zstd),
        (b"BZh", BinaryKind::Bzip2),
        (b"\xFD7zXZ\0", BinaryKind::Xz),
        (b"7z\xBC\xAF\x27\x1C", BinaryKind::SevenZip),
        (b"\x04\x22\x4D\x18", BinaryKind::Lz4),
        (b"PK\x03\x04", BinaryKind::Zip),
        (b"PK\x05\x06", BinaryKind::Zip),
        (b"SQLite format 3\0", BinaryKind::SqliteDatabase),
        (b"\xFF\xFE", BinaryKind::Utf16),
        (b"\xFE\xFF", BinaryKind::Utf16),
        (b"<?xml", BinaryKind::Xml),
        (b"\xEF\xBB\xBF<?xml", BinaryKind::Xml),
    ];
    let known = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| *kind);
    known.or_else(|| (head.get(257..262) == Some(b"ustar")).then_some(BinaryKind::Tar))
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
        assert_eq!(head("Generation Time: Nov 20, 2026 at 01:00 AM").generation_line, Some(5));
        assert_eq!(head("Généré le : ven. 20 nov. 2026 à 01:00").generation_line, Some(5));
        assert_eq!(head("生成日期： 2026-11-20 01:00:00").generation_line, Some(5));
        assert_eq!(head("Generation Time: unknown").generation_line, None);
        assert!(head("x").opens_transaction);
    }
}
