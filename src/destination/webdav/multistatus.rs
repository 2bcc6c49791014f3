//! Reads what a PROPFIND answers (RFC 4918 §13 and §14): which resources there are, and their properties.

use std::io::{self, BufRead, Read};

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

use crate::destination::DestinationError;
use crate::text::{MAX_LINE_CHARS, quote};

/// Deeper than any answer nests.
const DEEPEST: usize = 64;
/// Longer than any element with its attributes, and than any text that is asked for, bytes.
const LONGEST_EVENT: usize = 64 << 10;

/// One resource of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resource {
    /// Its path at the server, decoded, without a `/` at the end.
    pub path: String,
    /// The status of the resource as a whole, where the server gives one instead of properties.
    pub status: Option<u16>,
    pub is_collection: bool,
    /// Bytes.
    pub size: Option<u64>,
    pub modified: Option<DateTime<Utc>>,
    /// What this account may still write below it (RFC 4331), in bytes.
    pub available: Option<u64>,
}

/// The elements that mean something here; all of the namespace `DAV:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Multistatus,
    Response,
    Href,
    Propstat,
    Prop,
    Status,
    ResourceType,
    Collection,
    ContentLength,
    LastModified,
    QuotaAvailable,
    Other,
}

impl Element {
    fn of(name: &str) -> Self {
        match name {
            "multistatus" => Element::Multistatus,
            "response" => Element::Response,
            "href" => Element::Href,
            "propstat" => Element::Propstat,
            "prop" => Element::Prop,
            "status" => Element::Status,
            "resourcetype" => Element::ResourceType,
            "collection" => Element::Collection,
            "getcontentlength" => Element::ContentLength,
            "getlastmodified" => Element::LastModified,
            "quota-available-bytes" => Element::QuotaAvailable,
            _ => Element::Other,
        }
    }
}

/// Why an answer was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is not what was asked for.
    Malformed(String),
    /// A resource was refused.
    Refused(DestinationError),
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Unread::Malformed(why)
    }
}

/// Gives `each` every resource of an answer, in its order; an error unless it is complete. Little of it is held at a time.
///
/// # Errors
/// What is wrong with it, or what `each` says.
pub(super) fn read(
    xml: impl BufRead,
    each: &mut dyn FnMut(Resource) -> Result<(), DestinationError>,
) -> Result<(), Unread> {
    let mut reader = NsReader::from_reader(Limited { inner: xml, left: LONGEST_EVENT });
    reader.config_mut().expand_empty_elements = true;
    let mut parser = Parser::default();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        reader.get_mut().left = LONGEST_EVENT;
        let (namespace, event) = reader
            .read_resolved_event_into(&mut buffer)
            .map_err(|error| format!("it is no proper XML: {}", quote(&error.to_string(), MAX_LINE_CHARS)))?;
        match event {
            Event::Start(start) => {
                let name = start.local_name();
                let element = match namespace {
                    ResolveResult::Bound(Namespace("DAV:")) => Element::of(name.as_ref()),
                    _ => Element::Other,
                };
                parser.open(element)?;
            }
            Event::End(_) => {
                if let Some(resource) = parser.close()? {
                    each(resource).map_err(Unread::Refused)?;
                }
            }
            Event::Text(text) => parser.add(&text)?,
            Event::CData(text) => parser.add(&text)?,
            Event::GeneralRef(entity) => parser.add(character(&entity)?.encode_utf8(&mut [0; 4]))?,
            Event::Eof => return Ok(parser.finish()?),
            _ => {}
        }
    }
}

/// A reader that fails after so many bytes: the parser holds all of an element at once.
struct Limited<R> {
    inner: R,
    left: usize,
}

impl<R: BufRead> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Limited<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let held = self.inner.fill_buf()?;
        match self.left {
            0 if !held.is_empty() => Err(io::Error::other("one of its elements does not end")),
            left => Ok(&held[..held.len().min(left)]),
        }
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.inner.consume(count);
    }
}

fn character(entity: &quick_xml::events::BytesRef<'_>) -> Result<char, String> {
    let unknown = || "it is no proper XML: it holds an unknown entity".to_owned();
    if let Some(character) = entity.resolve_char_ref().map_err(|_| unknown())? {
        return Ok(character);
    }
    match &**entity {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(unknown()),
    }
}

#[derive(Default)]
struct Parser {
    stack: Vec<Element>,
    text: String,
    current: Resource,
    /// Of the `propstat` that is open: they count only if its status, which comes last, is a success.
    properties: Resource,
    properties_status: Option<u16>,
    complete: bool,
}

impl Parser {
    fn open(&mut self, element: Element) -> Result<(), String> {
        if self.stack.is_empty() && element != Element::Multistatus {
            return Err("it is no `multistatus` of WebDAV".to_owned());
        }
        if self.stack.len() >= DEEPEST {
            return Err("it nests too deep".to_owned());
        }
        match element {
            Element::Response => self.current = Resource::default(),
            Element::Propstat => (self.properties, self.properties_status) = (Resource::default(), None),
            _ => {}
        }
        self.text.clear();
        self.stack.push(element);
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        if self.text.len() + text.len() > LONGEST_EVENT {
            return Err("one of its texts does not end".to_owned());
        }
        self.text.push_str(text);
        Ok(())
    }

    /// Closes an element; gives the resource that is complete with it.
    fn close(&mut self) -> Result<Option<Resource>, String> {
        let Some(element) = self.stack.pop() else { return Ok(None) };
        let parent = self.stack.last().copied();
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        match (parent, element) {
            (None, _) => self.complete = true,
            (Some(Element::Response), Element::Href) => self.current.path = path(text),
            (Some(Element::Response), Element::Status) => self.current.status = status(text),
            (Some(Element::Propstat), Element::Status) => self.properties_status = status(text),
            (Some(Element::ResourceType), Element::Collection) => self.properties.is_collection = true,
            (Some(Element::Prop), Element::ContentLength) => self.properties.size = text.parse().ok(),
            (Some(Element::Prop), Element::LastModified) => {
                self.properties.modified = httpdate::parse_http_date(text).ok().map(DateTime::from);
            }
            // Negative numbers stand for "unlimited" or "unknown" at some servers.
            (Some(Element::Prop), Element::QuotaAvailable) => self.properties.available = text.parse().ok(),
            (_, Element::Propstat) => {
                let found = std::mem::take(&mut self.properties);
                if self.properties_status.is_none_or(|status| (200..300).contains(&status)) {
                    self.current.is_collection |= found.is_collection;
                    self.current.size = found.size.or(self.current.size);
                    self.current.modified = found.modified.or(self.current.modified);
                    self.current.available = found.available.or(self.current.available);
                }
            }
            (Some(Element::Multistatus), Element::Response) => {
                let resource = std::mem::take(&mut self.current);
                if resource.path.is_empty() {
                    return Err("it has an entry without a path".to_owned());
                }
                return Ok(Some(resource));
            }
            _ => {}
        }
        Ok(None)
    }

    fn finish(self) -> Result<(), String> {
        match self.complete && self.stack.is_empty() {
            true => Ok(()),
            false => Err("it ends before its end".to_owned()),
        }
    }
}

/// `HTTP/1.1 200 OK`
fn status(line: &str) -> Option<u16> {
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The path of an `href`, which is a path or a whole URL, without the `/` that collections end in; `/` for the root.
fn path(href: &str) -> String {
    let path = match href.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => href,
    };
    decoded(path)
}

/// A path as [`Resource::path`] has it. Some servers put two slashes where one belongs (UtrechtUniversity/davrods#19), or encode
/// them (civetweb/civetweb#729).
pub(super) fn decoded(path: &str) -> String {
    let mut decoded = percent_decode_str(path).decode_utf8_lossy().into_owned();
    let mut before = ' ';
    decoded.retain(|c| {
        let is_repeated = c == '/' && before == '/';
        before = c;
        !is_repeated
    });
    if decoded.len() > 1 && decoded.ends_with('/') {
        decoded.pop();
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of them.
    fn read(xml: &str) -> Result<Vec<Resource>, String> {
        let mut resources = Vec::new();
        let each = &mut |resource| {
            resources.push(resource);
            Ok(())
        };
        match super::read(xml.as_bytes(), each) {
            Ok(()) => Ok(resources),
            Err(Unread::Malformed(why)) => Err(why),
            Err(Unread::Refused(error)) => unreachable!("{error}"),
        }
    }

    const APACHE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
<D:response xmlns:lp1="DAV:" xmlns:g0="DAV:">
<D:href>/dav/d%c3%a9p%c3%b4t/</D:href>
<D:propstat><D:prop><lp1:resourcetype><D:collection/></lp1:resourcetype>
<lp1:getlastmodified>Fri, 20 Nov 2026 02:00:00 GMT</lp1:getlastmodified></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
<D:propstat><D:prop><g0:getcontentlength/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>
</D:response>
<D:response xmlns:lp1="DAV:"><D:href>/dav/d%c3%a9p%c3%b4t/a%20%26amp%3b%23.tgz</D:href>
<D:propstat><D:prop><lp1:resourcetype/><lp1:getcontentlength>17</lp1:getcontentlength></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
</D:multistatus>"#;

    #[test]
    fn an_answer_of_several_propstats_is_read() {
        let read = read(APACHE).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].path.as_str(), read[0].is_collection, read[0].size), ("/dav/dépôt", true, None));
        assert_eq!(read[0].modified.unwrap().to_rfc3339(), "2026-11-20T02:00:00+00:00");
        assert_eq!(
            (read[1].path.as_str(), read[1].is_collection, read[1].size),
            ("/dav/dépôt/a &amp;#.tgz", false, Some(17))
        );
    }

    #[test]
    fn any_prefix_means_the_same_and_other_namespaces_mean_nothing() {
        let read = read(
            r#"<multistatus xmlns="DAV:" xmlns:oc="http://owncloud.org/ns"><response><href>https://h:8443/x/%E9t&#233;&amp;&lt;/</href>
            <propstat><prop><oc:getcontentlength>9</oc:getcontentlength><quota-available-bytes>-3</quota-available-bytes>
            <resourcetype><oc:collection/></resourcetype></prop></propstat></response>
            <response><href><![CDATA[http://h]]></href><status>HTTP/1.1 403 Forbidden</status></response></multistatus>"#,
        )
        .unwrap();
        assert_eq!(read[0], Resource { path: "/x/\u{fffd}té&<".to_owned(), ..Resource::default() });
        assert_eq!(read[1], Resource { path: "/".to_owned(), status: Some(403), ..Resource::default() });
    }

    #[test]
    fn the_quota_is_read() {
        let read = read(
            r#"<d:multistatus xmlns:d="DAV:"><d:response><d:href>/</d:href><d:propstat><d:prop>
            <d:quota-available-bytes>123456789012</d:quota-available-bytes></d:prop><d:status>HTTP/1.1 200 OK</d:status>
            </d:propstat></d:response></d:multistatus>"#,
        )
        .unwrap();
        assert_eq!(read[0].available, Some(123_456_789_012));
    }

    #[test]
    fn what_is_cut_or_something_else_is_an_error() {
        for end in [1, 200, APACHE.len() - 20, APACHE.len() - 3] {
            assert!(read(&APACHE[..end]).is_err(), "cut at {end}");
        }
        for other in ["", "<html><body>Log in</body></html>", "<multistatus/>", "<!DOCTYPE html><p>x</p>", "plain"] {
            assert!(read(other).is_err(), "{other}");
        }
        let entity = r#"<d:multistatus xmlns:d="DAV:"><d:response><d:href>/&x;</d:href></d:response></d:multistatus>"#;
        assert!(read(entity).is_err());
        let nameless = r#"<d:multistatus xmlns:d="DAV:"><d:response/></d:multistatus>"#;
        assert!(read(nameless).is_err());
        let deep = format!("<d:multistatus xmlns:d=\"DAV:\">{}", "<d:x>".repeat(100));
        assert_eq!(read(&deep).unwrap_err(), "it nests too deep");
    }

    #[test]
    fn an_element_or_a_text_without_end_is_given_up() {
        let long = "x".repeat(LONGEST_EVENT + 1);
        let within = |inner: &str| format!("<d:multistatus xmlns:d=\"DAV:\">{inner}</d:multistatus>");
        for endless in [
            format!("<d:response><d:href>/{long}</d:href></d:response>"),
            format!("<d:response><d:href>/{}</d:href></d:response>", "&amp;".repeat(LONGEST_EVENT + 1)),
            format!("<d:response><d:href a=\"{long}\">/x</d:href></d:response>"),
            format!("<!-- {long} -->"),
            format!("<d:{long}/>"),
        ] {
            let why = read(&within(&endless)).unwrap_err();
            assert!(why.contains("does not end"), "{why}");
        }
    }
}
