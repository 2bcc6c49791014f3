//! Answers that no server of the suite gives.

use std::io::Cursor;
use std::time::Duration;

use super::*;
use crate::config::secret::Secret;
use crate::config::settings::{HttpScheme, WebdavLogin};
use crate::error::Hinted as _;
use crate::http::responder::{Reply, Responder, reply};

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"r\", nonce=\"NONCE\", qop=\"auth\"";

/// The resources of a directory `/d/` and of files in it, with their sizes.
fn listing(paths: &[(&str, Option<u64>)]) -> Reply {
    let mut xml = "<d:multistatus xmlns:d=\"DAV:\">".to_owned();
    for (path, size) in paths {
        let properties = match size {
            Some(size) => format!("<d:resourcetype/><d:getcontentlength>{size}</d:getcontentlength>"),
            None => "<d:resourcetype><d:collection/></d:resourcetype>".to_owned(),
        };
        xml.push_str(&format!(
            "<d:response><d:href>{path}</d:href><d:propstat><d:prop>{properties}</d:prop>\
             <d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        ));
    }
    xml.push_str("</d:multistatus>");
    reply("207 Multi-Status", &[&format!("Content-Length: {}", xml.len())], xml.as_bytes())
}

fn directory() -> Reply {
    listing(&[("/d/", None)])
}

fn status(line: &str) -> Reply {
    reply(line, &["Content-Length: 0"], b"")
}

/// No answer at all.
fn lost() -> Reply {
    let whole = "HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    status("201 Created").short_by(whole.len())
}

fn cause(error: &DestinationError) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

fn challenge(nonce: &str) -> Reply {
    reply("401 Unauthorized", &["Content-Length: 0", &CHALLENGE.replace("NONCE", nonce)], b"")
}

fn open(server: &Responder) -> Result<WebdavDestination, DestinationError> {
    let login =
        WebdavLogin::Password { username: "me".to_owned(), password: Secret::new("geheim"), scheme: HttpScheme::Auto };
    let settings = WebdavSettings { url: server.url("/d/"), login, ca_file: None };
    let (connect, stall) = (Duration::from_secs(20), Duration::from_secs(2));
    WebdavDestination::open(&settings, Timeouts { connect, stall }, &Interrupt::default())
}

/// Method, path and a header's value of each request.
fn asked(server: &Responder, header: &str) -> Vec<String> {
    let short = |request: &String| {
        let line = request.lines().next().unwrap_or_default();
        let value = request.lines().find_map(|line| line.strip_prefix(header)).unwrap_or_default();
        format!("{} {}", line.trim_end_matches(" http/1.1"), value.trim()).trim().to_owned()
    };
    server.asked().iter().map(short).collect()
}

#[test]
fn a_challenge_that_became_stale_costs_no_upload() {
    let server = Responder::start(vec![
        challenge("n1"),
        directory(),
        // The look before the upload finds it stale.
        challenge("n2"),
        status("404 Not Found"),
        // And so does the upload itself: it is refused at once, and sent again.
        challenge("n3").then_silence(),
        status("201 Created").then_silence(),
        listing(&[("/d/x", Some(9_000_000))]),
    ]);
    let mut webdav = open(&server).unwrap();
    let result = webdav.put("x", &mut Cursor::new(vec![7; 9_000_000]), 0);
    // The scripted server answers before it has read the body: then this is no success.
    assert_eq!(result.unwrap_err().kind, ErrorKind::Other);
    let nonces: Vec<String> = server
        .asked()
        .iter()
        .map(|request| request.split("nonce=\"").nth(1).map_or("", |rest| &rest[..2]).to_owned())
        .collect();
    assert_eq!(nonces, ["", "n1", "n1", "n2", "n2", "n3"]);
}

#[test]
fn a_server_behind_a_gateway_is_told_the_path_alone() {
    let there = || listing(&[("/d/a", Some(1))]);
    let missing = || status("404 Not Found");
    // mod_dav, nginx and Sabre, told `https` by the client and spoken to by `http`.
    for foreign in ["502 Bad Gateway", "400 Bad Request", "403 Forbidden"] {
        let server = Responder::start(vec![
            directory(),
            missing(),
            status(foreign),
            there(),
            missing(),
            status("201 Created"),
            // Known from then on.
            missing(),
            status("201 Created"),
        ]);
        let mut webdav = open(&server).unwrap();
        webdav.move_new("a", "b").unwrap();
        webdav.move_new("c", "d").unwrap();
        let moves: Vec<String> =
            asked(&server, "destination:").into_iter().filter(|request| request.starts_with("move")).collect();
        let whole = format!("move /d/a {}", server.url("/d/b"));
        assert_eq!(moves, [whole.as_str(), "move /d/a /d/b", "move /d/c /d/d"]);
    }
}

#[test]
fn a_move_that_is_forbidden_stays_forbidden() {
    let server = Responder::start(vec![
        directory(),
        status("404 Not Found"),
        status("403 Forbidden"),
        listing(&[("/d/a", Some(1))]),
        status("404 Not Found"),
        status("403 Forbidden"),
    ]);
    assert_eq!(open(&server).unwrap().move_new("a", "b").unwrap_err().kind, ErrorKind::PermissionDenied);
}

#[test]
fn an_upload_whose_answer_was_lost_is_looked_for_before_it_is_sent_again() {
    let there = |size| listing(&[("/d/x", Some(size))]);
    let missing = || status("404 Not Found");
    let gone = || status("504 Gateway Timeout");
    for (script, arrived) in [
        // The gateway gave up, and the server has it, at once or a moment later.
        (vec![missing(), gone(), there(7)], true),
        (vec![missing(), gone(), missing(), there(3), there(7)], true),
        (vec![there(5), gone(), there(7)], true),
        (vec![missing(), status("524 A Timeout Occurred"), there(7)], true),
        (vec![missing(), lost(), there(7)], true),
        // It never comes, or nothing tells that it is ours.
        (vec![missing(), lost(), missing()], false),
        (vec![there(7), lost(), there(7)], false),
        (vec![missing(), gone(), status("500 Internal Server Error")], false),
        // An earlier attempt may have come to its end meanwhile: that is the file, too.
        (vec![missing(), status("423 Locked"), there(7)], true),
        (vec![missing(), status("423 Locked"), missing()], false),
    ] {
        let server = Responder::start([vec![directory()], script].concat());
        let result = open(&server).unwrap().put("x", &mut Cursor::new(b"content"), 0);
        assert_eq!(result.is_ok(), arrived, "{:?}", server.asked());
        assert!(result.err().is_none_or(|error| error.is_transient()));
        assert_eq!(asked(&server, "-").iter().filter(|request| request.starts_with("put")).count(), 1);
    }
}

#[test]
fn a_server_that_says_when_to_come_back_is_heard() {
    for (line, expected) in
        [("429 Too Many Requests", Some(120)), ("503 Service Unavailable", Some(120)), ("403 Forbidden", None)]
    {
        let busy = reply(line, &["Content-Length: 0", "Retry-After: 120"], b"");
        let error = open(&Responder::start(vec![busy])).err().unwrap();
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), expected, "{line}");
        assert_eq!(error.is_transient(), expected.is_some());
    }
}

#[test]
fn a_password_is_not_given_to_whoever_asks_over_plain_http() {
    let basic = reply("401 Unauthorized", &["Content-Length: 0", "WWW-Authenticate: Basic realm=\"r\""], b"");
    let server = Responder::start(vec![basic]);
    let error = open(&server).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(cause(&error).contains("the connection is not encrypted"), "{}", cause(&error));
    assert!(error.hint().unwrap().en.contains("`auth = \"basic\"`"));
    assert!(server.asked().iter().all(|request| !request.contains("authorization")), "{:?}", server.asked());
}

#[test]
fn a_file_that_is_listed_and_not_given_out_is_told_apart() {
    let listed = listing(&[("/d/.x.part", Some(7))]);
    let server = Responder::start(vec![directory(), status("404 Not Found"), listed]);
    let error = open(&server).unwrap().get(".x.part", 0, &mut |_| Ok(())).unwrap_err();
    assert!(error.kind == ErrorKind::Other && error.hint().unwrap().en.contains("MIME type"), "{}", cause(&error));
    let server = Responder::start(vec![directory(), status("404 Not Found"), status("404 Not Found")]);
    assert_eq!(open(&server).unwrap().get("x", 0, &mut |_| Ok(())).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn a_file_without_end_is_read_no_further_than_it_is_long() {
    // Neither a length nor chunks: it ends with the connection.
    let server =
        Responder::start(vec![directory(), reply("200 OK", &[], &[7; 100_000]), listing(&[("/d/x", Some(100))])]);
    let mut held = 0;
    let error = open(&server).unwrap().get("x", 0, &mut |bytes| {
        held += bytes.len();
        Ok(())
    });
    let error = error.unwrap_err();
    assert!(error.kind == ErrorKind::Other && cause(&error).contains("more than the 100 bytes"), "{}", cause(&error));
    assert!(held <= 100);
}

#[test]
fn a_move_that_a_gateway_gave_up_is_waited_for() {
    let (missing, there) = (|| status("404 Not Found"), |name| listing(&[(name, Some(1))]));
    for (looks, moved) in [
        (vec![there("/d/a"), missing(), there("/d/b")], true),
        (vec![missing(), missing(), missing(), there("/d/b")], true),
        (vec![there("/d/a"), status("500 Internal Server Error")], false),
    ] {
        let script = vec![directory(), missing(), status("504 Gateway Timeout")];
        let server = Responder::start([script, looks].concat());
        let result = open(&server).unwrap().move_new("a", "b");
        assert_eq!(result.is_ok(), moved, "{:?}", asked(&server, "-"));
        assert_eq!(asked(&server, "-").iter().filter(|request| request.starts_with("move")).count(), 1);
    }
}

#[test]
fn paths_with_slashes_too_many_or_encoded_are_understood() {
    for path in ["/d//x", "//d//x", "%2fd%2fx", "/d/x", "http://another//d/x"] {
        let server = Responder::start(vec![directory(), listing(&[("//d/", None), (path, Some(1))])]);
        let names: Vec<String> = open(&server).unwrap().list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["x"], "{path}");
    }
    // Deeper than was asked for.
    let server =
        Responder::start(vec![directory(), listing(&[("/d/", None), ("/d/sub/", None), ("/d/sub/x", Some(1))])]);
    let names: Vec<String> = open(&server).unwrap().list().unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["sub"]);
}

#[test]
fn a_listing_without_end_is_given_up() {
    let mut xml = "<d:multistatus xmlns:d=\"DAV:\"><d:response><d:href>/d/</d:href></d:response>".to_owned();
    let entry = format!("<d:response><d:href>/d/{}</d:href></d:response>", "x".repeat(5000));
    xml.push_str(&entry);
    let server = Responder::start(vec![directory(), reply("207 Multi-Status", &[], xml.as_bytes())]);
    let error = open(&server).unwrap().list().unwrap_err();
    assert!(cause(&error).contains("given up: it holds a name of 5000 bytes"), "{}", cause(&error));
    assert!(error.hint().unwrap().en.contains("directory of their own"));
}

#[test]
fn what_a_server_says_is_quoted_short_and_harmless() {
    let page = format!("<p>\x1b[2J\u{202e}{}</p>", "x".repeat(9000));
    let length = format!("Content-Length: {}", page.len());
    let server = Responder::start(vec![reply("500 Internal Server Error", &[&length], page.as_bytes())]);
    let told = cause(&open(&server).err().unwrap());
    assert!(told.len() < 500 && !told.chars().any(crate::text::is_unsafe), "{told:?}");
}

#[test]
fn a_gateway_that_lost_the_answer_to_a_move_is_no_reason_to_repeat_it() {
    let server = Responder::start(vec![
        directory(),
        status("404 Not Found"),
        status("502 Bad Gateway"),
        // It was done.
        status("404 Not Found"),
    ]);
    let mut webdav = open(&server).unwrap();
    assert_eq!(webdav.move_new("a", "b").unwrap_err().kind, ErrorKind::Unreachable);
    assert_eq!(server.asked().iter().filter(|request| request.starts_with("move")).count(), 1);
}

#[test]
fn a_name_that_is_taken_is_never_asked_to_be_overwritten() {
    let server = Responder::start(vec![directory(), listing(&[("/d/b", Some(1))])]);
    assert_eq!(open(&server).unwrap().move_new("a", "b").unwrap_err().kind, ErrorKind::AlreadyExists);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_directory_is_never_deleted() {
    let server = Responder::start(vec![directory(), listing(&[("/d/x/", None)])]);
    assert_eq!(open(&server).unwrap().remove("x").unwrap_err().kind, ErrorKind::Other);
    // Asked for without its slash, it is redirected to by some.
    let location = reply("301 Moved Permanently", &["Content-Length: 0", "Location: /d/x/"], b"");
    let server = Responder::start(vec![directory(), location]);
    assert_eq!(open(&server).unwrap().remove("x").unwrap_err().kind, ErrorKind::Other);
    assert!(!server.asked().iter().any(|request| request.starts_with("delete")));
}

#[test]
fn a_server_that_ignores_ranges_sends_no_byte_twice() {
    let whole = || reply("200 OK", &["Content-Length: 10"], b"0123456789");
    let part = |first: u64| {
        let range = format!("Content-Range: bytes {first}-9/10");
        reply("206 Partial Content", &["Content-Length: 3", &range], b"789")
    };
    for (answer, expected) in [(whole(), Some("789")), (part(7), Some("789")), (part(6), None)] {
        let server = Responder::start(vec![directory(), answer]);
        let mut held = Vec::new();
        let result = open(&server).unwrap().get("x", 7, &mut |bytes| {
            held.extend_from_slice(bytes);
            Ok(())
        });
        assert_eq!(result.is_ok(), expected.is_some());
        assert_eq!(held, expected.unwrap_or_default().as_bytes());
        assert_eq!(asked(&server, "range:")[1], "get /d/x bytes=7-");
    }
}

#[test]
fn a_listing_that_may_be_incomplete_is_an_error() {
    let foreign = [("/d/", None), ("/elsewhere/x", Some(1))];
    let without_itself = [("/other/", None), ("/other/x", Some(1))];
    for (paths, words) in
        [(&foreign[..], "which is not in `/d`"), (&without_itself[..], "does a gateway change the paths")]
    {
        let server = Responder::start(vec![directory(), listing(paths)]);
        let error = open(&server).unwrap().list().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.kind == ErrorKind::Other && cause.contains(words), "{cause}");
    }
    let server = Responder::start(vec![directory(), listing(&[("/d/", None), ("/d/x", Some(1))]).short_by(30)]);
    assert!(open(&server).unwrap().list().is_err());
    let forbidden = "<d:multistatus xmlns:d=\"DAV:\"><d:response><d:href>/d/</d:href></d:response>\
         <d:response><d:href>/d/x</d:href><d:status>HTTP/1.1 403 Forbidden</d:status></d:response></d:multistatus>";
    let length = format!("Content-Length: {}", forbidden.len());
    let server = Responder::start(vec![directory(), reply("207 Multi-Status", &[&length], forbidden.as_bytes())]);
    let error = open(&server).unwrap().list().unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("not complete"));
}

#[test]
fn a_server_that_tells_its_quota_tells_the_free_space() {
    let xml = "<d:multistatus xmlns:d=\"DAV:\"><d:response><d:href>/d/</d:href><d:propstat><d:prop>\
         <d:resourcetype><d:collection/></d:resourcetype><d:quota-available-bytes>5000</d:quota-available-bytes></d:prop>\
         <d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>";
    let length = format!("Content-Length: {}", xml.len());
    let date = "Date: Fri, 20 Nov 2026 02:00:00 GMT";
    let answer = || reply("207 Multi-Status", &[&length, date], xml.as_bytes());
    let server = Responder::start(vec![answer(), answer(), answer()]);
    let mut webdav = open(&server).unwrap();
    assert!(webdav.capabilities().free_space && webdav.capabilities().server_clock);
    assert_eq!(webdav.free_space().unwrap(), Some(5000));
    assert_eq!(webdav.server_time().unwrap().unwrap().to_rfc3339(), "2026-11-20T02:00:00+00:00");
}

#[test]
fn a_page_where_the_listing_should_be_is_not_taken_for_an_empty_directory() {
    let login = reply("207 Multi-Status", &["Content-Length: 27"], b"<html><p>Log in</p></html>\n");
    let server = Responder::start(vec![login]);
    let error = open(&server).err().unwrap();
    assert!(error.kind == ErrorKind::Other && error.hint().unwrap().en.contains("`url`"));
}

#[test]
fn a_file_that_has_another_size_than_was_sent_is_a_failure() {
    let server = Responder::start(vec![
        directory(),
        status("404 Not Found"),
        status("201 Created"),
        listing(&[("/d/x", Some(3))]),
    ]);
    let error = open(&server).unwrap().put("x", &mut Cursor::new(b""), 0).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("has 3 bytes"), "{error}");
}
