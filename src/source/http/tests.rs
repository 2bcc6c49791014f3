//! The source against a server that plays a script. TLS has its place in the integration tests.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use url::Url;

use super::super::{Fetched, Progress, SourceError, SourceErrorKind as Kind, Validators};
use super::HttpSource;
use super::retry::Backoff;
use crate::config::secret::Secret;
use crate::config::settings::{HttpAuth, SourceSettings};
use crate::error::Hinted as _;
use crate::exit_code::ExitCode;
use crate::http::responder::{Reply, Responder, part, reply, whole};
use crate::interrupt::Interrupt;

/// A server, a source for its `/dump.zip`, and a place to spool to.
struct Bench {
    server: Responder,
    settings: SourceSettings,
    dir: TempDir,
    interrupt: Interrupt,
}

fn settings(url: Url) -> SourceSettings {
    SourceSettings {
        url,
        entry: "dump.sql".into(),
        auth: None,
        headers: Vec::new(),
        ca_file: None,
        client_cert: None,
        proxy: None,
        max_redirects: 5,
        allow_http: true,
        connect_timeout: Duration::from_secs(10),
        stall_timeout: Duration::from_secs(10),
        time_limit: Duration::from_secs(3600),
        retries: 3,
        max_download: 1 << 20,
        trust_directory: true,
        zip_password: None,
    }
}

fn source(settings: &SourceSettings, interrupt: Interrupt) -> HttpSource {
    let at_once = Backoff { first: Duration::ZERO, longest: Duration::ZERO };
    HttpSource::build(settings, interrupt, at_once, false).unwrap()
}

impl Bench {
    fn new(script: Vec<Reply>) -> Self {
        let server = Responder::start(script);
        let settings = settings(server.url("/dump.zip"));
        Bench { server, settings, dir: tempfile::tempdir().unwrap(), interrupt: Interrupt::default() }
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("dump.zip")
    }

    fn source(&self) -> HttpSource {
        source(&self.settings, self.interrupt.clone())
    }

    fn fetch(&self) -> Result<Fetched, SourceError> {
        self.source().fetch(&self.spool(), None, &mut |_| {})
    }

    fn kind(&self) -> Kind {
        self.fetch().unwrap_err().kind
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.dir.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Asserts that the fetch brings exactly `zip`, and gives `resumed` and `attempts`.
    fn brings(&self, zip: &[u8]) -> (u32, u32) {
        match self.fetch().unwrap() {
            Fetched::Zip { size_bytes, resumed, attempts, .. } => {
                assert_eq!(size_bytes, zip.len() as u64);
                assert!(fs::read(self.spool()).unwrap() == zip);
                assert_eq!(self.files()[0], "dump.zip");
                (resumed, attempts)
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Something of `len` bytes with the first and last bytes of a zip; `seed` tells versions apart.
fn zip(seed: u8, len: usize) -> Vec<u8> {
    let filling = (0..len - 26).map(|i| (i % 251) as u8 ^ seed);
    b"PK\x03\x04".iter().copied().chain(filling).chain(*b"PK\x05\x06").chain([0; 18]).collect()
}

fn redirect(to: &str) -> Reply {
    reply("302 Found", &[&format!("Location: {to}"), "Content-Length: 0"], b"")
}

#[test]
fn a_zip_arrives_whole_with_its_validators_and_every_step_of_its_progress() {
    let zip = zip(1, 100_000);
    let modified = "Fri, 20 Nov 2026 02:00:00 GMT";
    let headers = ["Content-Length: 100000", "ETag: W/\"1\"", &format!("Last-Modified: {modified}")];
    let bench = Bench::new(vec![reply("200 OK", &headers, &zip)]);
    let mut seen: Vec<Progress> = Vec::new();
    let fetched = bench.source().fetch(&bench.spool(), None, &mut |progress| seen.push(progress)).unwrap();
    assert_eq!(
        fetched,
        Fetched::Zip {
            size_bytes: 100_000,
            validators: Validators { etag: Some("W/\"1\"".into()), last_modified: Some(modified.into()) },
            resumed: 0,
            attempts: 1,
            final_url: bench.server.url("/dump.zip"),
        }
    );
    assert!(fs::read(bench.spool()).unwrap() == zip);
    assert_eq!(seen.first(), Some(&Progress { received_bytes: 0, total_bytes: Some(100_000) }));
    assert_eq!(seen.last(), Some(&Progress { received_bytes: 100_000, total_bytes: Some(100_000) }));
    let asked = &bench.server.asked()[0];
    assert!(asked.contains("accept-encoding: identity\r\n") && !asked.contains("range:"), "{asked}");
}

#[test]
fn a_304_is_not_modified_only_if_it_was_asked_for() {
    let bench = Bench::new(vec![reply("304 Not Modified", &[], b""), reply("304 Not Modified", &[], b"")]);
    let previous = Validators { etag: Some("W/\"1\"".into()), last_modified: Some("yesterday".into()) };
    let fetched = bench.source().fetch(&bench.spool(), Some(&previous), &mut |_| {}).unwrap();
    assert_eq!(fetched, Fetched::NotModified);
    assert!(bench.files().is_empty());
    let asked = &bench.server.asked()[0];
    assert!(asked.contains("if-none-match: w/\"1\"\r\n") && asked.contains("if-modified-since: yesterday\r\n"));
    assert_eq!(bench.kind(), Kind::UnexpectedStatus);
}

#[test]
fn credentials_follow_a_redirect_on_the_same_origin_and_never_to_another() {
    let body = zip(1, 100);
    let other = Responder::start(vec![whole("\"1\"", &body)]);
    let mut bench = Bench::new(vec![redirect("/real.zip"), redirect(other.url("/cdn.zip?sig=1").as_str())]);
    bench.settings.auth = Some(HttpAuth::Basic { username: "me".into(), password: Secret::new("pw") });
    bench.settings.headers = vec![("X-Api-Key".into(), Secret::new("k"))];
    let Fetched::Zip { final_url, .. } = bench.fetch().unwrap() else { panic!() };
    assert_eq!(final_url, other.url("/cdn.zip?sig=1"));
    for asked in bench.server.asked() {
        assert!(asked.contains("authorization: basic bwu6chc=\r\n") && asked.contains("x-api-key: k\r\n"), "{asked}");
    }
    assert_eq!(bench.server.asked().len(), 2);
    let asked = &other.asked()[0];
    assert!(!asked.contains("authorization") && !asked.contains("x-api-key"), "{asked}");
}

#[test]
fn redirects_that_lead_nowhere_are_refused_without_a_retry() {
    let bench = Bench::new(vec![redirect("/b"), redirect("/dump.zip")]);
    let error = bench.fetch().unwrap_err();
    assert_eq!((error.kind, error.summary().en.as_str()), (Kind::Redirect, "redirect loop"));
    assert_eq!(bench.server.asked().len(), 2);
    let bench = Bench::new((0..10).map(|n| redirect(&format!("/{n}"))).collect());
    assert_eq!(bench.fetch().unwrap_err().summary().en, "too many redirects");
    assert_eq!(bench.server.asked().len(), 6);
    for (location, summary) in [("ftp://h/x", "redirect to another protocol"), ("http://[", "redirect to nowhere")] {
        assert_eq!(Bench::new(vec![redirect(location)]).fetch().unwrap_err().summary().en, summary);
    }
}

#[test]
fn plain_http_needs_allow_http() {
    let mut settings = settings(Url::parse("http://127.0.0.1/x.zip").unwrap());
    settings.allow_http = false;
    assert!(HttpSource::new(&settings, Interrupt::default()).is_err());
}

#[test]
fn what_cannot_pass_is_asked_once() {
    for (status, kind) in [
        ("401 Unauthorized", Kind::Unauthorized),
        ("403 Forbidden", Kind::Forbidden),
        ("404 Not Found", Kind::NotFound),
        ("410 Gone", Kind::Gone),
        ("501 Not Implemented", Kind::UnexpectedStatus),
    ] {
        let bench = Bench::new(vec![reply(status, &[], b"")]);
        let error = bench.fetch().unwrap_err();
        assert_eq!((error.kind, error.summary().en.as_str()), (kind, status));
        assert!(error.hint().is_some());
        assert_eq!(bench.server.asked().len(), 1, "{status}");
        assert!(bench.files().is_empty());
    }
}

#[test]
fn what_may_pass_is_tried_again_until_the_retries_are_used_up() {
    let zip = zip(1, 100);
    let down = || reply("500 Internal Server Error", &[], b"");
    let busy = || reply("503 Service Unavailable", &["Retry-After: 0"], b"");
    assert_eq!(Bench::new(vec![down(), busy(), whole("\"1\"", &zip)]).brings(&zip), (0, 3));
    let bench = Bench::new(vec![down(), down(), down(), down(), whole("\"1\"", &zip)]);
    let error = bench.fetch().unwrap_err();
    assert!(error.to_string().ends_with("answered `500 Internal Server Error` (after 4 attempts)"), "{error}");
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let zip = zip(1, 100_000);
    let bench = Bench::new(vec![whole("\"1\"", &zip).short_by(60_000), part("\"1\"", &zip, 40_000, 99_999)]);
    assert_eq!(bench.brings(&zip), (1, 2));
    let asked = &bench.server.asked()[1];
    assert!(asked.contains("range: bytes=40000-\r\n") && asked.contains("if-range: \"1\"\r\n"), "{asked}");
}

#[test]
fn a_line_that_is_cut_again_and_again_still_brings_the_file_as_long_as_it_brings_something() {
    let zip = zip(1, 100_000);
    let mut script = vec![whole("\"1\"", &zip).short_by(90_000)];
    script.extend((1..10).map(|n| part("\"1\"", &zip, n * 10_000, 99_999).short_by(90_000 - n * 10_000)));
    assert_eq!(Bench::new(script).brings(&zip), (9, 10));
}

#[test]
fn a_file_that_changed_or_a_server_that_cannot_continue_means_from_zero() {
    // Shorter than what is there already: nothing of it may stay.
    let (old, new) = (zip(1, 100_000), zip(2, 30_000));
    let cut = || whole("\"1\"", &old).short_by(60_000);
    assert_eq!(Bench::new(vec![cut(), whole("\"2\"", &new)]).brings(&new), (0, 2));
    assert_eq!(Bench::new(vec![cut(), whole("\"1\"", &old)]).brings(&old), (0, 2));
    let not_satisfiable = reply("416 Range Not Satisfiable", &["Content-Range: bytes */30000"], b"");
    assert_eq!(Bench::new(vec![cut(), not_satisfiable, whole("\"2\"", &new)]).brings(&new), (0, 2));
}

#[test]
fn a_part_that_does_not_continue_exactly_is_thrown_away() {
    let (old, new) = (zip(1, 100_000), zip(2, 100_000));
    let unknown_total = reply("206 Partial Content", &["Content-Range: bytes 40000-99999/*"], &old[40_000..]);
    for wrong in [
        part("\"1\"", &old, 39_999, 99_999),
        part("\"1\"", &old, 40_001, 99_999),
        part("\"1\"", &old[..90_000], 40_000, 89_999),
        // If-Range ignored.
        part("\"2\"", &new, 40_000, 99_999),
        unknown_total,
        // A part that does not say which version it is of.
        reply("206 Partial Content", &["Content-Range: bytes 40000-99999/100000"], &old[40_000..]),
        reply("206 Partial Content", &[], &old[40_000..]),
    ] {
        let bench = Bench::new(vec![whole("\"1\"", &old).short_by(60_000), wrong, whole("\"2\"", &new)]);
        assert_eq!(bench.brings(&new), (0, 2));
        assert!(!bench.server.asked()[2].contains("range"));
    }
}

#[test]
fn without_a_strong_validator_a_cut_means_from_zero() {
    let zip = zip(1, 100_000);
    let bench = Bench::new(vec![whole("W/\"1\"", &zip).short_by(60_000), whole("W/\"1\"", &zip)]);
    assert_eq!(bench.brings(&zip), (0, 2));
    assert!(!bench.server.asked()[1].contains("range"));
}

#[test]
fn the_next_run_continues_what_the_last_one_left() {
    let zip = zip(1, 100_000);
    let mut bench = Bench::new(vec![whole("\"1\"", &zip).short_by(60_000), part("\"1\"", &zip, 40_000, 99_999)]);
    bench.settings.retries = 0;
    assert_eq!(bench.kind(), Kind::Cut);
    assert_eq!(bench.files(), ["dump.zip", "dump.zip.meta"]);
    assert_eq!(bench.brings(&zip), (1, 1));
    assert!(bench.server.asked()[1].contains("range: bytes=40000-\r\n"));
}

#[test]
fn a_leftover_whose_joined_file_has_no_end_is_fetched_once_more_from_zero() {
    let zip = zip(1, 100_000);
    let liar = zip[..99_970].iter().copied().chain([0; 30]).collect::<Vec<u8>>();
    let script =
        vec![whole("\"1\"", &zip).short_by(60_000), part("\"1\"", &liar, 40_000, 99_999), whole("\"1\"", &zip)];
    assert_eq!(Bench::new(script).brings(&zip), (0, 3));
}

#[test]
fn less_than_announced_is_a_cut_and_more_never_looks_like_a_zip() {
    let body = zip(1, 1000);
    let short = || whole("W/\"1\"", &body).short_by(1);
    let error = Bench::new(vec![short(), short(), short(), short()]).fetch().unwrap_err();
    assert_eq!(error.kind, Kind::Cut);
    assert!(error.to_string().contains("after 999 of 1000 bytes"), "{error}");
    let bench = Bench::new(vec![reply("200 OK", &["Content-Length: 900"], &body)]);
    let error = bench.fetch().unwrap_err();
    assert_eq!((error.kind, error.attempts), (Kind::Truncated, 1));
    assert!(bench.files().is_empty());
}

#[test]
fn without_a_length_chunks_are_counted_and_an_early_end_is_noticed() {
    let zip = zip(1, 1000);
    let chunked: Vec<u8> = [b"190\r\n", &zip[..400], b"\r\n258\r\n", &zip[400..], b"\r\n0\r\n\r\n"].concat();
    let good = reply("200 OK", &["Transfer-Encoding: chunked"], &chunked);
    let cut = good.clone().short_by(300);
    // Neither length nor chunks: the end of the connection is the end of the file, or so it seems.
    let bare = reply("200 OK", &[], &zip[..700]);
    assert_eq!(Bench::new(vec![cut, bare, good]).brings(&zip), (0, 3));
}

#[test]
fn a_cut_right_after_the_end_of_a_zip_without_a_length_is_no_cut() {
    let zip = zip(1, 1000);
    // The closing chunk is missing.
    let chunked: Vec<u8> = [b"3e8\r\n", &zip[..], b"\r\n"].concat();
    assert_eq!(Bench::new(vec![reply("200 OK", &["Transfer-Encoding: chunked"], &chunked)]).brings(&zip), (0, 1));
}

#[test]
fn a_part_need_not_repeat_the_validators_of_the_whole() {
    let zip = zip(1, 100_000);
    let modified = "Last-Modified: Fri, 20 Nov 2026 02:00:00 GMT";
    let headers = ["Content-Length: 100000", "Date: Fri, 20 Nov 2026 03:00:00 GMT", modified];
    let rest = reply("206 Partial Content", &["Content-Range: bytes 40000-99999/100000"], &zip[40_000..]);
    let bench = Bench::new(vec![reply("200 OK", &headers, &zip).short_by(60_000), rest]);
    let Fetched::Zip { validators, resumed, .. } = bench.fetch().unwrap() else { panic!() };
    assert_eq!((validators.last_modified.as_deref(), resumed), (Some("Fri, 20 Nov 2026 02:00:00 GMT"), 1));
    assert!(bench.server.asked()[1].contains("if-range: fri, 20 nov 2026 02:00:00 gmt\r\n"));
}

#[test]
fn a_web_page_is_refused_at_once_and_quoted() {
    let page = b"<!DOCTYPE html><html><head><title>Connexion</title></head><body>...</body></html>";
    let bench = Bench::new(vec![reply("200 OK", &["Content-Type: text/html"], page)]);
    let error = bench.fetch().unwrap_err();
    assert_eq!(error.kind, Kind::Html);
    assert!(error.to_string().ends_with("looks like a login page: `Connexion`"), "{error}");
    assert_eq!((bench.server.asked().len(), bench.files().len()), (1, 0));
    assert_eq!(Bench::new(vec![reply("200 OK", &["Content-Length: 0"], b"")]).kind(), Kind::NotZip);
}

#[test]
fn a_server_that_stands_still_is_left_and_the_rest_comes_from_the_next_attempt() {
    let zip = zip(1, 100_000);
    let silent = Reply::then_silence;
    let cut = silent(whole("\"1\"", &zip).short_by(60_000));
    let mut bench = Bench::new(vec![cut, part("\"1\"", &zip, 40_000, 99_999)]);
    bench.settings.stall_timeout = Duration::from_millis(200);
    assert_eq!(bench.brings(&zip), (1, 2));
    let head = reply("200 OK", &[], b"").short_by(4);
    let mut bench = Bench::new(vec![silent(head)]);
    bench.settings.stall_timeout = Duration::from_millis(100);
    bench.settings.connect_timeout = Duration::from_millis(100);
    bench.settings.retries = 0;
    let error = bench.fetch().unwrap_err();
    assert_eq!((error.kind, error.to_string().contains("sent no answer for")), (Kind::Stalled, true));
}

#[test]
fn an_interruption_ends_the_download_and_keeps_what_can_be_continued() {
    let zip = zip(1, 100_000);
    let bench = Bench::new(vec![whole("\"1\"", &zip).short_by(60_000).then_silence()]);
    let mut stop = |progress: Progress| {
        if progress.received_bytes == 40_000 {
            bench.interrupt.pretend(ExitCode::Terminated);
        }
    };
    let error = bench.source().fetch(&bench.spool(), None, &mut stop).unwrap_err();
    assert_eq!(error.kind, Kind::Interrupted);
    assert_eq!(bench.files(), ["dump.zip", "dump.zip.meta"]);
    assert_eq!(fs::metadata(bench.spool()).unwrap().len(), 40_000);
}

#[test]
fn a_zip_that_is_too_large_is_refused_when_announced_and_while_counted() {
    let body = zip(1, 2000);
    for reply in [whole("\"1\"", &body), reply("200 OK", &[], &body)] {
        let mut bench = Bench::new(vec![reply]);
        bench.settings.max_download = 1999;
        assert_eq!(bench.kind(), Kind::TooLarge);
        assert_eq!((bench.server.asked().len(), bench.files().len()), (1, 0));
    }
}

#[test]
fn a_content_encoding_is_judged_by_the_bytes() {
    for nonsense in ["none", "None", "utf-8", "binary", "zip", "identity", "", "gzip"] {
        let zip = zip(1, 100);
        let headers = [format!("Content-Encoding: {nonsense}"), "Content-Length: 100".to_owned()];
        let whole = reply("200 OK", &headers.each_ref().map(String::as_str), &zip);
        assert_eq!(Bench::new(vec![whole]).brings(&zip), (0, 1), "{nonsense}");
    }
    let bench = Bench::new(vec![reply("200 OK", &["Content-Encoding: gzip"], b"\x1f\x8b\x08\0\0\0\0\0\0\x03")]);
    assert_eq!(bench.kind(), Kind::Encoded);
    assert_eq!(bench.server.asked().len(), 1);
    let error = Bench::new(vec![reply("200 OK", &[], b"\x1f\x8b\x08\0\0\0\0\0\0\x03")]).fetch().unwrap_err();
    assert!(error.to_string().ends_with("sent no zip but a gzip file"), "{error}");
}

#[test]
fn heads_that_curl_takes_are_taken() {
    let zip = zip(1, 1000);
    let chunked: Vec<u8> = [b"3e8\r\n", &zip[..], b"\r\n0\r\n\r\n"].concat();
    let heads: [(&str, &[&str], &[u8]); 8] = [
        ("200 OK", &["Content-Length : 1000", "ETag : \"1\""], &zip),
        // Folded, as WordPress plugins send it (hyperium/hyper#3905).
        (
            "200 OK",
            &["Content-Security-Policy: \r\n\tdefault-src 'self';\r\n  script-src 'self'", "Content-Length: 1000"],
            &zip,
        ),
        // What a script prints as a header and is none (hyperium/hyper#2083).
        ("200 OK", &["Notice - undefined index", "X Powered By: shop", "Content-Length: 1000"], &zip),
        ("200 OK", &["X-Nom: \u{e9}t\u{e9}", "Content-Length: 1000"], &zip),
        // No reason, not even the blank before it (seanmonstar/httparse#29).
        ("200", &["Content-Length: 1000"], &zip),
        // The length twice, and beside chunks, which count (RFC 9112 §6.3; curl/curl#7655).
        ("200 OK", &["Content-Length: 1000", "Content-Length: 1000"], &zip),
        ("200 OK", &["Content-Length: 32", "Transfer-Encoding: chunked"], &chunked),
        ("200 OK", &["Transfer-Encoding: Chunked", "Content-Length: 1000"], &chunked),
    ];
    for (status, head, body) in heads {
        assert_eq!(Bench::new(vec![reply(status, head, body)]).brings(&zip), (0, 1), "{status} {head:?}");
    }
    // Line feeds alone (hyperium/hyper#594).
    let mut answer = reply("200 OK", &["Content-Length: 1000"], &zip);
    answer.replace(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n",
        b"HTTP/1.0 200 OK\nContent-Length: 1000\n\n",
    );
    assert_eq!(Bench::new(vec![answer]).brings(&zip), (0, 1));
}

#[test]
fn a_redirect_may_hold_the_raw_bytes_of_a_file_name() {
    for (location, path) in [
        ("/exports/donn\u{e9}es.zip".as_bytes(), "/exports/donn%c3%a9es.zip"),
        (&b"/exports/donn\xe9es.zip?a=b%20c"[..], "/exports/donn%e9es.zip?a=b%20c"),
        ("/exports/un export.zip".as_bytes(), "/exports/un%20export.zip"),
    ] {
        let zip = zip(1, 100);
        let bench = Bench::new(vec![redirect_raw(location), whole("\"1\"", &zip)]);
        assert_eq!(bench.brings(&zip), (0, 1));
        assert!(
            bench.server.asked()[1].starts_with(&format!("get {path} http/1.1\r\n")),
            "{}",
            bench.server.asked()[1]
        );
    }
}

fn redirect_raw(location: &[u8]) -> Reply {
    let mark = "LOCATION";
    let mut answer = redirect(mark);
    answer.replace(mark.as_bytes(), location);
    answer
}

#[test]
fn a_redirect_to_itself_that_sets_a_cookie_is_told_with_what_to_send() {
    let headers = ["Location: /dump.zip", "Set-Cookie: SESSID=top-secret; Path=/", "Content-Length: 0"];
    let error = Bench::new(vec![reply("302 Found", &headers, b"")]).fetch().unwrap_err();
    let hint = error.hint().unwrap();
    assert_eq!(error.kind, Kind::Redirect);
    for words in [&hint.en, &hint.fr] {
        assert!(words.contains("headers = { Cookie = \"SESSID=…\" }") && !words.contains("top-secret"), "{words}");
    }
}

#[test]
fn a_202_is_waited_for_as_long_as_the_server_says_and_its_body_is_quoted() {
    let zip = zip(1, 100);
    let body = br#"{"status":"building","message":"the export is being built"}"#;
    let not_yet = || reply("202 Accepted", &["Retry-After: 0", "Content-Type: application/json"], body);
    assert_eq!(Bench::new(vec![not_yet(), not_yet(), whole("\"1\"", &zip)]).brings(&zip), (0, 3));
    let mut bench = Bench::new(vec![not_yet()]);
    bench.settings.retries = 0;
    let error = bench.fetch().unwrap_err();
    assert!(error.to_string().ends_with("answered `202 Accepted`: `the export is being built`"), "{error}");
    assert!(error.hint().unwrap().en.contains("still making the file"));
}

#[test]
fn the_body_of_a_refusal_is_quoted_and_one_that_never_comes_is_not_waited_for() {
    let xml = b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    let error = Bench::new(vec![reply("403 Forbidden", &[], xml)]).fetch().unwrap_err();
    assert!(error.to_string().ends_with("answered `403 Forbidden`: `Request has expired`"), "{error}");
    assert_eq!(error.summary().en, "403 Forbidden");
    let mut bench = Bench::new(vec![reply("404 Not Found", &["Content-Length: 100"], b"no").then_silence()]);
    bench.settings.stall_timeout = Duration::from_millis(200);
    let error = bench.fetch().unwrap_err();
    assert!(error.to_string().ends_with("answered `404 Not Found`: `no`"), "{error}");
}

#[test]
fn what_a_script_prints_before_the_zip_makes_no_difference_unless_it_costs_the_end() {
    let good = zip(1, 10_000);
    for before in [&b"\n\n\n"[..], b"\xef\xbb\xbf", b"PK00", &[b' '; 4000]] {
        let bytes = [before, &good].concat();
        assert_eq!(Bench::new(vec![whole("\"1\"", &bytes)]).brings(&bytes), (0, 1));
        // In small pieces, too.
        let dripped = whole("\"1\"", &bytes).drip(bytes.len() - 1, Duration::ZERO);
        assert_eq!(Bench::new(vec![dripped]).brings(&bytes), (0, 1));
    }
    let mut cut = [b"\n\n\n", &good[..]].concat();
    cut.truncate(good.len());
    let error = Bench::new(vec![whole("\"1\"", &cut)]).fetch().unwrap_err();
    assert_eq!(error.kind, Kind::Truncated);
    assert!(error.to_string().starts_with("3 bytes stand before the zip of"), "{error}");
    assert!(error.hint().unwrap().en.contains("`Content-Length` is that of the zip alone"));
}

#[test]
fn what_a_script_prints_after_the_zip_is_told_with_where_the_zip_ends() {
    use std::io::Write as _;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("dump.sql", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(b"SELECT 1;").unwrap();
    let zip = writer.finish().unwrap().into_inner();
    let toolbar = [&b"\n<div id=\"debug\">0.02 s</div>"[..], &[b'x'; 100_800]].concat();
    let bytes = [&zip[..], &toolbar].concat();
    let error = Bench::new(vec![whole("\"1\"", &bytes)]).fetch().unwrap_err();
    assert_eq!(error.kind, Kind::Trailing);
    let told = format!("ends at byte {}, and {} bytes follow it, beginning with `<div id=", zip.len(), toolbar.len());
    assert!(error.to_string().contains(&told), "{error}");
    assert!(error.hint().unwrap().fr.contains("juste après le zip"));
}

#[test]
fn a_suffix_that_is_longer_than_the_file_may_be_refused() {
    let zip = zip(1, 100);
    let refused = reply("416 Range Not Satisfiable", &["Content-Range: bytes */100"], b"");
    let bench = Bench::new(vec![refused, part("\"1\"", &zip, 0, 99)]);
    let source = bench.source();
    let mut all = Vec::new();
    source.ranges().unwrap().read_to_end(&mut all).unwrap();
    assert_eq!(all, zip);
    assert!(bench.server.asked()[1].contains("range: bytes=0-65535\r\n"));
}

#[test]
fn a_refused_connection_and_an_unknown_host_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let failure = |url: &str| {
        let mut settings = settings(Url::parse(url).unwrap());
        settings.retries = 1;
        source(&settings, Interrupt::default()).fetch(&dir.path().join("x"), None, &mut |_| {}).unwrap_err()
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = failure(&format!("http://127.0.0.1:{port}/x.zip?token=secret"));
    assert_eq!((refused.kind, refused.attempts), (Kind::Refused, 2));
    assert_eq!(refused.to_string(), format!("`127.0.0.1:{port}` refused the connection (after 2 attempts)"));
    let unknown = failure("http://nowhere.invalid/x.zip");
    assert_eq!(unknown.kind, Kind::HostNotFound, "{unknown} {:?}", std::error::Error::source(&unknown));
    assert_eq!(unknown.summary().fr, "hôte introuvable");
}

#[test]
fn a_proxy_that_is_down_is_called_the_proxy() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut bench = Bench::new(vec![]);
    bench.settings.retries = 0;
    bench.settings.proxy = Some(Secret::new(format!("http://me:secret@127.0.0.1:{port}")));
    let error = bench.fetch().unwrap_err();
    assert_eq!(error.kind, Kind::Proxy);
    assert!(error.to_string().starts_with(&format!("the proxy `127.0.0.1:{port}` gave no connection")), "{error}");
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn a_spool_file_that_cannot_be_made_is_a_matter_of_the_local_disk() {
    let bench = Bench::new(vec![]);
    let error = bench.source().fetch(&bench.dir.path().join("no/dir/x"), None, &mut |_| {}).unwrap_err();
    assert_eq!((error.kind, error.exit_code()), (Kind::LocalDisk, ExitCode::Pack));
    assert!(bench.server.asked().is_empty());
}

#[test]
fn a_probe_tells_size_validators_and_ranges_with_four_bytes() {
    let zip = zip(1, 1000);
    let bench = Bench::new(vec![redirect("/b.zip"), part("\"1\"", &zip, 0, 3)]);
    let probe = bench.source().probe().unwrap();
    assert_eq!((probe.size_bytes, probe.ranges, probe.resumable, probe.redirects), (Some(1000), true, true, 1));
    assert_eq!(probe.final_url, bench.server.url("/b.zip"));
    let dated = reply("200 OK", &["Content-Length: 1000", "ETag: \"1\"", "Date: Fri, 20 Nov 2026 02:00:00 GMT"], &zip);
    let probe = Bench::new(vec![dated]).source().probe().unwrap();
    assert_eq!((probe.size_bytes, probe.ranges, probe.resumable), (Some(1000), false, false));
    assert_eq!(probe.server_date.unwrap().to_rfc3339(), "2026-11-20T02:00:00+00:00");
}

#[test]
fn a_probe_fails_like_a_download() {
    let page = b"<html><title>Login</title></html>";
    let bench = Bench::new(vec![part("\"1\"", page, 0, 3), reply("200 OK", &[], page)]);
    assert!(bench.source().probe().unwrap_err().to_string().ends_with("page: `Login`"));
    let bench = Bench::new(vec![reply("404 Not Found", &[], b"")]);
    assert_eq!(bench.source().probe().unwrap_err().kind, Kind::NotFound);
    let empty = reply("416 Range Not Satisfiable", &["Content-Range: bytes */0"], b"");
    assert_eq!(Bench::new(vec![empty]).source().probe().unwrap_err().summary().en, "empty file");
}

#[test]
fn parts_are_read_from_the_end_and_each_block_once() {
    let zip = zip(1, 100_000);
    let script = vec![
        part("\"1\"", &zip, 100_000 - 65_536, 99_999),
        part("\"1\"", &zip, 16_384, 32_767),
        part("\"1\"", &zip, 32_768, 34_463),
    ];
    let bench = Bench::new(script);
    let source = bench.source();
    let mut reader = source.ranges().unwrap();
    assert_eq!(reader.size_bytes(), 100_000);
    let mut end = [0; 22];
    reader.seek(SeekFrom::End(-22)).unwrap();
    reader.read_exact(&mut end).unwrap();
    assert_eq!(end, zip[99_978..]);
    let mut middle = vec![0; 50_000];
    for _ in 0..2 {
        reader.seek(SeekFrom::Start(20_000)).unwrap();
        reader.read_exact(&mut middle).unwrap();
        assert!(middle == zip[20_000..70_000]);
    }
    assert_eq!(reader.read(&mut [0]).unwrap(), 1);
    assert_eq!(reader.received_bytes(), 65_536 + 16_384 + 1696);
    let asked = bench.server.asked();
    assert!(asked[0].contains("range: bytes=-65536\r\n") && asked[1].contains("range: bytes=16384-32767\r\n"));
    assert!(asked[1].contains("if-range: \"1\"\r\n"));
    assert_eq!(asked.len(), 3);
}

#[test]
fn a_small_file_is_one_part_and_reading_beyond_its_end_is_its_end() {
    let zip = zip(1, 100);
    let bench = Bench::new(vec![part("\"1\"", &zip, 0, 99)]);
    let source = bench.source();
    let mut reader = source.ranges().unwrap();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert_eq!(all, zip);
    reader.seek(SeekFrom::Start(1000)).unwrap();
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
    assert!(reader.seek(SeekFrom::End(-101)).is_err());
}

#[test]
fn a_file_that_changes_between_two_parts_is_an_error() {
    let (old, new) = (zip(1, 100_000), zip(2, 100_000));
    for second in [whole("\"2\"", &new), part("\"2\"", &new, 0, 16_383), part("\"1\"", &old[..99_999], 0, 16_383)] {
        let bench = Bench::new(vec![part("\"1\"", &old, 100_000 - 65_536, 99_999), second]);
        let source = bench.source();
        let error = source.ranges().unwrap().read(&mut [0; 10]).unwrap_err();
        let error = error.get_ref().and_then(|error| error.downcast_ref::<SourceError>()).unwrap();
        assert_eq!(error.kind, Kind::Changed);
    }
    assert_eq!(Bench::new(vec![whole("\"1\"", &old)]).source().ranges().err().unwrap().kind, Kind::NoRanges);
}

#[test]
fn a_drip_is_a_standstill_and_a_body_that_never_ends_ends_at_the_time_limit() {
    let zip = zip(1, 1 << 20);
    let drip = || whole("\"1\"", &zip).drip((1 << 20) - 1000, Duration::from_millis(10));
    let mut bench = Bench::new(vec![drip()]);
    bench.settings.stall_timeout = Duration::from_millis(300);
    bench.settings.retries = 0;
    let error = bench.fetch().unwrap_err();
    assert_eq!(error.kind, Kind::Stalled, "{error}");
    assert!(error.to_string().contains("sent less than 4 KiB for"), "{error}");
    for retries in [0, 100] {
        let mut bench = Bench::new((0..200).map(|_| drip()).collect());
        bench.settings.stall_timeout = Duration::from_millis(if retries == 0 { 10_000 } else { 100 });
        bench.settings.time_limit = Duration::from_millis(500);
        bench.settings.retries = retries;
        let error = bench.fetch().unwrap_err();
        assert_eq!((error.kind, error.exit_code()), (Kind::TimeLimit, ExitCode::Download), "{error}");
        assert!(error.to_string().contains("within `source.time_limit`"), "{error}");
        assert!(error.hint().unwrap().en.contains("raise `source.time_limit`"));
    }
}

#[test]
fn a_whole_file_that_was_not_read_yet_takes_one_byte() {
    let zip = zip(1, 100_000);
    let bench = Bench::new(vec![whole("\"1\"", &zip), part("\"1\"", &zip, 99_999, 99_999)]);
    assert_eq!(bench.brings(&zip), (0, 1));
    assert_eq!(bench.brings(&zip), (1, 1));
    assert!(bench.server.asked()[1].contains("range: bytes=99999-\r\n"));
    super::discard(&bench.spool());
    assert!(bench.files().is_empty());
}

#[test]
fn what_a_server_repeats_of_our_secrets_is_not_quoted_not_even_in_part() {
    let body = |filler: usize| {
        let repeated = "token=top-secret-token, key=top-secret-header, Basic bWU6dG9wLXNlY3JldC1wdw==, top-secret-pw";
        format!("<html><title>{}{repeated}</title>", "x".repeat(filler))
    };
    for status in ["403 Forbidden", "200 OK"] {
        for filler in [0, 60, 70, 75] {
            let mut bench = Bench::new(vec![reply(status, &[], body(filler).as_bytes())]);
            bench.settings.url.set_query(Some("token=top-secret-token"));
            bench.settings.auth =
                Some(HttpAuth::Basic { username: "me".into(), password: Secret::new("top-secret-pw") });
            bench.settings.headers = vec![("X-Key".into(), Secret::new("top-secret-header"))];
            let error = bench.fetch().unwrap_err().to_string();
            assert!(error.contains("**redacted**") || error.contains("xx"), "{error}");
            assert!(!error.contains("top-") && !error.contains("bWU6"), "{error}");
        }
    }
}
