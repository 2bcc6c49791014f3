//! The HTTPS server against `curl`, and its certificates against `openssl`.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::support::harness::{Need, Suite, run};
use crate::support::https::{Access, Behaviour, HttpsServer};
use crate::support::tls::Authority;
use crate::support::wait;

const CURL: &[Need] = &[Need::program("curl")];
const PATH: &str = "/exports/boutique.zip";

/// A server with ten thousand bytes at [`PATH`].
struct Setup {
    directory: TempDir,
    server: HttpsServer,
    ca: Authority,
    content: Vec<u8>,
}

impl Setup {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let ca = Authority::new("archive test CA");
        std::fs::write(directory.path().join("ca.pem"), ca.pem())?;
        let server = HttpsServer::start(Some(ca.good().server_config()));
        let content: Vec<u8> = (0..10_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        server.put(PATH, content.clone());
        Ok(Self { directory, server, ca, content })
    }

    fn curl(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new("curl");
        command.args(["-sS", "--cacert", "ca.pem", "--noproxy", "*"]).args(args);
        command.arg(self.server.url(PATH)).current_dir(self.directory.path());
        command.output().context("curl does not start")
    }

    /// The status and chosen headers of an answer.
    fn status(&self, args: &[&str]) -> Result<String> {
        let output = self.curl(&[&["-o", "out", "-w", "%{http_code}"], args].concat())?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn out(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.directory.path().join("out"))?)
    }
}

pub fn register(suite: &mut Suite) {
    suite.case("https::serves_ranges_validators_and_heads", CURL, || {
        let setup = Setup::new()?;
        ensure!(setup.status(&[])? == "200" && setup.out()? == setup.content, "whole");
        let head = String::from_utf8(setup.curl(&["-I"])?.stdout)?;
        ensure!(head.contains("Content-Length: 10000\r\n") && head.contains("Accept-Ranges: bytes"), "{head}");
        let value =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).context("missing").map(str::trim);
        let (etag, modified) = (value("ETag:")?, value("Last-Modified:")?);
        ensure!(setup.status(&["-H", &format!("If-None-Match: {etag}")])? == "304", "etag");
        ensure!(setup.status(&["-H", &format!("If-Modified-Since: {modified}")])? == "304", "date");
        ensure!(setup.status(&["-H", "If-None-Match: \"other\""])? == "200", "other etag");
        ensure!(setup.status(&["-r", "9990-"])? == "206" && setup.out()? == setup.content[9990..], "range to the end");
        ensure!(setup.status(&["-r", "5-6"])? == "206" && setup.out()? == setup.content[5..=6], "range");
        ensure!(setup.status(&["-r", "-3"])? == "206" && setup.out()? == setup.content[9997..], "suffix");
        ensure!(setup.status(&["-r", "10000-"])? == "416", "beyond the end");
        ensure!(setup.status(&["-r", "5-", "-H", &format!("If-Range: {etag}")])? == "206", "if-range, same");
        ensure!(setup.status(&["-r", "5-", "-H", "If-Range: \"old\""])? == "200", "if-range, changed");
        setup.server.put(PATH, b"changed".as_slice());
        ensure!(setup.status(&["-H", &format!("If-None-Match: {etag}")])? == "200", "changed");
        ensure!(setup.status(&["-H", &format!("If-Modified-Since: {modified}")])? == "200", "changed by date");
        let last = setup.server.requests().pop().context("no request")?;
        ensure!(last.header("if-modified-since") == Some(modified) && last.body_bytes_sent == 7, "{last:?}");
        Ok(())
    });

    suite.case("https::access_is_by_password_token_or_header", CURL, || {
        let setup = Setup::new()?;
        setup.server.protect(PATH, Access::Basic("user".into(), "pässword".into()));
        ensure!(setup.status(&[])? == "401" && setup.status(&["-u", "user:no"])? == "401", "basic");
        ensure!(setup.status(&["-u", "user:pässword"])? == "200", "basic");
        setup.server.protect(PATH, Access::Bearer("abc".into()));
        ensure!(setup.status(&["-H", "Authorization: Bearer abc"])? == "200" && setup.status(&[])? == "401", "bearer");
        setup.server.protect(PATH, Access::Header("x-api-key".into(), "k".into()));
        ensure!(setup.status(&["-H", "X-Api-Key: k"])? == "200" && setup.status(&[])? == "401", "header");
        Ok(())
    });

    suite.case("https::answers_as_scripted_once_each_and_the_last_one_stays", CURL, || {
        let setup = Setup::new()?;
        let retry = Behaviour::RetryAfter("1".into());
        setup.server.script(PATH, [Behaviour::Status(500, vec![], b"oh".to_vec()), retry, Behaviour::Serve]);
        ensure!(setup.status(&[])? == "500" && setup.out()? == b"oh", "first");
        ensure!(String::from_utf8(setup.curl(&["-i"])?.stdout)?.contains("Retry-After: 1\r\n"), "second");
        ensure!(setup.status(&[])? == "200" && setup.status(&[])? == "200", "third and later");
        setup.server.script(PATH, [Behaviour::RedirectLoop]);
        ensure!(setup.curl(&["-L", "--max-redirs", "5"])?.status.code() == Some(47), "too many redirects");
        setup.server.script(PATH, [Behaviour::RedirectTo("/other".into())]);
        ensure!(setup.status(&["-L"])? == "404", "redirected to nothing");
        setup.server.script(PATH, [Behaviour::HtmlLogin]);
        ensure!(setup.status(&[])? == "200" && setup.out()?.starts_with(b"<!DOCTYPE html>"), "log-in page");
        setup.server.script(PATH, [Behaviour::IgnoreRange]);
        ensure!(setup.status(&["-r", "5-"])? == "200", "range ignored");
        setup.server.script(PATH, [Behaviour::WrongContentRange(3)]);
        ensure!(
            String::from_utf8_lossy(&setup.curl(&["-i", "-r", "5-9"])?.stdout).contains("bytes 3-7/10000"),
            "wrong"
        );
        setup.server.script(PATH, [Behaviour::NoValidators]);
        ensure!(!String::from_utf8_lossy(&setup.curl(&["-I"])?.stdout).contains("ETag"), "no validators");
        setup.server.script(PATH, [Behaviour::Chunked, Behaviour::UntilClose]);
        ensure!(setup.status(&[])? == "200" && setup.out()? == setup.content, "chunked");
        let output = setup.curl(&["-o", "out"])?;
        // Without a length only the end of TLS tells the end, and there is none: OpenSSL rightly complains.
        ensure!(setup.out()? == setup.content, "{output:?}");
        setup.server.script(PATH, [Behaviour::ContentEncodingGzip(vec![1, 2, 3])]);
        ensure!(String::from_utf8_lossy(&setup.curl(&["-I"])?.stdout).contains("Content-Encoding: gzip"), "gzip");
        setup.server.script(PATH, [Behaviour::SlowDrip(5000, Duration::from_millis(1))]);
        ensure!(setup.status(&[])? == "200" && setup.out()? == setup.content, "drip");
        Ok(())
    });

    suite.case("https::cuts_after_exactly_so_many_bytes", CURL, || {
        for plain in [false, true] {
            let mut setup = Setup::new()?;
            if plain {
                setup.server = HttpsServer::start(None);
                setup.server.put(PATH, setup.content.clone());
            }
            setup.server.script(PATH, [Behaviour::ResetAfter(4000), Behaviour::CloseAfter(1), Behaviour::Serve]);
            let output = setup.curl(&["-o", "out"])?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(setup.out()? == setup.content[..4000] && text.contains("reset"), "{text}");
            ensure!(setup.status(&["-f"])? == "200" && setup.out()? == setup.content[..1], "closed");
            let changed = Behaviour::ResetThenChanged(10, b"changed".as_slice().into());
            setup.server.script(PATH, [changed]);
            ensure!(!setup.curl(&["-o", "out"])?.status.success() && setup.out()?.len() == 10, "cut");
            ensure!(setup.status(&[])? == "200" && setup.out()? == b"changed", "then changed");
            let sent: Vec<u64> = setup.server.requests().iter().map(|request| request.body_bytes_sent).collect();
            ensure!(sent == [4000, 1, 10, 7], "{sent:?}");
        }
        Ok(())
    });

    suite.case("https::announces_more_or_less_than_it_sends", CURL, || {
        let setup = Setup::new()?;
        setup.server.script(PATH, [Behaviour::AnnounceMore(5), Behaviour::AnnounceLess(5)]);
        ensure!(setup.curl(&["-o", "out"])?.status.code() != Some(0) && setup.out()? == setup.content, "more");
        let _curl_may_or_may_not_mind = setup.curl(&["-o", "out"])?;
        ensure!(setup.out()? == setup.content[..9995], "less");
        Ok(())
    });

    suite.case("https::stalls_until_the_client_goes_away", CURL, || {
        let setup = Setup::new()?;
        setup.server.script(PATH, [Behaviour::StallAfter(100), Behaviour::Silent]);
        for expected in [100, 0] {
            let url = setup.server.url(PATH);
            let mut curl = Command::new("curl")
                .args(["-sS", "-N", "-o", "stalled", "--noproxy", "*", "--cacert", "ca.pem", &url])
                .current_dir(setup.directory.path())
                .spawn()?;
            let stalled = setup.directory.path().join("stalled");
            wait::until("the request", || !setup.server.requests().is_empty());
            wait::until("the first bytes", || std::fs::metadata(&stalled).map_or(0, |m| m.len()) == expected);
            ensure!(curl.try_wait()?.is_none(), "still waits");
            curl.kill()?;
            curl.wait()?;
            std::fs::remove_file(&stalled).or_else(|error| if expected == 0 { Ok(()) } else { Err(error) })?;
            setup.server.forget_requests();
        }
        Ok(())
    });

    suite.case("https::a_file_of_any_size_is_served_from_disk", CURL, || {
        let setup = Setup::new()?;
        let file = setup.directory.path().join("large");
        std::fs::File::create(&file)?.set_len(300_000_000)?;
        setup.server.put(PATH, file);
        ensure!(setup.status(&["-r", "299999999-"])? == "206" && setup.out()? == [0], "the last byte");
        ensure!(setup.status(&[])? == "200" && setup.out()?.len() == 300_000_000, "everything");
        Ok(())
    });

    suite.case("tls::only_the_good_certificate_is_accepted", CURL, || {
        let setup = Setup::new()?;
        let other = Authority::new("another test CA");
        ensure!(setup.status(&[])? == "200", "good");
        for (leaf, complaint) in [
            (setup.ca.expired(), "certificate has expired"),
            (setup.ca.wrong_name(), "no alternative certificate subject name matches"),
            (other.good(), "unable to get local issuer certificate"),
        ] {
            setup.server.set_tls(leaf.server_config());
            let output = setup.curl(&[])?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(60) && text.contains(complaint), "{text}");
        }
        Ok(())
    });

    suite.case("tls::openssl_verifies_the_files", &[Need::program("openssl")], || {
        let setup = Setup::new()?;
        let files = setup.ca.good().write_to(setup.directory.path());
        let ca = setup.directory.path().join("ca.pem");
        let verify = |file: &Path| run(Command::new("openssl").args(["verify", "-CAfile"]).arg(&ca).arg(file));
        ensure!(verify(&files.certificate).contains("OK"), "verify");
        run(Command::new("openssl").args(["pkey", "-noout", "-in"]).arg(&files.key));
        Ok(())
    });
}
