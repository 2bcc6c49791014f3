//! `archive check`: tries everything, names every problem and what to do, leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::job::{ENTRY, Job, ZIP};
use crate::says;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::https::Behaviour;
use crate::support::smtp::{PASSWORD, Security, SmtpServer, USERNAME};
use crate::support::sshd::{Account, Sshd};
use crate::support::zips::{Entry, Zip};

const CHECK: &[&str] = &["check", "--config", "archive.toml"];

/// A `crontab` that knows the job.
fn crontab(job: &Job) -> String {
    let bin = job.path("bin");
    fs::create_dir(&bin).expect("own directory");
    let line = format!("0 1 * * * archive run --config {}", job.path("archive.toml").display());
    fs::write(bin.join("crontab"), format!("#!/bin/sh\necho '{line}'\n")).expect("own file");
    fs::set_permissions(bin.join("crontab"), fs::Permissions::from_mode(0o755)).expect("own file");
    format!("{}:/usr/bin:/bin", bin.display())
}

fn private(job: &Job) {
    let config = job.path("archive.toml");
    fs::write(&config, "")
        .and_then(|()| fs::set_permissions(config, fs::Permissions::from_mode(0o600)))
        .expect("own file");
}

fn mail(server: &SmtpServer, password: &str) -> String {
    format!(
        "[mail]\nhost = \"localhost\"\nport = {}\nca_file = \"ca.pem\"\nusername = \"{USERNAME}\"\npassword = \"{password}\"\n\
         from = \"archive@example.org\"\nto = [\"a@example.org\", \"b@example.org\"]\ntimeout = \"5s\"\n",
        server.port()
    )
}

/// A server that greets with `greeting` and answers every line with `answer`; ends with the test process.
fn scripted(greeting: &'static str, answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(greeting.as_bytes());
            for _ in BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok) {
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    port
}

/// A password that is none of our words, in clear and as AUTH PLAIN sends it.
const STRONG: &str = "hunter22-Kiwi";
const STRONG_PLAIN: &str = "AGFyY2hpdmVAZXhhbXBsZS5vcmcAaHVudGVyMjItS2l3aQ==";

pub fn cases(suite: &mut Suite) {
    suite.case("check::what_servers_say_moves_no_cursor_forges_no_line_and_repeats_no_secret", &[], || {
        let mut job = Job::new();
        let evil = "530 no\u{1b}[2J\u{1b}[32m\r✓ all good hunter22-Kiwi AGFyY2hpdmVAZXhhbXBsZS5vcmcAaHVudGVyMjItS2l3aQ== archive\r\n";
        let smtp = scripted("220 mx\r\n", evil);
        let ftp = scripted("220 ftp\r\n", evil);
        job.destinations = format!(
            "[[destination]]\nname = \"nas\"\ntype = \"ftp\"\nhost = \"127.0.0.1\"\nport = {ftp}\nallow_plaintext = true\n\
             username = \"archive@example.org\"\npassword = \"{STRONG}\"\npath = \"/\"\nretries = 0\nretention = {{ keep_days = 30 }}\n"
        );
        job.rest = format!(
            "[mail]\nhost = \"127.0.0.1\"\nport = {smtp}\nsecurity = \"none\"\nallow_plaintext = true\n\
             username = \"archive@example.org\"\npassword = \"{STRONG}\"\nfrom = \"archive@example.org\"\nto = \"a@example.org\"\n"
        );
        for args in [&["check"][..], &["check", "--json"], &["list"], &["list", "--json"], &["prune", "--dry-run"], &["run"]] {
            let done = job.command(&[args, &["--config", "archive.toml"]].concat()).run();
            let all = format!("{}{}", done.stdout, done.stderr);
            ensure!(done.code != 0, "{args:?} {done}");
            ensure!(!all.contains(['\u{1b}', '\r']), "{args:?} {all:?}");
            ensure!(!all.lines().any(|line| line.starts_with("✓ all good")), "{args:?} {all}");
            ensure!(!all.contains(STRONG) && !all.contains(STRONG_PLAIN), "{args:?} {all}");
        }
        Ok(())
    });

    suite.case("check::a_secret_that_is_a_word_is_told_and_gives_nothing_away", &[], || {
        let mut job = Job::new();
        private(&job);
        job.source_keys = "username = \"me\"\npassword = \"archive\"\n".to_owned();
        let done = job.command(&["check", "--offline", "--config", "archive.toml"]).run();
        says(&done.stdout, &["the secret of `source.password` is a common word"])?;
        job.publish(&Dump::new(1).size(100_000).text());
        let done = job.run();
        ensure!(done.code == 0, "{done}");
        let log = job.log();
        ensure!(log.contains("archive 0.1.0 begins job") && !log.contains("redacted"), "{log}");
        Ok(())
    });

    suite.case("check::all_is_well", &[Need::Sshd, Need::Smtp], || {
        let server = Sshd::builder().start();
        let place = server.place(Account::Own);
        let mut job = Job::new();
        private(&job);
        let smtp = SmtpServer::start(Security::StartTls, Some(&job.ca.good()));
        job.publish(&Dump::new(1).size(100_000).text());
        let retention = "retention = { keep_days = 30 }";
        job.destinations = Job::sftp("nas", server.port(), &place, &server.key(), &server.fingerprint(), retention);
        job.rest = mail(&smtp, PASSWORD);
        let path = crontab(&job);
        let done = job.command(CHECK).env("PATH", path).run();
        ensure!(done.code == 0 && done.stderr.is_empty(), "{done}");
        says(
            &done.stdout,
            &[
                "✓ config",
                "job `boutique`, 1 destination",
                "✓ work dir",
                "✓ source",
                "a cut download can be resumed",
                "✓ clock",
                "agrees with the source's server",
                "✓ entry         `boutique.sql`",
                "unpacked, Deflated",
                "✓ nas",
                "wrote, read, renamed and deleted a test file",
                "the server computes checksums",
                "✓ mail          localhost:",
                "is ready, encrypted, logged in",
                "✓ cron          found in this user's crontab",
                "everything is ready for the first night",
            ],
        )?;
        ensure!(!done.stdout.contains(['✗', '!']), "{done}");
        ensure!(Job::names(&place.local).is_empty(), "left behind: {:?}", Job::names(&place.local));
        ensure!(smtp.mails().is_empty(), "no mail unless asked for");
        ensure!(!job.path("work/state.json").exists(), "a check is no run");
        let quiet = job.command(&["check", "-q", "--config", "archive.toml"]).run();
        ensure!(quiet.code == 0 && quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{quiet}");
        Ok(())
    });

    suite.case("check::the_entry_is_looked_for_with_few_bytes", &[], || {
        let job = Job::new();
        let mut random = Vec::with_capacity(30_000_000);
        let mut state = 7_u64;
        while random.len() < 30_000_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random.extend_from_slice(&state.to_le_bytes()[4..]);
        }
        let zip =
            Zip::new().entry(Entry::stored("photos.bin", &random)).entry(Entry::deflated(ENTRY, &Dump::new(1).text()));
        job.publish_bytes(zip.build());
        let done = job.command(CHECK).run();
        ensure!(done.code == 0, "{done}");
        says(&done.stdout, &["✓ source", "30.0 MB", "✓ entry         `boutique.sql`"])?;
        let sent = job.source.body_bytes_sent();
        ensure!(sent < 256 * 1024, "{sent} bytes for a checklist");
        Ok(())
    });

    suite.case("check::a_server_without_ranges_is_a_warning", &[], || {
        let job = Job::new();
        job.publish(&Dump::new(1).size(3_000_000).text());
        job.source.script(ZIP, [Behaviour::IgnoreRange]);
        let done = job.command(CHECK).run();
        ensure!(done.code == 0, "{done}");
        says(&done.stdout, &["! entry", "without downloading everything", "archive run --dry-run"])
    });

    suite.case("check::an_entry_that_is_not_there_shows_what_is", &[], || {
        let job = Job::new();
        let other = Dump::new(1).text();
        job.publish_bytes(
            Zip::new().entry(Entry::deflated("Boutique.sql", &other)).entry(Entry::deflated("b.txt", b"x")).build(),
        );
        let done = job.command(CHECK).run();
        ensure!(done.code == 4, "{done}");
        says(&done.stdout, &["✗ entry", "Boutique.sql", "b.txt", "→ "])
    });

    suite.case("check::every_problem_has_its_line_and_the_first_one_its_code", &[Need::Sshd, Need::Smtp], || {
        let server = Sshd::builder().start();
        let place = server.place(Account::Own);
        let mut job = Job::new();
        private(&job);
        let smtp = SmtpServer::start(Security::StartTls, Some(&job.ca.good()));
        let good = job.destinations.clone();
        let wrong_key = Job::sftp("far", server.port(), &place, &server.stranger_key(), &server.fingerprint(), "");
        let wrong_host_key =
            Job::sftp("odd", server.port(), &place, &server.key(), &format!("SHA256:{}", "A".repeat(43)), "")
                .replace(&format!("path = \"{}\"", place.remote), &format!("path = \"{}/odd\"", place.remote));
        let unmounted = format!(
            "[[destination]]\nname = \"share\"\ntype = \"local\"\npath = \"{}\"\nmarker = \".archive-target\"\n",
            job.path("share").display()
        );
        fs::create_dir(job.path("share"))?;
        job.destinations = format!("{wrong_key}{wrong_host_key}{unmounted}{good}");
        job.rest = mail(&smtp, "wrong");
        let done = job.command(CHECK).run();
        ensure!(done.code == 3, "the first problem is the source: {done}");
        let lines: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with('✗')).collect();
        ensure!(lines.len() == 5, "{done}");
        for (line, area) in lines.iter().zip(["source", "far", "odd", "share", "mail"]) {
            ensure!(line.starts_with(&format!("✗ {area}")), "{line}");
        }
        ensure!(done.stdout.matches("→ ").count() >= 5, "each with what to do: {done}");
        says(
            &done.stdout,
            &[
                "404 Not Found",
                "– entry         not looked for",
                "authentication as",
                "archive trust",
                ".archive-target",
                "535",
                "✓ nas",
                "! cron",
                "crontab.example",
                "5 problems to solve",
            ],
        )
    });

    suite.case("check::as_json", &[], || {
        let job = Job::new();
        let done = job.command(&["check", "--json", "--config", "archive.toml"]).run();
        ensure!(done.code == 3 && done.stderr.is_empty(), "{done}");
        let result: Value = serde_json::from_str(&done.stdout)?;
        ensure!(result["ok"] == false && result["exit_code"] == 3, "{result:#}");
        let checks = result["checks"].as_array().context("checks")?;
        let failed: Vec<&Value> = checks.iter().filter(|check| check["outcome"] == "failed").collect();
        ensure!(failed.len() == 1 && failed[0]["area"] == "source" && failed[0]["hint"].is_string(), "{failed:#?}");
        job.publish(&Dump::new(1).text());
        let done = job.command(&["check", "--json", "--config", "archive.toml"]).run();
        let result: Value = serde_json::from_str(&done.stdout)?;
        ensure!(done.code == 0 && result["ok"] == true, "{done}");
        let done = job.command(&["check", "--json", "--config", "none.toml"]).run();
        let result: Value = serde_json::from_str(&done.stdout)?;
        ensure!(done.code == 2 && result["checks"][0]["area"] == "config", "{done}");
        Ok(())
    });

    suite.case("check::a_test_mail_goes_to_everybody", &[Need::Smtp], || {
        let mut job = Job::new();
        private(&job);
        job.publish(&Dump::new(1).text());
        let smtp = SmtpServer::start(Security::StartTls, Some(&job.ca.good()));
        job.rest = mail(&smtp, PASSWORD);
        let done = job.command(&["check", "--send-test-mail", "--config", "archive.toml"]).run();
        ensure!(done.code == 0, "{done}");
        says(&done.stdout, &["test mail sent to a@example.org, b@example.org"])?;
        let mail = smtp.wait_for_mails(1).remove(0);
        ensure!(mail.envelope.clone().context("by SMTP")?.to.len() == 2, "{mail:?}");
        ensure!(mail.subject.contains("boutique"), "{}", mail.subject);
        Ok(())
    });

    suite.case("check::a_config_with_mistakes_shows_all_of_them", &[], || {
        let mut job = Job::new();
        job.dump = "max_shrink = \"lots\"\nmin_siez = \"1 KB\"\n".to_owned();
        let done = job.command(CHECK).run();
        ensure!(done.code == 2 && done.stdout.is_empty(), "{done}");
        says(&done.stderr, &["2 problems in", "max_shrink", "did you mean `min_size`", "hint:"])
    });
}
