//! What S3 answers in XML, and the one body that it is sent.

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use crate::text::{MAX_LINE_CHARS, MAX_NAME_CHARS, quote};

/// Deeper than any answer of S3.
const MAX_DEPTH: usize = 32;
/// More than a page of a thousand objects has: an element takes much more memory than its text does.
const MAX_ELEMENTS: usize = 50_000;

/// An element: its name without namespace, its own text, what is in it.
#[derive(Debug, Default)]
struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The root of a document.
    fn parse(document: &str) -> Result<Element, String> {
        let mut reader = Reader::from_str(document);
        reader.config_mut().expand_empty_elements = true;
        let mut open: Vec<Element> = vec![Element::default()];
        let mut left = MAX_ELEMENTS;
        loop {
            let event = reader.read_event().map_err(|error| quote(&error.to_string(), MAX_LINE_CHARS))?;
            let text = match event {
                Event::Start(start) => {
                    if open.len() > MAX_DEPTH {
                        return Err("too deep".to_owned());
                    }
                    left = left.checked_sub(1).ok_or("too many elements")?;
                    let name = start.local_name().into_inner().to_owned();
                    open.push(Element { name, ..Element::default() });
                    continue;
                }
                Event::End(_) => {
                    let closed = open.pop().ok_or("closed twice")?;
                    open.last_mut().ok_or("closed twice")?.children.push(closed);
                    continue;
                }
                Event::Eof => break,
                Event::Text(text) => text.xml10_content().into_owned(),
                Event::CData(text) => text.xml10_content().into_owned(),
                Event::GeneralRef(entity) => match entity.resolve_char_ref().map_err(|error| error.to_string())? {
                    Some(character) => character.to_string(),
                    None => resolve_predefined_entity(&entity)
                        .ok_or_else(|| format!("unknown entity `{}`", quote(&entity, MAX_NAME_CHARS)))?
                        .to_owned(),
                },
                _ => continue,
            };
            open.last_mut().ok_or("text outside")?.text.push_str(&text);
        }
        if open.len() != 1 {
            return Err("it ends too early".to_owned());
        }
        open.pop().and_then(|mut document| document.children.pop()).ok_or_else(|| "it is empty".to_owned())
    }

    fn all<'e>(&'e self, name: &str) -> impl Iterator<Item = &'e Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next().map(|child| child.text.trim()).filter(|text| !text.is_empty())
    }

    fn required(&self, name: &str) -> Result<&str, String> {
        self.text(name).ok_or_else(|| format!("`{name}` is missing in `{}`", quote(&self.name, MAX_NAME_CHARS)))
    }

    /// A key, whose blanks count.
    fn key(&self, name: &str, url_encoded: bool) -> Result<String, String> {
        let text = self.all(name).next().map(|child| child.text.as_str()).unwrap_or_default();
        if text.is_empty() {
            return Err(format!("`{name}` is missing in `{}`", quote(&self.name, MAX_NAME_CHARS)));
        }
        if !url_encoded {
            return Ok(text.to_owned());
        }
        let decoded = text.replace('+', " ");
        let decoded = percent_decode_str(&decoded)
            .decode_utf8()
            .map_err(|_| format!("`{}` is no UTF-8", quote(text, MAX_NAME_CHARS)))?;
        Ok(decoded.into_owned())
    }
}

/// An error in the server's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// `NoSuchBucket`
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// Of `PermanentRedirect` and `AuthorizationHeaderMalformed`: the region that the bucket is in.
    pub(super) region: Option<String>,
    /// Of `PermanentRedirect`: the host to ask.
    pub(super) endpoint: Option<String>,
}

/// The error in a body, if it is one.
pub(super) fn error(body: &str) -> Option<Words> {
    let root = Element::parse(body).ok().filter(|root| root.name == "Error")?;
    let text = |name| root.text(name).map(str::to_owned);
    Some(Words {
        code: text("Code")?,
        message: text("Message").unwrap_or_default(),
        region: text("Region"),
        endpoint: text("Endpoint"),
    })
}

/// One object of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) modified: Option<DateTime<Utc>>,
}

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// As the server put it.
    Token(String),
    /// After this key, where the server forgets to say (restic/restic#3083: Ceph, DigitalOcean, Huawei).
    After(String),
}

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<Object>,
    /// What the keys below a further `/` have in common, that `/` included.
    pub(super) prefixes: Vec<String>,
    /// Asks for the next page, if this is not the last one.
    pub(super) next: Option<Next>,
    /// How long it was.
    pub(super) bytes: usize,
}

/// An answer to ListObjectsV2.
pub(super) fn page(body: &str) -> Result<Page, String> {
    let root = root(body, "ListBucketResult")?;
    let url_encoded = root.text("EncodingType") == Some("url");
    let mut page = Page { bytes: body.len(), ..Page::default() };
    for object in root.all("Contents") {
        let size = object.required("Size")?;
        page.objects.push(Object {
            key: object.key("Key", url_encoded)?,
            size: size.parse().map_err(|_| format!("`{}` is no size", quote(size, MAX_NAME_CHARS)))?,
            modified: object.text("LastModified").and_then(time),
        });
    }
    for prefix in root.all("CommonPrefixes") {
        page.prefixes.push(prefix.key("Prefix", url_encoded)?);
    }
    if root.required("IsTruncated")? == "true" {
        let token = root.text("NextContinuationToken").map(|token| Next::Token(token.to_owned()));
        let last = page.objects.iter().map(|object| &object.key).chain(&page.prefixes).max();
        let next = token.or_else(|| last.cloned().map(Next::After));
        page.next = Some(next.ok_or("it is not the last page, and does not say what comes next")?);
    }
    Ok(page)
}

/// Whole seconds, as headers have them: a listing must not differ from a HEAD.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    DateTime::from_timestamp(time.timestamp(), 0)
}

/// The id in an answer to CreateMultipartUpload.
pub(super) fn upload_id(body: &str) -> Result<String, String> {
    Ok(root(body, "InitiateMultipartUploadResult")?.required("UploadId")?.to_owned())
}

/// The ids of the uploads of exactly this key, in an answer to ListMultipartUploads.
pub(super) fn uploads_of(body: &str, key: &str) -> Result<Vec<String>, String> {
    let root = root(body, "ListMultipartUploadsResult")?;
    let url_encoded = root.text("EncodingType") == Some("url");
    let mut ids = Vec::new();
    for upload in root.all("Upload") {
        if upload.key("Key", url_encoded)? == key {
            ids.push(upload.required("UploadId")?.to_owned());
        }
    }
    Ok(ids)
}

/// An answer to CompleteMultipartUpload: it may be an error although its status is 200, as the server sends the status
/// before it is done. Amazon's is a `CompleteMultipartUploadResult`, that of others a `…Response`.
pub(super) fn completed(body: &str) -> Result<(), String> {
    let root = Element::parse(body)?;
    match root.name.starts_with("CompleteMultipartUpload") {
        true => Ok(()),
        false => Err(format!("it is a `{}`", quote(&root.name, MAX_NAME_CHARS))),
    }
}

fn root(body: &str, name: &str) -> Result<Element, String> {
    let root = Element::parse(body)?;
    match root.name == name {
        true => Ok(root),
        false => Err(format!("it is a `{}`, not a `{name}`", quote(&root.name, MAX_NAME_CHARS))),
    }
}

/// A part that was sent.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// As the server gave it.
    pub(super) etag: String,
    /// In base64, if the server was asked to check it.
    pub(super) sha256: Option<String>,
}

/// The body of CompleteMultipartUpload.
pub(super) fn complete(parts: &[Part]) -> String {
    let mut body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for (index, part) in parts.iter().enumerate() {
        let etag = quick_xml::escape::escape(&part.etag);
        let sha256 = match &part.sha256 {
            Some(sha256) => format!("<ChecksumSHA256>{sha256}</ChecksumSHA256>"),
            None => String::new(),
        };
        body.push_str(&format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag>{sha256}</Part>", index + 1));
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_keys_as_they_are_sizes_and_the_way_on() {
        let body = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Name>b</Name><Prefix>a/</Prefix><KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>
              <IsTruncated>true</IsTruncated><NextContinuationToken>1ueG&amp;/=</NextContinuationToken>
              <Contents><Key>a/%C3%A9t%C3%A9+%2B%2520.tgz</Key><LastModified>2026-11-20T03:04:05.678Z</LastModified><Size>7</Size></Contents>
              <CommonPrefixes><Prefix>a/lost%2Bfound/</Prefix></CommonPrefixes>
            </ListBucketResult>"#;
        let modified = DateTime::from_timestamp(1_795_143_845, 0);
        assert_eq!(
            page(body).unwrap(),
            Page {
                objects: vec![Object { key: "a/été +%20.tgz".to_owned(), size: 7, modified }],
                prefixes: vec!["a/lost+found/".to_owned()],
                next: Some(Next::Token("1ueG&/=".to_owned())),
                bytes: body.len(),
            }
        );
        let plain = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key> a+b%20&#233; </Key><Size>0</Size></Contents></ListBucketResult>";
        let page = page(plain).unwrap();
        assert_eq!((page.objects[0].key.as_str(), page.next), (" a+b%20é ", None));
    }

    #[test]
    fn a_page_that_does_not_say_what_comes_next_goes_on_after_its_last_key() {
        let body = "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key><Size>1</Size></Contents><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes></ListBucketResult>";
        assert_eq!(page(body).unwrap().next, Some(Next::After("b/".to_owned())));
    }

    #[test]
    fn a_listing_that_may_be_incomplete_is_an_error() {
        for body in [
            "",
            "<html><body>It works!</body></html>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<ListBucketResult></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents>",
        ] {
            assert!(page(body).is_err(), "{body}");
        }
        let deep = format!("{}{}", "<a>".repeat(1000), "</a>".repeat(1000));
        assert!(page(&deep).is_err());
        let many =
            format!("<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>", "<a/>".repeat(50_000));
        assert!(page(&many).unwrap_err().contains("too many elements"));
    }

    #[test]
    fn an_error_is_told_from_everything_else() {
        let body = "<?xml version=\"1.0\"?><Error><Code>PermanentRedirect</Code><Message>Use &lt;that&gt;</Message><Endpoint>b.s3.eu-west-3.amazonaws.com</Endpoint></Error>";
        assert_eq!(
            error(body).unwrap(),
            Words {
                code: "PermanentRedirect".to_owned(),
                message: "Use <that>".to_owned(),
                region: None,
                endpoint: Some("b.s3.eu-west-3.amazonaws.com".to_owned()),
            }
        );
        assert_eq!(error("<html/>"), None);
        assert_eq!(error("502 Bad Gateway"), None);
        assert!(completed("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>").is_ok());
        assert!(completed("<CompleteMultipartUploadResponse/>").is_ok());
        assert!(completed(body).is_err());
        assert!(completed(" ").is_err());
    }

    #[test]
    fn only_uploads_of_the_very_key_are_ours() {
        let body = "<ListMultipartUploadsResult><EncodingType>url</EncodingType><Upload><Key>a/x.tgz</Key><UploadId>1</UploadId></Upload><Upload><Key>a/x.tgz.sha256</Key><UploadId>2</UploadId></Upload><Upload><Key>a%2Fx.tgz</Key><UploadId>3</UploadId></Upload></ListMultipartUploadsResult>";
        assert_eq!(uploads_of(body, "a/x.tgz").unwrap(), ["1", "3"]);
        assert_eq!(
            upload_id("<InitiateMultipartUploadResult><UploadId>x</UploadId></InitiateMultipartUploadResult>").unwrap(),
            "x"
        );
    }

    #[test]
    fn parts_are_numbered_from_one() {
        let parts = [
            Part { etag: "\"a\"".to_owned(), sha256: Some("x=".to_owned()) },
            Part { etag: "b<".to_owned(), sha256: None },
        ];
        assert_eq!(
            complete(&parts),
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag><ChecksumSHA256>x=</ChecksumSHA256></Part><Part><PartNumber>2</PartNumber><ETag>b&lt;</ETag></Part></CompleteMultipartUpload>"
        );
    }
}
