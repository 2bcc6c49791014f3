//! Lines in a dump that are no SQL: what a program writes about its own failure, and noise that `2>&1` puts there.
//!
//! Callers ask only about lines that begin where a statement could. What is shown of such a line are the words at its
//! beginning that the program itself chose, never what follows.

use std::fmt;

use crate::text;
use crate::text::Text;

use super::lines::{comment_text, trim_line_end};

/// Something that a dump says about itself and that the report has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpWarning {
    /// The first line is no SQL.
    NoiseOnTop {
        /// What it begins with.
        words: String,
    },
    /// The program that made the dump, or its server, failed on the way.
    Failure {
        /// What the line begins with.
        words: String,
        /// Where the line begins: bytes before it.
        at: u64,
    },
    /// A line that is neither SQL nor a comment.
    Noise {
        /// What it begins with.
        words: String,
        /// Where the line begins: bytes before it.
        at: u64,
    },
    /// There were more such lines.
    More {
        /// So many.
        count: u64,
    },
}

impl DumpWarning {
    /// In the languages of the report.
    pub fn text(&self) -> Text {
        match self {
            Self::NoiseOnTop { words } => text!(
                "line 1 of the dump is no SQL (`{words}`): a restore stops there until the line is deleted; keep error messages out of the export (no `2>&1`)"
                    / "la ligne 1 de l'export n'est pas du SQL (`{words}`) : une restauration s'y arrête tant que la ligne n'est pas supprimée ; ne mêlez pas les messages d'erreur à l'export (pas de `2>&1`)"
            ),
            Self::Failure { words, at } => text!(
                "the dump itself reports a failure after byte {at} (`{words}`): something is missing in it; look at the job that makes the export"
                    / "l'export signale lui-même un échec après l'octet {at} (`{words}`) : il y manque quelque chose ; voyez la tâche qui le produit"
            ),
            Self::Noise { words, at } => text!(
                "the line after byte {at} of the dump is no SQL (`{words}`): a restore stops there until the line is deleted"
                    / "la ligne après l'octet {at} de l'export n'est pas du SQL (`{words}`) : une restauration s'y arrête tant que la ligne n'est pas supprimée"
            ),
            Self::More { count } => text!(
                "{count} more lines of the dump report a failure or are no SQL"
                    / "{count} autres lignes de l'export signalent un échec ou ne sont pas du SQL"
            ),
        }
    }
}

impl fmt::Display for DumpWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text().en)
    }
}

/// What a line says that is not meant for the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aside {
    /// Something is missing in the dump, as opposed to mere noise.
    pub is_failure: bool,
    /// A comment: a restore does not stop there.
    pub is_comment: bool,
    pub words: String,
}

/// How much of a line is looked at. Bytes.
pub(super) const ASIDE_BYTES: usize = 96;

/// Programs that write `name: …` to their error output.
const PROGRAMS: [&[u8]; 9] = [
    b"mysqldump: ",
    b"mariadb-dump: ",
    b"mysqlpump: ",
    b"pg_dump: ",
    b"pg_dumpall: ",
    b"pg_restore: ",
    b"mydumper: ",
    b"/usr/bin/mysqldump: ",
    b"/usr/bin/mariadb-dump: ",
];

/// What the tools write into the dump as comments where they left something out.
const COMMENTS: [&str; 5] = [
    "failed on view",          // mysqldump
    "insufficient privileges", // mysqldump: routines and events
    "Couldn't execute",        // mysqldump
    "CORRUPTION ERROR",        // sqlite3
    "ERROR: (",                // sqlite3
];

/// What else ends up in a dump whose error output was not kept apart.
const NOISE: [(&[u8], bool); 16] = [
    (b"ERROR ", true),
    (b"ERROR: ", true),
    (b"Error: ", true),
    (b"FATAL: ", true),
    (b"Fatal error: ", true),
    (b"PHP Fatal error: ", true),
    (b"PHP Warning: ", false),
    (b"PHP Notice: ", false),
    (b"PHP Deprecated: ", false),
    (b"Warning: ", false),
    (b"WARNING: ", false),
    (b"Enter password: ", false),
    (b"bash: ", false),
    (b"sh: ", false),
    (b"/bin/sh: ", false),
    (b"stdin: is not a tty", false),
];

/// Whether the line, which begins where a statement could, is not for the database. `line` may be cut after
/// [`ASIDE_BYTES`].
pub(super) fn aside(line: &[u8]) -> Option<Aside> {
    let line = trim_line_end(&line[..line.len().min(ASIDE_BYTES)]).trim_ascii_start();
    if let Some(text) = comment_text(line) {
        let text = text.trim_ascii_start().strip_prefix(b"****").unwrap_or(text);
        let text = text.iter().position(|byte| !matches!(byte, b'*' | b' ')).map_or(text, |at| &text[at..]);
        let found = COMMENTS.iter().find(|words| text.starts_with(words.as_bytes()))?;
        return Some(Aside { is_failure: true, is_comment: true, words: (*found).to_owned() });
    }
    if line.first() == Some(&b'<') {
        return is_html(line).then(|| Aside { is_failure: true, is_comment: false, words: "HTML".to_owned() });
    }
    if let Some(program) = PROGRAMS.iter().find(|program| line.starts_with(program)) {
        let rest = &line[program.len()..];
        let starts =
            |word: &str| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
        let is_noise = ["[warning]", "warning:", "deprecated", "[note]", "using a password"].into_iter().any(starts);
        return Some(Aside { is_failure: !is_noise, is_comment: false, words: first_words(line) });
    }
    let (_, is_failure) = NOISE.iter().find(|(start, _)| line.starts_with(start))?;
    // `ERROR 1064 (42000)`, not a word of some dialect.
    if line.starts_with(b"ERROR ") && !line.get(6).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    Some(Aside { is_failure: *is_failure, is_comment: false, words: first_words(line) })
}

/// Whether a line begins as one that is not for the database; for Oracle's tools also `REM` and `PROMPT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Is,
    IsNot,
    /// It is too short to tell.
    Unsure,
}

pub(super) fn start_of_aside(text: &[u8], oracle: bool) -> Start {
    const REMARKS: [&[u8]; 3] = [b"REM ", b"REMARK ", b"PROMPT "];
    let indent = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let text = &text[indent..];
    if text.is_empty() && indent < 16 {
        return Start::Unsure;
    }
    let mut start = Start::IsNot;
    let mut look = |pattern: &[u8], text: &[u8]| {
        let common = pattern.len().min(text.len());
        if pattern[..common].eq_ignore_ascii_case(&text[..common]) {
            start = if common == pattern.len() || start == Start::Is { Start::Is } else { Start::Unsure };
        }
    };
    PROGRAMS.iter().for_each(|program| look(program, text));
    NOISE.iter().filter(|(start, _)| *start != b"ERROR ").for_each(|(start, _)| look(start, text));
    if oracle {
        REMARKS.iter().for_each(|remark| look(remark, text));
    }
    if let Some(tag) = text.strip_prefix(b"<") {
        let tag = tag.strip_prefix(b"/").unwrap_or(tag);
        TAGS.iter().for_each(|name| look(name, tag));
    }
    if start == Start::IsNot && text.len() <= 7 && b"ERROR ".starts_with(&text[..text.len().min(6)]) {
        return match text.get(6) {
            Some(digit) if digit.is_ascii_digit() => Start::Is,
            Some(_) => Start::IsNot,
            None => Start::Unsure,
        };
    }
    start
}

const TAGS: [&[u8]; 14] = [
    b"!--",
    b"!doctype",
    b"html",
    b"head",
    b"body",
    b"br",
    b"b>",
    b"div",
    b"p>",
    b"p ",
    b"h1",
    b"table",
    b"script",
    b"pre",
];

fn is_html(line: &[u8]) -> bool {
    let tag = line[1..].strip_prefix(b"/").unwrap_or(&line[1..]);
    TAGS.iter().any(|name| tag.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
}

/// The program and up to three words of its message; a number, or a word that could be a name or a value, ends them.
pub(super) fn first_words(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let is_plain = |word: &str| {
        let word = word.trim_matches(['[', ']', ':', ',']);
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '\'' | '-' | '_' | '/'))
            && !word.starts_with('\'')
    };
    let mut after_number = false;
    let words = text.split_ascii_whitespace().take(4).take_while(|word| {
        let ends = std::mem::replace(&mut after_number, word.trim_end_matches(':').bytes().all(|b| b.is_ascii_digit()));
        is_plain(word) && !ends
    });
    let words: Vec<&str> = words.collect();
    text::masked(words.join(" ").trim_end_matches([':', ','])).chars().take(60).collect()
}

/// Gathers what is found, a few of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Asides {
    found: Vec<DumpWarning>,
    more: u64,
}

/// The next ones are only counted.
const WARNINGS: usize = 5;

impl Asides {
    pub fn note(&mut self, aside: &Aside, at: u64) {
        let words = aside.words.clone();
        let warning =
            if aside.is_failure { DumpWarning::Failure { words, at } } else { DumpWarning::Noise { words, at } };
        // An HTML page has many lines and is one failure.
        let repeats = matches!((&warning, self.found.last()), (DumpWarning::Failure { words, .. }, Some(DumpWarning::Failure { words: last, .. })) if words == "HTML" && last == "HTML");
        if repeats {
            return;
        }
        if self.found.len() < WARNINGS {
            self.found.push(warning);
        } else {
            self.more += 1;
        }
    }

    /// Their places are counted from the beginning of the file, of which so many bytes were not looked at.
    pub fn into_warnings(mut self, skipped: u64) -> Vec<DumpWarning> {
        for warning in &mut self.found {
            if let DumpWarning::Failure { at, .. } | DumpWarning::Noise { at, .. } = warning {
                *at += skipped;
            }
        }
        if self.more > 0 {
            self.found.push(DumpWarning::More { count: self.more });
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_of_its_failure_is_told_from_noise_and_from_sql() {
        for (line, expected) in [
            ("mysqldump: Error 1194: Table 'orders' is marked as crashed\n", Some((true, "mysqldump: Error 1194"))),
            ("mysqldump: Couldn't execute 'SHOW FIELDS FROM `v`'", Some((true, "mysqldump: Couldn't execute"))),
            ("mariadb-dump: Got error: 1044: Access denied", Some((true, "mariadb-dump: Got error: 1044"))),
            ("pg_dump: error: query failed: ERROR:  x", Some((true, "pg_dump: error: query failed"))),
            ("mysqldump: [Warning] Using a password on", Some((false, "mysqldump: [Warning] Using a"))),
            ("Warning: Using a password on the command line", Some((false, "Warning: Using a password"))),
            ("-- failed on view `v`: x", Some((true, "failed on view"))),
            ("/****** CORRUPTION ERROR *******/", Some((true, "CORRUPTION ERROR"))),
            ("<!-- PMA-SQL-ERROR -->\r\n", Some((true, "HTML"))),
            ("<br />\n", Some((true, "HTML"))),
            ("ERROR 2013 (HY000): Lost connection", Some((true, "ERROR 2013"))),
            ("INSERT INTO t VALUES (1);", None),
            ("-- mysqldump: Error 1", None),
            ("<= 5", None),
            ("ERROR x", None),
        ] {
            let found = aside(line.as_bytes()).map(|aside| (aside.is_failure, aside.words));
            assert_eq!(found, expected.map(|(failure, words)| (failure, words.to_owned())), "{line}");
        }
    }

    #[test]
    fn only_words_of_the_program_are_shown() {
        assert_eq!(first_words(b"mysqldump: Error 'FR76 3000 6000'"), "mysqldump: Error");
        assert_eq!(first_words("mysqldump: é".as_bytes()), "mysqldump");
    }
}
