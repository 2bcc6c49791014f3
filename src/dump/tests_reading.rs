//! Reading statements in each dialect.

use super::marks::Marks;
use super::open_end::OpenEnd;
use super::reading::Dialect;
use super::statements::Statements;

fn read(dialect: Dialect, sql: &str) -> Option<OpenEnd> {
    let mut statements = Statements::new(dialect, Marks::default());
    statements.feed(sql.as_bytes());
    statements.finish().open_end()
}

#[test]
fn closed_statements_of_every_dialect_are_closed() {
    use Dialect::{Mysql, Postgres, Sqlite, Unknown};
    for (dialect, sql) in [
        (Mysql, "INSERT INTO t VALUES ('it\\'s', 'a''b', \"c\\\"\", `d`); -- e'\n# f'\n/* g' */\n"),
        (Mysql, "SELECT 5--1;\nSELECT 4 / 2, 3 * 2, a-b;"),
        (Mysql, "/*!40101 SET NAMES utf8mb4 */;\n/*M!100616 SET x='*/' */;"),
        (Mysql, "DELIMITER ;;\n/*!50003 CREATE TRIGGER t BEGIN a; SET b='x'; END */;;\nDELIMITER ;\nSELECT 1;\n"),
        (Mysql, "delimiter //\nCREATE PROCEDURE p() BEGIN /* // */ SELECT 4/2; END//\ndelimiter ;\n"),
        (Unknown, "DELIMITER $$\nCREATE PROCEDURE p() BEGIN SELECT 1; END$$\nDELIMITER ;"),
        (Unknown, "INSERT INTO t VALUES ('C:\\'), ('a');"),
        (Unknown, "INSERT INTO t VALUES ('it\\'s; '), ('a\\\\');"),
        (Unknown, "INSERT INTO `t` VALUES ('a\\', b');"),
        (Unknown, "# comment with '\nSELECT 1;\nSELECT a #> b;"),
        (Postgres, "INSERT INTO t VALUES ('C:\\', E'it\\'s', e'\\\\', \"a\\\");"),
        (Postgres, "SELECT name'x\\';"),
        (Postgres, "CREATE FUNCTION f() AS $body$ it's; $$ ; $bod$ /* $body$ LANGUAGE sql;"),
        (Postgres, "/* a /* b */ ' */ SELECT $1;"),
        (
            Postgres,
            "COPY public.\"a b\" (c, d) FROM stdin;\nit's\t1\n\\N\t\\\\.\n.\n\\.\n\n\\unrestrict abc\nSELECT 1;\n",
        ),
        (Sqlite, "INSERT INTO \"it's\" VALUES('C:\\', [a'b], X'00');"),
        (Unknown, ""),
    ] {
        assert_eq!(read(dialect, sql), None, "{dialect:?}: {sql}");
    }
}

#[test]
fn what_is_left_open_is_named() {
    use Dialect::{Mysql, Postgres, Unknown};
    for (dialect, sql, open) in [
        (Mysql, "SELECT 1", OpenEnd::Statement),
        (Mysql, "/*!40101 SET NAMES utf8mb4 */", OpenEnd::Statement),
        (Mysql, "/*!40101 SET a; ", OpenEnd::Statement),
        (Mysql, "DELIMITER ;;\nCREATE PROCEDURE p() BEGIN SELECT 1;", OpenEnd::Statement),
        (Mysql, "SELECT 'a\\'; ", OpenEnd::Quote('\'')),
        (Mysql, "SELECT `a; ", OpenEnd::Quote('`')),
        (Mysql, "SELECT 1; /* x; ", OpenEnd::Comment),
        (Mysql, "SELECT 1; /*! 'a", OpenEnd::Quote('\'')),
        (Postgres, "SELECT $a$ ; $$ ;", OpenEnd::DollarQuote),
        (Postgres, "/* a /* b */ ;", OpenEnd::Comment),
        (Postgres, "COPY a FROM stdin;\n1\n2\n", OpenEnd::CopyData),
        (Postgres, "COPY a FROM stdin;\n1\n\\", OpenEnd::CopyData),
        (Unknown, "SELECT 'C:\\'", OpenEnd::Statement),
        (Unknown, "SELECT 1 -", OpenEnd::Statement),
    ] {
        assert_eq!(read(dialect, sql), Some(open), "{dialect:?}: {sql}");
    }
}

#[test]
fn no_cut_inside_a_statement_passes() {
    let sql = "INSERT INTO `t` VALUES ('a;b', \"c;\\\"\", 'it\\'s;', -5, 4/2 /* ; */);";
    for length in 1..sql.len() {
        assert!(read(Dialect::Mysql, &sql[..length]).is_some(), "cut at {length}");
        assert!(read(Dialect::Unknown, &sql[..length]).is_some(), "cut at {length}");
    }
}
