//! The producers that are known: one row each.
//!
//! A row says how the head is recognised, what the end must be, which lines the tool writes differently each time, and in
//! which dialect to read it. What is not in the table is [`Producer::OtherText`].

use std::fmt;

use super::binary::BinaryKind;
use super::lines::{Dated, dump_completed, holds_date_and_time, is_adminer_time, is_ctime};
use super::reading::Dialect;

/// The program that wrote a dump, as far as its head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the table says it all
pub enum Producer {
    MysqlDump,
    MariadbDump,
    MysqlPump,
    MysqlDumpPhp,
    PgDumpAll,
    PgDump,
    PhpMyAdmin,
    Adminer,
    Navicat,
    SqlYog,
    HeidiSql,
    SequelAce,
    TablePlus,
    DbForge,
    MysqlWorkbench,
    BackWpUp,
    Duplicator,
    WordPress,
    Mydumper,
    /// `mysqldump` or `mariadb-dump` with `--skip-comments`: no name at the head, no marker at the end.
    MysqlWithoutComments,
    Sqlite,
    SqlServer,
    Oracle,
    H2,
    Hsqldb,
    Firebird,
    Db2look,
    Derby,
    DBeaver,
    /// Any other text, taken for SQL.
    OtherText,
    /// Not text: what it holds is not looked at.
    Binary(BinaryKind),
}

impl Producer {
    /// Its row; `None` for a text of unknown origin and for what is no text.
    pub(super) fn profile(self) -> Option<&'static Profile> {
        PROFILES.iter().find(|profile| profile.producer == self)
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary(kind) => kind.fmt(f),
            _ => f.pad(self.profile().map_or("unknown producer (text)", |profile| profile.name)),
        }
    }
}

/// How a producer is recognised.
pub(super) enum Known {
    /// A comment among the first lines begins with one of these, comment marks aside.
    Comment(&'static [&'static str]),
    /// The first line that is no comment looks so; the second argument is the one after it.
    Code(fn(&[u8], &[u8]) -> bool),
    /// One of the first lines, comment or not, looks so.
    Line(fn(&[u8]) -> bool),
}

/// Whether the statements are read. That costs more than hashing, and is not done where the end alone decides.
#[derive(Clone, Copy)]
pub(super) enum Reads {
    Never,
    /// Unless the head saves settings, which the end must restore.
    UnlessSaved(Dialect),
    Always(Dialect),
    /// In the dialect of the server that the head names.
    AsTheHeadSays,
}

/// A last line that can be recognised.
#[derive(Clone, Copy)]
pub(super) struct EndLine {
    /// What it begins with, as messages show it.
    pub shown: &'static str,
    /// What to search for.
    pub prefix: &'static str,
    /// Whether a whole line, without its line end, is one; and whether it holds a date.
    pub shape: fn(&[u8]) -> Option<Dated>,
}

/// What the end of a whole dump is.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// This line, and the settings restored.
    Line(EndLine),
    /// `-- PostgreSQL database dump complete` or `… cluster dump complete`, with what belongs to it.
    Postgres,
    /// `COMMIT;` as the last line.
    Commit,
    /// `COMMIT;` if the head opens a transaction, then the settings.
    PhpMyAdmin,
    /// `SET FOREIGN_KEY_CHECKS = 1;` if the head has set it to 0.
    ForeignKeysOn,
    /// The last statement is closed, and the settings are restored.
    Closed,
}

pub(super) struct Profile {
    pub producer: Producer,
    pub name: &'static str,
    pub known: Known,
    pub reads: Reads,
    pub end: End,
    /// What the lines begin with that stand once in the head of each dump: one file may hold several. The first may be glued
    /// to a row that was cut.
    pub again: &'static [&'static str],
    /// What a comment of the head begins with, comment marks aside, if it holds the time of the export.
    pub dated: &'static [&'static str],
}

impl Profile {
    pub fn end_line(&self) -> Option<EndLine> {
        if let End::Line(line) = self.end { Some(line) } else { None }
    }
}

const MYSQL_END: EndLine =
    EndLine { shown: "-- Dump completed", prefix: "-- Dump completed", shape: |line| dump_completed(line) };
const PUMP_END: EndLine = EndLine {
    shown: "-- Dump end time:",
    prefix: "-- Dump end time: ",
    shape: |line| is_ctime(line.strip_prefix(b"-- Dump end time: ")?).then_some(Dated::Yes),
};
const PHP_END: EndLine = EndLine {
    shown: "-- Dump completed",
    prefix: "-- Dump completed",
    shape: |line| match line.strip_prefix(b"-- Dump completed")? {
        b"" => Some(Dated::No),
        rest => (rest.starts_with(b" on: ") && holds_date_and_time(rest)).then_some(Dated::Yes),
    },
};
const ADMINER_END: EndLine = EndLine {
    shown: "-- YYYY-MM-DD hh:mm:ss",
    prefix: "-- ",
    shape: |line| is_adminer_time(line).then_some(Dated::Yes),
};
const DUPLICATOR_END: EndLine = EndLine {
    shown: "/* DUPLICATOR_MYSQLDUMP_EOF */",
    prefix: "/* DUPLICATOR_MYSQLDUMP_EOF */",
    shape: |line| (line.trim_ascii_end() == b"/* DUPLICATOR_MYSQLDUMP_EOF */").then_some(Dated::No),
};
const DB2_END: EndLine = EndLine {
    shown: "TERMINATE;",
    prefix: "TERMINATE;",
    shape: |line| (line.trim_ascii_end() == b"TERMINATE;").then_some(Dated::No),
};

const SAVES: &[u8] = b"/*!40101 SET @OLD_";

/// The order matters: the first row that fits is taken.
pub(super) const PROFILES: &[Profile] = &[
    Profile {
        producer: Producer::MysqlDump,
        name: "mysqldump",
        known: Known::Comment(&["MySQL dump "]),
        reads: Reads::Never,
        end: End::Line(MYSQL_END),
        again: &["-- MySQL dump ", "-- Host: "],
        dated: &[],
    },
    Profile {
        producer: Producer::MariadbDump,
        name: "mariadb-dump",
        known: Known::Comment(&["MariaDB dump "]),
        reads: Reads::Never,
        end: End::Line(MYSQL_END),
        again: &["-- MariaDB dump ", "-- Host: "],
        dated: &[],
    },
    Profile {
        producer: Producer::MysqlPump,
        name: "mysqlpump",
        known: Known::Comment(&["Dump created by MySQL pump utility"]),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Line(PUMP_END),
        again: &["-- Dump created by MySQL pump utility", "-- Dump start time: "],
        dated: &["Dump start time: "],
    },
    Profile {
        producer: Producer::MysqlDumpPhp,
        name: "mysqldump-php",
        known: Known::Comment(&["mysqldump-php "]),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Line(PHP_END),
        again: &["-- mysqldump-php ", "-- Host: "],
        dated: &["Date: "],
    },
    Profile {
        producer: Producer::PgDumpAll,
        name: "pg_dumpall",
        known: Known::Comment(&["PostgreSQL database cluster dump"]),
        reads: Reads::Never,
        end: End::Postgres,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::PgDump,
        name: "pg_dump",
        known: Known::Comment(&["PostgreSQL database dump"]),
        reads: Reads::Never,
        end: End::Postgres,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::PhpMyAdmin,
        name: "phpMyAdmin",
        known: Known::Comment(&["phpMyAdmin SQL Dump", "phpMyAdmin MySQL-Dump"]),
        reads: Reads::UnlessSaved(Dialect::Mysql),
        end: End::PhpMyAdmin,
        again: &["-- phpMyAdmin SQL Dump", "-- https://www.phpmyadmin.net", "-- http://www.phpmyadmin.net"],
        dated: &[], // translated, so it is found by its place
    },
    Profile {
        producer: Producer::Adminer,
        name: "Adminer",
        known: Known::Comment(&["Adminer ", "AdminNeo "]),
        reads: Reads::AsTheHeadSays,
        end: End::Line(ADMINER_END),
        again: &["-- Adminer ", "-- AdminNeo ", "SET foreign_key_checks = 0;"],
        dated: &[],
    },
    Profile {
        producer: Producer::Navicat,
        name: "Navicat",
        known: Known::Comment(&["Navicat "]),
        reads: Reads::AsTheHeadSays,
        end: End::ForeignKeysOn,
        again: &["SET FOREIGN_KEY_CHECKS = 0;"],
        dated: &["Date: ", "Date : "],
    },
    Profile {
        producer: Producer::SqlYog,
        name: "SQLyog",
        known: Known::Comment(&["SQLyog "]),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Closed,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::HeidiSql,
        name: "HeidiSQL",
        known: Known::Comment(&["HeidiSQL "]),
        reads: Reads::AsTheHeadSays,
        end: End::Closed,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::SequelAce,
        name: "Sequel Ace",
        known: Known::Comment(&["Sequel Pro SQL dump", "Sequel Ace SQL dump"]),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Closed,
        again: &[],
        dated: &["Generation Time: "],
    },
    Profile {
        producer: Producer::TablePlus,
        name: "TablePlus",
        known: Known::Comment(&["TablePlus "]),
        reads: Reads::Always(Dialect::Unknown),
        end: End::Closed,
        again: &[],
        dated: &["Generation Time: "],
    },
    Profile {
        producer: Producer::DbForge,
        name: "dbForge Studio",
        known: Known::Comment(&["Script was generated by Devart dbForge"]),
        reads: Reads::AsTheHeadSays,
        end: End::Closed,
        again: &[],
        dated: &["Script date "],
    },
    Profile {
        producer: Producer::MysqlWorkbench,
        name: "MySQL Workbench",
        known: Known::Comment(&["MySQL Script generated by MySQL Workbench"]),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Closed,
        again: &[],
        dated: &[""], // a line of its own with nothing but the date
    },
    Profile {
        producer: Producer::BackWpUp,
        name: "BackWPup",
        known: Known::Comment(&["Backup with BackWPup"]),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Closed,
        again: &[],
        dated: &["Backup on: "],
    },
    Profile {
        producer: Producer::Duplicator,
        name: "Duplicator",
        known: Known::Comment(&["DUPLICATOR-LITE ", "DUPLICATOR-PRO ", "DUPLICATOR "]),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Line(DUPLICATOR_END),
        again: &[],
        dated: &["DUPLICATOR"],
    },
    Profile {
        producer: Producer::WordPress,
        name: "WordPress plugin (UpdraftPlus, WP-DB-Backup)",
        known: Known::Comment(&["WordPress MySQL database backup", "WordPress : ", "Created by UpdraftPlus"]),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Closed,
        again: &[],
        dated: &["Generated: ", "Generated : ", "Généré"],
    },
    Profile {
        producer: Producer::Mydumper,
        name: "mydumper",
        // Without a space before `*/`, as only mydumper writes it.
        known: Known::Code(|first, _| {
            first.starts_with(b"/*!40101 SET NAMES ") && first.ends_with(b"*/;") && !first.ends_with(b" */;")
        }),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Closed,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::MysqlWithoutComments,
        name: "mysqldump --skip-comments",
        known: Known::Code(|first, second| {
            first.starts_with(SAVES) || (first.starts_with(b"/*M!999999\\-") && second.starts_with(SAVES))
        }),
        reads: Reads::Always(Dialect::Mysql),
        end: End::Closed,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::Sqlite,
        name: "sqlite3 .dump",
        known: Known::Code(|first, second| {
            let begins = |line: &[u8]| line == b"BEGIN TRANSACTION;" || line == b"BEGIN;";
            first == b"BEGIN TRANSACTION;" || (first.starts_with(b"PRAGMA ") && begins(second))
        }),
        reads: Reads::Always(Dialect::Sqlite),
        end: End::Commit,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::SqlServer,
        name: "SQL Server script",
        known: Known::Line(|line| line.starts_with(b"/****** Object:  ") || line.trim_ascii() == b"GO"),
        reads: Reads::Always(Dialect::SqlServer),
        end: End::Closed,
        again: &[],
        dated: &[], // `Script Date` stands before every object, see `rules`
    },
    Profile {
        producer: Producer::Oracle,
        name: "Oracle script",
        known: Known::Line(|line| {
            line.starts_with(b"--  File created - ")
                || line.starts_with(b"REM INSERTING into ")
                || line.trim_ascii() == b"SET DEFINE OFF;"
                || line.trim_ascii() == b"/"
        }),
        reads: Reads::Always(Dialect::Oracle),
        end: End::Closed,
        again: &[],
        dated: &["File created - "],
    },
    Profile {
        producer: Producer::H2,
        name: "H2 SCRIPT",
        known: Known::Line(|line| {
            line.starts_with(b"-- H2 ") || line.starts_with(b"CREATE USER IF NOT EXISTS \"SA\" SALT ")
        }),
        reads: Reads::Always(Dialect::Standard),
        end: End::Closed,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::Hsqldb,
        name: "HSQLDB .script",
        known: Known::Code(|first, _| {
            first.starts_with(b"SET DATABASE UNIQUE NAME ") || first == b"CREATE SCHEMA PUBLIC AUTHORIZATION DBA"
        }),
        reads: Reads::Always(Dialect::Hsqldb),
        end: End::Closed,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::Firebird,
        name: "Firebird isql -x",
        known: Known::Code(|first, _| first.starts_with(b"SET SQL DIALECT ")),
        reads: Reads::Always(Dialect::Firebird),
        end: End::Closed,
        again: &[],
        dated: &[],
    },
    Profile {
        producer: Producer::Db2look,
        name: "db2look",
        known: Known::Comment(&["This CLP file was created using DB2LOOK"]),
        reads: Reads::Always(Dialect::Standard),
        end: End::Line(DB2_END),
        again: &[],
        dated: &["Timestamp: "],
    },
    Profile {
        producer: Producer::Derby,
        name: "Derby dblook",
        known: Known::Comment(&["Connection URL is: jdbc:derby:", "Source database is: "]),
        reads: Reads::Always(Dialect::Standard),
        end: End::Closed,
        again: &[],
        dated: &["Timestamp: "],
    },
    Profile {
        producer: Producer::DBeaver,
        name: "DBeaver",
        known: Known::Line(|line| {
            line.strip_prefix(b"-- ").is_some_and(|text| text.contains(&b'.') && text.ends_with(b" definition"))
        }),
        reads: Reads::Always(Dialect::Unknown),
        end: End::Closed,
        again: &[],
        dated: &[],
    },
];

/// Whether a comment of the head, without its marks, is the dated one of this producer.
pub(super) fn is_dated(profile: &Profile, comment: &[u8]) -> bool {
    profile.dated.iter().any(|prefix| {
        comment.strip_prefix(prefix.as_bytes()).is_some_and(|rest| match profile.producer {
            // `vasárnap-május-12-2024`: a date alone, in the language of the desktop.
            Producer::Oracle => true,
            Producer::MysqlWorkbench => is_ctime(rest),
            _ => holds_date_and_time(rest),
        })
    })
}
