//! Is the last statement closed? A streaming reader of SQL text, for dumps without an end marker.
//!
//! It knows quotes, comments, `DELIMITER`, dollar quotes and `COPY` data, and nothing of grammar: a cut between two
//! statements is out of its sight, one inside a statement is not.
//!
//! Where dialects disagree:
//! - A backslash escapes in MySQL's strings and in PostgreSQL's `E'…'`, not in standard SQL. In a text of unknown
//!   dialect only `\'` matters: before `,`, `)`, `;` or white space it is taken for the end of a Windows path, before
//!   anything else for an escape, which settles the dialect as MySQL's; so does the first backtick.
//! - `--` begins a comment; in MySQL only before white space. `#` begins one in MySQL; in an unknown dialect only
//!   where a statement could begin, for PostgreSQL has operators with `#`.
//! - Comments nest in PostgreSQL only. `/*! … */` and `/*M! … */` of MySQL and MariaDB are code.
//! - `$tag$` quotes in PostgreSQL and in unknown dialects, until `DELIMITER $$` shows it to be MySQL's.

use memchr::{memchr, memchr2};

use super::open_end::OpenEnd;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Mysql,
    Sqlite,
    Postgres,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Code,
    /// After `-`.
    Dash,
    /// After `--`, where only white space makes it a comment.
    DashDash,
    /// After `/`.
    Slash,
    /// After `/*`, where `!` makes it code.
    SlashStar,
    /// After `/*M`.
    SlashStarM,
    /// After `*` in the code of a `/*! … */`.
    CodeStar,
    /// To the end of the line: a comment, or a psql command.
    Line,
    Comment(u32),
    CommentStar(u32),
    CommentSlash(u32),
    Quoted {
        quote: u8,
        backslash: Backslash,
    },
    /// After a backslash that escapes.
    Escaped(u8),
    /// After a backslash that may escape.
    MaybeEscaped(u8),
    /// After `\'`, where the next byte tells what it was.
    MaybeClosed(u8),
    /// After `$`, gathering the tag.
    DollarTag,
    /// In a dollar quote; so much of its end has been seen.
    Dollar(usize),
    /// After the word `DELIMITER`.
    Delimiter,
    /// After the `;` of a `COPY … FROM stdin`, to the end of the line.
    CopyBegins,
    CopyLineStart,
    CopyBackslash,
    CopyBackslashDot,
    CopyLine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backslash {
    Escapes,
    Plain,
    Unsure,
}

/// How much of a statement is kept, to know `DELIMITER` by; of a `COPY`, whose column list comes before the `FROM`, more.
const WORDS_BYTES: usize = 64;
const COPY_WORDS_BYTES: usize = 64 * 1024;

pub(super) struct Statements {
    dialect: Dialect,
    state: State,
    /// Code has been seen since the last delimiter.
    open: bool,
    closed_any: bool,
    /// Depth of `/*! … */`.
    executable: u32,
    /// The beginning of the statement without quoted text.
    words: Vec<u8>,
    words_checked: bool,
    delimiter: Vec<u8>,
    /// So much of the delimiter has just been seen.
    delimiter_seen: usize,
    /// The last two bytes of code: is the `E` before a quote a word of its own?
    previous: [u8; 2],
    /// A dollar quote's whole mark, or the delimiter being read.
    mark: Vec<u8>,
    special: [bool; 256],
}

impl Statements {
    pub fn new(dialect: Dialect) -> Self {
        let mut statements = Self {
            dialect,
            state: State::Code,
            open: false,
            closed_any: false,
            executable: 0,
            words: Vec::new(),
            words_checked: false,
            delimiter: b";".to_vec(),
            delimiter_seen: 0,
            previous: [b' '; 2],
            mark: Vec::new(),
            special: [false; 256],
        };
        statements.set_special();
        statements
    }

    /// A statement was closed at least once.
    pub fn any(&self) -> bool {
        self.closed_any
    }

    /// What is open now; `None` between two statements.
    pub fn open_end(&self) -> Option<OpenEnd> {
        match self.state {
            State::SlashStar
            | State::SlashStarM
            | State::Comment(_)
            | State::CommentStar(_)
            | State::CommentSlash(_) => Some(OpenEnd::Comment),
            // The command needs no end of its own.
            State::Delimiter => None,
            State::Quoted { quote, .. } | State::Escaped(quote) | State::MaybeEscaped(quote) => {
                Some(OpenEnd::Quote(char::from(quote)))
            }
            State::DollarTag | State::Dollar(_) => {
                Some(OpenEnd::DollarQuote(String::from_utf8_lossy(&self.mark).into_owned()))
            }
            State::CopyBegins | State::CopyLineStart | State::CopyBackslash | State::CopyLine => {
                Some(OpenEnd::CopyData)
            }
            State::Code
            | State::Dash
            | State::DashDash
            | State::Slash
            | State::CodeStar
            | State::Line
            | State::MaybeClosed(_)
            | State::CopyBackslashDot => {
                let dangling = matches!(self.state, State::Dash | State::Slash | State::MaybeClosed(_));
                (self.open || self.executable > 0 || dangling).then_some(OpenEnd::Statement)
            }
        }
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(&byte) = bytes.first() {
            let used = match self.state {
                State::Code => self.code(bytes),
                State::Line | State::CopyLine | State::CopyBegins => self.rest_of_line(bytes),
                State::Quoted { quote, backslash } => self.quoted(bytes, quote, backslash),
                State::Comment(depth) => self.comment(bytes, depth),
                State::Dollar(seen) => self.dollar(bytes, seen),
                _ => usize::from(self.step(byte)),
            };
            bytes = &bytes[used..];
        }
    }

    fn mysql_like(&self) -> bool {
        matches!(self.dialect, Dialect::Mysql | Dialect::Unknown)
    }

    fn postgres_like(&self) -> bool {
        matches!(self.dialect, Dialect::Postgres | Dialect::Unknown)
    }

    fn set_special(&mut self) {
        self.special = [false; 256];
        for &byte in b"'\"`-/*#$;\\[\n".iter().chain(&self.delimiter) {
            self.special[usize::from(byte)] = true;
        }
    }

    /// Plain code up to the next special byte, and that byte.
    fn code(&mut self, bytes: &[u8]) -> usize {
        let end = bytes.iter().position(|&byte| self.special[usize::from(byte)]).unwrap_or(bytes.len());
        let mut plain = &bytes[..end];
        if !plain.is_empty() {
            self.delimiter_seen = 0;
            self.previous = match plain {
                [.., a, b] => [*a, *b],
                [b] => [self.previous[1], *b],
                [] => self.previous,
            };
            if !self.open {
                plain = plain.trim_ascii_start();
                self.open = !plain.is_empty();
            }
            let limit = if self.words.len() >= 4 && self.words[..4].eq_ignore_ascii_case(b"COPY") {
                COPY_WORDS_BYTES
            } else {
                WORDS_BYTES
            };
            let room = limit.saturating_sub(self.words.len()).min(plain.len());
            self.words.extend_from_slice(&plain[..room]);
        }
        match bytes.get(end) {
            Some(&byte) => {
                self.special_code(byte);
                end + 1
            }
            None => end,
        }
    }

    fn special_code(&mut self, byte: u8) {
        if self.open && !self.words_checked {
            self.words_checked = true;
            if self.begins_delimiter_command() {
                self.mark = self.words[9..].to_vec();
                self.state = State::Delimiter;
                self.step(byte);
                return;
            }
        }
        let before = self.previous;
        self.previous = [before[1], byte];
        if self.at_delimiter(byte) {
            return;
        }
        match byte {
            b'\n' => {}
            b'-' => self.state = State::Dash,
            b'/' => self.state = State::Slash,
            b'*' if self.executable > 0 => self.state = State::CodeStar,
            b'#' if self.dialect == Dialect::Mysql || (self.dialect == Dialect::Unknown && !self.open) => {
                self.state = State::Line;
            }
            b'\\' if !self.open => self.state = State::Line,
            b'\'' | b'"' | b'`' => self.open_quote(byte, before),
            b'[' if self.dialect == Dialect::Sqlite => self.open_quote(b']', before),
            b'$' if self.postgres_like() && !is_word(before[1]) => {
                self.mark_open();
                self.mark = vec![b'$'];
                self.state = State::DollarTag;
            }
            b';' if self.delimiter == b";" => {} // inside `/*! … */`
            _ => self.mark_open(),
        }
    }

    fn mark_open(&mut self) {
        if !self.open {
            self.open = true;
            self.words_checked = true;
        }
    }

    fn begins_delimiter_command(&self) -> bool {
        self.mysql_like()
            && self.words.len() >= 10
            && self.words[..9].eq_ignore_ascii_case(b"DELIMITER")
            && self.words[9].is_ascii_whitespace()
    }

    /// Whether `byte` completes the delimiter, and so the statement.
    fn at_delimiter(&mut self, byte: u8) -> bool {
        if self.executable > 0 && self.delimiter == b";" {
            return false;
        }
        self.delimiter_seen = if self.delimiter.get(self.delimiter_seen) == Some(&byte) {
            self.delimiter_seen + 1
        } else {
            usize::from(self.delimiter.first() == Some(&byte))
        };
        if self.delimiter_seen < self.delimiter.len() {
            return false;
        }
        let copies = self.postgres_like() && is_copy_from_stdin(&self.words);
        self.closed_any |= self.open;
        self.open = false;
        self.executable = 0;
        self.begin_statement();
        self.state = if copies { State::CopyBegins } else { State::Code };
        true
    }

    fn begin_statement(&mut self) {
        self.words.clear();
        self.words_checked = false;
        self.delimiter_seen = 0;
        self.previous = [b' '; 2];
    }

    fn open_quote(&mut self, quote: u8, before: [u8; 2]) {
        self.mark_open();
        if quote == b'`' && self.dialect == Dialect::Unknown {
            self.dialect = Dialect::Mysql;
        }
        let backslash = match (self.dialect, quote) {
            (_, b'`' | b']') | (Dialect::Sqlite, _) => Backslash::Plain,
            (Dialect::Mysql, _) => Backslash::Escapes,
            (_, b'"') => Backslash::Plain,
            _ if matches!(before[1], b'e' | b'E') && !is_word(before[0]) => Backslash::Escapes,
            (Dialect::Postgres, _) => Backslash::Plain,
            (Dialect::Unknown, _) => Backslash::Unsure,
        };
        self.state = State::Quoted { quote, backslash };
    }

    /// A doubled quote needs no thought: it closes the string and opens it again.
    fn quoted(&mut self, bytes: &[u8], quote: u8, backslash: Backslash) -> usize {
        let end = match backslash {
            Backslash::Plain => memchr(quote, bytes),
            Backslash::Escapes | Backslash::Unsure => memchr2(quote, b'\\', bytes),
        };
        let Some(end) = end else { return bytes.len() };
        self.state = if bytes[end] == quote {
            self.previous = [b' ', quote];
            State::Code
        } else if backslash == Backslash::Escapes {
            State::Escaped(quote)
        } else {
            State::MaybeEscaped(quote)
        };
        end + 1
    }

    fn rest_of_line(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else { return bytes.len() };
        self.state = if self.state == State::Line { State::Code } else { State::CopyLineStart };
        end + 1
    }

    fn comment(&mut self, bytes: &[u8], depth: u32) -> usize {
        let end = if self.dialect == Dialect::Postgres { memchr2(b'*', b'/', bytes) } else { memchr(b'*', bytes) };
        let Some(end) = end else { return bytes.len() };
        self.state = if bytes[end] == b'*' { State::CommentStar(depth) } else { State::CommentSlash(depth) };
        end + 1
    }

    fn dollar(&mut self, bytes: &[u8], seen: usize) -> usize {
        if seen == 0 {
            let Some(end) = memchr(b'$', bytes) else { return bytes.len() };
            self.state = State::Dollar(1);
            return end + 1;
        }
        // The mark holds `$` at its two ends only, so a mismatch can begin it anew but not continue it.
        let seen = if self.mark.get(seen) == Some(&bytes[0]) { seen + 1 } else { usize::from(bytes[0] == b'$') };
        self.state = if seen == self.mark.len() { State::Code } else { State::Dollar(seen) };
        1
    }

    /// One byte in a state that lasts for a byte or two; says whether the byte is used up.
    fn step(&mut self, byte: u8) -> bool {
        let (next, used) = match (self.state, byte) {
            (State::Dash, b'-') if self.dialect == Dialect::Mysql => (State::DashDash, true),
            (State::Dash, b'-') => (State::Line, true),
            (State::DashDash, byte) if byte.is_ascii_whitespace() || byte.is_ascii_control() => (State::Line, false),
            (State::Slash, b'*') if self.mysql_like() => (State::SlashStar, true),
            (State::Slash, b'*') => (State::Comment(1), true),
            (State::Slash, _) if self.delimiter_seen > 0 && self.at_delimiter(byte) => return true,
            (State::Dash | State::DashDash | State::Slash, _) => {
                self.mark_open();
                (State::Code, false)
            }
            (State::SlashStar, b'!') | (State::SlashStarM, b'!') => {
                self.executable += 1;
                self.delimiter_seen = 0;
                (State::Code, true)
            }
            (State::SlashStar, b'M') => (State::SlashStarM, true),
            (State::SlashStar | State::SlashStarM, _) => (State::Comment(1), false),
            (State::CodeStar, b'/') => {
                self.executable -= 1;
                (State::Code, true)
            }
            (State::CodeStar, _) => (State::Code, false),
            (State::CommentStar(1), b'/') => (State::Code, true),
            (State::CommentStar(depth), b'/') => (State::Comment(depth - 1), true),
            (State::CommentSlash(depth), b'*') => (State::Comment(depth + 1), true),
            (State::CommentStar(depth) | State::CommentSlash(depth), _) => (State::Comment(depth), false),
            (State::Escaped(quote), _) => (State::Quoted { quote, backslash: Backslash::Escapes }, true),
            (State::MaybeEscaped(quote), byte) if byte == quote => (State::MaybeClosed(quote), true),
            (State::MaybeEscaped(quote), _) => (State::Quoted { quote, backslash: Backslash::Unsure }, true),
            (State::MaybeClosed(_), b',' | b')' | b';') => (State::Code, false),
            (State::MaybeClosed(_), byte) if byte.is_ascii_whitespace() => (State::Code, false),
            (State::MaybeClosed(quote), _) => {
                self.dialect = Dialect::Mysql;
                (State::Quoted { quote, backslash: Backslash::Escapes }, false)
            }
            (State::DollarTag, b'$') => {
                self.mark.push(b'$');
                (State::Dollar(0), true)
            }
            (State::DollarTag, byte) if is_word(byte) && self.mark.len() < 64 => {
                self.mark.push(byte);
                (State::DollarTag, true)
            }
            (State::DollarTag, _) => (State::Code, false),
            (State::Delimiter, b'\n') => {
                self.set_delimiter();
                (State::Code, true)
            }
            (State::Delimiter, byte) => {
                if self.mark.len() < WORDS_BYTES {
                    self.mark.push(byte);
                }
                (State::Delimiter, true)
            }
            (State::CopyLineStart, b'\\') => (State::CopyBackslash, true),
            (State::CopyBackslash, b'.') => (State::CopyBackslashDot, true),
            (State::CopyBackslashDot, b'\r') => (State::CopyBackslashDot, true),
            (State::CopyBackslashDot, b'\n') => (State::Code, true),
            (State::CopyLineStart | State::CopyBackslash | State::CopyBackslashDot, _) => (State::CopyLine, false),
            (state, _) => (state, false), // handled by `feed`
        };
        self.state = next;
        used
    }

    fn set_delimiter(&mut self) {
        let delimiter = self.mark.trim_ascii();
        if !delimiter.is_empty() {
            self.delimiter = delimiter.to_vec();
            self.set_special();
        }
        if self.dialect == Dialect::Unknown {
            self.dialect = Dialect::Mysql;
        }
        self.open = false;
        self.begin_statement();
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_copy_from_stdin(words: &[u8]) -> bool {
    let words = words.to_ascii_lowercase();
    words.starts_with(b"copy ") && memchr::memmem::find(&words, b" from stdin").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dialect: Dialect, sql: &str) -> Option<OpenEnd> {
        let mut statements = Statements::new(dialect);
        statements.feed(sql.as_bytes());
        statements.open_end()
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
            (Postgres, "SELECT $a$ ; $$ ;", OpenEnd::DollarQuote("$a$".to_owned())),
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
}
