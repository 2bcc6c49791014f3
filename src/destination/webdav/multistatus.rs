//! Reads what a PROPFIND answers (RFC 4918 §13 and §14): which resources there are, and their properties.

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

/// Deeper than any answer nests.
const DEEPEST: usize = 64;

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

/// All resources of an answer, in its order; an error unless it is complete.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(xml: &str) -> Result<Vec<Resource>, String> {
    let mut reader = NsReader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut parser = Parser::default();
    loop {
        let (namespace, event) =
            reader.read_resolved_event().map_err(|error| format!("it is no proper XML: {error}"))?;
        match event {
            Event::Start(start) => {
                let name = start.local_name();
                let element = match namespace {
                    ResolveResult::Bound(Namespace("DAV:")) => Element::of(name.as_ref()),
                    _ => Element::Other,
                };
                parser.open(element)?;
            }
            Event::End(_) => parser.close()?,
            Event::Text(text) => parser.text.push_str(&text),
            Event::CData(text) => parser.text.push_str(&text),
            Event::GeneralRef(entity) => parser.text.push(character(&entity)?),
            Event::Eof => return parser.finish(),
            _ => {}
        }
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
    resources: Vec<Resource>,
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

    fn close(&mut self) -> Result<(), String> {
        let Some(element) = self.stack.pop() else { return Ok(()) };
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
                self.resources.push(resource);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Resource>, String> {
        match self.complete && self.stack.is_empty() {
            true => Ok(self.resources),
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

/// A path as [`Resource::path`] has it.
pub(super) fn decoded(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    match decoded.trim_end_matches('/') {
        "" if decoded.is_empty() => String::new(),
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
