//! A mail as a reader sees it: subject, text and attachments, decoded (RFC 2045, 2047). Reads what our own program writes,
//! not everything the world sends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One mail.
#[derive(Debug, Default)]
pub struct Mail {
    /// `Subject`
    pub subject: String,
    /// `To`
    pub to: String,
    /// The plain text.
    pub text: String,
    /// Name and size in bytes of each attachment.
    pub attachments: Vec<(String, usize)>,
}

impl Mail {
    /// Decodes a message.
    pub fn read(message: &[u8]) -> Self {
        let message = String::from_utf8_lossy(message).replace("\r\n", "\n");
        let (head, _) = split(&message);
        let mut mail =
            Mail { subject: words(&value(head, "subject")), to: words(&value(head, "to")), ..Mail::default() };
        mail.add(&message);
        mail
    }

    /// Adds a part, and what is in it.
    fn add(&mut self, part: &str) {
        let (head, body) = split(part);
        let kind = value(head, "content-type");
        if let Some(boundary) = parameter(&kind, "boundary") {
            let line = format!("--{boundary}");
            let pieces = body.split(line.as_str()).skip(1).take_while(|piece| !piece.starts_with("--"));
            pieces.for_each(|piece| self.add(piece.trim_start_matches('\n')));
            return;
        }
        let bytes = decoded(body, &value(head, "content-transfer-encoding"));
        let disposition = value(head, "content-disposition");
        if disposition.starts_with("attachment") {
            self.attachments.push((parameter(&disposition, "filename").unwrap_or_default(), bytes.len()));
        } else if kind.is_empty() || kind.starts_with("text/plain") {
            self.text.push_str(&String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        }
    }
}

/// Head and body.
fn split(part: &str) -> (&str, &str) {
    part.split_once("\n\n").unwrap_or((part, ""))
}

/// The value of a header, unfolded; empty if there is none.
fn value(head: &str, name: &str) -> String {
    let unfolded = head.replace("\n ", " ").replace("\n\t", " ");
    let mut fields = unfolded.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// `name="value"` or `name=value` within a header's value.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut parts = value.split(';').filter_map(|part| part.trim().split_once('='));
    parts.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_matches('"').to_owned())
}

fn decoded(body: &str, encoding: &str) -> Vec<u8> {
    match encoding.to_ascii_lowercase().as_str() {
        "base64" => {
            let letters: String = body.split_whitespace().collect();
            STANDARD.decode(letters).unwrap_or_else(|error| format!("(not base64: {error})").into_bytes())
        }
        "quoted-printable" => quoted_printable(&body.replace("=\n", "")),
        _ => body.as_bytes().to_vec(),
    }
}

/// `=C3=A9`; whatever is no code stays as it is.
fn quoted_printable(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        bytes.extend_from_slice(before.as_bytes());
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(b'='));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// A header's text with its encoded words (`=?utf-8?b?…?=`) decoded; white space between two of them does not count.
fn words(value: &str) -> String {
    let mut text = String::new();
    let mut after_word = false;
    for piece in value.split_inclusive(' ') {
        let word = piece.trim_end().strip_prefix("=?").and_then(|word| word.strip_suffix("?="));
        let parts: Vec<&str> = word.map(|word| word.splitn(3, '?').collect()).unwrap_or_default();
        match parts[..] {
            [_, encoding, code] => {
                if after_word {
                    text.truncate(text.trim_end().len());
                }
                let bytes = match encoding {
                    "b" | "B" => decoded(code, "base64"),
                    _ => quoted_printable(&code.replace('_', " ")),
                };
                text.push_str(&String::from_utf8_lossy(&bytes));
                text.push_str(&piece[piece.trim_end().len()..]);
            }
            _ => text.push_str(piece),
        }
        after_word = parts.len() == 3;
    }
    text
}
