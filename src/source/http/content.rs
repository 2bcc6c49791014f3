//! Tells from its first and last bytes whether what arrives is a zip, and what else it might be.

use super::super::{SourceError, SourceErrorKind};
use crate::text;
use crate::text::Text;

/// How many bytes tell whether it is a zip.
pub(super) const MAGIC_LEN: usize = 4;
/// How much of a page is read in order to quote it.
pub(super) const PAGE_LEN: usize = 16 * 1024;
/// End of central directory record (22 bytes) with the longest comment (APPNOTE 4.3.16).
pub(super) const END_LEN: u64 = 22 + 65_535;

/// Whether a file that starts like this may be a zip: a local header, the end record of an empty one, or the mark of a
/// spanned one (APPNOTE 4.3.7, 4.3.16, 8.5.3).
pub(super) fn starts_like_a_zip(head: &[u8]) -> bool {
    [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"].iter().any(|magic| head.starts_with(&magic[..]))
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

/// White space made single, control characters dropped, at most 80 characters.
fn squeezed(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.take(40).collect::<Vec<_>>().join(" ").replace('`', "'");
    let cut: String = line.chars().take(80).collect();
    if cut.len() < line.len() { format!("{cut}…") } else { cut }
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
        assert!(starts_like_a_zip(b"PK\x03\x04more"));
        assert!(starts_like_a_zip(b"PK\x05\x06"));
        assert!(!starts_like_a_zip(b"PK\x01\x02"));
        assert!(!starts_like_a_zip(b"PK"));
    }
}
