//! Bad input and bad luck at the source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

use crate::bad_night::{
    self, Kept, ONE_RETRY, PATIENT, Refused, TONIGHT, after_a_good_one, first_dump, is_refused, json, publishes,
    refuses,
};
use crate::job::{ENTRY, Job, ZIP};
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite, run};
use crate::support::https::{Access, Behaviour, HttpsServer};
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, Leaf};
use crate::support::zips::{self, Entry, Zip};

const CLOCK: &[Need] = &[Need::Faketime];

pub fn cases(suite: &mut Suite) {
    unreachable(suite);
    certificates(suite);
    statuses(suite);
    redirects(suite);
    credentials(suite);
    printed_around(suite);
    cuts(suite);
    lengths(suite);
    not_modified(suite);
    disk(suite);
}

/// Tonight's dump, larger than the first so that it can be cut in interesting places.
fn tonight() -> Vec<u8> {
    Dump::new(2).size(600_000).text()
}

/// A good night, then a night with this at the source.
fn refused(
    suite: &mut Suite,
    name: &str,
    expected: Refused,
    prepare: impl FnOnce(&mut Job) -> anyhow::Result<()> + Send + 'static,
) {
    suite.case(format!("source::{name}"), CLOCK, move || {
        let mut job = after_a_good_one()?;
        prepare(&mut job)?;
        refuses(&job, &expected)?;
        ensure!(job.source.requests().len() <= 1, "asked again: {:?}", job.source.requests());
        Ok(())
    });
}

fn scripted(behaviour: Behaviour) -> impl FnOnce(&mut Job) -> anyhow::Result<()> + Send {
    move |job| {
        job.source_keys = PATIENT.into();
        job.publish(&tonight());
        job.source.script(ZIP, [behaviour]);
        Ok(())
    }
}

fn unreachable(suite: &mut Suite) {
    let expected = Refused::download(&["`archive-test.invalid` was not found"], "name server");
    refused(suite, "a_host_that_is_unknown", expected, |job| {
        job.url = Some(format!("https://archive-test.invalid{ZIP}"));
        Ok(())
    });
    suite.case("source::a_connection_that_is_refused", CLOCK, || {
        let mut job = after_a_good_one()?;
        // The proxy keeps the port from being taken by another test.
        let nobody = Proxy::start(job.source.port());
        nobody.refuse(true);
        job.url = Some(job.source.url_through(nobody.port(), ZIP));
        refuses(&job, &Refused::download(&["refused the connection"], "is the web server running"))?;
        Ok(())
    });
}

fn certificates(suite: &mut Suite) {
    type Shown = fn(&Job) -> Leaf;
    let cases: [(&str, Refused, Shown); 4] = [
        (
            "a_certificate_of_an_unknown_authority",
            Refused::download(&["an authority that this machine does not trust"], "`source.ca_file`"),
            |_| Authority::new("somebody else").good(),
        ),
        (
            "a_certificate_for_another_name",
            Refused::download(&["not valid for that name, but for `elsewhere.example`"], "use a name that"),
            |job| job.ca.wrong_name(),
        ),
        (
            "a_certificate_of_an_authority",
            Refused::download(&["is that of an authority (CA:TRUE)"], "basicConstraints=CA:FALSE"),
            |_| Leaf::self_signed(true),
        ),
        ("a_certificate_that_has_expired", Refused::download(&["expired on 2001-01-01"], "must be renewed"), |job| {
            job.ca.expired()
        }),
    ];
    for (name, expected, leaf) in cases {
        suite.case(format!("source::{name}"), CLOCK, move || {
            let mut job = after_a_good_one()?;
            job.source_keys = PATIENT.into();
            job.source.set_tls(leaf(&job).server_config());
            let before = job.source.connections();
            refuses(&job, &expected)?;
            ensure!(job.source.connections() == before + 1, "tried again: {}", job.source.connections() - before);
            ensure!(job.source.requests().is_empty(), "asked in spite of it: {:?}", job.source.requests());
            Ok(())
        });
    }
    // What the hint for a certificate of an authority recommends.
    suite.case("source::a_server_that_signs_itself_is_trusted_by_name", CLOCK, || {
        let job = Job::new();
        let leaf = Leaf::self_signed(false);
        fs::write(job.path("ca.pem"), leaf.chain_pem())?;
        job.source.set_tls(leaf.server_config());
        job.publish(&Dump::new(1).size(100_000).text());
        let done = job.night("2026-11-20 01:00:00");
        ensure!(done.code == 0, "{done}");
        Ok(())
    });
}

fn statuses(suite: &mut Suite) {
    let status = |code| scripted(Behaviour::Status(code, Vec::new(), b"no\n".to_vec()));
    let expected = Refused::download(&["answered `401 Unauthorized`"], "no credentials are configured");
    refused(suite, "a_401_without_credentials", expected, status(401));
    let expected = Refused::download(&["answered `403 Forbidden`"], "ask for the right on the server");
    refused(suite, "a_403", expected, status(403));
    let expected = Refused::download(&["answered `404 Not Found`"], "check the path in `source.url`");
    refused(suite, "a_404_is_not_retried", expected, |job| {
        job.source_keys = PATIENT.into();
        job.source.remove(ZIP);
        Ok(())
    });
    let expected = Refused::download(&["web page"], "a login or error page came instead of the zip");
    refused(suite, "a_login_page_with_status_200", expected, scripted(Behaviour::HtmlLogin));

    suite.case("source::a_500_that_passes", CLOCK, || {
        let mut job = after_a_good_one()?;
        scripted(Behaviour::Serve)(&mut job)?;
        job.source_keys = ONE_RETRY.into();
        job.source.script(ZIP, [Behaviour::Status(500, Vec::new(), b"oops".to_vec()), Behaviour::Serve]);
        publishes(&job, &tonight())?;
        let statuses: Vec<u16> = job.source.requests().iter().map(|request| request.status).collect();
        ensure!(statuses == [500, 200], "{statuses:?}");
        Ok(())
    });
    suite.case("source::a_500_that_stays_ends_after_the_retries", CLOCK, || {
        let mut job = after_a_good_one()?;
        scripted(Behaviour::Status(500, Vec::new(), b"oops".to_vec()))(&mut job)?;
        job.source_keys = ONE_RETRY.into();
        let expected =
            Refused::download(&["`500 Internal Server Error`", "(after 2 attempts)"], "fault is on the server");
        refuses(&job, &expected)?;
        ensure!(job.source.requests().len() == 2, "{:?}", job.source.requests());
        Ok(())
    });
    suite.case("source::a_503_is_waited_for_as_long_as_the_server_says", CLOCK, || {
        let mut job = after_a_good_one()?;
        scripted(Behaviour::Serve)(&mut job)?;
        job.source_keys = ONE_RETRY.into();
        // Our own wait would be one second at most.
        job.source.script(ZIP, [Behaviour::RetryAfter("2".into()), Behaviour::Serve]);
        publishes(&job, &tonight())?;
        ensure!(job.log().contains("next in 2.0 s"), "{}", job.log());
        ensure!(job.source.requests().len() == 2, "{:?}", job.source.requests());
        Ok(())
    });
}

fn redirects(suite: &mut Suite) {
    let expected = Refused::download(&["in a loop"], "put the address where the zip really is into `source.url`");
    refused(suite, "a_redirect_loop", expected, scripted(Behaviour::RedirectLoop));
    let expected = Refused::download(&["redirects to plain http"], "have the server redirect to https");
    let to_http = Behaviour::RedirectTo("http://localhost:1/boutique.zip".into());
    refused(suite, "a_redirect_from_https_to_http", expected, scripted(to_http));
    suite.case("source::a_redirect_to_another_host_gets_no_credentials", CLOCK, || {
        let mut job = after_a_good_one()?;
        let other = HttpsServer::start(Some(job.ca.good().server_config()));
        other.put(ZIP, zips::good(ENTRY, &tonight()));
        job.source_keys.push_str(CREDENTIALS[0].1);
        job.source_keys.push_str("headers = { X-Api-Key = \"kept-to-us\" }\n");
        job.source.script(ZIP, [Behaviour::RedirectTo(other.url(ZIP))]);
        publishes(&job, &tonight())?;
        let (own, foreign) = (job.source.requests(), other.requests());
        ensure!(own.len() == 1 && foreign.len() == 1, "{own:?} {foreign:?}");
        ensure!(own[0].header("authorization").is_some() && own[0].header("x-api-key") == Some("kept-to-us"));
        ensure!(
            foreign[0].header("authorization").is_none() && foreign[0].header("x-api-key").is_none(),
            "{foreign:?}"
        );
        Ok(())
    });
}

const CREDENTIALS: [(&str, &str); 3] = [
    ("a_user_name_and_a_password_are_sent", "username = \"exporter\"\npassword = \"open-sesame\"\n"),
    ("a_bearer_token_is_sent", "bearer_token = \"open-sesame\"\n"),
    ("a_header_is_sent", "headers = { X-Api-Key = \"open-sesame\" }\n"),
];

/// Scripts that print something around the zip they send.
fn printed_around(suite: &mut Suite) {
    suite.case("source::line_feeds_before_the_zip", CLOCK, || {
        let mut job = after_a_good_one()?;
        job.source_keys = PATIENT.into();
        job.publish_bytes([b"\n\n\n", &zips::good(ENTRY, &tonight())[..]].concat());
        publishes(&job, &tonight())?;
        ensure!(job.log().contains("3 bytes stand before the zip"), "{}", job.log());
        Ok(())
    });
    let expected = Refused::download(&["3 bytes stand before the zip of"], "`Content-Length` is that of the zip alone");
    refused(suite, "line_feeds_before_the_zip_that_its_length_does_not_count", expected, |job| {
        let zip = zips::good(ENTRY, &tonight());
        job.publish_bytes([b"\n\n\n", &zip[..zip.len() - 3]].concat());
        Ok(())
    });
    let expected = Refused::download(&["ends at byte", "and 100000 bytes follow it"], "a debug toolbar");
    refused(suite, "a_page_behind_the_zip", expected, |job| {
        job.publish_bytes([&zips::good(ENTRY, &tonight())[..], &b"<div>x</div>".repeat(10_000)[..100_000]].concat());
        Ok(())
    });
    suite.case("source::a_marker_of_a_split_before_the_zip", CLOCK, || {
        let job = after_a_good_one()?;
        job.publish_bytes([b"PK00", &zips::good(ENTRY, &tonight())[..]].concat());
        publishes(&job, &tonight())
    });
}

fn credentials(suite: &mut Suite) {
    let accesses = [
        Access::Basic("exporter".into(), "open-sesame".into()),
        Access::Bearer("open-sesame".into()),
        Access::Header("x-api-key".into(), "open-sesame".into()),
    ];
    for ((name, keys), access) in CREDENTIALS.into_iter().zip(accesses) {
        suite.case(format!("source::{name}"), CLOCK, move || {
            let mut job = after_a_good_one()?;
            scripted(Behaviour::Serve)(&mut job)?;
            job.source_keys.push_str(keys);
            job.source.protect(ZIP, access);
            publishes(&job, &tonight())?;
            ensure!(!job.log().contains("open-sesame"), "a secret in the log: {}", job.log());
            // The same with wrong ones: refused at once, and not shown either.
            job.source.forget_requests();
            job.source_keys = job.source_keys.replace("open-sesame", "wrong-sesame");
            let expected = Refused::download(&["answered `401 Unauthorized`"], "the server");
            let done = refuses(&job, &expected)?;
            ensure!(job.source.requests().len() == 1, "{:?}", job.source.requests());
            ensure!(!job.log().contains("sesame") && !done.stderr.contains("sesame"), "{done}\n{}", job.log());
            Ok(())
        });
    }
}

fn cuts(suite: &mut Suite) {
    for (name, cut) in [
        ("a_download_that_is_reset_half_way_is_resumed", Behaviour::ResetAfter as fn(u64) -> Behaviour),
        ("a_download_that_is_closed_half_way_is_resumed", Behaviour::CloseAfter),
        ("a_download_that_stalls_half_way_is_resumed", Behaviour::StallAfter),
    ] {
        suite.case(format!("source::{name}"), CLOCK, move || {
            let mut job = after_a_good_one()?;
            let (zip, half) = serve(&mut job, ONE_RETRY);
            job.source.script(ZIP, [cut(half), Behaviour::Serve]);
            publishes(&job, &tonight())?;
            is_resumed(&job, zip.len() as u64, half)
        });
    }
    suite.case("source::a_download_that_is_cut_tonight_is_resumed_by_the_next_run", CLOCK, || {
        let mut job = after_a_good_one()?;
        let (zip, half) = serve(&mut job, "retries = 0\n");
        job.source.script(ZIP, [Behaviour::ResetAfter(half), Behaviour::Serve]);
        let expected = Refused::download(&["was cut after", "bytes"], "ends the connection early").resumable();
        refuses(&job, &expected)?;
        publishes(&job, &tonight())?;
        is_resumed(&job, zip.len() as u64, half)
    });
    suite.case("source::a_file_that_changes_while_the_download_is_cut_is_fetched_from_the_start", CLOCK, || {
        let mut job = after_a_good_one()?;
        let (_, half) = serve(&mut job, ONE_RETRY);
        let other = Dump::new(3).size(700_000).text();
        let changed = zips::good(ENTRY, &other);
        job.source.script(ZIP, [Behaviour::ResetThenChanged(half, changed.clone().into())]);
        publishes(&job, &other)?;
        let requests = job.source.requests();
        ensure!(requests.len() == 2 && requests[1].header("range").is_some(), "{requests:?}");
        ensure!(requests[1].status == 200 && requests[1].body_bytes_sent == changed.len() as u64, "{requests:?}");
        ensure!(job.log().contains("starts from zero"), "{}", job.log());
        Ok(())
    });
    suite.case("source::a_server_that_ignores_range_is_taken_from_the_start", CLOCK, || {
        let mut job = after_a_good_one()?;
        let (zip, half) = serve(&mut job, ONE_RETRY);
        job.source.script(ZIP, [Behaviour::ResetAfter(half), Behaviour::IgnoreRange]);
        publishes(&job, &tonight())?;
        let requests = job.source.requests();
        ensure!(requests.len() == 2 && requests[1].header("range").is_some(), "{requests:?}");
        ensure!(requests[1].status == 200 && requests[1].body_bytes_sent == zip.len() as u64, "{requests:?}");
        Ok(())
    });
    suite.case("source::a_part_that_is_not_the_one_asked_for_is_thrown_away", CLOCK, || {
        let mut job = after_a_good_one()?;
        let (_, half) = serve(&mut job, ONE_RETRY);
        job.source.script(ZIP, [Behaviour::ResetAfter(half), Behaviour::WrongContentRange(7), Behaviour::Serve]);
        publishes(&job, &tonight())?;
        let last = job.source.requests().pop().expect("requests");
        ensure!(last.status == 200 && last.header("range").is_none(), "{last:?}");
        Ok(())
    });
    suite.case("source::a_server_that_stalls_for_ever_half_way", CLOCK, || {
        let mut job = after_a_good_one()?;
        let (_, half) = serve(&mut job, "retries = 0\nstall_timeout = \"1s\"\n");
        job.source.script(ZIP, [Behaviour::StallAfter(half)]);
        refuses(&job, &Refused::download(&["sent less than 4 KiB for 1.0 s"], "`source.stall_timeout`").resumable())?;
        Ok(())
    });
    suite.case("source::a_server_that_never_answers", CLOCK, || {
        let mut job = after_a_good_one()?;
        serve(&mut job, "retries = 0\nconnect_timeout = \"1s\"\nstall_timeout = \"1s\"\n");
        job.source.script(ZIP, [Behaviour::Silent]);
        refuses(&job, &Refused::download(&["sent no answer for 2.0 s"], "stands still"))?;
        Ok(())
    });
}

/// Tonight's zip at the source, and half its length.
fn serve(job: &mut Job, keys: &str) -> (Vec<u8>, u64) {
    let zip = zips::good(ENTRY, &tonight());
    job.source_keys = keys.into();
    job.publish_bytes(zip.clone());
    let half = zip.len() as u64 / 2;
    (zip, half)
}

/// The second of two requests asked for what the first had not brought, in the same version, and no byte came twice.
fn is_resumed(job: &Job, whole: u64, half: u64) -> anyhow::Result<()> {
    let requests = job.source.requests();
    ensure!(requests.len() == 2, "{requests:?}");
    ensure!(requests[0].header("range").is_none() && requests[0].body_bytes_sent == half, "{requests:?}");
    ensure!(requests[1].header("range") == Some(&*format!("bytes={half}-")), "{requests:?}");
    ensure!(requests[1].header("if-range").is_some_and(|tag| tag.starts_with('"')), "{requests:?}");
    ensure!(requests[1].status == 206 && requests[1].body_bytes_sent == whole - half, "{requests:?}");
    ensure!(job.source.body_bytes_sent() == whole);
    Ok(())
}

fn lengths(suite: &mut Suite) {
    suite.case("source::less_than_announced", CLOCK, || {
        let mut job = after_a_good_one()?;
        serve(&mut job, "retries = 0\n");
        job.source.script(ZIP, [Behaviour::AnnounceMore(100), Behaviour::Serve]);
        refuses(&job, &Refused::download(&["was cut after"], "ends the connection early").resumable())?;
        // And the night after, the server says what is true.
        publishes(&job, &tonight())
    });
    let expected = Refused::download(&["do not end like a zip"], "still writing it at this hour");
    refused(suite, "more_than_announced", expected, scripted(Behaviour::AnnounceLess(100)));
    let expected = Refused::download(&["larger than `max_download` allows"], "raise `source.max_download`");
    for (name, behaviour) in [
        ("a_zip_announced_larger_than_max_download", Behaviour::Serve),
        ("a_zip_not_announced_and_larger_than_max_download", Behaviour::Chunked),
        ("a_zip_without_length_and_larger_than_max_download", Behaviour::UntilClose),
    ] {
        refused(suite, name, expected, move |job| {
            scripted(behaviour)(job)?;
            job.source_keys.push_str("max_download = \"50 KB\"\n");
            Ok(())
        });
    }
    for (name, behaviour) in
        [("a_zip_in_chunks", Behaviour::Chunked), ("a_zip_that_ends_with_the_connection", Behaviour::UntilClose)]
    {
        suite.case(format!("source::{name}"), CLOCK, move || {
            let mut job = after_a_good_one()?;
            scripted(behaviour)(&mut job)?;
            publishes(&job, &tonight())
        });
    }
    let expected = Refused::download(&["`Content-Encoding: gzip`"], "turn off compression for zip files");
    let encoded = Behaviour::ContentEncodingGzip(b"\x1f\x8b\x08\0\0\0\0\0\0\x03 and the zip in it".to_vec());
    refused(suite, "a_zip_with_a_content_encoding", expected, scripted(encoded));
}

fn not_modified(suite: &mut Suite) {
    suite.case("source::an_unchanged_night_transfers_no_body", CLOCK, || {
        let mut job = after_a_good_one()?;
        job.dump.push_str("on_unchanged = \"skip\"\n");
        let (done, result) = json(&job, TONIGHT)?;
        ensure!(done.code == 0, "{done}");
        let requests = job.source.requests();
        ensure!(requests.len() == 1 && requests[0].status == 304, "{requests:?}");
        ensure!(job.source.body_bytes_sent() == 0, "{requests:?}");
        ensure!(result["source"]["not_modified"] == true && result["status"] == "ok", "{done}");
        ensure!(result["destinations"][0]["result"] == "unchanged", "{done}");
        ensure!(job.held() == ["20261119.tgz", "20261119.tgz.sha256"], "{:?}", job.held());
        Ok(())
    });
    suite.case("source::a_304_is_worth_nothing_if_the_archive_is_gone", CLOCK, || {
        let job = after_a_good_one()?;
        fs::remove_file(job.path("nas/20261119.tgz"))?;
        fs::remove_file(job.path("nas/20261119.tgz.sha256"))?;
        published_again(&job)
    });
    suite.case("source::a_304_is_worth_nothing_if_the_archive_was_damaged", CLOCK, || {
        let job = after_a_good_one()?;
        // Of the right size, so that only its content can tell.
        let size = fs::metadata(job.path("nas/20261119.tgz"))?.len();
        fs::write(job.path("nas/20261119.tgz"), vec![0; size as usize])?;
        published_again(&job)
    });
}

/// Asked conditionally, then without conditions; said so, and published.
fn published_again(job: &Job) -> anyhow::Result<()> {
    let (done, result) = json(job, TONIGHT)?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(result["status"] == "warning" && result["warnings"].to_string().contains("is no longer at nas"), "{done}");
    let requests = job.source.requests();
    ensure!(requests.len() == 2 && requests[0].status == 304 && requests[1].status == 200, "{requests:?}");
    ensure!(requests[1].header("if-none-match").is_none(), "{requests:?}");
    bad_night::holds(job, "20261120.tgz", &first_dump())
}

/// A small file system; gone when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path, bytes: u64) -> Self {
        fs::create_dir_all(path).expect("own directory");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "tmpfs"]).arg(path));
        Self(path.to_owned())
    }

    fn resize(&self, bytes: u64) {
        run(Command::new("mount").args(["-o", &format!("remount,size={bytes}")]).arg(&self.0));
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _stays_mounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn disk(suite: &mut Suite) {
    suite.case("source::a_disk_that_fills_up_while_spooling", &[Need::Faketime, Need::Tmpfs], || {
        let mut job = Job::new();
        let _small = Tmpfs::mount(&job.path("work"), 4 << 20);
        bad_night::a_good_one(&job)?;
        job.source_keys = PATIENT.into();
        job.publish_bytes(Zip::new().entry(Entry::stored(ENTRY, &vec![0; 8 << 20])).build());
        let before = Kept::of(&job);
        let done = job.night(TONIGHT);
        let full = Refused { code: 5, ..Refused::download(&["No space left on device"], "check the space") };
        is_refused(&job, &before, &done, &full)?;
        ensure!(job.source.requests().len() == 1, "{:?}", job.source.requests());
        // Room was made again, so the next run needs no hand.
        job.publish(&tonight());
        publishes(&job, &tonight())
    });
    suite.case("source::a_disk_without_room_for_the_archive_beside_the_zip", &[Need::Faketime, Need::Tmpfs], || {
        let job = Job::new();
        let small = Tmpfs::mount(&job.path("work"), 4 << 20);
        bad_night::a_good_one(&job)?;
        let mut large = b"-- noise\n".repeat(300_000);
        large.extend_from_slice(b"SELECT 1;\n");
        job.publish_bytes(Zip::new().entry(Entry::stored(ENTRY, &large)).build());
        let mut before = Kept::of(&job);
        let done = job.night(TONIGHT);
        // The zip was verified and is remembered; that must not make it look archived.
        before.forget_source(&job);
        let says = &["failed to build `20261120.tgz`", "free, the archive needs about"];
        let expected = Refused { code: 5, step: "pack", ..Refused::download(says, "free some space there") };
        is_refused(&job, &before, &done, &expected)?;
        small.resize(16 << 20);
        job.source.forget_requests();
        publishes(&job, &large)?;
        let statuses: Vec<u16> = job.source.requests().iter().map(|request| request.status).collect();
        ensure!(statuses == [304, 200], "{statuses:?}");
        Ok(())
    });
}
