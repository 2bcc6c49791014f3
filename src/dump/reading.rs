//! Is the last statement closed? A streaming reader of SQL text, for dumps without an end marker.
//!
//! It knows quotes, comments, `DELIMITER`, dollar quotes and `COPY` data, and nothing of grammar: a cut between two
//! statements is out of its sight, one inside a statement is not.
//!
//! Where dialects disagree:
//! - A backslash escapes in MySQL's strings and in PostgreSQL's `E'…'`, not in standard SQL. In a text of unknown
//!   dialect only one before a quote matters: there the reading is forked into two, see `statements`. The first backtick
//!   before that settles the dialect as MySQL's.
//! - `GO` alone on a line ends a batch of SQL Server's tools, `/` one of Oracle's. HSQLDB's statements end with the line.
//!   Firebird's `SET TERM` names another end, as MySQL's `DELIMITER` does.
//! - `--` begins a comment; in MySQL only before white space. `#` begins one in MySQL; in an unknown dialect only
//!   where a statement could begin, for PostgreSQL has operators with `#`.
//! - Comments nest in PostgreSQL only. `/*! … */` and `/*M! … */` of MySQL and MariaDB are code.
//! - `$tag$` quotes in PostgreSQL and in unknown dialects, until `DELIMITER $$` shows it to be MySQL's.

use memchr::{memchr, memchr2};

use super::failures::{ASIDE_BYTES, Asides, Start, aside, start_of_aside};
use super::marks::Marks;
use super::open_end::OpenEnd;
use super::transaction::Transaction;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Mysql,
    Sqlite,
    Postgres,
    /// Nothing but what the standard has.
    Standard,
    SqlServer,
    Oracle,
    Hsqldb,
    Firebird,
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

/// How much of a line is kept to know `GO` by.
const LINE_BYTES: usize = 12;

/// A reading of a text in one dialect.
#[derive(Clone)]
pub(super) struct Reading {
    dialect: Dialect,
    state: State,
    /// Bytes read.
    at: u64,
    /// Where the statement that is open begins, and where the quote, comment or `COPY` does.
    statement_at: u64,
    inner_at: u64,
    /// The next byte begins a line on which a statement may begin.
    fresh: bool,
    /// Its first bytes, as long as they may begin a line that is no SQL.
    held: Vec<u8>,
    /// The beginning of such a line is being kept in `opening`.
    looking: bool,
    look_at_next: bool,
    /// That line begins where a statement may.
    at_statement: bool,
    opening: Vec<u8>,
    opening_at: u64,
    /// Of an unknown dialect: a backslash is like any other character.
    forked: bool,
    /// How often a word touched the end of a string, which no SQL has: quotes are taken wrongly.
    pub doubts: u32,
    pub asides: Asides,
    pub marks: Marks,
    pub transaction: Transaction,
    /// The code of the current line, to know `GO` and `/` by.
    line: Vec<u8>,
    /// Code has been seen since the last delimiter.
    open: bool,
    closed_any: bool,
    /// A statement was closed that is no setting.
    pub any_content: bool,
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

impl Reading {
    pub fn new(dialect: Dialect, marks: Marks) -> Self {
        let delimiter = if dialect == Dialect::Hsqldb { b"\n".to_vec() } else { b";".to_vec() };
        let mut reading = Self {
            dialect,
            state: State::Code,
            at: 0,
            statement_at: 0,
            inner_at: 0,
            fresh: true,
            held: Vec::new(),
            looking: false,
            look_at_next: false,
            at_statement: true,
            opening: Vec::new(),
            opening_at: 0,
            forked: false,
            doubts: 0,
            asides: Asides::default(),
            marks,
            transaction: Transaction::default(),
            line: Vec::new(),
            open: false,
            closed_any: false,
            any_content: false,
            executable: 0,
            words: Vec::new(),
            words_checked: false,
            delimiter,
            delimiter_seen: 0,
            previous: [b' '; 2],
            mark: Vec::new(),
            special: [false; 256],
        };
        reading.set_special();
        reading
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
            State::DollarTag | State::Dollar(_) => Some(OpenEnd::DollarQuote),
            State::CopyBegins | State::CopyLineStart | State::CopyBackslash | State::CopyLine => {
                Some(OpenEnd::CopyData)
            }
            State::Code
            | State::Dash
            | State::DashDash
            | State::Slash
            | State::CodeStar
            | State::Line
            | State::CopyBackslashDot => {
                let dangling = matches!(self.state, State::Dash | State::Slash);
                (self.open || self.executable > 0 || dangling).then_some(OpenEnd::Statement)
            }
        }
    }

    /// Where that begins: bytes before it.
    pub fn open_at(&self) -> u64 {
        match self.open_end() {
            Some(OpenEnd::Statement) | None => self.statement_at,
            Some(_) => self.inner_at,
        }
    }

    /// Reads on, up to a fork or to the end of `bytes`; returns how much was read.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() && !self.at_fork(bytes[used]) {
            let rest = &bytes[used..];
            if self.fresh {
                used += self.judge_start(rest[0]);
                self.look(&rest[..1]);
            } else if self.looking {
                let count = self.read(rest);
                self.look(&rest[..count]);
                used += count;
            } else {
                used += self.read(rest);
            }
            if self.look_at_next {
                (self.look_at_next, self.looking) = (false, true);
            }
        }
        used
    }

    /// The text is over.
    pub fn finish(&mut self) {
        self.read_held();
        if self.looking {
            self.judge_opening();
        }
        if self.state == State::Code || (self.state == State::Slash && self.line == b"/") {
            self.state = State::Code;
            self.end_of_line();
        }
        self.transaction.finish();
    }

    /// Whether the dialect is unknown and the next byte is a quote after a backslash.
    pub fn at_fork(&self, next: u8) -> bool {
        matches!(self.state, State::MaybeEscaped(quote) if quote == next)
    }

    /// Becomes the reading in which a backslash is like any other character; returns the one in which it escapes.
    pub fn fork(&mut self) -> Self {
        let mut escaping = self.clone();
        escaping.dialect = Dialect::Mysql;
        escaping.set_special();
        if let State::MaybeEscaped(quote) = self.state {
            escaping.state = State::Escaped(quote);
            self.state = State::Quoted { quote, backslash: Backslash::Plain };
        }
        self.forked = true;
        escaping
    }

    /// One piece of text in the present state; returns how much was read.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let used = match self.state {
            State::Code => self.code(bytes),
            State::Line | State::CopyLine | State::CopyBegins => self.rest_of_line(bytes),
            State::Quoted { quote, backslash } => self.quoted(bytes, quote, backslash),
            State::Comment(depth) => self.comment(bytes, depth),
            State::Dollar(seen) => self.dollar(bytes, seen),
            _ => usize::from(self.step(bytes[0])),
        };
        self.at += used as u64;
        used
    }

    /// A line begins on which a statement may begin: one that is no SQL is skipped. What has to be seen for that holds
    /// neither quote nor comment, and waits in `held`.
    fn judge_start(&mut self, byte: u8) -> usize {
        if self.held.is_empty() {
            self.looking = true;
            self.at_statement = true;
            self.opening_at = self.at;
        }
        self.held.push(byte);
        match start_of_aside(&self.held, self.dialect == Dialect::Oracle) {
            Start::Unsure => {}
            Start::Is => {
                self.fresh = false;
                self.at += self.held.len() as u64;
                self.held.clear();
                self.state = State::Line;
            }
            Start::IsNot => self.read_held(),
        }
        1
    }

    fn read_held(&mut self) {
        self.fresh = false;
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        while !rest.is_empty() {
            let used = self.read(rest);
            rest = &rest[used..];
        }
    }

    /// Keeps the beginning of such a line, beside the reading, and judges it when it is there.
    fn look(&mut self, bytes: &[u8]) {
        let room = ASIDE_BYTES - self.opening.len();
        let part = &bytes[..bytes.len().min(room)];
        let end = memchr(b'\n', part);
        self.opening.extend_from_slice(&part[..end.unwrap_or(part.len())]);
        if end.is_some() || self.opening.len() == ASIDE_BYTES {
            self.judge_opening();
        }
    }

    /// After `--` in a line: the head of another dump may be glued to a row that was cut.
    fn look_at_comment(&mut self) {
        if (self.looking && self.at_statement) || !self.marks.is_of_use() {
            return;
        }
        // The second dash is looked at in any case if the line already is.
        self.opening.clear();
        self.opening.extend_from_slice(if self.looking { b"-" } else { b"--" });
        self.look_at_next = true;
        self.at_statement = false;
        self.opening_at = self.at - 1;
    }

    fn judge_opening(&mut self) {
        self.looking = false;
        if self.at_statement
            && let Some(aside) = aside(&self.opening)
        {
            self.asides.note(&aside, self.opening_at);
        }
        self.marks.line(&self.opening, self.opening_at);
        self.opening.clear();
    }

    fn begin_line(&mut self) {
        self.fresh = !self.open && self.executable == 0;
        // A dump that was cut within a statement may have another one behind it.
        if !self.fresh && self.marks.is_of_use() {
            self.look_at_next = true;
            self.at_statement = false;
            self.opening_at = self.at + 1;
        }
        self.line.clear();
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
            if self.previous[1] == b'\'' && is_word(plain[0]) {
                self.doubts += 1;
            }
            if self.line.len() < LINE_BYTES {
                let room = (LINE_BYTES - self.line.len()).min(plain.len());
                self.line.extend_from_slice(&plain[..room]);
            }
            self.previous = match plain {
                [.., a, b] => [*a, *b],
                [b] => [self.previous[1], *b],
                [] => self.previous,
            };
            if !self.open {
                plain = plain.trim_ascii_start();
                if !plain.is_empty() {
                    self.open = true;
                    self.statement_at = self.at + (end - plain.len()) as u64;
                }
            }
            if self.words.len() < WORDS_BYTES || self.is_copy() {
                let limit = if self.is_copy() { COPY_WORDS_BYTES } else { WORDS_BYTES };
                let room = limit.saturating_sub(self.words.len()).min(plain.len());
                self.words.extend_from_slice(&plain[..room]);
            }
        }
        match bytes.get(end) {
            Some(&byte) => {
                self.at += end as u64;
                self.special_code(byte);
                self.at -= end as u64;
                end + 1
            }
            None => end,
        }
    }

    fn is_copy(&self) -> bool {
        self.words.len() >= 4 && self.words[..4].eq_ignore_ascii_case(b"COPY")
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
        if byte == b'\n' {
            self.end_of_line();
        }
        if self.at_delimiter(byte) {
            if byte == b'\n' {
                self.begin_line();
            }
            return;
        }
        if self.line.len() < LINE_BYTES {
            self.line.push(byte);
        }
        match byte {
            b'\n' => {
                if self.open && self.words.len() < WORDS_BYTES {
                    self.words.push(b' ');
                }
                self.begin_line();
            }
            b'-' => self.state = State::Dash,
            b'/' => self.state = State::Slash,
            b'*' if self.executable > 0 => self.state = State::CodeStar,
            b'#' if self.dialect == Dialect::Mysql || (self.dialect == Dialect::Unknown && !self.open) => {
                self.state = State::Line;
            }
            b'\\' if !self.open => self.state = State::Line,
            b'\'' | b'"' | b'`' => self.open_quote(byte, before),
            b'[' if matches!(self.dialect, Dialect::Sqlite | Dialect::SqlServer) => self.open_quote(b']', before),
            b'$' if self.postgres_like() && !is_word(before[1]) => {
                self.mark_open();
                self.inner_at = self.at;
                self.mark = vec![b'$'];
                self.state = State::DollarTag;
            }
            b';' if self.delimiter == b";" => {} // inside `/*! … */`
            _ => self.mark_open(),
        }
    }

    /// `GO` and `/` end what is open if they are alone on their line.
    fn end_of_line(&mut self) {
        let line = self.line.trim_ascii();
        let ends = match self.dialect {
            Dialect::SqlServer => is_go(line),
            Dialect::Oracle => line == b"/",
            Dialect::Unknown => is_go(line) || line == b"/",
            _ => false,
        };
        if ends && self.executable == 0 && self.delimiter == b";" {
            self.closed_any |= self.open;
            self.any_content |= self.open && !is_setting(&self.words);
            self.open = false;
            if line != b"/" {
                self.transaction.batch();
            }
            self.begin_statement();
        }
    }

    fn mark_open(&mut self) {
        if !self.open {
            self.open = true;
            self.statement_at = self.at;
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
        if self.open {
            self.closed_any = true;
            self.any_content |= !is_setting(&self.words);
            self.transaction.statement(&self.words, self.statement_at);
            self.set_term();
        }
        if copies {
            self.inner_at = self.at;
        }
        self.open = false;
        self.executable = 0;
        self.begin_statement();
        self.state = if copies { State::CopyBegins } else { State::Code };
        true
    }

    /// Firebird's `SET TERM ^ ;`. A semicolon is no plain code, so nothing is left of it in `words`.
    fn set_term(&mut self) {
        let (Dialect::Firebird | Dialect::Unknown) = self.dialect else { return };
        let Some(rest) = self.words.get(..9).filter(|start| start.eq_ignore_ascii_case(b"SET TERM ")) else { return };
        let term = self.words[rest.len()..].trim_ascii();
        self.delimiter = if term.is_empty() { b";".to_vec() } else { term.to_vec() };
        self.set_special();
    }

    fn begin_statement(&mut self) {
        self.words.clear();
        self.words_checked = false;
        self.delimiter_seen = 0;
        self.previous = [b' '; 2];
    }

    fn open_quote(&mut self, quote: u8, before: [u8; 2]) {
        self.mark_open();
        self.inner_at = self.at;
        if quote == b'`' && self.dialect == Dialect::Unknown && !self.forked {
            self.dialect = Dialect::Mysql;
        }
        let backslash = match (self.dialect, quote) {
            (_, b'`' | b']') => Backslash::Plain,
            (Dialect::Mysql, _) => Backslash::Escapes,
            (_, b'"') => Backslash::Plain,
            (Dialect::Postgres | Dialect::Unknown, _) if matches!(before[1], b'e' | b'E') && !is_word(before[0]) => {
                Backslash::Escapes
            }
            (Dialect::Unknown, _) if !self.forked => Backslash::Unsure,
            _ => Backslash::Plain,
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
        if self.state == State::Line {
            self.state = State::Code;
            self.at += end as u64;
            self.begin_line();
            self.at -= end as u64;
        } else {
            self.state = State::CopyLineStart;
        }
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
            (State::Dash, b'-') => {
                self.look_at_comment();
                (if self.dialect == Dialect::Mysql { State::DashDash } else { State::Line }, true)
            }
            (State::DashDash, byte) if byte.is_ascii_whitespace() || byte.is_ascii_control() => (State::Line, false),
            (State::Slash, b'*') => {
                self.inner_at = self.at;
                (if self.mysql_like() { State::SlashStar } else { State::Comment(1) }, true)
            }
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
            (State::MaybeEscaped(quote), _) => (State::Quoted { quote, backslash: Backslash::Unsure }, true),
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
                self.begin_line();
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
            (State::CopyBackslashDot, b'\n') => {
                self.begin_line();
                (State::Code, true)
            }
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
        if self.dialect == Dialect::Unknown && !self.forked {
            self.dialect = Dialect::Mysql;
        }
        self.open = false;
        self.begin_statement();
    }
}

/// A statement that changes how the others are read, and no data; `/*!40101 SET …` begins with its version.
fn is_setting(words: &[u8]) -> bool {
    const SETTINGS: [&[u8]; 6] = [b"SET ", b"USE ", b"PRAGMA ", b"BEGIN", b"START ", b"COMMIT"];
    let words = words.iter().position(|byte| !byte.is_ascii_digit() && *byte != b' ').map_or(words, |at| &words[at..]);
    SETTINGS.iter().any(|word| words.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

/// `GO`, or `GO 5`, which repeats the batch.
fn is_go(line: &[u8]) -> bool {
    line.get(..2).is_some_and(|word| word.eq_ignore_ascii_case(b"GO"))
        && line[2..].iter().all(|byte| byte.is_ascii_digit() || *byte == b' ')
        && (line.len() == 2 || line[2] == b' ')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_copy_from_stdin(words: &[u8]) -> bool {
    let words = words.to_ascii_lowercase();
    words.starts_with(b"copy ") && memchr::memmem::find(&words, b" from stdin").is_some()
}
