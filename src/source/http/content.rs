//! Tells from its first and last bytes whether what arrives is a zip, and what else it might be.

use std::io::{self, Read, Seek, SeekFrom};

use super::super::{SourceError, SourceErrorKind};
use crate::text;
use crate::text::{Text, quote};

/// How many bytes tell whether it is a zip.
pub(super) const MAGIC_LEN: usize = 4;
/// How much of a page is read in order to quote it.
pub(super) const PAGE_LEN: usize = 16 * 1024;
/// How far from its start a zip is looked for: behind line feeds, a byte order mark, a warning that a script prints first.
pub(super) const LEAD_LEN: usize = 4096;
/// How far from its end the end of a zip is looked for, to tell what follows it.
const TRAIL_LEN: u64 = 64 << 20;
/// End of central directory record without its comment (APPNOTE 4.3.16).
const END_RECORD: u64 = 22;
/// The same with the longest comment.
pub(super) const END_LEN: u64 = END_RECORD + 65_535;

/// Where in the first bytes of a file a zip begins: with a local header, the end record of an empty one, or the mark of a split
/// one, also of one that needed a single segment (APPNOTE 4.3.7, 4.3.16, 8.5.3, 8.5.4); or with a local header further in.
pub(super) fn start_of_zip(head: &[u8]) -> Option<usize> {
    if [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK00"].iter().any(|magic| head.starts_with(&magic[..])) {
        return Some(0);
    }
    memchr::memmem::find(&head[..head.len().min(LEAD_LEN)], b"PK\x03\x04")
}

/// Where the zip in a file of `len` bytes ends, if it does so before the file does: at the last end record that has a directory
/// before it.
pub(super) fn end_of_zip(file: &mut (impl Read + Seek), len: u64) -> io::Result<Option<u64>> {
    const WINDOW: u64 = 1 << 20;
    let (mut window, mut end) = (Vec::new(), len);
    while end > len.saturating_sub(TRAIL_LEN) {
        let start = end.saturating_sub(WINDOW);
        window.clear();
        file.seek(SeekFrom::Start(start))?;
        // With the rest of a record that begins right before what has been searched.
        file.take((end - start).saturating_add(END_RECORD)).read_to_end(&mut window)?;
        for at in memchr::memmem::rfind_iter(&window, b"PK\x05\x06") {
            let Some(record) = window.get(at..at + 22) else { continue };
            let field = |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
            let (at, comment) = (start + at as u64, u64::from(u16::from_le_bytes([record[20], record[21]])));
            let mut signature = [0; 4];
            // With zip64, its locator stands before the record instead.
            let (before, wanted) = match field(12) {
                u32::MAX => (20, b"PK\x06\x07"),
                size => (u64::from(size), b"PK\x01\x02"),
            };
            let Some(directory) = at.checked_sub(before).filter(|_| before >= 20) else { continue };
            file.seek(SeekFrom::Start(directory))?;
            file.read_exact(&mut signature)?;
            if signature == *wanted && at + END_RECORD + comment <= len {
                return Ok(Some(at + END_RECORD + comment));
            }
        }
        end = start;
    }
    Ok(None)
}

/// Whether a file that ends like this (its last [`END_LEN`] bytes, or all) has the end record of a zip; some append
/// something to it.
pub(super) fn ends_like_a_zip(tail: &[u8]) -> bool {
    end_records(tail).next().is_some()
}

/// Whether the end record is also the file's very end.
pub(super) fn ends_exactly_like_a_zip(tail: &[u8]) -> bool {
    end_records(tail).any(|end| end == tail.len())
}

/// Where possible end records end, comments included.
fn end_records(tail: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memmem::rfind_iter(tail, b"PK\x05\x06").filter_map(|at| {
        let comment = tail.get(at + 20..at + 22)?;
        let end = at + 22 + usize::from(u16::from_le_bytes([comment[0], comment[1]]));
        (end <= tail.len()).then_some(end)
    })
}

/// The error for a file that starts with `head` (up to [`PAGE_LEN`] bytes) and is no zip; `from` is where it came from.
pub(super) fn not_a_zip(head: &[u8], from: &str) -> SourceError {
    if head.is_empty() {
        return SourceError::new(
            SourceErrorKind::NotZip,
            Text::new("empty file", "fichier vide"),
            format!("`{from}` sent an empty file"),
        )
        .with_hint(Text::new(
            "the export writes an empty file: look at the export, and at the space on its disk",
            "l'export produit un fichier vide : regardez l'export et l'espace sur son disque",
        ));
    }
    let page = String::from_utf8_lossy(head);
    if let Some(words) = page_words(&page) {
        let quoted = if words.is_empty() { String::new() } else { format!(": `{words}`") };
        return SourceError::new(
            SourceErrorKind::Html,
            text!("a web page instead of the zip" / "une page web à la place du zip"),
            format!("`{from}` sent a web page, which looks like a login page{quoted}"),
        );
    }
    let what = match known(head) {
        Some(what) => format!("a {what} file"),
        None if head.iter().take(64).all(|byte| (b' '..0x7f).contains(byte) || byte.is_ascii_whitespace()) => {
            format!("text: `{}`", squeezed(&page))
        }
        None => format!("something that begins with the bytes {}", hex::encode(&head[..head.len().min(8)])),
    };
    SourceError::new(
        SourceErrorKind::NotZip,
        Text::new("not a zip", "ce n'est pas un zip"),
        format!("`{from}` sent no zip but {what}"),
    )
}

fn known(head: &[u8]) -> Option<&'static str> {
    let table: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!", "rar"),
        (b"%PDF", "PDF"),
        (b"MZ", "Windows program"),
    ];
    table.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name)
}

/// Whether these first bytes are known to be something else, so that more of them need not be waited for.
pub(super) fn is_something_else(head: &[u8]) -> bool {
    known(head).is_some() || page_words(&String::from_utf8_lossy(head)).is_some()
}

/// The title of a page, or its first words; `None` if it is no page.
fn page_words(page: &str) -> Option<String> {
    // ASCII only, so that positions in it are positions in the page.
    let lower = page.to_ascii_lowercase();
    let start = lower.trim_start_matches('\u{feff}').trim_start();
    let is_page = ["<!doctype html", "<html", "<head", "<title", "<body", "<script", "<!--"];
    let page_like =
        is_page.iter().any(|tag| start.starts_with(tag)) || start.starts_with('<') && lower.contains("<html");
    if !page_like {
        return None;
    }
    if let Some(title) = lower.find("<title").and_then(|at| Some(at + lower[at..].find('>')? + 1)) {
        let end = lower[title..].find('<').map_or(page.len(), |len| title + len);
        let title = squeezed(&page[title..end]);
        if !title.is_empty() {
            return Some(title);
        }
    }
    let mut words = String::new();
    let mut inside = false;
    for c in page.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                words.push(' ');
            }
            c if !inside => words.push(c),
            _ => {}
        }
    }
    Some(squeezed(&words))
}

/// What the body of a refusal says: a page's title or first words, the `<Message>` of S3 and Azure, the `error` of JSON, or plain
/// text. `None` where that is nothing beyond the status itself.
pub(super) fn refusal_words(body: &[u8], reason: &str) -> Option<String> {
    let body = String::from_utf8_lossy(body);
    let text = body.trim_start_matches('\u{feff}').trim();
    let words = match text.chars().next()? {
        '{' | '[' => json_words(text)?,
        '<' => match xml_words(text) {
            Some(words) => words,
            None => page_words(text)?,
        },
        // Not text at all.
        _ if text.contains([char::REPLACEMENT_CHARACTER, '\0', '\u{1}']) => return None,
        _ => squeezed(text),
    };
    let says_no_more = words.is_empty() || words.to_lowercase().contains(&reason.to_lowercase()) && words.len() < 40;
    (!says_no_more).then_some(words)
}

/// The first element that tells in words: `<Code>` is a name, `<Message>` a sentence.
fn xml_words(text: &str) -> Option<String> {
    ["Message", "message", "Details", "detail", "Code"].iter().find_map(|tag| {
        let start = text.find(&format!("<{tag}>"))? + tag.len() + 2;
        let end = text[start..].find('<').map_or(text.len(), |len| start + len);
        Some(squeezed(&text[start..end])).filter(|words| !words.is_empty())
    })
}

/// The value that tells in words, however deep; RFC 9457 has `detail` and `title`.
fn json_words(text: &str) -> Option<String> {
    fn find(value: &serde_json::Value, key: &str) -> Option<String> {
        match value {
            serde_json::Value::Object(map) => match map.get(key).and_then(serde_json::Value::as_str) {
                Some(words) => Some(words.to_owned()),
                None => map.values().find_map(|value| find(value, key)),
            },
            serde_json::Value::Array(values) => values.iter().find_map(|value| find(value, key)),
            _ => None,
        }
    }
    let words = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => ["message", "error_description", "detail", "error", "title", "status", "reason"]
            .iter()
            .find_map(|key| find(&value, key)),
        // Cut, or something like JSON.
        Err(_) => Some(text.to_owned()),
    };
    words.map(|words| squeezed(&words)).filter(|words| !words.is_empty())
}

/// `, beginning with …` for what stands where it should not, if it is text.
pub(super) fn first_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    match squeezed(text) {
        words if words.is_empty() || text.contains([char::REPLACEMENT_CHARACTER, '\0']) => String::new(),
        words => format!(", beginning with `{words}`"),
    }
}

/// White space made single, at most 80 characters, nothing that changes the text around it.
fn squeezed(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    quote(&words.take(40).collect::<Vec<_>>().join(" ").replace('`', "'"), 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(head: &[u8]) -> String {
        not_a_zip(head, "https://h/x.zip").to_string()
    }

    #[test]
    fn a_page_is_quoted_by_its_title_or_its_first_words() {
        let page = b"\n<!DOCTYPE html>\n<html><head><TITLE lang=fr>\n  Connexion \xe2\x80\x94 Intranet </title>";
        assert_eq!(
            message(page),
            "`https://h/x.zip` sent a web page, which looks like a login page: `Connexion — Intranet`"
        );
        assert!(message(b"<html><body><h1>It   works!</h1>").ends_with(": `It works!`"));
        assert_eq!(not_a_zip(b"<html>", "u").kind, SourceErrorKind::Html);
        assert!(message("<html><title>é".as_bytes()).ends_with(": `é`"));
        assert!(message("<html>İ<title>x".as_bytes()).ends_with(": `x`"));
    }

    #[test]
    fn what_else_it_may_be_is_named() {
        assert!(message(b"\x1f\x8b\x08\x00").ends_with("sent no zip but a gzip file"));
        assert!(message(b"{\"error\": \"no such export\"}").ends_with("text: `{\"error\": \"no such export\"}`"));
        assert!(message(b"\x00\x01\x02\x03").ends_with("the bytes 00010203"));
        assert!(message(b"").ends_with("sent an empty file"));
        assert!(message(&[b'x'; 500]).ends_with("x…`"));
    }

    #[test]
    fn the_end_record_is_found_before_its_comment_only_if_the_comment_fits() {
        let mut end = b"....PK\x05\x06".to_vec();
        end.extend([0; 16]);
        let with_comment = |len: u16, held: usize| [end.clone(), len.to_le_bytes().to_vec(), vec![b'c'; held]].concat();
        assert!(ends_like_a_zip(&with_comment(0, 0)));
        assert!(ends_like_a_zip(&with_comment(5, 5)) && ends_exactly_like_a_zip(&with_comment(5, 5)));
        assert!(ends_like_a_zip(&with_comment(5, 6)) && !ends_exactly_like_a_zip(&with_comment(5, 6)));
        assert!(!ends_like_a_zip(&with_comment(5, 4)));
        assert!(!ends_like_a_zip(&end));
        assert!(!ends_like_a_zip(b""));
    }

    #[test]
    fn three_signatures_start_a_zip() {
        assert_eq!(start_of_zip(b"PK\x03\x04more"), Some(0));
        assert_eq!(start_of_zip(b"PK\x05\x06"), Some(0));
        assert_eq!(start_of_zip(b"PK00PK\x03\x04"), Some(0));
        assert_eq!(start_of_zip(b"\n\n\nPK\x03\x04"), Some(3));
        assert_eq!(start_of_zip(&[&[b' '; LEAD_LEN][..], b"PK\x03\x04"].concat()), None);
        assert_eq!(start_of_zip(b"PK\x01\x02"), None);
        assert_eq!(start_of_zip(b"PK"), None);
    }

    #[test]
    fn the_end_of_a_zip_is_found_before_what_follows_it() {
        let directory = [&b"PK\x01\x02"[..], &[0; 42]].concat();
        let mut record = b"PK\x05\x06\0\0\0\0\x01\0\x01\0".to_vec();
        record.extend(46u32.to_le_bytes());
        record.extend([0; 4]);
        let zip = |comment: &[u8]| [&directory[..], &record, &(comment.len() as u16).to_le_bytes(), comment].concat();
        for follows in [0, 1, 100, 100_000, (1 << 20) - 30, 1 << 20, 3 << 20] {
            for comment in [&b""[..], b"comment"] {
                let whole = zip(comment);
                let file = [&whole[..], &vec![b'x'; follows]].concat();
                let found = end_of_zip(&mut io::Cursor::new(&file), file.len() as u64).unwrap();
                assert_eq!(found, Some(whole.len() as u64), "{follows}");
            }
        }
        assert_eq!(end_of_zip(&mut io::Cursor::new(&record), 22).unwrap(), None);
        assert_eq!(end_of_zip(&mut io::Cursor::new(b""), 0).unwrap(), None);
    }

    #[test]
    fn a_refusal_is_quoted_by_what_it_says() {
        let words = |body: &str| refusal_words(body.as_bytes(), "Forbidden");
        let s3 =
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
        assert_eq!(words(s3).as_deref(), Some("Request has expired"));
        assert_eq!(
            words(r#"{"error":{"code":7,"message":"export is\nbeing built"}}"#).as_deref(),
            Some("export is being built")
        );
        assert_eq!(words(r#"{"error": "quota"}"#).as_deref(), Some("quota"));
        assert_eq!(words("<html><title>Wartung</title>").as_deref(), Some("Wartung"));
        assert_eq!(words("no such\u{1b}[2J export `x`").as_deref(), Some("no such [2J export 'x'"));
        for nothing in ["", "  ", "<html><head><title>403 Forbidden</title></head>", "{}", "\u{1}\u{2}"] {
            assert_eq!(words(nothing), None, "{nothing}");
        }
        assert!(words(&"x".repeat(5000)).unwrap().chars().count() <= 81);
    }
}
